"""The disks of a guest that gets another flavor, or that came from another host: never smaller, and a way back.

What a guest was before a resize in place is kept in ``before-<generation>`` beside its disks, where the generation is that of
the placement which the resize made: so nothing but the undoing of this very resize ever brings it back.
"""

import os
from pathlib import Path

import msgspec

from nova_async import processes, qemu_img
from nova_async.errors import Invalid, NoCapacity, NotFound
from nova_async.model.guests import DiskSpec, GuestSpec
from nova_async.virt.libvirt import qcow2, sparse, tpm
from nova_async.virt.libvirt.arriving import Expected
from nova_async.virt.libvirt.disks import GIB, MIB, Disks
from nova_async.virt.libvirt.files import FileThreads, remove_tree
from nova_async.virt.libvirt.image_cache import MARGIN_BYTES
from nova_async.virt.libvirt.sending import DISK

COPY_SECONDS = 1800.0
SMALLER = "Unable to resize disk down."


def expected(disks: Disks, guest: GuestSpec) -> tuple[Expected, ...]:
    """What another host must send for a guest to come; an empty disk that it does not have is made here."""
    files = disks.layout(guest)
    found = [Expected(name=path.name) for path in (files.kernel, files.ramdisk) if path]
    found += [Expected(name=name, needed=False) for name in ("nvram", *tpm.STATES.values())]  # a guest that never ran has none
    if any(disk.path.name == "disk" for disk in files.disks):
        found.append(Expected(name="disk", most=guest.root_gib * GIB))
    for spec in guest.disks:
        name = disks.extra(guest.instance_id, spec).name
        found.append(Expected(name=name, most=spec.size_mib * MIB, exact=spec.name == "swap", needed=False))
    return tuple(found)


class Resizer:
    """Works on the files of a guest that is off. Every method is safe to repeat."""

    def __init__(self, disks: Disks, files: FileThreads) -> None:
        self._disks = disks
        self._files = files

    async def fit(self, guest: GuestSpec) -> None:
        """Make the disks those of the guest's flavor. Raises ``Invalid``, before anything is changed, where one would get smaller."""
        plan = await self._files.run(self._plan, guest)
        for path in plan.gone:
            await self._files.run(path.unlink, True)
        for path, size in plan.larger:
            await qemu_img.resize(path, size)
        await self._disks.add(guest, plan.missing)

    async def keep(self, instance_id: str, generation: int) -> None:
        """Copy the disks as they are, for ``restore``; copies of earlier resizes are removed."""
        folder = self._disks.folder(instance_id)
        kept = _kept(folder, generation)
        part = kept.with_suffix(".part")
        todo = await self._files.run(_to_keep, folder, kept, part)
        for path in todo:
            await processes.run("cp", "--reflink=auto", "--sparse=auto", "--", str(path), str(part / path.name), deadline=COPY_SECONDS)
        if todo:
            await self._files.run(_settle, part, kept)

    async def go_back(self, instance_id: str) -> None:
        """Files that came from another host which shares them: the disks are what they were there, and its own again."""
        owner = await self._disks.owner(instance_id)
        if owner.back_to:
            await self._files.run(_go_back, self._disks.folder(instance_id))
            await self._disks.give(instance_id, owner.back_to)

    async def restore(self, guest: GuestSpec, generation: int) -> None:
        """Undo the resize in place that made this placement, as far as it went: the disks are what they were."""
        folder = self._disks.folder(guest.instance_id)
        wanted = {disk.path.name for disk in self._disks.layout(guest).disks}
        await self._files.run(_restore, folder, _kept(folder, generation), wanted)

    async def forget(self, instance_id: str) -> None:
        """There is no way back any more."""
        await self._files.run(_forget, self._disks.folder(instance_id))

    def _plan(self, guest: GuestSpec) -> "_Plan":
        folder, plan = self._disks.folder(guest.instance_id), _Plan()
        names = {disk.path.name for disk in self._disks.layout(guest).disks}
        if "disk" in names:
            if not (folder / "disk").exists():
                raise NotFound(f"The disks of server {guest.instance_id} are not on this host.")
            plan.grow(folder / "disk", guest.root_gib * GIB)
        for spec in guest.disks:
            path = self._disks.extra(guest.instance_id, spec)
            if not path.exists():
                plan.missing += (spec,)
            elif spec.name != "swap":
                plan.grow(path, spec.size_mib * MIB)
            elif qcow2.read_header(path).virtual_size != spec.size_mib * MIB:
                plan.gone.append(path)  # what is in swap space is worth nothing to a guest that is off
                plan.missing += (spec,)
        plan.gone += [path for path in folder.iterdir() if DISK.fullmatch(path.name) and path.name not in names]
        return plan


class _Plan(msgspec.Struct):
    larger: list[tuple[Path, int]] = []
    gone: list[Path] = []
    missing: tuple[DiskSpec, ...] = ()

    def grow(self, path: Path, size: int) -> None:
        """``size`` 0: as large as it is."""
        now = qcow2.read_header(path).virtual_size
        if size and size < now:
            raise Invalid(SMALLER)
        if size > now:
            self.larger.append((path, size))


def _kept(folder: Path, generation: int) -> Path:
    return folder / f"before-{generation}"


def _to_keep(folder: Path, kept: Path, part: Path) -> list[Path]:
    """What to copy into ``part``, which is made; nothing when it was kept already."""
    for old in folder.glob("before-*"):
        if old != kept:
            remove_tree(old)
    if kept.exists():
        return []
    todo = [path for path in sorted(folder.iterdir()) if DISK.fullmatch(path.name)]
    free = os.statvfs(folder)
    if free.f_bavail * free.f_frsize < sum(map(sparse.data_bytes, todo)) + MARGIN_BYTES:
        raise NoCapacity("The host's disk has no room to keep what the server was before.")
    part.mkdir(mode=0o711)
    return todo


def _settle(part: Path, kept: Path) -> None:
    """The copies are on the disk before the originals may be changed."""
    for path in (*part.iterdir(), part):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    part.rename(kept)


def _restore(folder: Path, kept: Path, wanted: set[str]) -> None:
    if not kept.exists():
        return
    for path in sorted(kept.iterdir()):
        path.replace(folder / path.name)
    for path in folder.iterdir():
        if DISK.fullmatch(path.name) and path.name not in wanted:
            path.unlink()
    kept.rmdir()


def _go_back(folder: Path) -> None:
    """The name of what is kept says how far this came before."""
    returning = folder / "returning"
    for kept in folder.glob("before-*"):
        if kept.suffix == ".part":
            remove_tree(kept)
            continue
        for path in folder.iterdir():
            if DISK.fullmatch(path.name) and not (kept / path.name).exists():
                path.unlink()
        kept.rename(returning)
    if returning.exists():
        for path in sorted(returning.iterdir()):
            path.replace(folder / path.name)
        returning.rmdir()


def _forget(folder: Path) -> None:
    for old in folder.glob("before-*"):
        remove_tree(old)
