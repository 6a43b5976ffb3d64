"""What every operation of the driver stands on: the way to libvirt, guests' files and plugs, their marks and events."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import libvirt
import msgspec

from nova_async import log
from nova_async.certs.identity import Identity
from nova_async.compute.plugs import NetworkPlugs
from nova_async.config import Config
from nova_async.errors import Error, NotFound, Unsupported
from nova_async.model.consoles import SPICE
from nova_async.model.guests import GuestSpec, VolumeSpec
from nova_async.model.power import PowerState
from nova_async.model.tagged_devices import DeviceAddress, with_addresses
from nova_async.qemu_img import Luks
from nova_async.virt.driver import GuestEvent, GuestInfo, HostFacts, Progress
from nova_async.virt.events import EventSource, Listener
from nova_async.virt.libvirt import addresses, console_log, domains, hardware, host, secrets, tunnel, xml
from nova_async.virt.libvirt.arriving import Arrivals
from nova_async.virt.libvirt.blanks import Blanks, Target
from nova_async.virt.libvirt.bridges import Bridges
from nova_async.virt.libvirt.connection import Connection
from nova_async.virt.libvirt.console_ports import ConsolePorts
from nova_async.virt.libvirt.daemon import SYSTEM_URI, ensure_libvirtd, private_uri, seen_from_here
from nova_async.virt.libvirt.disks import Disks, Files
from nova_async.virt.libvirt.files import FileThreads
from nova_async.virt.libvirt.image_cache import ImageCache, ImageFetcher
from nova_async.virt.libvirt.probe import choose_virt_type
from nova_async.virt.libvirt.resize import Resizer
from nova_async.virt.libvirt.sending import Sender
from nova_async.virt.libvirt.shares import Shares
from nova_async.world import World

T = TypeVar("T")
EVENTS = {  # others (defined, undefined, shutting down) change no power state
    libvirt.VIR_DOMAIN_EVENT_STARTED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_EVENT_RESUMED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_EVENT_STOPPED: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_EVENT_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: PowerState.SUSPENDED,
}
START_SECONDS = 120.0
LETTING_GO_SECONDS = 160.0  # as long as Nova waits for a disk or a card, which a guest whose system is not up yet cannot take out
LOOK_SECONDS = 1.0  # while waiting for an event, so that a lost one costs only time
SETTLE_SECONDS = 3.0  # of a libvirtd after its start
WAIT_SECONDS = (0.1, 5.0)  # least and most time until a guest whose volume was out of reach tries again
SWEEP_SECONDS = (5.0, 3600.0)  # least and most time between two looks at the image cache


log_ = log.get("virt.driver")


class VolumeFetcher(Protocol):
    """Where the ways to volumes are told."""

    async def connection(self, attachment_id: str) -> dict[str, Any]:
        """In Cinder's form ``{driver_volume_type, data}``; it may hold secrets. Raises ``NotFound``, ``Unsupported``, ``Unavailable``."""
        ...


class LibvirtBase:
    """The part of the driver that every operation stands on: the connection, what is there, one operation at a time on one guest."""

    def __init__(
        self,
        config: Config,
        world: World,
        images: ImageFetcher,
        plugs: NetworkPlugs,
        host: str,
        volumes: VolumeFetcher | None = None,
        identity: Identity | None = None,
    ) -> None:
        self.host = host
        self._identity = identity
        self._volumes = volumes
        self._config = config
        self._world = world
        self._plugs = plugs
        self._mock = config.compute.driver == "test" or config.compute.libvirt_uri.startswith("test:")
        self._files = FileThreads()
        files = config.files
        self._cache = ImageCache(
            files / "image-cache", images, self._files, world, keep_seconds=config.compute.image_cache_seconds, host=host
        )
        self._disks = Disks(files / "instances", self._cache, self._files, host, config.compute.config_drive_format)
        options = config.compute
        address = options.transfer_address or config.own_address
        self._bridges = Bridges(config.state / "ways", world, self._files, config.certificate_dir if config.bus.tls else None)
        self._blanks = Blanks(config.state / "blanks", world)
        self._shares = Shares(Path(options.nfs_mount_dir).absolute() if options.nfs_mount_dir else config.state / "mnt", self._files)
        self._arrivals = Arrivals(files / "instances", self._cache, self._files, world, address, options.transfer_ports, identity)
        self._sender = Sender(files / "image-cache", self._files, world, identity)
        self._resizer = Resizer(self._disks, self._files)
        self._events = EventSource()
        self._consoles = ConsolePorts(config.compute.console_address or config.own_address, identity)
        self._connection = Connection(self._find_libvirt, config.compute.threads, world, lifecycle=self._on_lifecycle, opened=self._opened)
        self._shape = xml.Host(virt_type="test")
        self._generations: dict[str, int] = {}
        self._locks: dict[str, _Lock] = {}
        self._doomed: set[str] = set()
        self._waiting: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._own_libvirtd = False
        self._coming: dict[str, tunnel.Listener] = {}
        self._leaving: dict[str, Any] = {}
        self._ways = asyncio.Semaphore(options.live_migrations_at_once)

    # --- life ---

    async def start(self) -> None:
        await self._disks.open()
        await self._cache.open()
        if not self._mock:
            options = self._config.compute
            self._shape = xml.Host(
                virt_type=await self._find_virt_type(),
                cpu_model=options.cpu_model,
                cpu_features=options.cpu_features,
                shared_cpus=options.cpu_shared_set,
                consoles=options.consoles,
                vnc_clipboard=options.vnc_clipboard,
                tpm=await self._files.run(shutil.which, "swtpm") is not None,
                initiator=host.initiator(self.host),
            )
        if self._config.compute.libvirt_uri == SYSTEM_URI or self._mock:
            await self._connection.open()
        else:
            await self._connection.open_at_last()
        if not self._mock:
            await self._files.run(partial(self._seen_from_here(xml.SERIAL_SOCKETS).mkdir, mode=0o711, parents=True, exist_ok=True))
            await self._arrivals.open()
            await self._blanks.open()
            self._begin(self._sweep_for_ever(), "image-cache-sweep")
            self._begin(self._keep_bridges(), "volume-bridges")

    async def close(self) -> None:
        self._events.close()
        self._consoles.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)
        self._bridges.shut()
        self._blanks.close()
        await self._arrivals.close()
        for listener in self._coming.values():
            await listener.close()
        await self._cache.close()
        await self._connection.close()
        self._files.close()

    async def facts(self) -> HostFacts:
        known = await self._connection.call(lambda connection: host.facts(connection, self.host, self._shape.virt_type, self._config))
        return msgspec.structs.replace(known, wires=await self._plugs.wires())

    def events(self) -> Listener:
        return self._events.listen()

    # --- what is there ---

    async def guests(self) -> list[GuestInfo]:
        found = await self._connection.call(domains.all_guests)
        busy = {instance_id: self._generations[instance_id] for instance_id in self._locks if instance_id in self._generations}
        self._generations = {guest.instance_id: guest.generation for guest in found} | busy
        return found

    async def guest(self, instance_id: str) -> GuestInfo:
        found = await self._look(instance_id)
        if found is None:
            raise NotFound(f"Server {instance_id} is not on this host.")
        return found

    async def console_output(self, instance_id: str, lines: int | None) -> str:
        await self.guest(instance_id)
        return await self._files.run(console_log.tail, self._disks.console(instance_id), lines)

    async def addresses(self, instance_id: str) -> tuple[DeviceAddress, ...]:
        return await self._domain(instance_id, addresses.of)

    async def stray_files(self) -> list[str]:
        owners = await self._disks.owners()
        known = {guest.instance_id for guest in await self.guests()} | self._locks.keys() | self._coming.keys()
        return [owner for owner in owners if owner not in known]

    async def remove_stray(self, instance_id: str) -> None:
        async with self._alone(instance_id):
            if await self._look(instance_id) is None:
                await self._remove_files(instance_id)

    # --- steps ---

    async def _ways_to(self, guest: GuestSpec) -> tuple[xml.Way, ...]:
        return () if self._mock else tuple([await self._way_to(guest, volume) for volume in guest.volumes])

    async def _way_to(self, guest: GuestSpec, volume: VolumeSpec, *, anew: bool = False) -> xml.Way:
        """Asked of the volume service each time: what a row remembered may hold no more (SEC-035).

        ``anew``: a way that shows the size that the volume has now.
        """
        if self._volumes is None:
            raise Unsupported("This host knows no volume service.")
        told = await self._volumes.connection(volume.attachment_id)
        kind, data = told["driver_volume_type"], told["data"]
        if kind == "iscsi" and (bits := data.get("blank_bits")):
            luks = Luks(str(data["passphrase"]), bits)
            await self._blanks.format(volume.volume_id, Target(data, self._shape.initiator), luks)
        await self._keep_secrets(guest.instance_id, volume.volume_id, kind, data)
        if kind == "nbd":
            socket = await self._bridges.open(guest.instance_id, volume.attachment_id, data, anew=anew)
            data = {"name": data["name"], "socket": str(socket), **{key: data.get(key) for key in ("encrypted", "qos_specs")}}
        elif kind == "nfs":
            kind, data = "file", data | {"device_path": str(await self._shares.file(data))}
        return xml.Way(volume=volume, kind=kind, data=data)

    async def _keep_secrets(self, instance_id: str, volume_id: str, kind: str, data: dict[str, Any]) -> None:
        """What opens a volume, and logs in to where it is, goes from ``data`` into libvirt's keeping. Raises ``Unsupported``."""
        if data.get("encrypted"):
            passphrase = str(data.pop("passphrase", ""))
            await self._connection.call(lambda connection: secrets.keep(connection, instance_id, volume_id, passphrase))
        if kind == "iscsi" and data.get("auth_method"):
            password = str(data.pop("auth_password", ""))
            await self._connection.call(lambda connection: secrets.keep_login(connection, instance_id, volume_id, password))
        if kind == "rbd" and data.get("auth_enabled"):
            await self._connection.call(lambda connection: secrets.check(connection, str(data.get("secret_uuid"))))

    def _check_wishes(self, guest: GuestSpec) -> None:
        """Raises ``Unsupported``, naming what of flavor or image the guest cannot be given here."""
        if not self._mock:
            hardware.check(guest, tuning=self._shape.tuning, tpm=self._shape.tpm, spice=SPICE in self._shape.consoles)

    async def _make_files(self, guest: GuestSpec, progress: Progress) -> Files:
        if self._mock:
            return self._disks.layout(guest)
        return await self._disks.make(guest, progress)

    async def _described(self, guest: GuestSpec, generation: int, files: Files) -> str:
        return xml.domain(guest, generation, files, self._shape, await self._ways_to(guest))

    async def _define(self, guest: GuestSpec, generation: int, files: Files) -> None:
        text = await self._described(guest, generation, files)
        self._generations[guest.instance_id] = generation
        await self._connection.call(lambda connection: domains.define(connection, guest, text) and None, deadline=START_SECONDS)

    async def _define_off(self, guest: GuestSpec, generation: int, files: Files) -> None:
        """Define a guest that is off, and tell it where its devices are."""
        await self._define(guest, generation, files)
        await self._tell_addresses(guest)

    async def _tell_addresses(self, guest: GuestSpec) -> None:
        """On the config drive of a guest that is defined and off; where nothing has a tag, what is there is all there is to say."""
        if guest.config_drive and guest.tagged and guest.config_drive_files and not self._mock:
            files = with_addresses(guest.config_drive_files, guest.tagged, await self.addresses(guest.instance_id))
            await self._disks.write_config_drive(msgspec.structs.replace(guest, config_drive_files=files))

    async def _define_and_start(self, guest: GuestSpec, generation: int, files: Files) -> None:
        await self._define_off(guest, generation, files)
        await self._domain(guest.instance_id, domains.start, deadline=START_SECONDS)

    async def _bring_up(self, guest: GuestSpec, generation: int) -> None:
        """Start a guest that is off, from its saved memory if it has any or as it was rescued, else as ``guest`` describes it now."""
        if await self._connection.call(lambda connection: domains.starts_as_it_is(connection, guest.instance_id)):
            await self._check_disks(guest)
            await self._ways_to(guest)
        else:
            await self._redefine(guest, generation)
        await self._start(guest)

    async def _redefine(self, guest: GuestSpec, generation: int) -> None:
        """As ``guest`` describes it now, on the disks that are there."""
        await self._check_disks(guest)
        if guest.config_drive and guest.config_drive_files and not self._mock:
            await self._disks.write_config_drive(guest)
        await self._define_off(guest, generation, self._disks.layout(guest))

    async def _check_disks(self, guest: GuestSpec) -> None:
        owner = await self._disks.owner(guest.instance_id)
        if owner.back_to == self.host != owner.host:  # a move that was undone while its destination was silent
            await self._resizer.go_back(guest.instance_id)
        if not self._mock and not await self._disks.exist(guest):
            raise NotFound(f"The disks of server {guest.instance_id} are not on this host.")

    async def _tell_mark(self, guest: GuestSpec, generation: int | None = None) -> None:
        """Bring what the domain says of its server up to date."""
        known = await self.guest(guest.instance_id)
        mark = xml.mark_text(guest, known.generation if generation is None else generation)
        await self._domain(guest.instance_id, lambda domain: domains.set_mark(domain, mark))

    async def _start(self, guest: GuestSpec) -> None:
        await self._plugs.plug(guest.instance_id, guest.ports)
        await self._domain(guest.instance_id, domains.start, deadline=START_SECONDS)

    async def _remove(self, instance_id: str) -> None:
        await self._connection.call(lambda connection: domains.undefine(connection, instance_id), deadline=START_SECONDS)
        await self._remove_files(instance_id)

    async def _remove_files(self, instance_id: str) -> None:
        """Where hosts share them, files that may go back to another host do, and our own that another host uses are its for good."""
        await self._bridges.close_all(instance_id)
        await self._connection.call(lambda connection: secrets.forget(connection, instance_id))
        await self._arrivals.forget(instance_id)
        owner = await self._disks.owner(instance_id)
        if owner.back_to == self.host != owner.host:
            await self._resizer.forget(instance_id)
            await self._disks.give(instance_id, owner.host)
        elif owner.back_to and owner.host == self.host:
            await self._resizer.go_back(instance_id)
        else:
            await self._disks.remove(instance_id)

    async def _press(self, instance_id: str, timeout: float, retry: float) -> bool:
        """Press the power button every ``retry`` seconds; whether the guest went off within ``timeout``.

        A guest that is to be destroyed meanwhile is not waited for.
        """
        listener = self._events.listen()
        try:
            end = self._world.monotonic() + timeout
            press = 0.0
            while (now := self._world.monotonic()) < end and instance_id not in self._doomed:
                if now >= press:
                    if await self._domain(instance_id, domains.press_button):
                        return True
                    press = now + max(retry, LOOK_SECONDS)
                await _event_of(listener, instance_id, min(LOOK_SECONDS, end - now))
                if not await self._domain(instance_id, domains.is_active):
                    return True
            return False
        finally:
            await listener.aclose()

    async def _look(self, instance_id: str) -> GuestInfo | None:
        found = await self._connection.call(lambda connection: domains.find_guest(connection, instance_id))
        if found is not None:
            self._generations[instance_id] = found.generation
        return found

    async def _domain(self, instance_id: str, work: "Callable[[libvirt.virDomain], T]", deadline: float = 30.0) -> T:
        def on_domain(connection: libvirt.virConnect) -> T:
            return work(connection.lookupByUUIDString(instance_id))

        try:
            return await self._connection.call(on_domain, deadline=deadline)
        except NotFound as error:
            raise NotFound(f"Server {instance_id} is not on this host.", detail=error.detail) from None

    # --- background ---

    async def _find_virt_type(self) -> str:
        return await choose_virt_type(self._config.compute.virt_type, self._config.state)

    async def _find_libvirt(self) -> str:
        if self._mock:
            return "test:///default"
        uri = await ensure_libvirtd(self._config.state, self._config.compute.libvirt_uri, self._world)
        self._own_libvirtd = uri == private_uri(self._config.state)
        self._shape = msgspec.structs.replace(self._shape, tuning=not self._own_libvirtd)
        return uri

    def _seen_from_here(self, path: str) -> Path:
        """A path as libvirtd knows it, which may live in folders of its own."""
        return seen_from_here(self._config.state, path) if self._own_libvirtd else Path(path)

    async def _opened(self) -> None:
        """After (re)connecting: nobody told us anything while we were away.

        A libvirtd that has just started still counts dead guests as running, and tells nothing of those that end
        while it takes them up; so the second look.
        """
        owner = await self._connection.call(host.guests_owner)
        self._bridges.owner = owner or self._bridges.owner
        await self._look_around()
        self._begin(self._look_again(), "libvirt-look-again")

    async def _look_again(self) -> None:
        await self._world.sleep(SETTLE_SECONDS)
        try:
            await self._look_around()
        except Error as error:
            log_.warning("libvirt.not_looked", error=error.message, detail=error.detail)

    async def _look_around(self) -> None:
        """Tell the state of every guest."""
        for instance_id in await self._connection.call(domains.waiting):
            self._let_go_on(instance_id)
        for guest in await self.guests():
            self._events.publish(GuestEvent(guest.instance_id, guest.generation, guest.power_state))

    def _on_lifecycle(self, instance_id: str, event: int, detail: int) -> None:
        if event == libvirt.VIR_DOMAIN_EVENT_UNDEFINED:
            self._generations.pop(instance_id, None)  # only now: that it stopped was told before
        state = EVENTS.get(event)
        if state is None:
            return
        if event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED and detail == libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR:
            self._let_go_on(instance_id)
            return
        if state in (PowerState.SHUTDOWN, PowerState.CRASHED):
            self._consoles.cut(instance_id)
        generation = self._generations.get(instance_id)
        if generation is not None:
            self._events.publish(GuestEvent(instance_id, generation, state))
        else:
            self._begin(self._tell_unknown(instance_id, state), f"libvirt-event-{instance_id}")

    async def _tell_unknown(self, instance_id: str, state: PowerState) -> None:
        """An event of a domain that we have not seen: ours if it carries our mark."""
        try:
            found = await self._look(instance_id)
        except Error:
            return
        if found is not None:
            self._events.publish(GuestEvent(instance_id, found.generation, state))

    async def _keep_bridges(self) -> None:
        while True:
            try:
                await self._bridges.keep()
                for attachment in await self._bridges.unused(await self._connection.call(domains.bridges)):
                    if await self._bridges.guest_of(attachment) not in self._locks.keys() | self._coming.keys():
                        log_.info("bridge.reaped", attachment=attachment)
                        await self._bridges.close(attachment)
            except Error as error:
                log_.warning("bridges.not_kept", error=error.message, detail=error.detail)
            await self._bridges.next_look()

    def _let_go_on(self, instance_id: str) -> None:
        """A guest stands still since its volume is out of reach."""
        if instance_id not in self._waiting:
            self._waiting.add(instance_id)
            log_.warning("guest.waits_for_volume", server=instance_id)
            self._begin(self._go_on(instance_id), f"guest-waits-{instance_id}")

    async def _go_on(self, instance_id: str) -> None:
        try:
            await self._try_to_go_on(instance_id)
        finally:
            self._waiting.discard(instance_id)

    async def _try_to_go_on(self, instance_id: str) -> None:
        """Until it goes on, or somebody has stopped it."""
        pause = WAIT_SECONDS[0]
        while True:
            await self._world.sleep(pause)
            try:
                await self._bridges.keep()
                if not await self._domain(instance_id, domains.go_on):
                    return
            except NotFound:
                return
            except Error as error:
                log_.warning("guest.still_waits", server=instance_id, error=error.message, detail=error.detail)
            pause = min(2 * pause, WAIT_SECONDS[1])

    async def _sweep_for_ever(self) -> None:
        least, most = SWEEP_SECONDS
        while True:
            await self._world.sleep(min(most, max(least, self._config.compute.image_cache_seconds / 4)))
            try:
                await self._cache.sweep(self._arrivals.bases() | await self._disks.bases())
            except Error as error:
                log_.warning("image_cache.sweep_failed", error=error.message, detail=error.detail)

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @asynccontextmanager
    async def _alone(self, instance_id: str) -> AsyncIterator[None]:
        """One operation at a time on one guest."""
        lock = self._locks.setdefault(instance_id, _Lock())
        lock.users += 1
        try:
            async with lock:
                yield
        finally:
            lock.users -= 1
            if not lock.users:
                del self._locks[instance_id]


class _Lock(asyncio.Lock):
    users = 0


async def _event_of(listener: Listener, instance_id: str, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            async for event in listener:
                if event.instance_id == instance_id:
                    return
    except TimeoutError:
        pass
