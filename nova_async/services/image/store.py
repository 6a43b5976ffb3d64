"""The bytes of images: one immutable file each, written aside, checked while written, renamed when complete.

A temporary file is locked (``flock``) for as long as its upload lives, so that any process can tell
an upload under way from one whose process died. All file work runs in a small pool of threads.
"""

import asyncio
import errno
import fcntl
import hashlib
import os
import re
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from threading import Lock
from typing import ParamSpec, TypeVar

from nova_async.db.images import Data
from nova_async.errors import TooLarge, Unavailable, plain
from nova_async.services.image.inspect import Inspection
from nova_async.services.image.signatures import Claim

CHUNK = 2**20  # bytes
THREADS = 4
ID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
P = ParamSpec("P")
T = TypeVar("T")


class Incoming:
    """An upload's temporary file. Its methods block: ``Store.run`` calls them.

    They exclude each other, for a thread goes on although the task that waited for it was cancelled: the file must
    not be closed, and its number given to another file, below a write.
    """

    def __init__(self, temporary: Path, final: Path, inspection: Inspection, max_size: int, claim: Claim | None) -> None:
        self._temporary, self._final = temporary, final
        self._claim, self._signed = claim, claim.digest() if claim else None
        self._inspection, self._max_size = inspection, max_size
        self._md5, self._sha512 = hashlib.md5(usedforsecurity=False), hashlib.sha512()
        self._size = 0
        self._lock = Lock()
        self._file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def write(self, chunk: bytes) -> None:
        """Raises ``TooLarge`` (over the limit, or the disk is full) and ``Invalid`` (not what it claims to be)."""
        with self._lock:
            self._write(chunk)

    def _write(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._max_size:
            raise TooLarge(f"The image is larger than the limit of {self._max_size} bytes.")
        self._inspection.feed(chunk)
        self._md5.update(chunk)
        self._sha512.update(chunk)
        if self._signed:
            self._signed.update(chunk)
        with _disk_errors():
            _write_all(self._file, chunk)

    def seal(self) -> Data:
        """Everything was written: say what it is, and give it its final name. Raises ``Invalid``."""
        with self._lock:
            return self._seal()

    def _seal(self) -> Data:
        virtual_size = self._inspection.finish(self._file, self._size)
        if self._claim and self._signed:
            self._claim.check(self._signed.digest())
        with _disk_errors():
            os.fchmod(self._file, 0o440)
            os.fsync(self._file)
            self._temporary.rename(self._final)
            _sync_folder(self._final.parent)
        return Data(size=self._size, virtual_size=virtual_size, md5=self._md5.hexdigest(), sha512=self._sha512.hexdigest())

    def close(self, *, keep: bool) -> None:
        """End the upload; without ``keep`` no byte of it stays."""
        with self._lock:
            if not keep:
                self._temporary.unlink(missing_ok=True)
                self._final.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1


class Store:
    """A folder of image files named by opaque ids, and ``uploads/`` below it."""

    def __init__(self, folder: Path, max_size: int) -> None:
        self.folder, self._uploads = folder, folder / "uploads"
        self._max_size = max_size
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="images")
        self._uploads.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a blocking function in this store's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: function(*args, **kwargs))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def begin(self, upload_id: str, inspection: Inspection, claim: Claim | None) -> Incoming:
        """Make and lock the temporary file of a new upload. ``claim``: what its bytes must be, where they were signed."""
        opening = asyncio.ensure_future(self.run(self._begin, upload_id, inspection, claim))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._abandon)
            raise

    def _abandon(self, opening: "asyncio.Future[Incoming]") -> None:
        """Nobody waits any more for a file that a thread has made, or is about to make."""
        if not opening.cancelled() and opening.exception() is None:
            self._pool.submit(opening.result().close, keep=False)

    def _begin(self, upload_id: str, inspection: Inspection, claim: Claim | None) -> Incoming:
        with _disk_errors():
            return Incoming(self._uploads / _checked(upload_id), self.folder / upload_id, inspection, self._max_size, claim)

    async def read(self, data_id: str, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """``length`` bytes (all, when None) from ``start`` on, in chunks of at most 1 MiB. Raises ``Unavailable``."""
        file = await self.run(self._open, data_id)
        try:
            while length is None or length > 0:
                chunk = await self.run(os.pread, file.fileno(), CHUNK if length is None else min(CHUNK, length), start)
                if not chunk:
                    break
                start += len(chunk)
                length = None if length is None else length - len(chunk)
                yield chunk
        finally:
            file.close()

    async def digest(self, data_id: str, claim: Claim) -> bytes:
        """Of all bytes, as they were signed. Raises ``Unavailable``."""
        return await self.run(self._digest, data_id, claim)

    def _digest(self, data_id: str, claim: Claim) -> bytes:
        with self._open(data_id) as file:
            digest: bytes = hashlib.file_digest(file, claim.digest).digest()
        return digest

    def _open(self, data_id: str) -> FileIO:
        """An object, which closes itself when the task that asked for it is gone."""
        try:
            return FileIO(self.folder / _checked(data_id))
        except OSError as error:
            raise Unavailable("The image's data cannot be read now.", detail=plain(error)) from None

    async def remove(self, data_id: str) -> None:
        """Safe to repeat. Readers that have the file open read on."""
        await self.run((self.folder / _checked(data_id)).unlink, missing_ok=True)

    async def is_live(self, upload_id: str) -> bool:
        """Whether the process that began this upload still works on it."""
        return await self.run(lambda: any(_is_locked(folder / _checked(upload_id)) for folder in (self._uploads, self.folder)))

    async def unheld(self) -> list[Path]:
        """Every temporary and every complete file that no live upload holds."""
        return await self.run(
            lambda: [p for f in (self._uploads, self.folder) for p in f.iterdir() if ID.fullmatch(p.name) and not _is_locked(p)]
        )

    async def discard(self, paths: list[Path]) -> None:
        for path in paths:
            await self.run(path.unlink, missing_ok=True)


def _checked(identifier: str) -> str:
    """File names are our own UUIDs and nothing else."""
    if not ID.fullmatch(identifier):
        raise ValueError("not a name of ours")
    return identifier


def _is_locked(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _write_all(file: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


class _disk_errors:
    """A full disk is ``TooLarge``, as Glance says it; any other trouble is ``Unavailable``."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise TooLarge("There is not enough space left to store the image.", detail=plain(error)) from error
        raise Unavailable("The image store cannot be written now.", detail=plain(error)) from error
