"""Volumes and snapshots as raw files, one each (of an encrypted volume a LUKS file), sparse, named by its id.

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
from nova_async.errors import Error
from nova_async.qemu_img import Luks
from nova_async.services.volume.aside import ID, IMAGE, UPLOAD, Aside, checked, create
from nova_async.services.volume.stores import GIB, Copier, Origin, Traits
from nova_async.storage_daemons import option

COPY = ".copy"
MOMENT = ".moment"  # of a copy that is not what it will be yet
FICLONE = 0x40049409  # ioctl: share the blocks of another file (Btrfs, XFS)
LUKS_BEGINS = b"LUKS\xba\xbe\x00\x01"
LONGEST_HEADER = 16 * 2**20  # bytes; ours have 2 MiB


class VolumeStore(Aside):
    """``Store``: a folder of raw files, and ``part/`` below it for those that are being made."""

    traits = Traits(name="file", protocol="file", encrypts=True)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)  # hypervisors open files in it
        super().__init__(folder / "part")

    def path(self, volume: str) -> Path:
        return self.folder / checked(volume)

    async def make(self, volume: str, gib: int, luks: Luks | None = None) -> None:
        part = self._part(volume)
        await self._run(_sparse, part, 0 if luks else gib * GIB)
        if luks:
            await qemu_img.make_luks(part, gib * GIB, luks)
        await self._finish(part, volume)

    async def clone(self, of: Origin, volume: str, gib: int, copier: Copier | None = None, *, encrypted: bool = False) -> None:
        part = self._part(volume)
        await self._copy(of.snapshot or of.volume, part, copier)
        await self._run(_grow, part, gib * GIB, encrypted)
        await self._finish(part, volume)

    async def snapshot(self, volume: str, snapshot: str, gib: int, copier: Copier | None = None, *, encrypted: bool = False) -> None:
        await self.clone(Origin(volume), snapshot, gib, copier, encrypted=encrypted)

    async def from_image(self, volume: str, gib: int, disk_format: str, data: AsyncIterator[bytes], luks: Luks | None = None) -> None:
        part = self._part(volume)
        async with self._image(volume, gib, disk_format, data) as image:
            if luks:
                await self._run(_sparse, part, 0)
                await qemu_img.make_luks(part, gib * GIB, luks)
                await qemu_img.convert_into_luks(image, disk_format, part, luks)
            elif disk_format == "raw":
                await self._run(os.rename, image, part)
            else:
                await qemu_img.convert(image, disk_format, part, "raw")
            await self._run(_grow, part, gib * GIB, luks is not None)
        await self._finish(part, volume)

    async def grow(self, volume: str, gib: int, *, encrypted: bool = False) -> None:
        await self._run(_grow, self.path(volume), gib * GIB, encrypted)

    async def header(self, volume: str) -> int:
        """Bytes that stand before those of an encrypted volume."""
        return await self._run(_header, self.path(volume))

    async def as_image(self, volume: str, disk_format: str, copier: Copier | None = None) -> Path:
        copy, image = self._part(volume, COPY), self._part(volume, UPLOAD)
        try:
            await self._copy(volume, copy, copier)
            if disk_format == "raw":
                await self._run(os.rename, copy, image)
            else:
                await qemu_img.convert(copy, "raw", image, disk_format)
        finally:
            await self.discard(copy)
        return image

    async def _copy(self, source: str, part: Path, copier: Copier | None) -> None:
        """To a new file ``part``."""
        path = self.path(source)
        if await self._run(_reflink, path, part):
            return
        moment = part.with_suffix(MOMENT)
        try:
            if copier is not None:
                await self._run(lambda: _sparse(moment, path.stat().st_size))
                if await copier(moment):
                    return await qemu_img.convert(moment, "raw", part, "raw")  # with the holes that the copy has filled
        finally:
            await self.discard(moment)
        return await qemu_img.convert(path, "raw", part, "raw", in_use=True)

    async def remove(self, volume: str) -> None:
        for path in (self.path(volume), *(self._part(volume, suffix) for suffix in ("", IMAGE, COPY, UPLOAD, MOMENT))):
            await self.discard(path)

    async def remove_snapshot(self, volume: str, snapshot: str) -> None:
        await self.remove(snapshot)

    async def space(self) -> tuple[float, float]:
        """Of the file system."""
        used = await self._run(shutil.disk_usage, self.folder)
        return round(used.total / GIB, 2), round(used.free / GIB, 2)

    async def names(self) -> set[str]:
        """Of volumes and snapshots."""
        return await self._run(lambda: {p.name for p in self.folder.iterdir() if ID.fullmatch(p.name)})

    async def way(self, volume: str, *, here: bool) -> dict[str, Any] | None:
        told = {"device_path": str(self.path(volume)), "format": "raw"}
        return {"driver_volume_type": "file", "data": told} if here else None

    async def node(self, volume: str, gib: int, *, encrypted: bool, shared: bool) -> str:
        size = gib * GIB + (await self.header(volume) if encrypted else 0)
        locking = "off" if shared else "auto"
        return f"size={size},file.driver=file,file.filename={option(self.path(volume))},file.discard=unmap,file.locking={locking}"

    async def _finish(self, part: Path, volume: str) -> None:
        await self._run(_seal, part, self.path(volume))


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
    size += _header(path) if encrypted else 0
    with path.open("r+b") as file:
        if os.fstat(file.fileno()).st_size < size:
            file.truncate(size)


def _header(path: Path) -> int:
    """As LUKS 1 tells it: where, in sectors, the bytes begin."""
    with path.open("rb") as file:
        header = file.read(108)
    length = int.from_bytes(header[104:108], "big") * 512
    if header[:8] != LUKS_BEGINS or not 0 < length <= LONGEST_HEADER:
        raise Error("The volume is damaged.", detail=f"{path} does not begin as LUKS does")
    return length


def _seal(part: Path, final: Path) -> None:
    with part.open("rb") as file:
        os.fchmod(file.fileno(), 0o600)
        os.fsync(file.fileno())
    part.rename(final)
