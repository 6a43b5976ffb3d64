"""What the AMQP bus survives: a real broker is killed, cut off, made to hang, made to forget."""

import asyncio
from collections.abc import AsyncIterator

import aio_pika
import pytest

from nova_async.bus.amqp import AmqpBus
from nova_async.bus.rabbitmq import RabbitServer
from nova_async.errors import Invalid, Unavailable
from nova_async.world import RealWorld
from tests.bus.inbox import Inbox, letters_for, until, work
from tests.bus.proxy import Proxy

pytestmark = pytest.mark.rabbitmq
PROBE_SECONDS = 0.5
REGISTERED_SECONDS = 2.5


@pytest.fixture
async def proxy(rabbit: RabbitServer) -> AsyncIterator[Proxy]:
    async with Proxy(rabbit.port) as made:
        yield made


@pytest.fixture
async def bus(proxy: Proxy, world: RealWorld) -> AsyncIterator[AmqpBus]:
    """A bus that reaches its broker through the proxy."""
    made = await AmqpBus.connect(proxy.url, world, probe_seconds=PROBE_SECONDS)
    yield made
    await made.close()


@pytest.fixture
async def straight(rabbit: RabbitServer, world: RealWorld) -> AsyncIterator[AmqpBus]:
    """A bus without a proxy."""
    made = await AmqpBus.connect(rabbit.url, world, probe_seconds=PROBE_SECONDS)
    yield made
    await made.close()


async def make_well_known(bus: AmqpBus, target: str) -> None:
    """RabbitMQ 3.10 writes the names of new quorum queues to disk late; one killed sooner starts them without a leader."""
    for name in (target, f"{target}.unserved"):
        await bus.cast(name, work("first"))
    await asyncio.sleep(REGISTERED_SECONDS)


async def test_no_confirmed_message_is_lost_when_the_broker_is_killed(rabbit: RabbitServer, straight: AmqpBus, target: str) -> None:
    inbox = Inbox(seconds=0.002)
    await straight.serve(target, inbox, prefetch=4)
    await make_well_known(straight, target)
    confirmed: list[str] = []
    waiting = [f"waiting {number}" for number in range(20)]
    for name in waiting:
        await straight.cast(f"{target}.unserved", work(name))

    async def keep_casting() -> None:
        for number in range(3000):
            try:
                await straight.cast(target, work(number))
            except Unavailable:
                continue
            confirmed.append(str(number))
            if rabbit_is_back.is_set() and len(confirmed) > 500:
                return

    rabbit_is_back = asyncio.Event()
    caster = asyncio.create_task(keep_casting())
    await until(lambda: len(confirmed) > 200)
    await rabbit.kill()
    await rabbit.start()
    rabbit_is_back.set()
    await caster
    await until(lambda: set(confirmed) <= set(inbox.done), seconds=20)
    await straight.serve(f"{target}.unserved", late := Inbox())
    await until(lambda: set(waiting) <= set(late.done))


async def test_a_cut_connection_is_made_again_and_nothing_is_lost(proxy: Proxy, bus: AmqpBus, target: str) -> None:
    inbox = Inbox(seconds=0.005)
    await bus.serve(target, inbox)
    await bus.subscribe(target, news := Inbox())

    async def cut_now_and_then() -> None:
        for _ in range(4):
            await asyncio.sleep(0.3)
            proxy.cut()

    cutter = asyncio.create_task(cut_now_and_then())
    for number in range(200):
        await bus.cast(target, work(number))
        await asyncio.sleep(0.005)
    await cutter
    await until(lambda: {str(number) for number in range(200)} <= set(inbox.done))
    await until_heard(bus, target, news)


async def until_heard(bus: AmqpBus, topic: str, news: Inbox) -> None:
    async with asyncio.timeout(15):
        while not news.done:
            await bus.publish(topic, work("are you there"))
            await asyncio.sleep(0.1)


async def test_a_cast_waits_out_a_short_outage(proxy: Proxy, bus: AmqpBus, target: str) -> None:
    await bus.serve(target, inbox := Inbox())
    proxy.refusing = True
    proxy.cut()
    cast = asyncio.create_task(bus.cast(target, work("patient")))
    await asyncio.sleep(1.0)
    assert not cast.done()
    proxy.refusing = False
    await cast
    assert await inbox.has(1) == ["patient"]


async def test_a_cast_during_a_long_outage_is_unavailable_within_its_bound(
    proxy: Proxy, bus: AmqpBus, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nova_async.bus.amqp.bus.CAST_SECONDS", 1.0)
    proxy.refusing = True
    proxy.cut()
    async with asyncio.timeout(3):
        with pytest.raises(Unavailable, match="message broker"):
            await bus.cast(target, work(1))


async def test_a_call_that_is_cut_off_does_not_wait_for_its_timeout(proxy: Proxy, bus: AmqpBus, straight: AmqpBus, target: str) -> None:
    await straight.serve(target, inbox := Inbox(seconds=1.5))
    call = asyncio.create_task(bus.call(target, work(1), timeout=30))
    await until(lambda: inbox.seen != [])
    proxy.cut()
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable, match="cut"):
            await call


async def test_a_broker_that_accepts_and_never_answers_is_left_for_a_new_connection(proxy: Proxy, bus: AmqpBus, target: str) -> None:
    await bus.serve(target, inbox := Inbox())
    before = proxy.made
    proxy.hang()
    cast = asyncio.create_task(bus.cast(target, work("hung")))
    await asyncio.sleep(2.5)
    proxy.go_on()
    await cast
    await inbox.has(1)
    assert proxy.made > before


async def test_a_consumer_that_gets_no_deliveries_is_noticed_and_built_again(proxy: Proxy, bus: AmqpBus, target: str) -> None:
    await bus.serve(target, inbox := Inbox())
    await bus.cast(target, work("heard"))
    await inbox.has(1)
    proxy.deafen()
    await bus.cast(target, work("swallowed"))
    assert await inbox.has(2) == ["heard", "swallowed"]


async def test_a_consumer_whose_queue_was_deleted_makes_it_again(rabbit: RabbitServer, straight: AmqpBus, target: str) -> None:
    await straight.serve(target, inbox := Inbox())
    await straight.cast(target, work("before"))
    await inbox.has(1)
    async with await aio_pika.connect(rabbit.url) as connection, connection.channel() as channel:
        await channel.queue_delete(f"nova.work.{target}")
    await straight.cast(target, work("after"))
    assert "after" in await inbox.has(2)


async def test_a_broker_short_of_memory_refuses_casts_but_its_consumers_go_on(
    rabbit: RabbitServer, straight: AmqpBus, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nova_async.bus.amqp.bus.CAST_SECONDS", 1.0)
    await straight.serve(target, inbox := Inbox(seconds=0.5), prefetch=1)
    for number in range(8):
        await straight.cast(target, work(number))
    await rabbit.control("set_vm_memory_high_watermark", "0.0001")
    try:
        with pytest.raises(Unavailable):
            await straight.cast(target, work("refused, or late"))
        await until(lambda: {str(number) for number in range(8)} <= set(inbox.done))
    finally:
        await rabbit.control("set_vm_memory_high_watermark", "0.4")
    assert inbox.seen[:8] == [str(number) for number in range(8)]
    await straight.cast(target, work("after"))
    await until(lambda: "after" in inbox.done)


async def test_work_that_is_cut_off_in_hand_is_not_lost(proxy: Proxy, bus: AmqpBus, target: str) -> None:
    await bus.serve(target, inbox := Inbox(seconds=0.5))
    await bus.cast(target, work("in hand"))
    await until(lambda: inbox.seen != [])
    proxy.cut()
    await until(lambda: len(inbox.done) >= 2)
    await asyncio.sleep(0.7)
    assert set(inbox.done) == {"in hand"}
    assert len(inbox.done) == 2


async def test_a_message_that_kills_its_worker_again_and_again_is_parked_by_the_broker(
    rabbit: RabbitServer, straight: AmqpBus, target: str
) -> None:
    await straight.cast(target, work("killer"))
    for _ in range(21):
        async with await aio_pika.connect(rabbit.url) as connection, connection.channel() as channel:
            queue = await channel.get_queue(f"nova.work.{target}", ensure=False)
            await queue.get(fail=False)
    (letter,) = await letters_for(straight, target, 1)
    assert letter.reason == "parked by the broker: delivery_limit"
    assert letter.body() == {"workflow_id": "killer"}
    await straight.dead_letters.requeue(letter.id)
    await straight.serve(target, inbox := Inbox())
    assert await inbox.has(1) == ["killer"]


async def test_wrong_credentials_are_told_at_once_and_without_the_password(rabbit: RabbitServer, world: RealWorld) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable, match="refused") as caught:
            await AmqpBus.connect(rabbit.url.replace("guest:guest", "guest:hunter2"), world)
    assert "hunter2" not in str(caught.value)


async def test_a_broker_that_is_not_there_is_unavailable_after_a_while(world: RealWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova_async.bus.amqp.bus.FIRST_SECONDS", 0.5)
    with pytest.raises(Unavailable, match="does not answer"):
        await AmqpBus.connect("amqp://guest:guest@127.0.0.1:9/", world)


async def test_a_url_of_another_kind_is_refused(world: RealWorld) -> None:
    with pytest.raises(Invalid, match=r"bus\.url"):
        await AmqpBus.connect("redis://localhost", world)
