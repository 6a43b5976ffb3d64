"""Volumes and snapshots as their users see them, over HTTP, with the bytes in files."""

import asyncio
import os

import pytest

from nova_async.db import volumes as rows
from nova_async.services.image.signatures import PROPERTIES, missing
from nova_async.services.volume import fields, versions
from tests.image.signing import Signer
from tests.volume.conftest import GIB, PEOPLE, QCOW2, SERVER, UNKNOWN, Client, Service, noise


async def test_a_volume_is_made_seen_changed_and_deleted(service: Service, anna: Client) -> None:
    made = (await anna("POST", "/volumes", 202, {"volume": {"size": 1, "name": "one", "metadata": {"a": "b"}}}))["volume"]
    assert (made["status"], made["size"], made["volume_type"], made["bootable"]) == ("creating", 1, "files", "false")
    await service.idle()
    volume = made["id"]
    assert os.stat(service.path(volume)).st_size == GIB
    assert os.stat(service.path(volume)).st_blocks == 0
    assert (await anna("PUT", f"/volumes/{volume}", 200, {"volume": {"name": "uno", "description": "words"}}))["volume"]["name"] == "uno"
    await anna("POST", f"/volumes/{volume}/metadata", 200, {"metadata": {"c": "d"}})
    await anna("DELETE", f"/volumes/{volume}/metadata/a", 200)
    await anna("DELETE", f"/volumes/{volume}/metadata/a", 404)
    shown = await anna.show(volume)
    assert (shown["status"], shown["description"], shown["metadata"], shown["attachments"]) == ("available", "words", {"c": "d"}, [])
    assert set(shown) - set(made) == {"os-vol-tenant-attr:tenant_id"}  # Cinder tells the owner when it is asked, not when it makes
    await anna("DELETE", f"/volumes/{volume}", 202)
    await service.idle()
    await anna("GET", f"/volumes/{volume}", 404)
    assert service.files() == []


async def test_lists_are_filtered_sorted_and_paged(anna: Client) -> None:
    ids = [await anna.volume(size, name=name) for size, name in ((3, "c"), (1, "a"), (2, "b"))]
    assert [v["id"] for v in (await anna("GET", "/volumes", 200))["volumes"]] == ids[::-1]
    assert [v["name"] for v in (await anna("GET", "/volumes/detail?sort=size:asc", 200))["volumes"]] == ["a", "b", "c"]
    page = await anna("GET", "/volumes?limit=2&with_count=true", 200)
    assert (len(page["volumes"]), page["count"], page["volumes_links"][0]["rel"]) == (2, 3, "next")
    rest = await anna("GET", f"/volumes?limit=2&marker={page['volumes'][-1]['id']}", 200)
    assert [v["id"] for v in rest["volumes"]] == ids[:1]
    assert "volumes_links" not in rest
    assert "volumes_links" in await anna("GET", "/volumes?limit=3", 200)  # a full page: the next one is empty
    await anna.refused("GET", "/volumes?marker=x", 404)
    for query, names in (("name=a", ["a"]), ("status=error", []), ("size=2", ["b"]), ("bootable=true", []), ("metadata={'k':'v'}", [])):
        assert [v["name"] for v in (await anna("GET", f"/volumes/detail?{query}", 200))["volumes"]] == names, query
    for query in ("limit=x", "limit=-1", "sort=nothing:asc", "sort=size:up", "offset=x", "all_tenants=x"):
        await anna.refused("GET", f"/volumes?{query}", 400)


async def test_nobody_sees_the_volumes_of_others(service: Service, anna: Client, admin: Client) -> None:
    volume, ben = await anna.volume(), service.client("ben")
    snapshot = await anna.snapshot(volume)
    for method, path, body in (
        ("GET", f"/volumes/{volume}", None),
        ("DELETE", f"/volumes/{volume}", None),
        ("PUT", f"/volumes/{volume}", {"volume": {"name": "x"}}),
        ("POST", f"/volumes/{volume}/action", {"os-extend": {"new_size": 2}}),
        ("GET", f"/snapshots/{snapshot}", None),
        ("DELETE", f"/snapshots/{snapshot}", None),
        ("POST", "/snapshots", {"snapshot": {"volume_id": volume}}),
        ("POST", "/volumes", {"volume": {"size": 1, "snapshot_id": snapshot}}),
        ("POST", "/volumes", {"volume": {"size": 1, "source_volid": volume}}),
        ("POST", "/attachments", {"attachment": {"volume_uuid": volume, "instance_uuid": SERVER}}),
    ):
        await ben.refused(method, path, 404, body)
    assert (await ben("GET", "/volumes?all_tenants=1", 200))["volumes"] == []
    assert [v["id"] for v in (await admin("GET", "/volumes?all_tenants=1", 200))["volumes"]] == [volume]
    assert (await admin("GET", "/volumes", 200))["volumes"] == []
    assert "os-vol-host-attr:host" in await admin.show(volume)
    assert "os-vol-host-attr:host" not in await anna.show(volume)


async def test_readers_change_nothing(service: Service, anna: Client) -> None:
    volume, rosa = await anna.volume(), service.client("rosa")
    assert (await rosa.show(volume))["id"] == volume
    for method, path, body in (
        ("POST", "/volumes", {"volume": {"size": 1}}),
        ("DELETE", f"/volumes/{volume}", None),
        ("POST", "/snapshots", {"snapshot": {"volume_id": volume}}),
        ("POST", f"/volumes/{volume}/action", {"os-set_bootable": {"bootable": True}}),
        ("POST", "/types", {"volume_type": {"name": "x"}}),
    ):
        await rosa.refused(method, path, 403, body)


async def test_a_copy_of_an_image_is_bootable_and_has_its_bytes(service: Service, anna: Client) -> None:
    data = noise(3_000_000)
    raw, qcow2 = await service.image(data), await service.image(QCOW2, "qcow2", min_disk=2)
    volume = await anna.volume(1, imageRef=raw)
    shown = await anna.show(volume)
    assert (shown["bootable"], shown["volume_image_metadata"]["image_id"], shown["volume_image_metadata"]["hw_disk_bus"]) == (
        "true",
        raw,
        "scsi",
    )
    with service.path(volume).open("rb") as file:
        assert file.read(len(data)) == data
        assert file.read(4096) == bytes(4096)
    assert os.stat(service.path(volume)).st_size == GIB
    assert "at least 2GB" in await anna.refused("POST", "/volumes", 400, {"volume": {"size": 1, "imageRef": qcow2}})
    await anna.volume(2, imageRef=qcow2)
    assert "Invalid image" in await anna.refused("POST", "/volumes", 400, {"volume": {"size": 1, "imageRef": UNKNOWN}})


async def test_snapshots_and_copies_keep_what_was_written_and_hand_it_to_nobody_else(service: Service, anna: Client) -> None:
    volume, data = await anna.volume(), noise(100_000)
    with service.path(volume).open("r+b") as file:
        file.write(data)
    snapshot = await anna.snapshot(volume, name="s")
    with service.path(volume).open("r+b") as file:
        file.write(bytes(len(data)))
    copy = await anna.volume(2, snapshot_id=snapshot)
    assert service.path(copy).read_bytes()[: len(data)] == data
    assert os.stat(service.path(copy)).st_size == 2 * GIB
    again = await anna.volume(2, source_volid=copy)
    assert service.path(again).read_bytes()[: len(data)] == data
    assert "dependent snapshots" in await anna.refused("DELETE", f"/volumes/{volume}", 400)
    await anna("DELETE", f"/volumes/{volume}?cascade=true", 202)
    for one in (copy, again):
        await anna("DELETE", f"/volumes/{one}", 202)
    await asyncio.sleep(0)
    await service.idle()
    fresh = await anna.volume(1)
    assert os.stat(service.path(fresh)).st_blocks == 0


async def test_a_volume_grows_and_never_shrinks(service: Service, anna: Client) -> None:
    volume = await anna.volume()
    await anna.act(volume, "os-extend", {"new_size": 3})
    await service.idle()
    assert ((await anna.show(volume))["size"], os.stat(service.path(volume)).st_size) == (3, 3 * GIB)
    assert "must be greater" in await anna.refused("POST", f"/volumes/{volume}/action", 400, {"os-extend": {"new_size": 3}})
    assert "exceeds" in await anna.refused("POST", f"/volumes/{volume}/action", 413, {"os-extend": {"new_size": 30}})


async def test_a_volume_is_made_of_a_signed_image_only_where_the_image_is_what_was_signed(service: Service, anna: Client) -> None:
    data, signer = noise(3_000_000), Signer("signer").put(service.volumes.config.image_certificates_dir)
    image = await service.image(data, properties=signer.signed(data))
    volume = await anna.volume(1, imageRef=image)
    with service.path(volume).open("rb") as file:
        assert file.read(len(data)) == data
    told = await anna.act(volume, "os-volume_upload_image", {"image_name": "mine", "disk_format": "qcow2"})
    await service.idle()
    made = await service.images.get(PEOPLE["anna"], told["os-volume_upload_image"]["image_id"])
    assert (made.status, missing(made.properties)) == ("active", list(PROPERTIES))
    before = service.files()
    for properties in (signer.signed(data[1:]), {"img_signature": "bm8="}, Signer("lost").signed(data)):
        await service.images.set_properties(PEOPLE["admin"], image, properties)
        broken = (await anna("POST", "/volumes", 202, {"volume": {"size": 1, "imageRef": image}}))["volume"]["id"]
        await service.idle()
        assert (await anna.show(broken))["status"] == "error"
    assert service.files() == before


async def test_a_volume_becomes_an_image(service: Service, anna: Client) -> None:
    volume, data = await anna.volume(), noise(50_000)
    with service.path(volume).open("r+b") as file:
        file.write(data)
    told = await anna.act(volume, "os-volume_upload_image", {"image_name": "mine", "disk_format": "qcow2"})
    image = told["os-volume_upload_image"]["image_id"]
    await service.idle()
    made = await service.images.get(PEOPLE["anna"], image)
    assert (made.status, made.disk_format, made.virtual_size, made.owner) == ("active", "qcow2", GIB, "p-a")
    assert (await anna.show(volume))["status"] == "available"
    copy = await anna.volume(1, imageRef=image)
    assert service.path(copy).read_bytes()[: len(data)] == data
    assert "disk_format" in await anna.refused(
        "POST", f"/volumes/{volume}/action", 400, {"os-volume_upload_image": {"image_name": "x", "disk_format": "vmdk"}}
    )


async def test_flags_types_and_states(service: Service, anna: Client, admin: Client) -> None:
    volume = await anna.volume()
    await anna.act(volume, "os-set_bootable", {"bootable": True}, 200)
    await anna.act(volume, "os-update_readonly_flag", {"readonly": True})
    shown = await anna.show(volume)
    assert (shown["bootable"], shown["metadata"]) == ("true", {"readonly": "True"})
    await anna.refused("POST", f"/volumes/{volume}/action", 403, {"os-reset_status": {"status": "error"}})
    await admin.act(volume, "os-reset_status", {"status": "error"})
    assert (await anna.show(volume))["status"] == "error"
    await admin.refused("POST", f"/volumes/{volume}/action", 400, {"os-reset_status": {"status": "happy"}})
    shared = (await admin("POST", "/types", 200, {"volume_type": {"name": "shared", "extra_specs": {"multiattach": "<is> True"}}}))[
        "volume_type"
    ]
    await admin.act(volume, "os-reset_status", {"status": "available"})
    await anna.act(volume, "os-retype", {"new_type": "shared"})
    assert (await anna.show(volume))["multiattach"] is True
    assert "existing volumes" in await admin.refused("DELETE", f"/types/{shared['id']}", 400)
    assert "does not have" in await admin.refused("POST", f"/volumes/{volume}/action", 501, {"os-migrate_volume": {"host": "x"}})


async def test_limits_hold_and_are_told(anna: Client, admin: Client) -> None:
    volume = await anna.volume(1)
    assert "gigabytes quota" in await anna.refused("POST", "/volumes", 413, {"volume": {"size": 20}})
    await admin("PUT", "/os-quota-sets/p-a", 200, {"quota_set": {"volumes": 1}})
    assert "(1) exceeded for quota 'volumes'" in await anna.refused("POST", "/volumes", 413, {"volume": {"size": 1}})
    used = (await anna("GET", "/limits", 200))["limits"]["absolute"]
    assert (used["maxTotalVolumes"], used["totalVolumesUsed"], used["totalGigabytesUsed"]) == (1, 1, 1)
    detail = (await anna("GET", "/os-quota-sets/p-a?usage=true", 200))["quota_set"]["snapshots"]
    assert detail == {"limit": 2, "in_use": 0, "reserved": 0}
    await anna.refused("GET", "/os-quota-sets/p-b", 403)
    await anna.refused("PUT", "/os-quota-sets/p-a", 403, {"quota_set": {"volumes": 9}})
    await admin.refused("PUT", "/os-quota-sets/p-a", 400, {"quota_set": {"volumes": "many"}})
    await admin("DELETE", "/os-quota-sets/p-a", 200)
    await anna.snapshot(volume)


async def test_many_at_once_stay_within_the_limit(service: Service, anna: Client) -> None:
    """SEC-060"""

    async def one() -> bool:
        try:
            await anna("POST", "/volumes", 202, {"volume": {"size": 1}})
        except AssertionError:
            return False
        return True

    assert sum(await asyncio.gather(*(one() for _ in range(12)))) == 5
    await service.idle()


async def test_metadata_does_not_grow_beyond_its_limit(anna: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-060: neither item by item, nor by many at once."""
    monkeypatch.setattr(fields, "MOST_ITEMS", 5)
    volume = await anna.volume()
    snapshot = await anna.snapshot(volume)
    for path in (f"/volumes/{volume}/metadata", f"/snapshots/{snapshot}/metadata"):
        await anna("POST", path, 200, {"metadata": {"a": "1", "b": "2", "c": "3"}})

        async def one(number: int, path: str = path) -> bool:
            try:
                await anna("PUT", f"{path}/n{number}", 200, {"meta": {f"n{number}": "x"}})
            except AssertionError:
                return False
            return True

        assert sum(await asyncio.gather(*(one(n) for n in range(8)))) == 2
        assert "items exceeds 5" in await anna.refused("POST", path, 413, {"metadata": {"x": "1"}})
        assert len((await anna("PUT", f"{path}/a", 200, {"meta": {"a": "again"}}))["meta"]) == 1
        assert len((await anna("GET", path, 200))["metadata"]) == 5


async def test_what_fails_is_told_to_the_owner(service: Service, anna: Client) -> None:
    volume = await anna.volume()
    service.path(volume).unlink()
    snapshot = await anna.snapshot(volume)
    assert (await anna("GET", f"/snapshots/{snapshot}", 200))["snapshot"]["status"] == "error"
    [message] = (await anna("GET", "/messages", 200))["messages"]
    assert (message["resource_uuid"], message["message_level"]) == (snapshot, "ERROR")
    await anna("DELETE", f"/messages/{message['id']}", 204)
    await anna("GET", f"/messages/{message['id']}", 404)


async def test_work_that_was_cut_off_is_taken_up(service: Service, anna: Client) -> None:
    volume = await anna.volume()
    async with service.volumes.database.transaction() as conn:
        await conn.execute("UPDATE volumes SET status = 'creating'")
        values = (UNKNOWN, volume, "create", {"request_id": "r"}, "somebody")
        await conn.execute("INSERT INTO volume_jobs (id, volume_id, kind, context, owner) VALUES ($1, $2, $3, $4, $5)", *values)
    (service.volumes.store.folder / "part" / volume).write_bytes(b"half")
    service.volumes.jobs.go()
    await asyncio.sleep(0)
    await service.idle()
    assert (await anna.show(volume))["status"] == "available"
    assert service.files() == [volume]


async def test_files_that_belong_to_nothing_are_removed(service: Service, anna: Client) -> None:
    volume = await anna.volume()
    service.path(UNKNOWN).write_bytes(b"left over")
    await service.volumes.jobs.reap()
    assert service.files() == [volume]


@pytest.mark.parametrize(
    "body",
    [
        {"size": 0}, {"size": -1}, {"size": "x"}, {"size": True}, {"size": 2**40}, {"size": 1.5}, {}, [], None, {"size": 1, "unknown": 1},
        {"size": 1, "name": "x" * 256}, {"size": 1, "name": 7}, {"size": 1, "name": "\0"}, {"size": 1, "metadata": []},
        {"size": 1, "metadata": {"": "x"}}, {"size": 1, "metadata": {"k": "x" * 256}}, {"size": 1, "imageRef": "x"},
        {"size": 1, "snapshot_id": 7}, {"size": 1, "availability_zone": "mars"}, {"size": 1, "multiattach": True},
        {"size": 1, "snapshot_id": UNKNOWN, "source_volid": UNKNOWN},
    ],
)  # fmt: skip
async def test_nonsense_is_refused(anna: Client, body: object) -> None:
    assert await anna.refused("POST", "/volumes", 400, {"volume": body})


async def test_versions_and_paths(service: Service, anna: Client) -> None:
    async with service.session.get(f"{service.url}/") as response:
        assert response.status == 300
        [version] = (await response.json())["versions"]
    assert (version["min_version"], version["version"], version["links"][0]["href"]) == (
        "3.0",
        f"3.{versions.LATEST}",
        f"{service.url}/v3/",
    )
    headers = {"X-Auth-Token": "anna", "OpenStack-API-Version": "compute 2.1, volume 3.27"}
    async with service.session.get(f"{service.url}/v3/volumes", headers=headers) as response:
        assert (response.status, response.headers["OpenStack-API-Version"]) == (200, "volume 3.27")
    async with service.session.get(f"{service.url}/v3/p-b/volumes", headers=headers) as response:
        assert response.status == 403
    async with service.session.get(f"{service.url}/v3/volumes") as response:
        assert response.status == 401
    await anna.refused("GET", "/volumes", 406, version="3.999")
    await anna.refused("GET", "/volumes", 400, version="three")
    await anna.refused("GET", "/attachments", 404, version="3.26")
    for path in ("/backups/detail", "/os-volume-transfer/detail", "/groups", "/extensions", "/resource_filters"):
        await anna("GET", path, 200)
    assert "does not have this" in await anna.refused("POST", "/backups", 501, {"backup": {}})
    assert "groupType" not in await anna("GET", "/os-availability-zone", 200)


async def test_the_next_owner_reads_nothing_of_what_was_deleted(service: Service, anna: Client) -> None:
    """INV-30, SEC-016."""
    volume = await anna.volume()
    with service.path(volume).open("r+b") as file:
        file.write(noise(2**20))
    snapshot = await anna.snapshot(volume)
    await anna("DELETE", f"/snapshots/{snapshot}", 202)
    await service.idle()
    await anna("DELETE", f"/volumes/{volume}", 202)
    await service.idle()
    assert service.files() == []
    other = await service.client("ben").volume()
    with service.path(other).open("rb") as file:
        assert file.read(2**20) == bytes(2**20)
    assert service.path(other).stat().st_blocks == 0, "and there are no blocks that it could have from anybody"


async def test_a_snapshot_and_its_volume_change_one_after_the_other(service: Service, anna: Client) -> None:
    """Whoever deletes a volume holds its row, and then changes its snapshots: a change of a snapshot waits, and holds nothing meanwhile."""
    volume = await anna.volume()
    snapshot = await anna.snapshot(volume)
    async with service.volumes.database.transaction() as conn:
        assert await rows.get(conn, volume, lock=True)
        deletion = asyncio.create_task(anna("DELETE", f"/snapshots/{snapshot}", 202))
        while not await conn.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not deletion.done()
            await asyncio.sleep(0.02)
        await rows.change_snapshot(conn, snapshot, description="changed before it went")
    await deletion
    await service.idle()
    assert (await anna("GET", "/snapshots", 200))["snapshots"] == []
