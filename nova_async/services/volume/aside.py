"""Files of this machine for a while: images on their way into volumes, volumes on their way to become images.

All file work runs in a small pool of threads.
"""

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path
from typing import ParamSpec, TypeVar

from nova_async import qemu_img
from nova_async.errors import Error, Invalid, NoCapacity, Unavailable, plain
from nova_async.qemu_img import Luks
from nova_async.services.volume import luks as headers
from nova_async.services.volume.stores import GIB

CHUNK = 2**20  # bytes
THREADS = 4
IMAGE, UPLOAD, HEADER = ".image", ".upload", ".header"
ID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
P = ParamSpec("P")
T = TypeVar("T")


class Aside:
    """A folder of files named by the ids of volumes, which nobody else reads."""

    def __init__(self, folder: Path) -> None:
        self._parts = folder
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="volumes")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def flat(self, volume: str) -> bool:
        return True

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

    @asynccontextmanager
    async def _image(self, name: str, gib: int, disk_format: str, data: AsyncIterator[bytes]) -> AsyncIterator[Path]:
        """An image's bytes as a file. Raises ``Invalid`` when it is larger than ``gib``, or names another file."""
        if disk_format not in qemu_img.FORMATS:
            raise Invalid(f"Volumes cannot be made from images of the format {disk_format}; use raw or qcow2.")
        image = self._part(name, IMAGE)
        try:
            await self._write(image, data)
            raw = disk_format == "raw"
            size = await self._run(lambda: image.stat().st_size) if raw else await qemu_img.check_base(image, disk_format)
            if size > gib * GIB:
                raise Invalid(f"The image is larger than the volume, which has {gib} GiB.")
            yield image
        finally:
            await self.discard(image)

    async def _encrypt(self, name: str, luks: Luks, octets: int, place: str) -> None:
        """Let a volume of zeros begin as LUKS does, in ``octets``. ``place``: it, in options of QEMU's driver ``raw``."""
        header = self._part(name, HEADER)
        try:
            await self._run(lambda: create(header).close())
            await qemu_img.make_luks(header, 0, luks)
            await self._run(headers.lengthen, header, octets)
            await qemu_img.convert_into_zeros(header, "raw", f"driver=raw,{place}")
        finally:
            await self.discard(header)

    async def _fill(self, image: Path, disk_format: str, place: str, luks: Luks | None) -> None:
        """Write an image over the beginning of a new volume. ``place``: it, in options of QEMU's drivers ``raw`` and ``luks``."""
        if luks:
            await qemu_img.convert_into_luks(image, disk_format, place, luks)
        else:
            await qemu_img.convert_into_zeros(image, disk_format, f"driver=raw,{place}")

    def _part(self, name: str, suffix: str = "") -> Path:
        return self._parts / (checked(name) + suffix)

    async def _write(self, path: Path, data: AsyncIterator[bytes]) -> None:
        file = await self._run(create, path)
        try:
            async for chunk in data:
                await self._run(_append, file, chunk)
            await self._run(lambda: file.truncate(file.tell()))
        finally:
            file.close()

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*args, **kwargs))
        except OSError as error:
            raise _translated(error) from error


def checked(name: str) -> str:
    """Names are UUIDs and nothing else."""
    if not ID.fullmatch(name):
        raise ValueError("not a name of ours")
    return name


def create(path: Path) -> FileIO:
    return FileIO(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "r+")


def _append(file: FileIO, chunk: bytes) -> None:
    """Zeros become holes."""
    if chunk.count(0) == len(chunk):
        file.seek(len(chunk), os.SEEK_CUR)
        return
    view = memoryview(chunk)
    while view:
        view = view[file.write(view) :]


def _translated(error: OSError) -> Error:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoCapacity("There is no room left for the volume's data.", detail=plain(error))
    if isinstance(error, FileNotFoundError):
        return Error("The volume's data are not there.", detail=plain(error))
    return Unavailable("The volume store cannot be used now.", detail=plain(error))
