"""One RabbitMQ for all tests of the bus, and a bus of each kind."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from nova_async.bus import Bus
from nova_async.bus.amqp import AmqpBus
from nova_async.bus.local import LocalBus
from nova_async.bus.rabbitmq import RabbitServer, installed
from nova_async.world import RealWorld

MAX_TRIES = 2
numbers = count(1)


@pytest.fixture(scope="session")
def rabbit() -> Iterator[RabbitServer]:
    """A running broker of our own."""
    if not installed():
        pytest.skip("RabbitMQ's server is not installed")
    folder = Path(tempfile.mkdtemp(prefix="nova-async-rabbit-", dir="/tmp"))
    server = RabbitServer(folder, RealWorld())
    _run(server.start())
    yield server
    _run(server.stop())
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["local", pytest.param("amqp", marks=pytest.mark.rabbitmq)])
async def bus(request: pytest.FixtureRequest, world: RealWorld) -> AsyncIterator[Bus]:
    """A bus of each kind, with few tries and quick probes."""
    made: Bus
    if request.param == "local":
        made = LocalBus(world, max_tries=MAX_TRIES)
    else:
        server = request.getfixturevalue("rabbit")
        made = await AmqpBus.connect(server.url, world, max_tries=MAX_TRIES, probe_seconds=1.0)
    yield made
    await made.close()


@pytest.fixture
def target() -> str:
    """A name that no other test uses."""
    return f"test{next(numbers)}"


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run in a loop of its own, whatever loop the test has."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result(timeout=110)
