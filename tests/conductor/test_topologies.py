"""Servers with CPUs, NUMA cells and devices of their own: nothing is given twice, however many are made and moved at once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nova_async.conductor.conductor import Conductor
from nova_async.config import Fake, FakeDevices
from nova_async.db import Database, topologies
from nova_async.errors import Error
from nova_async.model.topology import Fit
from nova_async.scheduler.guest_topology import devices, topology
from nova_async.scheduler.numa import Used, fit
from nova_async.virt.fake_topology import made as made_of
from nova_async.workflow.faults import FaultPoints
from tests.cloud import USER, Cloud, cloud, stop

SHAPE = Fake(vcpus=10, memory_mib=8192, cells=2, large_pages=512, devices=(FakeDevices(vendor_id="10de", product_id="1eb8", count=3),))
OPTIONS = {
    "compute__cpu_dedicated_set": "0-2,5-7",
    "compute__cpu_shared_set": "3-4,8-9",
    "pci__alias": [{"name": "gpu", "vendor_id": "10de", "product_id": "1eb8", "numa_policy": "preferred"}],
    "scheduler__max_attempts": 5,
}
PINNED = {"hw:cpu_policy": "dedicated"}
KINDS: list[dict[str, str]] = [
    PINNED,
    PINNED | {"hw:numa_nodes": "2"},
    PINNED | {"hw:emulator_threads_policy": "isolate"},
    PINNED | {"pci_passthrough:alias": "gpu:1"},
    {"pci_passthrough:alias": "gpu:1"},
    {"hw:mem_page_size": "large"},
    {"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "0"},
    {},
]


@asynccontextmanager
async def hosts_of_cells(database: Database, state: Path, count: int, **options: Any) -> AsyncIterator[Cloud]:
    async with cloud(database, state, hosts=0, **(OPTIONS | options)) as made:
        for number in range(count):
            await made.start_host(f"host{number + 1}", vcpus=10, memory_mib=8192, topology=made_of(SHAPE))
        yield made
        assert await made.violations() == []
        await check_fits(made)


@pytest.fixture
async def two(database: Database, tmp_path: Path) -> AsyncIterator[Cloud]:
    async with hosts_of_cells(database, tmp_path, 2) as made:
        yield made


async def insert(made: Cloud, specs: dict[str, str], vcpus: int = 2, memory: int = 256) -> str:
    async with made.database.connection() as conn:
        [flavor] = [row["f"] for row in await conn.fetch("SELECT to_jsonb(f) AS f FROM flavors f WHERE name = 'm1.tiny'")]
    flavor |= {"vcpus": vcpus, "memory_mb": memory, "extra_specs": specs}
    return await made.insert(flavor=flavor, vcpus=vcpus, memory_mb=memory)


async def booted(made: Cloud, specs: dict[str, str], **size: int) -> str:
    server = await insert(made, specs, **size)
    await done(made, "create", server)
    return server


async def done(made: Cloud, kind: str, server: str, **given: Any) -> None:
    await made.begin(kind, server, **given)
    await made.settle()


async def fit_of(made: Cloud, server: str) -> Fit | None:
    row = await made.server(server)
    async with made.database.connection() as conn:
        given = await topologies.of(conn, server, row.generation)
    return given[1] if given else None


async def check_fits(made: Cloud) -> None:
    """What the hosts run is what the rows gave, and no thing is run twice."""
    async with made.database.connection() as conn:
        rows = await conn.fetch("SELECT consumer_id::text AS id, generation, host_id::text AS host_id, fit FROM topologies")
        things = await conn.fetch("SELECT host_id::text AS host_id, thing FROM exclusive_claims")
        names = {r["id"]: r["name"] for r in await conn.fetch("SELECT id::text AS id, name FROM hosts")}
    assert len({(t["host_id"], t["thing"]) for t in things}) == len(things)
    given = {(r["id"], names[r["host_id"]]): r["fit"] for r in rows}
    for host, driver in made.drivers.items():
        run = [guest for guest in driver._guests.values() if guest.fit is not None]
        counted = Counter(thing for guest in run for thing in guest.fit.exclusive if (guest.instance_id, host) in given)
        assert all(count == 1 for count in counted.values()), counted
        assert all((guest.instance_id, host) in given for guest in run)


@pytest.mark.parametrize("specs", KINDS[:-1], ids=lambda specs: "+".join(specs).replace("hw:", ""))
async def test_a_guest_is_told_what_it_was_given(two, specs):
    server = await booted(two, specs)
    row = await two.server(server)
    fit = await fit_of(two, server)
    assert (row.vm_state, fit is None) == ("active", False)
    assert two.drivers[row.host]._guests[server].fit == fit
    await done(two, "delete", server)
    async with two.database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM topologies") == 0


async def test_no_more_are_placed_than_there_are_cpus_and_the_last_is_told_why(two):
    servers = [await insert(two, PINNED) for _ in range(5)]
    await asyncio.gather(*(two.begin("create", server) for server in servers))
    await two.settle()
    rows = [await two.server(server) for server in servers]
    assert Counter(row.vm_state for row in rows) == {"active": 4, "error": 1}
    [lost] = [row for row in rows if row.vm_state == "error"]
    async with two.database.connection() as conn:
        summary = await conn.fetchval("SELECT error ->> 'message' FROM workflows WHERE subject_id = $1", lost.uuid)
    assert "NUMATopologyFilter refused 2" in summary
    assert "NUMA cell 0, 1: dedicated CPUs: needs 2, 1 of 3 free" in summary


@pytest.mark.parametrize("fault", ["claim_host/before=twice", "spawn/before=fail", "spawn/after=fail"])
async def test_a_claim_that_runs_twice_or_is_undone_is_one_or_none(two, fault):
    two.conductor.engine.faults = FaultPoints([f"create/{fault}"])
    server = await booted(two, KINDS[3])
    state = (await two.server(server)).vm_state
    assert (state, await fit_of(two, server) is None) == (("active", False) if "twice" in fault else ("error", True))


async def test_a_device_is_given_once_and_again_when_it_is_free(two):
    servers = [await insert(two, {"pci_passthrough:alias": "gpu:2"}) for _ in range(3)]
    await asyncio.gather(*(two.begin("create", server) for server in servers))
    await two.settle()
    rows = {server: await two.server(server) for server in servers}
    assert Counter(row.vm_state for row in rows.values()) == {"active": 2, "error": 1}
    [lost] = [row for row in rows.values() if row.vm_state == "error"]
    assert "PciPassthroughFilter refused 2" in lost.fault["message"]
    assert "PCI devices gpu: needs 2, 1 free" in lost.fault["message"]
    await done(two, "delete", next(server for server in servers if server != lost.uuid))
    assert (await two.server(await booted(two, {"pci_passthrough:alias": "gpu:2"}))).vm_state == "active"


@pytest.mark.parametrize("end", ["confirmResize", "revertResize", "delete"])
async def test_a_resized_server_holds_both_places_until_its_owner_decides(two, end):
    server = await booted(two, PINNED)
    before, fit = await two.server(server), await fit_of(two, server)
    await done(two, "resize", server, flavor=before.flavor | {"vcpus": 3, "extra_specs": PINNED | {"hw:emulator_threads_policy": "share"}})
    after = await two.server(server)
    new = two.drivers[after.host]._guests[server].fit
    assert (after.vm_state, [len(cell.pins) for cell in new.cells], new.emulator) == ("resized", [3], (3, 4, 8, 9))
    async with two.database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM topologies WHERE consumer_id = $1", server) == 2
    await done(two, end, server)
    kept = {"confirmResize": new, "revertResize": fit, "delete": None}[end]
    assert await fit_of(two, server) == kept
    if end == "revertResize":
        assert two.drivers[before.host]._guests[server].fit == fit


async def test_a_guest_gets_the_cpus_of_the_host_that_it_migrates_to(two):
    first = await booted(two, PINNED, vcpus=2)
    second = await booted(two, PINNED, vcpus=3)
    for server in (first, second):
        before = await two.server(server)
        await done(two, "live-migration", server)
        row = await two.server(server)
        assert (row.vm_state, row.host != before.host) == ("active", True)
        assert two.drivers[row.host]._guests[server].fit == await fit_of(two, server)


async def test_a_server_with_devices_is_not_migrated_live(two):
    server = await booted(two, {"pci_passthrough:alias": "gpu:1"})
    before = await two.server(server)
    await done(two, "live-migration", server)
    row = await two.server(server)
    assert (row.vm_state, row.host) == ("active", before.host)
    assert "PCI devices" in row.fault["message"]


async def test_an_evacuated_server_gets_its_own_anew(two):
    server = await booted(two, KINDS[3])
    host = (await two.server(server)).host
    await two.stop_host(host)
    await two.until(lambda: not two.conductor.table.is_up(host))
    await done(two, "evacuate", server)
    row = await two.server(server)
    assert (row.vm_state, row.host != host) == ("active", True)
    assert two.drivers[row.host]._guests[server].fit == await fit_of(two, server)
    await two.start_host(host, vcpus=10, memory_mib=8192, topology=made_of(SHAPE))


async def test_two_processes_that_do_not_know_of_each_other_give_nothing_twice(two):
    """Each has a view of the hosts of its own, which the other's claims make out of date."""
    first = two.conductor
    other = await two.start_conductor("other")
    second = two.conductor
    try:
        servers = [await insert(two, specs) for specs in (PINNED, KINDS[3], KINDS[4]) for _ in range(5)]
        for number, server in enumerate(servers):
            engine = (first, second)[number % 2].engine
            async with two.database.transaction() as conn:
                id = await engine.begin(conn, USER, "create", server)
            engine.go([id])
        await first.engine.idle(30.0)
        await second.engine.idle(30.0)
        rows = [await two.server(server) for server in servers]
        assert {row.vm_state for row in rows} == {"active", "error"}
        async with two.database.connection() as conn:
            hosts = await conn.fetch("SELECT id::text AS id FROM hosts")
            left = [await topologies.held(conn, row["id"]) for row in hosts]
        for row in rows:  # who got nothing would get nothing now either
            if row.vm_state == "error":
                cells, cards = topology(row.flavor, {}), devices(row.flavor, {}, two.config.pci.alias)
                assert all(isinstance(fit(host, Used(fits), cells, cards), str) for host, fits in left)
        await check_fits(two)
    finally:
        two.conductor = first
        await stop(other)


@pytest.mark.parametrize(("specs", "memory"), [({}, 3000), (PINNED, 256), (KINDS[4], 256)], ids=["memory", "CPUs", "devices"])
async def test_room_that_another_process_gave_back_is_found(two, specs, memory):
    first = two.conductor
    other = await two.start_conductor("other")
    second, two.conductor = two.conductor, first
    try:
        full = [await insert(two, specs, memory=memory) for _ in range(6)]
        await asyncio.gather(*(two.begin("create", server) for server in full))
        await first.engine.idle(30.0)
        late = [await insert(two, specs, memory=memory) for _ in range(2)]
        await boot_at(two, second, late[0])
        before = [(await two.server(server)).vm_state for server in (*full, late[0])]
        assert before.count("error") >= 1  # the second process has seen that the hosts are full
        for server in full:
            await two.begin("delete", server)
        await first.engine.idle(30.0)
        await boot_at(two, second, late[1])
        assert (await two.server(late[1])).vm_state == "active"
    finally:
        await stop(other)


async def boot_at(made: Cloud, process: Conductor, server: str) -> None:
    async with made.database.transaction() as conn:
        id = await process.engine.begin(conn, USER, "create", server)
    process.engine.go([id])
    await process.engine.idle(30.0)


async def test_an_unshelved_server_gets_its_own_anew(two):
    server = await booted(two, KINDS[3])
    kinds = {"instance_uuid": server, "image_type": "snapshot"}
    image = await two.images.create(USER, "kept", disk_format="qcow2", container_format="bare", properties=kinds)
    await done(two, "shelve", server, image_id=image.id)
    assert ((await two.server(server)).vm_state, await fit_of(two, server)) == ("shelved_offloaded", None)
    await done(two, "unshelve", server)
    row = await two.server(server)
    assert (row.vm_state, two.drivers[row.host]._guests[server].fit) == ("active", await fit_of(two, server))
    assert await fit_of(two, server) is not None


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_comes_moves_and_goes_at_once(database, tmp_path, seed):
    random = Random(seed)
    async with hosts_of_cells(database, tmp_path, 4) as made:
        made.faults["host1"].fail("spawn", 3, Error("no disk left"))
        servers = [await insert(made, random.choice(KINDS), random.choice([2, 4]), random.choice([128, 256])) for _ in range(40)]
        await asyncio.gather(*(made.begin("create", server) for server in servers))
        await asyncio.sleep(random.random() * 0.2)
        await asyncio.gather(*(made.begin("delete", server) for server in random.sample(servers, 10)))
        await made.settle(60.0)
        await check_fits(made)
        rows = [await made.server(server) for server in servers]
        live = [row for row in rows if row.vm_state == "active"]
        assert live
        moving = random.sample(live, min(8, len(live)))
        kinds = [random.choice(["migrate", "live-migration", "resize"]) for _ in moving]
        flavors = [
            {"flavor": row.flavor | {"vcpus": 2, "extra_specs": random.choice(KINDS)}} if k == "resize" else {}
            for row, k in zip(moving, kinds, strict=True)
        ]
        await asyncio.gather(*(made.begin(k, row.uuid, **given) for row, k, given in zip(moving, kinds, flavors, strict=True)))
        await made.settle(60.0)
        await check_fits(made)
        for row in [await made.server(row.uuid) for row in moving]:
            if row.vm_state == "resized":
                await made.begin(random.choice(["confirmResize", "revertResize", "delete"]), row.uuid)
        await made.settle(60.0)
