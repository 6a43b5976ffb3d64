"""The bus over RabbitMQ (3.10 or later), by aio-pika's plain connections under our own supervision."""

from nova_async.bus.amqp.bus import AmqpBus

__all__ = ("AmqpBus",)
