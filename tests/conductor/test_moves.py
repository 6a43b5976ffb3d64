"""Servers on their way between fake hosts, and what os-migrations tells of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nova_async.conductor.reconcilers.due import DueReconciler
from nova_async.db import Database, server_migrations
from nova_async.errors import Error
from nova_async.model.power import PowerState
from tests.cloud import USER, Cloud, cloud


@pytest.fixture
async def two(database: Database, tmp_path: Path) -> AsyncIterator[Cloud]:
    async with cloud(database, tmp_path) as made:
        yield made
        assert await made.violations() == []


async def booted(made: Cloud) -> str:
    server = await made.boot()
    await made.settle()
    return server


async def done(made: Cloud, kind: str, server: str, **given: object) -> None:
    await made.begin(kind, server, **given)
    await made.settle()


async def told(made: Cloud, server: str) -> list[tuple[str, str]]:
    async with made.database.connection() as conn:
        return [(m.migration_type, m.status) for m in await server_migrations.of_server(conn, server)]


async def test_a_resized_server_is_bigger_elsewhere_and_its_old_guest_waits(two):
    server = await booted(two)
    before = await two.server(server)
    await done(two, "resize", server, flavor=before.flavor | {"memory_mb": 1024, "vcpus": 2})
    row = await two.server(server)
    assert (row.vm_state, row.memory_mb, row.vcpus, row.generation) == ("resized", 1024, 2, 2)
    assert row.host != before.host
    assert (await two.drivers[before.host].guest(server)).power_state == PowerState.SHUTDOWN
    assert await told(two, server) == [("resize", "finished")]
    assert await two.violations() == []
    await done(two, "confirmResize", server)
    assert await two.drivers[before.host].guests() == []
    assert await told(two, server) == [("resize", "confirmed")]


async def test_a_reverted_server_is_what_and_where_it_was(two):
    server = await booted(two)
    before = await two.server(server)
    await done(two, "stop", server)
    await done(two, "resize", server, flavor=before.flavor | {"memory_mb": 1024})
    await done(two, "revertResize", server)
    row = await two.server(server)
    assert (row.vm_state, row.host, row.memory_mb, row.generation) == ("stopped", before.host, before.memory_mb, 4)
    assert (await two.drivers[before.host].guest(server)).generation == 4
    assert await told(two, server) == [("resize", "reverted")]


@pytest.mark.parametrize("end", ["confirmResize", "revertResize", "delete", None])
async def test_a_resize_in_place_where_the_operator_allows_it(database, tmp_path, end):
    async with cloud(database, tmp_path, hosts=1, compute__allow_resize_to_same_host=True) as made:
        server = await booted(made)
        flavor = (await made.server(server)).flavor | {"memory_mb": 1024}
        if end is None:
            made.faults["host1"].fail("finish_move", 1, Error("no room for the disk"))
        await done(made, "resize", server, flavor=flavor)
        if end:
            await done(made, end, server)
        row = await made.server(server)
        assert row.deleted if end == "delete" else (row.vm_state, row.memory_mb) == ("active", 1024 if end == "confirmResize" else 512)
        assert await made.violations() == []


@pytest.mark.parametrize("disk", ["root_gb", "ephemeral_gb"])
async def test_a_flavor_with_a_smaller_disk_is_refused_before_the_guest_is_stopped(two, disk):
    async with two.database.connection() as conn:
        flavor = await conn.fetchval("SELECT to_jsonb(f) FROM flavors f WHERE name = 'm1.tiny'") | {"root_gb": 2, "ephemeral_gb": 2}
    server = await two.boot(flavor=flavor)
    await two.settle()
    await done(two, "resize", server, flavor=flavor | {disk: 1})
    row = await two.server(server)
    assert (row.vm_state, row.flavor[disk], row.fault["message"]) == ("active", 2, "Resize error: Unable to resize disk down.")
    assert (await two.drivers[row.host].guest(server)).power_state == PowerState.RUNNING


async def test_a_resized_server_is_deleted_at_both_places(two):
    server = await booted(two)
    await done(two, "migrate", server)
    await done(two, "delete", server)
    assert [await driver.guests() for driver in two.drivers.values()] == [[], []]


async def test_a_move_that_fails_leaves_the_server_running_where_it_was_and_can_be_tried_again(two):
    server = await booted(two)
    before = await two.server(server)
    for faults in two.faults.values():
        faults.fail("finish_move", 1, Error("the disk is broken"))
    await done(two, "migrate", server)
    row = await two.server(server)
    assert (row.vm_state, row.host, row.fault["message"]) == ("active", before.host, "the disk is broken")
    assert await two.violations() == []
    for faults in two.faults.values():
        faults.clear()
    await done(two, "migrate", server)
    assert (await two.server(server)).vm_state == "resized"
    assert await told(two, server) == [("migration", "finished"), ("migration", "error")]


async def test_a_live_migrated_server_runs_elsewhere(two):
    server = await booted(two)
    before = await two.server(server)
    await done(two, "live-migration", server)
    row = await two.server(server)
    assert (row.vm_state, row.generation) == ("active", 2)
    assert row.host != before.host
    assert await told(two, server) == [("live-migration", "completed")]


async def test_a_live_migration_is_aborted_or_forced_to_its_end(two):
    server = await booted(two)
    before = await two.server(server)
    faults = two.faults[before.host]
    faults.hang("live_migrate")
    workflow = await two.begin("live-migration", server)
    await two.until(lambda: faults.waiting("live_migrate"))
    assert await told(two, server) == [("live-migration", "running")]
    async with two.database.transaction() as conn:
        assert await two.conductor.engine.signal(conn, workflow, "abort")
    two.conductor.engine.go([workflow])
    await two.settle()
    assert await told(two, server) == [("live-migration", "cancelled")]
    assert (await two.server(server)).host == before.host
    assert await two.violations() == []
    await two.begin("live-migration", server)
    await two.until(lambda: len(faults.waiting("live_migrate")) > 1)
    await two.drivers[before.host].force_live(server)
    await two.settle()
    assert (await two.server(server)).host != before.host


async def test_delete_beats_a_live_migration(two):
    server = await booted(two)
    host = (await two.server(server)).host
    two.faults[host].hang("live_migrate")
    await two.begin("live-migration", server)
    await two.until(lambda: two.faults[host].waiting("live_migrate"))
    await done(two, "delete", server)
    assert [await driver.guests() for driver in two.drivers.values()] == [[], []]


async def test_an_evacuated_server_is_made_anew_and_the_dead_host_removes_its_copy(two):
    server = await booted(two)
    host = (await two.server(server)).host
    await two.stop_host(host)
    await done(two, "evacuate", server, stay_stopped=True)
    row = await two.server(server)
    assert (row.vm_state, row.power_state) == ("stopped", PowerState.SHUTDOWN)
    assert row.host != host
    await two.start_host(host)
    assert await two.drivers[host].guests() == []
    assert await told(two, server) == [("evacuation", "done")]


async def test_a_server_is_not_evacuated_from_a_host_that_is_up(two):
    server = await booted(two)
    await done(two, "evacuate", server)
    row = await two.server(server)
    assert (row.vm_state, row.generation) == ("error", 1)
    assert "is up" in row.fault["message"]


async def test_what_is_due_happens_by_itself(two):
    moved, gone = await booted(two), await booted(two)
    await done(two, "migrate", moved)
    await done(two, "softDelete", gone)
    two.config.compute.resize_confirm_window_seconds = two.config.compute.reclaim_instance_seconds = 0.01
    await DueReconciler(two.config, two.database, two.conductor.engine, two.world)()
    await two.settle()
    assert (await two.server(moved)).vm_state == "active"
    assert (await two.server(gone)).deleted


async def test_sec_023_rebuilds_an_evacuation_and_an_unshelving_leave_one_claim(two):
    """SEC-023: what is claimed is what the flavor says, after each of them; ``violations`` compares (INV-20, INV-21)."""
    server = await booted(two)
    for _ in range(20):
        await done(two, "rebuild", server)
        assert await two.violations() == []
    home = (await two.server(server)).host
    await two.stop_host(home)
    await done(two, "evacuate", server)
    await two.start_host(home)
    assert await two.violations() == []
    image = await two.images.create(USER, "kept", disk_format="qcow2", container_format="bare", properties={})
    for kind, given in (("shelve", {"image_id": image.id}), ("unshelve", {})):
        await done(two, kind, server, **given)
        assert await two.violations() == []
    assert (await two.server(server)).vm_state == "active"
