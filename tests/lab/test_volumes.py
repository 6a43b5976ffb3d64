"""Volumes of real guests on hosts that are not the volumes' own: what is written, where it is read, what grows, what dies."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lab.cluster import COMPUTE, HOSTS, SETTLE_SECONDS, Cluster

pytestmark = [pytest.mark.qemu, pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("qemu")]

VOLUMES = "/volume/v3/volumes"
GIB = 2**30
SECTORS = "cat /sys/block/vdb/size"


async def volume_is(cluster: Cluster, volume: str, status: str, seconds: float = SETTLE_SECONDS) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while True:
        found: dict[str, Any] = (await cluster.ask("GET", f"{VOLUMES}/{volume}"))["volume"]
        if found["status"] == status:
            return found
        assert not found["status"].startswith("error"), found
        assert time.monotonic() < end, found
        await asyncio.sleep(0.3)


async def make(cluster: Cluster, **fields: Any) -> str:
    volume = str((await cluster.ask("POST", VOLUMES, {"volume": {"size": 1, **fields}}))["volume"]["id"])
    await volume_is(cluster, volume, "available")
    return volume


async def attach(cluster: Cluster, server: str, volume: str) -> None:
    body = {"volumeAttachment": {"volumeId": volume}}
    await cluster.ask("POST", f"{COMPUTE}/servers/{server}/os-volume_attachments", body)
    await volume_is(cluster, volume, "in-use")
    await cluster.settles(server)
    assert await cluster.inside(server, "for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/vdb ] && break; sleep 1; done; ls /dev/vdb") == "/dev/vdb"


async def detach(cluster: Cluster, server: str, volume: str) -> None:
    await cluster.ask("DELETE", f"{COMPUTE}/servers/{server}/os-volume_attachments/{volume}")
    await volume_is(cluster, volume, "available")
    await cluster.settles(server)


async def on(cluster: Cluster, folder: Path, host: str) -> str:
    server = await cluster.boot(await cluster.test_image(folder), await cluster.flavor("lab.vol"), availability_zone=f"nova:{host}")
    await cluster.reaches(server, "ACTIVE")
    await cluster.booted(server, 1)
    return server


async def grown(cluster: Cluster, server: str, gib: int) -> None:
    """Wait until the guest sees so large a volume."""
    end = time.monotonic() + 30
    while (seen := await cluster.inside(server, SECTORS)) != str(gib * GIB // 512):
        assert time.monotonic() < end, f"{seen} sectors"
        await asyncio.sleep(0.3)


def daemons(cluster: Cluster) -> list[Path]:
    """Their pid files, on the volumes' machine and on the hosts."""
    folders = [cluster.state / "app" / "exports", *(cluster.state / host / "ways" for host in HOSTS)]
    return sorted(path for folder in folders for path in folder.glob("*-*/pid"))


async def test_what_a_guest_writes_a_guest_of_the_other_host_reads(cluster: Cluster, test_guest: Path) -> None:
    """INV-24, INV-25; and it grows while it is had, and what hands it out may die."""
    others = daemons(cluster)
    first, second = [await on(cluster, test_guest, host) for host in HOSTS]
    volume = await make(cluster)
    await attach(cluster, first, volume)
    await cluster.inside(first, "echo from the first guest > /dev/vdb; sync")
    assert await cluster.inside(first, SECTORS) == str(GIB // 512)
    for path in set(daemons(cluster)).difference(others):
        os.kill(int(path.read_text()), signal.SIGKILL)
    await cluster.inside(
        first, "echo 3 > /proc/sys/vm/drop_caches; head -c 20 /dev/vdb; dd if=/dev/zero of=/dev/vdb bs=1M seek=1 count=64 conv=fsync"
    )
    await cluster.reaches(first, "ACTIVE")
    await cluster.ask("POST", f"{VOLUMES}/{volume}/action", {"os-extend": {"new_size": 2}})
    await volume_is(cluster, volume, "in-use")
    await cluster.settles(first)
    await grown(cluster, first, 2)
    await cluster.inside(first, "echo at the end | dd of=/dev/vdb bs=1M seek=2047 conv=fsync")
    await detach(cluster, first, volume)
    assert await cluster.inside(first, "ls /sys/block | grep -c vdb || true") == "0"

    await attach(cluster, second, volume)
    assert await cluster.inside(second, "head -c 20 /dev/vdb") == "from the first guest"
    assert await cluster.inside(second, "dd if=/dev/vdb bs=1M skip=2047 2>/dev/null | head -c 10") == "at the end"
    assert len(daemons(cluster)) == len(others) + 2
    await cluster.act(second, reboot={"type": "HARD"})
    await cluster.booted(second, 2)
    assert await cluster.inside(second, "head -c 20 /dev/vdb") == "from the first guest"
    await cluster.delete(second)
    await volume_is(cluster, volume, "available")
    assert daemons(cluster) == others
    await cluster.delete(first)
    await cluster.ask("DELETE", f"{VOLUMES}/{volume}")
    await cluster.all_is_well()
