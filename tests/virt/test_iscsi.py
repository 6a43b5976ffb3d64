"""A volume behind a real iSCSI target (tgt), which lets in one host that knows the password: CHAP, RFC 7143."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("libvirt")

from nova_async.errors import Error
from nova_async.model.guests import VolumeSpec
from nova_async.processes import run
from nova_async.virt.libvirt import domains
from nova_async.virt.libvirt import host as libvirt_host
from nova_async.world import RealWorld
from tests.virt.conftest import QemuHost, QemuLab

pytestmark = [
    *(pytest.mark.libvirt, pytest.mark.qemu, pytest.mark.timeout(300), pytest.mark.xdist_group("qemu-volumes")),
    pytest.mark.skipif(shutil.which("tgtd") is None, reason="no iSCSI target: Debian's tgt"),
]

MakeLab = Callable[..., Awaitable[QemuLab]]
PORT, CONTROL = 13260, "13"
TARGET = "iqn.2010-10.org.openstack:volume-1"
USER, PASSWORD = "anna", "open-sesame-1234"
WORDS = "written-over-iscsi"


class Target:
    """The target daemon, in the namespace of the guests' processes or (without ``network``) in ours, with one volume of 64 MiB as LUN 1."""

    def __init__(self, file: Path, network: str = "", control: str = CONTROL) -> None:
        self.file, self.network, self.control = file, network, control
        self.daemon: asyncio.subprocess.Process | None = None

    async def open(self, initiator: str) -> None:
        with self.file.open("wb") as file:
            file.truncate(64 * 2**20)
        inside = ("ip", "netns", "exec", self.network) if self.network else ()
        if inside:
            await run(*inside, "ip", "link", "set", "lo", "up", deadline=10)
        words = ("tgtd", "-f", "-C", self.control, "--iscsi", f"portal=127.0.0.1:{PORT}")
        self.daemon = await asyncio.create_subprocess_exec(*inside, *words, stdout=asyncio.subprocess.DEVNULL)
        await self._listening()
        await self.tell("new", "target", "--tid", "1", "-T", TARGET)
        await self.tell("new", "logicalunit", "--tid", "1", "--lun", "1", "-b", str(self.file))
        await self.tell("new", "account", "--user", USER, "--password", PASSWORD)
        await self.tell("bind", "account", "--tid", "1", "--user", USER)
        await self.tell("bind", "target", "--tid", "1", "--initiator-name", initiator)

    async def _listening(self) -> None:
        for _ in range(100):
            if self.daemon is None or self.daemon.returncode is not None:
                raise RuntimeError("tgtd has ended")
            try:
                await self.tell("show", "sys")
                return
            except Error:
                await RealWorld().sleep(0.1)
        raise RuntimeError("tgtd does not answer")

    async def tell(self, verb: str, what: str, *words: str) -> None:
        await run("tgtadm", "-C", self.control, "--lld", "iscsi", "--op", verb, "--mode", what, *words, deadline=10)

    async def close(self) -> None:
        if self.daemon is not None:
            self.daemon.kill()
            await self.daemon.wait()


class Told:
    """A ``VolumeFetcher`` that says what Cinder says of such a volume."""

    def __init__(self) -> None:
        self.changed: dict[str, Any] = {}

    async def connection(self, attachment_id: str) -> dict[str, Any]:
        login = {"auth_method": "CHAP", "auth_username": USER, "auth_password": PASSWORD}
        place = {"target_portal": f"127.0.0.1:{PORT}", "target_iqn": TARGET, "target_lun": 1, "encrypted": False}
        return {"driver_volume_type": "iscsi", "data": place | login | self.changed}


@pytest.fixture
async def target(qemu_host: QemuHost, tmp_path: Path) -> AsyncIterator[Target]:
    made = Target(tmp_path / "lun", qemu_host.network)
    try:
        yield made
    finally:
        await made.close()


async def test_a_volume_behind_a_target_that_wants_a_password(qemu_lab: MakeLab, target: Target) -> None:
    """The password is libvirt's alone: it stands in no description of the guest, and is gone with the volume."""
    lab = await qemu_lab()
    await target.open(libvirt_host.initiator(lab.driver.host))
    told = lab.driver._volumes = Told()
    guest = await lab.spawn()
    volume = VolumeSpec(volume_id="0b8a6a0e-5c1f-4d6c-9d0a-5f3f0f8b7a11", attachment_id="a", device="/dev/vdb", size_gib=1)
    having = msgspec.structs.replace(guest, volumes=(volume,))
    await lab.ready(guest)
    for wrong in ({"auth_password": "guessed-by-mallory"}, {"auth_method": "", "auth_password": ""}):
        told.changed = wrong
        with pytest.raises(Error):
            await lab.driver.attach_volume(having, 1, volume)
    told.changed = {"qos_specs": {"total_iops_sec": "500", "minIOPS": "1"}, "logical_block_size": 512, "physical_block_size": 4096}
    await lab.driver.attach_volume(having, 1, volume)
    await lab.printed(guest, "hotplug add block name=vdb")
    await lab.shell(guest, f"echo {WORDS} > /dev/vdb; sync")
    assert await lab.shell(guest, "cat /sys/block/vdb/queue/physical_block_size") == "4096"
    limits = await lab.driver._connection.call(lambda connection: connection.lookupByUUIDString(guest.instance_id).blockIoTune("vdb"))
    assert limits["total_iops_sec"] == 500
    assert target.file.read_bytes()[: len(WORDS)] == WORDS.encode()
    await lab.driver.reboot(having, 2, hard=True)
    await lab.printed(guest, "TESTGUEST ready", times=2)
    assert await lab.shell(guest, f"head -c {len(WORDS)} /dev/vdb") == WORDS
    described = await lab.driver._connection.call(lambda connection: connection.lookupByUUIDString(guest.instance_id).XMLDesc(1))
    assert PASSWORD not in described
    await lab.driver.detach_volume(guest, 2, volume)
    assert await lab.driver._connection.call(lambda connection: connection.listAllSecrets()) == []
    await lab.driver.destroy(guest.instance_id)


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Path]:
    """A file system with room for 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    await run("mount", "-t", "tmpfs", "-o", "size=8m", "small", str(folder), deadline=10)
    yield folder
    await run("umount", "--lazy", str(folder), deadline=10)


async def test_a_guest_stands_still_while_its_target_has_no_room(qemu_lab: MakeLab, target: Target, small: Path) -> None:
    """What it has written is there once there is room."""
    lab = await qemu_lab()
    target.file = small / "lun"
    await target.open(libvirt_host.initiator(lab.driver.host))
    told = lab.driver._volumes = Told()
    told.changed = {"error_policy": "stop"}
    guest = await lab.spawn()
    volume = VolumeSpec(volume_id="0b8a6a0e-5c1f-4d6c-9d0a-5f3f0f8b7a11", attachment_id="a", device="/dev/vdb", size_gib=1)
    await lab.ready(guest)
    await lab.driver.attach_volume(msgspec.structs.replace(guest, volumes=(volume,)), 1, volume)
    await lab.printed(guest, "hotplug add block name=vdb")
    copied = "dd if=/dev/urandom of=/data/noise bs=1M count=16 2>/dev/null; cp /data/noise /dev/vdb; sync; md5sum < /data/noise"
    writing = asyncio.create_task(lab.shell(guest, copied))
    while guest.instance_id not in await lab.driver._connection.call(domains.waiting):
        await RealWorld().sleep(0.02)
    assert not writing.done()
    await run("mount", "-o", "remount,size=64m", str(small), deadline=10)
    said = await writing
    assert hashlib.md5(target.file.read_bytes()[: 16 * 2**20]).hexdigest() in said
    await lab.driver.destroy(guest.instance_id)


async def test_a_guest_has_an_encrypted_volume_that_nobody_has_formatted(qemu_lab: MakeLab, target: Target) -> None:
    """The host formats it, in its own network; the guest reads again what it wrote, and the target has neither that nor the passphrase."""
    lab = await qemu_lab()
    initiator = libvirt_host.initiator(lab.driver.host)
    for_host = Target(target.file, control="14")
    try:
        for each in (target, for_host):
            await each.open(initiator)
        told = lab.driver._volumes = Told()
        told.changed = {"encrypted": True, "passphrase": "sesame", "blank_bits": 256}
        guest = await lab.spawn()
        volume = VolumeSpec(volume_id="0b8a6a0e-5c1f-4d6c-9d0a-5f3f0f8b7a11", attachment_id="a", device="/dev/vdb", size_gib=1)
        having = msgspec.structs.replace(guest, volumes=(volume,))
        await lab.ready(guest)
        await lab.driver.attach_volume(having, 1, volume)
        await lab.printed(guest, "hotplug add block name=vdb")
        await lab.shell(guest, f"echo {WORDS} > /dev/vdb; sync")
        await lab.driver.reboot(having, 2, hard=True)
        await lab.printed(guest, "TESTGUEST ready", times=2)
        assert await lab.shell(guest, f"head -c {len(WORDS)} /dev/vdb") == WORDS
        held = target.file.read_bytes()
        assert (held[:6], WORDS.encode() in held, b"sesame" in held) == (b"LUKS\xba\xbe", False, False)
        await lab.driver.detach_volume(guest, 2, volume)
        assert await lab.driver._connection.call(lambda connection: connection.listAllSecrets()) == []
        await lab.driver.destroy(guest.instance_id)
    finally:
        await for_host.close()
