"""A RabbitMQ that knows everybody by certificate: who gets in, who is cut off, and what a worker may do there."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika import Message as Parcel
from aiormq.exceptions import ChannelAccessRefused

from nova_async.bus.amqp import AmqpBus
from nova_async.bus.amqp.link import Link
from nova_async.bus.connect import with_certificate
from nova_async.bus.messages import Done, Message
from nova_async.bus.rabbitmq import RabbitServer, installed
from nova_async.certs import IDENTITY, x509
from nova_async.certs.authority import Authority, load_or_make
from nova_async.certs.broker import RabbitAccounts
from nova_async.certs.keeper import Keeper, write_identity
from nova_async.config import Config
from nova_async.errors import Error, Unavailable
from nova_async.world import RealWorld

pytestmark = [
    pytest.mark.rabbitmq,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not installed(), reason="needs RabbitMQ's server"),
    pytest.mark.xdist_group("broker"),  # one node for all of them
]


def apart(work: Any) -> Any:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result(timeout=110)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="nova-async-rabbit-tls-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def rabbit(folder: Path) -> Iterator[RabbitServer]:
    """A broker with a certificate of the authority in ``folder``."""
    now = RealWorld().now()
    root, issuing, *_ = load_or_make(folder / "authority", RealWorld())
    key = x509.new_key()
    certificate = x509.sign(issuing, key.public_key(), "rabbitmq", ["localhost", "127.0.0.1"], now, timedelta(hours=1))
    write_identity(folder / "rabbitmq", key, x509.pem(certificate) + x509.pem(issuing.certificate), x509.pem(root.certificate))
    server = RabbitServer(folder / "node", RealWorld(), certificate=folder / "rabbitmq")
    apart(server.start())
    yield server
    apart(server.stop())


@pytest.fixture
def config(folder: Path, tmp_path: Path) -> Config:
    made = Config(state_dir=str(tmp_path))
    made.certs.authority_dir = str(folder / "authority")
    return made


@pytest.fixture
def accounts(rabbit: RabbitServer, world: RealWorld) -> RabbitAccounts:
    return RabbitAccounts(rabbit.management_url, world)


@dataclass
class Parties:
    """Connects parties that hold certificates, and closes their buses in the end."""

    rabbit: RabbitServer
    world: RealWorld
    folder: Path
    buses: list[AmqpBus]

    async def bus(self, directory: Path, own: str = "") -> AmqpBus:
        url = with_certificate(f"amqps://localhost:{self.rabbit.tls_port}/", directory)
        made = await AmqpBus.connect(url, self.world, probe_seconds=1.0, own=own)
        self.buses.append(made)
        return made

    def url(self, directory: Path) -> str:
        return with_certificate(f"amqps://localhost:{self.rabbit.tls_port}/", directory)


@pytest.fixture
async def parties(rabbit: RabbitServer, world: RealWorld, tmp_path: Path, authority: Authority) -> AsyncIterator[Parties]:
    made = Parties(rabbit, world, tmp_path, [])
    key, given = await authority.issue("application", [])
    write_identity(tmp_path / "application", key, given.chain, given.root)
    await authority.accounts.allow("application")
    yield made
    await asyncio.gather(*(bus.close() for bus in made.buses))


async def worker(authority: Authority, keeper: Keeper, name: str) -> Path:
    keeper.directory = keeper.directory.with_name(name)
    await keeper.enrol(name, await authority.allow_host(name, [name]))
    return keeper.directory


async def test_application_and_worker_talk_and_the_worker_is_kept_to_its_own(parties, authority, keeper) -> None:
    """SEC-042"""
    app = await parties.bus(parties.folder / "application")
    directory = await worker(authority, keeper, "host1")
    bus = await parties.bus(directory, own="compute.host1")
    heard: list[Message] = []

    async def hear(message: Message) -> Message | None:
        heard.append(message)
        return Done()

    await app.serve("conductor", hear)
    await app.serve("compute.host2", hear)
    await bus.serve("compute.host1", hear)
    assert await app.call("compute.host1", Done(), timeout=10) == Done()
    assert await bus.call("conductor", Done(), timeout=10) == Done()
    await app.cast("compute.host1", Done())
    await bus.cast("conductor", Done())
    while len(heard) < 4:
        await asyncio.sleep(0.05)

    async def take(channel: Any) -> None:
        await (await channel.get_queue("nova.work.compute.host2")).get(fail=False)

    await refused(parties.url(directory), lambda ch: ch.default_exchange.publish(Parcel(b"x"), "nova.work.compute.host2"))
    await refused(parties.url(directory), take)
    await refused(parties.url(directory), lambda ch: ch.queue_delete("nova.work.conductor"))
    await refused(parties.url(directory), lambda ch: ch.exchange_delete("nova.topics"))

    async def spy(channel: Any, exchange: str, key: str) -> None:
        queue = await channel.declare_queue("nova.calls.compute.host1", passive=True)
        await queue.bind(exchange, key)

    for exchange, key in (("nova.conductors", "nova.work.conductor"), ("nova.replies", app._replies._queue), ("nova.topics", "hosts")):
        await refused(parties.url(directory), lambda ch, at=exchange, of=key: spy(ch, at, of))
    for name in ("nova.replies.compute.host2.x", "nova.news.hosts.x", "nova.retry.compute.host10", "anything"):
        await refused(parties.url(directory), lambda ch, name=name: ch.declare_queue(name, exclusive=True))
    await refused(parties.url(directory), lambda ch: ch.declare_exchange("nova.replies.compute.host2"))
    assert len(heard) == 4


async def refused(url: str, attempt: Any) -> None:
    """The broker closes the channel of who tries this."""
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        with pytest.raises(ChannelAccessRefused):
            await attempt(channel)
            await channel.get_exchange("nova.topics")  # a refused message is told with the next answer


async def test_what_fails_at_a_worker_is_tried_again(parties, authority, keeper) -> None:
    await parties.bus(parties.folder / "application")
    bus = await parties.bus(await worker(authority, keeper, "host3"), own="compute.host3")
    app = parties.buses[0]
    tries = 0

    async def fail_twice(message: Message) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Error("not yet")

    await bus.serve("compute.host3", fail_twice)
    await app.cast("compute.host3", Done())
    while tries < 3:
        await asyncio.sleep(0.05)


async def test_a_revoked_worker_is_cut_off_and_not_let_in_again(parties, authority, keeper, capsys) -> None:
    await parties.bus(parties.folder / "application")
    directory = await worker(authority, keeper, "host4")
    connection = await aio_pika.connect(parties.url(directory))
    gone = asyncio.Event()
    connection.close_callbacks.add(lambda *_: gone.set())
    await asyncio.sleep(6)  # the broker lists a connection to its management within five seconds
    await authority.revoke("compute.host4")
    await asyncio.wait_for(gone.wait(), 10)
    with pytest.raises(Unavailable, match="refused"):
        await parties.bus(directory, own="compute.host4")
    assert "bus.refused" in capsys.readouterr().out


async def test_strangers_are_refused(parties, authority, keeper, world, tmp_path, capsys) -> None:
    directory = await worker(authority, keeper, "host5")
    root = x509.make_root(world.now())
    issuing = x509.make_issuing(root, world.now())
    key = x509.new_key()
    forged = x509.sign(issuing, key.public_key(), "compute.host5", [], world.now(), timedelta(hours=1))
    write_identity(tmp_path / "stranger", key, x509.pem(forged) + x509.pem(issuing.certificate), (directory / "ca-cert.pem").read_bytes())
    expired = x509.sign(authority.issuing, key.public_key(), "compute.host5", [], world.now(), -timedelta(minutes=1))
    chain = x509.pem(expired) + x509.pem(authority.issuing.certificate)
    write_identity(tmp_path / "expired", key, chain, (directory / "ca-cert.pem").read_bytes())
    for name in ("stranger", "expired"):
        link = Link(parties.url(tmp_path / name), world, name)
        with pytest.raises(Unavailable):
            await link.first(2.0)
        await link.close()
    said = capsys.readouterr().out
    assert any(reason in said for reason in ("UNKNOWN_CA", "CERTIFICATE_EXPIRED"))  # the alert may be lost with its connection


async def test_a_renewal_drops_nothing(parties, authority, keeper) -> None:
    app = await parties.bus(parties.folder / "application")
    directory = await worker(authority, keeper, "host6")
    bus = await parties.bus(directory, own="compute.host6")

    async def answer(message: Message) -> Message:
        return Done()

    await bus.serve("compute.host6", answer)
    before = (directory / IDENTITY).read_bytes()
    asked = [asyncio.create_task(app.call("compute.host6", Done(), timeout=20)) for _ in range(50)]
    await keeper.renew()
    asked += [asyncio.create_task(app.call("compute.host6", Done(), timeout=20)) for _ in range(50)]
    assert await asyncio.gather(*asked) == [Done()] * 100
    assert (directory / IDENTITY).read_bytes() != before
    bus._links[0].suspect(await bus._links[0].connection(), "a test")  # the next connection shows the new certificate
    assert await app.call("compute.host6", Done(), timeout=20) == Done()
