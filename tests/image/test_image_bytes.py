"""Stories about bytes: upload, download, interruption, concurrency, what a crash leaves."""

import asyncio
import fcntl
import hashlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import ClientPayloadError

from nova_async.config import Config
from nova_async.context import service_context
from nova_async.db import Database
from nova_async.errors import Conflict, Gone, Invalid, NotFound
from nova_async.services.image.builtin import BuiltinImages
from nova_async.services.image.inspect import Inspection
from nova_async.world import RealWorld

from .conftest import OCTETS, PEOPLE, QCOW2, Client, Service

RAW = bytes(range(256)) * 12_000  # about 3 MB


async def test_an_upload_makes_the_image_active_with_its_hashes(anna: Client) -> None:
    image_id = await anna.image(disk_format="raw")
    await anna.send(image_id, RAW)
    shown = await anna.show(image_id)
    assert shown["status"] == "active"
    assert shown["size"] == shown["virtual_size"] == len(RAW)
    assert shown["checksum"] == hashlib.md5(RAW).hexdigest()
    assert shown["os_hash_algo"] == "sha512"
    assert shown["os_hash_value"] == hashlib.sha512(RAW).hexdigest()
    assert await anna("GET", f"/v2/images/{image_id}/file", 200) == RAW


async def test_an_empty_qcow2_has_the_size_it_claims(anna: Client) -> None:
    shown = await anna.show(await anna.active())
    assert (shown["size"], shown["virtual_size"]) == (len(QCOW2), 2**20)


@pytest.mark.parametrize(
    ("header", "part", "span"),
    [
        ("bytes=0-99", slice(0, 100), "0-99"),
        ("bytes=1048570-1048600", slice(1048570, 1048601), "1048570-1048600"),
        ("bytes=3071990-", slice(3071990, None), "3071990-3071999"),
        ("bytes=-5", slice(-5, None), "3071995-3071999"),
        ("bytes=10-99999999", slice(10, None), "10-3071999"),
    ],
)
async def test_a_part_is_downloaded(header: str, part: slice, span: str, anna: Client, service: Service) -> None:
    image_id = await anna.active(RAW, disk_format="raw")
    headers = {"X-Auth-Token": "a", "Range": header}
    async with service._session.get(f"{service.url}/v2/images/{image_id}/file", headers=headers) as response:
        assert response.status == 206
        assert response.headers["Content-Range"] == f"bytes {span}/{len(RAW)}"
        assert await response.read() == RAW[part]


@pytest.mark.parametrize("header", ["bytes=3072000-", "bytes=9999999999999999999-", "bytes=5-3", "bytes=-0"])
async def test_a_part_that_is_not_there_is_refused(header: str, anna: Client) -> None:
    image_id = await anna.active(RAW, disk_format="raw")
    await anna("GET", f"/v2/images/{image_id}/file", 416, headers={"Range": header})


@pytest.mark.parametrize("header", ["lines=1-2", "bytes=-", "bytes=0-1,5-6", "bytes=" + "9" * 5000 + "-"])
async def test_a_range_of_another_kind_is_ignored(header: str, anna: Client) -> None:
    image_id = await anna.active(RAW, disk_format="raw")
    assert await anna("GET", f"/v2/images/{image_id}/file", 200, headers={"Range": header}) == RAW


async def test_an_image_without_data_downloads_as_nothing(anna: Client) -> None:
    assert await anna("GET", f"/v2/images/{await anna.image()}/file", 204) is None


async def test_a_foreign_private_image_is_not_downloaded(anna: Client, ben: Client) -> None:
    image_id = await anna.active()
    await ben("GET", f"/v2/images/{image_id}/file", 404)
    await ben.send(image_id, QCOW2, 404)


async def test_active_data_are_never_replaced(anna: Client) -> None:
    """SEC-011."""
    image_id = await anna.active()
    before = await anna.show(image_id)
    await anna.send(image_id, RAW, 409)
    assert await anna.show(image_id) == before
    assert await anna("GET", f"/v2/images/{image_id}/file", 200) == QCOW2


async def test_an_upload_needs_formats_and_octets(anna: Client) -> None:
    image_id = await anna.image(disk_format=None)
    await anna.send(image_id, QCOW2, 400)
    await anna("PUT", f"/v2/images/{image_id}/file", 415, data=b"{}", headers={"Content-Type": "application/json"})
    assert (await anna.show(image_id))["status"] == "queued"


async def test_an_announced_size_must_arrive(anna: Client, service: Service) -> None:
    image_id = await anna.image(disk_format="raw")
    told = {"X-OpenStack-Image-Size": "4000000"}
    await anna.send(image_id, RAW, 400, **told)
    await anna.send(image_id, chunks(RAW), 400, **told)
    await anna.send(image_id, RAW, 400, **{"X-OpenStack-Image-Size": "many"})
    assert (await anna.show(image_id))["status"] == "queued"
    assert service.files() == []
    await anna.send(image_id, chunks(RAW), 204, **{"X-OpenStack-Image-Size": str(len(RAW))})


async def test_an_image_over_the_limit_is_refused_announced_or_not(anna: Client, service: Service) -> None:
    image_id = await anna.image(disk_format="raw")
    await anna.send(image_id, b"x" * (2**24 + 1), 413)
    await anna.send(image_id, chunks(b"x" * (2**24 + 1)), 413)
    assert (await anna.show(image_id))["status"] == "queued"
    assert service.files() == []


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
async def test_a_connection_cut_in_the_middle_leaves_nothing(chunked: bool, anna: Client, service: Service) -> None:
    """SEC-012."""
    image_id = await anna.image(disk_format="raw")
    writer = await begin_upload(service, image_id, chunked=chunked)
    await eventually(lambda: status_is(anna, image_id, "saving"))
    assert len(service.files()) == 1
    writer.close()

    await eventually(lambda: status_is(anna, image_id, "queued"))
    await eventually(lambda: has_no_files(service))
    await anna.send(image_id, RAW)
    assert (await anna.show(image_id))["status"] == "active"


async def test_of_two_uploads_to_one_image_one_is_refused(anna: Client, service: Service) -> None:
    image_id = await anna.image(disk_format="raw")
    writer = await begin_upload(service, image_id, chunked=False)
    await eventually(lambda: status_is(anna, image_id, "saving"))
    await anna.send(image_id, RAW, 409)
    assert len(service.files()) == 1
    writer.close()


async def test_of_many_uploads_at_once_exactly_one_wins(anna: Client, service: Service) -> None:
    image_id = await anna.image(disk_format="raw")
    bodies = [bytes([n]) * 300_000 for n in range(8)]

    async def send(body: bytes) -> bool:
        path = f"{service.url}/v2/images/{image_id}/file"
        async with service._session.put(path, data=body, headers=OCTETS | {"X-Auth-Token": "a"}) as response:
            assert response.status in (204, 409)
            return response.status == 204

    won = await asyncio.gather(*(send(body) for body in bodies))
    assert sum(won) == 1
    assert await anna("GET", f"/v2/images/{image_id}/file", 200) == bodies[won.index(True)]
    assert len(service.files()) == 1


async def test_an_image_deleted_while_it_is_uploaded_leaves_nothing(anna: Client, service: Service) -> None:
    """SEC-012."""
    image_id = await anna.image(disk_format="raw")
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 2**20
        await go_on.wait()
        yield b"y" * 2**20

    upload = asyncio.create_task(service.images.upload(PEOPLE["a"], image_id, slow()))
    await eventually(lambda: status_is(anna, image_id, "saving"))
    await anna("DELETE", f"/v2/images/{image_id}", 204)
    go_on.set()
    with pytest.raises(Gone):
        await upload
    assert service.files() == []
    await anna("GET", f"/v2/images/{image_id}", 404)


async def test_a_cancelled_upload_leaves_nothing(anna: Client, service: Service) -> None:
    image_id = await anna.image(disk_format="raw")

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.01)

    upload = asyncio.create_task(service.images.upload(PEOPLE["a"], image_id, endless()))
    await eventually(lambda: status_is(anna, image_id, "saving"))
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    await eventually(lambda: status_is(anna, image_id, "queued"))
    await eventually(lambda: has_no_files(service))


async def test_sec_012_whatever_ends_an_upload_at_any_step_nothing_is_left(anna: Client, service: Service) -> None:
    chance = random.Random(12)
    for number in range(40):
        image_id = await anna.image(disk_format="raw")
        end = ("cancel", "delete", "break")[number % 3]
        step = chance.randrange(5)
        upload = asyncio.create_task(service.images.upload(PEOPLE["a"], image_id, ending(end, step, service, image_id)))
        if end == "cancel":
            await asyncio.sleep(chance.random() * 0.05)
            upload.cancel()
        await asyncio.gather(upload, return_exceptions=True)
        await eventually(lambda: has_no_uploads(service))
        if end != "delete":
            await eventually(partial(is_settled, anna, service, image_id))
        await anna("DELETE", f"/v2/images/{image_id}", 404 if end == "delete" else 204)
        assert service.files() == []


async def ending(end: str, step: int, service: Service, image_id: str) -> AsyncIterator[bytes]:
    for number in range(5):
        yield os.urandom(700_000)
        if number == step and end == "delete":
            await service.images.delete(PEOPLE["a"], image_id)
        if number == step and end == "break":
            raise Invalid("the sender broke down")


async def is_settled(client: Client, service: Service, image_id: str) -> bool:
    """Queued without a file; or active with one, where the end came too late."""
    status = (await client.show(image_id))["status"]
    return (status, len(service.files())) in (("queued", 0), ("active", 1))


async def has_no_uploads(service: Service) -> bool:
    return not any((service.store / "uploads").iterdir())


async def test_an_upload_cancelled_before_its_file_is_made_leaves_none(service: Service, world: RealWorld) -> None:
    for turns in range(12):
        task = asyncio.create_task(service.images._store.begin(world.uuid(), Inspection("raw", 2**30), None))
        for _ in range(turns % 4):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await eventually(lambda: has_no_uploads(service))
    await eventually(lambda: is_closed(service))


async def test_a_silent_uploader_is_let_go(anna: Client, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova_async.services.image.builtin.IDLE_SECONDS", 1.0)
    image_id = await anna.image(disk_format="raw")
    writer = await begin_upload(service, image_id, chunked=False)
    await eventually(lambda: status_is(anna, image_id, "saving"))
    await eventually(lambda: status_is(anna, image_id, "queued"))
    await eventually(lambda: has_no_files(service))
    writer.close()


async def test_uploads_at_once_are_bounded(anna: Client, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova_async.services.image.builtin.MAX_UPLOADS", 1)
    first, second = await anna.image(disk_format="raw"), await anna.image(disk_format="raw")
    writer = await begin_upload(service, first, chunked=False)
    await eventually(lambda: status_is(anna, first, "saving"))
    await anna.send(second, RAW, 503)
    writer.close()
    await eventually(lambda: status_is(anna, first, "queued"))
    await anna.send(second, RAW)


async def test_staged_data_become_the_image_when_imported(anna: Client, service: Service) -> None:
    image_id = await anna.image()
    method = {"method": {"name": "glance-direct"}}
    await anna("POST", f"/v2/images/{image_id}/import", 409, json=method)
    await anna("PUT", f"/v2/images/{image_id}/stage", 204, data=QCOW2, headers=OCTETS)
    staged = await anna.show(image_id)
    assert (staged["status"], "stores" in staged) == ("uploading", False)
    assert await anna("GET", f"/v2/images/{image_id}/file", 204) is None
    await anna.send(image_id, QCOW2, 409)
    await anna("POST", f"/v2/images/{image_id}/import", 409, json=method | {"stores": ["nowhere"]})
    await anna("POST", f"/v2/images/{image_id}/import", 202, json=method | {"stores": ["file"]})
    imported = await anna.show(image_id)
    [store] = (await anna("GET", "/v2/info/stores", 200))["stores"]
    assert (imported["status"], imported["stores"]) == ("active", store["id"])
    assert await anna("GET", f"/v2/images/{image_id}/file", 200) == QCOW2
    await anna("POST", f"/v2/images/{image_id}/import", 409, json=method)


@pytest.mark.parametrize("method", [None, "glance-direct", {}, {"name": "copy-image"}, {"name": "glance-download"}])
async def test_an_unknown_import_is_refused(method: object, anna: Client) -> None:
    await anna("POST", f"/v2/images/{await anna.image()}/import", 400, json={"method": method})


@pytest.mark.parametrize("uri", ["file:///etc/hostname", "http://127.0.0.1:1/", "data:,x", "gopher://x/", "http://169.254.169.254/"])
async def test_sec_013_nothing_is_fetched_on_a_users_behalf(uri: str, anna: Client) -> None:
    image_id = await anna.image()
    await anna("POST", f"/v2/images/{image_id}/import", 400, json={"method": {"name": "web-download", "uri": uri}})
    await anna.patch(image_id, 403, {"op": "add", "path": "/locations", "value": [{"url": uri, "metadata": {}}]})
    await anna("POST", "/v2/images", 403, json={"name": "x", "locations": [{"url": uri, "metadata": {}}]})
    assert (await anna.show(image_id))["status"] == "queued"


@pytest.mark.parametrize(
    "text", ["../../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e%2fx", "/etc/passwd", "x\n", "a" * 4096], ids=range(6)
)
async def test_sec_014_a_path_in_a_name_or_an_id_stays_text(text: str, anna: Client, service: Service, tmp_path: Path) -> None:
    for path in (f"/v2/images/{quote(text, safe='')}", f"/v2/images/{quote(text, safe='')}/file"):
        await anna("GET", path, 404)
    for body in ({"id": text}, {"kernel_id": text}, {"ramdisk_id": text}):
        await anna("POST", "/v2/images", 400, json={"name": "x"} | body)
    before = set(tmp_path.rglob("*"))
    image_id = await anna.active(name=text[:255], os_version=text, tags=[text[:255]])
    assert (await anna.show(image_id))["os_version"] == text
    created = set(tmp_path.rglob("*")) - before
    assert [p.parent for p in created] == [service.store]
    assert text[:20] not in created.pop().name


async def test_sec_014_nul_is_refused_everywhere(anna: Client) -> None:
    for body in ({"name": "a\0b"}, {"tags": ["\0"]}, {"os_version": "\0"}, {"k\0": "v"}, {"kernel_id": "\0"}):
        await anna("POST", "/v2/images", 400, json=body)
    image_id = await anna.image()
    await anna("PUT", f"/v2/images/{image_id}/tags/%00", 400)
    await anna("POST", f"/v2/images/{image_id}/members", 400, json={"member": "\0"})
    await anna("GET", f"/v2/images/{image_id}/members/%00", 404)
    await anna("GET", "/v2/images/%00", 404)


async def test_what_a_killed_process_left_is_cleared_at_start(
    database: Database, config: Config, world: RealWorld, anna: Client, service: Service
) -> None:
    """SEC-012. A dead upload's file is not locked; a live one's is."""
    dead, live, whole = await anna.image(disk_format="raw"), await anna.image(disk_format="raw"), await anna.active()
    ids = {name: world.uuid() for name in ("dead", "live", "orphan")}
    async with database.connection() as conn:
        for image_id, upload_id in ((dead, ids["dead"]), (live, ids["live"])):
            await conn.execute("UPDATE images SET status = 'saving', upload_id = $2 WHERE id = $1", image_id, upload_id)
    for path in (service.store / "uploads" / ids["dead"], service.store / "uploads" / ids["live"], service.store / ids["orphan"]):
        path.write_bytes(b"half")
    with (service.store / "uploads" / ids["live"]).open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        again = await BuiltinImages.open(database, config, world)
        await again.close()

    assert (await anna.show(dead))["status"] == "queued"
    assert (await anna.show(live))["status"] == "saving"
    assert len(service.files()) == 2
    assert (service.store / "uploads" / ids["live"]).exists()
    assert await anna("GET", f"/v2/images/{whole}/file", 200) == QCOW2


async def test_lost_bytes_are_told_as_unavailable(anna: Client, service: Service) -> None:
    image_id = await anna.active()
    service.files()[0].unlink()
    await anna("GET", f"/v2/images/{image_id}/file", 503)


async def test_bytes_lost_on_the_way_break_the_connection(anna: Client, service: Service) -> None:
    """SEC-011: a short file is never passed off as the image, and no error text ends up in the body."""
    image_id = await anna.active(RAW, disk_format="raw")
    os.truncate(service.files()[0], 2_000_000)
    with pytest.raises(ClientPayloadError):
        await anna("GET", f"/v2/images/{image_id}/file", 200)


async def test_a_reader_that_leaves_is_forgotten(anna: Client, service: Service) -> None:
    image_id = await anna.active(bytes(2**24), disk_format="raw")
    host, _, port = service.config.api.listen.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /image/v2/images/{image_id}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: a\r\n\r\n".encode())
    await reader.readexactly(100_000)
    writer.transport.abort()
    await eventually(lambda: is_closed(service))
    await anna.show(image_id)


async def is_closed(service: Service) -> bool:
    """Whether nothing of the store is open in this process."""
    return not any(str(service.store) in os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())


async def test_the_loop_goes_on_while_bytes_come_in(anna: Client, service: Service) -> None:
    image_id = await anna.image(disk_format="raw")
    longest, running = 0.0, True

    async def watch() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while running:
            before = loop.time()
            await asyncio.sleep(0.005)
            longest = max(longest, loop.time() - before)

    watcher = asyncio.create_task(watch())
    await service.images.upload(PEOPLE["a"], image_id, chunks(os.urandom(2**23)))
    running = False
    await watcher
    assert longest < 1.0


async def test_an_image_is_ensured_once(service: Service, tmp_path: Path, anna: Client) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_bytes(QCOW2)
    ctx = service_context("req-start")
    made = await asyncio.gather(*(service.images.ensure_image(ctx, "test", path, "qcow2", {"hw_disk_bus": "virtio"}) for _ in range(3)))
    assert {i.id for i in made} == {made[0].id}
    assert (made[0].status, made[0].visibility, made[0].properties) == ("active", "public", {"hw_disk_bus": "virtio"})
    assert len(service.files()) == 1
    assert await anna("GET", f"/v2/images/{made[0].id}/file", 200) == QCOW2

    with pytest.raises(Invalid, match="cannot be read"):
        await service.images.ensure_image(ctx, "other", tmp_path / "missing", "qcow2", {})
    path.write_bytes(b"no qcow2")
    with pytest.raises(Invalid):
        await service.images.ensure_image(ctx, "other", path, "qcow2", {})
    path.write_bytes(QCOW2)
    assert (await service.images.ensure_image(ctx, "other", path, "qcow2", {})).status == "active"


async def test_a_blank_image_is_ensured_once(service: Service, anna: Client) -> None:
    ctx = service_context("req-start")
    first = await service.images.ensure_blank(ctx)
    assert await service.images.ensure_blank(ctx) == first
    assert (first.name, first.disk_format, first.virtual_size) == ("cirros-fake", "qcow2", 2**20)
    assert (await anna.show(first.id))["status"] == "active"
    assert (await service.images.ensure_blank(ctx, "large", 900)).virtual_size == 900 * 2**20


async def test_the_service_speaks_as_the_interface_says(service: Service) -> None:
    ctx = PEOPLE["a"]
    image = await service.images.create(ctx, "snapshot", disk_format="raw", properties={"instance_uuid": "x"}, container_format="bare")
    with pytest.raises(Conflict):
        await anext(service.images.download(ctx, image.id))
    stored = await service.images.upload(ctx, image.id, chunks(RAW))
    assert (stored.status, stored.size) == ("active", len(RAW))
    pieces = [c async for c in service.images.download(ctx, image.id)]
    assert b"".join(pieces) == RAW
    assert max(map(len, pieces)) <= 2**20
    await service.images.delete(ctx, image.id)
    with pytest.raises(NotFound):
        await service.images.get(ctx, image.id)


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


async def begin_upload(service: Service, image_id: str, *, chunked: bool) -> asyncio.StreamWriter:
    """A connection that has sent half of what it announced."""
    host, _, port = service.config.api.listen.partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(RAW)}"
    head = f"PUT /image/v2/images/{image_id}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: a\r\nContent-Type: application/octet-stream\r\n"
    writer.write(f"{head}{length}\r\n\r\n".encode())
    half = RAW[: len(RAW) // 2]
    writer.write(f"{len(half):x}\r\n".encode() + half + b"\r\n" if chunked else half)
    await writer.drain()
    return writer


async def status_is(client: Client, image_id: str, status: str) -> bool:
    return bool((await client.show(image_id))["status"] == status)


async def has_no_files(service: Service) -> bool:
    return service.files() == []


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Poll: what is awaited shows in the database and on the disk, and nobody announces it."""
    for _ in range(500):
        if await condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to be")
