"""The way between two hosts while a running guest moves: all that libvirt and QEMU say to each other, in TLS between the workers.

libvirtd and QEMU listen to and connect to sockets of the file system alone; nothing of theirs is open on a network. For each guest
the destination listens on a port of its own, and both sides are known to each other, as for disks (``transfer``). A connection begins
with a ``Hello`` that shows the token and names what it wants to reach: ``plan``, which is answered here, or a socket to be connected
with.
"""

import asyncio
import datetime
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from nova_async import log
from nova_async.certs.identity import Identity, TlsServer
from nova_async.errors import Error, NoCapacity, plain
from nova_async.virt.libvirt import transfer
from nova_async.virt.libvirt.pipes import CHUNK, Stream, both_ways
from nova_async.virt.libvirt.transfer import LOST, Gate, put, self_signed
from nova_async.world import World

VERSION = 1
PLAN, LIBVIRT, MEMORY, DISKS = "plan", "libvirt", "memory", "disks"
CONNECT_SECONDS = 15.0  # to a socket of this host
CONNECTIONS = 32  # in use at one listener

log_ = log.get("virt.tunnel")


class Ticket(transfer.Ticket, frozen=True, kw_only=True):
    """How to reach a destination. Whoever has it may bring it this guest."""

    meeting: str  # the folder of both hosts' sockets, as libvirtd names it


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    token: str
    wanted: str


class Listener:
    """The destination's end, for one guest. ``sockets``: what may be reached; ``answer`` serves a connection that wants ``plan``."""

    def __init__(self, ticket: Ticket, sockets: dict[str, Path], answer: Callable[[Stream], Awaitable[None]]) -> None:
        self.ticket = ticket
        self._sockets = sockets
        self._answer = answer
        self._server: asyncio.Server | TlsServer
        self._gate = Gate(ticket.token)
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(
        cls,
        world: World,
        address: str,
        ports: range,
        meeting: str,
        sockets: dict[str, Path],
        answer: Callable[[Stream], Awaitable[None]],
        identity: Identity | None,
        source: str,
    ) -> "Listener":
        """With an ``identity`` only ``source`` is heard, which is a party. Raises ``NoCapacity`` when all ports are taken."""
        context, fingerprint = (None, "") if identity else await asyncio.to_thread(_certificate, world.now())
        own = {"party": identity.party if identity else "", "fingerprint": fingerprint}
        for port in ports:
            ticket = Ticket(address=address, port=port, token=world.secret(), meeting=meeting, **own)
            listener = cls(ticket, sockets, answer)
            try:
                listener._server = await transfer.listen(
                    address, port, listener._serve, limit=CHUNK, identity=identity, source=source, context=context
                )
            except OSError:
                continue
            return listener
        raise NoCapacity("The host takes no more servers at once.", detail=f"or it cannot listen at {address}; see compute.transfer_ports")

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            hello = await self._greeted(reader)
            if hello is None:
                return
            if hello.wanted == PLAN:
                await self._answer((reader, writer))
            elif len(self._tasks) <= CONNECTIONS:
                async with asyncio.timeout(CONNECT_SECONDS):
                    inner = await asyncio.open_unix_connection(str(self._sockets[hello.wanted]), limit=CHUNK)
                await both_ways((reader, writer), inner)
        except LOST as error:
            log_.warning("tunnel.broken", error=plain(error))
        except asyncio.CancelledError:
            pass  # by ``close``
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _greeted(self, reader: asyncio.StreamReader) -> Hello | None:
        """None for a stranger, and for who wants what is not here."""
        hello = await self._gate.greeting(reader, Hello)
        if hello is None or hello.version != VERSION or hello.wanted not in (PLAN, *self._sockets):
            log_.warning("tunnel.stranger")
            return None
        return hello


class Door:
    """The source's end: sockets of the file system in ``folder``, each of which leads to what is named like it at the destination."""

    def __init__(self, ticket: Ticket, folder: Path, identity: Identity | None) -> None:
        self._ticket = ticket
        self._identity = identity
        self._folder = folder
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, names: tuple[str, ...]) -> None:
        for name in names:
            self._servers.append(await asyncio.start_unix_server(self._through(name), self._folder / name, limit=CHUNK))

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    def _through(self, name: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await both_ways((reader, writer), await connect(self._ticket, name, self._identity))
            except (*LOST, Error) as error:
                log_.warning("tunnel.broken", wanted=name, error=plain(error))
            except asyncio.CancelledError:
                pass  # by ``close``
            finally:
                self._tasks.discard(task)
                writer.transport.abort()

        return serve


async def connect(ticket: Ticket, wanted: str, identity: Identity | None) -> Stream:
    """Raises ``Error`` when somebody else answers there."""
    reader, writer = await transfer.connect(ticket, identity)
    await put(writer, Hello(version=VERSION, token=ticket.token, wanted=wanted))
    return reader, writer


def _certificate(now: datetime.datetime) -> tuple[ssl.SSLContext, str]:
    """A context with a key and a certificate that nobody else has, and the certificate's SHA-256. Blocks."""
    identity, fingerprint = self_signed(now)
    with tempfile.NamedTemporaryFile(prefix="nova-async-") as file:  # Python reads them from a file alone; this one is ours only
        file.write(identity)
        file.flush()
        return transfer.server(file.name), fingerprint
