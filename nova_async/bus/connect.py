"""The bus that the configuration asks for."""

from nova_async.bus import Bus
from nova_async.bus.local import LocalBus
from nova_async.config import BusSection
from nova_async.world import World


async def connect(section: BusSection, world: World, *, exchange: str = "nova") -> Bus:
    """In process without a URL, else RabbitMQ, with an ``exchange`` for notifications. Raises ``Unavailable`` without a broker."""
    if not section.url:
        return LocalBus(world, prefetch=section.prefetch, max_tries=section.max_tries)
    from nova_async.bus.amqp import AmqpBus  # aio-pika costs memory that the all-in-one does not need to spend

    return await AmqpBus.connect(
        section.url,
        world,
        prefetch=section.prefetch,
        max_tries=section.max_tries,
        probe_seconds=section.probe_seconds,
        exchange=exchange,
    )
