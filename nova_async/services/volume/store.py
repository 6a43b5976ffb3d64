"""The bytes of volumes and snapshots: one raw file each (of an encrypted volume a LUKS file), sparse, named by its id.

A file is made aside and renamed when it is whole, so that a job that was killed is simply done again. Every file is new:
nobody reads what somebody else has deleted. All file work runs in a small pool of threads.
"""

import asyncio
import errno
import fcntl
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import ParamSpec, TypeVar

from nova_async import qemu_img
from nova_async.errors import Error, Invalid, NoCapacity, Unavailable, plain
from nova_async.qemu_img import Luks

GIB = 2**30
CHUNK = 2**20  # bytes
MOMENT = ".moment"  # of a copy that is not what it will be yet
THREADS = 4
FICLONE = 0x40049409  # ioctl: share the blocks of another file (Btrfs, XFS)
LUKS_BEGINS = b"LUKS\xba\xbe\x00\x01"
LONGEST_HEADER = 16 * 2**20  # bytes; ours have 2 MiB
ID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
Copier = Callable[[Path], Awaitable[bool]]  # writes to a file that is there; False: it cannot
P = ParamSpec("P")
T = TypeVar("T")


class VolumeStore:
    """A folder of raw files, and ``part/`` below it for those that are being made."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._parts = folder, folder / "part"
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="volumes")
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)  # hypervisors open files in it
        self._parts.mkdir(mode=0o700, exist_ok=True)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def path(self, name: str) -> Path:
        return self.folder / _checked(name)

    async def make(self, name: str, gib: int, luks: Luks | None = None) -> None:
        """An empty one, or (``luks``) an encrypted one. Safe to repeat, as all that follow."""
        part = self._part(name)
        await self._run(_sparse, part, 0 if luks else gib * GIB)
        if luks:
            await qemu_img.make_luks(part, gib * GIB, luks)
        await self._finish(part, name)

    async def clone(self, source: str, name: str, gib: int, copier: "Copier | None" = None, *, encrypted: bool = False) -> None:
        """A copy of another file, as large or larger. ``copier`` knows how to copy one that is written to."""
        part = self._part(name)
        await self._copy(source, part, copier)
        await self._run(_grow, part, gib * GIB, encrypted)
        await self._finish(part, name)

    async def from_image(self, name: str, gib: int, disk_format: str, data: AsyncIterator[bytes], luks: Luks | None = None) -> None:
        """An image's bytes, turned into a raw file or an encrypted one. Raises ``Invalid`` when it is larger, or names another file."""
        if disk_format not in ("raw", "qcow2"):
            raise Invalid(f"Volumes cannot be made from images of the format {disk_format}; use raw or qcow2.")
        part, image = self._part(name), self._part(name, ".image")
        try:
            await self._write(image, data)
            raw = disk_format == "raw"
            size = await self._run(lambda: image.stat().st_size) if raw else await qemu_img.check_base(image, "qcow2")
            if size > gib * GIB:
                raise Invalid(f"The image is larger than the volume, which has {gib} GiB.")
            if luks:
                await self._run(_sparse, part, 0)
                await qemu_img.make_luks(part, gib * GIB, luks)
                await qemu_img.convert_into_luks(image, disk_format, part, luks)
            elif raw:
                await self._run(os.rename, image, part)
            else:
                await qemu_img.convert(image, "qcow2", part, "raw")
            await self._run(_grow, part, gib * GIB, luks is not None)
        finally:
            await self._run(lambda: image.unlink(missing_ok=True))
        await self._finish(part, name)

    async def grow(self, name: str, gib: int, *, encrypted: bool = False) -> None:
        """A guest may have it open."""
        await self._run(_grow, self.path(name), gib * GIB, encrypted)

    async def header(self, name: str) -> int:
        """Bytes that stand before those of an encrypted volume."""
        return await self._run(_header, self.path(name))

    async def as_image(self, name: str, disk_format: str, copier: "Copier | None" = None) -> Path:
        """A copy in the format of an image, to be read and then given to ``discard``. ``copier``: as for ``clone``."""
        copy, image = self._part(name, ".copy"), self._part(name, ".upload")
        try:
            await self._copy(name, copy, copier)
            if disk_format == "raw":
                await self._run(os.rename, copy, image)
            else:
                await qemu_img.convert(copy, "raw", image, disk_format)
        finally:
            await self.discard(copy)
        return image

    async def _copy(self, source: str, part: Path, copier: "Copier | None") -> None:
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

    async def read(self, path: Path) -> AsyncIterator[bytes]:
        """In chunks of at most 1 MiB."""
        file = await self._run(FileIO, path)
        try:
            while chunk := await self._run(file.read, CHUNK):
                yield chunk
        finally:
            file.close()

    async def discard(self, path: Path) -> None:
        await self._run(lambda: path.unlink(missing_ok=True))

    async def remove(self, name: str) -> None:
        """The whole file and what was begun of it."""
        for path in (self.path(name), *(self._part(name, suffix) for suffix in ("", ".image", ".copy", ".upload", MOMENT))):
            await self.discard(path)

    async def space(self) -> tuple[float, float]:
        """GiB of the file system in all, and free."""
        used = await self._run(shutil.disk_usage, self.folder)
        return round(used.total / GIB, 2), round(used.free / GIB, 2)

    async def names(self) -> set[str]:
        """Of all whole files."""
        return await self._run(lambda: {p.name for p in self.folder.iterdir() if ID.fullmatch(p.name)})

    def _part(self, name: str, suffix: str = "") -> Path:
        return self._parts / (_checked(name) + suffix)

    async def _write(self, path: Path, data: AsyncIterator[bytes]) -> None:
        file = await self._run(_create, path)
        try:
            async for chunk in data:
                await self._run(_append, file, chunk)
            await self._run(lambda: file.truncate(file.tell()))
        finally:
            file.close()

    async def _finish(self, part: Path, name: str) -> None:
        await self._run(_seal, part, self.path(name))

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*args, **kwargs))
        except OSError as error:
            raise _translated(error) from error


def _translated(error: OSError) -> Error:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoCapacity("There is no room left for the volume's data.", detail=plain(error))
    if isinstance(error, FileNotFoundError):
        return Error("The volume's data are not there.", detail=plain(error))
    return Unavailable("The volume store cannot be used now.", detail=plain(error))


def _checked(name: str) -> str:
    """File names are UUIDs and nothing else."""
    if not ID.fullmatch(name):
        raise ValueError("not a name of ours")
    return name


def _create(path: Path) -> FileIO:
    return FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "r+")


def _sparse(path: Path, size: int) -> None:
    with _create(path) as file:
        file.truncate(size)


def _append(file: FileIO, chunk: bytes) -> None:
    """Zeros become holes."""
    if chunk.count(0) == len(chunk):
        file.seek(len(chunk), os.SEEK_CUR)
        return
    view = memoryview(chunk)
    while view:
        view = view[file.write(view) :]


def _reflink(source: Path, target: Path) -> bool:
    """False where the file system cannot share blocks."""
    with source.open("rb") as old, _create(target) as new:
        try:
            fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS):
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
