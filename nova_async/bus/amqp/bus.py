"""The bus over RabbitMQ: what each verb means in AMQP. The parts it is made of are beside it."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Self

from aio_pika import DeliveryMode
from aio_pika import Message as Parcel
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from nova_async import log
from nova_async.bus import Handler
from nova_async.bus.amqp.consumer import Consumer
from nova_async.bus.amqp.dead_letters import AmqpDeadLetters
from nova_async.bus.amqp.link import Link
from nova_async.bus.amqp.notifier import Notifier
from nova_async.bus.amqp.publisher import Publisher
from nova_async.bus.amqp.topology import (
    REPLIES,
    TOPICS,
    calls_queue,
    declare_fixed,
    exchange_of,
    look_for_fixed,
    own_queue,
    replies_of,
    retry_queue,
    work_queue,
)
from nova_async.bus.dead_letters import type_of
from nova_async.bus.delivery import (
    CAST_SECONDS,
    Hands,
    checked,
    failed,
    log_failure,
    raised,
    reason,
    retry_delay,
    sealed,
    within,
)
from nova_async.bus.messages import Done, Failed, Message, decode
from nova_async.errors import Invalid, Unavailable
from nova_async.world import World

FIRST_SECONDS = 30.0  # how long a starting process waits for its broker
REPLY_SECONDS = 5.0

_log = log.get("bus")


class AmqpBus:
    """Casts are kept in quorum queues; questions, answers and news live in memory of the broker only."""

    def __init__(
        self,
        publishing: Link,
        consuming: Link,
        world: World,
        *,
        prefetch: int,
        max_tries: int,
        probe_seconds: float,
        exchange: str,
        own: str = "",
    ) -> None:
        self.messages_sent = 0
        self.own = own
        self._links = (publishing, consuming)
        self._consuming = consuming
        self._world = world
        self._prefetch = prefetch
        self._max_tries = max_tries
        self._probe_seconds = probe_seconds
        self._publisher = Publisher(publishing, world, partial(look_for_fixed, own=own) if own else declare_fixed, own=own)
        self._notifier = Notifier(publishing, world, exchange)
        self.dead_letters = AmqpDeadLetters(self._publisher, world)
        self._replies = _Replies(self)
        self._services: set[_Service] = set()
        self._closed = False

    @classmethod
    async def connect(
        cls,
        url: str,
        world: World,
        *,
        prefetch: int = 64,
        max_tries: int = 5,
        probe_seconds: float = 5.0,
        exchange: str = "nova",
        own: str = "",
    ) -> Self:
        """Two connections, since a broker short of memory stops reading from those that publish.

        ``amqps`` URLs take ``cafile``, ``certfile`` and ``keyfile`` in their query, and ``auth=external``.
        ``exchange`` is that of notifications; ``own`` the target of a worker that the broker lets declare nothing but its own queues.
        Raises ``Invalid`` for a URL of another kind, ``Unavailable`` when no broker answers or it refuses us.
        """
        links = Link(url, world, "publishing"), Link(url, world, "consuming")
        bus = cls(*links, world, prefetch=prefetch, max_tries=max_tries, probe_seconds=probe_seconds, exchange=exchange, own=own)
        try:
            await asyncio.gather(*(link.first(FIRST_SECONDS) for link in links))
            await bus._publisher.ready(FIRST_SECONDS)
        except BaseException:
            await bus.close()
            raise
        return bus

    async def cast(self, target: str, message: Message) -> None:
        await self.send_frame(target, sealed(message))

    async def send_frame(self, target: str, frame: bytes) -> None:
        """Cast what is encoded already, readable or not."""
        self._refuse_when_closed()
        queue = work_queue(target)
        parcel = Parcel(checked(frame), message_id=self._world.uuid(), delivery_mode=DeliveryMode.PERSISTENT)
        await self._publisher.send(parcel, exchange=exchange_of(target), key=queue.name, queue=queue, seconds=CAST_SECONDS)
        self.messages_sent += 1

    async def call(self, target: str, message: Message, *, timeout: float) -> Message:
        self._refuse_when_closed()
        frame = sealed(message)
        try:
            answer = await within(self._world, timeout, self._replies.ask(target, frame, timeout))
        except (TimeoutError, ConnectionAbortedError):
            raise Unavailable(f"{target} did not answer {type(message).__name__} within {timeout:g} s.") from None
        if isinstance(answer, Failed):
            raise raised(answer)
        return answer

    async def publish(self, topic: str, message: Message) -> None:
        self._refuse_when_closed()
        parcel = Parcel(sealed(message), message_id=self._world.uuid())
        await self._publisher.send(parcel, exchange=TOPICS, key=topic, mandatory=False, seconds=CAST_SECONDS)
        self.messages_sent += 1

    async def notify(self, topic: str, notification: dict[str, Any]) -> None:
        self._refuse_when_closed()
        await self._notifier.send(topic, notification)
        self.messages_sent += 1

    async def serve(self, target: str, handler: Handler, *, prefetch: int | None = None) -> "_Service":
        self._refuse_when_closed()

        async def work(incoming: AbstractIncomingMessage, hands: Hands) -> None:
            await self._attend_work(target, handler, incoming, hands)

        async def question(incoming: AbstractIncomingMessage, hands: Hands) -> None:
            await self._attend_question(handler, incoming, hands)

        return await self._start(
            self.consumer(work_queue(target).name, work_queue(target).declare, work, prefetch=prefetch),
            self.consumer(calls_queue(target).name, calls_queue(target).declare, question, prefetch=prefetch),
        )

    async def subscribe(self, topic: str, handler: Handler) -> "_Service":
        self._refuse_when_closed()

        async def declare(channel: AbstractChannel) -> AbstractQueue:
            queue = await own_queue(f"nova.news.{topic}.{self._world.uuid()}").declare(channel)
            await queue.bind(TOPICS, topic)
            return queue

        async def news(incoming: AbstractIncomingMessage, hands: Hands) -> None:
            try:
                await hands.attempt(handler, decode(incoming.body))
            except Exception as error:
                log_failure("bus.news_not_handled", error, topic=topic, type=type_of(incoming.body))

        return await self._start(self.consumer(f"topic {topic}", declare, news))

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*(service.close() for service in [*self._services]))
        await self._replies.close()
        await asyncio.gather(self._publisher.close(), self._notifier.close())
        await asyncio.gather(*(link.close() for link in self._links))

    def consumer(
        self,
        name: str,
        declare: Callable[[AbstractChannel], Awaitable[AbstractQueue]],
        attend: Callable[[AbstractIncomingMessage, Hands], Awaitable[None]],
        prefetch: int | None = None,
    ) -> Consumer:
        return Consumer(
            self._consuming,
            self._publisher,
            self._world,
            name,
            declare,
            attend,
            prefetch=prefetch or self._prefetch,
            probe_seconds=self._probe_seconds,
        )

    async def ask(self, target: str, frame: bytes, *, reply_to: str, question: str, timeout: float) -> None:
        """Send a question that the broker forgets after ``timeout``."""
        queue = calls_queue(target)
        parcel = Parcel(frame, message_id=self._world.uuid(), reply_to=reply_to, correlation_id=question, expiration=timeout)
        await self._publisher.send(parcel, exchange=exchange_of(target), key=queue.name, queue=queue, seconds=timeout)
        self.messages_sent += 1

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise Unavailable("The bus is closed.")

    async def _start(self, *consumers: Consumer) -> "_Service":
        service = _Service(consumers, self._services)
        try:
            await asyncio.gather(*(consumer.start() for consumer in consumers))
        except BaseException:
            await service.close()
            raise
        return service

    async def _attend_work(self, target: str, handler: Handler, incoming: AbstractIncomingMessage, hands: Hands) -> None:
        """Returns once the message is done with: handled, to be tried later, or parked. Raises ``Unavailable``."""
        tries = int(str(incoming.headers.get("tries", 0))) + 1
        try:
            message = decode(incoming.body)
        except Invalid as error:
            await self._park(target, incoming.body, error, tries)
            return
        try:
            await hands.attempt(handler, message)
        except Exception as error:
            log_failure("bus.not_handled", error, target=target, type=type_of(incoming.body), tries=tries)
            if tries >= self._max_tries:
                await self._park(target, incoming.body, error, tries)
            else:
                await self._try_later(target, incoming, tries)

    async def _park(self, target: str, frame: bytes, error: Exception, tries: int) -> None:
        letter = await self.dead_letters.park(target, frame, why=reason(error), tries=tries)
        _log.error("bus.parked", target=target, type=type_of(frame), letter=letter, reason=reason(error))

    async def _try_later(self, target: str, incoming: AbstractIncomingMessage, tries: int) -> None:
        """A copy waits in the broker and falls back into the queue."""
        waiting = retry_queue(target)
        parcel = Parcel(
            incoming.body,
            message_id=incoming.message_id,
            headers={"tries": tries},
            expiration=retry_delay(self._world, tries),
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        await self._publisher.send(parcel, exchange=waiting.name, queue=waiting, seconds=CAST_SECONDS)

    async def _attend_question(self, handler: Handler, incoming: AbstractIncomingMessage, hands: Hands) -> None:
        try:
            answer: Message = await hands.attempt(handler, decode(incoming.body)) or Done()
        except Exception as error:
            log_failure("bus.not_answered", error, type=type_of(incoming.body))
            answer = failed(error)
        await self._reply(incoming, answer)

    async def _reply(self, incoming: AbstractIncomingMessage, answer: Message) -> None:
        """A caller that is gone gets no answer, and nobody minds."""
        parcel = Parcel(sealed(answer), message_id=self._world.uuid(), correlation_id=incoming.correlation_id)
        asker = incoming.reply_to or ""
        if not asker.startswith(f"{REPLIES}."):  # whoever asks names the queue, and has none but these read by answers
            _log.warning("bus.no_queue_for_answers", queue=asker[:255], type=type_of(incoming.body))
            return
        exchange = REPLIES if self.own else ""
        try:
            await self._publisher.send(parcel, exchange=exchange, key=asker, mandatory=False, seconds=REPLY_SECONDS)
        except Unavailable:
            _log.info("bus.answer_lost", type=type_of(incoming.body))
        else:
            self.messages_sent += 1


class _Service:
    """Consumers that stop together."""

    def __init__(self, consumers: tuple[Consumer, ...], registry: "set[_Service]") -> None:
        self._consumers = consumers
        self._registry = registry
        registry.add(self)

    async def close(self) -> None:
        self._registry.discard(self)
        await asyncio.gather(*(consumer.close() for consumer in self._consumers))


class _Replies:
    """The queue where answers come to, made at the first question, and who waits for which."""

    def __init__(self, bus: AmqpBus) -> None:
        self._bus = bus
        self._queue = ""
        self._pending: dict[str, asyncio.Future[Message]] = {}
        self._consumer: Consumer | None = None
        self._starting = asyncio.Lock()

    async def ask(self, target: str, frame: bytes, timeout: float) -> Message:
        deadline = self._bus._world.monotonic() + timeout
        await self._listen()
        question = self._bus._world.uuid()
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pending[question] = answer
        try:
            left = max(0.001, deadline - self._bus._world.monotonic())
            await self._bus.ask(target, frame, reply_to=self._queue, question=question, timeout=left)
            return await answer
        finally:
            del self._pending[question]
            answer.cancel()

    async def close(self) -> None:
        if self._consumer is not None:
            await self._consumer.close()

    async def _listen(self) -> None:
        async with self._starting:
            if self._consumer is None:
                consumer = self._bus.consumer("replies", self._declare, self._attend)
                await consumer.start()
                self._consumer = consumer

    async def _declare(self, channel: AbstractChannel) -> AbstractQueue:
        """A new queue means that the old one is gone, and every answer that was on its way."""
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(Unavailable("The connection to the message broker was cut before the answer came. Try again."))
        replies = replies_of(self._bus.own)
        queue = await own_queue(f"{replies}.{self._bus._world.uuid()}", replies).declare(channel)
        self._queue = queue.name
        return queue

    async def _attend(self, incoming: AbstractIncomingMessage, _: Any) -> None:
        answer = self._pending.get(incoming.correlation_id or "")
        if answer is not None and not answer.done():
            try:
                answer.set_result(decode(incoming.body))
            except Invalid as error:
                answer.set_exception(error)
