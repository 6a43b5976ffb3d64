"""Servers with volumes on fake hosts and the built-in volume service: booted from, kept on the shelf, imaged, rebuilt, grown."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from nova_async.conductor.workflows.volumes import DEFINITIONS
from nova_async.context import Context
from nova_async.db import Database
from nova_async.errors import Conflict, Unavailable
from nova_async.workflow.faults import FaultPoints
from tests.cloud import USER, Cloud, cloud, device
from tests.conductor.test_rough_treatment import Deaths


@pytest.fixture
async def one(database: Database, tmp_path: Path) -> AsyncIterator[Cloud]:
    async with cloud(database, tmp_path, hosts=2) as made:
        made.volumes.jobs.on_grown = made.conductor.volume_grown
        yield made
        await made.settle()
        await made.volumes.jobs.idle()
        assert await made.violations() == []


async def booted(made: Cloud, **fields: object) -> str:
    """The id of a server that boots from a volume made of the image."""
    root = device(source="image", image_id=made.image_id, device="/dev/vda", boot_index=0, **fields)
    server = await made.boot(image_id=None, block_devices=[root, device()])
    await made.settle()
    assert (await made.server(server)).vm_state == "active"
    return server


async def states(made: Cloud, server: str) -> list[str]:
    return [(await made.volumes.get(USER, d["volume_id"])).status for d in (await made.server(server)).volumes]


async def test_what_was_made_with_a_server_goes_with_it_if_it_was_to(one: Cloud) -> None:
    server = await booted(one, delete_on_termination=False)
    row = await one.server(server)
    assert await states(one, server) == ["in-use", "in-use"]
    assert one.drivers[row.host or ""]._guests[server].volumes == [d["volume_id"] for d in row.volumes]
    await one.begin("delete", server)
    await one.settle()
    await one.volumes.jobs.idle()
    assert [(v.id, v.status) for v in await one.volumes.find(USER)] == [(row.volumes[0]["volume_id"], "available")]


async def test_a_failed_boot_leaves_no_volume_and_sets_the_users_own_free(one: Cloud) -> None:
    mine = await one.volume()
    for faults in one.faults.values():
        faults.fail("spawn", times=None)
    server = await one.boot(block_devices=[device(), device(source="volume", volume_id=mine, device="/dev/vdc")])
    await one.settle()
    await one.volumes.jobs.idle()
    assert (await one.server(server)).vm_state == "error"
    assert [(v.id, v.status) for v in await one.volumes.find(USER)] == [(mine, "available")]


async def test_on_the_shelf_volumes_are_kept_for_their_server(one: Cloud) -> None:
    server = await booted(one)
    await one.begin("shelve", server, image_id=None)
    await one.settle()
    assert ((await one.server(server)).vm_state, await states(one, server)) == ("shelved_offloaded", ["reserved", "reserved"])
    await one.begin("unshelve", server)
    await one.settle()
    assert ((await one.server(server)).vm_state, await states(one, server)) == ("active", ["in-use", "in-use"])


async def test_a_server_on_the_shelf_has_the_volumes_that_it_is_given_there(one: Cloud) -> None:
    server, volume = await booted(one), await one.volume()
    await one.begin("shelve", server, image_id=None)
    await one.settle()
    given = device(source="volume", volume_id=volume, device="/dev/vdc", delete_on_termination=False)
    await one.begin("attach_volume", server, device=given)
    await one.settle()
    assert await states(one, server) == ["reserved", "reserved", "in-use"]
    await one.begin("unshelve", server)
    await one.settle()
    row = await one.server(server)
    assert (row.vm_state, await states(one, server)) == ("active", ["in-use"] * 3)
    assert one.drivers[row.host or ""]._guests[server].volumes[-1] == volume
    await one.begin("shelve", server, image_id=None)
    await one.settle()
    await one.begin("detach_volume", server, volume_id=volume)
    await one.settle()
    assert ((await one.volumes.get(USER, volume)).status, await states(one, server)) == ("available", ["reserved", "reserved"])


@pytest.mark.parametrize("kind", ["detach_volume", "swap_volume"])
async def test_a_volume_is_detaching_while_it_is_taken_away_and_in_use_when_the_guest_keeps_it(one: Cloud, kind: str) -> None:
    server, other = await booted(one), await one.volume(2)
    row = await one.server(server)
    old, faults = row.volumes[1]["volume_id"], one.faults[row.host or ""]
    given = {"volume_id": old} if kind == "detach_volume" else {"old_volume_id": old, "new_volume_id": other, "new_size": 2}
    for error, wanted in ((Conflict("The guest does not let go."), "in-use"), (None, "gone")):
        faults.hang(kind)
        await one.begin(kind, server, **given)
        await one.until(lambda: faults.waiting(kind))
        assert (await one.volumes.get(USER, old)).status == "detaching"
        if error:
            faults.fail(kind, error=error)
        faults.release(kind)
        await one.settle()
        assert (await one.volumes.get(USER, old)).status == ("in-use" if wanted == "in-use" else "available")
    assert (await one.volumes.get(USER, other)).status == ("in-use" if kind == "swap_volume" else "available")
    if kind == "swap_volume":
        held = (await one.server(server)).volumes[1]
        assert (held["volume_id"], held["serial"]) == (other, old), "the guest knows the disk as it was first"


@pytest.mark.parametrize("kept", [True, False], ids=["done", "given up at last"])
async def test_a_volume_that_the_volume_service_migrates_keeps_its_id(one: Cloud, monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    server, other = await booted(one), await one.volume(1)
    before = (await one.server(server)).volumes[1]
    old, told = before["volume_id"], list[tuple[str, str, bool]]()

    async def end_migration(ctx: Context, volume_id: str, new_id: str, *, failed: bool) -> str:
        """The old one is held by nobody any more, and the new one is the server's."""
        states = [(await one.volumes.get(USER, each)).status for each in (old, other)]
        assert states == (["in-use", "available"] if failed else ["available", "in-use"])
        told.append((volume_id, new_id, failed))
        return old if kept else other

    monkeypatch.setattr(one.volumes, "end_migration", end_migration)
    given = {"old_volume_id": old, "new_volume_id": other, "new_size": 1, "migrates": True}
    faults = one.faults[(await one.server(server)).host or ""]
    faults.fail("swap_volume", error=Conflict("The copy of the volume ended before it was whole."))
    await one.begin("swap_volume", server, **given)
    await one.settle()
    row = await one.server(server)
    assert (row.volumes[1], told) == (before, [(old, other, True)]), "Cinder hears that it failed, and the server has what it had"

    faults.hang("swap_volume")
    await one.begin("swap_volume", server, **given)
    await one.until(lambda: faults.waiting("swap_volume"))
    assert (await one.volumes.get(USER, old)).status == "in-use", "nobody sees it detaching"
    faults.release("swap_volume")
    await one.settle()
    held = (await one.server(server)).volumes[1]
    assert (held["volume_id"], held["serial"], told[-1]) == (old if kept else other, old, (old, other, False))
    assert await volume_held(one, server, held["attachment_id"]) == other, "whatever its name"
    await one.begin("reboot", server, type="HARD")
    await one.settle()


async def volume_held(one: Cloud, server: str, attachment_id: str) -> str:
    """The volume of this attachment, the server's last."""
    found = [a for a in await one.volumes.attachments(USER, server) if a.id == attachment_id]
    return found[0].volume_id


async def test_a_migration_of_the_volume_services_survives_a_death_at_any_moment(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [swap] = [each for each in DEFINITIONS if each.kind == "swap_volume"]
    forward = [Deaths("swap_volume", step.name, moment) for step in swap.steps for moment in ("before", "after")]
    back = [
        Deaths("swap_volume", step.name, moment, undo_from="swap_guests")
        for step in swap.steps
        if step.undo
        for moment in ("undo-before", "undo-after")
    ]
    told: list[tuple[str, str, bool]] = []
    async with cloud(database, tmp_path, hosts=1, conductor__lease_seconds=0.4) as made:
        server = await booted(made)
        old = (await made.server(server)).volumes[1]["volume_id"]

        async def end_migration(ctx: Context, volume_id: str, new_id: str, *, failed: bool) -> str:
            told.append((volume_id, new_id, failed))
            return volume_id

        monkeypatch.setattr(made.volumes, "end_migration", end_migration)
        for deaths in (*back, *forward):
            before, other = (await made.server(server)).volumes[1], await made.volume(1)
            made.conductor.engine.faults = deaths
            await made.begin("swap_volume", server, old_volume_id=old, new_volume_id=other, new_size=1, migrates=True)
            await made.settle()
            made.conductor.engine.faults = FaultPoints()
            assert deaths.place is None, "it died there"
            held, failed = (await made.server(server)).volumes[1], deaths in back
            assert (held == before, set(told)) == (failed, {(old, other, failed)})
            assert (held["volume_id"], await volume_held(made, server, held["attachment_id"]) == other) == (old, not failed)
            assert len(await made.volumes.attachments(USER, server)) == 2
            told.clear()
            for free in [volume.id for volume in await made.volumes.find(USER) if volume.status == "available"]:
                await made.volumes.delete(USER, free)
            await made.volumes.jobs.idle()
        assert await made.violations() == []


async def test_an_image_of_a_server_on_volumes_maps_snapshots(one: Cloud) -> None:
    server = await booted(one)
    image = await one.images.create(USER, "kept", disk_format="raw", container_format="bare", properties={})
    await one.begin("createImage", server, image_id=image.id, of_volumes=True)
    await one.settle()
    made = await one.images.get(USER, image.id)
    mapping = msgspec.json.decode(made.properties["block_device_mapping"])
    assert (made.status, [m["boot_index"] for m in mapping], [m["volume_size"] for m in mapping]) == ("active", [0, None], [1, 1])
    assert {s.id for s in await one.volumes.find_snapshots(USER)} == {m["snapshot_id"] for m in mapping}
    row = await one.server(server)
    assert (row.vm_state, one.drivers[row.host or ""]._guests[server].power_state) == ("active", 1)


async def test_a_rebuild_writes_an_image_over_the_volume(one: Cloud) -> None:
    server = await booted(one)
    volume = (await one.server(server)).volumes[0]["volume_id"]
    path = one.volumes.store.path(volume)
    with path.open("r+b") as file:
        file.write(b"old")
    await one.begin("rebuild", server, image_id=one.image_id, reimage=True)
    await one.settle()
    row = await one.server(server)
    assert (row.vm_state, row.volumes[0]["volume_id"], await states(one, server)) == ("active", volume, ["in-use", "in-use"])
    with path.open("rb") as file:
        assert file.read(3) != b"old"


async def test_a_volume_that_grows_is_told_to_the_guest_once_nothing_else_is_done(one: Cloud) -> None:
    server = await booted(one)
    row = await one.server(server)
    volume = row.volumes[1]["volume_id"]
    await one.volumes.volumes.extend(USER, volume, 3)
    await one.until(lambda: sized(one, server, 3))
    one.faults[row.host or ""].hang("pause")
    await one.begin("pause", server)
    await one.until(lambda: one.faults[row.host or ""].waiting("pause"))
    with pytest.raises(Unavailable):
        await one.conductor.volume_grown(USER, volume, server, 4)
    one.faults[row.host or ""].release("pause")


async def sized(made: Cloud, server: str, gib: int) -> bool:
    return bool((await made.server(server)).volumes[1]["size"] == gib)


async def test_attachments_that_no_server_has_are_given_back(one: Cloud) -> None:
    server, volume = await booted(one), await one.volume()
    await one.volumes.reserve(USER, volume, server)
    await one.conductor.attachments()
    assert (await one.volumes.get(USER, volume)).status == "reserved", "it may be part of an operation that is only beginning"
    await one.conductor.attachments(0.0)
    assert ((await one.volumes.get(USER, volume)).status, await states(one, server)) == ("available", ["in-use", "in-use"])
