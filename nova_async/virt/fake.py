"""A hypervisor made of memory: for development, tests and measurements.

It behaves as the real one does, and on demand (``Faults``) it waits, fails, hangs or answers out of order.
With a state file its guests outlive the process, as real guests do.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from nova_async.errors import Conflict, NotFound
from nova_async.model.consoles import ConsoleAddress
from nova_async.model.guests import DiskMeasures, GuestSpec, ImageRef, LiveProgress, Measures, PortSpec, VolumeSpec
from nova_async.model.power import PowerState
from nova_async.model.tagged_devices import DeviceAddress
from nova_async.model.topology import HostTopology
from nova_async.services.image.blank import blank_qcow2
from nova_async.virt.driver import GuestEvent, GuestInfo, HostFacts, Progress
from nova_async.virt.events import EventSource, Listener
from nova_async.virt.fake_consoles import FakeConsoles
from nova_async.virt.fake_faults import Faults
from nova_async.virt.fake_guests import FakeGuest, Journal
from nova_async.virt.fake_topology import traits_of
from nova_async.world import World

TRAITS = ("COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_IMAGE_TYPE_RAW", "COMPUTE_NODE", "COMPUTE_TRUSTED_CERTS")
KEPT_NOTES = 64  # things that happened to a guest and that its console still shows

BOOT_LOG = """\
[    0.000000] Linux version 6.1.0-fake (fake@{host}) #1 SMP
[    0.000000] Command line: console=tty0 console=ttyS0
[    0.004000] Memory: {memory_kib}K/{memory_kib}K available
[    0.011000] smp: Brought up 1 node, {vcpus} CPUs
[    0.420000] Run /sbin/init as init process
cloud-init[312]: datasource OpenStack instance-id {instance_id}
Debian GNU/Linux 12 {hostname} ttyS0

{hostname} login: """

NOTES = {
    "boot": BOOT_LOG,
    "powerbutton": "\n[  100.000000] Power key pressed, shutting down\n[  101.000000] reboot: Power down\n",
    "crash": "\n[  100.000000] Kernel panic - not syncing: asked to\n",
    "nmi": "\n[  100.000000] Uhhuh. NMI received for unknown reason 30 on CPU 0.\n",
}


class FakeDriver:
    """Implements ``virt.driver.Driver`` without a hypervisor."""

    def __init__(
        self,
        world: World,
        host: str,
        *,
        vcpus: int = 64,
        memory_mib: int = 262_144,
        disk_gib: int = 8192,
        topology: HostTopology = HostTopology(),
        state_file: Path | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.host = host
        self.topology = topology
        self.faults = faults or Faults()
        self._world = world
        self._inventory = {"VCPU": vcpus, "MEMORY_MB": memory_mib, "DISK_GB": disk_gib}
        self._guests: dict[str, FakeGuest] = {}
        self._files: set[str] = set()
        self._leaving: dict[str, _Leaving] = {}
        self._events = EventSource()
        self._consoles = FakeConsoles()
        self._journal = Journal(state_file) if state_file else None

    async def start(self) -> None:
        await self.faults.before("start", "", self._world)
        if self._journal:
            self._guests = await self._journal.open()
            self._files = set(self._guests)

    async def close(self) -> None:
        self._events.close()
        await self._consoles.close()
        if self._journal:
            await self._journal.close()

    async def facts(self) -> HostFacts:
        await self.faults.before("facts", "", self._world)
        return HostFacts(
            inventory=dict(self._inventory),
            traits=(*TRAITS, *traits_of(self.topology)),
            hypervisor_type="fake",
            hypervisor_version=1_000_000,
            hypervisor_hostname=self.host,
            cpu_info={
                "arch": "x86_64",
                "model": "Nehalem",
                "vendor": "Intel",
                "features": ["pge", "clflush"],
                "topology": {"cores": 1, "threads": 1, "sockets": self._inventory["VCPU"]},
            },
            supported_instances=(("x86_64", "fake", "hvm"), ("x86_64", "qemu", "hvm")),
            memory_used_mib=sum(guest.memory_mib for guest in self._guests.values()),
            disk_used_gib=sum(guest.disk_gib for guest in self._guests.values()),
            uptime=f"up {int(self._world.monotonic())} seconds",
            topology=self.topology,
        )

    async def guests(self) -> list[GuestInfo]:
        await self.faults.before("guests", "", self._world)
        return [_info(guest) for guest in self._guests.values()]

    async def guest(self, instance_id: str) -> GuestInfo:
        await self.faults.before("guest", instance_id, self._world)
        return _info(self._find(instance_id))

    def events(self) -> Listener:
        return self._events.listen()

    async def spawn(self, guest: GuestSpec, generation: int, progress: Progress) -> None:
        await self.faults.before("spawn", guest.instance_id, self._world)
        known = self._guests.get(guest.instance_id)
        if known is None or known.generation < generation:
            progress(None, "making the guest")
            await self._make(guest, generation)
        elif known.generation > generation:
            raise Conflict(f"Server {guest.instance_id} has been placed anew since.")
        elif known.power_state is not PowerState.RUNNING:
            await self._boot(known)
        self.faults.done("spawn")

    async def destroy(self, instance_id: str, *, delete_disks: bool = True) -> None:
        await self.faults.before("destroy", instance_id, self._world)
        if delete_disks:
            self._files.discard(instance_id)
        guest = self._guests.pop(instance_id, None)
        if guest is not None:
            self._consoles.cut(instance_id)
            self._publish(guest, PowerState.SHUTDOWN)
            if self._journal:
                await self._journal.write(b'{"gone":"%s"}' % instance_id.encode())
        self.faults.done("destroy")

    async def power_on(self, guest: GuestSpec, generation: int) -> None:
        await self.faults.before("power_on", guest.instance_id, self._world)
        await self._start(guest, generation)
        self.faults.done("power_on")

    async def power_off(self, instance_id: str, *, timeout: float, retry: float) -> None:
        await self.faults.before("power_off", instance_id, self._world)
        guest = self._find(instance_id)
        if guest.power_state is not PowerState.SHUTDOWN:
            if timeout > 0 and self.faults.ignore_power_button:
                await self._world.sleep(timeout)
            elif timeout > 0:
                _note(guest, "powerbutton")
            await self._change(guest, PowerState.SHUTDOWN)
        self.faults.done("power_off")

    async def reboot(self, guest: GuestSpec, generation: int, *, hard: bool) -> None:
        await self.faults.before("reboot", guest.instance_id, self._world)
        known = self._guests.get(guest.instance_id)
        if known is None:
            await self._make(guest, generation)
        else:
            known.generation = max(known.generation, generation)
            known.saved = False
            known.volumes = _volumes(guest)
            await self._boot(known)
        self.faults.done("reboot")

    async def pause(self, instance_id: str) -> None:
        await self.faults.before("pause", instance_id, self._world)
        await self._switch(instance_id, PowerState.RUNNING, PowerState.PAUSED, "pause")
        self.faults.done("pause")

    async def unpause(self, instance_id: str) -> None:
        await self.faults.before("unpause", instance_id, self._world)
        await self._switch(instance_id, PowerState.PAUSED, PowerState.RUNNING, "unpause")
        self.faults.done("unpause")

    async def suspend(self, instance_id: str) -> None:
        await self.faults.before("suspend", instance_id, self._world)
        guest = self._find(instance_id)
        if not guest.saved:
            if guest.power_state not in (PowerState.RUNNING, PowerState.PAUSED):
                raise Conflict(f"Cannot suspend server {instance_id}: it is off.")
            guest.saved = True
            await self._change(guest, PowerState.SHUTDOWN)
        self.faults.done("suspend")

    async def resume(self, guest: GuestSpec, generation: int) -> None:
        await self.faults.before("resume", guest.instance_id, self._world)
        await self._start(guest, generation)
        self.faults.done("resume")

    async def refresh_ports(self, instance_id: str, ports: tuple[PortSpec, ...]) -> None:
        await self.faults.before("refresh_ports", instance_id, self._world)
        self._find(instance_id)
        self.faults.done("refresh_ports")

    def surroundings_changed(self) -> None:
        self.faults.done("surroundings_changed")

    # -- disks

    async def rebuild(self, guest: GuestSpec, generation: int, progress: Progress, *, power_on: bool) -> None:
        await self.faults.before("rebuild", guest.instance_id, self._world)
        progress(None, "making the disks anew")
        await self._define(guest, generation, power_on)
        self.faults.done("rebuild")

    @asynccontextmanager
    async def snapshot(self, guest: GuestSpec) -> AsyncIterator[AsyncIterator[bytes]]:
        await self.faults.before("snapshot", guest.instance_id, self._world)
        self._find(guest.instance_id)
        yield _one_chunk(blank_qcow2(1))
        self.faults.done("snapshot")

    async def rescue(self, guest: GuestSpec, generation: int, image: ImageRef, progress: Progress) -> None:
        await self.faults.before("rescue", guest.instance_id, self._world)
        known = self._find(guest.instance_id)
        if not known.rescued:
            known.rescued, known.saved = True, False
            await self._boot(known)
        self.faults.done("rescue")

    async def unrescue(self, guest: GuestSpec, generation: int, *, power_on: bool) -> None:
        await self.faults.before("unrescue", guest.instance_id, self._world)
        known = self._find(guest.instance_id)
        if known.rescued:
            known.rescued = False
            await self._set_power(known, power_on)
        elif power_on and known.power_state is PowerState.SHUTDOWN:
            await self._set_power(known, True)
        self.faults.done("unrescue")

    # -- moves

    async def receive_disk(self, guest: GuestSpec, generation: int, from_host: str) -> dict[str, Any]:
        await self.faults.before("receive_disk", guest.instance_id, self._world)
        self._files.add(guest.instance_id)
        self.faults.done("receive_disk")
        return {}

    async def send_disk(self, instance_id: str, to_host: str, to_address: str, ticket: dict[str, Any], progress: Progress) -> None:
        await self.faults.before("send_disk", instance_id, self._world)
        if self._find(instance_id).power_state is not PowerState.SHUTDOWN:
            raise Conflict(f"The disks of server {instance_id} cannot be sent: it is not off.")
        self.faults.done("send_disk")

    async def finish_move(self, guest: GuestSpec, generation: int, *, power_on: bool, same_host: bool) -> None:
        await self.faults.before("finish_move", guest.instance_id, self._world)
        if guest.instance_id not in self._files:
            raise NotFound(f"The disks of server {guest.instance_id} are not on this host.")
        await self._define(guest, generation, power_on)
        self.faults.done("finish_move")

    async def revert_move(self, guest: GuestSpec, generation: int, *, moved: int, power_on: bool, same_host: bool) -> None:
        await self.faults.before("revert_move", guest.instance_id, self._world)
        self._find(guest.instance_id)
        await self._define(guest, generation, power_on)
        self.faults.done("revert_move")

    async def confirm_move(self, instance_id: str) -> None:
        await self.faults.before("confirm_move", instance_id, self._world)
        self.faults.done("confirm_move")

    async def prepare_live(self, guest: GuestSpec, generation: int, from_host: str, block: bool | None) -> dict[str, Any]:
        await self.faults.before("prepare_live", guest.instance_id, self._world)
        known = self._guests.get(guest.instance_id)
        if known is None or known.generation < generation:
            await self._define(guest, generation, power_on=False)
            known = self._find(guest.instance_id)
            known.incoming = True
            await self._change(known, PowerState.PAUSED)
        self.faults.done("prepare_live")
        return {}

    async def live_migrate(
        self, guest: GuestSpec, generation: int, to_host: str, block: bool | None, ticket: dict[str, Any], progress: Progress
    ) -> None:
        known = self._find(guest.instance_id)
        if known.moved:
            return
        if known.power_state not in (PowerState.RUNNING, PowerState.PAUSED):
            raise Conflict(f"Server {guest.instance_id} cannot be migrated: it is not running.")
        progress(0, "migrating")
        leaving = self._leaving[guest.instance_id] = _Leaving()
        copying = asyncio.ensure_future(self.faults.before("live_migrate", guest.instance_id, self._world))
        ends = [asyncio.ensure_future(leaving.called_off.wait()), asyncio.ensure_future(leaving.forced.wait())]
        try:
            await asyncio.wait({copying, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.called_off.is_set():
                raise Conflict("The migration was aborted.")
            if copying.done():
                copying.result()
            known.moved = True
            await self._change(known, PowerState.SHUTDOWN)
        finally:
            for task in (copying, *ends):
                task.cancel()
            leaving.ended.set()
            del self._leaving[guest.instance_id]
        self.faults.done("live_migrate")

    async def abort_live(self, instance_id: str) -> bool:
        await self.faults.before("abort_live", instance_id, self._world)
        if leaving := self._leaving.get(instance_id):
            leaving.called_off.set()
            await leaving.ended.wait()
        guest = self._guests.get(instance_id)
        return guest is None or guest.moved

    async def force_live(self, instance_id: str) -> None:
        if instance_id not in self._leaving:
            raise Conflict(f"Server {instance_id} is not being migrated.")
        self._leaving[instance_id].forced.set()

    async def live_progress(self, instance_id: str) -> LiveProgress | None:
        if instance_id not in self._leaving:
            return None
        size = self._find(instance_id).memory_mib * 2**20
        return LiveProgress(memory_total=size, memory_processed=size // 2, memory_remaining=size - size // 2)

    async def finish_live(self, guest: GuestSpec, generation: int, *, paused: bool) -> None:
        await self.faults.before("finish_live", guest.instance_id, self._world)
        known = self._find(guest.instance_id)
        if known.incoming:
            known.incoming = False
            await self._change(known, PowerState.PAUSED if paused else PowerState.RUNNING)
        self.faults.done("finish_live")

    # -- inside

    async def set_password(self, guest: GuestSpec, password: str) -> None:
        await self.faults.before("set_password", guest.instance_id, self._world)
        if self._find(guest.instance_id).power_state is not PowerState.RUNNING:
            raise Conflict(f"Server {guest.instance_id} is not running.")
        self.faults.done("set_password")

    async def attach_port(self, guest: GuestSpec, generation: int, port_id: str) -> None:
        await self.faults.before("attach_port", guest.instance_id, self._world)
        self._find(guest.instance_id)
        self.faults.done("attach_port")

    async def detach_port(self, guest: GuestSpec, generation: int, port: PortSpec) -> None:
        await self.faults.before("detach_port", guest.instance_id, self._world)
        self._find(guest.instance_id)
        self.faults.done("detach_port")

    async def attach_volume(self, guest: GuestSpec, generation: int, volume: VolumeSpec) -> None:
        await self.faults.before("attach_volume", guest.instance_id, self._world)
        known = self._find(guest.instance_id)
        if volume.volume_id not in known.volumes:
            await self._set_volumes(known, [*known.volumes, volume.volume_id])
        self.faults.done("attach_volume")

    async def detach_volume(self, guest: GuestSpec, generation: int, volume: VolumeSpec) -> None:
        await self.faults.before("detach_volume", guest.instance_id, self._world)
        known = self._find(guest.instance_id)
        await self._set_volumes(known, [v for v in known.volumes if v != volume.volume_id])
        self.faults.done("detach_volume")

    async def swap_volume(self, guest: GuestSpec, generation: int, old: VolumeSpec, new: VolumeSpec, progress: Progress) -> None:
        await self.faults.before("swap_volume", guest.instance_id, self._world)
        known = self._find(guest.instance_id)
        if new.volume_id not in known.volumes:
            if known.power_state not in (PowerState.RUNNING, PowerState.PAUSED) or old.volume_id not in known.volumes:
                raise Conflict(f"Server {guest.instance_id} does not run with volume {old.volume_id}.")
            progress(0, "copying the volume")
            await self._set_volumes(known, [new.volume_id if v == old.volume_id else v for v in known.volumes])
        self.faults.done("swap_volume")

    async def extend_volume(self, guest: GuestSpec, volume: VolumeSpec) -> None:
        await self.faults.before("extend_volume", guest.instance_id, self._world)
        if volume.volume_id not in self._find(guest.instance_id).volumes:
            raise NotFound(f"Server {guest.instance_id} does not have volume {volume.volume_id}.")
        self.faults.done("extend_volume")

    async def snapshot_volume(self, guest: GuestSpec, volume: VolumeSpec, new_file: str) -> None:
        """Any name is that of an overlay which is there."""
        await self.faults.before("snapshot_volume", guest.instance_id, self._world)
        known = self._with_volume(guest, volume)
        files = known.overlays.get(volume.volume_id, [])
        if new_file not in files:
            await self._set_overlays(known, volume, [*files, new_file])
        self.faults.done("snapshot_volume")

    async def merge_volume(
        self, guest: GuestSpec, volume: VolumeSpec, file_to_merge: str | None, merge_target_file: str | None, progress: Progress
    ) -> None:
        await self.faults.before("merge_volume", guest.instance_id, self._world)
        known = self._with_volume(guest, volume)
        files = known.overlays.get(volume.volume_id, [])
        progress(0, "merging the volume's files")
        if merge_target_file is not None:
            await self._set_overlays(known, volume, [file for file in files if file != file_to_merge])
        else:
            below = files[: files.index(file_to_merge) + 1] if file_to_merge in files else []
            await self._set_overlays(known, volume, below + [file for file in files[-1:] if file not in below])
        self.faults.done("merge_volume")

    async def crash_dump(self, instance_id: str) -> None:
        await self.faults.before("crash_dump", instance_id, self._world)
        _note(self._find(instance_id), "nmi")
        self.faults.done("crash_dump")

    async def measures(self, instance_id: str) -> Measures:
        await self.faults.before("measures", instance_id, self._world)
        guest = self._find(instance_id)
        if guest.power_state is not PowerState.RUNNING:
            raise Conflict(f"Server {instance_id} is not running.")
        disk = DiskMeasures(name="vda", read_bytes=2**20, read_requests=256, errors=0)
        return Measures(cpu_nanoseconds=(10**9,) * guest.vcpus, memory_kib=guest.memory_mib * 1024, disks=(disk,))

    async def addresses(self, instance_id: str) -> tuple[DeviceAddress, ...]:
        await self.faults.before("addresses", instance_id, self._world)
        volumes = enumerate(self._find(instance_id).volumes)
        return tuple(DeviceAddress(kind="disk", name=volume, bus="pci", address=f"0000:00:{n + 16:02x}.0") for n, volume in volumes)

    async def console_output(self, instance_id: str, lines: int | None) -> str:
        await self.faults.before("console_output", instance_id, self._world)
        guest = self._find(instance_id)
        text = "".join(NOTES[note] for note in guest.notes).format(
            host=self.host,
            hostname=guest.hostname,
            instance_id=guest.instance_id,
            vcpus=guest.vcpus,
            memory_kib=guest.memory_mib * 1024,
        )
        return text if lines is None else "".join(text.splitlines(keepends=True)[-lines:] if lines > 0 else [])

    async def console(self, instance_id: str, console_type: str) -> ConsoleAddress:
        await self.faults.before("console", instance_id, self._world)
        guest = self._find(instance_id)
        return await self._consoles.offer(instance_id, guest.hostname, console_type)

    async def stray_files(self) -> list[str]:
        await self.faults.before("stray_files", "", self._world)
        return sorted(self._files - self._guests.keys())

    async def remove_stray(self, instance_id: str) -> None:
        await self.faults.before("remove_stray", instance_id, self._world)
        if instance_id not in self._guests:
            self._files.discard(instance_id)

    async def change_power(self, instance_id: str, state: PowerState) -> None:
        """As if the guest (or somebody at the hypervisor) had done it: shut down, crashed, started, paused."""
        guest = self._find(instance_id)
        if state in (PowerState.SHUTDOWN, PowerState.CRASHED):
            _note(guest, "powerbutton" if state is PowerState.SHUTDOWN else "crash")
        await self._change(guest, state)

    def _find(self, instance_id: str) -> FakeGuest:
        guest = self._guests.get(instance_id)
        if guest is None:
            raise NotFound(f"Server {instance_id} is not on this host.")
        return guest

    async def _make(self, guest: GuestSpec, generation: int, power_on: bool = True) -> None:
        self._consoles.cut(guest.instance_id)
        made = FakeGuest(
            instance_id=guest.instance_id,
            name=guest.name,
            hostname=guest.hostname,
            generation=generation,
            vcpus=guest.vcpus,
            memory_mib=guest.memory_mib,
            disk_gib=0 if guest.boots_from_volume else guest.root_gib,
            volumes=_volumes(guest),
            fit=guest.fit,
        )
        self._guests[guest.instance_id] = made
        self._files.add(guest.instance_id)
        await self._change(made, PowerState.RUNNING if power_on else PowerState.SHUTDOWN)

    async def _define(self, guest: GuestSpec, generation: int, power_on: bool) -> None:
        """The guest as it is described now, from its first boot on or off."""
        known = self._guests.get(guest.instance_id)
        if known is not None and known.generation > generation:
            raise Conflict(f"Server {guest.instance_id} has been placed anew since.")
        await self._make(guest, generation, power_on)

    async def _set_power(self, guest: FakeGuest, power_on: bool) -> None:
        if power_on:
            await self._boot(guest)
        else:
            await self._change(guest, PowerState.SHUTDOWN)

    async def _start(self, guest: GuestSpec, generation: int) -> None:
        known = self._guests.get(guest.instance_id)
        if known is None:
            await self._make(guest, generation)
        elif known.power_state is PowerState.PAUSED:
            raise Conflict(f"Cannot start server {guest.instance_id}: it is paused.")
        elif known.power_state is not PowerState.RUNNING:
            known.generation = max(known.generation, generation)
            known.volumes = _volumes(guest)
            await self._boot(known)

    async def _boot(self, guest: FakeGuest) -> None:
        if not guest.saved:
            _note(guest, "boot")
        guest.saved = False
        self._consoles.cut(guest.instance_id)
        await self._change(guest, PowerState.RUNNING)

    async def _switch(self, instance_id: str, old: PowerState, new: PowerState, verb: str) -> None:
        guest = self._find(instance_id)
        if guest.power_state is new:
            return
        if guest.power_state is not old:
            raise Conflict(f"Cannot {verb} server {instance_id}: it is not {old.name.lower()}.")
        await self._change(guest, new)

    async def _change(self, guest: FakeGuest, state: PowerState) -> None:
        guest.power_state = state
        if state not in (PowerState.RUNNING, PowerState.PAUSED):
            self._consoles.cut(guest.instance_id)
        self._publish(guest, state)
        if self._journal:
            await self._journal.write(msgspec.json.encode(guest))

    async def _set_volumes(self, guest: FakeGuest, volumes: list[str]) -> None:
        guest.volumes = volumes
        if self._journal:
            await self._journal.write(msgspec.json.encode(guest))

    def _with_volume(self, guest: GuestSpec, volume: VolumeSpec) -> FakeGuest:
        known = self._find(guest.instance_id)
        if volume.volume_id not in known.volumes:
            raise NotFound(f"Server {guest.instance_id} does not have volume {volume.volume_id}.")
        if known.power_state not in (PowerState.RUNNING, PowerState.PAUSED):
            raise Conflict(f"Server {guest.instance_id} does not run.")
        return known

    async def _set_overlays(self, guest: FakeGuest, volume: VolumeSpec, files: list[str]) -> None:
        guest.overlays = guest.overlays | {volume.volume_id: files}
        if self._journal:
            await self._journal.write(msgspec.json.encode(guest))

    def _publish(self, guest: FakeGuest, state: PowerState) -> None:
        self._events.publish(GuestEvent(guest.instance_id, guest.generation, state))


def _info(guest: FakeGuest) -> GuestInfo:
    return GuestInfo(
        instance_id=guest.instance_id,
        name=guest.name,
        power_state=PowerState(guest.power_state),
        generation=guest.generation,
        volumes=tuple(guest.volumes),
    )


def _volumes(guest: GuestSpec) -> list[str]:
    return [volume.volume_id for volume in guest.volumes]


async def _one_chunk(data: bytes) -> AsyncIterator[bytes]:
    yield data


class _Leaving:
    """A live migration away from here."""

    def __init__(self) -> None:
        self.called_off, self.forced, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()


def _note(guest: FakeGuest, note: str) -> None:
    guest.notes = [*guest.notes, note][-KEPT_NOTES:]
