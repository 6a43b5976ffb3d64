"""Real guests with volumes on a real Ceph: written by one, read by another, grown and copied meanwhile, booted from."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nova_async.virt.libvirt.daemon import private_uri
from tests.volume.ceph import MISSING, USER, Ceph

from .running import ADMIN, RealHost, RunningCloud, User, real_cloud
from .test_real_guest import Guest

pytestmark = [
    *(pytest.mark.ceph, pytest.mark.qemu, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("qemu")),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (make test-ceph does it)"),
]
SECRET = "457eb676-33da-42ec-9a8c-9293d545c337"
SECONDS = 120
COMPUTE, VOLUME = "/compute/v2.1", "/volume/v3"
GIB = 2**30
LUKS = {"provider": "luks", "cipher": "aes-xts-plain64", "key_size": 256, "control_location": "front-end"}


@pytest.fixture
def real(real_guests_can_run: None, test_guest: Path, tmp_path: Path) -> Iterator[tuple[RunningCloud, RealHost, Ceph]]:
    with real_cloud(test_guest) as (cloud, host), Ceph(tmp_path / "ceph", host.ours).running() as ceph:
        told = {"BACKEND": "rbd", "RBD_POOL": ceph.pool(), "RBD_USER": USER, "RBD_CONF": str(ceph.conf), "RBD_SECRET": SECRET}
        cloud.environment |= {f"NOVA_ASYNC_VOLUME_{name}": value for name, value in told.items()}
        yield cloud, host, ceph


def give_the_key(cloud: RunningCloud, ceph: Ceph) -> None:
    """As an operator does it on each host."""
    text = f'<secret private="yes"><uuid>{SECRET}</uuid><usage type="ceph"><name>client.{USER} secret</name></usage></secret>'
    for words in (("secret-define", "/dev/stdin"), ("secret-set-value", SECRET, ceph.key())):
        subprocess.run(["virsh", "-c", private_uri(cloud.state), *words], input=text, text=True, check=True, capture_output=True)


class Story:
    """A user, the way to the guests of two servers, and a volume between them."""

    def __init__(self, user: User) -> None:
        self.user = user

    async def until(self, path: str, kind: str, status: str) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while True:
            found: dict[str, Any] = (await self.user.get(f"{VOLUME}{path}"))[kind]
            if found["status"] == status:
                return found
            assert not found["status"].startswith("error"), found
            assert time.monotonic() < end, found
            await asyncio.sleep(0.2)

    async def volume(self, **fields: Any) -> str:
        made = str((await self.user.ask("POST", f"{VOLUME}/volumes", {"volume": {"size": 1} | fields}))["volume"]["id"])
        await self.until(f"/volumes/{made}", "volume", "available")
        return made

    async def attach(self, server: str, guest: Guest, volume: str) -> str:
        """The guest's device, once it is there."""
        path = f"{COMPUTE}/servers/{server}/os-volume_attachments"
        await self.user.ask("POST", path, {"volumeAttachment": {"volumeId": volume}})
        await self.until(f"/volumes/{volume}", "volume", "in-use")
        await self.user.until(server, "ACTIVE")
        look = f"grep -l {volume[:20]} /sys/block/*/serial | cut -d/ -f4"
        end = time.monotonic() + SECONDS
        while not (name := await asyncio.to_thread(guest.ssh, look)).startswith("vd"):
            assert time.monotonic() < end, name
            await asyncio.sleep(0.3)
        return f"/dev/{name}"

    async def detach(self, server: str, volume: str) -> None:
        await self.user.ask("DELETE", f"{COMPUTE}/servers/{server}/os-volume_attachments/{volume}")
        await self.until(f"/volumes/{volume}", "volume", "available")
        await self.user.until(server, "ACTIVE")


async def said(guest: Guest, command: str, answer: str) -> None:
    """Wait until the guest answers a command so."""
    end = time.monotonic() + SECONDS
    while (told := await asyncio.to_thread(guest.ssh, command)) != answer:
        assert time.monotonic() < end, told
        await asyncio.sleep(0.3)


@pytest.mark.parametrize("kind", ["files", "secret"])
async def test_guests_on_ceph(kind: str, real: tuple[RunningCloud, RealHost, Ceph]) -> None:
    """``kind``: the type of all volumes, of which the latter's are encrypted (SEC-036)."""
    cloud, host, ceph = real
    pool = cloud.environment["NOVA_ASYNC_VOLUME_RBD_POOL"]
    await asyncio.to_thread(cloud.start)
    login = await asyncio.to_thread(cloud.wait_for, "log in:", 240)
    await asyncio.to_thread(give_the_key, cloud, ceph)
    one = Guest(cloud, host, login.rpartition("@")[2])
    async with cloud.user(ADMIN) as admin:
        made = (await admin.ask("POST", f"{VOLUME}/types", {"volume_type": {"name": "secret"}}))["volume_type"]["id"]
        await admin.ask("POST", f"{VOLUME}/types/{made}/encryption", {"encryption": LUKS})
    async with cloud.user() as user:
        story = Story(user)
        [first] = [each["id"] for each in (await user.get(f"{COMPUTE}/servers"))["servers"]]
        data = await story.volume(name="data", volume_type=kind)
        disk = await story.attach(first, one, data)
        await said(one, f"echo of the first > {disk}; sync; head -c 12 {disk}", "of the first")
        snapshot = {"volume_id": data, "force": True}
        kept = str((await user.ask("POST", f"{VOLUME}/snapshots", {"snapshot": snapshot}))["snapshot"]["id"])
        await story.until(f"/snapshots/{kept}", "snapshot", "available")
        await said(one, f"echo of the later > {disk}; sync; head -c 12 {disk}", "of the later")
        await user.ask("POST", f"{VOLUME}/volumes/{data}/action", {"os-extend": {"new_size": 2}})
        await said(one, f"cat /sys/block/{Path(disk).name}/size", str(2 * GIB // 512))
        await said(one, f"echo at the end | dd of={disk} bs=1M seek=2047 conv=fsync 2>/dev/null; echo $?", "0")
        await story.until(f"/volumes/{data}", "volume", "in-use")
        await user.until(first, "ACTIVE")
        await story.detach(first, data)
        for text in (b"of the later", b"at the end"):
            assert await asyncio.to_thread(ceph.holds, pool, f"volume-{data}", text) is (kind == "files")

        image = (await user.get("/image/v2/images?name=testguest"))["images"][0]["id"]
        root = {"uuid": image, "source_type": "image", "destination_type": "volume", "volume_size": 1, "boot_index": 0}
        device = [root | {"delete_on_termination": True, "volume_type": kind}]
        second = await user.boot("second", imageRef="", networks="auto", key_name="first", block_device_mapping_v2=device)
        shown = await user.until(second, "ACTIVE", SECONDS)
        [address] = [each["addr"] for net in shown["addresses"].values() for each in net if each["version"] == 4]
        other = Guest(cloud, host, address)
        assert await asyncio.to_thread(other.boots) == 1
        disk = await story.attach(second, other, data)
        await said(other, f"head -c 12 {disk}", "of the later")
        await said(other, f"dd if={disk} bs=1M skip=2047 2>/dev/null | head -c 10", "at the end")
        await user.act(second, "reboot", {"type": "HARD"})
        await user.until(second, "ACTIVE", SECONDS)
        await said(other, "cat /data/boots", "2")
        await said(other, f"head -c 12 {disk}", "of the later")
        copy = await story.volume(snapshot_id=kept)
        disk = await story.attach(first, one, copy)
        await said(one, f"head -c 12 {disk}", "of the first")
        await story.detach(first, copy)
        for path in (f"/snapshots/{kept}", f"/volumes/{copy}"):
            await user.ask("DELETE", f"{VOLUME}{path}")
        for server in (first, second):
            await user.ask("DELETE", f"{COMPUTE}/servers/{server}")
            await user.until(server, "GONE", SECONDS)
        await story.until(f"/volumes/{data}", "volume", "available")
        await user.ask("DELETE", f"{VOLUME}/volumes/{data}")
        end = time.monotonic() + SECONDS
        while (await user.get(f"{VOLUME}/volumes"))["volumes"]:
            assert time.monotonic() < end
            await asyncio.sleep(0.3)
    assert (await asyncio.to_thread(ceph, "rbd", "ls", pool)).split() == ["nova-async"]
    await asyncio.to_thread(cloud.is_consistent)
    cloud.has_a_clean_log(ceph.key())
