"""Consoles in a process of their own (``serve --only console``), beside a cluster: real guests, RabbitMQ, PostgreSQL, TLS everywhere."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from aiohttp import WSMsgType

from nova_async.errors import Error
from tests.lab import hosts
from tests.lab.__main__ import CONSOLE_PORT, URL
from tests.lab.cluster import COMPUTE, HOSTS, Cluster

pytestmark = [pytest.mark.qemu, pytest.mark.hosts, pytest.mark.rabbitmq, pytest.mark.timeout(400), pytest.mark.xdist_group("qemu")]

OWN = f"https://{hosts.OURS}:{CONSOLE_PORT}"
WAIT_SECONDS, AGAIN_SECONDS = 120.0, 5.0
KINDS = {"novnc": "vnc", "serial": "serial"}


@pytest.fixture
async def server(cluster: Cluster, test_guest: Path) -> AsyncIterator[str]:
    """A real guest on the first host that has booted."""
    flavor = await cluster.flavor("lab.consoles", ram=192, disk=1)
    made = await cluster.boot(await cluster.test_image(test_guest), flavor, availability_zone=f"nova:{HOSTS[0]}")
    await cluster.reaches(made, "ACTIVE")
    await cluster.booted(made, 1)
    yield made
    with contextlib.suppress(Error):  # a test deleted it
        await cluster.delete(made)


async def token(cluster: Cluster, server: str, kind: str) -> str:
    """Of an address that leads to the console's own process."""
    asked = {"remote_console": {"protocol": KINDS[kind], "type": kind}}
    url = (await cluster.ask("POST", f"{COMPUTE}/servers/{server}/remote-consoles", asked))["remote_console"]["url"]
    parts = urlsplit(url)
    assert parts.netloc == f"{hosts.OURS}:{CONSOLE_PORT}"
    query = parse_qs(parts.query)
    return query["token"][0] if kind == "serial" else parse_qs(urlsplit(query["path"][0]).query)["token"][0]


@asynccontextmanager
async def opened(cluster: Cluster, token: str, where: str = OWN) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    trust = ssl.create_default_context(cafile=str(cluster.state / "app/certs/ca-cert.pem"))
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{where}/?token={token}", protocols=("binary",), headers={"Origin": OWN}, ssl=trust) as socket,
    ):
        yield socket


async def refusal(cluster: Cluster, token: str) -> int:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with opened(cluster, token):
            pytest.fail("it was let in")
    return refused.value.status


async def until(socket: aiohttp.ClientWebSocketResponse, words: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(WAIT_SECONDS):
        while words not in seen:
            message = await socket.receive()
            assert message.type is WSMsgType.BINARY, (message, seen)
            seen += message.data
    return seen


async def says(socket: aiohttp.ClientWebSocketResponse, typed: bytes, words: bytes) -> None:
    """Until the guest's shell answers; what is typed before it listens is lost."""
    seen = b""
    async with asyncio.timeout(WAIT_SECONDS):
        while words not in seen:
            await socket.send_bytes(typed)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_SECONDS):
                    while words not in seen:
                        message = await socket.receive()
                        assert message.type is WSMsgType.BINARY, (message, seen)
                        seen += message.data


async def ending(socket: aiohttp.ClientWebSocketResponse) -> Any:
    """Why the connection was closed, in the words of whoever did it."""
    async with asyncio.timeout(WAIT_SECONDS):
        while (message := await socket.receive()).type is WSMsgType.BINARY:
            pass
    return message.extra


async def screen_of(socket: aiohttp.ClientWebSocketResponse) -> bytes:
    """The name of the screen, after the greeting of RFB."""
    await until(socket, b"RFB 003.008\n")
    await socket.send_bytes(b"RFB 003.008\n")
    await until(socket, b"\x01\x01")
    await socket.send_bytes(b"\x01\x01")
    return await until(socket, b")")


async def test_a_guest_is_seen_and_typed_to(cluster: Cluster, server: str) -> None:
    async with opened(cluster, await token(cluster, server, "novnc")) as screen:
        assert b"QEMU (instance-" in await screen_of(screen)
    async with opened(cluster, await token(cluster, server, "serial")) as line:
        await says(line, b"echo ty''ped\n", b"\r\ntyped\r\n")
    both = await token(cluster, server, "serial")
    async with opened(cluster, both, f"{URL}/console") as line:  # the application carries consoles as well
        await says(line, b"echo el''sewhere\n", b"\r\nelsewhere\r\n")


async def test_it_lives_without_the_application_and_a_new_one_takes_the_same_tokens(cluster: Cluster, server: str) -> None:
    known = await token(cluster, server, "serial")
    async with opened(cluster, known) as line:
        cluster.kill("serve")
        await says(line, b"echo on''ward\n", b"\r\nonward\r\n")
        cluster.kill("console")
        assert not await ending(line)
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                async with opened(cluster, known) as line:
                    await says(line, b"echo ba''ck\n", b"\r\nback\r\n")
                break
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.3)


async def test_a_move_and_an_end_cut_what_is_open_and_end_its_tokens(cluster: Cluster, server: str) -> None:
    """SEC-043"""
    for act in ("move", "delete"):
        tokens = {kind: await token(cluster, server, kind) for kind in KINDS}
        async with opened(cluster, tokens["novnc"]) as screen, opened(cluster, tokens["serial"]) as line:
            await screen_of(screen)
            if act == "move":
                await cluster.act(server, **{"os-migrateLive": {"host": HOSTS[1], "block_migration": "auto"}})
            else:
                await cluster.ask("DELETE", f"{COMPUTE}/servers/{server}")
            assert await ending(screen)
            assert await ending(line)
        if act == "move":
            await cluster.reaches(server, "ACTIVE")
            assert await cluster.host_of(server) == HOSTS[1]
        else:
            await cluster.gone(server)
        assert [await refusal(cluster, each) for each in tokens.values()] == [404, 404]
