"""What we keep in the broker. Arguments of a queue can never change once it exists, so none of them is an option.

=====================  ================  ==================================================================
nova.work.<target>     quorum queue      casts; full: the sender is refused; dead letters go to nova.dead-letters
nova.calls.<target>    classic queue     questions, each dropped when its caller's patience ends
nova.retry.<n>         fanout + quorum   failed casts wait here, then fall back into the queue of their routing key
nova.dead-letters      fanout + quorum   parked messages, the oldest dropped first
nova.topics            direct exchange   news; each subscriber binds an exclusive queue of its own
=====================  ================  ==================================================================

At-least-once dead-lettering and message time-to-live in quorum queues came with RabbitMQ 3.10.
"""

from typing import Any

import msgspec
from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractQueue

from nova_async.bus.dead_letters import KEPT
from nova_async.bus.delivery import RETRY_SECONDS, WAITING_LIMIT

WORK = "nova.work."
CALLS = "nova.calls."
DEAD_LETTERS = "nova.dead-letters"
TOPICS = "nova.topics"
RETRIES = tuple(f"nova.retry.{number}" for number in range(len(RETRY_SECONDS)))

WORK_LIMIT = 100_000
CALLS_LIMIT = 1_000
CALLS_IDLE_SECONDS = 3600
REDELIVERIES = 20  # how often a worker may die or be cut off with one message in hand
LOOKS = 1_000_000  # looking at a dead letter counts as a delivery


class QueueSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A queue as it is declared."""

    name: str
    durable: bool = True
    exclusive: bool = False
    arguments: dict[str, Any]

    async def declare(self, channel: AbstractChannel) -> AbstractQueue:
        return await channel.declare_queue(
            self.name, durable=self.durable, exclusive=self.exclusive, auto_delete=self.exclusive, arguments=self.arguments
        )


def work_queue(target: str) -> QueueSpec:
    return QueueSpec(
        name=WORK + target,
        arguments={
            "x-queue-type": "quorum",
            "x-max-length": WORK_LIMIT,
            "x-overflow": "reject-publish",
            "x-delivery-limit": REDELIVERIES,
            "x-dead-letter-exchange": DEAD_LETTERS,
            "x-dead-letter-strategy": "at-least-once",
        },
    )


def calls_queue(target: str) -> QueueSpec:
    return QueueSpec(
        name=CALLS + target,
        arguments={"x-max-length": CALLS_LIMIT, "x-overflow": "reject-publish", "x-expires": CALLS_IDLE_SECONDS * 1000},
    )


def own_queue(name: str) -> QueueSpec:
    """A queue that lives and dies with the connection of its only reader; the oldest messages go first."""
    return QueueSpec(name=name, durable=False, exclusive=True, arguments={"x-max-length": WAITING_LIMIT})


async def declare_fixed(channel: AbstractChannel) -> None:
    """Make what every deployment has, whoever comes first."""
    await channel.declare_exchange(TOPICS, ExchangeType.DIRECT, durable=True)
    await _declare_pair(channel, DEAD_LETTERS, {"x-max-length": KEPT, "x-delivery-limit": LOOKS})
    for name, seconds in zip(RETRIES, RETRY_SECONDS, strict=True):
        arguments = {
            "x-message-ttl": int(seconds * 1000),
            "x-max-length": WORK_LIMIT,
            "x-overflow": "reject-publish",
            "x-dead-letter-exchange": "",
            "x-dead-letter-strategy": "at-least-once",
        }
        await _declare_pair(channel, name, arguments)


async def _declare_pair(channel: AbstractChannel, name: str, arguments: dict[str, Any]) -> None:
    """A fanout exchange and its only queue: routing keys stay free to say where a message came from."""
    exchange = await channel.declare_exchange(name, ExchangeType.FANOUT, durable=True)
    queue = await QueueSpec(name=name, arguments={"x-queue-type": "quorum", **arguments}).declare(channel)
    await queue.bind(exchange, "")
