"""This process's certificate in use: TLS 1.3 in which both ends show who they are, and each knows whom it wants.

Contexts are made anew when the files change (``load``): further connections show the new certificate and know who was revoked,
those that are open stay. Connections are accepted here and not by asyncio's servers, which keep the reason of a refusal to themselves.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from nova_async import log
from nova_async.certs import IDENTITY, REVOKED, ROOT, x509
from nova_async.errors import Forbidden, plain

WELCOME = b"\x01"  # what the server says first: with TLS 1.3 the client would else not know whether its certificate was taken
HANDSHAKE_SECONDS = 15.0
CONNECT_SECONDS = 15.0

STRANGERS = 64  # connections at one listener that have not proven who they are
BACKLOG = 64
AGAIN_SECONDS = 0.5  # when no connection can be accepted: files are short

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
logger = log.get("certs")


class Identity:
    """The certificate in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.party = ""
        self._server: ssl.SSLContext
        self._client: ssl.SSLContext
        self._listening: list[ssl.SSLContext] = []

    @classmethod
    async def open(cls, directory: Path) -> "Identity":
        made = cls(directory)
        await made.load()
        return made

    async def load(self) -> None:
        """Take the files as they are now."""
        self.party, self._server, self._client = await asyncio.to_thread(self._read)
        for context in self._listening:
            context.load_cert_chain(self.directory / IDENTITY)

    def _read(self) -> tuple[str, ssl.SSLContext, ssl.SSLContext]:
        party = x509.party_of(x509.read((self.directory / IDENTITY).read_bytes()))
        return party, self._context(ssl.PROTOCOL_TLS_SERVER), self._context(ssl.PROTOCOL_TLS_CLIENT)

    def _context(self, protocol: int) -> ssl.SSLContext:
        """Blocks."""
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # the party is compared instead
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.directory / IDENTITY)
        context.load_verify_locations(self.directory / ROOT)
        if (self.directory / REVOKED).exists():
            context.load_verify_locations(self.directory / REVOKED)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
        return context

    async def listen(self, address: str, port: int, serve: Serve, parties: Collection[str], *, limit: int) -> "TlsServer":
        """Take connections of ``parties`` and nobody else, each to be served by ``serve``. Raises ``OSError`` where that cannot be."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        bound = socket.create_server((address, port), family=family, backlog=BACKLOG)
        bound.setblocking(False)
        return TlsServer(self, bound, serve, parties, limit)

    async def accept(self, connection: socket.socket, parties: Collection[str], limit: int) -> Stream:
        """Raises ``Forbidden`` when whoever connected has not proven to be one of ``parties``."""
        loop = asyncio.get_running_loop()
        peer = str(connection.getpeername()[0])
        reader = asyncio.StreamReader(limit=limit)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._server)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            _check(writer, parties)
        except (OSError, TimeoutError) as error:
            logger.warning("tls.refused", peer=peer, reason=reason_of(error))
            raise Forbidden("Whoever connected said nothing that can be trusted.", detail=plain(error)) from None
        writer.write(WELCOME)
        return reader, writer

    async def connect(self, address: str, port: int, party: str, *, limit: int) -> Stream:
        """Raises ``Forbidden`` when it is not ``party`` that answers, and ``OSError`` or ``TimeoutError`` when nobody does."""
        async with asyncio.timeout(CONNECT_SECONDS):
            stream = await asyncio.open_connection(address, port, limit=limit)
        await self.secure(stream, party)
        return stream

    async def secure(self, stream: Stream, party: str) -> None:
        """Turn a connection that we made, and on which nothing was said yet, to TLS. Raises as ``connect``."""
        reader, writer = stream
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await writer.start_tls(self._client)
                _check(writer, (party,))
                welcome = await reader.read(1)
        except ssl.SSLError as error:
            _refused(writer, reason=reason_of(error))
            raise Forbidden(f"No trusted connection could be made: {reason_of(error)}.", detail=plain(error)) from None
        except BaseException:
            writer.transport.abort()
            raise
        if welcome != WELCOME:
            _refused(writer, party=party, reason="it hung up before it said a word")
            raise Forbidden(f"{party} does not take this host's certificate; its log says why.")

    def listening(self) -> ssl.SSLContext:
        """A context for a server of everybody's (the API over HTTPS), which shows this certificate and asks for none."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.directory / IDENTITY)
        self._listening.append(context)
        return context


class TlsServer:
    """Accepts connections to ``bound``; a few at a time may not have proven who they are."""

    def __init__(self, identity: Identity, bound: socket.socket, serve: Serve, parties: Collection[str], limit: int) -> None:
        self.port = int(bound.getsockname()[1])
        self._identity, self._bound, self._serve, self._parties, self._limit = identity, bound, serve, parties, limit
        self._strangers = asyncio.Semaphore(STRANGERS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._greeting: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept(), name="tls-accept")

    def close(self) -> None:
        """Take no more; connections that are being served go on."""
        for task in (self._accepting, *self._greeting):
            task.cancel()
        self._accepting.add_done_callback(lambda _: self._bound.close())

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._strangers.acquire()
            try:
                connection, _ = await loop.sock_accept(self._bound)
            except OSError as error:
                self._strangers.release()
                logger.warning("tls.not_accepted", error=plain(error))
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            task = asyncio.create_task(self._greet(connection), name="tls-connection")
            for tasks in (self._tasks, self._greeting):
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    async def _greet(self, connection: socket.socket) -> None:
        try:
            stream = await self._identity.accept(connection, self._parties, self._limit)
        except (Forbidden, OSError):
            return
        finally:
            self._strangers.release()
            self._greeting -= {task for task in self._greeting if task is asyncio.current_task()}
        await self._serve(*stream)


def trusting(root: Path) -> ssl.SSLContext | bool:
    """For HTTPS to the services of the cloud: what the system trusts, and the cloud's own root, if the file is there. Blocks.

    Names are verified. True without the file: what aiohttp trusts by itself, which is the system's.
    """
    if not root.exists():
        return True
    context = ssl.create_default_context()
    context.load_verify_locations(root)
    return context


def reason_of(error: BaseException) -> str:
    """Why a handshake failed, in OpenSSL's words where it has some."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return "the peer takes too long" if isinstance(error, TimeoutError) else "the peer hung up"


def _check(writer: asyncio.StreamWriter, parties: Collection[str]) -> None:
    """Raises ``Forbidden`` for another party, and ``OSError`` when the connection was lost meanwhile."""
    tls = writer.get_extra_info("ssl_object")
    shown = tls.getpeercert() if tls is not None else None
    if not shown:
        raise ConnectionResetError("the peer hung up")
    party = {name: str(value) for group in shown["subject"] for name, value in group}.get("commonName", "")
    if party not in parties:
        _refused(writer, party=party, reason=f"the certificate is not of {' or '.join(parties)}")
        raise Forbidden(f"The certificate that was shown is of {party}, not of {' or '.join(parties)}.")


def _refused(writer: asyncio.StreamWriter, **why: str) -> None:
    peer = writer.get_extra_info("peername")
    logger.warning("tls.refused", peer=str(peer[0]) if isinstance(peer, tuple) else "", **why)
    writer.transport.abort()
