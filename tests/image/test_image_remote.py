"""The client of a remote image service, against our own service over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from nova_async.context import Context, service_context
from nova_async.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge, Unavailable
from nova_async.services.image.remote import RemoteImages
from nova_async.world import RealWorld

from .conftest import PEOPLE, QCOW2, Client, Service

RAW = bytes(range(256)) * 12_000
ANNA, BEN = PEOPLE["a"], PEOPLE["b"]


class OwnToken:
    async def token(self) -> str:
        return "admin"

    def forget(self, token: str) -> None:
        return None


@pytest.fixture
async def remote(service: Service, world: RealWorld) -> AsyncIterator[RemoteImages]:
    images = RemoteImages(service.url, OwnToken(), world)
    yield images
    await images.close()


async def stream(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


async def test_a_snapshot_is_made_filled_read_and_deleted(remote: RemoteImages, anna: Client) -> None:
    queued = await remote.create(ANNA, "snapshot", disk_format="raw", properties={"image_type": "snapshot"}, min_disk=1)
    assert (queued.status, queued.owner, queued.min_disk, queued.properties) == ("queued", "p-a", 1, {"image_type": "snapshot"})
    with pytest.raises(Conflict):
        await anext(remote.download(ANNA, queued.id))
    stored = await remote.upload(ANNA, queued.id, stream(RAW))
    assert (stored.status, stored.size, stored.virtual_size) == ("active", len(RAW), len(RAW))
    pieces = [c async for c in remote.download(ANNA, stored.id)]
    assert b"".join(pieces) == RAW
    assert max(map(len, pieces)) <= 2**20
    assert b"".join([c async for c in remote.download(ANNA, stored.id, start=1_000_000)]) == RAW[1_000_000:]
    await remote.delete(ANNA, stored.id)
    await anna("GET", f"/v2/images/{stored.id}", 404)


async def test_builtin_and_remote_show_the_same_record(remote: RemoteImages, service: Service, anna: Client) -> None:
    image_id = await anna.active(tags=["t"], hw_disk_bus="virtio", min_ram=3)
    assert await remote.get(ANNA, image_id) == await service.images.get(ANNA, image_id)


async def test_builtin_and_remote_find_the_same_images(
    remote: RemoteImages, service: Service, anna: Client, ben: Client, admin: Client
) -> None:
    mine = [await anna.image(name="mine", color="red"), await anna.image(name="hidden from lists of others", visibility="community")]
    shared = await ben.image(name="shared")
    await ben("POST", f"/v2/images/{shared}/members", 200, json={"member": "p-a"})
    await anna("PUT", f"/v2/images/{shared}/members/p-a", 200, json={"status": "accepted"})
    public = await admin.image(name="public", visibility="public")
    await ben("POST", f"/v2/images/{await ben.image(name='not accepted')}/members", 200, json={"member": "p-a"})
    await ben.image(name="theirs")
    await ben.image(name="theirs too", visibility="community")

    for query, wanted in (
        ({}, {*mine, shared, public}),
        ({"name": "public"}, {public}),
        ({"color": "red"}, {mine[0]}),
        ({"color": "blue"}, set()),
    ):
        for images in (service.images, remote):
            assert {image.id for image in await images.find(ANNA, query)} == wanted, (images, query)
    for images in (service.images, remote):
        first = await images.find(ANNA, {"limit": "2"})
        rest = await images.find(ANNA, {"limit": "2", "marker": first[-1].id})
        assert {image.id for image in first + rest} == {*mine, shared, public}
        with pytest.raises(Invalid):
            await images.find(ANNA, {"updated_at": "gte:yesterday"})


async def test_builtin_and_remote_set_properties_alike(remote: RemoteImages, service: Service, anna: Client) -> None:
    for images in (service.images, remote):
        image_id = await anna.image(kept="1", changed="2", dropped="3")
        wanted = {"kept": "1", "changed": "4", "a/b~c": "5"}
        assert (await images.set_properties(ANNA, image_id, wanted)).properties == wanted
        assert (await images.set_properties(ANNA, image_id, wanted)).properties == wanted
        assert (await anna.show(image_id))["a/b~c"] == "5"
        with pytest.raises(NotFound):
            await images.set_properties(BEN, image_id, {})
        with pytest.raises(Forbidden):
            await images.set_properties(PEOPLE["reader"], image_id, {})
        with pytest.raises(Forbidden):
            await images.set_properties(ANNA, image_id, {"id": "x"})


async def test_our_credential_lends_nobody_eyes(remote: RemoteImages, anna: Client, ben: Client) -> None:
    image_id = await anna.active()
    for ctx in (BEN, Context(request_id="r")):
        with pytest.raises(NotFound):
            await remote.get(ctx, image_id)
        with pytest.raises(NotFound):
            await anext(remote.download(ctx, image_id))
        with pytest.raises(NotFound):
            await remote.delete(ctx, image_id)
    assert (await remote.get(service_context("r"), image_id)).id == image_id

    await anna("POST", f"/v2/images/{image_id}/members", 200, json={"member": "p-b"})
    assert (await remote.get(BEN, image_id)).id == image_id
    with pytest.raises(Forbidden):
        await remote.delete(BEN, image_id)
    with pytest.raises(Forbidden):
        await remote.delete(PEOPLE["reader"], image_id)


async def test_refusals_keep_their_meaning(remote: RemoteImages, anna: Client) -> None:
    for image_id in ("00000000-0000-4000-8000-000000000000", "../../v2/tasks", "x?y"):
        with pytest.raises(NotFound):
            await remote.get(ANNA, image_id)
    with pytest.raises(Invalid, match="disk_format"):
        await remote.create(ANNA, "x", disk_format="tape", properties={})
    lying = await remote.create(ANNA, "x", disk_format="qcow2", properties={})
    with pytest.raises(Invalid, match="disk_format qcow2"):
        await remote.upload(ANNA, lying.id, stream(b"no such thing" * 100))
    with pytest.raises((TooLarge, Unavailable)):
        await remote.upload(ANNA, lying.id, stream(QCOW2[:512] + b"x" * 2**25))
    with pytest.raises(Conflict):
        await remote.upload(ANNA, await anna.active(), stream(QCOW2))


async def respond(responses: list[Callable[[], web.StreamResponse]]) -> tuple[TestServer, list[str]]:
    """A server that gives each answer once, the last for ever; and the paths it was asked."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return (responses.pop(0) if len(responses) > 1 else responses[0])()

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    return server, asked


IMAGE_ID = "11111111-1111-4111-8111-111111111111"
IMAGE = {"id": IMAGE_ID, "status": "active", "visibility": "public", "owner": "p", "name": None, "locations": [], "hw_rng_model": "virtio"}


async def test_a_question_is_asked_again_while_the_service_is_away(world: RealWorld) -> None:
    server, asked = await respond([lambda: web.Response(status=503), lambda: web.Response(status=502), lambda: web.json_response(IMAGE)])
    async with server:
        images = RemoteImages(str(server.make_url("/")), OwnToken(), world)
        found = await images.get(ANNA, IMAGE_ID)
        await images.close()
    assert (found.id, found.name, found.properties, found.os_hash_algo) == (IMAGE_ID, None, {"hw_rng_model": "virtio"}, None)
    assert len(asked) == 3


async def test_creating_is_never_repeated(world: RealWorld) -> None:
    server, asked = await respond([lambda: web.Response(status=503)])
    async with server:
        images = RemoteImages(str(server.make_url("/")), OwnToken(), world)
        with pytest.raises(Unavailable):
            await images.create(ANNA, "x", disk_format="raw", properties={})
        await images.close()
    assert len(asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:1/elsewhere"}),
        lambda: web.Response(body=b"<html>", content_type="text/html"),
        lambda: web.json_response([1]),
        lambda: web.json_response({"id": 7}),
        lambda: web.Response(status=401),
        lambda: web.Response(status=500, body=b"\xff"),
    ],
    ids=["redirect", "html", "list", "wrong-type", "unauthorized", "broken"],
)
async def test_a_strange_answer_is_unavailable(
    answer: Callable[[], web.Response], world: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEC-013, SEC-079: a redirect is not followed, so that the token goes to nobody else."""
    monkeypatch.setattr("nova_async.services.client.FIRST_PAUSE", 0.001)
    server, asked = await respond([answer])
    async with server:
        images = RemoteImages(str(server.make_url("/")), OwnToken(), world)
        with pytest.raises(Unavailable):
            await images.get(ANNA, IMAGE_ID)
        await images.close()
    assert set(asked) == {f"/v2/images/{IMAGE_ID}"}


async def test_nobody_there_is_unavailable(world: RealWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova_async.services.client.FIRST_PAUSE", 0.001)
    images = RemoteImages(f"http://127.0.0.1:{unused_port()}", OwnToken(), world)
    with pytest.raises(Unavailable):
        await images.get(ANNA, IMAGE_ID)
    await images.close()


async def test_a_download_cut_short_is_told(world: RealWorld) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = b"x" * 500 if b"/file" in head.split(b"\r\n")[0] else web.json_response(IMAGE).body
        kind = "application/octet-stream" if len(body) == 500 else "application/json"
        length = 1000 if len(body) == 500 else len(body)
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        images = RemoteImages(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", OwnToken(), world)
        got = b""
        with pytest.raises(Unavailable):
            async for chunk in images.download(ANNA, IMAGE_ID):
                got += chunk
        await images.close()
    assert len(got) <= 500
