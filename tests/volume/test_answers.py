"""Where Cinder's answers to making something and to showing it differ; Tempest holds the service against both."""

import asyncio

import pytest

from nova_async.db import volume_types
from tests.volume.conftest import PEOPLE, SERVER, UNKNOWN, Client, Service

EXTENDED = {"os-extended-snapshot-attributes:progress", "os-extended-snapshot-attributes:project_id"}


async def test_a_snapshot_tells_its_progress_and_project_when_it_is_shown(anna: Client) -> None:
    made = (await anna("POST", "/snapshots", 202, {"snapshot": {"volume_id": await anna.volume()}}))["snapshot"]
    await anna.service.idle()
    changed = (await anna("PUT", f"/snapshots/{made['id']}", 200, {"snapshot": {"name": "new"}}))["snapshot"]
    (listed,) = (await anna("GET", "/snapshots", 200))["snapshots"]
    (detailed,) = (await anna("GET", "/snapshots/detail", 200))["snapshots"]
    shown = (await anna("GET", f"/snapshots/{made['id']}", 200))["snapshot"]
    assert changed == listed
    assert set(made) == set(listed)
    assert shown == detailed
    assert set(shown) - set(made) == EXTENDED


async def test_a_type_tells_its_qos_specs_when_it_is_shown(admin: Client) -> None:
    made = (await admin("POST", "/types", 200, {"volume_type": {"name": "fast"}}))["volume_type"]
    shown = (await admin("GET", f"/types/{made['id']}", 200))["volume_type"]
    assert shown == made | {"qos_specs_id": None}


async def test_a_type_that_was_changed_is_told_as_cinder_tells_it(admin: Client) -> None:
    made = (await admin("POST", "/types", 200, {"volume_type": {"name": "fast"}}))["volume_type"]
    told = (await admin("PUT", f"/types/{made['id']}", 200, {"volume_type": {"name": "faster"}}))["volume_type"]
    assert set(told) == {"id", "name", "description", "is_public", "extra_specs"}
    await admin.refused("POST", f"/types/{made['id']}/extra_specs", 400, {"extra_specs": None})


async def test_snapshots_are_sorted_by_what_they_are_displayed_as_and_go_when_forced(anna: Client, admin: Client) -> None:
    volume = await anna.volume()
    first, second = await anna.snapshot(volume, name="b"), await anna.snapshot(volume, name="a")
    listed = (await anna("GET", "/snapshots?sort_key=display_name&sort_dir=asc", 200))["snapshots"]
    assert [each["id"] for each in listed] == [second, first]
    await admin("POST", f"/snapshots/{first}/action", 202, {"os-reset_status": {"status": "deleting"}})
    await admin("POST", f"/snapshots/{first}/action", 202, {"os-force_delete": {}})
    await anna.service.idle()
    await anna("GET", f"/snapshots/{first}", 404)


async def test_services_are_found_by_their_host(admin: Client) -> None:
    everything = (await admin("GET", "/os-services", 200))["services"]
    volume = next(s["host"] for s in everything if s["binary"] == "cinder-volume")
    host, _, backend = volume.partition("@")
    assert backend
    found = (await admin("GET", f"/os-services?host={host}", 200))["services"]
    assert [s["binary"] for s in found] == [s["binary"] for s in everything]
    assert [s["binary"] for s in (await admin("GET", f"/os-services?host={volume}", 200))["services"]] == ["cinder-volume"]
    assert (await admin("GET", "/os-services?host=other", 200))["services"] == []


async def test_a_snapshot_of_null_is_not_found(anna: Client) -> None:
    await anna.refused("POST", "/snapshots", 404, {"snapshot": {"volume_id": None}})
    await anna.refused("POST", "/snapshots", 400, {"snapshot": {"name": "of nothing"}})


@pytest.mark.parametrize("volume", [None, ""])
async def test_a_volume_that_is_required_and_empty_is_missing(anna: Client, volume: str | None) -> None:
    for path, name, key in (("/volume-transfers", "transfer", "volume_id"), ("/attachments", "attachment", "volume_uuid")):
        assert "required" in await anna.refused("POST", path, 400, {name: {key: volume}})


async def test_messages_come_in_pages_and_are_filtered(service: Service, anna: Client) -> None:
    async with service.volumes.database.transaction() as conn:
        for reason in ("one", "two", "three"):
            message = volume_types.MessageRow(
                id=service.volumes.world.uuid(),
                project_id=PEOPLE["anna"].project_id,
                request_id="req-1",
                resource_type="VOLUME",
                resource_id=UNKNOWN,
                event="create",
                message=reason,
                created_at=service.volumes.world.now(),
            )
            await volume_types.insert_message(conn, message)
    first = await anna("GET", "/messages?limit=2", 200)
    rest = await anna("GET", f"/messages?limit=2&marker={first['messages'][-1]['id']}", 200)
    assert (len(first["messages"]), first["messages_links"][0]["rel"], len(rest["messages"])) == (2, "next", 1)
    for wanted, count in (("resource_type=VOLUME", 3), ("resource_type=VOLUME_SNAPSHOT", 0), ("message_level=ERROR", 3)):
        assert len((await anna("GET", f"/messages?{wanted}", 200))["messages"]) == count
    await anna.refused("GET", "/messages?limit=many", 400)


async def test_what_is_not_there_is_refused_and_not_left_aside(anna: Client, admin: Client) -> None:
    for group in ("group_id", "consistencygroup_id"):
        await anna.refused("POST", "/volumes", 404, {"volume": {"size": 1, group: UNKNOWN}})
    await admin.refused("PUT", "/os-quota-sets/p-a", 400, {"quota_set": {"volumes": 7, "volumes_fast": 3}})
    assert (await admin("GET", "/os-quota-sets/p-a", 200))["quota_set"]["volumes"] != 7
    await admin("PUT", "/os-quota-sets/p-a", 200, {"quota_set": {"volumes": 7, "volumes_fast": -1}})
    assert "get-log" in await admin.refused("PUT", "/os-services/get-log", 404, {"binary": "*"})


async def test_lists_are_filtered_by_parts_of_names_and_by_times(anna: Client) -> None:
    web, _ = await anna.volume(name="web-1"), await anna.volume(name="db-1")
    await anna.snapshot(web, name="night")
    made = (await anna.show(web))["created_at"]
    for asked, names in (
        ("name~=we", ["web-1"]),
        ("name~=1", ["db-1", "web-1"]),
        (f"created_at=eq:{made}", ["web-1"]),
        (f"created_at=gt:{made}", ["db-1"]),
        (f"created_at=gte:{made},lt:2100-01-01", ["db-1", "web-1"]),
        ("updated_at=lt:2020-01-01T00:00:00", []),
    ):
        assert [v["name"] for v in (await anna("GET", f"/volumes/detail?{asked}", 200))["volumes"]] == names, asked
    assert len((await anna("GET", "/snapshots?name~=nig&created_at=gt:2020-01-01T00:00:00", 200))["snapshots"]) == 1
    assert "such as" in await anna.refused("GET", "/volumes?created_at=gt:yesterday", 400)


async def test_the_times_of_a_volume_are_written_alike(anna: Client) -> None:
    volume = await anna.volume()
    await anna.act(volume, "os-attach", {"instance_uuid": SERVER, "mountpoint": "/dev/vdb"})
    shown = await anna.show(volume)
    assert len(shown["attachments"][0]["attached_at"]) == len(shown["created_at"])


async def test_nobody_is_told_that_a_volume_is_attached_when_it_is_not(anna: Client, admin: Client) -> None:
    volume = await anna.volume()
    act = f"/volumes/{volume}/action"
    for wrong in ({}, {"attach_status": "attached"}, {"attach_status": "nonsense"}, {"migration_status": "migrating"}):
        await admin.refused("POST", act, 400, {"os-reset_status": wrong})
        await admin.refused("POST", act, 400, {"os-reset_status": wrong | {"status": "happy"}})
    await anna.refused("POST", act, 403, {"os-reset_status": {"attach_status": "detached"}})
    await admin.refused("POST", f"/volumes/{UNKNOWN}/action", 404, {"os-reset_status": {"attach_status": "detached"}})
    await admin.act(volume, "os-reset_status", {"status": "error", "attach_status": "detached", "migration_status": "none"})
    assert (await anna.show(volume))["status"] == "error"

    await admin.act(volume, "os-reset_status", {"status": "available"})
    await anna.act(volume, "os-attach", {"instance_uuid": SERVER, "mountpoint": "/dev/vdb"})
    await admin.refused("POST", act, 400, {"os-reset_status": {"attach_status": "detached"}})
    await admin.act(volume, "os-reset_status", {"attach_status": "attached"})


async def test_the_command_makes_a_type_public(admin: Client) -> None:
    made = (await admin("POST", "/types", 200, {"volume_type": {"name": "mine", "os-volume-type-access:is_public": False}}))["volume_type"]
    await admin("PUT", f"/types/{made['id']}", 200, {"volume_type": {"os-volume-type-access:is_public": True}})
    assert (await admin("GET", f"/types/{made['id']}", 200))["volume_type"]["is_public"] is True


async def test_extra_specs_that_are_added_at_once_are_all_there(admin: Client) -> None:
    made = (await admin("POST", "/types", 200, {"volume_type": {"name": "fast"}}))["volume_type"]
    path = f"/types/{made['id']}/extra_specs"
    await asyncio.gather(*(admin("POST", path, 200, {"extra_specs": {f"k{n}": "v"}}) for n in range(8)))
    assert len((await admin("GET", path, 200))["extra_specs"]) == 8
