"""Where servers go: zones and aggregates as they change, groups, hints, and many creates at once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from nova_async.bus.messages.conductor import HostsChanged
from nova_async.db import Database, aggregates, server_groups
from nova_async.errors import Conflict, Error
from nova_async.scheduler.request import Request
from tests.cloud import USER, Cloud, cloud


@pytest.fixture
async def three(database: Database, tmp_path: Path) -> AsyncIterator[Cloud]:
    async with cloud(database, tmp_path, hosts=3) as made:
        yield made
        assert await made.violations() == []


async def group(made: Cloud, policy: str, most: int | None = None) -> str:
    id = made.world.uuid()
    async with made.database.connection() as conn:
        await server_groups.insert(conn, id=id, project_id="project", user_id="user", name="g", policy=policy, max_server_per_host=most)
    return id


async def member(made: Cloud, group_id: str, **columns) -> str:
    """A server of the group, as the API makes it; not begun yet."""
    server = await made.insert(scheduler_hints={"group": group_id}, **columns)
    async with made.database.transaction() as conn:
        await server_groups.hold(conn, group_id)
        await server_groups.join(conn, group_id, "user", [server])
    return server


async def boot_members(made: Cloud, group_id: str, count: int) -> list[str]:
    servers = [await member(made, group_id) for _ in range(count)]
    await asyncio.gather(*(made.begin("create", server) for server in servers))
    await made.settle()
    return servers


async def places(made: Cloud, servers: list[str]) -> list[tuple[str, str | None]]:
    return [(row.vm_state, row.host) for row in [await made.server(server) for server in servers]]


async def test_members_of_an_anti_affinity_group_never_share_a_host(three):
    servers = await boot_members(three, await group(three, "anti-affinity"), 4)
    found = await places(three, servers)
    assert Counter(state for state, _ in found) == {"active": 3, "error": 1}
    assert {host for _, host in found} == {"host1", "host2", "host3", None}
    [lost] = [server for server, (state, _) in zip(servers, found, strict=True) if state == "error"]
    assert "ServerGroupAntiAffinityFilter" in (await three.server(lost)).fault["message"]


async def test_as_many_share_a_host_as_the_rule_says(three):
    found = await places(three, await boot_members(three, await group(three, "anti-affinity", 2), 7))
    assert Counter(state for state, _ in found) == {"active": 6, "error": 1}
    assert sorted(Counter(host for _, host in found if host).values()) == [2, 2, 2]


async def test_members_of_an_affinity_group_share_a_host(three):
    found = await places(three, await boot_members(three, await group(three, "affinity"), 5))
    assert Counter(state for state, _ in found) == {"active": 5}
    assert len({host for _, host in found}) == 1


async def test_soft_groups_do_what_they_can(database, tmp_path):
    weights = {"ServerGroupSoftAffinityWeigher": 10.0, "ServerGroupSoftAntiAffinityWeigher": 10.0}
    async with cloud(database, tmp_path, hosts=3, scheduler__multipliers=weights) as made:
        apart = await places(made, await boot_members(made, await group(made, "soft-anti-affinity"), 6))
        assert sorted(Counter(host for _, host in apart).values()) == [2, 2, 2]
        together = await places(made, await boot_members(made, await group(made, "soft-affinity"), 3))
        assert len({host for _, host in together}) == 1


async def test_a_forced_host_does_not_break_a_group(three):
    id = await group(three, "anti-affinity")
    for expected in ("active", "error"):
        server = await member(three, id)
        await three.begin("create", server, placement={"forced_host": "host2"})
        await three.settle()
        assert (await three.server(server)).vm_state == expected


async def test_the_next_server_may_have_the_place_of_a_deleted_one(three):
    id = await group(three, "anti-affinity")
    first = (await boot_members(three, id, 3))[0]
    host = (await three.server(first)).host
    await three.begin("delete", first)
    await three.settle()
    [again] = await boot_members(three, id, 1)
    assert await places(three, [again]) == [("active", host)]
    async with three.database.connection() as conn:
        assert len((await server_groups.get(conn, id)).members) == 3


async def test_a_member_whose_host_fails_does_not_go_to_another_members_host(three):
    id = await group(three, "anti-affinity")
    three.faults["host1"].fail("spawn", None, Error("on fire"))
    found = await places(three, await boot_members(three, id, 2))
    assert sorted(found) == [("active", "host2"), ("active", "host3")]


async def test_hints_name_other_servers(database, tmp_path):
    async with cloud(database, tmp_path, scheduler__filters=("ComputeFilter", "SameHostFilter", "DifferentHostFilter")) as made:
        first = await made.boot()
        await made.settle()
        host = (await made.server(first)).host
        same = [await made.boot(scheduler_hints={"same_host": first}) for _ in range(3)]
        others = [await made.boot(scheduler_hints={"different_host": [first]}) for _ in range(3)]
        await made.settle()
        assert {(await made.server(server)).host for server in same} == {host}
        assert {(await made.server(server)).host for server in others} == {"host1", "host2"} - {host}


# What a scheduling request is made of, and words by which Nova's own parts tell its scheduler more than users may
INTERNAL = [*Request.__struct_fields__, "check_type", "force_hosts", "force_nodes", "retry", "ignore_hosts", "requested_destination"]
INTERNAL += ["limits", "skip_filters", "placement", "is_bfv", "instance_group", "reset"]


def hints_of(value: object) -> dict[str, object]:
    """Each internal word as a hint: bare, with what Nova puts before it, and inside of others."""
    bare = {name: value for name in INTERNAL if name not in ("hints", "group", "hosts_of")}
    led = {f"{start}{name}": value for start in ("_", "__", "_nova_", "nova_object.") for name in INTERNAL}
    return bare | led | {"hints": bare | led, "scheduler_hints": [bare, {"placement": bare}], "_nova_check_type": ["rebuild"]}


@pytest.mark.parametrize("value", ["host1", ["host1"], {"forced_host": "host1", "host": "host1"}, True, 0])
async def test_hints_are_no_orders_to_the_scheduler(three, value):
    """SEC-025: zone, traits and room hold whatever a server's hints are called; ``violations`` compares claims with flavors."""
    async with three.database.connection() as conn:
        flavor = await conn.fetchval("SELECT to_jsonb(f) FROM flavors f WHERE name = 'm1.tiny'")
        await conn.execute("UPDATE hosts SET traits = '[\"CUSTOM_FAST\"]' WHERE name <> 'host1'")
    await three.conductor.desk.refresh()
    fast = flavor | {"extra_specs": {"trait:CUSTOM_FAST": "required"}}
    huge = flavor | {"vcpus": 1000}
    servers = [await three.boot(scheduler_hints=hints_of(value), flavor=fast) for _ in range(3)]
    elsewhere = await three.boot(scheduler_hints=hints_of(value), pinned_zone="elsewhere")
    large = await three.boot(scheduler_hints=hints_of(value), flavor=huge, vcpus=1000)
    await three.settle()
    assert {("active", True)} == {(state, host in ("host2", "host3")) for state, host in await places(three, servers)}
    assert await places(three, [elsewhere, large]) == [("error", None), ("error", None)]


async def test_a_host_moves_to_the_zone_of_an_aggregate_at_once(three):
    async with three.database.transaction() as conn:
        id = await aggregates.insert(conn, three.world.uuid(), "rack", {"availability_zone": "east", "ssd": "true"})
        await aggregates.add_host(conn, id, "host2")
        await aggregates.set_zones(conn, ["host2"])
    await three.bus.publish("hosts", HostsChanged(hosts=("host2",)))
    table = three.conductor.table
    await three.until(lambda: table.by_name["host2"].row.availability_zone == "east")
    assert table.by_name["host2"].membership.values("ssd") == {"true"}
    east, nova = await three.boot(pinned_zone="east"), await three.boot(pinned_zone="nova")
    await three.settle()
    assert [(r.host, r.availability_zone) for r in [await three.server(east)]] == [("host2", "east")]
    assert (await three.server(nova)).host != "host2"
    async with three.database.transaction() as conn:
        await aggregates.delete(conn, id)
    await three.bus.publish("hosts", HostsChanged(hosts=("host2",)))
    await three.until(lambda: not table.by_name["host2"].membership.labels)


@pytest.mark.parametrize("seed", range(3))
async def test_many_creates_at_once_keep_groups_and_capacity(database, tmp_path, seed):
    """INV-20 and INV-23 hold for any mix of groups on hosts that are too small for all, also while hosts fail and servers go."""
    random = Random(seed)
    async with cloud(database, tmp_path, hosts=0) as made:
        for number in range(5):
            await made.start_host(f"small{number}", vcpus=1, memory_mib=512 * random.randint(4, 8), disk_gib=30)
        policies = [("anti-affinity", None), ("anti-affinity", 2), ("affinity", None), ("soft-anti-affinity", None)]
        groups = [(await group(made, policy, most), policy, most) for policy, most in policies]
        made.faults["small0"].fail("spawn", 4, Error("no disk left"))
        servers = [(await member(made, id), id) for id, _, _ in groups for _ in range(8)]
        servers += [(await made.insert(), "") for _ in range(8)]
        random.shuffle(servers)
        watching = asyncio.create_task(watch(made))
        await asyncio.gather(*(made.begin("create", server) for server, _ in servers))
        await asyncio.sleep(random.random() * 0.3)
        await asyncio.gather(*(made.begin("delete", server) for server, _ in random.sample(servers, 6)))
        await made.settle(40.0)
        watching.cancel()
        assert await made.violations() == []
        rows = {server: await made.server(server) for server, _ in servers}
        assert {row.vm_state for row in rows.values()} <= {"active", "error", "deleted"}
        assert any(row.vm_state == "active" for row in rows.values())
        for id, policy, most in groups:
            held = Counter(rows[s].host for s, g in servers if g == id and rows[s].host and not rows[s].deleted)
            if policy == "affinity":
                assert len(held) <= 1
            elif policy == "anti-affinity":
                assert all(count <= (most or 1) for count in held.values()), held
        assert await seen(watching) == []


async def watch(made: Cloud) -> list[str]:
    """What is wrong at any moment while servers come and go."""
    found: list[str] = []
    try:
        while True:
            async with made.database.connection() as conn:
                found += [p.problem for p in await server_groups.violations(conn)]
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        return found


async def seen(watching: "asyncio.Task[list[str]]") -> list[str]:
    return await watching


async def test_a_host_that_builds_counts_as_busy_until_it_has_built(three):
    for faults in three.faults.values():
        faults.hang("spawn")
    server = await three.boot()
    await three.until(lambda: any(faults.waiting("spawn") for faults in three.faults.values()))
    host = (await three.server(server)).host
    table = three.conductor.table
    assert table.by_name[host].row.operations == 1
    await three.conductor.desk.refresh()
    assert table.by_name[host].row.operations == 1
    for faults in three.faults.values():
        faults.release("spawn")
    await three.settle()
    await three.until(lambda: table.by_name[host].row.operations == 0)


async def test_many_servers_are_begun_together(three):
    servers = [await three.insert() for _ in range(20)]
    async with three.database.transaction() as conn:
        ids = await three.conductor.engine.begin_many(conn, USER, "create", servers)
    three.conductor.engine.go(ids)
    await three.settle()
    assert {state for state, _ in await places(three, servers)} == {"active"}
    with pytest.raises(Conflict):
        async with three.database.transaction() as conn:
            await three.conductor.engine.begin_many(conn, USER, "stop", [servers[0], servers[0]])
