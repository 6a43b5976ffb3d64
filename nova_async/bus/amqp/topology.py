"""What we keep in the broker. Arguments of a queue can never change once it exists, so none of them is an option.

=====================  ================  ==========================================================================
nova.work.<target>     quorum queue      casts; full: the sender is refused; dead letters go to nova.dead-letters
nova.calls.<target>    classic queue     questions, each dropped when its caller's patience ends
nova.retry.<target>    fanout + quorum   failed casts wait here, then fall back into nova.work.<target>
nova.conductors        direct exchange   leads to the queues of conductors, by their names
nova.replies           direct exchange   leads to the queues of the application's processes that asked
nova.replies.<target>  direct exchange   a worker's own: what it sends to see that it is heard comes back by it
nova.dead-letters      fanout + quorum   parked messages, the oldest dropped first
nova.topics            direct exchange   news; each subscriber binds an exclusive queue of its own
=====================  ================  ==========================================================================

Workers write to the named exchanges only, declare nothing but what is their own, and bind queues to nothing else: so the broker can
keep each of them from reading and writing what is another's (``certs.broker``). The application sends to workers, and answers
whoever asks it, through the default exchange.

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
RETRY = "nova.retry."
TOPICS = "nova.topics"
CONDUCTORS = "nova.conductors"
REPLIES = "nova.replies"

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
    exchange: str = ""  # it is bound to this one under its name, too
    fanout: bool = False  # it has an exchange of its own name

    async def declare(self, channel: AbstractChannel) -> AbstractQueue:
        queue = await channel.declare_queue(
            self.name, durable=self.durable, exclusive=self.exclusive, auto_delete=self.exclusive, arguments=self.arguments
        )
        if self.fanout:
            await queue.bind(await channel.declare_exchange(self.name, ExchangeType.FANOUT, durable=True), "")
        if self.exchange:
            await queue.bind(self.exchange, self.name)
        return queue


def exchange_of(target: str) -> str:
    """Through which exchange a target's queues are reached; "" is the default one."""
    return CONDUCTORS if target.partition(".")[0] == "conductor" else ""


def replies_of(own: str) -> str:
    """The exchange that leads to the queues of who asks: a worker, by its target ``own``, or the application ("")."""
    return f"{REPLIES}.{own}" if own else REPLIES


def work_queue(target: str) -> QueueSpec:
    return QueueSpec(
        name=WORK + target,
        exchange=exchange_of(target),
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
        exchange=exchange_of(target),
        arguments={"x-max-length": CALLS_LIMIT, "x-overflow": "reject-publish", "x-expires": CALLS_IDLE_SECONDS * 1000},
    )


def retry_queue(target: str) -> QueueSpec:
    """Each message says how long it waits; one that waits longer holds up those behind it."""
    return QueueSpec(
        name=RETRY + target,
        fanout=True,
        arguments={
            "x-queue-type": "quorum",
            "x-message-ttl": int(max(RETRY_SECONDS) * 1000),
            "x-max-length": WORK_LIMIT,
            "x-overflow": "reject-publish",
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": WORK + target,
            "x-dead-letter-strategy": "at-least-once",
        },
    )


def own_queue(name: str, exchange: str = "") -> QueueSpec:
    """A queue that lives and dies with the connection of its only reader; the oldest messages go first."""
    return QueueSpec(name=name, durable=False, exclusive=True, exchange=exchange, arguments={"x-max-length": WAITING_LIMIT})


DEAD = QueueSpec(name=DEAD_LETTERS, fanout=True, arguments={"x-queue-type": "quorum", "x-max-length": KEPT, "x-delivery-limit": LOOKS})


async def declare_fixed(channel: AbstractChannel) -> None:
    """Make what every deployment has, whoever comes first."""
    for name in (TOPICS, CONDUCTORS, REPLIES):
        await channel.declare_exchange(name, ExchangeType.DIRECT, durable=True)
    await DEAD.declare(channel)


async def look_for_fixed(channel: AbstractChannel, own: str) -> None:
    """For workers, who may not make it: it is there once an application has come. Raises ``ChannelNotFoundEntity``."""
    for name in (TOPICS, CONDUCTORS, REPLIES, DEAD_LETTERS):
        await channel.get_exchange(name)
    await channel.declare_exchange(replies_of(own), ExchangeType.DIRECT, durable=True)
