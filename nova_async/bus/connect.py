"""The bus that the configuration asks for."""

from pathlib import Path

from yarl import URL

from nova_async.bus import Bus
from nova_async.bus.local import LocalBus
from nova_async.config import BusSection
from nova_async.errors import Invalid
from nova_async.world import World


async def connect(section: BusSection, world: World, *, exchange: str = "nova", certificate: Path | None = None, own: str = "") -> Bus:
    """In process without a URL, else RabbitMQ, with an ``exchange`` for notifications.

    ``certificate`` is the directory of the one that says who we are to the broker; its files are read anew for each connection.
    ``own`` is the target of a worker that may declare its own queues only.
    Raises ``Unavailable`` without a broker.
    """
    if not section.url:
        return LocalBus(world, prefetch=section.prefetch, max_tries=section.max_tries)
    from nova_async.bus.amqp import AmqpBus  # aio-pika costs memory that the all-in-one does not need to spend

    return await AmqpBus.connect(
        with_certificate(section.url, certificate) if certificate else section.url,
        world,
        prefetch=section.prefetch,
        max_tries=section.max_tries,
        probe_seconds=section.probe_seconds,
        exchange=exchange,
        own=own,
    )


def with_certificate(url: str, directory: Path) -> str:
    """Raises ``Invalid`` when the URL would send certificates over a bare connection."""
    if not url.startswith("amqps://"):
        raise Invalid("bus.tls: bus.url has to begin with amqps://.")
    identity = str(directory / "identity.pem")
    told = {"cafile": str(directory / "ca-cert.pem"), "certfile": identity, "keyfile": identity, "auth": "external"}
    return str(URL(url).update_query(told))
