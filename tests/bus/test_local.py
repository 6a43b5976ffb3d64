"""What only the bus in memory can be asked, on a clock of our own."""

import asyncio
from itertools import pairwise

import pytest

from nova_async.bus.connect import connect
from nova_async.bus.delivery import CAST_SECONDS, HANDLER_SECONDS, RETRY_SECONDS
from nova_async.bus.local import LocalBus
from nova_async.bus.messages import Message
from nova_async.config import BusSection
from nova_async.errors import Unavailable
from nova_async.world import RealWorld, SimulatedWorld
from tests.bus.inbox import Inbox, work
from tests.bus.simulated import idle, simulate


async def never(_: Message) -> None:
    await asyncio.Event().wait()


async def test_a_served_target_without_messages_polls_nothing() -> None:
    world = SimulatedWorld()
    bus = LocalBus(world)
    await bus.serve("quiet", Inbox())
    await bus.subscribe("quiet", Inbox())
    await idle()
    assert world.next_wake() is None


async def test_a_handler_that_hangs_is_cancelled_and_its_message_parked() -> None:
    world = SimulatedWorld()
    bus = LocalBus(world, max_tries=2)

    async def look() -> None:
        await bus.serve("host", never)
        await bus.cast("host", work(1))
        await world.sleep(3 * HANDLER_SECONDS)

    await simulate(world, look())
    (letter,) = await bus.dead_letters.list()
    assert (letter.reason, letter.tries) == ("TimeoutError", 2)


async def test_a_call_to_a_handler_that_hangs_ends_at_its_deadline() -> None:
    world = SimulatedWorld()
    bus = LocalBus(world)
    await bus.serve("host", never)
    with pytest.raises(Unavailable):
        await simulate(world, bus.call("host", work(1), timeout=7))
    assert world.monotonic() == 7


async def test_tries_back_off_up_to_a_cap_with_jitter() -> None:
    world = SimulatedWorld(seed=4)
    bus = LocalBus(world, max_tries=6)
    times: list[float] = []

    async def failing(_: Message) -> None:
        times.append(world.monotonic())
        raise ValueError

    async def look() -> None:
        await bus.serve("host", failing)
        await bus.cast("host", work(1))
        await world.sleep(100)

    await simulate(world, look())
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert len(waits) == 5
    for wait, longest in zip(waits, (*RETRY_SECONDS, RETRY_SECONDS[-1]), strict=True):
        assert longest / 2 <= wait <= longest


async def test_the_same_seed_gives_the_same_run() -> None:
    async def run(seed: int) -> list[float]:
        world = SimulatedWorld(seed)
        bus = LocalBus(world, max_tries=4)
        times: list[float] = []

        async def failing(_: Message) -> None:
            times.append(world.monotonic())
            raise ValueError

        async def look() -> None:
            await bus.serve("host", failing)
            await bus.cast("host", work(1))
            await world.sleep(30)

        await simulate(world, look())
        return times

    assert await run(1) == await run(1)
    assert await run(1) != await run(2)


async def test_a_target_that_is_full_refuses_after_a_while() -> None:
    world = SimulatedWorld()
    bus = LocalBus(world, limit=3)
    for number in range(3):
        await bus.cast("nobody", work(number))
    with pytest.raises(Unavailable, match="3 messages wait for nobody"):
        await simulate(world, bus.cast("nobody", work(3)))
    assert world.monotonic() == CAST_SECONDS


async def test_a_cast_to_a_full_target_goes_on_as_soon_as_there_is_room() -> None:
    world = SimulatedWorld()
    bus = LocalBus(world, limit=3)
    for number in range(3):
        await bus.cast("slow", work(number))
    late = asyncio.ensure_future(bus.cast("slow", work(3)))
    await idle()
    assert not late.done()
    inbox = Inbox()
    await bus.serve("slow", inbox)
    await late
    await idle()
    assert inbox.done == ["0", "1", "2", "3"]
    assert world.monotonic() == 0


async def test_a_listener_that_cannot_keep_up_loses_the_oldest_news() -> None:
    bus = LocalBus(RealWorld(), prefetch=1, limit=2)
    inbox = Inbox()
    await bus.subscribe("hosts", inbox)
    for number in range(5):
        await bus.publish("hosts", work(number))
    await idle()
    assert inbox.done == ["0", "3", "4"]


async def test_handlers_do_not_inherit_the_log_keys_of_the_sender() -> None:
    from structlog.contextvars import get_contextvars

    from nova_async.log import bound

    bus = LocalBus(RealWorld())
    seen: list[dict[str, object]] = []

    async def handler(_: Message) -> None:
        seen.append(get_contextvars())

    await bus.serve("host", handler)
    with bound(request_id="req-1"):
        await bus.cast("host", work(1))
    await idle()
    assert seen == [{}]


async def test_closing_cancels_what_does_not_end_in_its_grace_time() -> None:
    world = SimulatedWorld()
    bus = LocalBus(world)
    await bus.serve("host", never)
    await bus.cast("host", work(1))
    await idle()
    await simulate(world, bus.close())
    assert [task for task in asyncio.all_tasks() if "host" in task.get_name()] == []


async def test_no_url_means_a_bus_in_process(world: RealWorld) -> None:
    assert isinstance(await connect(BusSection(), world), LocalBus)
