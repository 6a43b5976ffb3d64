"""The RabbitMQ node that tests and labs run: its ports are its own."""

import socket
from pathlib import Path

import aio_pika
import pytest

from nova_async.bus.rabbitmq import RabbitServer, installed
from nova_async.world import RealWorld

pytestmark = [pytest.mark.rabbitmq, pytest.mark.skipif(not installed(), reason="needs RabbitMQ's server")]


async def test_a_port_that_somebody_took_before_the_start_is_left_to_them(tmp_path: Path, world: RealWorld) -> None:
    """RabbitMQ itself would start without the listener, and clients would talk to whoever is there."""
    server = RabbitServer(tmp_path / "node", world)
    with socket.create_server(("127.0.0.1", server.port)) as taken:
        url = await server.start()
        assert server.port != taken.getsockname()[1]
        async with await aio_pika.connect(url) as connection:
            assert connection.connected.is_set()
        await server.stop()


def test_two_nodes_never_have_a_port_in_common(tmp_path: Path) -> None:
    """Though neither listens yet."""

    class Unlucky(RealWorld):
        def __init__(self) -> None:
            super().__init__()
            self.random.seed(1)

    first, second = (RabbitServer(tmp_path / name, Unlucky()) for name in ("a", "b"))
    assert not {first.port, first.tls_port, first.management_port} & {second.port, second.tls_port, second.management_port}
