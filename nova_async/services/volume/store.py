"""Volumes and snapshots as files, one each: raw and sparse, named by its id (of an encrypted volume a LUKS file), or ``<id>.qcow2``.

The name says what a file is; nobody looks into it to find that out. None of them leans on another. A qcow2 file of a volume is opened
by its base alone (``bases.py``); those of snapshots are only read.

A file is made aside and renamed when it is whole, so that a job that was killed is simply done again. Every file is new:
nobody reads what somebody else has deleted.
"""

import fcntl
import os
import shutil
from collections.abc import AsyncIterator
from errno import EINVAL, ENOSYS, ENOTTY, EOPNOTSUPP, EXDEV
from pathlib import Path
from typing import Any

from nova_async import qemu_img
from nova_async.qemu_img import Luks
from nova_async.services.volume import luks as headers
from nova_async.services.volume.aside import ID, IMAGE, UPLOAD, Aside, checked, create
from nova_async.services.volume.bases import Bases
from nova_async.services.volume.stores import GIB, Copier, Origin, Traits
from nova_async.storage_daemons import option

QCOW2 = ".qcow2"
MOMENT = ".moment"  # of a copy that is not what it will be yet
FICLONE = 0x40049409  # ioctl: share the blocks of another file (Btrfs, XFS)


class VolumeStore(Aside):
    """``Store``: a folder of files, and ``part/`` below it for those that are being made. ``disk_format``: of new ones."""

    traits = Traits(name="file", protocol="file")

    def __init__(self, folder: Path, bases: Bases, disk_format: str) -> None:
        self.folder, self._bases, self._disk_format = folder, bases, disk_format
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)  # hypervisors open files in it
        super().__init__(folder / "part")

    def path(self, volume: str) -> Path:
        raw, qcow2 = self._paths(volume)
        return qcow2 if qcow2.exists() else raw

    async def flat(self, volume: str) -> bool:
        return _format(await self._run(self.path, volume)) == "raw"

    async def make(self, volume: str, gib: int, luks: Luks | None = None) -> None:
        part, home = await self._fresh(volume), await self._run(self._home, volume, luks is not None)
        if _format(home) == "qcow2":
            await qemu_img.make_qcow2(part, gib * GIB)
        else:
            await self._run(_sparse, part, 0 if luks else gib * GIB)
        if luks:
            await qemu_img.make_luks(part, gib * GIB, luks)
        await self._finish(part, home, volume)

    async def clone(self, of: Origin, volume: str, gib: int, copier: Copier | None = None, *, encrypted: bool = False) -> None:
        part, home = await self._fresh(volume), await self._run(self._home, volume, encrypted)
        await self._copy(of, part, _format(home), copier)
        await self._lengthen(part, _format(home), gib, encrypted)
        await self._finish(part, home, volume)

    async def snapshot(self, volume: str, snapshot: str, gib: int, copier: Copier | None = None, *, encrypted: bool = False) -> None:
        await self.clone(Origin(volume), snapshot, gib, copier, encrypted=encrypted)

    async def from_image(self, volume: str, gib: int, disk_format: str, data: AsyncIterator[bytes], luks: Luks | None = None) -> None:
        part, home = await self._fresh(volume), await self._run(self._home, volume, luks is not None)
        async with self._image(volume, gib, disk_format, data) as image:
            if luks:
                await self._run(_sparse, part, 0)
                await qemu_img.make_luks(part, gib * GIB, luks)
                await qemu_img.convert_into_luks(image, disk_format, f"file.driver=file,file.filename={option(part)}", luks)
            elif disk_format == _format(home) == "raw":
                await self._run(os.rename, image, part)
            else:
                await qemu_img.convert(image, disk_format, part, _format(home))
            await self._lengthen(part, _format(home), gib, luks is not None)
        await self._finish(part, home, volume)

    async def grow(self, volume: str, gib: int, *, encrypted: bool = False) -> None:
        path = await self._run(self.path, volume)
        if _format(path) == "qcow2":
            await self._bases.grow(volume, path, gib * GIB)
        else:
            await self._run(_grow, path, gib * GIB, encrypted)

    async def header(self, volume: str) -> int:
        """Bytes that stand before those of an encrypted volume."""
        return await self._run(headers.header_bytes, self.path(volume))

    async def as_image(self, volume: str, disk_format: str, copier: Copier | None = None) -> Path:
        image = await self._fresh(volume, UPLOAD)
        await self._copy(Origin(volume), image, disk_format, copier)
        return image

    async def _copy(self, of: Origin, part: Path, disk_format: str, copier: Copier | None) -> None:
        """To a new file ``part``."""
        source = of.snapshot or of.volume
        path, moment = await self._run(self.path, source), part.with_suffix(MOMENT)
        had = _format(path)
        try:
            if await self._run(_reflink, path, moment):
                if had == disk_format:
                    return await self._run(os.rename, moment, part)
                return await qemu_img.convert(moment, had, part, disk_format)
            if copier is not None:
                await self._run(lambda: _sparse(moment, _shown(path)))
                if await copier(moment):
                    return await qemu_img.convert(moment, "raw", part, disk_format)  # with the holes that the copy has filled
        finally:
            await self.discard(moment)
        if had == "qcow2" and not of.snapshot:
            return await self._bases.copy(source, path, part, disk_format)
        return await qemu_img.convert(path, had, part, disk_format, in_use=had == "raw")

    async def remove(self, volume: str) -> None:
        for path in (*self._paths(volume), *(self._part(volume, suffix) for suffix in ("", IMAGE, UPLOAD, MOMENT))):
            await self.discard(path)
        await self._bases.end(volume)

    async def remove_snapshot(self, volume: str, snapshot: str) -> None:
        await self.remove(snapshot)

    async def space(self) -> tuple[float, float]:
        """Of the file system."""
        used = await self._run(shutil.disk_usage, self.folder)
        return round(used.total / GIB, 2), round(used.free / GIB, 2)

    async def names(self) -> set[str]:
        """Of volumes and snapshots."""
        return await self._run(lambda: {name for p in self.folder.iterdir() if ID.fullmatch(name := p.name.removesuffix(QCOW2))})

    async def way(self, volume: str, *, here: bool) -> dict[str, Any] | None:
        path = await self._run(self.path, volume)
        if not here or _format(path) != "raw":
            return None
        return {"driver_volume_type": "file", "data": {"device_path": str(path), "format": "raw"}}

    async def node(self, volume: str, gib: int, *, encrypted: bool, shared: bool) -> str:
        path = await self._run(self.path, volume)
        size = gib * GIB + (await self.header(volume) if encrypted else 0)
        if _format(path) == "qcow2":
            return f"size={size},{await self._bases.node(volume, path)}"
        locking = "off" if shared else "auto"
        return f"size={size},file.driver=file,file.filename={option(path)},file.discard=unmap,file.locking={locking}"

    async def _fresh(self, volume: str, suffix: str = "") -> Path:
        """Where a file is made aside. What somebody who was killed has begun there may be written to still, and is left to its writer."""
        part = self._part(volume, suffix)
        await self.discard(part)
        return part

    def _paths(self, volume: str) -> tuple[Path, Path]:
        """As a raw file, and as qcow2. At most one of them is there."""
        raw = self.folder / checked(volume)
        return raw, raw.with_suffix(QCOW2)

    def _home(self, volume: str, encrypted: bool) -> Path:
        """Where a new file goes: in the place of the one that is there."""
        raw, qcow2 = self._paths(volume)
        if qcow2.exists():
            return qcow2
        return raw if encrypted or self._disk_format == "raw" or raw.exists() else qcow2

    async def _lengthen(self, part: Path, disk_format: str, gib: int, encrypted: bool) -> None:
        if disk_format == "qcow2":
            await qemu_img.resize(part, gib * GIB)
        else:
            await self._run(_grow, part, gib * GIB, encrypted)

    async def _finish(self, part: Path, home: Path, volume: str) -> None:
        if _format(home) == "qcow2":
            await self._bases.replace(volume, lambda: self._run(_seal, part, home))
        else:
            await self._run(_seal, part, home)


def _format(path: Path) -> str:
    """By its name, which we gave it."""
    return "qcow2" if path.suffix == QCOW2 else "raw"


def _shown(path: Path) -> int:
    """Bytes of the disk that it is."""
    with path.open("rb") as file:
        if _format(path) == "raw":
            return os.fstat(file.fileno()).st_size
        return int.from_bytes(file.read(32)[24:], "big")


def _sparse(path: Path, size: int) -> None:
    with create(path) as file:
        file.truncate(size)


def _reflink(source: Path, target: Path) -> bool:
    """False where the file system cannot share blocks."""
    with source.open("rb") as old, create(target) as new:
        try:
            fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
        except OSError as error:
            if error.errno in (EOPNOTSUPP, ENOTTY, EXDEV, EINVAL, ENOSYS):
                return False
            raise
    return True


def _grow(path: Path, size: int, encrypted: bool) -> None:
    size += headers.header_bytes(path) if encrypted else 0
    with path.open("r+b") as file:
        if os.fstat(file.fileno()).st_size < size:
            file.truncate(size)


def _seal(part: Path, final: Path) -> None:
    with part.open("rb") as file:
        os.fchmod(file.fileno(), 0o600)
        os.fsync(file.fileno())
    part.rename(final)
