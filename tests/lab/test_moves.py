"""Real guests that change their host or their size: the guest itself says what it has, and its disks what they hold."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.lab.cluster import COMPUTE, Cluster, no_twins

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.rabbitmq,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("qemu"),
]
GIB = 2**30
NOTE = "/data/note"


async def flavors(cluster: Cluster) -> tuple[str, str]:
    small = await cluster.flavor("lab.small", ephemeral=1, swap=16)
    return small, await cluster.flavor("lab.large", ram=192, vcpus=2, disk=2, ephemeral=1, swap=32)


async def booted(cluster: Cluster, folder: Path, **fields: object) -> str:
    """A server with a note on its root disk and one on its ephemeral disk."""
    small, _ = await flavors(cluster)
    server = await cluster.boot(await cluster.test_image(folder), small, **fields)
    await cluster.reaches(server, "ACTIVE")
    await cluster.booted(server, 1)
    await cluster.inside(server, f"echo written > {NOTE}; mkdir -p /eph; mount /dev/vdb /eph && echo there > /eph/note; sync; umount /eph")
    return server


async def looks(cluster: Cluster, server: str, *, cpus: int, disk: int, swap: int, boots: int) -> None:
    """What the guest, booted anew, finds."""
    shown = await cluster.booted(server, boots)
    assert f"TESTGUEST cpu online={cpus} " in shown
    for name, size in (("vda", disk * GIB), ("vdb", GIB), ("vdc", swap * 2**20)):
        assert f"TESTGUEST disk name={name} bytes={size} " in shown
    assert await cluster.inside(server, f"cat {NOTE}") == "written"
    assert await cluster.inside(server, "mkdir -p /eph; mount /dev/vdb /eph && cat /eph/note; umount /eph") == "there"


@pytest.mark.hosts
async def test_a_resize_up_and_back_and_up_again_and_a_migration_keep_the_data(cluster: Cluster, test_guest: Path) -> None:
    """SEC-077 too: the filters before the guest's port are the same wherever it is."""
    server = await booted(cluster, test_guest, config_drive=True)
    _, large = await flavors(cluster)
    home = await cluster.host_of(server)
    away = cluster.other(home)
    rules = await cluster.filters(home, server)
    assert len(rules) == 4
    async with no_twins(cluster, server):
        await cluster.act(server, resize={"flavorRef": large})
        await cluster.reaches(server, "VERIFY_RESIZE")
        assert await cluster.host_of(server) == away
        assert cluster.is_on(server) == {home: False, away: True}
        assert await cluster.filters(away, server) == rules
        await looks(cluster, server, cpus=2, disk=2, swap=32, boots=2)
        await cluster.inside(server, f"echo lost > {NOTE}; sync")

        await cluster.act(server, revertResize=None)
        await cluster.reaches(server, "ACTIVE")
        assert cluster.is_on(server) == {home: True}
        assert (await cluster.filters(home, server), await cluster.filters(away, server)) == (rules, {})
        await looks(cluster, server, cpus=1, disk=1, swap=16, boots=2)  # the second boot of the old disk

        await cluster.act(server, resize={"flavorRef": large})
        await cluster.reaches(server, "VERIFY_RESIZE")
        await cluster.act(server, confirmResize=None)
        await cluster.reaches(server, "ACTIVE")
        assert cluster.is_on(server) == {away: True}
        await looks(cluster, server, cpus=2, disk=2, swap=32, boots=3)

        await cluster.act(server, migrate=None)
        await cluster.reaches(server, "VERIFY_RESIZE")
        await cluster.act(server, confirmResize=None)
        await cluster.reaches(server, "ACTIVE")
        assert cluster.is_on(server) == {home: True}
        assert (await cluster.filters(home, server), await cluster.filters(away, server)) == (rules, {})
        await looks(cluster, server, cpus=2, disk=2, swap=32, boots=4)
    await cluster.delete(server)
    await cluster.until_is_on(server, {})
    await cluster.all_is_well()


@pytest.mark.hosts
async def test_a_shelved_server_comes_back_on_the_other_host_with_its_data(cluster: Cluster, test_guest: Path) -> None:
    small = await cluster.flavor("lab.plain")
    server = await cluster.boot(await cluster.test_image(test_guest), small)
    await cluster.reaches(server, "ACTIVE")
    await cluster.booted(server, 1)
    await cluster.inside(server, f"echo written > {NOTE}; sync")
    home = await cluster.host_of(server)
    rules = await cluster.filters(home, server)
    await cluster.act(server, shelve=None)
    await cluster.reaches(server, "SHELVED_OFFLOADED")
    await cluster.until_is_on(server, {})
    await cluster.act(server, unshelve={"host": cluster.other(home)})
    await cluster.reaches(server, "ACTIVE")
    assert cluster.is_on(server) == {cluster.other(home): True}
    assert await cluster.filters(cluster.other(home), server) == rules
    await cluster.booted(server, 2)
    assert await cluster.inside(server, f"cat {NOTE}") == "written"
    await cluster.delete(server)
    await cluster.all_is_well()


@pytest.mark.hosts
async def test_what_was_written_before_a_snapshot_is_in_a_server_made_of_it_after_the_first_is_gone(
    cluster: Cluster, test_guest: Path
) -> None:
    small = await cluster.flavor("lab.plain")
    server = await cluster.boot(await cluster.test_image(test_guest), small)
    await cluster.reaches(server, "ACTIVE")
    await cluster.booted(server, 1)
    await cluster.inside(server, f"echo written > {NOTE}; sync")
    home = await cluster.host_of(server)
    image = (await cluster.act(server, createImage={"name": "kept"}))["image_id"]
    await cluster.settles(server)
    assert (await cluster.ask("GET", f"/image/v2/images/{image}"))["status"] == "active"
    await cluster.delete(server)
    await cluster.until_is_on(server, {})
    again = await cluster.boot(image, small, host=cluster.other(home))
    await cluster.reaches(again, "ACTIVE")
    assert cluster.is_on(again) == {cluster.other(home): True}
    await cluster.booted(again, 2)
    assert await cluster.inside(again, f"cat {NOTE}") == "written"
    await cluster.delete(again)
    await cluster.all_is_well()


@pytest.mark.hosts
async def test_a_server_is_evacuated_from_a_host_that_is_cut_off_and_then_returns(cluster: Cluster, test_guest: Path) -> None:
    server = await booted(cluster, test_guest)
    home = await cluster.host_of(server)
    away = cluster.other(home)
    cluster.cut(home)
    try:
        await cluster.service(home, "down")
        await cluster.act(server, evacuate={"host": away})
        await cluster.reaches(server, "SHUTOFF")  # as it is since 2.95
        await cluster.act(server, **{"os-start": None})
        await cluster.reaches(server, "ACTIVE")
        assert await cluster.host_of(server) == away
        await cluster.booted(server, 1)  # from its image
        assert server in cluster.domains(home)  # nobody could tell the host
    finally:
        cluster.mend(home)
    await cluster.service(home, "up")
    assert cluster.is_on(server) == {away: True}  # before it is in service again
    await cluster.delete(server)
    await cluster.all_is_well()


async def test_sec_021_a_server_that_is_deleted_while_its_disks_are_sent_is_gone_from_both_hosts(cluster: Cluster) -> None:
    """SEC-021: the copy ends, and neither host keeps anything."""
    plain = await cluster.flavor("lab.plain")
    large = await cluster.flavor("lab.larger", disk=2)
    image = await cluster.image("lab.blank", bytes(2**20), "raw", os_shutdown_timeout="1")
    server = await cluster.boot(image, plain)
    await cluster.reaches(server, "ACTIVE")
    home = await cluster.host_of(server)
    await cluster.act(server, **{"os-stop": None})
    await cluster.reaches(server, "SHUTOFF")
    write = ["qemu-io", "-f", "qcow2", "-c", "write -P 7 8M 512M", str(cluster.folder(home, server) / "disk")]
    process = await asyncio.create_subprocess_exec(*write, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0
    await cluster.act(server, resize={"flavorRef": large})
    part = cluster.folder(cluster.other(home), server) / "disk.part"
    end = time.monotonic() + 60
    while not part.exists():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    await cluster.ask("DELETE", f"{COMPUTE}/servers/{server}")
    await cluster.gone(server)
    await cluster.until_is_on(server, {}, seconds=30)
    await cluster.all_is_well()
