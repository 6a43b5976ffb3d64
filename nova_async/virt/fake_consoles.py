"""Consoles of guests that are made of memory: real endpoints on the loopback, one for each guest and protocol that was asked for.

The screen (RFB 3.8, no password) has the guest's own colour, and a block of another colour for each key that was pressed. The
serial line shows a login prompt and sends back what is typed. SPICE (2.2) goes as far as the accepted ticket.
"""

import asyncio
import hashlib
import struct
from collections.abc import Awaitable, Callable
from typing import Literal

from nova_async.errors import Invalid
from nova_async.model.consoles import PROTOCOLS, SERIAL, SPICE, VNC, ConsoleAddress

LOOPBACK = "127.0.0.1"
WIDTH, HEIGHT, BLOCK = 400, 240, 8
SERVER_INIT = struct.Struct(">HHBBBBHHHBBBxxxI")
TYPED_BYTES = 4096  # of one read from a serial line; also the longest text that is pasted into a screen
SPICE_HEADER, SPICE_MAGIC, SPICE_TICKET = struct.Struct("<4sIII"), b"REDQ", 128
SPICE_LONGEST, SPICE_KEY_BITS, SPICE_CAPABILITIES = 4096, 1024, 0b1011  # choice of authentication, by ticket; short headers

Session = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class FakeConsoles:
    """``cut`` is what happens to the consoles of a guest that stops or starts anew: everybody is disconnected, the address is gone."""

    def __init__(self) -> None:
        self._offers: dict[tuple[str, str], _Offer] = {}
        self._lock = asyncio.Lock()

    async def offer(self, instance_id: str, hostname: str, console_type: str) -> ConsoleAddress:
        protocol = PROTOCOLS.get(console_type)
        if protocol is None:
            raise Invalid(f"Unavailable console type {console_type}.")
        async with self._lock:
            offer = self._offers.get((instance_id, protocol))
            if offer is None:
                offer = _Offer(await _session(protocol, instance_id, hostname))
                await offer.open()
                self._offers[instance_id, protocol] = offer
        return ConsoleAddress(host=LOOPBACK, port=offer.port)

    def cut(self, instance_id: str) -> None:
        for protocol in (VNC, SPICE, SERIAL):
            if offer := self._offers.pop((instance_id, protocol), None):
                offer.close()

    async def close(self) -> None:
        async with self._lock:
            for offer in self._offers.values():
                offer.close()
            self._offers.clear()


class _Offer:
    """A listener, and whoever is connected to it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server
        self.port = 0

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._session(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()


async def _session(protocol: str, instance_id: str, hostname: str) -> Session:
    if protocol == VNC:
        return lambda reader, writer: _Screen(reader, writer, instance_id, hostname).run()
    if protocol == SERIAL:
        return lambda reader, writer: _serial(reader, writer, hostname)
    key = await asyncio.to_thread(_public_key)
    return lambda reader, writer: _spice(reader, writer, key)


# --- serial


async def _serial(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hostname: str) -> None:
    prompt = f"\r\n{hostname} login: ".encode()
    writer.write(b"\r\nDebian GNU/Linux 12 ttyS0\r\n" + prompt)
    while data := await reader.read(TYPED_BYTES):
        writer.write(data.replace(b"\n", b"").replace(b"\r", b"\r\n" + prompt))
        await writer.drain()


# --- RFB (RFC 6143)


class _Format:
    """How the client wants its pixels."""

    def __init__(self, fields: bytes = struct.pack(">BBBBHHHBBB", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)) -> None:
        bits, _, big, _, *rest = struct.unpack(">BBBBHHHBBB", fields)
        self.bits: int = bits
        self.order: Literal["big", "little"] = "big" if big else "little"
        self.highest, self.shifts = rest[:3], rest[3:]

    def pixel(self, colour: bytes) -> bytes:
        value: int = sum((part * highest // 255) << shift for part, highest, shift in zip(colour, self.highest, self.shifts, strict=True))
        return (value & ((1 << self.bits) - 1)).to_bytes(self.bits // 8, self.order)


class _Screen:
    """One viewer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, instance_id: str, hostname: str) -> None:
        self._reader, self._writer, self._name = reader, writer, hostname.encode()
        self._colour = hashlib.sha256(instance_id.encode()).digest()[:3]
        self._format = _Format()
        self._keys: list[int] = []
        self._waiting, self._changed = False, True

    async def run(self) -> None:
        await self._greet()
        handlers: dict[int, Callable[[], Awaitable[None]]] = {
            0: self._set_format,
            2: self._set_encodings,
            3: self._update,
            4: self._key,
            5: self._pointer,
            6: self._paste,
        }
        while (kind := (await self._reader.readexactly(1))[0]) in handlers:
            await handlers[kind]()

    async def _greet(self) -> None:
        self._writer.write(b"RFB 003.008\n")
        await self._reader.readexactly(12)
        self._writer.write(b"\x01\x01")
        if await self._reader.readexactly(1) != b"\x01":
            raise ConnectionError
        self._writer.write(bytes(4))
        await self._reader.readexactly(1)
        self._writer.write(SERVER_INIT.pack(WIDTH, HEIGHT, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0, len(self._name)) + self._name)

    async def _set_format(self) -> None:
        wanted = _Format((await self._reader.readexactly(19))[3:16])
        if wanted.bits not in (8, 16, 32):
            raise ConnectionError
        self._format = wanted

    async def _set_encodings(self) -> None:
        (count,) = struct.unpack(">xH", await self._reader.readexactly(3))
        await self._reader.readexactly(4 * count)

    async def _update(self) -> None:
        incremental = (await self._reader.readexactly(9))[0]
        self._waiting, self._changed = True, self._changed or not incremental
        await self._show()

    async def _key(self) -> None:
        down, symbol = struct.unpack(">BxxI", await self._reader.readexactly(7))
        if down:
            self._keys = [*self._keys, symbol][-(WIDTH // BLOCK) :]
            self._changed = True
            await self._show()

    async def _pointer(self) -> None:
        await self._reader.readexactly(5)

    async def _paste(self) -> None:
        (length,) = struct.unpack(">xxxI", await self._reader.readexactly(7))
        if length > TYPED_BYTES:
            raise ConnectionError
        await self._reader.readexactly(length)

    async def _show(self) -> None:
        """The whole screen, to a viewer that waits for a change."""
        if not (self._waiting and self._changed):
            return
        self._waiting = self._changed = False
        background = self._format.pixel(self._colour)
        blocks = [self._format.pixel(hashlib.sha256(symbol.to_bytes(4, "big")).digest()[:3]) for symbol in self._keys]
        line = b"".join(block * BLOCK for block in blocks)
        line += background * (WIDTH - len(blocks) * BLOCK)
        self._writer.write(struct.pack(">BxHHHHHi", 0, 1, 0, 0, WIDTH, HEIGHT, 0) + line * BLOCK + background * WIDTH * (HEIGHT - BLOCK))
        await self._writer.drain()


# --- SPICE


def _public_key() -> bytes:
    """With which viewers encrypt their tickets: 162 octets, as the protocol wants them. Blocks."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = rsa.generate_private_key(public_exponent=65537, key_size=SPICE_KEY_BITS)
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def _spice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, key: bytes) -> None:
    """A link whose ticket, the empty one that every viewer has, is taken; then nothing more is said."""
    magic, major, _, size = SPICE_HEADER.unpack(await reader.readexactly(SPICE_HEADER.size))
    if magic != SPICE_MAGIC or major != 2 or not 18 <= size <= SPICE_LONGEST:
        raise ConnectionError
    message = await reader.readexactly(size)
    common, _, offset = struct.unpack_from("<III", message, 6)
    chooses = bool(common) and offset + 4 <= size and bool(struct.unpack_from("<I", message, offset)[0] & 1)
    reply = struct.pack("<I", 0) + key + struct.pack("<IIII", 1, 0, 4 + len(key) + 12, SPICE_CAPABILITIES)
    writer.write(SPICE_HEADER.pack(SPICE_MAGIC, 2, 2, len(reply)) + reply)
    await reader.readexactly(SPICE_TICKET + (4 if chooses else 0))
    writer.write(struct.pack("<I", 0))
    while await reader.read(TYPED_BYTES):
        pass  # what is said is not answered
