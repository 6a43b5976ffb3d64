"""Live migration, the destination's side: room for a running guest, made when its source says what it brings."""

import os
from pathlib import Path
from typing import Any

import libvirt
import msgspec

from nova_async import log
from nova_async.certs import WORKER
from nova_async.errors import Conflict, Error
from nova_async.model.guests import GuestSpec
from nova_async.model.power import PowerState
from nova_async.virt.libvirt import domains, meeting, tunnel, xml
from nova_async.virt.libvirt.base import START_SECONDS, LibvirtBase
from nova_async.virt.libvirt.meeting import Place, Plan
from nova_async.virt.libvirt.pipes import Stream
from nova_async.virt.libvirt.transfer import HELLO_SECONDS, get, put

SYSTEM_SOCKET = "/run/libvirt/libvirt-sock"
MEETINGS = "/run/libvirt/nova-async/live"  # folders of sockets that QEMU and the workers meet at, as libvirtd names it
QEMU_FOLDER = "/var/lib/libvirt/qemu"  # belongs to whom QEMU runs as

log_ = log.get("virt.coming")


class Coming(LibvirtBase):
    """Methods of ``virt.driver.Driver`` for a guest that comes here."""

    async def start(self) -> None:
        await super().start()
        if not self._mock:
            await self._files.run(forget_meetings, self._seen_from_here(MEETINGS))

    async def prepare_live(self, guest: GuestSpec, generation: int, from_host: str, block: bool | None) -> dict[str, Any]:
        """The result is a ``tunnel.Ticket``; nothing of the guest is here until its source has said what it has.

        ``guest.volumes`` name this host's own ways to its volumes.
        """
        async with self._alone(guest.instance_id):
            known = await self._look(guest.instance_id)
            if known is not None and known.generation >= generation:
                raise Conflict(f"Server {guest.instance_id} has been placed here anew since.")
            if known is not None:
                await self._connection.call(lambda connection: domains.undefine(connection, guest.instance_id), deadline=START_SECONDS)
            if self._mock:
                return {}
            await self._arrivals.forget(guest.instance_id)
            await self._close_listener(guest.instance_id)
            await self._plugs.plug(guest.instance_id, guest.ports)
            volumes = {way.volume.volume_id: xml.volume(way, guest, self._shape) for way in await self._ways_to(guest)}
            compute, name = self._config.compute, self._world.uuid()[:13]
            folder = self._seen_from_here(f"{MEETINGS}/{name}")
            await self._files.run(make_meeting, folder, self._seen_from_here(QEMU_FOLDER))
            sockets = {part: folder / part for part in (tunnel.MEMORY, tunnel.DISKS)} | {
                tunnel.LIBVIRT: self._seen_from_here(SYSTEM_SOCKET)
            }
            first, last = compute.transfer_ports
            self._coming[guest.instance_id] = await tunnel.Listener.open(
                self._world,
                compute.transfer_address or self._config.own_address,
                range(first, last + 1),
                f"{MEETINGS}/{name}",
                sockets,
                lambda stream: self._agree(stream, guest, volumes),
                self._identity,
                WORKER + from_host,
            )
            return plain(self._coming[guest.instance_id].ticket)

    async def _agree(self, stream: Stream, guest: GuestSpec, volumes: dict[str, str]) -> None:
        """Answer a source that says what it brings."""
        try:
            plan = await get(stream[0], Plan, HELLO_SECONDS)
            meeting.check(plan)
            async with self._alone(guest.instance_id):
                if await self._look(guest.instance_id) is not None:
                    raise Conflict(f"Server {guest.instance_id} is here already.")
                await self._check_processor(plan)
                place = await self._make_room(guest, plan, volumes)
                await put(stream[1], place)
                if not place.shared:
                    for file in plan.files:
                        await self._disks.write(guest, file.name, await meeting.receive(stream, file))
                    await put(stream[1], place)
        except Error as error:
            log_.warning("live.refused", server=guest.instance_id, error=error.message, detail=error.detail)
            await put(stream[1], meeting.refusal(error))
            await stream[0].read(1)  # until the source has read it and hangs up

    async def _make_room(self, guest: GuestSpec, plan: Plan, volumes: dict[str, str]) -> Place:
        folder = self._disks.folder(guest.instance_id)
        shared = await self._files.run((folder / plan.mark).exists)
        if shared and plan.block:
            raise Conflict("The server's disks are on storage that both hosts share; block migration cannot be used.")
        if not shared and plan.block is False and plan.disks:
            raise Conflict("The server's disks are not on storage that both hosts share; use block migration.")
        if shared:
            return Place(shared=True, folder=str(folder), cpus=self._shape.shared_cpus, volumes=volumes)
        whole = await self._disks.make_targets(guest, plan.disks)
        return Place(folder=str(folder), whole=whole, cpus=self._shape.shared_cpus, volumes=volumes)

    async def _check_processor(self, plan: Plan) -> None:
        """Raises ``Conflict`` when this host cannot offer the guest the processor that it runs on."""
        kind = self._shape.virt_type
        if not plan.cpu:
            return
        try:
            answer = await self._connection.call(lambda connection: connection.compareHypervisorCPU(None, None, None, kind, plan.cpu, 0))
        except Error as error:  # libvirt compares by itself when the guest comes
            log_.info("live.processor_not_compared", detail=error.detail)
            return
        if answer == libvirt.VIR_CPU_COMPARE_INCOMPATIBLE:
            raise Conflict("The processor of the destination lacks what the server's has.", detail=self.host)

    async def finish_live(self, guest: GuestSpec, generation: int, *, paused: bool) -> None:
        async with self._alone(guest.instance_id):
            known = await self.guest(guest.instance_id)
            if known.generation > generation:
                raise Conflict(f"Server {guest.instance_id} has been placed anew since.")
            await self._close_listener(guest.instance_id)
            await self._plugs.plug(guest.instance_id, guest.ports)
            await self._define(guest, generation, self._disks.layout(guest))
            if not self._mock:
                await self._disks.take(guest.instance_id)
            if known.power_state is PowerState.PAUSED and not paused:
                await self._domain(guest.instance_id, domains.unpause)

    async def _close_listener(self, instance_id: str) -> None:
        """Succeeds when nothing is expected."""
        listener = self._coming.pop(instance_id, None)
        if listener is not None:
            await listener.close()
            await self._files.run(forget_meeting, self._seen_from_here(listener.ticket.meeting))


def forget_meetings(folder: Path) -> None:
    """Those of an earlier run, whose guests have come or stayed. Blocks."""
    for path in folder.glob("*"):
        forget_meeting(path)


def plain(ticket: tunnel.Ticket) -> dict[str, Any]:
    found = msgspec.to_builtins(ticket)
    assert isinstance(found, dict)
    return found


def make_meeting(folder: Path, qemu_folder: Path) -> None:
    """A folder in which QEMU, and nobody else, may make and find sockets. Blocks."""
    folder.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    owner = qemu_folder.stat()
    os.chown(folder, owner.st_uid, owner.st_gid)


def forget_meeting(folder: Path) -> None:
    """Blocks."""
    for path in folder.glob("*"):
        path.unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError:
        return
