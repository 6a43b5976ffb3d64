"""Live migration, the source's side: libvirt moves the guest through our tunnel, watched, until it has left or is here for good."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import libvirt
import msgspec

from nova_async import log
from nova_async.errors import Conflict, Error, NotFound, Unavailable, plain
from nova_async.model.guests import GuestSpec, LiveProgress
from nova_async.model.power import PowerState
from nova_async.virt.driver import Progress
from nova_async.virt.libvirt import domains, meeting, qcow2, target, tunnel
from nova_async.virt.libvirt.base import START_SECONDS, LibvirtBase
from nova_async.virt.libvirt.coming import QEMU_FOLDER, forget_meeting, make_meeting
from nova_async.virt.libvirt.meeting import Place, Plan, PlannedDisk
from nova_async.virt.libvirt.transfer import LOST

LONGEST_SECONDS = 86_400.0
LOOK_SECONDS = 0.25
CALL_OFF_SECONDS = 60.0
HANGS_SECONDS = 5.0  # libvirt, when a migration that was called off has not ended by then and moves nothing
GIB = 2**30
MARK = ".live-"  # how the name of a file begins that shows whether the destination sees the guest's folder

log_ = log.get("virt.going")


class Leaving:
    """A guest on its way. ``job``: libvirt moves it now, so that the way can be cut short or called off."""

    def __init__(self) -> None:
        self.called_off = asyncio.Event()
        self.ended = asyncio.Event()
        self.job = False
        self.forced = False
        self.off_since: float | None = None  # libvirt was told
        self.roused = False
        self.progress = LiveProgress()


class Going(LibvirtBase):
    """Methods of ``virt.driver.Driver`` for a guest that leaves."""

    async def live_migrate(
        self, guest: GuestSpec, generation: int, to_host: str, block: bool | None, ticket: dict[str, Any], progress: Progress
    ) -> None:
        async with self._alone(guest.instance_id):
            known = await self._look(guest.instance_id)
            if known is None:
                return  # libvirt forgets a guest here at the moment when it runs there
            if known.power_state not in (PowerState.RUNNING, PowerState.PAUSED):
                raise Conflict(f"Server {guest.instance_id} cannot be migrated: it is not running.")
            leaving = self._leaving[guest.instance_id] = Leaving()
            try:
                async with self._turn(leaving):
                    await self._end_stray(guest.instance_id)
                    await self._go(guest, generation, to_host, block, msgspec.convert(ticket, tunnel.Ticket), leaving, progress)
            except (*LOST, Error) as error:
                raise _told(error, leaving) from None
            finally:
                leaving.ended.set()
                del self._leaving[guest.instance_id]

    @asynccontextmanager
    async def _turn(self, leaving: Leaving) -> AsyncIterator[None]:
        """Wait until not too many guests are on their way, or until this one is called off."""
        waiting = asyncio.ensure_future(self._ways.acquire())
        off = asyncio.ensure_future(leaving.called_off.wait())
        try:
            await asyncio.wait({waiting, off}, return_when=asyncio.FIRST_COMPLETED)
            _check_wanted(leaving)
            yield
        finally:
            off.cancel()
            if not waiting.cancel():
                self._ways.release()

    async def _go(
        self,
        guest: GuestSpec,
        generation: int,
        to_host: str,
        block: bool | None,
        ticket: tunnel.Ticket,
        leaving: Leaving,
        progress: Progress,
    ) -> None:
        folder = self._disks.folder(guest.instance_id)
        place = await self._propose(guest, folder, block, ticket)
        _check_wanted(leaving)
        meeting_folder = self._seen_from_here(ticket.meeting)
        await self._files.run(forget_meeting, meeting_folder)
        await self._files.run(make_meeting, meeting_folder, self._seen_from_here(QEMU_FOLDER))
        door = tunnel.Door(ticket, meeting_folder, self._identity)
        try:
            await door.open((tunnel.LIBVIRT, tunnel.MEMORY, tunnel.DISKS))
            await self._files.run(hand_over, meeting_folder, self._seen_from_here(QEMU_FOLDER))
            await self._flatten(guest.instance_id, folder, place)
            _check_wanted(leaving)
            await self._migrate(guest, generation, folder, place, ticket, leaving, progress)
        finally:
            await door.close()
            await self._files.run(forget_meeting, meeting_folder)
        if place.shared:
            await self._disks.give(guest.instance_id, to_host)

    # -- agreeing

    async def _propose(self, guest: GuestSpec, folder: Path, block: bool | None, ticket: tunnel.Ticket) -> Place:
        text = await self._domain(guest.instance_id, domains.described)
        names = target.own_disks(text, folder)
        mark = folder / f"{MARK}{self._world.uuid()}"
        plan, contents = await self._files.run(_planned, folder, tuple(names), mark.name, target.processor(text), block)
        await self._files.run(_touch, mark)
        try:
            return await meeting.propose(ticket, plan, contents, self._identity)
        finally:
            await self._files.run(mark.unlink, True)

    async def _flatten(self, instance_id: str, folder: Path, place: Place) -> None:
        """Give disks all their content that have a base here and none there; migration copies what is in the disk alone."""
        names = target.own_disks(await self._domain(instance_id, domains.described), folder)
        for name in place.whole:
            header = await self._files.run(qcow2.read_header, folder / name)
            if header.backing_file:
                await self._domain(instance_id, partial(domains.begin_flattening, disk=names[name]))
                while not await self._domain(instance_id, partial(domains.is_flattened, disk=names[name])):
                    await self._world.sleep(LOOK_SECONDS)

    # -- moving

    async def _migrate(
        self, guest: GuestSpec, generation: int, folder: Path, place: Place, ticket: tunnel.Ticket, leaving: Leaving, progress: Progress
    ) -> None:
        options = self._config.compute
        flags = (
            libvirt.VIR_MIGRATE_LIVE
            | libvirt.VIR_MIGRATE_PEER2PEER
            | libvirt.VIR_MIGRATE_PERSIST_DEST
            | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
        )
        flags |= libvirt.VIR_MIGRATE_AUTO_CONVERGE if options.live_migration_auto_converge else 0
        flags |= libvirt.VIR_MIGRATE_POSTCOPY if options.live_migration_post_copy else 0
        live, stored = await self._domain(guest.instance_id, domains.descriptions)
        copied = [] if place.shared else list(target.own_disks(live, folder).values())  # with none of them libvirt would copy volumes
        flags |= libvirt.VIR_MIGRATE_NON_SHARED_INC if copied else 0
        if place.volumes or (place.shared and self._shape.virt_type == "qemu"):
            # libvirt trusts the host's cache on cluster file systems only; emulated guests use it, and volumes that are files of this host
            flags |= libvirt.VIR_MIGRATE_UNSAFE
        parameters: dict[str, Any] = {
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: target.described_for(live, guest, generation, folder, place),
            libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: target.described_for(stored, guest, generation, folder, place),
            libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{ticket.meeting}/{tunnel.MEMORY}",
        }
        if options.live_migration_mib_per_second:
            parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = options.live_migration_mib_per_second
        if copied:
            parameters[libvirt.VIR_MIGRATE_PARAM_MIGRATE_DISKS] = copied
            parameters[libvirt.VIR_MIGRATE_PARAM_DISKS_URI] = f"unix://{ticket.meeting}/{tunnel.DISKS}"
        uri = f"qemu+unix:///system?socket={ticket.meeting}/{tunnel.LIBVIRT}"
        moving = asyncio.ensure_future(
            self._domain(guest.instance_id, lambda domain: domains.migrate(domain, uri, parameters, flags), deadline=LONGEST_SECONDS)
        )
        leaving.job = True
        try:
            await self._watch(guest, moving, leaving, progress)
        finally:
            leaving.job = False
            if not moving.done():  # the worker stops, or nobody wants it any more: the guest stays
                await self._called_off(guest.instance_id, moving, leaving)
            if leaving.roused and await self._look(guest.instance_id) is not None:
                await self._domain(guest.instance_id, domains.unpause)

    async def _watch(self, guest: GuestSpec, moving: "asyncio.Future[None]", leaving: Leaving, progress: Progress) -> None:
        """Until the guest has left. One that takes too long is called off or forced, as configured."""
        options, begin, slow = self._config.compute, self._world.monotonic(), False
        await self._world.sleep(0)
        while not moving.done():
            await asyncio.wait([moving], timeout=LOOK_SECONDS)
            if moving.done():
                break
            leaving.progress = await self._measured(guest.instance_id) or leaving.progress
            told = leaving.progress
            progress(told.percent, "migrating")
            if leaving.called_off.is_set():
                await self._call_off(guest.instance_id, leaving)
            gib = max(2.0, (told.memory_total + told.disk_total) / GIB)
            allowed = options.live_migration_seconds_per_gib * gib
            if allowed and not slow and self._world.monotonic() - begin > allowed:
                slow = True
                log_.warning("live.slow", server=guest.instance_id, seconds=allowed, action=options.live_migration_slow)
                if options.live_migration_slow == "force":
                    await self._force(guest.instance_id, leaving)
                else:
                    leaving.called_off.set()
        await moving

    async def _end_stray(self, instance_id: str) -> None:
        """A migration that was begun by a worker which is no more is called off. Raises ``Unavailable`` where libvirt does not end it."""
        leaving = Leaving()
        try:
            async with asyncio.timeout(CALL_OFF_SECONDS):
                while await self._domain(instance_id, domains.has_job):
                    leaving.progress = await self._measured(instance_id) or leaving.progress
                    await self._call_off(instance_id, leaving)
                    await self._world.sleep(LOOK_SECONDS)
        except NotFound:
            return  # it has just left
        except TimeoutError:
            raise Unavailable(f"A migration of server {instance_id} that was called off has not ended.") from None
        if leaving.roused:
            await self._domain(instance_id, domains.unpause)

    async def _called_off(self, instance_id: str, moving: "asyncio.Future[None]", leaving: Leaving) -> None:
        async with asyncio.timeout(CALL_OFF_SECONDS):
            while not moving.done():
                leaving.progress = await self._measured(instance_id) or leaving.progress
                await self._call_off(instance_id, leaving)
                await asyncio.wait([moving], timeout=LOOK_SECONDS)

    async def _call_off(self, instance_id: str, leaving: Leaving) -> None:
        """Ask libvirt to end the migration.

        Where that comes as QEMU has stopped the guest to move its last memory, QEMU lets it go on, and libvirt (9.0) waits for ever for it
        to be stopped. A pause is what it waits for; then it ends the migration and lets the guest go on.
        """
        now = self._world.monotonic()
        leaving.off_since = now if leaving.off_since is None else leaving.off_since
        if not leaving.roused and now - leaving.off_since > HANGS_SECONDS and not leaving.progress.memory_total:
            known = await self._look(instance_id)
            if known is not None and known.power_state is PowerState.RUNNING:
                log_.warning("live.libvirt_roused", server=instance_id)
                leaving.roused = True
                await self._domain(instance_id, domains.pause, deadline=START_SECONDS)
        await self._domain(instance_id, domains.abort_job)

    async def _measured(self, instance_id: str) -> LiveProgress | None:
        try:
            return await self._domain(instance_id, domains.live_progress)
        except Error:
            return None  # it has just left

    # -- from outside

    async def abort_live(self, instance_id: str) -> bool:
        leaving = self._leaving.get(instance_id)
        if leaving is not None:
            leaving.called_off.set()
            await leaving.ended.wait()
        elif await self._look(instance_id) is not None:
            await self._end_stray(instance_id)
        return await self._look(instance_id) is None

    async def force_live(self, instance_id: str) -> None:
        leaving = self._leaving.get(instance_id)
        if leaving is None or not leaving.job:
            raise Conflict(f"Server {instance_id} is not being migrated.")
        await self._force(instance_id, leaving)

    async def _force(self, instance_id: str, leaving: Leaving) -> None:
        """With post-copy the guest goes on at the destination before all its memory is there; else it is paused until it is."""
        if leaving.forced:
            return
        leaving.forced = True
        if self._config.compute.live_migration_post_copy:
            try:
                await self._domain(instance_id, domains.start_post_copy)
                return
            except Error as error:  # while disks are being copied
                log_.info("live.not_post_copied", server=instance_id, detail=error.detail)
        await self._domain(instance_id, domains.pause, deadline=START_SECONDS)

    async def live_progress(self, instance_id: str) -> LiveProgress | None:
        leaving = self._leaving.get(instance_id)
        return leaving.progress if leaving is not None else None


def hand_over(folder: Path, qemu_folder: Path) -> None:
    """Let QEMU connect to what is in the folder. Blocks."""
    owner = qemu_folder.stat()
    for path in folder.iterdir():
        os.chown(path, owner.st_uid, owner.st_gid)


def _planned(folder: Path, disks: tuple[str, ...], mark: str, cpu: str, block: bool | None) -> tuple[Plan, dict[str, bytes]]:
    """Blocks."""
    found = []
    for name in disks:
        header = qcow2.read_header(folder / name)
        found.append(PlannedDisk(name=name, virtual_size=header.virtual_size, base=Path(header.backing_file).name))
    files = [path for path in (folder / "disk.config",) if path.exists()]
    contents = {path.name: path.read_bytes() for path in files}
    plan = Plan(mark=mark, disks=tuple(found), files=tuple(meeting.planned_file(path) for path in files), cpu=cpu, block=block)
    return plan, contents


def _touch(mark: Path) -> None:
    """In place of what an earlier run left. Blocks."""
    for old in mark.parent.glob(f"{MARK}*"):
        old.unlink(missing_ok=True)
    mark.touch()


def _check_wanted(leaving: Leaving) -> None:
    if leaving.called_off.is_set():
        raise Conflict("The migration was aborted.")


def _told(error: BaseException, leaving: Leaving) -> Error:
    if leaving.called_off.is_set():
        return Conflict("The migration was aborted.", detail=getattr(error, "detail", None))
    if isinstance(error, Error):
        return error
    return Unavailable("The connection to the destination broke.", detail=plain(error))
