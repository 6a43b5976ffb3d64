"""Images on this host: fetched once, proven, named after what they contain, and read by many guests."""

import asyncio
import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from nova_async import log, qemu_img
from nova_async.errors import Error, Invalid, NoCapacity, Unavailable, Unsupported
from nova_async.model.guests import ImageRef
from nova_async.services.image import signatures
from nova_async.virt.driver import Progress
from nova_async.virt.libvirt import qcow2
from nova_async.virt.libvirt.files import FileThreads
from nova_async.world import World

KEPT_AS = {"qcow2": "qcow2", "raw": "raw", "iso": "raw", "ami": "raw", "aki": "raw", "ari": "raw"}
STALL_SECONDS = 60.0  # a download that brings nothing for so long has failed
AWAY_SECONDS = 120.0  # so long an image service that does not answer is asked again, since it last gave something
PAUSE_SECONDS = (0.5, 5.0)  # least and most time between two tries
MARGIN_BYTES = 64 * 2**20  # disk space that a download leaves free
CONTENT_NAME = re.compile(r"[0-9a-f]{128}\.(raw|qcow2)")  # named after the sha512 of what it holds
MADE_NAME = re.compile(r"data-[0-9a-f]{64}\.(raw|qcow2)")  # came from another host, named after its ``sparse`` digest

log_ = log.get("virt.image_cache")


class ImageFetcher(Protocol):
    """Where images come from."""

    def download(self, image_id: str, start: int = 0) -> AsyncIterator[bytes]:
        """The bytes of an active image from ``start`` on, in chunks of about 1 MiB. Raises ``NotFound``, ``Unavailable``."""
        ...


class Base(msgspec.Struct, frozen=True):
    """A file that any number of guests may read."""

    path: Path
    format: str  # raw or qcow2
    virtual_size: int  # bytes


class ImageCache:
    def __init__(self, folder: Path, images: ImageFetcher, files: FileThreads, world: World, *, keep_seconds: int, host: str = "") -> None:
        """``host`` tells its unfinished files from those of others that share the folder."""
        self._folder = folder
        self._images = images
        self._files = files
        self._world = world
        self._keep_seconds = keep_seconds
        self._host = host
        self._making: dict[str, _Making] = {}
        self._digests: dict[tuple[str, str], bytes] = {}  # of files, by name and method; as this process has read them
        self._pinned: Counter[Path] = Counter()

    async def open(self) -> None:
        """Make the folder and drop what an earlier process left unfinished."""
        await self._files.run(_prepare, self._folder, self._host)

    async def close(self) -> None:
        tasks = [making.task for making in self._making.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=10)

    @asynccontextmanager
    async def image(self, image: ImageRef, progress: Progress) -> AsyncIterator[Base]:
        """The image as a file, fetched if need be; it stays there at least until the block ends.

        Raises ``Unsupported`` (format), ``Invalid`` (the bytes are not what was promised, or not what was signed), ``NoCapacity``,
        ``Unavailable``.
        """
        kept_as = KEPT_AS.get(image.disk_format)
        if kept_as is None:
            raise Unsupported(f"Guests cannot be run from an image in the format {image.disk_format}; convert it to qcow2 or raw.")
        name, claim = self.name_of(image), signatures.claim_of(image.proof, self._world.now()) if image.proof else None
        async with self._kept(name, kept_as, lambda path, tell: self._fetch(image, kept_as, path, tell), progress) as base:
            if claim is not None:
                progress(None, "verifying the image's signature")
                claim.check(await self._digest(base.path, claim))
            yield base

    def name_of(self, image: ImageRef) -> str:
        """Of the file that holds the image: where its content is known, the same on every host."""
        return f"{image.sha512 or 'id-' + image.id}.{KEPT_AS.get(image.disk_format, image.disk_format)}"

    @asynccontextmanager
    async def made(self, name: str, make: Callable[[Path], Awaitable[None]]) -> AsyncIterator[Base]:
        """A raw file that ``make`` writes when there is none yet: file systems for empty disks."""

        async def write(path: Path, _: Progress) -> None:
            await make(path)

        async with self._kept(name, "raw", write, lambda *_: None) as base:
            yield base

    def path(self, name: str) -> Path:
        """Where a file of this name is, or would be."""
        return self._folder / name

    def has(self, name: str) -> bool:
        """Whether the file is there; it then counts as used now. Blocks."""
        return _look(self._folder / name, "raw") is not None

    async def adopt(self, part: Path, name: str) -> None:
        """Take over a whole and proven file that was made elsewhere on this file system."""
        await self._files.run(_adopt, part, self._folder / name)

    async def sweep(self, in_use: set[str]) -> list[str]:
        """Remove files that no guest reads (``in_use``: names) and that nobody asked for lately. Returns their names."""
        busy = in_use | {path.name for path in self._pinned}
        removed: list[str] = await self._files.run(_sweep, self._folder, busy, self._world.now().timestamp() - self._keep_seconds)
        self._digests = {key: digest for key, digest in self._digests.items() if key[0] not in removed}
        if removed:
            log_.info("image_cache.swept", files=len(removed))
        return removed

    @asynccontextmanager
    async def _kept(
        self, name: str, form: str, make: Callable[[Path, Progress], Awaitable[None]], progress: Progress
    ) -> AsyncIterator[Base]:
        path = self._folder / name
        self._pinned[path] += 1
        try:
            base = await self._files.run(_look, path, form)
            if base is None:
                await self._once(name, make, progress)
                base = await self._files.run(_look, path, form)
            if base is None:
                raise Error("A file of the image cache has disappeared.")
            yield base
        finally:
            self._pinned[path] -= 1
            if not self._pinned[path]:
                del self._pinned[path]

    async def _digest(self, path: Path, claim: signatures.Claim) -> bytes:
        """Of a file that is pinned: nobody writes to it, and it is read once only."""
        key = (path.name, claim.method)
        if key not in self._digests:
            self._digests[key] = await self._files.run(_hashed, path, claim)
        return self._digests[key]

    async def _once(self, name: str, make: Callable[[Path, Progress], Awaitable[None]], progress: Progress) -> None:
        """Join the making of this file, or begin it. It ends with the last of those who wait for it."""
        making = self._making.get(name)
        if making is None:
            making = self._making[name] = _Making()
            making.task = asyncio.create_task(self._make(name, make, making), name=f"image-cache-{name[:12]}")
        making.listeners.append(progress)
        try:
            await asyncio.shield(making.task)
        finally:
            making.listeners.remove(progress)
            if not making.listeners and not making.task.done():
                self._forget(name, making)
                making.task.cancel()
                await asyncio.wait([making.task], timeout=10)

    async def _make(self, name: str, make: Callable[[Path, Progress], Awaitable[None]], making: "_Making") -> None:
        part = self._folder / f"{self._host}.{self._world.uuid()}.part"
        try:
            if not await self._files.run((self._folder / name).exists):
                await make(part, making.tell)
                await self._files.run(_publish, part, self._folder / name)
        finally:
            self._forget(name, making)
            await asyncio.shield(self._files.run(part.unlink, True))

    def _forget(self, name: str, making: "_Making") -> None:
        if self._making.get(name) is making:
            del self._making[name]

    async def _fetch(self, image: ImageRef, form: str, part: Path, tell: Progress) -> None:
        started = self._world.monotonic()
        await self._files.run(_check_space, self._folder, image.size_bytes)
        await self._download(image, part, tell)
        if form == "qcow2":
            await self._files.run(qcow2.check_stands_alone, part)
            await qemu_img.check_base(part, form)
        log_.info("image.fetched", image=image.id, size=image.size_bytes, seconds=round(self._world.monotonic() - started, 3))

    async def _download(self, image: ImageRef, part: Path, tell: Progress) -> None:
        writer = await self._files.run(_Writer, part)
        try:
            await self._fill(writer, image, tell)
            digest = await self._files.run(writer.finish)
        finally:
            await asyncio.shield(self._files.run(writer.close))
        if writer.size != image.size_bytes or (image.sha512 and digest != image.sha512):
            raise Invalid(f"Image {image.id} is not what the image service says it is: its size or its sha512 differ.")

    async def _fill(self, writer: "_Writer", image: ImageRef, tell: Progress) -> None:
        """All of the image; a service that is away for a while is asked to go on where it stopped. Raises ``Unavailable``."""
        pause, longest = PAUSE_SECONDS
        have, heard = -1, self._world.monotonic()
        while True:
            try:
                return await self._pour(writer, image, tell)
            except Unavailable as error:
                if writer.size == image.size_bytes:
                    return None
                if writer.size > have:
                    pause, have, heard = PAUSE_SECONDS[0], writer.size, self._world.monotonic()
                if self._world.monotonic() - heard > AWAY_SECONDS:
                    raise
                log_.info("image.asked_again", image=image.id, have=have, error=error.message, detail=error.detail)
            tell(None, "waiting for the image service")
            await self._world.sleep(pause)
            pause = min(2 * pause, longest)

    async def _pour(self, writer: "_Writer", image: ImageRef, tell: Progress) -> None:
        """What is missing, as far as one answer brings it."""
        chunks = self._images.download(image.id, writer.size)
        try:
            while (chunk := await _next(chunks)) is not None:
                if writer.size + len(chunk) > image.size_bytes:
                    raise Invalid(f"Image {image.id} is larger than the image service says.")
                await self._files.run(writer.write, chunk)
                tell(writer.size * 100 // max(1, image.size_bytes), "downloading the image")
        finally:
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()


class _Making:
    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.listeners: list[Progress] = []

    def tell(self, percent: int | None, note: str) -> None:
        for listener in self.listeners:
            listener(percent, note)


class _Writer:
    """Writes a file with holes where the data are zero, and hashes it; blocks."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
        self._digest = hashlib.sha512()
        self.size = 0

    def write(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        if chunk.count(0) != len(chunk):
            view, offset = memoryview(chunk), self.size
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                view, offset = view[written:], offset + written
        self.size += len(chunk)

    def finish(self) -> str:
        os.ftruncate(self._descriptor, self.size)
        os.fdatasync(self._descriptor)
        return self._digest.hexdigest()

    def close(self) -> None:
        os.close(self._descriptor)


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(STALL_SECONDS):
            return await anext(chunks, None)
    except TimeoutError:
        raise Unavailable(f"The image service sent nothing for {STALL_SECONDS:.0f} s.") from None


def _hashed(path: Path, claim: signatures.Claim) -> bytes:
    with path.open("rb") as file:
        digest: bytes = hashlib.file_digest(file, claim.digest).digest()
    return digest


def _prepare(folder: Path, host: str) -> None:
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    for left in folder.glob(f"{glob.escape(host)}.*.part" if host else "*.part"):
        left.unlink(missing_ok=True)


def _look(path: Path, form: str) -> Base | None:
    """The file as it is in the cache, marked as used now."""
    try:
        os.utime(path)
        return Base(path, form, qcow2.read_header(path).virtual_size if form == "qcow2" else path.stat().st_size)
    except FileNotFoundError:
        return None


def _publish(part: Path, path: Path) -> None:
    part.chmod(0o400 if os.geteuid() == 0 else 0o444)  # libvirt gives it to the user of its guests; ours reads on only if it is root
    part.rename(path)


def _adopt(part: Path, path: Path) -> None:
    if path.exists():
        part.unlink()
    else:
        _publish(part, path)


def _check_space(folder: Path, size: int) -> None:
    free = os.statvfs(folder)
    if free.f_bavail * free.f_frsize < size + MARGIN_BYTES:
        raise NoCapacity("The host's disk has no room for the image.")


def _sweep(folder: Path, busy: set[str], before: float) -> list[str]:
    removed = []
    for entry in os.scandir(folder):
        if entry.name not in busy and not entry.name.endswith(".part") and entry.stat(follow_symlinks=False).st_mtime <= before:
            Path(entry).unlink(missing_ok=True)
            removed.append(entry.name)
    return removed
