"""Running on a simulated clock: whenever nothing else happens, time jumps to whoever sleeps shortest."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from nova_async.world import SimulatedWorld

T = TypeVar("T")
TURNS = 50  # of the event loop, after which it counts as idle


async def simulate(world: SimulatedWorld, work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end. Fails when it waits for what can never come."""
    task = asyncio.ensure_future(work)
    while not task.done():
        await idle()
        if task.done():
            break
        seconds = world.next_wake()
        assert seconds is not None, "everybody waits and nobody sleeps"
        world.advance(seconds)
    return await task


async def idle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)
