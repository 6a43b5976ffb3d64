"""Dead letters in the broker: a queue that is read without taking anything out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aio_pika import DeliveryMode
from aio_pika import Message as Parcel
from aio_pika.abc import AbstractIncomingMessage

from nova_async.bus.amqp.link import BROKEN, quietly
from nova_async.bus.amqp.publisher import Publisher
from nova_async.bus.amqp.topology import DEAD_LETTERS, RETRY, WORK, exchange_of, work_queue
from nova_async.bus.dead_letters import KEPT, DeadLetter, missing, type_of
from nova_async.bus.delivery import CAST_SECONDS, within
from nova_async.errors import Unavailable
from nova_async.world import World

LOOK_SECONDS = 30.0


class AmqpDeadLetters:
    """Looking takes letters into a channel of our own and gives them back when that closes."""

    def __init__(self, publisher: Publisher, world: World) -> None:
        self._publisher = publisher
        self._world = world

    async def park(self, target: str, frame: bytes, *, why: str, tries: int) -> str:
        """Returns the letter's id once the broker has it."""
        letter_id = self._world.uuid()
        headers: dict[str, Any] = {"target": target, "reason": why, "tries": tries, "parked_at": self._world.now().isoformat()}
        parcel = Parcel(frame, message_id=letter_id, headers=headers, delivery_mode=DeliveryMode.PERSISTENT)
        await self._publisher.send(parcel, exchange=DEAD_LETTERS, seconds=CAST_SECONDS)
        return letter_id

    async def list(self, limit: int = 100) -> "list[DeadLetter]":
        async with self._look(limit) as taken:
            return [letter_of(incoming) async for incoming in taken]

    async def requeue(self, letter_id: str) -> DeadLetter:
        async with self._look(KEPT) as taken:
            incoming, letter = await _find(taken, letter_id)
            parcel = Parcel(letter.frame, message_id=letter.id, delivery_mode=DeliveryMode.PERSISTENT)
            queue = work_queue(letter.target)
            await self._publisher.send(parcel, exchange=exchange_of(letter.target), key=queue.name, queue=queue, seconds=CAST_SECONDS)
            await incoming.ack()
            return letter

    async def drop(self, letter_id: str) -> DeadLetter:
        async with self._look(KEPT) as taken:
            incoming, letter = await _find(taken, letter_id)
            await incoming.ack()
            return letter

    @asynccontextmanager
    async def _look(self, limit: int) -> "AsyncIterator[AsyncIterator[AbstractIncomingMessage]]":
        connection = await self._publisher.ready(CAST_SECONDS)
        channel = connection.channel(publisher_confirms=False)
        try:
            await within(self._world, CAST_SECONDS, channel.initialize())
            queue = await channel.get_queue(DEAD_LETTERS, ensure=False)
            yield self._take(queue, limit)
        except BROKEN as error:
            raise Unavailable("The message broker does not answer now. Try again later.", detail=type(error).__name__) from None
        finally:
            if channel.is_initialized:
                await quietly(self._world, channel.close)

    async def _take(self, queue: Any, limit: int) -> AsyncIterator[AbstractIncomingMessage]:
        for _ in range(limit):
            incoming = await within(self._world, LOOK_SECONDS, queue.get(fail=False))
            if incoming is None:
                return
            yield incoming


async def _find(taken: AsyncIterator[AbstractIncomingMessage], letter_id: str) -> tuple[AbstractIncomingMessage, DeadLetter]:
    async for incoming in taken:
        letter = letter_of(incoming)
        if letter.id == letter_id:
            return incoming, letter
    raise missing(letter_id)


def letter_of(incoming: AbstractIncomingMessage) -> DeadLetter:
    """Letters that the broker parked itself carry its own headers in place of ours."""
    headers: dict[str, Any] = dict(incoming.headers)
    queue = str(headers.get("x-first-death-queue", ""))
    by_broker = f"parked by the broker: {headers.get('x-first-death-reason', 'unknown')}"
    return DeadLetter(
        id=incoming.message_id or "",
        target=headers.get("target") or queue.removeprefix(RETRY).removeprefix(WORK),
        type=type_of(incoming.body),
        reason=headers.get("reason") or by_broker,
        tries=headers.get("tries", 0),
        parked_at=headers.get("parked_at", ""),
        frame=incoming.body,
    )
