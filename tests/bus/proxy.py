"""A TCP proxy between a bus and its broker that can cut, refuse, hang, or swallow only what the broker delivers."""

import asyncio
from typing import Self

FRAME_HEAD = 7  # type, channel, size (AMQP 0-9-1, 2.3.5); one octet ends the frame
METHOD, HEADER, BODY = 1, 2, 3
DELIVER = b"\x00\x3c\x00\x3c"  # class basic, method deliver


class Proxy:
    def __init__(self, port: int) -> None:
        self.refusing = False
        self._running = asyncio.Event()
        self._running.set()
        self.deaf_after = 0  # connections made up to now get no deliveries
        self.made = 0
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"amqp://guest:guest@127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    def cut(self) -> None:
        """Break every connection, as a pulled cable seen by the kernel."""
        for writer in self._writers:
            writer.transport.abort()

    def hang(self) -> None:
        """Take what comes and pass nothing on."""
        self._running.clear()

    def go_on(self) -> None:
        self._running.set()

    def deafen(self) -> None:
        """From now on nothing that the broker delivers passes over the connections that there are."""
        self.deaf_after = self.made

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        self.made += 1
        number = self.made
        try:
            broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, broker_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump_octets(reader, broker_writer))
                both.create_task(self._pump_frames(broker_reader, writer, number))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers -= pair
            for each in pair:
                each.transport.abort()

    async def _pump_octets(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while octets := await reader.read(65536):
            await self._running.wait()
            writer.write(octets)
            await writer.drain()
        raise ConnectionResetError

    async def _pump_frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        swallowing: set[bytes] = set()
        while True:
            head = await reader.readexactly(FRAME_HEAD)
            rest = await reader.readexactly(int.from_bytes(head[3:7]) + 1)
            await self._running.wait()
            kind, channel = head[0], head[1:3]
            if kind == METHOD:
                swallowing.discard(channel)
                if number <= self.deaf_after and rest.startswith(DELIVER):
                    swallowing.add(channel)
            if channel not in swallowing:
                writer.write(head + rest)
                await writer.drain()
