"""A faulty bus does what a bus may do, and no more."""

from nova_async.bus.faults import FaultyBus
from nova_async.bus.local import LocalBus
from nova_async.errors import Unavailable
from nova_async.world import SimulatedWorld
from tests.bus.inbox import Inbox, work
from tests.bus.simulated import simulate

COUNT = 200
ALL = {str(number) for number in range(COUNT)}


async def run(seed: int = 0, **faults: float) -> list[str]:
    """What a target handled of ``COUNT`` casts, in order; a cast that failed is made again."""
    world = SimulatedWorld(seed)
    bus = FaultyBus(LocalBus(world), world, **faults)
    inbox = Inbox()

    async def story() -> list[str]:
        await bus.serve("host", inbox)
        for number in range(COUNT):
            await cast_until_it_works(bus, number)
            await world.sleep(0.001)
        await world.sleep(60)
        return inbox.done

    return await simulate(world, story())


async def cast_until_it_works(bus: FaultyBus, number: int) -> None:
    while True:
        try:
            await bus.cast("host", work(number))
            return
        except Unavailable:
            continue


async def test_without_faults_it_is_the_bus_below() -> None:
    assert await run() == [str(number) for number in range(COUNT)]


async def test_duplicates_come_twice() -> None:
    done = await run(duplicate=0.3)
    assert set(done) == ALL
    assert COUNT * 1.1 < len(done) < COUNT * 1.6


async def test_late_messages_all_come_and_change_places() -> None:
    done = await run(delay=1.0)
    assert sorted(done, key=int) == [str(number) for number in range(COUNT)]
    assert done != sorted(done, key=int)


async def test_overtaken_messages_change_places_and_none_is_lost() -> None:
    done = await run(reorder=0.5)
    assert sorted(done, key=int) == [str(number) for number in range(COUNT)]
    assert done != sorted(done, key=int)


async def test_a_cast_that_failed_may_have_had_its_effect() -> None:
    done = await run(unavailable=0.5)
    assert set(done) == ALL
    assert len(done) > COUNT


async def test_news_can_be_lost_and_casts_not() -> None:
    world = SimulatedWorld()
    bus = FaultyBus(LocalBus(world), world, lose_news=1.0)
    inbox = Inbox()

    async def story() -> None:
        await bus.subscribe("hosts", inbox)
        await bus.serve("hosts", inbox)
        await bus.publish("hosts", work("news"))
        await bus.cast("hosts", work("cast"))
        await world.sleep(1)

    await simulate(world, story())
    assert inbox.done == ["cast"]


async def test_a_seed_replays_a_run() -> None:
    faults = {"duplicate": 0.2, "delay": 0.5, "reorder": 0.2, "unavailable": 0.1}
    assert await run(7, **faults) == await run(7, **faults)
    assert await run(7, **faults) != await run(8, **faults)
