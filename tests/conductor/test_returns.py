"""Hosts that come back: what they lost while they were away goes before they count, and what they missed they do not do."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from nova_async.bus.local import LocalBus
from nova_async.bus.messages import Message
from nova_async.bus.messages.compute import UNDO, Command, Destroy, PowerOff, PowerOn, ReceiveDisk
from nova_async.bus.messages.conductor import AskOperation, AskPlacement, HostReport, Operation, Placement
from nova_async.compute.boots import Boots
from nova_async.compute.fence import Fence
from nova_async.db import Database, workflows
from nova_async.errors import Conflict, Unavailable
from nova_async.model.guests import GuestSpec
from nova_async.model.power import PowerState
from nova_async.virt.fake import FakeDriver
from nova_async.world import RealWorld, SimulatedWorld
from tests.cloud import Cloud, cloud, identity


class LossyBus(LocalBus):
    """Loses the reports of some hosts, which then seem dead and are not."""

    def __init__(self, world: RealWorld) -> None:
        super().__init__(world)
        self.silent: set[str] = set()

    async def publish(self, topic: str, message: Message) -> None:
        if not (isinstance(message, HostReport) and message.host in self.silent):
            await super().publish(topic, message)


@pytest.fixture
async def two(database: Database, tmp_path: Path, world: RealWorld) -> AsyncIterator[Cloud]:
    async with cloud(database, tmp_path, bus=LossyBus(world)) as made:
        yield made
        assert await made.violations() == []


async def evacuated(made: Cloud) -> tuple[str, str]:
    """A server, and the host that it left, which is silent."""
    server = await made.boot()
    await made.settle()
    home = str((await made.server(server)).host)
    assert isinstance(made.bus, LossyBus)
    made.bus.silent.add(home)
    await made.until(lambda: not made.conductor.table.is_up(home))
    await made.begin("evacuate", server)
    await made.settle()
    assert (await made.server(server)).host != home
    return server, home


async def test_a_host_that_was_only_cut_off_has_lost_its_copies_when_it_counts_as_up_again(two: Cloud) -> None:
    server, home = await evacuated(two)
    assert [g.instance_id for g in await two.drivers[home].guests()] == [server]
    two.bus.silent.clear()
    await two.until(lambda: two.conductor.table.is_up(home))
    assert await two.drivers[home].guests() == []


async def test_a_host_that_cannot_remove_its_copies_does_not_count_as_up(two: Cloud) -> None:
    _, home = await evacuated(two)
    two.faults[home].fail("destroy", None)
    two.bus.silent.clear()
    with pytest.raises(TimeoutError):
        await two.until(lambda: two.conductor.table.is_up(home), seconds=2)
    two.faults[home].clear()
    await two.until(lambda: two.conductor.table.is_up(home))
    assert await two.drivers[home].guests() == []


async def test_a_host_that_returns_keeps_the_guests_that_are_its_own(two: Cloud) -> None:
    server = await two.boot()
    await two.settle()
    home = str((await two.server(server)).host)
    two.bus.silent.add(home)
    await two.until(lambda: not two.conductor.table.is_up(home))
    two.bus.silent.clear()
    await two.until(lambda: two.conductor.table.is_up(home))
    assert [g.instance_id for g in await two.drivers[home].guests()] == [server]


# -- hosts under another name, and with another identity


async def renamed(made: Cloud) -> tuple[str, str]:
    """A server, and its host, whose guests are now found where ``host9`` looks."""
    server = await made.boot()
    await made.settle()
    home = str((await made.server(server)).host)
    await made.stop_host(home)
    folder = Path(made.config.state_dir)
    shutil.copy(folder / f"{home}.jsonl", folder / "host9.jsonl")
    return server, home


async def test_a_host_that_says_another_name_is_not_let_in_and_keeps_its_guests(two: Cloud) -> None:
    server, home = await renamed(two)
    with pytest.raises(Conflict, match=f"set compute.host to {home}"):
        await two.start_host("host9", host_id=identity(home))
    assert [g.instance_id for g in await two.drivers["host9"].guests()] == [server]
    del two.workers["host9"]
    await two.start_host(home)
    assert [g.power_state for g in await two.drivers[home].guests()] == [PowerState.RUNNING]


async def test_a_host_that_was_made_anew_is_not_let_in_under_its_old_name(two: Cloud) -> None:
    server, home = await renamed(two)
    with pytest.raises(Conflict, match="belongs to the host with the id"):
        await two.start_host(home, host_id=two.world.uuid())
    assert [g.instance_id for g in await two.drivers[home].guests()] == [server]
    del two.workers[home]
    await two.start_host(home)


async def test_guests_of_a_host_that_forgot_who_it_was_are_left_alone(two: Cloud) -> None:
    """INV-12: nothing proves that the server left them."""
    server, home = await renamed(two)
    await two.start_host("host9")
    await two.conductor.guests()
    assert [g.instance_id for g in await two.drivers["host9"].guests()] == [server]
    await two.stop_host("host9")
    await two.start_host(home)
    assert (await two.server(server)).vm_state == "active"


# -- machines that were started anew


async def test_what_ran_is_started_with_the_machine_and_what_was_off_is_not(two: Cloud, tmp_path: Path) -> None:
    servers = [await two.boot() for _ in range(3)]
    await two.settle()
    await two.begin("stop", servers[2])
    await two.settle()
    homes = sorted({str((await two.server(server)).host) for server in servers})
    for told in ("first", "second"):
        for home in homes:
            await two.stop_host(home)
            if told == "second":
                await go_off(two, home)
            await two.start_host(home, boots=Boots(tmp_path / home, lambda told=told: told))
    await two.settle()
    await two.until(lambda: all_are(two, servers[:2], "active"))
    assert (await two.server(servers[2])).vm_state == "stopped"
    guests = [guest for home in homes for guest in await two.drivers[home].guests()]
    assert {g.instance_id for g in guests if g.power_state is PowerState.RUNNING} == set(servers[:2])


async def test_what_went_off_while_the_machine_ran_on_is_not_started(two: Cloud, tmp_path: Path) -> None:
    server = await two.boot()
    await two.settle()
    home = str((await two.server(server)).host)
    for last in (False, True):
        await two.stop_host(home)
        if last:
            await go_off(two, home)
        await two.start_host(home, boots=Boots(tmp_path))  # this machine's own
    await two.conductor.guests()
    await two.settle()
    assert (await two.server(server)).vm_state == "stopped"


async def all_are(made: Cloud, servers: list[str], state: str) -> bool:
    return {(await made.server(server)).vm_state for server in servers} == {state}


async def go_off(made: Cloud, host: str) -> None:
    """All guests of a host whose worker does not run end at once."""
    driver = FakeDriver(made.world, host, state_file=Path(made.config.state_dir) / f"{host}.jsonl")
    await driver.start()
    for guest in await driver.guests():
        await driver.power_off(guest.instance_id, timeout=0, retry=0)
    await driver.close()


# -- what was left to a host that was down


async def test_what_is_left_to_a_host_that_is_down_already_is_done_when_it_returns(two: Cloud) -> None:
    """INV-14: the migration turns back, and the guest that was switched off for it has to run again."""
    server = await two.boot()
    await two.settle()
    home = str((await two.server(server)).host)
    [away] = two.drivers.keys() - {home}
    two.faults[away].hang("receive_disk")
    two.faults[away].fail("receive_disk", None, Conflict("It has no room."), after=True)
    await two.begin("migrate", server)
    await two.until(lambda: bool(two.faults[away].waiting("receive_disk")))
    await two.stop_host(home)
    await two.until(lambda: not two.conductor.table.is_up(home))
    two.faults[away].release("receive_disk")
    await two.settle()
    await two.start_host(home)
    await two.until(lambda: runs(two, home, server))
    assert ((await two.server(server)).vm_state, (await two.server(server)).host) == ("active", home)


async def runs(made: Cloud, host: str, server: str) -> bool:
    return [g.power_state for g in await made.drivers[host].guests() if g.instance_id == server] == [PowerState.RUNNING]


# -- what was sent to a host before


def command(server: str, generation: int, kind: type[Command] = ReceiveDisk) -> Command:
    names = ("name", "display_name", "hostname", "project_id", "user_id", "flavor_id", "flavor_name")
    spec = GuestSpec(instance_id=server, vcpus=1, memory_mib=1, root_gib=1, **dict.fromkeys(names, "x"))
    told = {"workflow_id": "w", "step": "s", "request_id": "r", "reply_to": "nobody", "guest": spec}
    return kind(instance_id=server, generation=generation, **told, **({"from_host": "other"} if kind is ReceiveDisk else {}))


async def test_a_host_that_was_away_makes_only_guests_whose_claim_it_holds(two: Cloud) -> None:
    server, home = await evacuated(two)
    row = await two.server(server)
    away, there = (Fence(host, two.bus, two.world, 3.0) for host in (home, str(row.host)))
    await there.check(command(server, row.generation))
    for fence, generation in ((away, row.generation), (away, row.generation - 1), (there, row.generation - 1)):
        with pytest.raises(Conflict):
            await fence.check(command(server, generation))
    two.bus.silent.clear()
    await two.until(lambda: two.conductor.table.is_up(home))


class Asked:
    """A bus on which every question is answered so (None: not at all)."""

    def __init__(self, held: bool | None) -> None:
        self.held, self.questions = held, 0

    async def call(self, target: str, message: Message, *, timeout: float) -> Placement | Operation:
        assert isinstance(message, AskPlacement | AskOperation)
        self.questions += 1
        if self.held is None:
            raise Unavailable
        return Placement(held=self.held) if isinstance(message, AskPlacement) else Operation(live=self.held)


async def test_a_host_asks_only_while_others_may_have_taken_it_for_dead() -> None:
    server = "11111111-2222-4333-8444-555555555555"
    world, bus = SimulatedWorld(), Asked(held=False)
    fence = Fence("host", bus, world, 30.0)
    with pytest.raises(Conflict):
        await fence.check(command(server, 1))  # it has just started
    with pytest.raises(Conflict):
        await fence.check(command(server, 1, PowerOn))
    await fence.check(Destroy(instance_id=server, generation=1, workflow_id="w", step="s", request_id="r", reply_to="nobody"))
    for _ in range(4):
        world.advance(10)
        fence.reported()
    await fence.check(command(server, 1))
    assert bus.questions == 2
    world.advance(31)
    with pytest.raises(Conflict):
        await fence.check(command(server, 1))  # it was stopped in the middle
    fence.reported()
    with pytest.raises(Conflict):
        await fence.check(command(server, 1))
    world.advance(31)
    fence.reported()
    fence.silent()
    with pytest.raises(Conflict):
        await fence.check(command(server, 1))


async def test_a_host_that_gets_no_answer_makes_nothing(world: RealWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova_async.compute.fence.TRIES", 1)
    with pytest.raises(Unavailable):
        await Fence("host", Asked(None), world, 30.0).check(command("11111111-2222-4333-8444-555555555555", 1))


async def test_a_host_that_was_away_does_nothing_for_an_operation_that_has_ended(two: Cloud) -> None:
    server = await two.boot()
    await two.settle()
    row = await two.server(server)
    async with two.database.connection() as conn:
        [made] = await workflows.of_subject(conn, server)
        assert not await workflows.is_live(conn, made.id, undo=False)
        for state, forward, back in (
            ("running", True, False),
            ("waiting", True, False),
            ("undoing", False, True),
            ("failed", False, False),
        ):
            later = "wake_at = now() + interval '1 hour'"  # so that the conductor does not go on with it meanwhile
            await conn.execute(f"UPDATE workflows SET state = $2, {later} WHERE id = $1", made.id, state)
            fence = Fence(str(row.host), two.bus, two.world, 3.0)
            for step, allowed in (("power_off", forward), (f"{UNDO}power_off", back)):
                told = PowerOff(instance_id=server, generation=1, workflow_id=made.id, step=step, request_id="r", reply_to="nobody")
                if allowed:
                    await fence.check(told)
                else:
                    with pytest.raises(Conflict, match="not going on"):
                        await fence.check(told)
                await fence.check(msgspec.structs.replace(told, stands=True))  # what the host was left to do
        await conn.execute("UPDATE workflows SET state = 'done' WHERE id = $1", made.id)
