"""Notifications as consumers outside get them."""

import json

import aio_pika
import pytest

from nova_async.bus.messages import Notification
from nova_async.errors import Unavailable

NOTE = {
    "message_id": "11111111-1111-4111-8111-111111111111",
    "publisher_id": "nova-api:here",
    "event_type": "flavor.create",
    "priority": "INFO",
    "payload": {"nova_object.name": "FlavorPayload"},
    "timestamp": "2026-01-31 12:00:00.000000",
}


async def test_a_consumer_that_knows_oslo_messaging_reads_them(amqp_bus, rabbit):
    connection = await aio_pika.connect(rabbit.url)
    async with connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("nova", aio_pika.ExchangeType.TOPIC, durable=False)
        queue = await channel.declare_queue("versioned_notifications.info", auto_delete=True)
        await queue.bind(exchange, "versioned_notifications.info")
        await amqp_bus.notify("versioned_notifications.info", NOTE)
        incoming = await queue.get(timeout=5)
        await incoming.ack()
    envelope = json.loads(incoming.body)
    assert (incoming.content_type, envelope["oslo.version"]) == ("application/json", "2.0")
    assert json.loads(envelope["oslo.message"]) == {**NOTE, "_unique_id": NOTE["message_id"]}


async def test_without_a_queue_they_are_not_taken(amqp_bus):
    with pytest.raises(Unavailable):
        await amqp_bus.notify("versioned_notifications.nobody", NOTE)


async def test_subscribers_in_the_process_hear_them(local_bus):
    heard = []

    async def hear(message):
        heard.append(message)

    subscription = await local_bus.subscribe("versioned_notifications.info", hear)
    await local_bus.notify("versioned_notifications.info", NOTE)
    await subscription.close()
    assert heard == [Notification(body=NOTE)]
