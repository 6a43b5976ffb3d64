"""How fast this machine is just now: what the libraries take alone, of which every answer of ours is made as well.

A process of its own with aiohttp on uvloop answers each request with one row that asyncpg reads from the bench's own PostgreSQL, as
JSON of a server's size. No checks, no routes, no views.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg
import uvloop
from aiohttp import web

from nova_async.db.embedded import EmbeddedPostgres
from nova_async.world import RealWorld

BODY_BYTES = 1750  # a server of the bench
STATEMENT = "SELECT repeat('x', $1) AS text"


@asynccontextmanager
async def serving(state: Path) -> AsyncIterator[Callable[[str], Awaitable[bytes]]]:
    """Start it on the PostgreSQL of a running all-in-one; yields what reads a path of it."""
    url = EmbeddedPostgres(state / "postgres", RealWorld()).url
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.bench.yardstick", url, stdout=asyncio.subprocess.PIPE)
    assert process.stdout
    try:
        port = int(await process.stdout.readline())
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:

            async def read(path: str) -> bytes:
                async with session.get(path) as answer:
                    answer.raise_for_status()
                    return await answer.read()

            yield read
    finally:
        process.terminate()
        await process.wait()


async def serve(url: str) -> None:
    pool = await asyncpg.create_pool(url, min_size=2, max_size=8)

    async def answer(request: web.Request) -> web.Response:
        text = await pool.fetchval(STATEMENT, BODY_BYTES)
        return web.Response(body=json.dumps({"server": {"text": text}}).encode(), content_type="application/json")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
