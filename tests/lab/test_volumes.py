"""Volumes of real guests on hosts that are not the volumes' own: what is written, where it is read, what grows, what dies."""

import asyncio
import contextlib
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


async def detach(cluster: Cluster, server: str, volume: str, status: str = "available") -> None:
    """``status``: what the volume is then."""
    await cluster.ask("DELETE", f"{COMPUTE}/servers/{server}/os-volume_attachments/{volume}")
    await cluster.settles(server)
    await volume_is(cluster, volume, status)
    await cluster.settles(server)


async def on(cluster: Cluster, folder: Path, host: str, **fields: Any) -> str:
    image, flavor = await cluster.test_image(folder), await cluster.flavor("lab.vol")
    server = await cluster.boot(image, flavor, availability_zone=f"nova:{host}", **fields)
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


def end_daemons(paths: set[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(path.read_text()), signal.SIGKILL)


async def test_what_a_guest_writes_a_guest_of_the_other_host_reads(cluster: Cluster, test_guest: Path) -> None:
    """INV-24, INV-25; and it grows while it is had, and what hands it out may die."""
    others = daemons(cluster)
    first, second = [await on(cluster, test_guest, host) for host in HOSTS]
    volume = await make(cluster)
    await attach(cluster, first, volume)
    had = len(daemons(cluster))
    assert had > len(others)
    await cluster.inside(first, "echo from the first guest > /dev/vdb; sync")
    assert await cluster.inside(first, SECTORS) == str(GIB // 512)
    end_daemons(set(daemons(cluster)).difference(others))
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
    assert len(daemons(cluster)) == had
    await cluster.act(second, reboot={"type": "HARD"})
    await cluster.booted(second, 2)
    assert await cluster.inside(second, "head -c 20 /dev/vdb") == "from the first guest"
    await cluster.delete(second)
    await volume_is(cluster, volume, "available")
    assert daemons(cluster) == others
    await cluster.delete(first)
    await cluster.ask("DELETE", f"{VOLUMES}/{volume}")
    await cluster.all_is_well()


@pytest.mark.hosts
async def test_a_guest_boots_from_a_volume_of_another_machine_and_two_share_one(cluster: Cluster, test_guest: Path) -> None:
    image = await cluster.test_image(test_guest)
    known = (await cluster.ask("GET", "/volume/v3/types"))["volume_types"]
    if "lab.shared" not in {each["name"] for each in known}:
        shared = {"name": "lab.shared", "extra_specs": {"multiattach": "<is> True"}}
        await cluster.ask("POST", "/volume/v3/types", {"volume_type": shared})
    root = {"uuid": image, "source_type": "image", "destination_type": "volume", "volume_size": 1, "boot_index": 0}
    device = root | {"delete_on_termination": True}
    booting = await cluster.boot(
        "", await cluster.flavor("lab.vol"), availability_zone=f"nova:{HOSTS[1]}", block_device_mapping_v2=[device]
    )
    other = await on(cluster, test_guest, HOSTS[0])
    await cluster.reaches(booting, "ACTIVE")
    await cluster.booted(booting, 1)
    volume = await make(cluster, volume_type="lab.shared")
    for server in (booting, other):
        await attach(cluster, server, volume)
    await cluster.inside(booting, "echo of the one | dd of=/dev/vdb bs=512 oflag=direct conv=sync")
    assert await cluster.inside(other, "dd if=/dev/vdb bs=512 count=1 iflag=direct 2>/dev/null | head -c 10") == "of the one"
    snapshot = {"volume_id": volume, "force": True}
    made = str((await cluster.ask("POST", "/volume/v3/snapshots", {"snapshot": snapshot}))["snapshot"]["id"])
    await snapshot_is(cluster, made, "available")
    await detach(cluster, other, volume, "in-use")
    await detach(cluster, booting, volume)
    copy = await make(cluster, snapshot_id=made)
    await attach(cluster, other, copy)
    assert await cluster.inside(other, "head -c 10 /dev/vdb") == "of the one"
    await detach(cluster, other, copy)
    for server in (booting, other):
        await cluster.delete(server)
    await cluster.ask("DELETE", f"/volume/v3/snapshots/{made}")
    await snapshot_is(cluster, made, "")
    for each in (volume, copy):
        await cluster.ask("DELETE", f"{VOLUMES}/{each}")
    await cluster.all_is_well()


async def snapshot_is(cluster: Cluster, snapshot: str, status: str) -> None:
    """``status``: empty for one that is gone."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        found = {each["id"]: each["status"] for each in (await cluster.ask("GET", "/volume/v3/snapshots"))["snapshots"]}
        if found.get(snapshot, "") == status:
            return
        assert time.monotonic() < end, found
        await asyncio.sleep(0.3)
