"""Volumes as logical volumes of a real LVM, where the kernel has a device mapper; ``make test-kernel`` brings such a one.

As every volume service has them, what is in them, and how hosts reach them.
"""

import asyncio
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nova_async.config import Config, VolumeSection
from nova_async.errors import Invalid, Unavailable
from nova_async.qemu_img import Luks
from nova_async.services.volume import lvm
from nova_async.services.volume.luks import BEGINS, HEADER_BYTES
from nova_async.services.volume.lvm import LvmStore
from nova_async.services.volume.stores import Origin
from nova_async.virt.libvirt.bridges import Bridges
from tests.volume import conformance as stories
from tests.volume.conftest import GIB, PEOPLE, QCOW2, SERVER, Client, Service
from tests.volume.test_encryption import encrypted_type, passphrase
from tests.volume.test_exports import attach, bridges
from tests.volume.test_exports import disk as disk_of_host

__all__ = ["bridges"]
pytestmark = [pytest.mark.kernel, pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.xdist_group("lvm")]
ONE, TWO, COPY, SNAPSHOT = (f"{number}1111111-2222-4333-8444-555555555555" for number in range(4))
MIB, SECONDS = 2**20, 300


@pytest.fixture
def group(tmp_path: Path) -> Iterator[str]:
    """The name of a volume group with a thin pool ``thin`` of 1 GiB."""
    if os.geteuid() != 0 or shutil.which("lvm") is None or not lvm._can_open(lvm.MAPPER):
        pytest.skip("needs root, LVM, and a kernel with a device mapper (make test-kernel)")
    with (tmp_path / "disk").open("wb") as file:
        file.truncate(2 * GIB)
    device, name = run("losetup", "--find", "--show", str(tmp_path / "disk")).strip(), f"vg{uuid.uuid4().hex[:8]}"
    run("vgcreate", name, device)
    run("lvcreate", "--type", "thin-pool", "--size", "1g", "--name", "thin", name)
    yield name
    run("vgremove", "--force", "--yes", name)
    run("losetup", "--detach", device)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@pytest.fixture
def config(config: Config, group: str) -> Config:
    return msgspec.structs.replace(config, volume=msgspec.structs.replace(config.volume, backend="lvm", lvm_pool=f"{group}/thin"))


@pytest.fixture
async def store(group: str, tmp_path: Path) -> AsyncIterator[LvmStore]:
    made = await LvmStore.open(VolumeSection(lvm_pool=f"{group}/thin"), tmp_path / "volumes")
    yield made
    made.close()


def size(path: Path) -> int:
    """Of a device."""
    with path.open("rb") as file:
        return file.seek(0, os.SEEK_END)


async def disk(path: Path, *commands: str, secret: str = "") -> str:
    """What ``qemu-io`` says that opens a device as a guest's QEMU does. ``secret``: of an encrypted volume."""
    asked = [word for command in commands for word in ("-c", command)]
    place = f"driver={'luks,key-secret=key' if secret else 'raw'},file.driver=host_device,file.filename={path}"
    words = ["qemu-io", *(("--object", "secret,id=key,file=/dev/stdin") if secret else ()), *asked, "--image-opts", place]
    done = await asyncio.to_thread(subprocess.run, words, input=secret, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def holds(path: Path, text: bytes) -> bool:
    """Whether the bytes that a device begins with have it in them."""
    with path.open("rb") as file:
        return text in file.read(HEADER_BYTES + 8 * MIB)


async def test_logical_volumes_of_a_thin_pool(group: str, store: LvmStore) -> None:
    """INV-30, SEC-016."""
    for _ in range(2):
        await store.make(ONE, 1)
    path = store.path(ONE)
    await disk(path, "write -P 1 0 4k")
    for _ in range(2):
        await store.snapshot(ONE, SNAPSHOT, 1)
    await disk(path, "write -P 2 0 4k")
    for _ in range(2):
        await store.clone(Origin(ONE, SNAPSHOT), TWO, 2)
        await store.clone(Origin(ONE), COPY, 1)
    assert await store.names() == {ONE, TWO, COPY, SNAPSHOT}
    for _ in range(2):
        await store.remove_snapshot(ONE, SNAPSHOT)
    await disk(store.path(TWO), "read -P 1 0 4k")
    await disk(store.path(COPY), "read -P 2 0 4k")
    for _ in range(2):
        await store.grow(COPY, 3)
    assert [size(store.path(name)) for name in (ONE, TWO, COPY)] == [GIB, 2 * GIB, 3 * GIB]
    async with store._moment(ONE) as moment:
        await disk(moment, "read -P 2 0 4k")
        assert await store.names() == {ONE, TWO, COPY}

    with path.open("rb"), pytest.raises(Unavailable, match="open somewhere"):
        await store.remove(ONE)
    await disk(path, "write -P 3 0 8M")
    total, free = await store.space()
    assert (total, free < 1) == (1, True)
    for name in (ONE, TWO, COPY) * 2:
        await store.remove(name)
    assert (await store.names(), await store.space()) == (set(), (1, 1))
    await store.make(ONE, 1)
    await disk(path, "write -P 4 68k 4k", "read -P 0 0 68k", "read -P 0 72k 16M")
    await store.remove(ONE)

    run("lvcreate", "--yes", "--size", "64m", "--name", "thick", group)
    assert await store.names() == set(), "what has not our tag is not ours"
    run("lvchange", "--zero", "n", f"{group}/thin")
    for pool, why in (("thin", "does not fill new blocks"), ("thick", "is no thin pool"), ("none", f"no thin pool {group}/none")):
        with pytest.raises(Invalid, match=why):
            await LvmStore.open(VolumeSection(lvm_pool=f"{group}/{pool}"), store._parts.parent)


@pytest.mark.parametrize("kind", ["files", "secret"])
@pytest.mark.parametrize("story", stories.ALL, ids=lambda story: story.__name__)
async def test_volumes_are(story: stories.Story, kind: str, service: Service, admin: Client) -> None:
    if kind == "secret":
        await encrypted_type(admin)

    async def settled() -> None:
        await service.idle()
        await asyncio.sleep(0)

    await story(stories.Place(service.volumes, PEOPLE["anna"], PEOPLE["ben"], settled, hosts=("one", "two"), kind=kind))
    assert await service.volumes.store.names() == set()


async def test_a_copy_of_an_image_has_its_bytes_and_becomes_one(service: Service, anna: Client) -> None:
    raw, qcow2 = await service.image(bytes([5]) * 3_000_000), await service.image(QCOW2, "qcow2")
    volume = await anna.volume(1, imageRef=raw)
    await disk(service.path(volume), "read -P 5 0 3000000", "read -P 0 3000000 1M")
    told = await anna.act(volume, "os-volume_upload_image", {"image_name": "mine", "disk_format": "qcow2"})
    await service.idle()
    made = await service.images.get(PEOPLE["anna"], told["os-volume_upload_image"]["image_id"])
    assert (made.status, made.disk_format, made.virtual_size) == ("active", "qcow2", GIB)
    await service.volumes.reimage(PEOPLE["anna"], volume, qcow2)
    await service.idle()
    assert (await anna.show(volume))["status"] == "available"
    await disk(service.path(volume), "read -P 0 0 8M")


async def test_an_encrypted_volume_is_ciphertext_and_so_are_its_copies(service: Service, admin: Client, anna: Client) -> None:
    """SEC-036: all open with the passphrase, hold the same bytes, and are as large as they say."""
    await encrypted_type(admin)
    volume = await anna.volume(volume_type="secret")
    path, secret = service.path(volume), await passphrase(service, volume)
    assert size(path) == GIB + HEADER_BYTES
    await disk(path, "write -P 0x5a 0 1M", f"write -P 0x5a {GIB - MIB} 1M", secret=secret)
    snapshot = await anna.snapshot(volume)
    await disk(path, "write -P 0x5b 0 1M", secret=secret)
    for source, first in (({"snapshot_id": snapshot}, "0x5a"), ({"source_volid": volume}, "0x5b")):
        copy = await anna.volume(2, **source)
        said = await disk(
            service.path(copy), f"read -P {first} 0 1M", f"read -P 0x5a {GIB - MIB} 1M", "length", secret=await passphrase(service, copy)
        )
        assert said.split()[-2:] == ["2", "GiB"]
        assert not holds(service.path(copy), bytes([int(first, 16)]) * 512)
        await anna("DELETE", f"/volumes/{copy}", 202)
    await anna.act(volume, "os-extend", {"new_size": 3})
    await service.idle()
    assert size(path) == 3 * GIB + HEADER_BYTES
    assert (await disk(path, "read -P 0x5b 0 1M", "length", secret=secret)).split()[-2:] == ["3", "GiB"]
    assert (holds(path, BEGINS), holds(path, bytes([0x5B]) * 512)) == (True, False)
    upload = {"os-volume_upload_image": {"image_name": "x"}}
    assert "encrypted" in await anna.refused("POST", f"/volumes/{volume}/action", 400, upload)


async def test_an_image_is_encrypted_on_its_way_into_a_volume(service: Service, admin: Client, anna: Client) -> None:
    """Also in place of what was there, of which a snapshot still tells."""
    await encrypted_type(admin, key_size=128)
    volume = await anna.volume(1, imageRef=await service.image(bytes([5]) * 3_000_000), volume_type="secret")
    path, secret = service.path(volume), await passphrase(service, volume)
    await disk(path, "read -P 5 0 3000000", secret=secret)
    assert not holds(path, bytes([5]) * 512)
    snapshot = await anna.snapshot(volume)
    await service.volumes.reimage(PEOPLE["anna"], volume, await service.image(QCOW2, "qcow2"))
    await service.idle()
    assert (await anna.show(volume))["status"] == "available"
    await disk(path, "read -P 0 0 1M", secret=secret)
    await disk(service.path(snapshot), "read -P 5 0 3000000", secret=secret)


@pytest.mark.parametrize("extent", [1, 4, 32])
async def test_an_encrypted_volume_is_as_large_as_asked_for_whatever_its_groups_extents(store: LvmStore, group: str, extent: int) -> None:
    """Also one that somebody who was killed has made by half."""
    device = run("pvs", "--noheadings", "--options", "pv_name", "--select", f"vg_name={group}").strip()
    run("vgremove", "--force", "--yes", group)
    run("vgcreate", "--physicalextentsize", f"{extent}m", group, device)
    run("lvcreate", "--type", "thin-pool", "--size", "1g", "--name", "thin", group)
    await store.make(ONE, 2)
    (store._parts / f"{ONE}.header").write_bytes(b"half of one")
    await store.make(ONE, 1, Luks("secret", 256))
    assert (await disk(store.path(ONE), "length", secret="secret")).split() == ["1", "GiB"]
    await store.grow(ONE, 2, encrypted=True)
    assert (await disk(store.path(ONE), "length", secret="secret")).split() == ["2", "GiB"]
    assert f"size={2 * GIB + max(extent * MIB, HEADER_BYTES)}," in await store.node(ONE, 2, encrypted=True, shared=False)
    assert list(store._parts.iterdir()) == []


async def test_a_guest_of_this_machine_sees_its_volume_grow(store: LvmStore) -> None:
    """By what the worker lets QEMU do, which takes no size for a device but its own."""
    await store.make(ONE, 1, Luks("secret", 256))
    keys = {"qom-type": "secret", "id": "key", "data": "secret"}
    file = {"driver": "host_device", "filename": str(store.path(ONE))}
    words = ["-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio"]
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    qemu = await asyncio.create_subprocess_exec("qemu-system-x86_64", *words, **pipes)

    async def told(command: str, **arguments: Any) -> Any:
        assert qemu.stdin is not None
        assert qemu.stdout is not None
        qemu.stdin.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = json.loads(await asyncio.wait_for(qemu.stdout.readline(), SECONDS))
            if "return" in answer or "error" in answer:
                return answer.get("return", answer)

    await told("qmp_capabilities")
    await told("object-add", **keys)
    assert await told("blockdev-add", driver="luks", **{"node-name": "disk", "key-secret": "key", "file": file}) == {}
    await store.grow(ONE, 2, encrypted=True)
    assert await told("block_resize", **{"node-name": "disk", "size": 2 * GIB}) == {}
    [size] = [each["image"]["virtual-size"] for each in await told("query-named-block-nodes") if each["node-name"] == "disk"]
    assert size == 2 * GIB
    qemu.kill()
    await qemu.wait()


@pytest.mark.parametrize(("host", "connector"), [("one", {"party": "compute.one"}), ("none", {})])
async def test_another_host_reads_writes_and_sees_a_volume_grow(
    service: Service, anna: Client, bridges: dict[str, Bridges], host: str, connector: dict[str, Any]
) -> None:
    """By NBD over TLS; a guest of the volume's own machine has what that host has written, on the device."""
    volume, nova = await anna.volume(), service.client("nova")
    attachment, way = await attach(service, volume, host, **connector)
    socket = await bridges[host].open(SERVER, attachment, way)
    await disk_of_host(socket, way["name"], "write -P 7 4k 4k", "read -P 0 0 4k")
    await nova("POST", f"/attachments/{attachment}/action", 204, {"os-complete": None})
    await anna.act(volume, "os-extend", {"new_size": 2})
    await service.idle()
    socket = await bridges[host].open(SERVER, attachment, way, anew=True)
    await disk_of_host(socket, way["name"], f"write -P 8 {2 * GIB - 4096} 4k", "read -P 7 4k 4k")
    here = {"attachment": {"connector": {"host": service.volumes.host}}}
    told = (await nova("PUT", f"/attachments/{attachment}", 200, here))["attachment"]["connection_info"]
    assert (told["driver_volume_type"], told["device_path"]) == ("local", str(service.path(volume)))
    await disk(service.path(volume), "read -P 7 4k 4k", f"read -P 8 {2 * GIB - 4096} 4k")
    assert await service.volumes.exports.daemons.names() == set()


async def test_another_host_has_the_ciphertext_of_an_encrypted_volume(
    service: Service, admin: Client, anna: Client, bridges: dict[str, Bridges]
) -> None:
    await encrypted_type(admin)
    volume = await anna.volume(volume_type="secret")
    attachment, way = await attach(service, volume, "one", party="compute.one")
    secret = way.pop("passphrase")
    assert (way.pop("encrypted"), secret) == (True, await passphrase(service, volume))
    socket = await bridges["one"].open(SERVER, attachment, way)
    place = f"driver=luks,key-secret=key,file.driver=nbd,file.export={way['name']},file.server.type=unix,file.server.path={socket}"
    asked = ["-c", "write -P 0x5a 0 1M", "-c", "length"]
    words = ["qemu-io", "--object", "secret,id=key,file=/dev/stdin", *asked, "--image-opts", place]
    done = await asyncio.to_thread(subprocess.run, words, input=secret, capture_output=True, text=True, timeout=SECONDS)
    assert done.stdout.split()[-2:] == ["1", "GiB"], done.stdout + done.stderr
    assert not holds(service.path(volume), bytes([0x5A]) * 512)
    await service.client("nova")("DELETE", f"/attachments/{attachment}", 200)
    await disk(service.path(volume), "read -P 0x5a 0 1M", secret=secret)
