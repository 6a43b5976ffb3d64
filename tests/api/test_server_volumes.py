"""Volumes of servers, at boot and later, and the old proxies to the volume service."""

import json
from typing import Any

import msgspec
import pytest

from tests.api.conftest import CALLERS, IMAGE, VOLUME, image, volume

OTHER = "b26887c6-c47b-4654-abb5-dfadf7d3f803"
MISSING = "00000000-c47b-4654-abb5-dfadf7d3f803"
BODY = {"name": "web", "imageRef": IMAGE, "flavorRef": "1"}


async def attach(api, server: str, asked: dict[str, Any], version: str = "2.100", caller: str = "member"):
    return await api.post(f"/servers/{server}/os-volume_attachments", {"volumeAttachment": asked}, caller, version)


async def with_volume(api, **fields: Any) -> tuple[str, dict[str, Any]]:
    """A server that has a volume, and the volume's device as its row keeps it."""
    server = await api.server()
    device = {"id": OTHER, "kind": "volume", "source": "volume", "volume_id": VOLUME, "attachment_id": MISSING, "device": "/dev/vdb",
              "size": 1, "boot_index": None, "delete_on_termination": False, "tag": "data", "bus": "virtio"} | fields  # fmt: skip
    await api.settle(server, block_devices=[device])
    api.volumes.shelf[VOLUME] = msgspec.structs.replace(api.volumes.shelf[VOLUME], status="in-use")
    return server, device


async def refused(api, fields: dict[str, Any], version: str = "2.96", caller: str = "member") -> tuple[int, str]:
    answer = await api.post("/servers", {"server": BODY | {"networks": "none"} | fields}, caller, version)
    return answer.status, answer.message


async def devices(api) -> list[dict[str, Any]]:
    async with api.database.connection() as conn:
        return await conn.fetchval("SELECT block_devices FROM instances ORDER BY number DESC LIMIT 1")


# -- while the server lives


async def test_a_volume_is_attached_in_the_background(api) -> None:
    server = await api.server()
    answer = await attach(api, server, {"volumeId": VOLUME, "tag": "data", "delete_on_termination": True})
    assert answer.body == {
        "volumeAttachment": {
            **{"id": VOLUME, "serverId": server, "volumeId": VOLUME},
            **{"device": "/dev/vdb", "tag": "data", "delete_on_termination": True},
        }
    }
    kind, subject, given = api.starter.begun[-1]
    assert (kind, subject, given["device"]["volume_id"], given["device"]["device"]) == ("attach_volume", server, VOLUME, "/dev/vdb")
    assert api.volumes.held == {given["device"]["attachment_id"]: (VOLUME, server)}


async def test_the_answer_to_an_attachment_at_each_version(api) -> None:
    for version, keys in (("2.69", 4), ("2.70", 5), ("2.79", 6), ("2.100", 6)):
        api.volumes.shelf[VOLUME] = volume(VOLUME)
        answer = await attach(api, await api.server(), {"volumeId": VOLUME}, version)
        assert (answer.status, len(answer.body["volumeAttachment"])) == (200, keys), version
    api.volumes.shelf[VOLUME] = volume(VOLUME)
    answer = await attach(api, await api.server(), {"volumeId": VOLUME}, "2.101")
    assert (answer.status, answer.raw) == (202, b"")


async def test_what_cannot_be_attached_is_refused_and_stays_free(api) -> None:
    server = await api.server()
    for change, status, words in (
        ({"status": "in-use"}, 400, "status must be 'available'"),
        ({"status": "error"}, 400, "Currently in 'error'"),
        ({"project_id": "somebody"}, 404, "could not be found"),
        ({"holders": {server: None}}, 400, "already attached"),
    ):
        api.volumes.shelf[VOLUME] = msgspec.structs.replace(volume(VOLUME), **change)
        answer = await attach(api, server, {"volumeId": VOLUME})
        assert (answer.status, words in answer.message) == (status, True), answer
    api.volumes.shelf[VOLUME] = volume(VOLUME, multiattach=True)
    assert "2.60" in (await attach(api, server, {"volumeId": VOLUME}, "2.59")).message
    api.volumes.shelf[VOLUME] = volume(VOLUME)
    assert (await attach(api, server, {"volumeId": VOLUME, "device": "/dev/vda"})).status == 409
    for bad in ({"volumeId": "x"}, {}, {"volumeId": VOLUME, "device": "vdb"}, {"volumeId": VOLUME, "more": 1}):
        assert (await attach(api, server, bad)).status == 400
    assert (await attach(api, server, {"volumeId": VOLUME, "tag": "x"}, "2.48")).status == 400
    await api.post(f"/servers/{server}/action", {"os-stop": None})
    assert (await attach(api, server, {"volumeId": VOLUME})).status == 409
    assert (api.volumes.held, api.volumes.shelf[VOLUME].status) == ({}, "available")


async def test_servers_on_the_shelf_take_volumes_since_2_20(api) -> None:
    server = await api.server(state="shelved_offloaded")
    assert (await attach(api, server, {"volumeId": VOLUME}, "2.19")).status == 409
    assert (await attach(api, server, {"volumeId": VOLUME}, "2.20")).status == 200


@pytest.mark.parametrize(
    ("version", "keys"),
    [
        ("2.1", {"id", "volumeId", "serverId", "device"}),
        ("2.70", {"id", "volumeId", "serverId", "device", "tag"}),
        ("2.79", {"id", "volumeId", "serverId", "device", "tag", "delete_on_termination"}),
        ("2.89", {"volumeId", "serverId", "device", "tag", "delete_on_termination", "attachment_id", "bdm_uuid"}),
    ],
)
async def test_attachments_are_listed_and_shown(api, version, keys) -> None:
    server, _ = await with_volume(api)
    [listed] = (await api.get(f"/servers/{server}/os-volume_attachments", version=version)).body["volumeAttachments"]
    shown = (await api.get(f"/servers/{server}/os-volume_attachments/{VOLUME}", version=version)).body["volumeAttachment"]
    assert listed == shown
    assert set(shown) == keys
    assert (shown["volumeId"], shown["serverId"], shown["device"]) == (VOLUME, server, "/dev/vdb")
    assert (await api.get(f"/servers/{server}/os-volume_attachments?offset=1", version=version)).body == {"volumeAttachments": []}
    assert (await api.get(f"/servers/{server}/os-volume_attachments?limit=x", version=version)).status == 400
    answer = await api.get(f"/servers/{server}/os-volume_attachments/{OTHER}", version=version)
    assert (answer.status, answer.message) == (404, f"Instance {server} is not attached to volume {OTHER}")


async def test_a_volume_is_detached_but_not_the_root(api) -> None:
    server, device = await with_volume(api)
    answer = await api.delete(f"/servers/{server}/os-volume_attachments/{VOLUME}")
    assert (answer.status, answer.raw) == (202, b"")
    assert api.starter.begun[-1] == ("detach_volume", server, {"volume_id": VOLUME})
    assert (await api.delete(f"/servers/{server}/os-volume_attachments/{OTHER}")).status == 404
    await api.settle(server, block_devices=[device | {"boot_index": 0}])
    answer = await api.delete(f"/servers/{server}/os-volume_attachments/{VOLUME}")
    assert (answer.status, answer.message) == (400, "Cannot detach a root device volume")


async def test_a_volume_is_detaching_as_soon_as_it_is_asked_for_and_only_then(api) -> None:
    server, _ = await with_volume(api)
    path = f"/servers/{server}/os-volume_attachments/{VOLUME}"
    await api.settle(server, "suspended")
    assert ((await api.delete(path)).status, api.volumes.shelf[VOLUME].status) == (409, "in-use")
    await api.settle(server)
    assert ((await api.delete(path)).status, api.volumes.shelf[VOLUME].status) == (202, "detaching")
    assert ((await api.delete(path)).status, api.volumes.shelf[VOLUME].status) == (409, "detaching")
    await api.settle(server)
    api.volumes.shelf[VOLUME] = volume(VOLUME, status="extending")
    answer = await api.delete(path)
    assert (answer.status, "must be in-use to detach" in answer.message) == (400, True)


async def test_whether_a_volume_goes_with_its_server_is_changed(api) -> None:
    server, _ = await with_volume(api)
    path = f"/servers/{server}/os-volume_attachments/{VOLUME}"
    body = {"volumeAttachment": {"volumeId": VOLUME, "delete_on_termination": True}}
    assert (await api.put(path, body, version="2.84")).status == 400
    assert (await api.put(path, body, version="2.85")).status == 202
    assert (await api.get(path, version="2.85")).body["volumeAttachment"]["delete_on_termination"] is True
    for name, value in (("device", "/dev/vdz"), ("tag", "other"), ("serverId", MISSING), ("id", MISSING)):
        answer = await api.put(path, {"volumeAttachment": {"volumeId": VOLUME, name: value}}, version="2.85")
        assert (answer.status, answer.message) == (400, f"The {name} property is not mutable")
    assert (await api.put(path, body, "stranger", "2.85")).status == 404
    assert (await api.put(path, body, "reader", "2.85")).status == 403


async def test_swapping_is_for_services_and_administrators(api) -> None:
    """SEC-035."""
    server, _ = await with_volume(api)
    path, body = f"/servers/{server}/os-volume_attachments/{VOLUME}", {"volumeAttachment": {"volumeId": OTHER}}
    api.volumes.shelf[VOLUME] = volume(VOLUME, status="in-use", size=2)
    assert (await api.put(path, body)).status == 403
    answer = await api.put(path, body, "admin")
    assert (answer.status, answer.message) == (400, f"Volume {OTHER} could not be found.")
    api.volumes.shelf[OTHER] = volume(OTHER)
    assert "same size or larger" in (await api.put(path, body, "admin")).message
    api.volumes.shelf[OTHER] = volume(OTHER, size=3)
    assert (await api.put(path, body, "admin")).status == 202
    assert api.starter.begun[-1] == ("swap_volume", server, {"old_volume_id": VOLUME, "new_volume_id": OTHER, "new_size": 3})


async def test_a_volume_is_migrated_to_where_the_volume_service_brings_it(api) -> None:
    """Cinder asks for it so; nobody sees the volume detaching."""
    server, _ = await with_volume(api)
    path, body = f"/servers/{server}/os-volume_attachments/{VOLUME}", {"volumeAttachment": {"volumeId": OTHER}}
    for migrating, replaces in ((True, ""), (True, MISSING), (False, VOLUME)):
        api.volumes.shelf[VOLUME] = volume(VOLUME, status="in-use", migrating=migrating)
        api.volumes.shelf[OTHER] = volume(OTHER, replaces=replaces)
        answer = await api.put(path, body, "admin")
        assert (answer.status, answer.message) == (409, f"The volume service is not migrating volume {VOLUME} to volume {OTHER}.")
    api.volumes.shelf[VOLUME] = volume(VOLUME, status="retyping", migrating=True)
    api.volumes.shelf[OTHER] = volume(OTHER, replaces=VOLUME)
    assert (await api.put(path, body, "admin")).status == 202
    given = {"old_volume_id": VOLUME, "new_volume_id": OTHER, "new_size": 1, "migrates": True}
    assert api.starter.begun[-1] == ("swap_volume", server, given)
    assert api.volumes.shelf[VOLUME].status == "retyping"


# -- at boot


@pytest.mark.parametrize("image", ["", IMAGE])
async def test_a_server_boots_from_a_volume_whatever_image_is_named_beside_it(api, image) -> None:
    await api.flavor("1", disk=0)
    api.volumes.shelf[VOLUME] = volume(
        VOLUME, bootable=True, size=3, image_metadata={"hw_disk_bus": "scsi", "min_disk": "2", "image_id": IMAGE}
    )
    root = {"uuid": VOLUME, "source_type": "volume", "destination_type": "volume", "boot_index": "0", "delete_on_termination": True}
    blank = {"source_type": "blank", "destination_type": "volume", "volume_size": 5, "volume_type": "files", "tag": "scratch"}
    made = await api.post(
        "/servers", {"server": BODY | {"imageRef": image, "block_device_mapping_v2": [root, blank], "networks": "none"}}, version="2.96"
    )
    assert made.status == 202, made
    kept = await devices(api)
    assert [(d["source"], d["device"], d["size"], d["boot_index"], d["bus"]) for d in kept] == [
        ("volume", "/dev/sda", 3, 0, "scsi"),
        ("blank", "/dev/sdb", 5, None, "scsi"),
    ]
    server = made.body["server"]["id"]
    await api.settle(server)
    shown = (await api.get(f"/servers/{server}", version="2.96")).body["server"]
    assert shown["image"] == ""
    assert shown["os-extended-volumes:volumes_attached"] == [{"id": VOLUME, "delete_on_termination": True}]


async def test_the_older_form_boots_from_its_first_volume(api) -> None:
    await api.flavor("1")
    old = [{"volume_id": VOLUME, "delete_on_termination": "1"}, {"virtual_name": "ephemeral0", "no_device": True}]
    made = await api.post("/servers", {"server": BODY | {"imageRef": "", "block_device_mapping": old}})
    assert made.status == 202, made
    assert [(d["source"], d["boot_index"], d["device"]) for d in await devices(api)] == [("volume", 0, "/dev/vda")]


async def test_an_image_may_stand_for_volumes(api) -> None:
    """As createImage makes one of a server that boots from a volume."""
    await api.flavor("1", disk=0)
    api.volumes.snapshots[OTHER] = await api.volumes.create_snapshot(CALLERS["member"], "k", VOLUME, "s", "")
    mapping = [{"source_type": "snapshot", "snapshot_id": OTHER, "destination_type": "volume", "boot_index": 0, "volume_size": 2}]
    api.images.shelf[MISSING] = image(
        MISSING, size=0, disk_format=None, properties={"block_device_mapping": json.dumps(mapping), "bdm_v2": "True"}
    )
    sent_by_clients = {"uuid": MISSING, "source_type": "image", "destination_type": "local", "boot_index": 0}
    body = BODY | {"imageRef": MISSING, "block_device_mapping_v2": [sent_by_clients]}
    made = await api.post("/servers", {"server": body})
    assert made.status == 202, made
    assert [(d["source"], d["snapshot_id"], d["size"]) for d in await devices(api)] == [("snapshot", OTHER, 2)]


VOLUME_DEVICE = {"source_type": "volume", "destination_type": "volume", "uuid": VOLUME, "boot_index": 0}
IMAGE_DEVICE = VOLUME_DEVICE | {"source_type": "image", "uuid": IMAGE}
LOCAL_DEVICE = IMAGE_DEVICE | {"destination_type": "local"}
SEQUENCE = "Boot sequence for the instance and image/block device mapping combination is not valid."


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"imageRef": "", "block_device_mapping_v2": [VOLUME_DEVICE | {"boot_index": 1}]}, SEQUENCE),
        ({"imageRef": "", "block_device_mapping_v2": [VOLUME_DEVICE | {"boot_index": None}]}, SEQUENCE),
        ({"block_device_mapping_v2": [LOCAL_DEVICE, VOLUME_DEVICE]}, SEQUENCE),
        ({"imageRef": "", "block_device_mapping_v2": [VOLUME_DEVICE, VOLUME_DEVICE | {"uuid": OTHER}]}, SEQUENCE),
        ({"imageRef": "", "block_device_mapping_v2": [VOLUME_DEVICE | {"uuid": MISSING}]}, f"failed to get volume {MISSING}."),
        ({"imageRef": "", "block_device_mapping_v2": [VOLUME_DEVICE | {"volume_type": "files"}]}, "volume type to existing volume"),
        ({"imageRef": "", "block_device_mapping_v2": [{"source_type": "snapshot", "uuid": MISSING, "boot_index": 0}]},
         f"failed to get snapshot {MISSING}."),
        ({"imageRef": "", "block_device_mapping_v2": [IMAGE_DEVICE]},
         "need to have a non-zero size specified"),
        ({"imageRef": "", "block_device_mapping_v2": [IMAGE_DEVICE | {"uuid": MISSING, "volume_size": 1}]},
         f"failed to get image {MISSING}."),
        ({"imageRef": "", "block_device_mapping_v2": [{"source_type": "blank", "destination_type": "volume", "boot_index": 0}]},
         "need to have non-zero size"),
        ({"block_device_mapping_v2": [{"source_type": "blank", "destination_type": "volume", "volume_size": 1, "volume_type": "gold"}]},
         "volume type id or name gold could not be found"),
        ({"block_device_mapping_v2": [{"source_type": "volume", "destination_type": "local", "uuid": VOLUME}]}, "Mapping volume to local"),
        ({"block_device_mapping_v2": [{"source_type": "volume"}]}, "Missing device UUID."),
        ({"block_device_mapping_v2": [{"source_type": "blank", "uuid": VOLUME}]}, "Invalid device UUID."),
        ({"block_device_mapping_v2": [{"destination_type": "volume"}]}, "Missing source_type field."),
        ({"block_device_mapping_v2": [VOLUME_DEVICE | {"boot_index": -1, "device_name": "/dev/vda"}]},
         "same device name as the root device vda"),
        ({"block_device_mapping_v2": [VOLUME_DEVICE | {"boot_index": -1}], "max_count": 2}, "volumes to multiple instances"),
        ({"block_device_mapping": [{"device_name": "vdb"}]}, "Unrecognized legacy format."),
    ],
)  # fmt: skip
async def test_devices_that_make_no_sense_are_refused(api, fields, words) -> None:
    await api.flavor("1")
    status, message = await refused(api, fields)
    assert (status, words in message) == (400, True), message
    assert api.volumes.held == {}


async def test_volumes_that_cannot_be_booted_from_are_refused(api) -> None:
    await api.flavor("1")
    for change, words in (
        ({"bootable": False}, f"Block Device {VOLUME} is not bootable."),
        ({"status": "in-use", "bootable": True}, "status must be 'available'"),
        ({"bootable": True, "image_metadata": {"min_disk": "9"}}, "Volume is smaller than the minimum size"),
        ({"bootable": True, "image_metadata": {"min_ram": "9999"}}, "Flavor's memory is too small"),
        ({"bootable": True, "project_id": "somebody"}, "failed to get volume"),
    ):
        api.volumes.shelf[VOLUME] = volume(VOLUME, **change)
        status, message = await refused(api, {"imageRef": "", "block_device_mapping_v2": [VOLUME_DEVICE]})
        assert (status, words in message) == (400, True), message


# -- the old proxies


async def test_volumes_and_snapshots_of_the_first_versions(api) -> None:
    made = await api.post("/os-volumes", {"volume": {"size": 2, "display_name": "v", "metadata": {"a": "b"}}}, version="2.35")
    assert (made.status, made.body["volume"]["displayName"], made.body["volume"]["attachments"]) == (200, "v", [{}])
    assert made.headers["Location"].endswith(f"/os-volumes/{made.body['volume']['id']}")
    assert len((await api.get("/os-volumes/detail", version="2.35")).body["volumes"]) == 2
    assert len((await api.get("/os-volumes?limit=1", version="2.35")).body["volumes"]) == 1
    assert (await api.get(f"/os-volumes/{VOLUME}", version="2.35")).body["volume"]["id"] == VOLUME
    snapshot = (await api.post("/os-snapshots", {"snapshot": {"volume_id": VOLUME}}, version="2.35")).body["snapshot"]
    assert (snapshot["volumeId"], snapshot["size"]) == (VOLUME, 1)
    assert (await api.get("/os-snapshots", version="2.35")).body["snapshots"] == [snapshot]
    assert (await api.get(f"/os-snapshots/{snapshot['id']}", version="2.35")).status == 200
    assert (await api.delete(f"/os-snapshots/{snapshot['id']}", version="2.35")).status == 202
    assert (await api.delete(f"/os-volumes/{VOLUME}", version="2.35")).status == 202
    assert (await api.post("/os-volumes", {"volume": {"size": 5000}}, version="2.35")).status == 403
    for path in (f"/os-volumes/{MISSING}", f"/os-snapshots/{MISSING}"):
        assert (await api.get(path, version="2.35")).status == 404
        assert (await api.delete(path, version="2.35")).status == 404
    for path in ("/os-volumes", "/os-volumes/detail", "/os-snapshots", f"/os-volumes/{VOLUME}"):
        assert (await api.get(path, version="2.36")).status == 404


async def test_a_host_takes_part_in_snapshots_of_volumes(api) -> None:
    info = {"snapshot_id": OTHER, "type": "qcow2", "new_file": "x", "id": OTHER}
    asked, path = {"snapshot": {"volume_id": VOLUME, "create_info": info}}, f"/os-assisted-volume-snapshots/{OTHER}"
    assert (await api.post("/os-assisted-volume-snapshots", asked)).status == 403
    answer = await api.post("/os-assisted-volume-snapshots", asked, "service")
    assert (answer.status, answer.message) == (400, f"No volume Block Device Mapping with id {VOLUME}.")
    server, _ = await with_volume(api)
    answer = await api.post("/os-assisted-volume-snapshots", asked, "service")
    assert (answer.status, answer.body) == (200, {"snapshot": {"id": OTHER, "volumeId": VOLUME}})
    given = {"volume_id": VOLUME, "snapshot_id": OTHER}
    assert api.starter.begun[-1] == ("create_volume_snapshot", server, given | {"info": info})
    await api.settle(server, host=None)
    answer = await api.post("/os-assisted-volume-snapshots", asked, "service")
    assert (answer.status, answer.message) == (400, f"Instance {server} is not ready")
    await api.settle(server, "stopped")
    assert (await api.delete(path, "service")).status == 400
    for bad in ("{}", "[]", f'{{"volume_id":"{MISSING}"}}', f'{{"volume_id":"{VOLUME}","file_to_merge":5}}'):
        assert (await api.delete(f"{path}?delete_info={bad}", "service")).status == 400, bad
    info = {"volume_id": VOLUME, "type": "qcow2", "file_to_merge": "a", "merge_target_file": "b"}
    query = f"{path}?delete_info={json.dumps(info, separators=(',', ':'))}"
    assert "vm_state stopped" in (await api.delete(query, "service")).message
    await api.settle(server)
    assert (await api.delete(query, "service")).status == 204
    assert api.starter.begun[-1] == ("delete_volume_snapshot", server, given | {"info": info})


# -- operations on a server that boots from a volume


async def on_volume(api, **facts: Any) -> str:
    api.volumes.shelf[VOLUME] = volume(VOLUME, status="in-use", size=3, image_metadata={"image_id": IMAGE} | facts)
    server, _ = await with_volume(api, boot_index=0, device="/dev/vda")
    return server


async def test_what_keeps_a_server_on_a_volume(api) -> None:
    server = await on_volume(api)
    answer = await api.post(f"/servers/{server}/action", {"createBackup": {"name": "b", "backup_type": "daily", "rotation": 1}})
    assert (answer.status, answer.message) == (400, "Backup is not supported for volume-backed instances.")
    assert (await api.post(f"/servers/{server}/action", {"shelve": None})).status == 202
    assert api.starter.begun[-1] == ("shelve", server, {"image_id": None})
    await api.settle(server)
    assert (await api.post(f"/servers/{server}/action", {"createImage": {"name": "i"}}, version="2.45")).status == 202
    kind, _, given = api.starter.begun[-1]
    assert (kind, given["of_volumes"]) == ("createImage", True)


async def test_a_server_on_a_volume_is_rebuilt_with_another_image_since_2_93(api) -> None:
    server = await on_volume(api)
    api.images.shelf[OTHER] = image(OTHER)
    for version, wanted, status in (("2.92", OTHER, 400), ("2.92", IMAGE, 202), ("2.93", OTHER, 202)):
        answer = await api.post(f"/servers/{server}/action", {"rebuild": {"imageRef": wanted}}, version=version)
        assert answer.status == status, answer
        if status == 202:
            assert api.starter.begun[-1][2].get("reimage", False) is (version == "2.93")
            assert answer.body["server"]["image"] == ""
            await api.settle(server)
    assert [d["volume_id"] for d in await devices(api)] == [VOLUME]


async def test_volumes_of_others_are_of_no_use(api) -> None:
    """SEC-033: to swap is for administrators alone, who see all volumes."""
    server, _ = await with_volume(api)
    await api.flavor("none", disk=0)
    held = dict(api.volumes.held)
    api.volumes.shelf[OTHER] = msgspec.structs.replace(volume(OTHER), project_id="somebody")
    device = {"source_type": "volume", "destination_type": "volume", "uuid": OTHER, "boot_index": 0}
    boot = {"server": {"name": "x", "flavorRef": "none", "block_device_mapping_v2": [device]}}
    path = f"/servers/{server}/os-volume_attachments"
    for answer in (
        await api.post("/servers", boot),
        await attach(api, server, {"volumeId": OTHER}),
        await api.put(f"{path}/{VOLUME}", {"volumeAttachment": {"volumeId": OTHER}}),
    ):
        assert answer.status in (400, 403, 404), answer
    assert (api.volumes.held, api.volumes.shelf[OTHER].status) == (held, "available")
