"""One RabbitMQ for all tests of the bus, and a bus of each kind.

A run that was killed leaves its broker and folder behind; the next run removes both.
"""

import asyncio
import os
import shutil
import signal
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
PREFIX = "nova-async-rabbit-"
numbers = count(1)


@pytest.fixture(scope="session")
def rabbit() -> Iterator[RabbitServer]:
    """A running broker of our own."""
    if not installed():
        pytest.skip("RabbitMQ's server is not installed")
    for abandoned in Path("/tmp").glob(f"{PREFIX}*"):
        _clear_when_abandoned(abandoned)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir="/tmp"))
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


def _clear_when_abandoned(folder: Path) -> None:
    """The folder's name tells which test run made it; its ``pid`` file, which process is the broker."""
    if Path(f"/proc/{folder.name.removeprefix(PREFIX).split('-')[0]}").exists():
        return
    try:
        broker = int((folder / "pid").read_text())
        if f"{folder}/".encode() in Path(f"/proc/{broker}/environ").read_bytes():
            os.kill(broker, signal.SIGKILL)
    except (OSError, ValueError):
        pass
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def local_bus(world: RealWorld) -> AsyncIterator[Bus]:
    made = LocalBus(world, max_tries=MAX_TRIES)
    yield made
    await made.close()


@pytest.fixture
async def amqp_bus(rabbit: RabbitServer, world: RealWorld) -> AsyncIterator[Bus]:
    made = await AmqpBus.connect(rabbit.url, world, max_tries=MAX_TRIES, probe_seconds=1.0)
    yield made
    await made.close()
