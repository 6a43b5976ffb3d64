"""What guests and machines do by themselves: a guest goes off or is killed, libvirtd dies, a machine goes down and comes back."""

import asyncio
import subprocess
import time
from pathlib import Path

import pytest

from tests.lab.cluster import Cluster

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.hosts,
    pytest.mark.rabbitmq,
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("qemu"),
]


async def booted(cluster: Cluster, folder: Path) -> str:
    server = await cluster.boot(await cluster.test_image(folder), await cluster.flavor("lab.plain"))
    await cluster.reaches(server, "ACTIVE")
    await cluster.booted(server, 1)
    return server


async def ended(cluster: Cluster, server: str) -> None:
    await cluster.delete(server)
    await cluster.until_is_on(server, {})
    await cluster.all_is_well()


def qemu_of(server: str) -> list[int]:
    found = subprocess.run(["pgrep", "-f", f"qemu-system.*uuid {server}"], capture_output=True, text=True).stdout
    return [int(pid) for pid in found.split()]


async def shut_off_since(cluster: Cluster, server: str, ended: float) -> float:
    """Wait until the API shows it; the seconds since."""
    while (await cluster.server(server))["status"] != "SHUTOFF":
        assert time.monotonic() < ended + 60
        await asyncio.sleep(0.02)
    return time.monotonic() - ended


async def test_a_guest_that_goes_off_or_dies_is_shown_to_be_off(cluster: Cluster, test_guest: Path) -> None:
    server = await booted(cluster, test_guest)
    home = await cluster.host_of(server)
    await cluster.inside(server, "(sleep 1; poweroff) >/dev/null 2>&1 &")
    while qemu_of(server):
        await asyncio.sleep(0.01)
    print(f"\nits own power-off: shown after {await shut_off_since(cluster, server, time.monotonic()):.2f} s")

    await cluster.act(server, **{"os-start": None})
    await cluster.reaches(server, "ACTIVE")
    cluster.kill_guest(server)
    print(f"its QEMU killed: shown after {await shut_off_since(cluster, server, time.monotonic()):.2f} s")

    await cluster.act(server, **{"os-start": None})
    await cluster.reaches(server, "ACTIVE")
    cluster.kill(f"{home}/libvirtd")
    cluster.kill_guest(server)
    print(f"with libvirtd dead too: shown after {await shut_off_since(cluster, server, time.monotonic()):.2f} s")
    await ended(cluster, server)


async def test_what_ran_on_a_machine_runs_again_after_its_next_start(cluster: Cluster, test_guest: Path) -> None:
    server, off = await booted(cluster, test_guest), await booted(cluster, test_guest)
    await cluster.inside(server, "echo written > /data/note; sync")
    await cluster.act(off, **{"os-stop": None})
    await cluster.reaches(off, "SHUTOFF")
    for host in {await cluster.host_of(server), await cluster.host_of(off)}:
        cluster.goes_down(host)
    while len(await cluster.actions(server)) < 2:
        await asyncio.sleep(0.2)
    await cluster.reaches(server, "ACTIVE")
    await cluster.booted(server, 2)
    assert await cluster.inside(server, "cat /data/note") == "written"
    assert await cluster.actions(server) == ["start", "create"]
    assert (await cluster.server(off))["status"] == "SHUTOFF"
    for one in (server, off):
        await ended(cluster, one)
