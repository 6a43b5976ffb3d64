"""Time and chance: real ones move by themselves, simulated ones replay."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from nova_async.world import RealWorld, SimulatedWorld, World

WORLDS = [RealWorld, SimulatedWorld]


@pytest.mark.parametrize("kind", WORLDS)
def test_identifiers_are_random_uuids(kind: type[World]) -> None:
    world = kind()
    names = [world.uuid() for _ in range(100)]
    assert len(set(names)) == 100
    assert all(uuid.UUID(n).version == 4 and str(uuid.UUID(n)) == n for n in names)


@pytest.mark.parametrize("kind", WORLDS)
def test_secrets_differ_and_have_the_length_asked_for(kind: type[World]) -> None:
    world = kind()
    assert world.secret() != world.secret()
    assert len(world.secret(64)) > len(world.secret(16)) >= 16


@pytest.mark.parametrize("kind", WORLDS)
def test_the_wall_clock_knows_its_zone(kind: type[World]) -> None:
    assert kind().now().tzinfo is UTC


async def test_the_real_world_sleeps(world: RealWorld) -> None:
    before = world.monotonic()
    await world.sleep(0.02)
    assert world.monotonic() - before >= 0.019


def test_the_real_world_does_not_replay() -> None:
    assert RealWorld().uuid() != RealWorld().uuid()


def test_one_seed_gives_one_run_and_another_seed_another() -> None:
    def draw(seed: int) -> tuple[object, ...]:
        world = SimulatedWorld(seed)
        return world.uuid(), world.secret(), world.random.random(), world.now()

    assert draw(7) == draw(7)
    assert draw(7) != draw(8)


async def test_simulated_sleepers_wake_in_the_order_of_their_time() -> None:
    world, woken = SimulatedWorld(), []

    async def sleep(seconds: float, name: str) -> None:
        await world.sleep(seconds)
        woken.append(name)

    async with asyncio.TaskGroup() as group:
        for seconds, name in ((30, "late"), (10, "early"), (20, "middle"), (10, "early too")):
            group.create_task(sleep(seconds, name))
        await asyncio.sleep(0)
        assert world.next_wake() == 10
        world.advance(15)
        await asyncio.sleep(0)
        assert woken == ["early", "early too"]
        assert world.next_wake() == 5
        world.advance(3600)
    assert woken == ["early", "early too", "middle", "late"]
    assert world.next_wake() is None


def test_the_simulated_clocks_move_together_and_only_when_told() -> None:
    world = SimulatedWorld(start=datetime(2026, 3, 1, tzinfo=UTC))
    before = world.now()
    world.advance(90)
    assert (world.monotonic(), world.now() - before) == (90, timedelta(seconds=90))


async def test_a_simulated_sleeper_that_was_cancelled_is_forgotten() -> None:
    world = SimulatedWorld()
    sleeper = asyncio.create_task(world.sleep(5))
    await asyncio.sleep(0)
    sleeper.cancel()
    await asyncio.gather(sleeper, return_exceptions=True)
    assert world.next_wake() is None
    world.advance(10)
