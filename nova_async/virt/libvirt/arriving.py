"""The destination's side of a transfer: a listener for each guest that is to come, and what it takes.

All of it is in the guest's folder, so that a worker that was killed listens again at the same address for the same ticket. What
the other host says is proven: which files, how large, in what format, and by a hash of each.
"""

import asyncio
import datetime
import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec

from nova_async import log, qemu_img
from nova_async.certs.identity import Identity, TlsServer
from nova_async.errors import Conflict, Error, Invalid, NoCapacity, plain
from nova_async.virt.libvirt import qcow2, sparse, tpm
from nova_async.virt.libvirt.files import FileThreads, named, remove_tree
from nova_async.virt.libvirt.image_cache import CONTENT_NAME, MADE_NAME, MARGIN_BYTES, ImageCache
from nova_async.virt.libvirt.transfer import (
    HELLO_SECONDS,
    LOST,
    VERSION,
    Answer,
    Digest,
    Gate,
    Hello,
    Offer,
    Ticket,
    get,
    get_piece,
    listen,
    put,
    self_signed,
    server,
    told,
)
from nova_async.world import World

STATE, CERTIFICATE = "arrival.json", "arrival.pem"
RAW = ("kernel", "ramdisk", "nvram", *tpm.STATES.values())

log_ = log.get("virt.arriving")


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the guest will need. ``most``: bytes that its disk may show (0: any); ``exact``: so many, or it is not wanted."""

    name: str
    most: int = 0
    exact: bool = False
    needed: bool = True


class State(msgspec.Struct, kw_only=True):
    """What is kept in the guest's folder."""

    generation: int
    ticket: Ticket
    expected: tuple[Expected, ...]
    bases: list[str] = []
    complete: bool = False
    source: str = ""  # the party that may bring them, where the ticket names ours


class Arrivals:
    """``folder`` holds the guests' folders; ``ports``: the first and the last that may be listened on."""

    def __init__(
        self,
        folder: Path,
        cache: ImageCache,
        files: FileThreads,
        world: World,
        address: str,
        ports: tuple[int, int],
        identity: Identity | None,
    ) -> None:
        self._folder = folder
        self._identity = identity
        self._cache = cache
        self._files = files
        self._world = world
        self._address = address
        self._ports = range(ports[0], ports[1] + 1)
        self._open: dict[str, Arrival] = {}

    async def open(self) -> None:
        """Listen again for what an earlier run waited for."""
        for path in await self._files.run(lambda: sorted(self._folder.glob(f"*/{STATE}"))):
            try:
                arrival = Arrival(path.parent, await self._files.run(_read, path), self._cache, self._files, self._identity)
                await arrival.listen()
                self._open[path.parent.name] = arrival
            except (Error, OSError) as error:
                log_.warning("arrival.lost", server=path.parent.name, error=str(error))

    async def close(self) -> None:
        for arrival in self._open.values():
            await arrival.close()
        self._open.clear()

    async def expect(self, instance_id: str, generation: int, expected: tuple[Expected, ...], source: str) -> Ticket:
        """Make the folder anew and listen for ``source``, a party. Raises ``NoCapacity`` when all ports are taken."""
        known = self._open.get(instance_id)
        if known is not None and known.state.generation == generation:
            return known.state.ticket
        await self.forget(instance_id)
        folder = named(self._folder, instance_id)
        await self._files.run(remove_tree, folder)
        party = self._identity.party if self._identity else ""
        fingerprint = await self._files.run(_prepare, folder, None if party else self._world.now())
        for port in self._ports:
            ticket = Ticket(address=self._address, port=port, token=self._world.secret(), fingerprint=fingerprint, party=party)
            state = State(generation=generation, ticket=ticket, expected=expected, source=source)
            arrival = Arrival(folder, state, self._cache, self._files, self._identity)
            try:
                await arrival.listen()
            except OSError:
                continue
            self._open[instance_id] = arrival
            await arrival.save()
            return ticket
        raise NoCapacity(
            "The host takes no more disks at once.", detail=f"or it cannot listen at {self._address}; see compute.transfer_ports"
        )

    def is_complete(self, instance_id: str, generation: int) -> bool:
        known = self._open.get(instance_id)
        return known is not None and known.state.generation == generation and known.state.complete

    async def forget(self, instance_id: str) -> None:
        """Listen no more; what has come stays. Succeeds when nothing was expected."""
        known = self._open.pop(instance_id, None)
        if known is not None:
            await known.close()
        await self._files.run(_forget, named(self._folder, instance_id))

    def bases(self) -> set[str]:
        """Names of the cache's files that have come for disks which have not."""
        return {name for arrival in self._open.values() for name in arrival.state.bases}


class Arrival:
    """One guest's files on their way here."""

    def __init__(self, folder: Path, state: State, cache: ImageCache, files: FileThreads, identity: Identity | None) -> None:
        self.state = state
        self._identity = identity
        self._folder = folder
        self._cache = cache
        self._files = files
        self._server: asyncio.Server | TlsServer | None = None
        self._gate = Gate(state.ticket.token)
        self._current: asyncio.Task[Any] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def listen(self) -> None:
        """Raises ``OSError`` when the port is taken, ``Conflict`` when it was to be done by a certificate that is gone."""
        ticket, context = self.state.ticket, None
        if not ticket.party:
            context = await self._files.run(server, str(self._folder / CERTIFICATE))
        elif self._identity is None:
            raise Conflict("This host has no certificate any more, by which the server's source could know it.")
        self._server = await listen(
            ticket.address,
            ticket.port,
            self._serve,
            limit=2 * sparse.CHUNK,
            identity=self._identity if ticket.party else None,
            source=self.state.source,
            context=context,
        )

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    async def save(self) -> None:
        await self._files.run(_write, self._folder / STATE, msgspec.json.encode(self.state))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            hello = await self._gate.greeting(reader, Hello)
            if hello is None:
                log_.warning("transfer.stranger", server=self._folder.name)
                return
            await self._take_over(task)
            await self._answer(hello, reader, writer)
        except LOST as error:
            log_.warning("transfer.broken", server=self._folder.name, error=plain(error))
        except asyncio.CancelledError:
            pass  # by ``close``, or by the same source that came anew
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _take_over(self, task: "asyncio.Task[Any]") -> None:
        """From the same source's earlier connection, which it has given up."""
        earlier, self._current = self._current, task
        if earlier is not None and not earlier.done():
            earlier.cancel()
            await asyncio.wait([earlier], timeout=10)

    async def _answer(self, hello: Hello, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if hello.version != VERSION:
                raise Invalid(f"The hosts cannot hand disks over: one speaks version {hello.version}, the other {VERSION}.")
            offers = {offer.name: offer for offer in hello.files}
            wanted = [] if self.state.complete else await self._files.run(self._wanted, offers)
            await put(writer, Answer(wanted=tuple(offer.name for offer in wanted)))
            for offer in wanted:
                await self._take(offer, reader)
            if not self.state.complete:
                self.state.complete = True
                await self.save()
                log_.info("transfer.complete", server=self._folder.name, files=len(wanted), bytes=sum(offer.data for offer in wanted))
            await put(writer, Answer())
        except Error as error:
            log_.warning("transfer.refused", server=self._folder.name, error=error.message, detail=error.detail)
            await put(writer, told(error))
            await self._linger(reader)

    async def _linger(self, reader: asyncio.StreamReader) -> None:
        """Let the source read the answer before the connection is cut: until it hangs up, or for a moment."""
        async with asyncio.timeout(HELLO_SECONDS):
            while await reader.read(sparse.CHUNK):
                pass

    # -- what is wanted

    def _wanted(self, offers: dict[str, Offer]) -> list[Offer]:
        """Those of the offered files that are needed and not here yet, bases first. Blocks."""
        own: list[Offer] = []
        for expected in self.state.expected:
            offer = offers.get(expected.name)
            if offer is None and expected.needed:
                raise Invalid(f"The other host has no file {expected.name} of the server.")
            if offer is not None and not (expected.exact and offer.virtual_size != expected.most):
                _check(offer, expected)
                own.append(offer)
        bases = {offer.base: _check_base(offers.get(offer.base)) for offer in own if offer.base}
        wanted = [offer for offer in bases.values() if not self._cache.has(offer.name)]
        wanted += [offer for offer in own if not (self._folder / offer.name).exists()]
        _check_space(self._folder, sum(offer.data for offer in wanted))
        self.state.bases = sorted(bases)
        return wanted

    # -- taking one

    async def _take(self, offer: Offer, reader: asyncio.StreamReader) -> None:
        part = self._folder / f"{offer.name}.part"
        digest = await self._write(part, offer, reader)
        if (await get(reader, Digest)).sha256 != digest:
            raise Error(f"The file {offer.name} did not arrive as it was sent.")
        if CONTENT_NAME.fullmatch(offer.name) or MADE_NAME.fullmatch(offer.name):
            await self._prove_base(part, offer, digest)
            await self._cache.adopt(part, offer.name)
            return
        if offer.format == "qcow2":
            await self._files.run(_check_disk, part, offer)
            if offer.base:
                await qemu_img.rebase(part, self._cache.path(offer.base), offer.base.rpartition(".")[2])
        await self._files.run(part.rename, self._folder / offer.name)

    async def _write(self, part: Path, offer: Offer, reader: asyncio.StreamReader) -> str:
        target = await self._files.run(sparse.Writer, part, offer.size)
        try:
            end, left = 0, offer.data
            while True:
                offset, data = await get_piece(reader)
                if not data:
                    return await self._files.run(target.finish)
                left -= len(data)
                if offset < end or offset + len(data) > offer.size or left < 0:
                    raise Invalid(f"The file {offer.name} is not what was offered.")
                end = offset + len(data)
                await self._files.run(target.write, offset, data)
        finally:
            await asyncio.shield(self._files.run(target.close))

    async def _prove_base(self, part: Path, offer: Offer, digest: str) -> None:
        """Its name says what it holds; and it reads no other file."""
        stem = offer.name.rpartition(".")[0]
        held = f"data-{digest}" if MADE_NAME.fullmatch(offer.name) else await self._sha512(part)
        if held != stem:
            raise Invalid("A base of the server's disks is not what its name says.")
        if offer.format == "qcow2":
            await self._files.run(qcow2.check_stands_alone, part)
            await qemu_img.check_base(part, "qcow2")

    async def _sha512(self, path: Path) -> str:
        digest = hashlib.sha512()
        async for data in self._files.chunks(path):
            await self._files.run(digest.update, data)
        return digest.hexdigest()


def _check(offer: Offer, expected: Expected) -> None:
    form = "raw" if expected.name in RAW else "qcow2"
    if offer.format != form or not 0 <= offer.data <= offer.size:
        raise Invalid(f"The file {offer.name} is not what was expected.")
    if expected.most and offer.virtual_size > expected.most:
        raise Invalid("Unable to resize disk down.")


def _check_base(offer: Offer | None) -> Offer:
    if offer is None or offer.base or not (CONTENT_NAME.fullmatch(offer.name) or MADE_NAME.fullmatch(offer.name)):
        raise Invalid("A base of the server's disks was not offered.")
    if offer.format != offer.name.rpartition(".")[2] or not 0 <= offer.data <= offer.size:
        raise Invalid("A base of the server's disks is not what was expected.")
    return offer


def _check_disk(part: Path, offer: Offer) -> None:
    header = qcow2.read_header(part)
    if header.virtual_size != offer.virtual_size or bool(header.backing_file) != bool(offer.base):
        raise Invalid(f"The disk {offer.name} is not what was offered.")
    qcow2.check_plain(header)


def _check_space(folder: Path, size: int) -> None:
    free = os.statvfs(folder)
    if free.f_bavail * free.f_frsize < size + MARGIN_BYTES:
        raise NoCapacity("The destination's disk has no room for the server's disks.")


def _prepare(folder: Path, now: datetime.datetime | None) -> str:
    """An empty folder but for a key and a certificate, whose SHA-256 is the result; without them when ``now`` is None."""
    folder.mkdir(mode=0o711)
    if now is None:
        return ""
    identity, fingerprint = self_signed(now)
    _write(folder / CERTIFICATE, identity)
    return fingerprint


def _read(path: Path) -> State:
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except msgspec.MsgspecError as error:
        raise Invalid("What was kept of a transfer cannot be read.", detail=str(error)) from None


def _write(path: Path, data: bytes) -> None:
    """As a whole or not at all, readable by us alone."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    fresh.replace(path)


def _forget(folder: Path) -> None:
    for name in (STATE, CERTIFICATE):
        (folder / name).unlink(missing_ok=True)
