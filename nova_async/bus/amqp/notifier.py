"""Notifications over AMQP, as oslo.messaging sends them, so that the consumers which know Nova read ours.

They have a channel of their own: another program may have declared their exchange otherwise, which closes a channel.
"""

import msgspec
from aio_pika import DeliveryMode, ExchangeType
from aio_pika import Message as Parcel
from aio_pika.abc import AbstractChannel

from nova_async.bus.amqp.link import Link
from nova_async.bus.amqp.publisher import Publisher
from nova_async.world import World

SECONDS = 5.0


class Notifier:
    def __init__(self, link: Link, world: World, exchange: str) -> None:
        self.exchange = exchange
        self._publisher = Publisher(link, world, prepare=self._declare)

    async def send(self, topic: str, notification: dict[str, object]) -> None:
        """Return once a queue has it. Raises ``Unavailable`` where none is bound, too."""
        parcel = Parcel(
            msgspec.json.encode(enveloped(notification)),
            content_type="application/json",
            message_id=str(notification["message_id"]),
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        await self._publisher.send(parcel, exchange=self.exchange, key=topic, seconds=SECONDS)

    async def close(self) -> None:
        await self._publisher.close()

    async def _declare(self, channel: AbstractChannel) -> None:
        """As oslo.messaging does unless told otherwise."""
        await channel.declare_exchange(self.exchange, ExchangeType.TOPIC, durable=False, auto_delete=False)


def enveloped(notification: dict[str, object]) -> dict[str, str]:
    """The envelope of oslo.messaging, version 2.0; ``_unique_id`` lets a consumer drop a repeated one."""
    message = {**notification, "_unique_id": notification["message_id"]}
    return {"oslo.version": "2.0", "oslo.message": msgspec.json.encode(message).decode()}
