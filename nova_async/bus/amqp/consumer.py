"""Receiving: a consumer that is built again whenever it may have gone deaf.

Three ways to go deaf were seen with brokers and proxies, each with its own check every
``probe_seconds``: the connection or channel hangs (an empty message to a queue that the same
channel reads does not come), the broker forgot the consumer (the queue says it has none), and the
broker stopped delivering (messages wait, our hands are free, and nothing comes).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue

from nova_async import log
from nova_async.bus.amqp.link import BROKEN, CONNECT_SECONDS, Link, back_off, quietly
from nova_async.bus.amqp.publisher import Publisher
from nova_async.bus.delivery import Hands, within
from nova_async.errors import Unavailable
from nova_async.world import World

STEADY_SECONDS = 10.0

_log = log.get("bus")

Declare = Callable[[AbstractChannel], Awaitable[AbstractQueue]]
Attend = Callable[[AbstractIncomingMessage, Hands], Awaitable[None]]


class Deaf(Exception):
    """This consumer may not hear what it should."""


class Consumer:
    """Gives each message of a queue to ``attend`` and acknowledges it after that returned.

    A message whose ``attend`` raised ``Unavailable`` goes back to the queue.
    """

    def __init__(
        self,
        link: Link,
        publisher: Publisher,
        world: World,
        name: str,
        declare: Declare,
        attend: Attend,
        *,
        prefetch: int,
        probe_seconds: float,
    ) -> None:
        self.name = name
        self._link = link
        self._publisher = publisher
        self._world = world
        self._declare = declare
        self._attend = attend
        self._prefetch = prefetch
        self._probe_seconds = probe_seconds
        self._hands = Hands(world, f"consume {name}", prefetch)
        self._consuming = asyncio.Event()
        self._broken = asyncio.Event()
        self._echo = asyncio.Event()
        self._deliveries = 0
        self._cancel: Callable[[], Awaitable[Any]] | None = None
        self._task = asyncio.create_task(self._supervise(), name=f"consumer {name}")

    async def start(self, seconds: float = CONNECT_SECONDS) -> None:
        """Wait until the broker sends us messages. Raises ``Unavailable``, having given up."""
        try:
            await within(self._world, seconds, self._consuming.wait())
        except TimeoutError:
            await self.close()
            raise Unavailable(f"The message broker at {self._link.broker} does not let us read {self.name}.") from None

    async def close(self) -> None:
        """Take no more messages; finish those in hand; the rest goes back to the queue."""
        if self._cancel is not None:
            await quietly(self._world, self._cancel)
        await self._hands.finish()
        self._task.cancel()
        await asyncio.wait((self._task,), timeout=CONNECT_SECONDS)

    async def _supervise(self) -> None:
        failures = 0
        while True:
            connection = await self._link.connection()
            began = self._world.monotonic()
            try:
                await self._consume(connection)
            except Deaf as deaf:
                _log.warning("bus.consumer_deaf", queue=self.name, why=str(deaf))
            except BROKEN as error:
                _log.info("bus.consumer_broken", queue=self.name, error=type(error).__name__)
                if isinstance(error, TimeoutError) and failures >= 2:
                    _log.error(
                        "bus.queue_does_not_answer", queue=self.name, remedy="see rabbitmq-queues quorum_status: it may have no leader"
                    )
            if self._world.monotonic() - began > STEADY_SECONDS:
                failures = 0
            await self._world.sleep(back_off(self._world, failures))
            failures += 1

    async def _consume(self, connection: AbstractConnection) -> None:
        """Consume through a channel of our own until something is wrong with it. Always raises."""
        self._broken.clear()
        channel = connection.channel(publisher_confirms=False)
        try:
            queue, probe = await within(self._world, CONNECT_SECONDS, self._begin(channel))
            self._consuming.set()
            _log.debug("bus.consuming", queue=self.name)
            await self._watch(connection, channel, queue, probe)
        finally:
            self._consuming.clear()
            self._cancel = None
            if channel.is_initialized:
                await quietly(self._world, channel.close)

    async def _begin(self, channel: AbstractChannel) -> tuple[AbstractQueue, AbstractQueue]:
        await channel.initialize()
        channel.close_callbacks.add(self._on_broken)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(self._on_broken)
        probe = await channel.declare_queue(exclusive=True, auto_delete=True)
        await probe.bind(self._publisher.replies, probe.name)
        await probe.consume(self._on_echo, no_ack=True)
        queue = await self._declare(channel)
        await channel.set_qos(prefetch_count=self._prefetch)
        tag = await queue.consume(self._on_delivery)
        self._cancel = lambda: queue.cancel(tag)
        return queue, probe

    async def _watch(self, connection: AbstractConnection, channel: AbstractChannel, queue: AbstractQueue, probe: AbstractQueue) -> None:
        ignored = 0
        while True:
            before = self._deliveries
            await self._pause()
            try:
                waiting = await self._probe(channel, queue, probe)
            except TimeoutError:
                self._link.suspect(connection, f"no echo in the channel that reads {self.name}")
                raise Deaf("no echo") from None
            ignored = ignored + 1 if waiting and self._hands.free and self._deliveries == before else 0
            if ignored > 1:
                raise Deaf(f"{waiting} messages wait and none comes")

    async def _pause(self) -> None:
        """Wait until the next probe is due; raises ``Deaf`` as soon as the channel tells of its end."""
        try:
            await within(self._world, self._probe_seconds * self._world.random.uniform(0.7, 1.0), self._broken.wait())
        except TimeoutError:
            return
        raise Deaf("the channel or the consumer was closed")

    async def _probe(self, channel: AbstractChannel, queue: AbstractQueue, probe: AbstractQueue) -> int:
        """How many messages wait in the queue. Raises ``Deaf`` when the broker does not know us as its reader.

        The echo is sent by the publishing connection, since a broker short of memory blocks those that publish.
        """
        self._echo.clear()
        try:
            if await self._publisher.probe(probe.name, self._probe_seconds):
                await within(self._world, self._probe_seconds, self._echo.wait())
        except LookupError:
            raise Deaf("the probe queue is gone") from None
        underlay = await channel.get_underlay_channel()
        state = await within(self._world, self._probe_seconds, underlay.queue_declare(queue.name, passive=True))
        if not state.consumer_count:
            raise Deaf("the queue has no consumer")
        return state.message_count or 0

    async def _on_delivery(self, incoming: AbstractIncomingMessage) -> None:
        self._deliveries += 1
        self._hands.start(self._take(incoming))

    async def _take(self, incoming: AbstractIncomingMessage) -> None:
        """A message that cannot be acknowledged, because its channel is gone, comes again."""
        try:
            try:
                await self._attend(incoming, self._hands)
            except Unavailable:
                await incoming.nack(requeue=True)
            else:
                await incoming.ack()
        except BROKEN as error:
            _log.info("bus.not_acknowledged", queue=self.name, error=type(error).__name__)

    async def _on_echo(self, _: AbstractIncomingMessage) -> None:
        self._echo.set()

    def _on_broken(self, *_: Any) -> None:
        self._broken.set()
