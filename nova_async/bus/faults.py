"""A bus that misbehaves on purpose, within what a bus may do: messages come twice, late, out of order; news is lost.

Nothing that was cast is ever lost. All chance comes from the world, so a seed replays a run.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from nova_async.bus import Bus, Handler, Service
from nova_async.bus.dead_letters import DeadLetters
from nova_async.bus.messages import Message
from nova_async.errors import Unavailable
from nova_async.world import World

HELD_SECONDS = 1.0  # how long an overtaken message waits when nothing overtakes it
CARRIED_LIMIT = 10_000  # messages on their way in here; beyond it senders wait for the bus below


class FaultyBus:
    """Wraps a bus. All but ``delay`` are probabilities between 0 and 1.

    * ``duplicate``: a cast or a piece of news is delivered twice;
    * ``delay``: the longest time in seconds that a message may be late;
    * ``reorder``: a cast is held until another one for the same target has overtaken it;
    * ``unavailable``: a cast or a call raises ``Unavailable``, half of the time after it has had its effect;
    * ``lose_news``: what is published reaches nobody.
    """

    def __init__(
        self,
        bus: Bus,
        world: World,
        *,
        duplicate: float = 0.0,
        delay: float = 0.0,
        reorder: float = 0.0,
        unavailable: float = 0.0,
        lose_news: float = 0.0,
    ) -> None:
        self.duplicate = duplicate
        self.delay = delay
        self.reorder = reorder
        self.unavailable = unavailable
        self.lose_news = lose_news
        self._bus = bus
        self._world = world
        self._carried: set[asyncio.Task[None]] = set()
        self._overtaken: dict[str, asyncio.Event] = {}

    @property
    def messages_sent(self) -> int:
        return self._bus.messages_sent

    @messages_sent.setter
    def messages_sent(self, count: int) -> None:
        self._bus.messages_sent = count

    @property
    def dead_letters(self) -> DeadLetters:
        return self._bus.dead_letters

    async def cast(self, target: str, message: Message) -> None:
        cut = self._cut()
        if cut == "before":
            raise self._away()
        for _ in range(self._copies()):
            await self._carry(lambda: self._bus.cast(target, message), self._wait_before_cast(target))
        if cut == "after":
            raise self._away()

    async def call(self, target: str, message: Message, *, timeout: float) -> Message:
        cut = self._cut()
        if cut == "before":
            raise self._away()
        answer = await self._bus.call(target, message, timeout=timeout)
        if cut == "after":
            raise self._away()
        return answer

    async def publish(self, topic: str, message: Message) -> None:
        if self._happens(self.lose_news):
            return
        for _ in range(self._copies()):
            await self._carry(lambda: self._bus.publish(topic, message), self._lateness())

    async def notify(self, topic: str, notification: dict[str, Any]) -> None:
        cut = self._cut()
        if cut == "before":
            raise self._away()
        await self._bus.notify(topic, notification)
        if cut == "after":
            raise self._away()

    async def serve(self, target: str, handler: Handler, *, prefetch: int | None = None) -> Service:
        return await self._bus.serve(target, handler, prefetch=prefetch)

    async def subscribe(self, topic: str, handler: Handler) -> Service:
        return await self._bus.subscribe(topic, handler)

    async def close(self) -> None:
        """What is still on its way is not delivered any more."""
        for task in [*self._carried]:
            task.cancel()
        await self._bus.close()

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self._world.random.random() < chance

    def _copies(self) -> int:
        return 2 if self._happens(self.duplicate) else 1

    def _cut(self) -> str:
        if not self._happens(self.unavailable):
            return ""
        return "after" if self._happens(0.5) else "before"

    def _away(self) -> Unavailable:
        return Unavailable("The bus was made to fail.")

    def _lateness(self) -> "Awaitable[Any] | None":
        return self._world.sleep(self._world.random.uniform(0, self.delay)) if self.delay > 0 else None

    def _wait_before_cast(self, target: str) -> "Awaitable[Any] | None":
        """What a cast has to wait for; and it lets those go that waited to be overtaken."""
        earlier = self._overtaken.pop(target, None)
        if earlier is not None:
            asyncio.get_running_loop().call_soon(earlier.set)
        elif self._happens(self.reorder):
            self._overtaken[target] = asyncio.Event()
            return self._overtaking(self._overtaken[target])
        return self._lateness()

    async def _overtaking(self, overtaken: asyncio.Event) -> None:
        waiters = (asyncio.ensure_future(overtaken.wait()), asyncio.ensure_future(self._world.sleep(HELD_SECONDS)))
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()

    async def _carry(self, send: Callable[[], Awaitable[None]], wait: "Awaitable[Any] | None") -> None:
        if wait is None:
            await send()
            return
        task = asyncio.create_task(self._deliver(send, wait), name="late message")
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)
        if len(self._carried) > CARRIED_LIMIT:
            await asyncio.wait(self._carried, return_when=asyncio.FIRST_COMPLETED)

    async def _deliver(self, send: Callable[[], Awaitable[None]], wait: Awaitable[Any]) -> None:
        await wait
        while True:
            try:
                await send()
                return
            except Unavailable:
                await self._world.sleep(HELD_SECONDS)
