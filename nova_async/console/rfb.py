"""The first words of RFB (RFC 6143): with the hypervisor as its trusted viewer, with the browser as a screen that asks for no password.

What a hypervisor says is data from a stranger: every text is read up to a bound, and the whole takes a bounded time.
"""

import asyncio
import ssl
import struct
from collections.abc import Awaitable, Callable

from nova_async.errors import Invalid, Unavailable, plain

VERSION = b"RFB 003.008\n"
NONE, VENCRYPT = 1, 19
VENCRYPT_VERSION, X509_NONE = b"\x00\x02", 260
REASON_BYTES = 1024
Exactly = Callable[[int], Awaitable[bytes]]


async def greet_hypervisor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: ssl.SSLContext | None) -> None:
    """Until the hypervisor has let us in; with ``tls`` by VeNCrypt with certificates (x509none) and in no other way.

    Raises ``Unavailable`` for what it refuses or we do not understand.
    """
    try:
        await _agree_on_version(reader, writer)
        wanted = NONE if tls is None else VENCRYPT
        offered = await _offers(reader)
        if wanted not in offered:
            raise Unavailable("The screen is not protected as it should be.", detail=f"offered {list(offered)}, wanted {wanted}")
        writer.write(bytes([wanted]))
        if tls is not None:
            await _secure(reader, writer, tls)
        if await _number(reader):
            raise Unavailable("The hypervisor does not show the screen.", detail=await _reason(reader))
    except (asyncio.IncompleteReadError, OSError) as error:
        raise Unavailable("The hypervisor ended the connection.", detail=plain(error)) from None


async def greet_viewer(exactly: Exactly, write: Callable[[bytes], Awaitable[None]]) -> None:
    """Raises ``Invalid`` for a viewer that speaks an older version or wants another kind of security."""
    await write(VERSION)
    if await exactly(len(VERSION)) != VERSION:
        raise Invalid("The viewer does not speak RFB 3.8.")
    await write(bytes([1, NONE]))
    if await exactly(1) != bytes([NONE]):
        raise Invalid("The viewer wants a kind of security that was not offered.")
    await write(bytes(4))


async def _agree_on_version(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    said = await reader.readexactly(len(VERSION))
    if not (said.startswith(b"RFB 003.") and said[8:11].isdigit() and said >= VERSION):
        raise Unavailable("The hypervisor does not speak RFB 3.8.", detail=repr(said))
    writer.write(VERSION)


async def _offers(reader: asyncio.StreamReader) -> bytes:
    count = (await reader.readexactly(1))[0]
    if not count:
        raise Unavailable("The hypervisor does not show the screen.", detail=await _reason(reader))
    return await reader.readexactly(count)


async def _secure(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: ssl.SSLContext) -> None:
    """VeNCrypt 0.2: version, subtype, then TLS."""
    if await reader.readexactly(2) != VENCRYPT_VERSION:
        raise Unavailable("The hypervisor does not speak VeNCrypt 0.2.")
    writer.write(VENCRYPT_VERSION)
    if (await reader.readexactly(1))[0]:
        raise Unavailable("The hypervisor does not speak VeNCrypt 0.2.")
    count = (await reader.readexactly(1))[0]
    subtypes = struct.unpack(f">{count}I", await reader.readexactly(4 * count))
    if X509_NONE not in subtypes:
        raise Unavailable("The screen is not protected as it should be.", detail=f"offered {list(subtypes)}, wanted {X509_NONE}")
    writer.write(struct.pack(">I", X509_NONE))
    if (await reader.readexactly(1))[0] != 1:
        raise Unavailable("The hypervisor refused to encrypt.")
    await writer.start_tls(tls)


async def _number(reader: asyncio.StreamReader) -> int:
    return int.from_bytes(await reader.readexactly(4), "big")


async def _reason(reader: asyncio.StreamReader) -> str:
    return (await reader.readexactly(min(await _number(reader), REASON_BYTES))).decode(errors="replace")
