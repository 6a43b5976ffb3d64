"""The bus over RabbitMQ (3.10 or later), by aio-pika's plain connections under our own supervision."""

import logging

from nova_async.bus.amqp.bus import AmqpBus

__all__ = ("AmqpBus",)

# aiormq tells of each lost connection with a traceback; the link tells the same in a line.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)
