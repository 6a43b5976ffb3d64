"""A small cloud of fake hosts with its console proxy in front, reached as browsers and programs reach it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import msgspec
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from nova_async.certs.identity import Identity
from nova_async.console.proxy import ConsoleProxy
from nova_async.console.tokens import ConsoleTokens
from nova_async.db import Database
from tests.cloud import Cloud, cloud

ORIGIN = "http://consoles.example"
WAIT_SECONDS = 20


class Consoles:
    """The proxy at ``/console`` of ``client``; ``token`` gives leave as the API does."""

    def __init__(self, cloud: Cloud, proxy: ConsoleProxy, tokens: ConsoleTokens, client: TestClient[Any, Any]) -> None:
        self.cloud, self.proxy, self.tokens, self.client = cloud, proxy, tokens, client

    async def boot(self) -> str:
        server = await self.cloud.boot()
        await self.cloud.settle()
        assert (await self.cloud.server(server)).vm_state == "active"
        return server

    async def token(self, server: str, console_type: str = "serial", user: str = "user") -> str:
        url = await self.tokens.open(await self.cloud.server(server), console_type, user)
        query = parse_qs(urlsplit(url).query)
        return query["token"][0] if "token" in query else parse_qs(urlsplit(query["path"][0]).query)["token"][0]

    async def connect(self, token: str, origin: str | None = ORIGIN, **options: Any) -> aiohttp.ClientWebSocketResponse:
        headers = options.pop("headers", {}) | ({"Origin": origin} if origin is not None else {})
        options.setdefault("protocols", ("binary",))
        return await self.client.ws_connect(f"/console/?token={token}", headers=headers, **options)

    async def refusal(self, token: str, origin: str | None = ORIGIN, **options: Any) -> int:
        """The status with which a connection is refused."""
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await self.connect(token, origin, **options)
        return refused.value.status

    async def why(self, token: str, origin: str | None = ORIGIN) -> tuple[int, str]:
        """What its page is told of a token that opens nothing."""
        async with self.client.post(f"/console/?token={token}", headers={"Origin": origin} if origin is not None else {}) as answer:
            assert answer.headers["Cache-Control"] == "no-store"
            assert "Access-Control-Allow-Origin" not in answer.headers
            return answer.status, await answer.text()

    async def serial(self, server: str, user: str = "user") -> aiohttp.ClientWebSocketResponse:
        """A serial console that shows its prompt."""
        socket = await self.connect(await self.token(server, user=user))
        assert (await until(socket, b"login: ")).endswith(b"login: ")
        return socket

    async def screen(self, server: str, user: str = "user") -> aiohttp.ClientWebSocketResponse:
        """A screen that has said its first word."""
        socket = await self.connect(await self.token(server, "novnc", user))
        await until(socket, b"RFB 003.008\n")
        return socket


async def until(socket: aiohttp.ClientWebSocketResponse, words: bytes) -> bytes:
    """All that comes until ``words`` have come."""
    seen = b""
    async with asyncio.timeout(WAIT_SECONDS):
        while words not in seen:
            message = await socket.receive()
            assert message.type is WSMsgType.BINARY, (message, seen)
            seen += message.data
    return seen


async def closing(socket: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
    """The last word of a connection that is being closed."""
    async with asyncio.timeout(WAIT_SECONDS):
        while (message := await socket.receive()).type is WSMsgType.BINARY:
            pass
    return message


@asynccontextmanager
async def proxied(cloud: Cloud, *, identity: Identity | None = None, **options: Any) -> AsyncIterator[Consoles]:
    told = {"console__public_url": f"{ORIGIN}/console"} | options
    changed = {name.removeprefix("console__"): value for name, value in told.items()}
    config = msgspec.structs.replace(cloud.config, console=msgspec.structs.replace(cloud.config.console, **changed))
    tokens = ConsoleTokens(config, cloud.world, cloud.database, cloud.bus)
    proxy = ConsoleProxy(config, cloud.world, cloud.database, tokens, identity)
    site = web.Application()
    site.add_subapp("/console", proxy.application())
    watching = asyncio.create_task(proxy.watch())
    async with TestClient(TestServer(site)) as client:
        yield Consoles(cloud, proxy, tokens, client)
        assert not watching.done()
    watching.cancel()
    assert proxy.sessions.live == set()
    assert proxy.sessions.arriving == 0


@pytest.fixture
async def hosts(database: Database, tmp_path: Path) -> AsyncIterator[Cloud]:
    async with cloud(database, tmp_path) as made:
        yield made
        assert await made.violations() == []


@pytest.fixture
async def consoles(hosts: Cloud, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Consoles]:
    monkeypatch.setattr("nova_async.console.proxy.WATCH_SECONDS", 0.1)
    async with proxied(hosts) as made:
        yield made
