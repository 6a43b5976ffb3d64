"""Requests of nobody: they leave nothing behind, neither in memory nor in rows, messages or files."""

import gc
import os
import random
import string
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import yarl
from aiohttp import ClientError, ClientSession
from aiohttp.test_utils import TestServer
from yarl import URL

import nova_async
from nova_async import app
from nova_async.api.routes import ROUTES
from tests.whole import log_to_nowhere, served

__all__ = ["log_to_nowhere", "served"]

REQUESTS = int(os.environ.get("NOVA_ASYNC_TEST_REQUESTS", "800"))
GROWTH = 5 * 2**20 / 100_000  # bytes for each request: SEC-063 allows 5 MiB for 100,000
COMES_AND_GOES = 2**16  # bytes, however many requests
SERVICES = (
    "/compute/v2.1",
    "/compute",
    "/identity/v3",
    "/image/v2",
    "/network/v2.0",
    "/volume/v3",
    "/placement",
    "/metadata",
    "/certs",
    "/console",
    "",
)
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "PROPFIND", "BREW")
KNOWN = (
    *("/identity/v3/users", "/identity/v3/projects", "/identity/v3/auth/tokens", "/image/v2/images", "/image/v2/images/x/file"),
    *(
        "/network/v2.0/networks",
        "/network/v2.0/ports",
        "/network/v2.0/security-groups",
        "/volume/v3/p/volumes",
        "/volume/v3/p/snapshots",
        "/placement/resource_providers",
    ),
    *(
        "/metadata/openstack/latest/meta_data.json",
        "/metadata/openstack/latest/password",
        "/certs/enrol",
        "/certs/renew",
        "/console/?token=x",
    ),
)


@asynccontextmanager
async def nobody(server: TestServer) -> AsyncIterator[Any]:
    """Asks without a good token; returns the status, or 0 where the connection was cut."""
    async with ClientSession() as session:

        async def ask(method: str, path: str, **options: Any) -> int:
            try:
                url = URL(str(server.make_url("/")).rstrip("/") + path, encoded=True)
                async with session.request(method, url, allow_redirects=False, **options) as answer:
                    await answer.read()
                    return answer.status
            except ClientError:
                return 0

        yield ask


def word(chance: random.Random, most: int = 40) -> str:
    return "".join(chance.choices(string.ascii_letters + string.digits + "._~-", k=chance.randrange(1, most)))


async def wander(ask: Any, chance: random.Random, count: int) -> set[int]:
    """Requests to places, by methods and for hosts that do not exist."""
    statuses = set()
    for _ in range(count):
        path = chance.choice(SERVICES) + "".join(f"/{word(chance)}" for _ in range(chance.randrange(1, 5)))
        headers = {"Host": f"{word(chance, 20)}.test", "X-Auth-Token": word(chance), f"X-{word(chance, 8)}".replace("~", "-"): "1"}
        statuses.add(await ask(chance.choice((*METHODS, word(chance, 8).upper())), f"{path}?{word(chance)}=1", headers=headers))
    return statuses


def memory() -> int:
    """What our code and aiohttp hold, without what the parser of addresses remembers of the last few hundred."""
    yarl.cache_clear()
    gc.collect()
    ours = [tracemalloc.Filter(True, str(Path(module.__file__ or "").parent / "*")) for module in (nova_async, aiohttp)]
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)


async def test_requests_for_what_is_not_there_do_not_grow_memory(served: tuple[app.App, TestServer]) -> None:
    """SEC-063"""
    _, server = served
    chance = random.Random(61)
    async with nobody(server) as ask, ClientSession() as session:
        metrics = await labels(session, server)
        tracemalloc.start()
        try:
            statuses = await wander(ask, chance, 300)
            before = memory()
            statuses |= await wander(ask, chance, REQUESTS)
            grown = memory() - before
        finally:
            tracemalloc.stop()
        assert await labels(session, server) == metrics
    assert all(status < 500 for status in statuses), statuses
    assert grown < COMES_AND_GOES + GROWTH * REQUESTS, grown


async def labels(session: ClientSession, server: TestServer) -> list[str]:
    async with session.get(server.make_url("/metrics")) as answer:
        return [line.rpartition(" ")[0] for line in (await answer.text()).splitlines()]


async def test_who_is_not_known_leaves_nothing_behind(served: tuple[app.App, TestServer], tmp_path: Path) -> None:
    """SEC-064"""
    running, server = served
    chance = random.Random(64)
    before = await stock(running, tmp_path)
    statuses: list[int] = []
    async with nobody(server) as ask:
        for route in ROUTES:
            path = "/compute/v2.1" + route.path.replace("{", "x").replace("}", "")
            body = {route.action or next(iter((route.body.literal if route.body else {}).get("properties", {"x": 1}))): {}}
            statuses.append(
                await ask(route.method, path, json=body, headers={"X-Auth-Token": word(chance)} if chance.random() < 0.5 else {})
            )
        for _ in range(20):
            for path in KNOWN:
                for method in ("POST", "GET", "PUT"):
                    token = {"X-Auth-Token": word(chance), "X-Instance-ID": word(chance)} if chance.random() < 0.5 else {}
                    statuses.append(await ask(method, path, json={word(chance): {}}, headers=token))
        for _ in range(8):
            user = {"name": word(chance), "password": word(chance), "domain": {"id": "default"}}
            login = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
            assert await ask("POST", "/identity/v3/auth/tokens", json=login) == 401
    assert len(statuses) > 1000
    assert {status for status in statuses if status < 400} <= {200, 300}, statuses
    assert await stock(running, tmp_path) == before


async def stock(running: app.App, state: Path) -> dict[str, Any]:
    """What there is of rows, by table, messages and files, without the new text of a file that is being replaced (``certs.files``)."""
    async with running.database.connection() as conn:
        tables = await conn.fetch("SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('api', 'cell')")
        rows = {row[0]: await conn.fetchval(f"SELECT count(*) FROM {row[0]}") for row in tables}
    return {"rows": rows, "messages": running.bus.messages_sent, "files": {str(p) for p in state.rglob("*") if p.suffix != ".new"}}
