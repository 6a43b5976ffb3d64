"""The source's side of a transfer: what files a guest has, and bringing them over, however often the connection breaks."""

import asyncio
import re
from pathlib import Path

from nova_async import log
from nova_async.certs.identity import Identity
from nova_async.errors import Error, Invalid, NotFound, Unavailable, plain
from nova_async.virt.driver import Progress
from nova_async.virt.libvirt import qcow2, sparse
from nova_async.virt.libvirt.files import FileThreads
from nova_async.virt.libvirt.image_cache import CONTENT_NAME, MADE_NAME
from nova_async.virt.libvirt.transfer import LOST, VERSION, Answer, Digest, Hello, Offer, Ticket, check, connect, get, put, put_piece
from nova_async.world import World

DISK = re.compile(r"disk(\.(eph\d+|swap))?")  # overlays; a config drive is made anew
BOOT = re.compile(r"kernel|ramdisk|nvram|tpm2?-00\.permall")
RETRY_SECONDS = 150.0  # without reaching the destination; its worker may be starting anew
TRIES = 20
STORE_SECONDS = 900.0  # what the destination may take to prove and keep what it has got

log_ = log.get("virt.sending")


class Sender:
    """``cache`` is the folder of the image cache, in which the bases of disks are."""

    def __init__(self, cache: Path, files: FileThreads, world: World, identity: Identity | None) -> None:
        self._cache = cache
        self._identity = identity
        self._files = files
        self._world = world

    async def send(self, folder: Path, ticket: Ticket, progress: Progress) -> None:
        """All files of the guest whose folder this is. Returns once the destination has them all on its disk.

        Raises what the destination says, ``Unavailable`` when it is not to be reached.
        """
        found = await self._files.run(_offers, folder, self._cache)
        tries, reached = 0, self._world.monotonic()
        while True:
            tries += 1
            try:
                await self._try(found, ticket, progress)
                return
            except LOST as error:
                log_.warning("transfer.broken", tries=tries, error=plain(error))
                if not isinstance(error, ConnectionRefusedError | TimeoutError):
                    reached = self._world.monotonic()
            if tries >= TRIES or self._world.monotonic() - reached > RETRY_SECONDS:
                raise Unavailable("The disks could not be brought over: the destination does not answer.")
            await self._world.sleep(min(10.0, 0.25 * 2.0**tries) * (0.5 + self._world.random.random() / 2))

    async def _try(self, found: dict[Path, Offer], ticket: Ticket, progress: Progress) -> None:
        reader, writer = await connect(ticket, self._identity)
        try:
            await put(writer, Hello(version=VERSION, token=ticket.token, files=tuple(found.values())))
            wanted = check(await get(reader, Answer)).wanted
            meter = _Meter(progress, sum(offer.data for offer in found.values() if offer.name in wanted))
            ending = asyncio.ensure_future(get(reader, Answer, float("inf")))
            try:
                for path in _in_order(found, wanted):
                    await self._file(path, writer, ending, meter)
                async with asyncio.timeout(STORE_SECONDS):
                    check(await ending)
            finally:
                ending.cancel()
                await asyncio.gather(ending, return_exceptions=True)
        finally:
            writer.transport.abort()

    async def _file(self, path: Path, writer: asyncio.StreamWriter, ending: "asyncio.Future[Answer]", meter: "_Meter") -> None:
        source = await self._files.run(sparse.Reader, path)
        try:
            while (piece := await self._files.run(source.next)) is not None:
                if ending.done():
                    check(ending.result())
                await put_piece(writer, *piece)
                meter.count(len(piece[1]))
            await put_piece(writer, 0, b"")
            await put(writer, Digest(sha256=source.digest()))
        finally:
            source.close()


class _Meter:
    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._sent = progress, max(1, total), 0

    def count(self, size: int) -> None:
        self._sent += size
        self._progress(min(99, self._sent * 100 // self._total), "bringing the disks over")


def _in_order(found: dict[Path, Offer], wanted: tuple[str, ...]) -> list[Path]:
    """Raises ``Invalid`` for a name that was not offered."""
    paths = {offer.name: path for path, offer in found.items()}
    if not paths.keys() >= set(wanted):
        raise Invalid("The destination wants files that were not offered.")
    return [paths[name] for name in wanted]


def _offers(folder: Path, cache: Path) -> dict[Path, Offer]:
    """Bases first; none at all for a guest whose disks are volumes. Raises ``NotFound`` when it has no folder."""
    if not folder.is_dir():
        raise NotFound("The disks of the server are not on this host.")
    bases: dict[Path, Offer] = {}
    own: dict[Path, Offer] = {}
    for path in sorted(folder.iterdir()):
        if BOOT.fullmatch(path.name):
            own[path] = _offer(path, path.name, "raw")
        elif DISK.fullmatch(path.name):
            header = qcow2.read_header(path)
            base = Path(header.backing_file) if header.backing_file else None
            if base is not None and base not in bases:
                bases[base] = _base(base, cache)
            own[path] = _offer(path, path.name, "qcow2", header.virtual_size, bases[base].name if base else "")
    return bases | own


def _base(path: Path, cache: Path) -> Offer:
    """Named after its content: a file system that two hosts made alike is not the same one."""
    if path.parent != cache or path.suffix not in (".raw", ".qcow2"):
        raise Error("A disk of the server is based on a file that is not in the image cache.", detail=str(path))
    known = CONTENT_NAME.fullmatch(path.name) or MADE_NAME.fullmatch(path.name)
    name = path.name if known else f"data-{sparse.digest_of(path)}{path.suffix}"
    return _offer(path, name, path.suffix[1:])


def _offer(path: Path, name: str, form: str, virtual_size: int = 0, base: str = "") -> Offer:
    size, data = path.stat().st_size, sparse.data_bytes(path)
    return Offer(name=name, format=form, size=size, data=data, virtual_size=virtual_size, base=base)
