"""Volumes of real guests that change their host, running or not: the bytes are there, and nobody else's way to them is left."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from nova_async.virt import testguest
from tests.lab.cluster import HOSTS, Cluster, no_twins
from tests.lab.test_deaths import fenced
from tests.lab.test_volume_deaths import until_daemons_are
from tests.lab.test_volumes import VOLUMES, attach, daemons, detach, make, on, volume_is

pytestmark = [pytest.mark.qemu, pytest.mark.hosts, pytest.mark.rabbitmq, pytest.mark.timeout(900), pytest.mark.xdist_group("qemu")]

WRITER = (  # counts in a sector of the volume, each number on its way before the next
    "(n=0; while :; do n=$((n+1)); echo $n | dd of=/dev/vdb bs=512 seek=2048 count=1 conv=sync,fsync; sleep 1; done)"
    " >/dev/null 2>&1 </dev/null &"
)
WRITTEN = "dd if=/dev/vdb bs=512 skip=2048 count=1 iflag=direct 2>/dev/null | head -n 1"
SUM = "dd if=/dev/vdb bs=64k count=32 skip=256 iflag=direct 2>/dev/null | md5sum"


async def from_a_volume(cluster: Cluster, folder: Path, host: str) -> str:
    """A server without a disk of its host's."""
    root = {"uuid": await cluster.test_image(folder), "source_type": "image", "destination_type": "volume", "volume_size": 1}
    device = root | {"boot_index": 0, "delete_on_termination": True}
    server = await cluster.boot("", await cluster.flavor("lab.vol"), availability_zone=f"nova:{host}", block_device_mapping_v2=[device])
    await cluster.reaches(server, "ACTIVE")
    await cluster.booted(server, 1)
    return server


async def ticks(cluster: Cluster, server: str) -> int:
    return int(await cluster.inside(server, "cat /run/ticks"))


async def grows(cluster: Cluster, server: str, command: str, above: int) -> int:
    """Wait until the guest prints a larger number."""
    end = time.monotonic() + 60
    while (count := int(await cluster.inside(server, command) or 0)) <= above:
        assert time.monotonic() < end, f"{count}, not above {above}"
        await asyncio.sleep(0.2)
    return count


async def until_there_are(cluster: Cluster, count: int) -> None:
    """So many processes hand out volumes; one whose host is the server's own now is started anew, to lock the file."""
    end = time.monotonic() + 60
    while len(found := daemons(cluster)) != count:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.3)


async def migrated(cluster: Cluster, server: str, **how: Any) -> None:
    """Live, to the other host."""
    home = await cluster.host_of(server)
    await cluster.act(server, **{"os-migrateLive": {"host": cluster.other(home), "block_migration": "auto"} | how})
    row = await cluster.settles(server, 300)
    assert row["status"] == "ACTIVE"
    assert (row["OS-EXT-SRV-ATTR:host"], row.get("fault")) == (cluster.other(home), None)


async def test_a_guest_migrates_there_and_back_while_it_writes_to_its_volumes(cluster: Cluster, test_guest: Path) -> None:
    """One with a disk of its host's beside the volume, one that boots from a volume."""
    others = daemons(cluster)
    for server in (await on(cluster, test_guest, HOSTS[0]), await from_a_volume(cluster, test_guest, HOSTS[0])):
        volume = await make(cluster)
        await attach(cluster, server, volume)
        await cluster.inside(
            server, "dd if=/dev/urandom of=/dev/vdb bs=64k seek=256 count=32 conv=fsync 2>/dev/null; echo kept > /data/mark; sync"
        )
        before, count = await cluster.inside(server, SUM), await ticks(cluster, server)
        await cluster.inside(server, WRITER)
        written = await grows(cluster, server, WRITTEN, 0)
        had = len(daemons(cluster))
        async with no_twins(cluster, server):
            for _ in range(2):
                await migrated(cluster, server)
                count, written = await grows(cluster, server, "cat /run/ticks", count), await grows(cluster, server, WRITTEN, written)
                assert await cluster.inside(server, SUM) == before
                assert await cluster.inside(server, "cat /data/mark") == "kept"
                await until_there_are(cluster, had)
        await cluster.act(server, reboot={"type": "HARD"})
        await cluster.booted(server, 2)
        assert await cluster.inside(server, SUM) == before
        await detach(cluster, server, volume)
        await cluster.delete(server)
        await cluster.ask("DELETE", f"{VOLUMES}/{volume}")
    await until_daemons_are(cluster, others)
    await cluster.all_is_well()


async def test_a_server_with_volumes_goes_where_it_is_told_while_it_is_off(cluster: Cluster, test_guest: Path) -> None:
    """Migrated and sent back, resized, shelved and brought back elsewhere."""
    others = daemons(cluster)
    large = await cluster.flavor("lab.large.vol", ram=192)
    for server in (await on(cluster, test_guest, HOSTS[0]), await from_a_volume(cluster, test_guest, HOSTS[0])):
        volume = await make(cluster)
        await attach(cluster, server, volume)
        await cluster.inside(server, "echo from the volume > /dev/vdb; sync")
        had = len(daemons(cluster))

        async def is_there(server: str = server, had: int = had) -> None:
            assert await cluster.inside(server, "head -c 15 /dev/vdb", 120) == "from the volume"
            await until_there_are(cluster, had)

        home = await cluster.host_of(server)
        await cluster.act(server, migrate=None)
        await cluster.reaches(server, "VERIFY_RESIZE")
        assert await cluster.host_of(server) == cluster.other(home)
        assert await cluster.inside(server, "head -c 15 /dev/vdb", 120) == "from the volume"
        await cluster.act(server, revertResize=None)
        await cluster.reaches(server, "ACTIVE")
        await is_there()
        await cluster.act(server, resize={"flavorRef": large})
        await cluster.reaches(server, "VERIFY_RESIZE")
        await cluster.act(server, confirmResize=None)
        await cluster.reaches(server, "ACTIVE")
        await is_there()
        home = await cluster.host_of(server)
        await cluster.act(server, shelve=None)
        await cluster.reaches(server, "SHELVED_OFFLOADED")
        await cluster.act(server, unshelve={"host": cluster.other(home)})
        await cluster.reaches(server, "ACTIVE")
        await is_there()
        await detach(cluster, server, volume)
        await cluster.delete(server)
        await volume_is(cluster, volume, "available")
        await cluster.ask("DELETE", f"{VOLUMES}/{volume}")
    await until_daemons_are(cluster, others)
    await cluster.all_is_well()


async def rescuing(cluster: Cluster, folder: Path) -> str:
    """The test guest as an image that a server is rescued with, all its disks in their places."""
    kernel = await cluster.image("kernel", (folder / testguest.KERNEL).read_bytes(), "aki")
    ramdisk = await cluster.image("ramdisk", (folder / testguest.RAMDISK).read_bytes(), "ari")
    data = (folder / testguest.IMAGE).read_bytes()
    stable = {"hw_rescue_device": "disk", "hw_rescue_bus": "virtio"}
    return await cluster.image("rescuing", data, kernel_id=kernel, ramdisk_id=ramdisk, **stable)


@pytest.mark.parametrize("boots_from_volume", [False, True])
async def test_a_server_with_volumes_is_rescued_rebuilt_and_evacuated(cluster: Cluster, test_guest: Path, boots_from_volume: bool) -> None:
    """What is on the volumes is there after each; a root volume keeps its data but for the rebuilding."""
    others, image, rescue = daemons(cluster), await cluster.test_image(test_guest), await rescuing(cluster, test_guest)
    make_one = from_a_volume if boots_from_volume else on
    server = await make_one(cluster, test_guest, HOSTS[0])
    volume = await make(cluster)
    await attach(cluster, server, volume)
    await cluster.inside(server, "echo from the volume > /dev/vdb; echo kept > /data/mark; sync")
    had = len(daemons(cluster))
    await cluster.act(server, rescue={"rescue_image_ref": rescue})
    await cluster.reaches(server, "RESCUE")
    assert await cluster.inside(server, "head -c 15 /dev/vdb", 180) == "from the volume"
    await cluster.act(server, unrescue=None)
    await cluster.reaches(server, "ACTIVE")
    assert await cluster.inside(server, "cat /data/mark; head -c 15 /dev/vdb", 180) == "kept\nfrom the volume"
    await cluster.act(server, rebuild={"imageRef": image})
    await cluster.reaches(server, "ACTIVE")
    assert await cluster.inside(server, "ls /data/mark 2>/dev/null; head -c 15 /dev/vdb", 180) == "from the volume"
    await cluster.inside(server, "echo again > /data/mark; sync")
    await until_there_are(cluster, had)
    home = await cluster.host_of(server)
    async with fenced(cluster, server):
        await cluster.act(server, evacuate={})
        row = await cluster.reaches(server, "SHUTOFF")
        assert row["OS-EXT-SRV-ATTR:host"] == cluster.other(home)
        await cluster.act(server, **{"os-start": None})
        await cluster.reaches(server, "ACTIVE")
        assert await cluster.inside(server, "head -c 15 /dev/vdb", 180) == "from the volume"
        assert await cluster.inside(server, "cat /data/mark 2>/dev/null || true") == ("again" if boots_from_volume else "")
    await cluster.until_is_on(server, {cluster.other(home): True})
    await until_there_are(cluster, had)
    await detach(cluster, server, volume)
    await cluster.delete(server)
    await cluster.ask("DELETE", f"{VOLUMES}/{volume}")
    await until_daemons_are(cluster, others)
    await cluster.all_is_well()
