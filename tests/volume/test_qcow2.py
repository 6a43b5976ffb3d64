"""Volumes as qcow2 files beside raw ones: each is opened by one process alone, whoever reads, writes, copies or lengthens it."""

import asyncio
import json
import os
import shutil
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nova_async.config import Config
from nova_async.db import Database
from nova_async.errors import Invalid, Unavailable
from nova_async.qemu_img import Luks
from nova_async.services.volume import exports as handing_out
from nova_async.services.volume.bases import SOCKET, Bases
from nova_async.services.volume.builtin import BuiltinVolumes
from nova_async.services.volume.exports import Exports
from nova_async.services.volume.store import VolumeStore
from nova_async.services.volume.stores import Origin
from nova_async.storage_daemons import PROGRAM, StorageDaemons
from nova_async.virt.libvirt.bridges import Bridges
from nova_async.world import RealWorld
from tests.volume.conftest import GIB, PEOPLE, QCOW2, SERVER, UNKNOWN, Client, Service, command, noise
from tests.volume.test_exports import SECONDS, attach, bridges, disk, process, until

__all__ = ["bridges"]
pytestmark = pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"needs {PROGRAM}")
OTHER = "22222222-2222-4333-8444-555555555555"


@pytest.fixture
def file_format() -> str:
    return "qcow2"


async def size(path: Path) -> int:
    """That a guest sees, of a file that refers to no other."""
    told = json.loads(await command("qemu-img", "info", "-U", "-f", "qcow2", "--output=json", str(path)))
    assert "backing-filename" not in told
    assert told["format-specific"]["data"] | {"compat": "1.1", "lazy-refcounts": False, "corrupt": False} == told["format-specific"]["data"]
    return int(told["virtual-size"])


async def test_what_is_made_copied_grown_and_deleted(service: Service, anna: Client) -> None:
    """INV-30, and none leans on another."""
    volume, data = await anna.volume(), noise(300_000)
    assert service.files() == [f"{volume}.qcow2"]
    await service.write(volume, data)
    snapshot = await anna.snapshot(volume)
    await service.write(volume, bytes(len(data)))
    copy = await anna.volume(2, snapshot_id=snapshot)
    again = await anna.volume(2, source_volid=copy)
    await anna.act(again, "os-extend", {"new_size": 3})
    await service.idle()
    for one, gib in ((copy, 2), (again, 3)):
        assert await size(service.path(one)) == gib * GIB
        assert await service.holds(one, len(data) + 4096) == data + bytes(4096)
    assert service.path(again).stat().st_blocks * 512 < 2 * 2**20, "zeros take no room"
    assert await service.holds(volume, len(data)) == bytes(len(data))
    told = await anna.act(again, "os-volume_upload_image", {"image_name": "mine", "disk_format": "qcow2"})
    await service.idle()
    image = await service.images.get(PEOPLE["anna"], told["os-volume_upload_image"]["image_id"])
    assert (image.status, image.virtual_size) == ("active", 3 * GIB)
    await anna("DELETE", f"/volumes/{volume}?cascade=true", 202)
    for one in (copy, again):
        await anna("DELETE", f"/volumes/{one}", 202)
    await until(lambda: not service.files())
    await service.idle()
    assert await service.volumes.exports.daemons.names() == set()
    assert await service.holds(await anna.volume(), 2**20) == bytes(2**20)


async def test_images_become_volumes(service: Service, anna: Client) -> None:
    data = noise(300_000)
    for image, octets in ((await service.image(data), data), (await service.image(QCOW2, "qcow2"), bytes(len(data)))):
        volume = await anna.volume(1, imageRef=image)
        assert await size(service.path(volume)) == GIB
        assert await service.holds(volume, len(data)) == octets


@pytest.fixture
async def stores(tmp_path: Path, world: RealWorld) -> AsyncIterator[dict[str, VolumeStore]]:
    """Of one folder, by what they make."""
    daemons = StorageDaemons(tmp_path / "exports", world)
    made = {name: VolumeStore(tmp_path / "volumes", Bases(daemons), name) for name in ("raw", "qcow2")}
    yield made
    for store in made.values():
        store.close()
    for name in await daemons.names():
        await daemons.remove(name)
    daemons.close()


async def some(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_an_image_that_leads_to_another_file_is_refused(stores: dict[str, VolumeStore], tmp_path: Path) -> None:
    for more in (("-F", "raw", "-b", "/etc/passwd"), ("-o", f"data_file={tmp_path / 'data'}")):
        leaning = tmp_path / "leaning"
        await command("qemu-img", "create", "-q", "-f", "qcow2", *more, str(leaning), "1M")
        with pytest.raises(Invalid, match="refers to"):
            await stores["qcow2"].from_image(UNKNOWN, 1, "qcow2", some(leaning.read_bytes()))
    assert await stores["qcow2"].names() == set()


@pytest.mark.parametrize(("made_as", "luks"), [("raw", None), ("qcow2", None), ("raw", Luks("secret", 256))])
async def test_what_a_killed_process_has_left_writing_is_in_nobodys_way(
    stores: dict[str, VolumeStore], made_as: str, luks: Luks | None
) -> None:
    """A ``qemu-img`` lives on when we are killed: it has its file locked, and goes on writing to it."""

    def beginning(path: Path) -> bytes:
        with path.open("rb") as file:
            return file.read(2**16)

    store = stores[made_as]
    part, image = store.folder / "part" / UNKNOWN, store.folder.parent / "image"
    await command("qemu-img", "create", "-q", "-f", "raw", str(part), "1M")
    await command("qemu-img", "create", "-q", "-f", "qcow2", str(image), "1M")
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    left = await asyncio.create_subprocess_exec("qemu-io", "-f", "raw", str(part), **pipes)
    assert left.stdin is not None
    assert left.stdout is not None
    left.stdin.write(b"write 0 512\n")
    async with asyncio.timeout(SECONDS):
        while b"wrote 512/512" not in await left.stdout.readline():
            continue
    await store.from_image(UNKNOWN, 1, "qcow2", some(image.read_bytes()), luks)
    before = beginning(store.path(UNKNOWN))
    await left.communicate(b"write -P 7 0 64k\nflush\nquit\n")
    assert beginning(store.path(UNKNOWN)) == before


async def test_a_file_keeps_its_format(stores: dict[str, VolumeStore]) -> None:
    """Whatever new ones are made as."""
    raw, qcow2 = stores["raw"], stores["qcow2"]
    for first, then, suffix in ((raw, qcow2, ""), (qcow2, raw, ".qcow2")):
        await first.make(UNKNOWN, 1)
        await then.make(UNKNOWN, 1)
        await then.from_image(UNKNOWN, 1, "raw", some(noise(5000)))
        await then.grow(UNKNOWN, 2)
        assert [path.name for path in then.folder.iterdir() if path.is_file()] == [UNKNOWN + suffix]
        assert await then.flat(UNKNOWN) is (suffix == "")
        await then.snapshot(UNKNOWN, OTHER, 2)
        assert await then.names() == {UNKNOWN, OTHER}
        assert await then.flat(OTHER) is not await then.flat(UNKNOWN)
        await first.clone(Origin(UNKNOWN, OTHER), SERVER, 2)
        image = await first.as_image(SERVER, "raw")
        assert image.stat().st_size == 2 * GIB
        with image.open("rb") as file:
            assert file.read(6000) == noise(5000) + bytes(1000)
        await first.discard(image)
        for one in (UNKNOWN, OTHER, SERVER):
            await then.remove(one)
        assert await then.names() == set()
    await qcow2.make(UNKNOWN, 1, Luks("secret", 256))
    await qcow2.clone(Origin(UNKNOWN), OTHER, 1, encrypted=True)
    assert [await qcow2.flat(one) for one in (UNKNOWN, OTHER)] == [True, True], "encrypted ones are raw"


async def test_a_base_lives_as_long_as_somebody_wants_it(service: Service, anna: Client) -> None:
    """It is there for all attachments and copies of a volume, and lets in nobody else."""
    volume, exports = await anna.volume(), service.volumes.exports
    daemons, base = exports.daemons, exports.daemons.folder / volume / SOCKET
    attachment, _ = await attach(service, volume, service.volumes.host)
    assert await daemons.names() == {attachment, volume}, "guests of its own machine do not open it either"
    assert stat.S_IMODE(base.stat().st_mode) & 0o022 == 0, "who may not write to a socket may not connect"
    before = process(exports, volume)
    await exports.look()
    assert process(exports, volume) == before
    async with daemons.held(volume):
        await service.client("nova")("DELETE", f"/attachments/{attachment}", 200)
        await exports.look()
        assert await daemons.names() == {volume}
        with pytest.raises(Unavailable):
            await service.volumes.store.from_image(volume, 1, "raw", some(b"another"))
        os.kill(before, signal.SIGKILL)
        await until(lambda: process(exports, volume) not in (0, before))
        again, _ = await attach(service, volume, "none")
    await service.client("nova")("DELETE", f"/attachments/{again}", 200)
    assert await daemons.names() == set()
    async with daemons.held(volume):
        await exports.look()
        assert await daemons.names() == {volume}, "who holds it is about to start it"
    await exports.look()
    assert await daemons.names() == set()


async def test_a_volume_that_two_hosts_write_to_is_copied(
    service: Service, anna: Client, admin: Client, bridges: dict[str, Bridges]
) -> None:
    await admin("POST", "/types", 200, {"volume_type": {"name": "shared", "extra_specs": {"multiattach": "<is> True"}}})
    volume = await anna.volume(volume_type="shared")
    (one, way), (two, other) = await attach(service, volume, "none"), await attach(service, volume, "none", SERVER=OTHER)
    sockets = [await bridges["none"].open(SERVER, each, told) for each, told in ((one, way), (two, other))]
    for number, (socket, told) in enumerate(zip(sockets, (way, other), strict=True), 7):
        await disk(socket, told["name"], f"write -P {number} {number}M 64k")
    for socket, told in zip(sockets, (way, other), strict=True):
        await disk(socket, told["name"], "read -P 7 7M 64k", "read -P 8 8M 64k")
        await service.client("nova")("POST", f"/attachments/{told['name']}/action", 204, {"os-complete": None})
    copy = await anna.snapshot(volume, force=True)
    for number in (7, 8):
        assert await service.holds(copy, 65536, number * 2**20) == bytes([number]) * 65536


async def test_what_takes_the_place_of_a_file_is_what_a_host_reads_then(
    service: Service, anna: Client, bridges: dict[str, Bridges]
) -> None:
    volume = await anna.volume()
    attachment, way = await attach(service, volume, "none")
    socket = await bridges["none"].open(SERVER, attachment, way)
    await disk(socket, way["name"], "write -P 7 0 4k", "discard 0 4k", "write -P 7 0 16M")
    room = service.path(volume).stat().st_blocks
    await disk(socket, way["name"], "discard 0 16M", "flush", "write -P 7 0 4k")
    assert service.path(volume).stat().st_blocks < room / 10, "what a guest discards is free again"
    await service.volumes.store.from_image(volume, 1, "raw", some(b"\x09" * 4096))
    await disk(socket, way["name"], "read -P 9 0 4k")


async def test_two_machines_never_have_it_open(
    service: Service, anna: Client, database: Database, config: Config, world: RealWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hands it out, to the hosts of the other as well."""
    monkeypatch.setattr(handing_out, "OTHERS_SECONDS", 0.0)
    volume, ctx = await anna.volume(), PEOPLE["nova"]
    attachment, _ = await attach(service, volume, "none")
    daemons = StorageDaemons(tmp_path / "other" / "exports", world)
    store = VolumeStore(service.path(volume).parent, Bases(daemons), "qcow2")
    other = Exports(database, config, world, store, daemons, "other", None)
    for work in (store.node(volume, 1, encrypted=False, shared=False), store.grow(volume, 2), store.as_image(volume, "raw")):
        with pytest.raises(Unavailable):
            await work
    joined = await service.volumes.holders.reserve_for_move(ctx, attachment)
    joined = await service.volumes.holders.connect(ctx, joined.id, {"host": "two"}, "/dev/vdb")
    row = await other.open(joined, await service.volumes.volumes.get(ctx, volume))
    assert row.exporter == service.volumes.host
    await asyncio.wait_for(service.volumes.exports.look(), SECONDS)
    assert await service.volumes.exports.daemons.names() == {attachment, joined.id, volume}
    await other.look()
    assert await daemons.names() == set()
    other.shut()
    store.close()


async def test_by_iscsi_there_are_raw_files_alone(
    service: Service, anna: Client, database: Database, config: Config, world: RealWorld
) -> None:
    changed = msgspec.structs.replace(config, volume=msgspec.structs.replace(config.volume, protocol="iscsi"))
    with pytest.raises(Invalid, match=r"volume\.file_format: .*raw.*nbd"):
        await BuiltinVolumes.open(database, changed, world, service.images)
    volumes, daemons = service.volumes, StorageDaemons(service.volumes.exports.daemons.folder, world)
    by_iscsi = Exports(database, changed, world, volumes.store, daemons, volumes.host, None)
    volume, nova = await anna.volume(), service.client("nova")
    body: dict[str, Any] = {"attachment": {"volume_uuid": volume, "instance_uuid": SERVER}}
    made = (await nova("POST", "/attachments", 200, body))["attachment"]["id"]
    row = await volumes.holders.connect(PEOPLE["nova"], made, {"host": "none"}, "/dev/vdb")
    assert (await by_iscsi.open(row, await volumes.volumes.get(PEOPLE["nova"], volume))).protocol == "nbd", "made before, by the other way"
    by_iscsi.shut()
