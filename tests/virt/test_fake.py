"""The fake hypervisor waits, fails, hangs and reorders on demand, and keeps its guests in a file."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nova_async.errors import NoCapacity, Unavailable
from nova_async.model.guests import GuestSpec
from nova_async.model.power import PowerState
from nova_async.virt.fake import FakeDriver
from nova_async.world import RealWorld, SimulatedWorld

from .conftest import Lab, quiet


@pytest.fixture
async def fake(world: RealWorld) -> AsyncIterator[FakeDriver]:
    driver = FakeDriver(world, "host")
    await driver.start()
    yield driver
    await driver.close()


def spec(world: RealWorld | SimulatedWorld) -> GuestSpec:
    return Lab(world).spec()


async def test_an_operation_waits_in_the_worlds_time() -> None:
    world = SimulatedWorld()
    driver = FakeDriver(world, "host")
    driver.faults.delay("spawn", 5.0)
    spawning = asyncio.create_task(driver.spawn(spec(world), 1, quiet))
    for _ in range(3):
        await asyncio.sleep(0)
    assert await driver.guests() == []
    world.advance(5.0)
    await spawning
    assert len(await driver.guests()) == 1


async def test_the_next_calls_fail_and_those_after_them_do_not(fake: FakeDriver, world: RealWorld) -> None:
    fake.faults.fail("spawn", times=2, error=NoCapacity("full"))
    for _ in range(2):
        with pytest.raises(NoCapacity, match="full"):
            await fake.spawn(spec(world), 1, quiet)
    await fake.spawn(spec(world), 1, quiet)
    assert len(await fake.guests()) == 1


async def test_a_call_may_fail_after_its_work_is_done(fake: FakeDriver, world: RealWorld) -> None:
    guest = spec(world)
    fake.faults.fail("spawn", after=True)
    with pytest.raises(Unavailable):
        await fake.spawn(guest, 1, quiet)
    await fake.spawn(guest, 1, quiet)
    assert len(await fake.guests()) == 1


async def test_all_calls_fail_until_the_faults_are_cleared(fake: FakeDriver) -> None:
    fake.faults.fail("*", times=None)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await fake.guests()
    fake.faults.clear()
    assert await fake.guests() == []


async def test_hanging_calls_end_in_the_order_they_are_released(fake: FakeDriver, world: RealWorld) -> None:
    first, second = spec(world), spec(world)
    fake.faults.hang("spawn")
    events = fake.events()
    calls = [asyncio.create_task(fake.spawn(guest, 1, quiet)) for guest in (first, second)]
    await asyncio.sleep(0)
    assert fake.faults.waiting("spawn") == [first.instance_id, second.instance_id]
    fake.faults.release("spawn", second.instance_id)
    assert (await anext(events)).instance_id == second.instance_id
    fake.faults.release("spawn")
    await asyncio.gather(*calls)
    assert (await anext(events)).instance_id == first.instance_id


async def test_a_guest_may_power_itself_off(fake: FakeDriver, world: RealWorld) -> None:
    guest = spec(world)
    await fake.spawn(guest, 4, quiet)
    events = fake.events()
    await fake.change_power(guest.instance_id, PowerState.SHUTDOWN)
    told = await anext(events)
    assert (told.generation, told.power_state) == (4, PowerState.SHUTDOWN)
    assert "Power down" in await fake.console_output(guest.instance_id, None)


async def test_guests_come_back_from_the_file_even_if_the_last_line_is_broken(world: RealWorld, tmp_path: Path) -> None:
    file = tmp_path / "guests"
    first = FakeDriver(world, "host", state_file=file)
    await first.start()
    guests = [spec(world) for _ in range(50)]
    await asyncio.gather(*(first.spawn(guest, 1, quiet) for guest in guests))
    await first.destroy(guests[0].instance_id)
    await first.pause(guests[1].instance_id)
    with file.open("ab") as broken:
        broken.write(b'{"instance_id":"11')
    second = FakeDriver(world, "host", state_file=file)
    await second.start()
    found = {guest.instance_id: guest.power_state for guest in await second.guests()}
    assert len(found) == 49
    assert found[guests[1].instance_id] is PowerState.PAUSED
    assert len(file.read_bytes().splitlines()) == 49


async def test_a_state_is_in_the_file_when_the_call_returns(world: RealWorld, tmp_path: Path) -> None:
    driver = FakeDriver(world, "host", state_file=tmp_path / "guests")
    await driver.start()
    guest = spec(world)
    await driver.spawn(guest, 1, quiet)
    assert guest.instance_id in (tmp_path / "guests").read_text()
