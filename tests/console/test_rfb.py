"""Screens that hypervisors encrypt (VeNCrypt): the proxy's side of it, against a server with a real certificate."""

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from nova_async.config import load
from nova_async.console import proxy, rfb
from nova_async.errors import Unavailable

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def trusting(authority: trustme.CA, folder: Path) -> ssl.SSLContext:
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = proxy._tls(load(None, {}, console__vnc_tls_ca=str(folder / "ca.pem")))
    assert context is not None
    return context


def server_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hypervisor.example").configure_cert(context)
    return context


def encrypting(context: ssl.SSLContext, subtypes: tuple[int, ...] = (261, 260)) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"RFB 003.008\n")
        await reader.readexactly(12)
        writer.write(b"\x02\x01\x13")
        assert await reader.readexactly(1) == b"\x13"
        writer.write(b"\x00\x02")
        assert await reader.readexactly(2) == b"\x00\x02"
        writer.write(b"\x00" + struct.pack(f">B{len(subtypes)}I", len(subtypes), *subtypes))
        assert await reader.readexactly(4) == struct.pack(">I", 260)
        writer.write(b"\x01")
        await writer.start_tls(context)
        writer.write(bytes(4) + b"secret")
        await writer.drain()
        await reader.read(1)

    return talk


@asynccontextmanager
async def connected(talk: Talk) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except (OSError, asyncio.IncompleteReadError, AssertionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        yield reader, writer
        writer.transport.abort()


async def test_an_encrypted_screen_is_read_under_its_certificate(authority, tmp_path) -> None:
    async with connected(encrypting(server_side(authority))) as (reader, writer):
        await rfb.greet_hypervisor(reader, writer, trusting(authority, tmp_path))
        assert await reader.readexactly(6) == b"secret"
        assert writer.get_extra_info("cipher") is not None


async def test_a_certificate_of_another_authority_is_not_trusted(authority, tmp_path) -> None:
    async with connected(encrypting(server_side(trustme.CA()))) as (reader, writer):
        with pytest.raises(Unavailable):
            await rfb.greet_hypervisor(reader, writer, trusting(authority, tmp_path))


async def test_an_unencrypted_screen_is_refused_where_encryption_is_configured(authority, tmp_path) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"RFB 003.008\n\x01\x01")
        await reader.read()

    async with connected(plain) as (reader, writer):
        with pytest.raises(Unavailable, match="not protected"):
            await rfb.greet_hypervisor(reader, writer, trusting(authority, tmp_path))


async def test_another_kind_of_vencrypt_is_refused(authority, tmp_path) -> None:
    async with connected(encrypting(server_side(authority), (257, 261))) as (reader, writer):
        with pytest.raises(Unavailable, match="not protected"):
            await rfb.greet_hypervisor(reader, writer, trusting(authority, tmp_path))
