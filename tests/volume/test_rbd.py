"""Volumes as images of a real Ceph's: as every volume service has them, what is in them, and who is refused at start."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nova_async import processes, qemu_img
from nova_async.config import Config
from nova_async.db import Database
from nova_async.errors import Invalid, Unavailable
from nova_async.services.image.builtin import BuiltinImages
from nova_async.services.volume.builtin import BuiltinVolumes
from nova_async.services.volume.luks import HEADER_BYTES
from nova_async.services.volume.rbd import MIB, OURS
from nova_async.world import RealWorld
from tests.volume import conformance as stories
from tests.volume.ceph import MISSING, USER, Ceph
from tests.volume.conftest import GIB, PEOPLE, QCOW2, SERVER, UNKNOWN, Client, Service
from tests.volume.test_encryption import encrypted_type, passphrase

pytestmark = [
    *(pytest.mark.ceph, pytest.mark.timeout(300), pytest.mark.xdist_group("ceph")),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (make test-ceph does it)"),
]
SECRET = "8f5fc5a6-9d2c-4d0c-8a4a-5a7d3d0f0c11"
SECONDS = 60


@pytest.fixture(scope="module")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    with Ceph(tmp_path_factory.mktemp("ceph")).running() as made:
        yield made


@pytest.fixture(scope="module")
def shared_pool(ceph: Ceph) -> str:
    return ceph.pool()


@pytest.fixture
def pool(ceph: Ceph, shared_pool: str) -> Iterator[str]:
    """Empty, as it is to be left."""
    yield shared_pool
    for image in json.loads(ceph("rbd", "ls", "--format", "json", shared_pool)):
        ceph("rbd", "snap", "purge", f"{shared_pool}/{image}")
        ceph("rbd", "rm", f"{shared_pool}/{image}")


@pytest.fixture
def config(config: Config, ceph: Ceph, pool: str) -> Config:
    told = {"backend": "rbd", "rbd_pool": pool, "rbd_user": USER, "rbd_conf": str(ceph.conf), "rbd_secret": SECRET}
    return msgspec.structs.replace(config, volume=msgspec.structs.replace(config.volume, **told))


class Pool:
    """What Ceph has of the service's volumes."""

    def __init__(self, ceph: Ceph, name: str) -> None:
        self.ceph, self.name = ceph, name

    async def disk(self, volume: str, *commands: str, snapshot: str = "", secret: str = "") -> str:
        kept = f"snapshot-{snapshot}" if snapshot else ""
        return await asyncio.to_thread(self.ceph.disk, self.name, f"volume-{volume}", *commands, snapshot=kept, secret=secret)

    async def holds(self, volume: str, text: bytes) -> bool:
        return await asyncio.to_thread(self.ceph.holds, self.name, f"volume-{volume}", text)

    async def images(self) -> list[str]:
        """Of volumes and of snapshots, by their names; beside those the image that makes the pool ours."""
        told = json.loads(await asyncio.to_thread(self.ceph, "rbd", "ls", "-l", "--format", "json", self.name))
        names = sorted("@".join(filter(None, (each["image"], each.get("snapshot")))) for each in told)
        assert names.pop(0) == OURS
        return names

    async def size(self, volume: str) -> int:
        told = await asyncio.to_thread(self.ceph, "rbd", "info", "--format", "json", f"{self.name}/volume-{volume}")
        return int(json.loads(told)["size"])


@pytest.fixture
def kept(ceph: Ceph, pool: str) -> Pool:
    return Pool(ceph, pool)


@pytest.mark.parametrize("kind", ["files", "secret"])
@pytest.mark.parametrize("story", stories.ALL, ids=lambda story: story.__name__)
async def test_volumes_are(story: stories.Story, kind: str, service: Service, admin: Client, kept: Pool) -> None:
    if kind == "secret":
        await encrypted_type(admin)

    async def settled() -> None:
        await service.idle()
        await asyncio.sleep(0)

    await story(stories.Place(service.volumes, PEOPLE["anna"], PEOPLE["ben"], settled, hosts=("one", "two"), kind=kind))
    assert await kept.images() == []


async def test_snapshots_and_copies_keep_what_was_written_and_lean_on_nothing(service: Service, anna: Client, kept: Pool) -> None:
    volume = await anna.volume()
    await kept.disk(volume, "write -P 7 0 1M", f"write -P 8 {GIB - 4096} 4k")
    snapshot = await anna.snapshot(volume)
    await kept.disk(volume, "write -P 9 0 1M")
    copy, again = await anna.volume(2, snapshot_id=snapshot), await anna.volume(1, source_volid=volume)
    assert await kept.images() == sorted([f"volume-{v}" for v in (volume, copy, again)] + [f"volume-{volume}@snapshot-{snapshot}"])
    await kept.disk(copy, "read -P 7 0 1M", "read -P 0 1M 4k", f"read -P 8 {GIB - 4096} 4k", f"read -P 0 {2 * GIB - 4096} 4k")
    assert "dependent snapshots" in await anna.refused("DELETE", f"/volumes/{volume}", 400)
    for path in (f"/snapshots/{snapshot}", f"/volumes/{volume}"):
        await anna("DELETE", path, 202)
        await service.idle()
    await kept.disk(copy, "read -P 7 0 1M")
    await kept.disk(again, "read -P 9 0 1M", f"read -P 8 {GIB - 4096} 4k")
    assert await kept.images() == sorted([f"volume-{copy}", f"volume-{again}"])


async def test_a_copy_of_an_image_has_its_bytes_and_becomes_one(service: Service, anna: Client, kept: Pool) -> None:
    raw, qcow2 = await service.image(bytes([5]) * 3_000_000), await service.image(QCOW2, "qcow2")
    volume = await anna.volume(1, imageRef=raw)
    assert (await anna.show(volume))["bootable"] == "true"
    await kept.disk(volume, "read -P 5 0 3000000", f"read -P 0 3000000 {GIB - 3_000_000}")
    await kept.disk(await anna.volume(2, imageRef=qcow2), f"read -P 0 0 {GIB}")
    told = await anna.act(volume, "os-volume_upload_image", {"image_name": "mine", "disk_format": "qcow2"})
    await service.idle()
    made = await service.images.get(PEOPLE["anna"], told["os-volume_upload_image"]["image_id"])
    assert (made.status, made.disk_format, made.virtual_size) == ("active", "qcow2", GIB)
    await kept.disk(await anna.volume(1, imageRef=made.id), "read -P 5 0 3000000", "read -P 0 3000000 1M")
    store = service.volumes.store
    copy = await store.as_image(volume, "raw")
    assert (copy.stat().st_size, copy.read_bytes()[:3_000_001]) == (GIB, bytes([5]) * 3_000_000 + b"\0")
    assert copy.stat().st_blocks * 512 < 5_000_000, "holes stay holes"
    await store.discard(copy)
    assert list(copy.parent.iterdir()) == []


async def test_an_image_over_a_volume_leaves_nothing_of_it_but_its_snapshots(service: Service, anna: Client, kept: Pool) -> None:
    volume = await anna.volume()
    await kept.disk(volume, "write -P 7 0 64M")
    snapshot = await anna.snapshot(volume)
    image = await service.image(bytes([5]) * 4096)
    await service.volumes.reimage(PEOPLE["anna"], volume, image)
    await service.idle()
    assert (await anna.show(volume))["status"] == "available"
    await kept.disk(volume, "read -P 5 0 4k", f"read -P 0 4k {64 * 2**20 - 4096}")
    await kept.disk(volume, "read -P 7 0 64M", snapshot=snapshot)


async def test_the_next_owner_reads_nothing_of_what_was_deleted(service: Service, anna: Client, kept: Pool) -> None:
    """INV-30, SEC-016."""
    volume = await anna.volume()
    await kept.disk(volume, "write -P 7 0 64M")
    await anna("DELETE", f"/volumes/{volume}", 202)
    await service.idle()
    assert await kept.images() == []
    other = await service.client("ben").volume()
    await kept.disk(other, f"read -P 0 0 {GIB}")


async def test_work_that_was_cut_off_is_taken_up(service: Service, anna: Client, kept: Pool) -> None:
    """What an earlier run has made by half is no hindrance, and nothing of it is left."""
    source, volume = await anna.volume(), await anna.volume()
    await kept.disk(source, "write -P 7 0 4k")
    await kept.disk(volume, "write -P 9 1M 4k")
    await asyncio.to_thread(kept.ceph, "rbd", "snap", "create", f"{kept.name}/volume-{source}@moment-{volume}")
    for given, read in (({"volume": source}, "read -P 7 0 4k"), ({}, "read -P 0 0 4k")):
        async with service.volumes.database.transaction() as conn:
            await conn.execute("UPDATE volumes SET status = 'creating' WHERE id = $1", volume)
            values = (UNKNOWN, volume, "create", given, {"request_id": "r"}, "somebody")
            await conn.execute(
                "INSERT INTO volume_jobs (id, volume_id, kind, input, context, owner) VALUES ($1, $2, $3, $4, $5, $6)", *values
            )
        service.volumes.jobs.go()
        await asyncio.sleep(0)
        await service.idle()
        assert (await anna.show(volume))["status"] == "available"
        await kept.disk(volume, read, "read -P 0 1M 4k")
    assert await kept.images() == sorted([f"volume-{source}", f"volume-{volume}"])
    await asyncio.to_thread(kept.ceph, "rbd", "resize", "--allow-shrink", "--size", "0", f"{kept.name}/volume-{volume}")
    await service.volumes.store.make(volume, 1)
    assert await kept.size(volume) == GIB


async def test_images_that_belong_to_nothing_are_removed(service: Service, anna: Client, kept: Pool) -> None:
    volume = await anna.volume()
    for name in (f"volume-{UNKNOWN}", "somebody's", "volume-somebody's"):
        await asyncio.to_thread(kept.ceph, "rbd", "create", "--size", "1M", f"{kept.name}/{name}")
    await asyncio.to_thread(kept.ceph, "rbd", "snap", "create", f"{kept.name}/volume-{UNKNOWN}@moment-{volume}")
    await service.volumes.jobs.reap()
    assert await kept.images() == sorted(["somebody's", f"volume-{volume}", "volume-somebody's"])


async def test_hosts_are_told_where_a_volume_is(service: Service, anna: Client, kept: Pool) -> None:
    """As Cinder tells it, to every host alike, and nothing is handed out by this machine."""
    volume, nova = await anna.volume(), service.client("nova")
    for host in ("one", service.volumes.host):
        body = {"attachment": {"volume_uuid": volume, "instance_uuid": SERVER, "connector": {"host": host}}}
        made = (await nova("POST", "/attachments", 200, body))["attachment"]
        told: dict[str, Any] = made["connection_info"]
        assert (told["driver_volume_type"], told["name"], told["hosts"]) == ("rbd", f"{kept.name}/volume-{volume}", ["127.0.0.1"])
        assert (told["auth_enabled"], told["auth_username"], told["secret_uuid"]) == (True, USER, SECRET)
        await nova("DELETE", f"/attachments/{made['id']}", 200)
    assert await service.volumes.exports.daemons.names() == set()
    assert f"v1:127.0.0.1:{told['ports'][0]}]" in kept.ceph.conf.read_text()


async def test_a_volume_grows_and_never_shrinks(service: Service, anna: Client, kept: Pool) -> None:
    volume = await anna.volume()
    await anna.act(volume, "os-extend", {"new_size": 3})
    await service.idle()
    assert ((await anna.show(volume))["size"], await kept.size(volume)) == (3, 3 * GIB)
    await service.volumes.store.grow(volume, 2)
    assert await kept.size(volume) == 3 * GIB
    assert "must be greater" in await anna.refused("POST", f"/volumes/{volume}/action", 400, {"os-extend": {"new_size": 3}})


async def test_what_somebody_has_open_is_deleted_once_they_have_let_go(service: Service, anna: Client, kept: Pool) -> None:
    volume = await anna.volume()
    with kept.ceph.held(kept.name, f"volume-{volume}"):
        for change in (service.volumes.store.make(volume, 1), service.volumes.store.remove(volume)):
            with pytest.raises(Unavailable, match="open somewhere"):
                await change
    await anna("DELETE", f"/volumes/{volume}", 202)
    await service.idle()
    assert await kept.images() == []


async def test_a_back_end_tells_one_story(service: Service, admin: Client, kept: Pool) -> None:
    volume = await admin.volume(2)
    end = time.monotonic() + SECONDS
    while kept.name not in (await asyncio.to_thread(kept.ceph, "ceph", "df", "--format", "json")):
        assert time.monotonic() < end
    [pool] = (await admin("GET", "/scheduler-stats/get_pools?detail=true", 200))["pools"]
    assert pool["name"] == f"{service.volumes.host}@rbd#rbd" == (await admin.show(volume))["os-vol-host-attr:host"]
    told = pool["capabilities"]
    assert (told["volume_backend_name"], told["storage_protocol"], told["multiattach"]) == ("rbd", "ceph", True)
    assert 1 < told["free_capacity_gb"] <= told["total_capacity_gb"] <= 4
    total = (await admin("GET", f"/os-hosts/{service.volumes.host}@rbd", 200))["host"][0]["resource"]
    assert (total["volume_count"], total["total_volume_gb"]) == ("1", "2")


async def test_an_encrypted_volume_is_ciphertext_and_so_are_its_copies(
    service: Service, admin: Client, anna: Client, kept: Pool, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """SEC-036: all open with the passphrase, hold the same bytes, and are as large as they say."""
    real, said = qemu_img.run, list[str]()

    async def heard(*command: str, **more: Any) -> bytes:
        said.extend(command)
        return await real(*command, **more)

    monkeypatch.setattr(qemu_img, "run", heard)
    await encrypted_type(admin)
    volume = await anna.volume(volume_type="secret")
    secret = await passphrase(service, volume)
    assert await kept.size(volume) == GIB + HEADER_BYTES
    await kept.disk(volume, f"write -P 0x5a 0 {MIB}", f"write -P 0x5a {GIB - MIB} {MIB}", secret=secret)
    snapshot = await anna.snapshot(volume)
    await kept.disk(volume, f"write -P 0x5b 0 {MIB}", secret=secret)
    for source, first in (({"snapshot_id": snapshot}, "0x5a"), ({"source_volid": volume}, "0x5b")):
        copy = await anna.volume(2, **source)
        assert await passphrase(service, copy) == secret
        read = await kept.disk(copy, f"read -P {first} 0 {MIB}", f"read -P 0x5a {GIB - MIB} {MIB}", "length", secret=secret)
        assert read.split()[-2:] == ["2", "GiB"]
        await anna("DELETE", f"/volumes/{copy}", 202)
    await anna.act(volume, "os-extend", {"new_size": 3})
    await service.idle()
    assert await kept.size(volume) == 3 * GIB + HEADER_BYTES
    assert (await kept.disk(volume, f"read -P 0x5b 0 {MIB}", "length", secret=secret)).split()[-2:] == ["3", "GiB"]
    for text in (bytes([0x5A]) * 512, bytes([0x5B]) * 512):
        assert not await kept.holds(volume, text)
    assert await kept.holds(volume, b"LUKS\xba\xbe\x00\x01")
    assert secret not in " ".join(said) + caplog.text
    upload = {"os-volume_upload_image": {"image_name": "x"}}
    assert "encrypted" in await anna.refused("POST", f"/volumes/{volume}/action", 400, upload)
    assert list(service.volumes.store._parts.iterdir()) == []


async def test_an_image_is_encrypted_on_its_way_into_a_volume(service: Service, admin: Client, anna: Client, kept: Pool) -> None:
    """Also in place of what was there, of which a snapshot still tells."""
    await encrypted_type(admin, key_size=128)
    raw, qcow2 = await service.image(bytes([5]) * 3_000_000), await service.image(QCOW2, "qcow2")
    volume = await anna.volume(1, imageRef=raw, volume_type="secret")
    secret = await passphrase(service, volume)
    assert (await kept.disk(volume, "read -P 5 0 3000000", "length", secret=secret)).split()[-2:] == ["1", "GiB"]
    assert not await kept.holds(volume, bytes([5]) * 512)
    snapshot = await anna.snapshot(volume)
    await service.volumes.reimage(PEOPLE["anna"], volume, qcow2)
    await service.idle()
    assert (await anna.show(volume))["status"] == "available"
    await kept.disk(volume, f"read -P 0 0 {MIB}", secret=secret)
    await kept.disk(volume, "read -P 5 0 3000000", snapshot=snapshot, secret=secret)


async def test_an_encrypted_volume_that_was_made_by_half_is_made_anew(service: Service, admin: Client, anna: Client, kept: Pool) -> None:
    await encrypted_type(admin)
    volume = await anna.volume(volume_type="secret")
    secret, store = await passphrase(service, volume), service.volumes.store
    for size in ("0", "1028M", "2G"):
        await asyncio.to_thread(kept.ceph, "rbd", "rm", "--no-progress", f"{kept.name}/volume-{volume}")
        await asyncio.to_thread(kept.ceph, "rbd", "create", "--size", size, f"{kept.name}/volume-{volume}")
        (store._parts / f"{volume}.header").write_bytes(b"half of one")
        await store.make(volume, 1, qemu_img.Luks(secret, 256))
        assert (await kept.disk(volume, "length", secret=secret)).split()[-2:] == ["1", "GiB"]
        assert await kept.size(volume) == GIB + HEADER_BYTES
        assert list(store._parts.iterdir()) == []


async def test_what_opens_a_volume_is_told_to_services_alone(service: Service, admin: Client, anna: Client) -> None:
    await encrypted_type(admin)
    volume, nova = await anna.volume(volume_type="secret"), service.client("nova")
    secret = await passphrase(service, volume)
    body = {"attachment": {"volume_uuid": volume, "instance_uuid": SERVER, "connector": {"host": "one"}}}
    made = (await nova("POST", "/attachments", 200, body))["attachment"]
    told = made["connection_info"]
    assert (told["driver_volume_type"], told["encrypted"], told["passphrase"]) == ("rbd", True, secret)
    for client in (anna, admin):
        assert secret not in str(await client("GET", f"/attachments/{made['id']}", 200))


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"rbd_pool": "none-such"}, "Ceph has no pool none-such"),
        ({"rbd_pool": "a/b"}, "volume.rbd_pool: 'a/b' is no name"),
        ({"rbd_user": "mallory"}, "Ceph does not let client.mallory in"),
        ({"rbd_conf": "/nowhere/ceph.conf"}, "there is no file /nowhere/ceph.conf"),
        ({"rbd_secret": "open-sesame"}, "no id of a libvirt secret"),
        ({"rbd_conf": "silent"}, "monitors do not answer"),
        ({"programs": "away"}, "rbd is not installed on this host. Volumes of Ceph RBD need the packages ceph-common"),
        ({"rbd_pool": "taken"}, "has images that this cloud's volume service has not made"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else "",
)
async def test_what_cannot_be_had_is_refused_at_start(
    told: dict[str, str], why: str, ceph: Ceph, database: Database, config: Config, world: RealWorld, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if told.pop("programs", ""):
        (tmp_path / "prlimit").symlink_to("/usr/bin/prlimit")
        monkeypatch.setitem(processes.ENVIRONMENT, "PATH", str(tmp_path))
    if told.get("rbd_conf") == "silent":
        silent = tmp_path / "silent.conf"
        silent.write_text(f"[global]\nmon_host = v1:127.0.0.1:1\nkeyring = {ceph.folder}/nova.keyring\n")
        told = {"rbd_conf": str(silent)}
    if told.get("rbd_pool") == "taken":
        told = {"rbd_pool": ceph.pool()}
        ceph("rbd", "create", "--size", "1M", f"{told['rbd_pool']}/volume-{UNKNOWN}")
    changed = msgspec.structs.replace(config, volume=msgspec.structs.replace(config.volume, **told))
    images = await BuiltinImages.open(database, config, world)
    with pytest.raises(Invalid, match="volume") as refused:
        await BuiltinVolumes.open(database, changed, world, images)
    assert why in refused.value.message
    await images.close()
