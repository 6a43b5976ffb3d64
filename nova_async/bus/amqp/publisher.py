"""Sending: confirmed by the broker, or ``Unavailable``; never silently lost."""

import asyncio
from collections.abc import Awaitable, Callable

from aio_pika import Message as Parcel
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import DeliveryError
from pamqp.commands import Basic

from nova_async.bus.amqp.link import BROKEN, Link, back_off, is_blocked, quietly
from nova_async.bus.amqp.topology import QueueSpec, declare_fixed, replies_of
from nova_async.bus.delivery import within
from nova_async.errors import Unavailable
from nova_async.world import World

ATTEMPT_SECONDS = 4.0  # a broker that takes longer to confirm is tried again over a new connection
AT_ONCE = 10_000  # messages in flight, or waiting for the broker to come back


class Publisher:
    """One channel with confirms, opened again when it breaks."""

    def __init__(
        self, link: Link, world: World, prepare: Callable[[AbstractChannel], Awaitable[None]] = declare_fixed, *, own: str = ""
    ) -> None:
        """``own``: the target whose queues alone we may declare; empty: all."""
        self._link = link
        self._world = world
        self._prepare = prepare  # declares what a new channel sends to
        self._channel: AbstractChannel | None = None
        self._connection: AbstractConnection | None = None
        self._own = own
        self.replies = replies_of(own)
        self._declared: set[str] = set()
        self._opening = asyncio.Lock()
        self._in_flight = 0

    async def send(
        self, parcel: Parcel, *, exchange: str = "", key: str = "", queue: QueueSpec | None = None, mandatory: bool = True, seconds: float
    ) -> None:
        """Return once the broker has confirmed, trying for ``seconds``; a cut may lead to two copies.

        ``queue`` is declared first when this channel has not done so yet. Raises ``Unavailable``.
        """
        if self._in_flight >= AT_ONCE:
            raise Unavailable("Too many messages wait for the message broker already. Try again later.")
        self._in_flight += 1
        try:
            await self._try_until(self._world.monotonic() + seconds, parcel, exchange, key, queue, mandatory)
        finally:
            self._in_flight -= 1

    async def probe(self, queue: str, seconds: float) -> bool:
        """Put an empty message into ``queue``; False when nothing can be sent now. Raises ``LookupError`` when there is no such queue."""
        try:
            await self._attempt(seconds, Parcel(b"", message_id=self._world.uuid()), self.replies, queue, None, True)
        except DeliveryError:
            raise LookupError(queue) from None
        except BROKEN:
            return False
        return True

    async def ready(self, seconds: float) -> AbstractConnection:
        """Open the channel and make the fixed exchanges and queues. Raises ``Unavailable``."""
        try:
            await within(self._world, seconds, self._open_channel())
        except BROKEN:
            raise self._unavailable() from None
        assert self._connection is not None
        return self._connection

    async def close(self) -> None:
        if self._channel is not None:
            await quietly(self._world, self._channel.close)

    async def _try_until(self, deadline: float, parcel: Parcel, exchange: str, key: str, queue: QueueSpec | None, mandatory: bool) -> None:
        failures = 0
        while (left := deadline - self._world.monotonic()) > 0:
            try:
                await self._attempt(min(left, ATTEMPT_SECONDS), parcel, exchange, key, queue, mandatory)
                return
            except DeliveryError as error:
                if isinstance(error.frame, Basic.Return) and queue is not None:
                    self._declared.discard(queue.name)
            except BROKEN:
                pass
            await self._world.sleep(min(back_off(self._world, failures), max(0.0, deadline - self._world.monotonic())))
            failures += 1
        raise self._unavailable()

    async def _attempt(self, seconds: float, parcel: Parcel, exchange: str, key: str, queue: QueueSpec | None, mandatory: bool) -> None:
        channel = self._present_channel()
        if channel is None:
            channel = await within(self._world, seconds, self._open_channel())
        connection = self._connection
        try:
            if queue is not None and queue.name not in self._declared and queue.name.endswith(self._own):
                await within(self._world, seconds, queue.declare(channel))
                self._declared.add(queue.name)
            target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
            await within(self._world, seconds, target.publish(parcel, key, mandatory=mandatory))
        except TimeoutError:
            if connection is not None and seconds == ATTEMPT_SECONDS and not is_blocked(connection):
                self._link.suspect(connection, "a message was not confirmed in time")
            raise

    def _present_channel(self) -> AbstractChannel | None:
        """The channel, if it can be used now; one that the broker has blocked cannot."""
        channel, connection = self._channel, self._connection
        if channel is None or connection is None or channel.is_closed or not self._link.is_present(connection) or is_blocked(connection):
            return None
        return channel

    async def _open_channel(self) -> AbstractChannel:
        async with self._opening:
            connection = await self._link.connection()
            if connection.transport is not None:
                await connection.transport.ready()  # not blocked
            if (present := self._present_channel()) is not None:
                return present
            self._channel, self._connection = None, None
            self._declared = set()
            channel = connection.channel(on_return_raises=True)
            await channel.initialize()
            await self._prepare(channel)
            self._channel, self._connection = channel, connection
            return channel

    def _unavailable(self) -> Unavailable:
        return Unavailable("The message broker does not take messages now. Try again later.", detail=f"broker {self._link.broker}")
