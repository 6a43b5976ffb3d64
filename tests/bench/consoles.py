"""What the console proxy costs: 1,000 idle and 50 busy connections through one process, beside a relay of bare sockets.

The proxy is the application's own, with its WebSockets and limits, but for the watch that ends what has lost its right; the tokens are
given to anybody, and the guest is a process that sends as fast as it can once it is told a byte. Run as a program, this module is one
of these processes.
"""

import asyncio
import contextlib
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
from aiohttp import web

from nova_async.config import load
from nova_async.console.proxy import ConsoleProxy
from nova_async.db.console_tokens import Grant
from nova_async.model.consoles import ConsoleAddress
from nova_async.virt.libvirt.pipes import both_ways
from nova_async.world import RealWorld

IDLE, BUSY = 1000, 50
IDLE_SECONDS, BUSY_SECONDS = 40.0, 5.0
CHUNK = 64 * 1024
PONG = b"\x8a\x80" + bytes(4)
STRANGERS = 100_000
FOREIGN = (
    "GET /?token=x HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
GO = b"\x82\x81\x00\x00\x00\x00g"  # a masked WebSocket frame of one byte
HANDSHAKE = (
    "GET /?token={token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n\r\n"
)


# -- the processes


async def guest(_: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        words = bytes(CHUNK)
        with contextlib.suppress(ConnectionError):
            if await reader.read(1):
                while True:
                    writer.write(words)
                    await writer.drain()
        writer.close()

    await _listen(serve)


async def bare(port: int) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = await asyncio.open_connection("127.0.0.1", port)
        await both_ways((reader, writer), far)

    await _listen(serve)


async def proxy(port: int) -> None:
    limits = dict.fromkeys(("max_sessions", "max_sessions_of_user", "max_sessions_of_server"), 2 * (IDLE + BUSY))
    config = load(None, {}, **{f"console__{name}": value for name, value in limits.items()})
    made = ConsoleProxy(config, RealWorld(), _Rows(), _Anybody(port))  # type: ignore[arg-type]  # stand-ins
    runner = web.AppRunner(made.application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what it logs
    await asyncio.Event().wait()


class _Anybody:
    """Whoever asks may; each is a server of its own."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def find(self, token: str) -> Grant:
        return Grant(str(uuid.uuid4()), "serial", token, "host", 1, "127.0.0.1", self.port, None)

    async def confirm(self, grant: Grant) -> ConsoleAddress:
        return ConsoleAddress(host=grant.address, port=grant.port)


class _Rows:
    """Nobody asks it: the watch does not run."""


async def _listen(serve: Any) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=CHUNK, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# -- the measurement


class Relay:
    """One of the processes, and connections through it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, *, websocket: bool) -> None:
        self.process, self.port, self.websocket = process, port, websocket
        self.seen = psutil.Process(process.pid)

    def cpu(self) -> float:
        times = self.seen.cpu_times()
        return times.user + times.system

    def kib(self) -> float:
        return float(self.seen.memory_full_info().pss) / 1024

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2 * CHUNK)
        if self.websocket:
            writer.write(HANDSHAKE.format(token=os.urandom(8).hex()).encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101"):
                raise RuntimeError(head.decode())
        return reader, writer

    async def idle(self) -> tuple[float, float]:
        """KiB, and milliseconds of CPU in a minute, of each idle connection."""
        await self._end([await self.connect()])
        before, opened = self.kib(), [await self.connect() for _ in range(IDLE)]
        answering = [asyncio.create_task(_answer(*stream)) for stream in opened]
        await asyncio.sleep(1)
        memory, cpu = self.kib() - before, self.cpu()
        await asyncio.sleep(IDLE_SECONDS)
        used = self.cpu() - cpu
        if any(task.done() for task in answering):
            raise RuntimeError("connections ended")
        for task in answering:
            task.cancel()
        await self._end(opened)
        return memory / IDLE, used * 1000 * 60 / IDLE_SECONDS / IDLE

    async def busy(self) -> tuple[float, float]:
        """MiB a second through all busy connections, and seconds of CPU for each GiB."""
        opened = [await self.connect() for _ in range(BUSY)]
        counted = 0

        async def count(reader: asyncio.StreamReader) -> None:
            nonlocal counted
            while data := await reader.read(CHUNK):
                counted += len(data)

        tasks = [asyncio.create_task(count(reader)) for reader, _ in opened]
        for _, writer in opened:
            writer.write(GO if self.websocket else b"g")
        await asyncio.sleep(1)
        began, before, cpu = time.monotonic(), counted, self.cpu()
        await asyncio.sleep(BUSY_SECONDS)
        moved, used, seconds = counted - before, self.cpu() - cpu, time.monotonic() - began
        for task in tasks:
            task.cancel()
        await self._end(opened)
        return moved / 2**20 / seconds, used / (moved / 2**30)

    async def strangers(self) -> float:
        """KiB that are not given back after so many handshakes from sites that are not let in, each of a name of its own (SEC-045)."""
        await self._knock(STRANGERS // 10)  # as many at once as then
        before = self.kib()
        await self._knock(STRANGERS)  # the first of them by names that it has heard
        kept = []
        for _ in range(3):  # what is lost stays lost; what a heap takes for a while does not
            await self._knock(STRANGERS // 10)
            kept.append(self.kib() - before)
        return min(kept)

    async def _knock(self, times: int) -> None:
        async def some(first: int) -> None:
            for number in range(first, times, BUSY):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.write(FOREIGN.format(host=f"host{number}.test").encode())
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 403"):
                    raise RuntimeError(head.decode())
                writer.transport.abort()

        await asyncio.gather(*(some(first) for first in range(BUSY)))

    async def _end(self, opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        for _, writer in opened:
            writer.transport.abort()
        await asyncio.sleep(1)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As browsers do to a ping."""
    while await reader.readexactly(2):
        writer.write(PONG)


@asynccontextmanager
async def running(role: str, port: int = 0) -> AsyncIterator[Relay]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.consoles", role, str(port), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout
    try:
        yield Relay(process, int(await process.stdout.readline()), websocket=role == "proxy")
    finally:
        process.kill()
        await process.wait()


async def measure() -> dict[str, tuple[float, float, float, float]]:
    """Of the proxy and of the bare relay: KiB and CPU-milliseconds a minute of an idle connection, MiB a second, CPU-seconds a GiB."""
    found = {}
    async with running("guest") as source:
        for role in ("proxy", "bare"):
            async with running(role, source.port) as relay:
                found[role] = (*await relay.idle(), *await relay.busy())
    return found


async def turned_away() -> float:
    async with running("proxy") as relay:
        return await relay.strangers()


if __name__ == "__main__":
    roles = {"guest": guest, "bare": bare, "proxy": proxy}
    asyncio.run(roles[sys.argv[1]](int(sys.argv[2])))
