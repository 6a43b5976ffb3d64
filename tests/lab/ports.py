"""TCP forwarding for the lab: a small balancer before several servers that may come and go."""

import asyncio
import contextlib
import itertools


async def forward(listen: tuple[str, int], backends: list[tuple[str, int]]) -> asyncio.Server:
    """Hand each connection to the next backend that answers."""
    turn = itertools.count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start = next(turn)
        for i in range(len(backends)):
            host, port = backends[(start + i) % len(backends)]
            try:
                async with asyncio.timeout(2):
                    there = await asyncio.open_connection(host, port)
                break
            except (OSError, TimeoutError):
                continue
        else:
            writer.close()
            return
        await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))

    return await asyncio.start_server(serve, *listen)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
