"""Stories about records: create, see, change, share, delete."""

import asyncio
from typing import Any

import pytest

from .conftest import PEOPLE, QCOW2, Client, Service

MISSING = "00000000-0000-4000-8000-000000000000"


async def test_versions_are_told_to_everybody(service: Service) -> None:
    nobody = service.client("")
    choices = await nobody("GET", "/", 300)
    assert choices == await nobody("GET", "", 300) == await nobody("GET", "/versions", 200)
    assert choices["versions"][0]["status"] == "CURRENT"
    assert choices["versions"][0]["links"][0]["href"] == f"{service.url}/v2/"


async def test_without_a_token_nothing_else_is_told(service: Service) -> None:
    assert (await service.client("")("GET", "/v2/images", 401))["code"] == "401 Unauthorized"
    await service.client("stolen")("GET", "/v2/images", 401)


async def test_an_image_is_created_shown_changed_and_deleted(anna: Client, ben: Client, service: Service) -> None:
    created = await anna(
        "POST",
        "/v2/images",
        201,
        json={"name": "disk", "disk_format": "qcow2", "container_format": "bare", "min_disk": 2, "tags": ["x", "x"], "hw_disk_bus": "scsi"},
    )
    image_id = created["id"]
    assert created["status"] == "queued"
    assert created["owner"] == "p-a"
    assert created["tags"] == ["x"]
    assert created["hw_disk_bus"] == "scsi"
    assert created["size"] is None
    assert created["file"] == f"/v2/images/{image_id}/file"

    changed = await anna.patch(
        image_id,
        200,
        {"op": "replace", "path": "/name", "value": "renamed"},
        {"op": "add", "path": "/os_distro", "value": "debian"},
        {"op": "remove", "path": "/hw_disk_bus"},
        {"op": "replace", "path": "/tags", "value": ["y"]},
        {"op": "add", "path": "/tags/-", "value": "z"},
    )
    assert (changed["name"], changed["os_distro"], changed["tags"]) == ("renamed", "debian", ["y", "z"])
    assert "hw_disk_bus" not in changed
    assert await anna.show(image_id) == changed

    await ben("GET", f"/v2/images/{image_id}", 404)
    await ben("DELETE", f"/v2/images/{image_id}", 404)
    await anna("DELETE", f"/v2/images/{image_id}", 204)
    await anna("GET", f"/v2/images/{image_id}", 404)


async def test_deleting_an_image_deletes_its_bytes(anna: Client, service: Service) -> None:
    image_id = await anna.active()
    assert len(service.files()) == 1
    await anna("DELETE", f"/v2/images/{image_id}", 204)
    assert service.files() == []


async def test_a_protected_image_is_not_deleted(anna: Client) -> None:
    image_id = await anna.image(protected=True)
    await anna("DELETE", f"/v2/images/{image_id}", 403)
    await anna.patch(image_id, 200, {"op": "replace", "path": "/protected", "value": False})
    await anna("DELETE", f"/v2/images/{image_id}", 204)


async def test_only_an_administrator_publishes(admin: Client, anna: Client, ben: Client) -> None:
    await anna("POST", "/v2/images", 403, json={"name": "mine", "visibility": "public"})
    image_id = await anna.image()
    publish = {"op": "replace", "path": "/visibility", "value": "public"}
    await anna.patch(image_id, 403, publish)
    await admin.patch(image_id, 200, publish)
    assert (await ben.show(image_id))["visibility"] == "public"
    await ben.patch(image_id, 403, {"op": "replace", "path": "/name", "value": "x"})
    await ben("DELETE", f"/v2/images/{image_id}", 403)


async def test_a_member_names_no_other_owner(anna: Client, admin: Client) -> None:
    await anna("POST", "/v2/images", 403, json={"name": "x", "owner": "p-b"})
    given = await admin("POST", "/v2/images", 201, json={"name": "x", "owner": "p-a"})
    assert (await anna.show(given["id"]))["owner"] == "p-a"
    await anna.patch(given["id"], 403, {"op": "replace", "path": "/owner", "value": "p-b"})


async def test_a_reader_changes_nothing(service: Service, anna: Client) -> None:
    reader = service.client("reader")
    image_id = await anna.image()
    await reader.show(image_id)
    await reader("POST", "/v2/images", 403, json={"name": "x"})
    await reader.patch(image_id, 403, {"op": "replace", "path": "/name", "value": "x"})
    await reader.send(image_id, QCOW2, 403)
    await reader("DELETE", f"/v2/images/{image_id}", 403)


WRONG_RECORDS: list[tuple[Any, int]] = [
    ({"owner": []}, 400),
    ({"owner": 0}, 400),
    ({"name": 7}, 400),
    ({"name": "x" * 256}, 400),
    ({"disk_format": "qed"}, 400),
    ({"disk_format": ["raw"]}, 400),
    ({"container_format": "docker"}, 400),
    ({"disk_format": "ami", "container_format": "bare"}, 400),
    ({"visibility": "secret"}, 400),
    ({"min_disk": -1}, 400),
    ({"min_disk": True}, 400),
    ({"min_ram": 2**31}, 400),
    ({"min_ram": None}, 400),
    ({"protected": "yes"}, 400),
    ({"tags": "x"}, 400),
    ({"tags": [""]}, 400),
    ({"tags": [f"t{n}" for n in range(129)]}, 413),
    ({"os_version": 12}, 400),
    ({"os_version": None}, 400),
    ({"x" * 256: "v"}, 400),
    ({f"k{n}": "v" for n in range(129)}, 413),
    ({"id": "17"}, 400),
    ({"status": "active"}, 403),
    ({"size": 5}, 403),
    ({"locations": []}, 403),
    ({"os_glance_failed_import": "x"}, 403),
    ([], 400),
]


async def test_a_wrong_record_is_refused(anna: Client) -> None:
    for body, status in WRONG_RECORDS:
        await anna("POST", "/v2/images", status, json=body)
    assert (await anna("GET", "/v2/images", 200))["images"] == []


async def test_an_id_is_given_once(anna: Client, ben: Client) -> None:
    await anna("POST", "/v2/images", 201, json={"id": MISSING})
    assert "exists" in (await ben("POST", "/v2/images", 409, json={"id": MISSING}))["message"]


WRONG_PATCHES: list[tuple[dict[str, Any], int]] = [
    ({"op": "remove", "path": "/name"}, 403),
    ({"op": "replace", "path": "/status", "value": "active"}, 403),
    ({"op": "replace", "path": "/os_hash_value", "value": "0"}, 403),
    ({"op": "add", "path": "/locations/-", "value": {}}, 400),
    ({"op": "add", "path": "/locations", "value": []}, 403),
    ({"op": "replace", "path": "/nothing", "value": "x"}, 409),
    ({"op": "remove", "path": "/nothing"}, 409),
    ({"op": "move", "path": "/name", "value": "x"}, 400),
    ({"op": "replace", "path": "name", "value": "x"}, 400),
    ({"op": "replace", "path": "/name/", "value": "x"}, 400),
    ({"op": "replace", "path": "/name"}, 400),
    ({"op": "add", "path": "/os_version", "value": 12}, 400),
]


async def test_a_wrong_patch_is_refused_whole(anna: Client) -> None:
    image_id = await anna.image()
    before = await anna.show(image_id)
    for operation, status in WRONG_PATCHES:
        await anna.patch(image_id, status, {"op": "replace", "path": "/name", "value": "half"}, operation)
        assert await anna.show(image_id) == before


async def test_a_patch_has_its_own_media_type(anna: Client) -> None:
    image_id = await anna.image()
    await anna("PATCH", f"/v2/images/{image_id}", 415, json=[])
    old = {"Content-Type": "application/openstack-images-v2.0-json-patch"}
    changed = await anna("PATCH", f"/v2/images/{image_id}", 200, json=[{"replace": "/name", "value": "old"}], headers=old)
    assert changed["name"] == "old"


async def test_the_format_stays_once_there_are_data(anna: Client) -> None:
    image_id = await anna.active()
    await anna.patch(image_id, 403, {"op": "replace", "path": "/disk_format", "value": "raw"})


async def test_tags_come_and_go(anna: Client, ben: Client) -> None:
    image_id = await anna.image()
    await anna("PUT", f"/v2/images/{image_id}/tags/blue", 204)
    await anna("PUT", f"/v2/images/{image_id}/tags/blue", 204)
    assert (await anna.show(image_id))["tags"] == ["blue"]
    await ben("PUT", f"/v2/images/{image_id}/tags/red", 404)
    await anna("DELETE", f"/v2/images/{image_id}/tags/blue", 204)
    await anna("DELETE", f"/v2/images/{image_id}/tags/blue", 404)


async def test_a_shared_image_is_seen_by_its_members_and_listed_once_accepted(anna: Client, ben: Client) -> None:
    image_id = await anna.active()
    members = f"/v2/images/{image_id}/members"
    await ben("GET", members, 404)
    added = await anna("POST", members, 200, json={"member": "p-b"})
    assert (added["member_id"], added["status"]) == ("p-b", "pending")
    await anna("POST", members, 409, json={"member": "p-b"})

    assert (await ben.show(image_id))["id"] == image_id
    assert await listed(ben) == []
    assert await listed(ben, visibility="shared", member_status="pending") == [image_id]
    await anna("PUT", f"{members}/p-b", 403, json={"status": "accepted"})
    await ben("PUT", f"{members}/p-b", 400, json={"status": "perhaps"})
    await ben("PUT", f"{members}/p-b", 200, json={"status": "accepted"})
    assert await listed(ben) == [image_id]
    await ben.patch(image_id, 403, {"op": "replace", "path": "/name", "value": "x"})
    await ben("POST", members, 403, json={"member": "p-c"})
    await ben("DELETE", f"{members}/p-b", 403)

    await anna("DELETE", f"{members}/p-b", 204)
    await ben("GET", f"/v2/images/{image_id}", 404)


async def test_a_member_sees_only_itself_among_the_members(anna: Client, ben: Client) -> None:
    image_id = await anna.image()
    for member in ("p-b", "p-c"):
        await anna("POST", f"/v2/images/{image_id}/members", 200, json={"member": member})
    assert len((await anna("GET", f"/v2/images/{image_id}/members", 200))["members"]) == 2
    assert [m["member_id"] for m in (await ben("GET", f"/v2/images/{image_id}/members", 200))["members"]] == ["p-b"]
    await ben("GET", f"/v2/images/{image_id}/members/p-c", 404)


async def test_a_private_image_has_no_members(anna: Client) -> None:
    image_id = await anna.image(visibility="private")
    await anna("POST", f"/v2/images/{image_id}/members", 403, json={"member": "p-b"})
    await anna("GET", f"/v2/images/{image_id}/members", 403)


async def test_a_community_image_is_found_by_those_who_ask_for_it(anna: Client, ben: Client) -> None:
    image_id = await anna.image(visibility="community")
    assert await listed(anna) == [image_id]
    assert await listed(ben) == []
    assert await listed(ben, visibility="community") == [image_id]
    assert (await ben.show(image_id))["id"] == image_id


async def test_a_hidden_image_is_listed_only_when_asked_for(anna: Client) -> None:
    image_id = await anna.image(os_hidden=True)
    assert await listed(anna) == []
    assert await listed(anna, os_hidden="true") == [image_id]


async def test_an_administrator_lists_what_others_keep_private(anna: Client, admin: Client, ben: Client) -> None:
    image_id = await anna.image(visibility="private")
    assert await listed(admin) == [image_id]
    assert await listed(admin, owner="p-b") == []
    assert await listed(ben, owner="p-a") == []


async def test_filters_choose(anna: Client) -> None:
    one = await anna.active(name="one", tags=["t", "u"], os_distro="debian", min_ram=5)
    two = await anna.image(name="two", disk_format="raw", tags=["t"], protected=True)
    for query, expected in (
        ({"name": "one"}, [one]),
        ({"name": "in:one,two"}, [one, two]),
        ({"name": 'in:"one",none'}, [one]),
        ({"id": f"in:{two},{MISSING}"}, [two]),
        ({"id": "not-a-uuid"}, []),
        ({"status": "active"}, [one]),
        ({"status": "in:active,queued"}, [one, two]),
        ({"disk_format": "raw"}, [two]),
        ({"container_format": "bare"}, [one, two]),
        ({"protected": "true"}, [two]),
        ({"tag": "t"}, [one, two]),
        ({"tag": "u"}, [one]),
        ({"os_distro": "debian"}, [one]),
        ({"os_distro": "arch"}, []),
        ({"size_min": "1"}, [one]),
        ({"size_max": "1"}, []),
        ({"min_ram": "5"}, [one]),
        ({"visibility": "shared"}, [one, two]),
        ({"visibility": "public"}, []),
        ({"created_at": "gt:2020-01-01T00:00:00Z"}, [one, two]),
        ({"created_at": "lt:2020-01-01T00:00:00Z"}, []),
        ({"updated_at": "gte:2020-01-01T00:00:00"}, [one, two]),
        ({"os_hash_value": (await anna.show(one))["os_hash_value"]}, [one]),
    ):
        assert sorted(await listed(anna, **query)) == sorted(expected), query


WRONG_QUERIES = [
    "limit=-1",
    "limit=x",
    "marker=x",
    f"marker={MISSING}",
    "sort=color",
    "sort=name:up",
    "sort_key=name&sort_dir=up",
    "sort=name&sort_key=name",
    "visibility=none",
    "member_status=x",
    "protected=maybe",
    "size_min=-3",
    "created_at=gt:then",
    "created_at=near:2020-01-01T00:00:00Z",
    "name=%00",
]


async def test_a_wrong_query_is_refused(anna: Client) -> None:
    for query in WRONG_QUERIES:
        await anna("GET", f"/v2/images?{query}", 400)


async def test_pages_follow_each_other_in_every_order(anna: Client) -> None:
    ids = [await anna.image(name=name, disk_format=form) for name, form in (("c", "raw"), ("a", "raw"), ("b", "qcow2"), ("a", "qcow2"))]
    expected = {
        "sort=created_at:asc": ids,
        "": ids[::-1],
        "sort=name:asc,created_at:desc": [ids[3], ids[1], ids[2], ids[0]],
        "sort_key=disk_format&sort_key=name&sort_dir=asc": [ids[3], ids[2], ids[1], ids[0]],
        "sort=size": ids[::-1],
    }
    for query, order in expected.items():
        seen, path = [], f"/v2/images?limit=3&{query}"
        while path:
            page = await anna("GET", path, 200)
            seen += [i["id"] for i in page["images"]]
            path = page.get("next")
        assert seen == order, query


async def test_a_deactivated_image_is_withheld(anna: Client, admin: Client) -> None:
    image_id = await anna.active()
    await anna("POST", f"/v2/images/{image_id}/actions/deactivate", 204)
    await anna("POST", f"/v2/images/{image_id}/actions/deactivate", 204)
    assert (await anna.show(image_id))["status"] == "deactivated"
    await anna("GET", f"/v2/images/{image_id}/file", 403)
    assert await admin("GET", f"/v2/images/{image_id}/file", 200) == QCOW2
    await anna("POST", f"/v2/images/{image_id}/actions/reactivate", 204)
    assert await anna("GET", f"/v2/images/{image_id}/file", 200) == QCOW2
    await anna("POST", f"/v2/images/{await anna.image()}/actions/deactivate", 400)


async def test_errors_come_in_the_form_that_is_accepted(anna: Client) -> None:
    path = "/v2/images/<b>"
    assert (await anna("GET", path, 404))["title"] == "Not Found"
    page = (await anna("GET", path, 404, headers={"Accept": "text/html"})).decode()
    assert "<h1>404 Not Found</h1>" in page
    assert "<b>" not in page
    await anna("GET", "/v2/nothing", 404)
    await anna("POST", f"/v2/images/{MISSING}", 405)
    await anna("POST", "/v2/images", 400, data="{")


async def test_the_service_describes_itself(anna: Client) -> None:
    for name in ("image", "images", "member", "members"):
        assert (await anna("GET", f"/v2/schemas/{name}", 200))["name"] == name
    assert (await anna("GET", "/v2/schemas/metadefs/namespace", 200))["name"] == "namespace"
    await anna("GET", "/v2/schemas/nothing", 404)
    await anna("GET", "/v2/schemas/metadefs/nothing", 404)
    assert (await anna("GET", "/v2/info/import", 200))["import-methods"]["value"] == ["glance-direct"]
    assert len((await anna("GET", "/v2/info/stores", 200))["stores"]) == 1
    assert (await anna("GET", "/v2/tasks", 200))["tasks"] == []
    assert (await anna("GET", "/v2/metadefs/namespaces", 200))["namespaces"] == []


async def test_a_project_has_a_bounded_number_of_images(service: Service, anna: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-060"""
    monkeypatch.setattr("nova_async.services.image.rules.MAX_IMAGES", 2)
    assert sorted(await asyncio.gather(*(made(anna, "/v2/images", 201, name=f"i{n}") for n in range(6)))) == [False] * 4 + [True] * 2
    await anna("POST", "/v2/images", 413, json={"name": "one too many"})
    await service.images.create(PEOPLE["b"], "other", disk_format="raw", properties={})


async def test_an_image_has_a_bounded_number_of_members_tags_and_properties(anna: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-060"""
    for limit in ("MAX_MEMBERS", "MAX_TAGS", "MAX_PROPERTIES"):
        monkeypatch.setattr(f"nova_async.services.image.rules.{limit}", 3)
    image_id = await anna.image()
    before = len(await anna.show(image_id))
    path = f"/v2/images/{image_id}"
    members = await asyncio.gather(*(made(anna, f"{path}/members", 200, member=f"p-{n}") for n in range(8)))
    assert (sum(members), len((await anna("GET", f"{path}/members", 200))["members"])) == (3, 3)

    async def tagged(number: int) -> bool:
        try:
            await anna("PUT", f"{path}/tags/t{number}", 204)
        except AssertionError:
            return False
        return True

    assert sum(await asyncio.gather(*(tagged(n) for n in range(8)))) == 3
    assert len((await anna.show(image_id))["tags"]) == 3
    for n in range(3):
        await anna.patch(image_id, 200, {"op": "add", "path": f"/own{n}", "value": "x"})
    await anna.patch(image_id, 413, {"op": "add", "path": "/own3", "value": "x"})
    assert len(await anna.show(image_id)) == before + 3


async def made(client: Client, path: str, status: int, **fields: str) -> bool:
    try:
        await client("POST", path, status, json=fields)
    except AssertionError:
        return False
    return True


async def listed(client: Client, **query: str) -> list[str]:
    return [i["id"] for i in (await client("GET", "/v2/images", 200, params=query))["images"]]
