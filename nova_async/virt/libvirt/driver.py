"""The driver for QEMU/KVM guests, and for libvirt's own ``test:///default`` hypervisor.

A guest is a persistent domain whose UUID is the server's id and whose metadata carry our mark. Files first, then
the definition, then the start: a domain that is defined has all its files, so an interrupted ``spawn`` shows how far it came.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import libvirt

from nova_async import log
from nova_async.compute.plugs import NetworkPlugs
from nova_async.config import Config
from nova_async.errors import Conflict, Error, NotFound
from nova_async.model.guests import GuestSpec, PortSpec
from nova_async.model.power import PowerState
from nova_async.virt.driver import GuestEvent, GuestInfo, HostFacts, Progress
from nova_async.virt.events import EventSource, Listener
from nova_async.virt.libvirt import console_log, host, xml
from nova_async.virt.libvirt.connection import Connection
from nova_async.virt.libvirt.daemon import ensure_libvirtd
from nova_async.virt.libvirt.disks import Disks, Files
from nova_async.virt.libvirt.files import FileThreads
from nova_async.virt.libvirt.image_cache import ImageCache, ImageFetcher
from nova_async.virt.libvirt.moves import NoMoves
from nova_async.virt.libvirt.probe import choose_virt_type
from nova_async.world import World

POWER_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: PowerState.NOSTATE,
    libvirt.VIR_DOMAIN_RUNNING: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: PowerState.SUSPENDED,
}
EVENTS = {  # others (defined, undefined, shutting down) change no power state
    libvirt.VIR_DOMAIN_EVENT_STARTED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_EVENT_RESUMED: PowerState.RUNNING,
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: PowerState.PAUSED,
    libvirt.VIR_DOMAIN_EVENT_STOPPED: PowerState.SHUTDOWN,
    libvirt.VIR_DOMAIN_EVENT_CRASHED: PowerState.CRASHED,
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: PowerState.SUSPENDED,
}
START_SECONDS = 120.0
SAVE_SECONDS = 900.0
SOFT_REBOOT_SECONDS = 60.0
PRESS_SECONDS = 10.0
LOOK_SECONDS = 1.0  # while waiting for an event, so that a lost one costs only time
SETTLE_SECONDS = 3.0  # of a libvirtd after its start
SWEEP_SECONDS = (5.0, 3600.0)  # least and most time between two looks at the image cache

log_ = log.get("virt.driver")


class LibvirtDriver(NoMoves):
    """Implements ``virt.driver.Driver``."""

    def __init__(self, config: Config, world: World, images: ImageFetcher, plugs: NetworkPlugs, host: str) -> None:
        self.host = host
        self._config = config
        self._world = world
        self._plugs = plugs
        self._mock = config.compute.driver == "test" or config.compute.libvirt_uri.startswith("test:")
        self._files = FileThreads()
        self._cache = ImageCache(config.state / "image-cache", images, self._files, world, keep_seconds=config.compute.image_cache_seconds)
        self._disks = Disks(config.state / "instances", self._cache, self._files)
        self._events = EventSource()
        self._connection = Connection(self._find_libvirt, config.compute.threads, world, lifecycle=self._on_lifecycle, opened=self._opened)
        self._shape = xml.Host(virt_type="test")
        self._generations: dict[str, int] = {}
        self._locks: dict[str, _Lock] = {}
        self._doomed: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # --- life ---

    async def start(self) -> None:
        await self._disks.open()
        await self._cache.open()
        if not self._mock:
            virt_type = await choose_virt_type(self._config.compute.virt_type, self._config.state)
            self._shape = xml.Host(virt_type=virt_type, cpu_model=self._config.compute.cpu_model)
        await self._connection.open()
        if not self._mock:
            self._begin(self._sweep_for_ever(), "image-cache-sweep")

    async def close(self) -> None:
        self._events.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)
        await self._cache.close()
        await self._connection.close()
        self._files.close()

    async def facts(self) -> HostFacts:
        return await self._connection.call(lambda connection: host.facts(connection, self.host, self._shape.virt_type, self._config.state))

    def events(self) -> Listener:
        return self._events.listen()

    # --- what is there ---

    async def guests(self) -> list[GuestInfo]:
        found = await self._connection.call(_all_guests)
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

    async def stray_files(self) -> list[str]:
        owners = await self._disks.owners()
        known = {guest.instance_id for guest in await self.guests()} | self._locks.keys()
        return [owner for owner in owners if owner not in known]

    async def remove_stray(self, instance_id: str) -> None:
        async with self._alone(instance_id):
            if await self._look(instance_id) is None:
                await self._disks.remove(instance_id)

    # --- coming and going ---

    async def spawn(self, guest: GuestSpec, generation: int, progress: Progress) -> None:
        async with self._alone(guest.instance_id):
            known = await self._look(guest.instance_id)
            if known is not None and known.generation > generation:
                raise Conflict(f"Server {guest.instance_id} has been placed anew since.")
            if known is not None and known.generation == generation:
                if known.power_state is not PowerState.RUNNING:
                    await self._start(guest)
                return
            await self._remove(guest.instance_id)
            files = await self._make_files(guest, progress)
            progress(None, "starting the guest")
            await self._plugs.plug(guest.instance_id, guest.ports)
            await self._define_and_start(guest, generation, files)

    async def rebuild(self, guest: GuestSpec, generation: int, progress: Progress, *, power_on: bool) -> None:
        async with self._alone(guest.instance_id):
            await self._remove(guest.instance_id)
            files = await self._make_files(guest, progress)
            await self._plugs.plug(guest.instance_id, guest.ports)
            if power_on:
                await self._define_and_start(guest, generation, files)
            else:
                text = xml.domain(guest, generation, files, self._shape)
                await self._connection.call(lambda connection: connection.defineXML(text) and None, deadline=START_SECONDS)

    @asynccontextmanager
    async def snapshot(self, guest: GuestSpec) -> AsyncIterator[AsyncIterator[bytes]]:
        """A guest that runs is paused while its disk is copied, so that the copy is of one instant."""
        async with self._alone(guest.instance_id):
            known = await self.guest(guest.instance_id)
            running = known.power_state is PowerState.RUNNING
            if running:
                await self._domain(guest.instance_id, _pause)
            try:
                copy = await self._disks.copy_root(guest)
            finally:
                if running:
                    await self._domain(guest.instance_id, _unpause)
        try:
            yield self._files.chunks(copy)
        finally:
            await self._disks.forget_copy(guest)

    async def destroy(self, instance_id: str, *, delete_disks: bool = True) -> None:
        self._doomed.add(instance_id)
        try:
            async with self._alone(instance_id):
                await self._destroy(instance_id, delete_disks)
        finally:
            self._doomed.discard(instance_id)

    async def _destroy(self, instance_id: str, delete_disks: bool) -> None:
        if delete_disks:
            await self._remove(instance_id)
        else:
            await self._connection.call(lambda connection: _undefine(connection, instance_id), deadline=START_SECONDS)
        await self._plugs.unplug(instance_id)

    async def refresh_ports(self, instance_id: str, ports: tuple[PortSpec, ...]) -> None:
        async with self._alone(instance_id):
            await self.guest(instance_id)
            await self._plugs.plug(instance_id, ports)

    # --- power ---

    async def power_on(self, guest: GuestSpec, generation: int) -> None:
        async with self._alone(guest.instance_id):
            known = await self._look(guest.instance_id)
            if known is not None and known.power_state is PowerState.RUNNING:
                return
            if known is not None and known.power_state is PowerState.PAUSED:
                raise Conflict(f"Cannot start server {guest.instance_id}: it is paused.")
            await self._bring_up(guest, generation)

    async def power_off(self, instance_id: str, *, timeout: float, retry: float) -> None:
        async with self._alone(instance_id):
            known = await self.guest(instance_id)
            if known.power_state is PowerState.RUNNING and await self._press(instance_id, timeout, retry):
                return
            await self._domain(instance_id, _cut_power, deadline=START_SECONDS)

    async def reboot(self, guest: GuestSpec, generation: int, *, hard: bool) -> None:
        async with self._alone(guest.instance_id):
            known = await self._look(guest.instance_id)
            soft = not hard and known is not None and known.power_state is PowerState.RUNNING
            if known is not None:
                if not (soft and await self._press(guest.instance_id, SOFT_REBOOT_SECONDS, PRESS_SECONDS)):
                    await self._domain(guest.instance_id, _cut_power, deadline=START_SECONDS)
                await self._domain(guest.instance_id, _forget_saved)
            await self._bring_up(guest, generation)

    async def pause(self, instance_id: str) -> None:
        await self._domain(instance_id, _pause)

    async def unpause(self, instance_id: str) -> None:
        await self._domain(instance_id, _unpause)

    async def suspend(self, instance_id: str) -> None:
        async with self._alone(instance_id):
            await self._domain(instance_id, _suspend, deadline=SAVE_SECONDS)

    async def resume(self, guest: GuestSpec, generation: int) -> None:
        await self.power_on(guest, generation)

    # --- steps ---

    async def _make_files(self, guest: GuestSpec, progress: Progress) -> Files:
        if self._mock:
            return self._disks.layout(guest)
        return await self._disks.make(guest, progress)

    async def _define_and_start(self, guest: GuestSpec, generation: int, files: Files) -> None:
        text = xml.domain(guest, generation, files, self._shape)
        self._generations[guest.instance_id] = generation

        def work(connection: libvirt.virConnect) -> None:
            _start(connection.defineXML(text))

        await self._connection.call(work, deadline=START_SECONDS)

    async def _bring_up(self, guest: GuestSpec, generation: int) -> None:
        """Start a guest that is off, from its saved memory if it has any, else as ``guest`` describes it now."""
        if not self._mock and not await self._disks.exist(guest):
            raise NotFound(f"The disks of server {guest.instance_id} are not on this host.")
        if await self._connection.call(lambda connection: _has_saved(connection, guest.instance_id)):
            await self._start(guest)
            return
        if guest.config_drive and guest.config_drive_files and not self._mock:
            await self._disks.write_config_drive(guest)
        await self._plugs.plug(guest.instance_id, guest.ports)
        await self._define_and_start(guest, generation, self._disks.layout(guest))

    async def _start(self, guest: GuestSpec) -> None:
        await self._plugs.plug(guest.instance_id, guest.ports)
        await self._domain(guest.instance_id, _start, deadline=START_SECONDS)

    async def _remove(self, instance_id: str) -> None:
        await self._connection.call(lambda connection: _undefine(connection, instance_id), deadline=START_SECONDS)
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
                    if await self._domain(instance_id, _press_button):
                        return True
                    press = now + max(retry, LOOK_SECONDS)
                await _event_of(listener, instance_id, min(LOOK_SECONDS, end - now))
                if not await self._domain(instance_id, _is_active):
                    return True
            return False
        finally:
            await listener.aclose()

    async def _look(self, instance_id: str) -> GuestInfo | None:
        found = await self._connection.call(lambda connection: _find_guest(connection, instance_id))
        if found is not None:
            self._generations[instance_id] = found.generation
        return found

    async def _domain(self, instance_id: str, work: "Callable[[libvirt.virDomain], Any]", deadline: float = 30.0) -> Any:
        def on_domain(connection: libvirt.virConnect) -> Any:
            return work(connection.lookupByUUIDString(instance_id))

        try:
            return await self._connection.call(on_domain, deadline=deadline)
        except NotFound as error:
            raise NotFound(f"Server {instance_id} is not on this host.", detail=error.detail) from None

    # --- background ---

    async def _find_libvirt(self) -> str:
        if self._mock:
            return "test:///default"
        return await ensure_libvirtd(self._config.state, self._config.compute.libvirt_uri, self._world)

    async def _opened(self) -> None:
        """After (re)connecting: nobody told us anything while we were away.

        A libvirtd that has just started still counts dead guests as running, and tells nothing of those that end
        while it takes them up; so the second look.
        """
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
        for guest in await self.guests():
            self._events.publish(GuestEvent(guest.instance_id, guest.generation, guest.power_state))

    def _on_lifecycle(self, instance_id: str, event: int, detail: int) -> None:
        if event == libvirt.VIR_DOMAIN_EVENT_UNDEFINED:
            self._generations.pop(instance_id, None)  # only now: that it stopped was told before
        state = EVENTS.get(event)
        if state is None:
            return
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

    async def _sweep_for_ever(self) -> None:
        least, most = SWEEP_SECONDS
        while True:
            await self._world.sleep(min(most, max(least, self._config.compute.image_cache_seconds / 4)))
            try:
                await self._cache.sweep(await self._disks.bases())
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


# --- in libvirt's threads ---


def _all_guests(connection: libvirt.virConnect) -> list[GuestInfo]:
    found = (_info(domain) for domain in connection.listAllDomains(0))
    return [guest for guest in found if guest is not None]


def _find(connection: libvirt.virConnect, instance_id: str) -> "libvirt.virDomain | None":
    try:
        return connection.lookupByUUIDString(instance_id)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _find_guest(connection: libvirt.virConnect, instance_id: str) -> GuestInfo | None:
    domain = _find(connection, instance_id)
    return _info(domain) if domain is not None else None


def _info(domain: libvirt.virDomain) -> GuestInfo | None:
    """None for a domain without our mark, and for one that vanished under our eyes."""
    try:
        mark = xml.read_mark(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml.NAMESPACE))
        state = POWER_STATES.get(domain.state()[0], PowerState.NOSTATE)
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN):
            return None
        raise
    return GuestInfo(instance_id=domain.UUIDString(), name=domain.name(), power_state=state, generation=mark.generation)


def _start(domain: libvirt.virDomain) -> None:
    try:
        domain.create()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or not domain.isActive():
            raise


def _undefine(connection: libvirt.virConnect, instance_id: str) -> None:
    domain = _find(connection, instance_id)
    if domain is None:
        return
    _cut_power(domain)
    flags = libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    if connection.getType() == "QEMU":
        flags |= libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    _unless_gone(lambda: domain.undefineFlags(flags))


def _cut_power(domain: libvirt.virDomain) -> None:
    try:
        if domain.isActive():
            domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN):
            raise


def _unless_gone(work: "Callable[[], Any]") -> None:
    try:
        work()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise


def _press_button(domain: libvirt.virDomain) -> bool:
    """Whether the guest is off already."""
    try:
        domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
            return not domain.isActive()
        if error.get_error_code() in (libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_NO_SUPPORT):
            domain.shutdown()  # libvirt's test hypervisor knows no buttons
        else:
            raise
    return False


def _is_active(domain: libvirt.virDomain) -> bool:
    return bool(domain.isActive())


def _pause(domain: libvirt.virDomain) -> None:
    if _switchable(domain, "pause") is not PowerState.PAUSED:
        domain.suspend()


def _unpause(domain: libvirt.virDomain) -> None:
    if _switchable(domain, "unpause") is not PowerState.RUNNING:
        domain.resume()


def _switchable(domain: libvirt.virDomain, verb: str) -> PowerState:
    state = POWER_STATES.get(domain.state()[0], PowerState.NOSTATE)
    if state not in (PowerState.RUNNING, PowerState.PAUSED):
        raise Conflict(f"Cannot {verb} server {domain.UUIDString()}: it is {state.name.lower()}.")
    return state


def _suspend(domain: libvirt.virDomain) -> None:
    if domain.isActive():
        domain.managedSave(0)
    elif not domain.hasManagedSaveImage(0):
        raise Conflict(f"Cannot suspend server {domain.UUIDString()}: it is off.")


def _forget_saved(domain: libvirt.virDomain) -> None:
    if domain.hasManagedSaveImage(0):
        domain.managedSaveRemove(0)


def _has_saved(connection: libvirt.virConnect, instance_id: str) -> bool:
    domain = _find(connection, instance_id)
    return domain is not None and bool(domain.hasManagedSaveImage(0))
