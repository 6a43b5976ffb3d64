"""The old proxy to images: a story in front of the built-in image service, and what it refuses."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from nova_async.services.image import Image
from nova_async.services.image.blank import blank_qcow2
from tests.api.conftest import CALLERS, Api
from tests.api.proxied import proxied

__all__ = ["proxied"]

NOBODYS = "00000000-0000-4000-8000-000000000000"
OLD, TOO_NEW = "2.35", "2.36"


async def made(api: Api, name: str, caller: str = "member", **fields: Any) -> Image:
    properties = fields.pop("properties", {})
    return await api.parts.images.create(CALLERS[caller], name, disk_format="qcow2", properties=properties, **fields)


async def test_an_image_is_shown_in_words_of_old(proxied: Api) -> None:
    server = "5f3c1a1e-8a3c-4f3a-9d5e-3f1f6f4d2b11"
    image = await made(proxied, "snap", min_ram=64, min_disk=2, properties={"instance_uuid": server, "auto_disk_config": "True"})

    shown = (await proxied.get(f"/images/{image.id}", version=OLD)).body["image"]

    assert (shown["id"], shown["name"], shown["minRam"], shown["minDisk"]) == (image.id, "snap", 64, 2)
    assert (shown["status"], shown["progress"], shown["OS-EXT-IMG-SIZE:size"]) == ("SAVING", 25, None)
    assert (shown["created"], shown["updated"]) == (image.created_at, image.updated_at)
    assert shown["metadata"] == image.properties
    assert shown["OS-DCF:diskConfig"] == "AUTO"
    assert shown["server"]["id"] == server
    assert [link["rel"] for link in shown["server"]["links"]] == ["self", "bookmark"]
    assert [link["rel"] for link in shown["links"]] == ["self", "bookmark", "alternate"]
    assert shown["links"][2]["href"].endswith(f"/image/images/{image.id}")
    plain = (await proxied.get(f"/images/{(await made(proxied, 'plain')).id}")).body["image"]
    assert set(shown) - set(plain) == {"server", "OS-DCF:diskConfig"}


async def test_lists_are_filtered_and_paged(proxied: Api) -> None:
    server = "5f3c1a1e-8a3c-4f3a-9d5e-3f1f6f4d2b11"
    one, two = await made(proxied, "one", min_ram=5), await made(proxied, "two", properties={"color": "red", "instance_uuid": server})
    await made(proxied, "theirs", "stranger")

    async def names(query: str) -> list[str]:
        return sorted(image["name"] for image in (await proxied.get(f"/images{query}")).body["images"])

    assert await names("") == ["one", "two"]
    assert await names("?name=one") == ["one"]
    assert await names("?status=QUEUED") == ["one", "two"]
    assert await names("?status=active") == []
    assert await names("?property-color=red") == ["two"]
    assert await names(f"?server=http://host/v2.1/servers/{server}") == ["two"]
    assert await names("?minRam=5") == ["one"]
    assert await names("?changes-since=2000-01-01T00:00:00Z") == ["one", "two"]
    assert await names("?changes-since=2100-01-01T00:00:00Z") == []
    assert await names("?anything=else") == ["one", "two"]

    first = (await proxied.get("/images?limit=1")).body
    assert [image["id"] for image in first["images"]] == [two.id]
    assert set(first["images"][0]) == {"id", "name", "links"}
    [link] = first["images_links"]
    assert (link["rel"], f"limit=1&marker={two.id}" in link["href"]) == ("next", True)
    rest = (await proxied.get(f"/images/detail?page_size=2&marker={two.id}")).body
    assert [image["id"] for image in rest["images"]] == [one.id]
    assert "images_links" not in rest
    assert rest["images"][0]["status"] == "SAVING"


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "page_size=-1", f"marker={NOBODYS}", "changes-since=yesterday", "minRam=much"])
async def test_lists_refuse_what_makes_no_sense(proxied: Api, query: str) -> None:
    answer = await proxied.get(f"/images?{query}")
    assert answer.status == 400, answer
    assert answer.message


async def test_metadata_are_the_properties(proxied: Api) -> None:
    image = await made(proxied, "one", properties={"a": "1"})
    path = f"/images/{image.id}/metadata"

    assert (await proxied.get(path, version="2.38")).body == {"metadata": {"a": "1"}}
    assert (await proxied.post(path, {"metadata": {"b": "2", "a": "3"}})).body == {"metadata": {"a": "3", "b": "2"}}
    assert (await proxied.get(f"{path}/b")).body == {"meta": {"b": "2"}}
    assert (await proxied.put(f"{path}/b", {"meta": {"b": "5"}})).body == {"meta": {"b": "5"}}
    assert (await proxied.put(path, {"metadata": {"c": "4"}})).body == {"metadata": {"c": "4"}}
    assert (await proxied.get(path)).body == {"metadata": {"c": "4"}}
    assert (await proxied.delete(f"{path}/c")).status == 204
    assert (await proxied.get(path)).body == {"metadata": {}}

    assert (await proxied.get(f"{path}/c")).status == 404
    gone = await proxied.delete(f"{path}/c")
    assert (gone.status, gone.message) == (404, "Invalid metadata key")
    mismatch = await proxied.put(f"{path}/x", {"meta": {"y": "1"}})
    assert (mismatch.status, mismatch.message) == (400, "Request body and URI mismatch")
    assert (await proxied.post(path, {"metadata": {"x": 1}})).status == 400
    missing = await proxied.get(f"/images/{NOBODYS}/metadata")
    assert (missing.status, missing.message) == (404, "Image not found.")


async def test_metadata_have_a_limit(proxied: Api) -> None:
    path = f"/images/{(await made(proxied, 'one')).id}/metadata"
    refused = await proxied.post(path, {"metadata": {f"k{n}": "v" for n in range(129)}})
    assert (refused.status, refused.message) == (403, "Maximum number of metadata items exceeds 128")
    assert (await proxied.get(path)).body == {"metadata": {}}


async def test_what_is_anothers_stays_theirs(proxied: Api) -> None:
    theirs = await made(proxied, "theirs", "stranger", properties={"a": "1"})
    public = await made(proxied, "public", "admin", visibility="public")
    for method, path, body in (
        ("GET", f"/images/{theirs.id}", None),
        ("DELETE", f"/images/{theirs.id}", None),
        ("GET", f"/images/{theirs.id}/metadata", None),
        ("PUT", f"/images/{theirs.id}/metadata", {"metadata": {}}),
        ("GET", "/images/nonsense", None),
    ):
        answer = await proxied.ask(method, path, "member", body=body)
        assert (answer.status, answer.message) == (404, "Image not found."), (method, path)

    assert (await proxied.get(f"/images/{public.id}", "stranger")).status == 200
    refused = await proxied.delete(f"/images/{public.id}", "stranger")
    assert (refused.status, refused.message) == (403, "You are not allowed to delete the image.")
    assert (await proxied.put(f"/images/{public.id}/metadata", {"metadata": {}}, "stranger")).status == 403
    assert (await proxied.delete(f"/images/{public.id}", "admin")).status == 204
    assert (await proxied.get(f"/images/{public.id}")).status == 404


async def test_the_proxy_ends_where_it_ended(proxied: Api) -> None:
    image = await made(proxied, "one")
    for path in ("/images", "/images/detail", f"/images/{image.id}"):
        assert (await proxied.get(path, version=OLD)).status == 200
        assert (await proxied.get(path, version=TOO_NEW)).status == 404
    assert (await proxied.delete(f"/images/{image.id}", version=TOO_NEW)).status == 404
    assert (await proxied.get(f"/images/{image.id}/metadata", version="2.39")).status == 404


@pytest.mark.parametrize("action", ["rebuild", "rescue"])
async def test_sec_010_nobody_boots_an_image_that_the_image_service_does_not_show_them(proxied: Api, action: str) -> None:
    """SEC-010: whatever hosts keep of it. One that is not there is refused in the same words."""
    theirs = await made(proxied, "theirs", "stranger")
    proxied.parts.networks = proxied.networks
    own = await made(proxied, "own", "member", container_format="bare")
    await proxied.parts.images.upload(CALLERS["member"], own.id, one_piece(blank_qcow2(1)))
    server = await proxied.server(imageRef=own.id)
    key = "imageRef" if action == "rebuild" else "rescue_image_ref"
    said = []
    for image in (theirs.id, NOBODYS):
        asked = {"name": "web", "imageRef": image, "flavorRef": "1", "networks": "none"}
        for answer in (await proxied.post("/servers", {"server": asked}), await proxied.act(server, action, {key: image})):
            assert answer.status in (400, 404), answer
            said.append(answer.message.replace(image, "IT"))
    assert said[:2] == said[2:]
    assert proxied.starter.begun == [("create", server, {})]


async def one_piece(data: bytes) -> AsyncIterator[bytes]:
    yield data
