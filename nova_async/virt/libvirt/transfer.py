"""The wire between two hosts that hand a guest's disks over: one TLS connection from the source to the destination.

For each guest the destination listens on a port of its own. The ticket, which the bus carries, has the address and a token. A host
that is enrolled names its party there: both sides show the certificates of the cloud's authority, and each takes nobody but the other
host. One that is not makes a key and a self-signed certificate for this guest, and the ticket has its SHA-256: so the source knows
whom it talks to before it says a word, and the destination whom it listens to by the token. TLS 1.3 only.

    source        destination
    Hello    ->                  the token, and the files that there are
             <-   Answer         which of them are wanted
    pieces   ->                  for each wanted file in order: its pieces, an empty one, its Digest
             <-   Answer         all of it is on the disk; or, at any moment, what went wrong
"""

import asyncio
import datetime
import hashlib
import hmac
import ssl
from typing import Any, Protocol, TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nova_async import errors
from nova_async.certs.identity import Identity, Serve, TlsServer
from nova_async.errors import Conflict, Error, Invalid
from nova_async.virt.libvirt.sparse import CHUNK, PLACE

T = TypeVar("T")


class Greeting(Protocol):
    """What a connection begins with."""

    @property
    def token(self) -> str: ...


G = TypeVar("G", bound=Greeting)

VERSION = 1
CONTROL_BYTES = 2**18
CONNECT_SECONDS = 15.0
HELLO_SECONDS = 15.0
STRANGERS = 4  # connections at one listener that have not shown the token yet
CERTIFICATE_DAYS = 30
STALL_SECONDS = 60.0  # a peer that takes or sends nothing for so long is gone
LOST = (OSError, EOFError, TimeoutError)  # what a connection that breaks raises


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a destination. Whoever has it may send it this guest's disks, once."""

    address: str
    port: int
    token: str
    fingerprint: str = ""  # SHA-256 of the certificate, in hexadecimal, when no authority vouches for it
    party: str = ""  # of the certificate, when the authority does


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the source has: one of the guest's, or one of the image cache that a disk is an overlay of."""

    name: str
    format: str  # raw or qcow2
    size: int  # bytes, with its holes
    data: int  # bytes without them
    virtual_size: int = 0  # bytes, as the guest sees the disk
    base: str = ""  # name of the file that it is an overlay of


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    token: str
    files: tuple[Offer, ...]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    wanted: tuple[str, ...] = ()
    error: str = ""
    kind: str = ""  # of ``nova_async.errors``


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    sha256: str  # as ``sparse.Reader`` has it


async def connect(ticket: Ticket, identity: Identity | None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises ``Error`` when somebody else answers there."""
    if ticket.party and identity is None:
        raise Conflict("The destination takes servers from enrolled hosts alone: enrol the host that the server is on (nova-async enrol).")
    if ticket.party and identity is not None:
        return await identity.connect(ticket.address, ticket.port, ticket.party, limit=2 * CHUNK)
    async with asyncio.timeout(CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection(ticket.address, ticket.port, ssl=_client(), server_hostname="", limit=2 * CHUNK)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    if not hmac.compare_digest(hashlib.sha256(shown).hexdigest(), ticket.fingerprint):
        writer.transport.abort()
        raise Error("The destination of the disks is not the host that it should be.")
    return reader, writer


async def listen(
    address: str, port: int, serve: Serve, *, limit: int, identity: Identity | None, source: str, context: ssl.SSLContext | None
) -> asyncio.Server | TlsServer:
    """Hear ``source`` alone by its certificate, or where we have none whoever comes, by ``context``. Raises ``OSError``."""
    if identity is not None:
        return await identity.listen(address, port, serve, (source,), limit=limit)
    return await asyncio.start_server(serve, address, port, ssl=context, ssl_handshake_timeout=HELLO_SECONDS, limit=limit, backlog=8)


def _client() -> ssl.SSLContext:
    """No authority vouches for the certificate; ``connect`` compares it with the one that the ticket names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def server(certificate: str) -> ssl.SSLContext:
    """``certificate`` names a file with key and certificate; blocks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate)
    return context


def self_signed(now: datetime.datetime) -> tuple[bytes, str]:
    """A new key with its certificate in PEM, and the certificate's SHA-256. Its names say nothing: the ticket vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nova-async transfer")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=CERTIFICATE_DAYS))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(serialization.Encoding.PEM), certificate.fingerprint(hashes.SHA256()).hex()


class Gate:
    """Hears who connects to one listener, a few at a time, and lets in who shows the token."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._strangers = 0

    async def greeting(self, reader: asyncio.StreamReader, kind: type[G]) -> G | None:
        """None for a stranger, who is told nothing. Raises what a broken connection raises."""
        if self._strangers >= STRANGERS:
            return None
        self._strangers += 1
        try:
            hello = await get(reader, kind, HELLO_SECONDS)
        except Invalid:
            return None
        finally:
            self._strangers -= 1
        return hello if hmac.compare_digest(hello.token.encode(), self._token) else None


async def put(writer: asyncio.StreamWriter, message: msgspec.Struct) -> None:
    data = msgspec.json.encode(message)
    writer.write(len(data).to_bytes(4, "big") + data)
    await _drain(writer)


async def get(reader: asyncio.StreamReader, kind: type[T], seconds: float = STALL_SECONDS) -> T:
    """Raises ``Invalid`` for what is no such message."""
    async with asyncio.timeout(seconds):
        length = int.from_bytes(await reader.readexactly(4), "big")
        if length > CONTROL_BYTES:
            raise Invalid("The other host sent a message that is too long.")
        data = await reader.readexactly(length)
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise Invalid("The other host sent a message that cannot be read.", detail=str(error)) from None


async def put_piece(writer: asyncio.StreamWriter, offset: int, data: bytes) -> None:
    """An empty piece ends the file."""
    writer.write(PLACE.pack(offset, len(data)))
    writer.write(data)
    await _drain(writer)


async def get_piece(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    async with asyncio.timeout(STALL_SECONDS):
        offset, length = PLACE.unpack(await reader.readexactly(PLACE.size))
        if length > CHUNK:
            raise Invalid("The other host sent a piece that is too long.")
        return offset, await reader.readexactly(length)


async def _drain(writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(STALL_SECONDS):
        await writer.drain()


def told(error: Error) -> Answer:
    return Answer(error=error.message, kind=type(error).__name__)


def check(answer: Answer) -> Answer:
    """Raises what the other host met."""
    if answer.error:
        kind: Any = getattr(errors, answer.kind, Error)
        raise (kind if isinstance(kind, type) and issubclass(kind, Error) else Error)(answer.error)
    return answer
