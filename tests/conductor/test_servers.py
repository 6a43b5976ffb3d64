"""Servers on fake hosts: booted, moved on from failing hosts, switched off and on, deleted at any moment."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from nova_async.db import Database, workflows
from nova_async.errors import Error, Interrupted, Invalid
from nova_async.model.power import PowerState
from nova_async.model.states import REBOOT_OVER
from tests.cloud import USER, Cloud, cloud


@pytest.fixture
async def two(database: Database, tmp_path: Path) -> AsyncIterator[Cloud]:
    async with cloud(database, tmp_path) as made:
        yield made
        assert await made.violations() == []


async def test_a_booted_server_is_active_on_a_host_that_runs_its_guest(two):
    server = await two.boot()
    await two.settle()
    row = await two.server(server)
    assert (row.vm_state, row.task_state, row.power_state, row.generation) == ("active", None, 1, 1)
    assert row.launched_at is not None
    assert len(row.ports) == 1
    guest = await two.drivers[row.host].guest(server)
    assert (guest.power_state, guest.generation) == (PowerState.RUNNING, 1)


async def test_a_network_of_the_projects_own_is_made_for_the_server_that_wants_one(two):
    await two.networks.check_auto(USER)
    assert await two.networks.things(USER, "routers") == []
    server = await two.boot(network_requests=[{"auto": True}])
    await two.settle()
    [port] = (await two.server(server)).ports
    assert port["network_label"] == "auto_allocated_network"
    assert len(await two.networks.things(USER, "routers")) == 1


async def test_a_server_shows_the_groups_and_the_state_of_its_ports_as_they_are_now(two):
    """Whoever changed them, and where."""
    two.networks.on_change = two.conductor.desk.ports_changed
    server, admin = await two.boot(security_groups=["default"]), msgspec.structs.replace(USER, roles=("admin",))
    await two.settle()
    [port] = await two.networks.things(USER, "ports", device_id=[server])
    group = await two.networks.make(USER, "security-groups", {"name": "web"})

    async def shows(groups, up):
        row = await two.server(server)
        return (row.security_groups, row.groups_on_ports, [p["up"] for p in row.ports]) == (groups, groups, [up])

    assert await shows(["default"], True)
    await two.networks.change(USER, "ports", port["id"], {"security_groups": [group["id"]], "admin_state_up": False})
    await two.until(lambda: shows(["web"], False))
    await two.networks.change(admin, "ports", port["id"], {"security_groups": [], "port_security_enabled": False, "admin_state_up": True})
    await two.until(lambda: shows([], True))


async def test_the_decision_is_kept_with_its_reasons(two):
    server = await two.boot()
    await two.settle()
    async with two.database.connection() as conn:
        [row] = await workflows.of_subject(conn, server)
    decision = row.results["claim_host"]["decision"]
    assert decision["hosts"] == 2
    assert {c["host"] for c in decision["candidates"]} == {"host1", "host2"}


async def test_a_host_that_fails_is_undone_and_the_next_one_is_tried(two):
    two.faults["host1"].fail("spawn", None, Error("no disk left"))
    servers = [await two.boot() for _ in range(4)]
    await two.settle()
    rows = [await two.server(s) for s in servers]
    assert {(r.vm_state, r.host) for r in rows} == {("active", "host2")}
    assert await two.drivers["host1"].guests() == []


async def test_when_all_hosts_fail_the_server_is_in_error_and_says_why(two):
    for host in ("host1", "host2"):
        two.faults[host].fail("spawn", None, Error(f"{host} is on fire"))
    server = await two.boot()
    await two.settle()
    row = await two.server(server)
    assert (row.vm_state, row.host, row.task_state) == ("error", None, None)
    assert row.fault["code"] == 500
    assert "host1 is on fire" in row.fault["details"]
    assert "host2 is on fire" in row.fault["details"]


async def test_a_hypervisor_that_goes_away_in_the_middle_is_asked_once_more(two):
    for after in (False, True):
        for faults in two.faults.values():
            faults.clear()
            faults.fail("spawn", 1, Interrupted("It went away."), after=after)
        server = await two.boot()
        await two.settle()
        row = await two.server(server)
        assert (row.vm_state, row.generation) == ("active", 1)


async def test_what_the_user_did_wrong_is_not_tried_elsewhere(two):
    """SEC-027: nor does it count against the host."""
    for host in ("host1", "host2"):
        two.faults[host].fail("spawn", 1, Invalid("The image lies about its format."))
    server = await two.boot()
    await two.settle()
    row = await two.server(server)
    assert (row.vm_state, row.fault["message"], row.fault["code"]) == ("error", "The image lies about its format.", 400)
    assert row.generation == 1
    for host in ("host1", "host2"):
        two.faults[host].fail("spawn", 10, Invalid("The image lies about its format."))
    for _ in range(10):
        await two.boot()
    await two.settle()
    async with two.database.connection() as conn:
        assert [tuple(row) for row in await conn.fetch("SELECT failed_builds, disabled FROM hosts")] == [(0, False)] * 2


async def test_no_valid_host_explains_itself(two):
    server = await two.boot(pinned_zone="mars")
    await two.settle()
    row = await two.server(server)
    assert row.vm_state == "error"
    assert "it is in nova, not mars" in row.fault["message"]


async def test_power_operations_follow_each_other(two):
    server = await two.boot()
    await two.settle()
    story = [
        ("stop", {}, "stopped", PowerState.SHUTDOWN),
        ("start", {}, "active", PowerState.RUNNING),
        ("pause", {}, "paused", PowerState.PAUSED),
        ("unpause", {}, "active", PowerState.RUNNING),
        ("suspend", {}, "suspended", PowerState.SHUTDOWN),
        ("resume", {}, "active", PowerState.RUNNING),
        ("reboot", {"type": "SOFT"}, "active", PowerState.RUNNING),
        ("reboot", {"type": "HARD"}, "active", PowerState.RUNNING),
    ]
    for kind, input, state, power in story:
        await two.begin(kind, server, **input)
        await two.settle()
        row = await two.server(server)
        assert (row.vm_state, row.power_state) == (state, power), kind
        assert (await two.drivers[row.host].guest(server)).power_state == power, kind
    async with two.database.connection() as conn:
        kinds = [w.kind for w in reversed(await workflows.of_subject(conn, server))]
    assert kinds == ["create", *(s[0] for s in story)]


async def test_a_power_operation_that_fails_leaves_the_server_as_it_was(two):
    server = await two.boot()
    await two.settle()
    for faults in two.faults.values():
        faults.fail("pause", None, Error("the hypervisor refuses"))
    await two.begin("pause", server)
    await two.settle()
    row = await two.server(server)
    assert (row.vm_state, row.task_state, row.fault["message"]) == ("active", None, "the hypervisor refuses")


async def test_a_deleted_server_leaves_only_its_row(two):
    server = await two.boot()
    await two.settle()
    host = (await two.server(server)).host
    await two.begin("delete", server)
    await two.settle()
    row = await two.server(server)
    assert (row.deleted, row.vm_state) == (True, "deleted")
    assert await two.drivers[host].guests() == []
    assert await two.drivers[host].stray_files() == []


async def test_delete_beats_a_build_that_hangs(two):
    for faults in two.faults.values():
        faults.hang("spawn")
    server = await two.boot()
    await two.until(lambda: any(f.waiting("spawn") for f in two.faults.values()))
    assert (await two.server(server)).task_state == "spawning"
    await two.begin("delete", server)
    await two.settle()
    assert (await two.server(server)).deleted
    async with two.database.connection() as conn:
        assert {w.kind: w.state for w in await workflows.of_subject(conn, server)} == {"create": "cancelled", "delete": "done"}


async def test_a_guest_that_goes_off_by_itself_is_shutoff(two):
    server = await two.boot()
    await two.settle()
    host = (await two.server(server)).host
    await two.drivers[host].change_power(server, PowerState.SHUTDOWN)

    async def stopped() -> bool:
        return (await two.server(server)).vm_state == "stopped"

    await two.until(stopped)


async def test_a_host_that_is_full_is_not_overcommitted(database, tmp_path):
    async with cloud(database, tmp_path, hosts=0, compute__reserved_memory_mib=0) as made:
        await made.start_host("host1", memory_mib=1024, vcpus=64)
        servers = [await made.boot() for _ in range(4)]
        await made.settle()
        states = sorted([(await made.server(s)).vm_state for s in servers])
        assert states == ["active", "active", "error", "error"]
        faults = [f for s in servers if (f := (await made.server(s)).fault)]
        assert "MEMORY_MB: needs 512, 0 free of 1024" in faults[0]["message"]
        assert await made.violations() == []


async def test_a_server_on_a_dead_host_can_be_deleted_and_is_reaped_when_the_host_returns(two):
    server = await two.boot()
    await two.settle()
    host = (await two.server(server)).host
    await two.stop_host(host)
    await two.begin("delete", server)
    await two.settle()
    assert (await two.server(server)).deleted
    await two.start_host(host)
    assert await two.drivers[host].guests() == []


async def test_a_conductor_that_stops_in_the_middle_is_followed_by_one_that_goes_on(database, tmp_path):
    async with cloud(database, tmp_path) as made:
        for faults in made.faults.values():
            faults.hang("spawn")
        server = await made.boot()
        await made.until(lambda: any(f.waiting("spawn") for f in made.faults.values()))
        for task in asyncio.all_tasks():
            if task.get_name() == "workflow-engine":
                task.cancel()
        await asyncio.sleep(0.2)
        await made.start_conductor("second")
        for faults in made.faults.values():
            faults.clear()
        await made.settle()
        assert (await made.server(server)).vm_state == "active"
        assert await made.violations() == []


async def test_many_servers_at_once_all_become_active(two):
    servers = [await two.insert() for _ in range(30)]
    await asyncio.gather(*(two.begin("create", s) for s in servers))
    await two.settle()
    assert {(await two.server(s)).vm_state for s in servers} == {"active"}
    assert {(await two.server(s)).host for s in servers} == {"host1", "host2"}


@pytest.mark.parametrize("kind", sorted(set(REBOOT_OVER.values())))
async def test_a_hard_reboot_cuts_short_what_hangs(two, kind):
    server = await two.boot()
    await two.settle()
    for earlier in {"unpause": ["pause"], "resume": ["suspend"]}.get(kind, ()):
        await two.begin(earlier, server)
        await two.settle()
    faults = two.faults[(await two.server(server)).host]
    faults.hang(kind)
    stuck = await two.begin(kind, server, **({"type": "SOFT"} if kind == "reboot" else {}))
    await two.until(lambda: faults.waiting(kind))
    hard = await two.begin("reboot", server, over=frozenset(REBOOT_OVER.values()), type="HARD")
    assert (await two.server(server)).task_state == "rebooting_hard"
    faults.release(kind)
    await two.settle()
    row = await two.server(server)
    assert (row.vm_state, row.task_state, row.power_state, row.fault) == ("active", None, 1, None)
    async with two.database.connection() as conn:
        states = {workflow.id: workflow.state for workflow in await workflows.of_subject(conn, server)}
    assert (states[stuck], states[hard]) == ("cancelled", "done")
