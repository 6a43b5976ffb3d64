"""The fake's consoles speak for themselves: a viewer's first words, keys, and the end of the guest."""

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest

from nova_async.errors import Invalid
from nova_async.virt.fake_consoles import HEIGHT, WIDTH, FakeConsoles

INIT = 24
GUEST = "9d1c7a4e-0f5e-4d8a-8f60-1f6f3e0b0c11"


@pytest.fixture
async def consoles() -> AsyncIterator[FakeConsoles]:
    made = FakeConsoles()
    yield made
    await made.close()


async def connect(consoles: FakeConsoles, console_type: str, guest: str = GUEST) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    address = await consoles.offer(guest, "box", console_type)
    return await asyncio.open_connection(address.host, address.port)


async def greeted(consoles: FakeConsoles) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    reader, writer = await connect(consoles, "novnc")
    assert await reader.readexactly(12) == b"RFB 003.008\n"
    writer.write(b"RFB 003.008\n")
    assert await reader.readexactly(2) == b"\x01\x01"
    writer.write(b"\x01")
    assert await reader.readexactly(4) == bytes(4)
    writer.write(b"\x01")
    return reader, writer, await reader.readexactly(INIT + len("box"))


async def screen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, incremental: int = 0, bits: int = 32) -> bytes:
    writer.write(struct.pack(">BBHHHH", 3, incremental, 0, 0, WIDTH, HEIGHT))
    await reader.readexactly(16)
    return await reader.readexactly(WIDTH * HEIGHT * bits // 8)


async def test_a_viewer_sees_the_screen_and_each_key_changes_it(consoles) -> None:
    reader, writer, init = await greeted(consoles)
    assert (struct.unpack(">HH", init[:4]), init[INIT:]) == ((WIDTH, HEIGHT), b"box")
    before = await screen(reader, writer)
    assert before == before[:4] * (WIDTH * HEIGHT)
    writer.write(struct.pack(">BBHI", 4, 1, 0, ord("a")))
    after = await screen(reader, writer, incremental=1)
    assert after != before
    assert after[-4:] == before[-4:]


async def test_a_viewer_gets_the_pixels_it_asked_for(consoles) -> None:
    reader, writer, _ = await greeted(consoles)
    writer.write(struct.pack(">BxxxBBBBHHHBBBxxx", 0, 16, 16, 0, 1, 31, 63, 31, 11, 5, 0))
    seen = await screen(reader, writer, bits=16)
    assert seen == seen[:2] * (WIDTH * HEIGHT)


async def test_two_guests_have_screens_of_their_own(consoles) -> None:
    first, second = await consoles.offer(GUEST, "a", "novnc"), await consoles.offer("other", "b", "novnc")
    assert first.port != second.port
    assert await consoles.offer(GUEST, "a", "novnc") == first


async def test_a_serial_line_prompts_and_echoes(consoles) -> None:
    reader, writer = await connect(consoles, "serial")
    assert (await reader.readuntil(b"login: ")).endswith(b"box login: ")
    writer.write(b"root")
    assert await reader.readexactly(4) == b"root"


async def test_a_spice_viewer_is_linked(consoles) -> None:
    reader, writer = await connect(consoles, "spice-direct")
    writer.write(struct.pack("<4sIIIIBBIIIII", b"REDQ", 2, 2, 26, 0, 1, 0, 1, 1, 18, 11, 9))
    magic, major, minor, size, error = struct.unpack("<4sIIII", await reader.readexactly(20))
    assert (magic, major, minor, error) == (b"REDQ", 2, 2, 0)
    await reader.readexactly(size - 4)
    writer.write(bytes(4 + 128))
    assert await reader.readexactly(4) == bytes(4)


@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\n\r\n", b"REDQ" + struct.pack("<III", 2, 2, 2**31)])
async def test_a_spice_viewer_that_talks_nonsense_is_cut_off(consoles, words) -> None:
    reader, writer = await connect(consoles, "spice-html5")
    writer.write(words)
    assert await reader.read() == b""


async def test_everybody_is_cut_off_when_the_guest_ends_and_the_address_is_gone(consoles) -> None:
    old = await consoles.offer(GUEST, "box", "serial")
    reader, _ = await connect(consoles, "serial")
    await reader.readuntil(b"login: ")
    consoles.cut(GUEST)
    assert await reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(old.host, old.port)
    assert (await consoles.offer(GUEST, "box", "serial")) != old


async def test_an_unknown_type_is_refused(consoles) -> None:
    with pytest.raises(Invalid, match="Unavailable console type webmks"):
        await consoles.offer(GUEST, "box", "webmks")
