"""Volumes of real guests by iSCSI, on hosts that are not the volumes' own: as over NBD, without a process on the guest's host."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from nova_async import tgt
from nova_async.db import Database
from tests.lab import hosts
from tests.lab.__main__ import SERVES, listens
from tests.lab.cluster import HOSTS, Cluster, no_twins
from tests.lab.test_deaths import database
from tests.lab.test_encrypted_volumes import MARK, READ, WRITE, encrypted_type, is_ciphertext
from tests.lab.test_volume_deaths import CASES, until_daemons_are
from tests.lab.test_volume_deaths import server as server
from tests.lab.test_volume_deaths import test_a_death_at_this_step as a_death_at_this_step
from tests.lab.test_volumes import GIB, SECTORS, VOLUMES, attach, daemons, detach, end_daemons, grown, make, on, snapshot_is, volume_is
from tests.lab.test_volumes_on_the_move import SUM, WRITER, WRITTEN, from_a_volume, grows, migrated, ticks
from tests.lab.test_volumes_on_the_move import (
    test_a_server_with_volumes_goes_where_it_is_told_while_it_is_off as it_goes_where_it_is_told_while_it_is_off,
)

__all__ = ["database", "server"]
pytestmark = [
    *(pytest.mark.qemu, pytest.mark.hosts, pytest.mark.rabbitmq, pytest.mark.timeout(900), pytest.mark.xdist_group("qemu")),
    pytest.mark.usefixtures("by_iscsi"),
]

READY_SECONDS = 120


@pytest.fixture(scope="module")
def by_iscsi(lab: Path) -> Iterator[None]:
    """The application hands volumes out so from now on, until these tests have ended."""
    with configured(lab, '[volume]\nprotocol = "iscsi"\n'):
        yield


@contextmanager
def configured(lab: Path, more: str) -> Iterator[None]:
    files = [lab / f"serve-{port}.toml" for port in SERVES]
    before = [path.read_text() for path in files]
    for path, text in zip(files, before, strict=True):
        path.write_text(text + more)
    start_anew(lab)
    yield
    for path, text in zip(files, before, strict=True):
        path.write_text(text)
    start_anew(lab)


def start_anew(lab: Path) -> None:
    pids = [lab / f"serve-{port}.pid" for port in SERVES]
    killed = [path.read_text() for path in pids]
    for pid in killed:
        os.kill(int(pid), signal.SIGKILL)
    end = time.monotonic() + READY_SECONDS
    while any(path.read_text() == pid for path, pid in zip(pids, killed, strict=True)) or not all(
        listens(hosts.OURS, port) for port in SERVES
    ):
        assert time.monotonic() < end
        time.sleep(0.1)


def target_of(path: Path) -> tgt.Target:
    return msgspec.json.decode((path.parent / tgt.SETTINGS).read_bytes(), type=tgt.Target)


async def test_what_a_guest_writes_a_guest_of_the_other_host_reads(cluster: Cluster, test_guest: Path) -> None:
    """INV-24, INV-25; and it grows while it is had, and its target may die."""
    others = daemons(cluster)
    first, second = [await on(cluster, test_guest, host) for host in HOSTS]
    volume = await make(cluster)
    await attach(cluster, first, volume)
    (serving,) = set(daemons(cluster)).difference(others)
    target = target_of(serving)
    assert target.initiator == f"iqn.2008-11.org.linux-kvm:{HOSTS[0]}"
    await cluster.inside(first, "echo from the first guest > /dev/vdb; sync")
    assert await cluster.inside(first, SECTORS) == str(GIB // 512)
    end_daemons({serving})
    await cluster.inside(
        first, "echo 3 > /proc/sys/vm/drop_caches; head -c 20 /dev/vdb; dd if=/dev/zero of=/dev/vdb bs=1M seek=1 count=64 conv=fsync"
    )
    await cluster.reaches(first, "ACTIVE")
    await cluster.ask("POST", f"{VOLUMES}/{volume}/action", {"os-extend": {"new_size": 2}})
    await volume_is(cluster, volume, "in-use")
    await cluster.settles(first)
    await grown(cluster, first, 2)
    await cluster.inside(first, "echo at the end | dd of=/dev/vdb bs=1M seek=2047 conv=fsync")
    made = {"volume_id": volume, "force": True}
    snapshot = str((await cluster.ask("POST", "/volume/v3/snapshots", {"snapshot": made}))["snapshot"]["id"])
    await snapshot_is(cluster, snapshot, "available")
    said = await asyncio.to_thread(subprocess.run, ["ps", "-ww", "-eo", "args"], capture_output=True, text=True)
    logs = "".join(path.read_text(errors="replace") for path in cluster.state.glob("*.log"))
    described = await asyncio.to_thread(cluster.virsh, HOSTS[0], "dumpxml", first, "--security-info")
    assert "protocol='iscsi'" in described
    assert target.password not in said.stdout + logs + described
    await detach(cluster, first, volume)
    assert await cluster.inside(first, "ls /sys/block | grep -c vdb || true") == "0"
    assert await asyncio.to_thread(cluster.virsh, HOSTS[0], "secret-list") == await asyncio.to_thread(
        cluster.virsh, HOSTS[1], "secret-list"
    ), "neither host keeps a password"
    assert daemons(cluster) == others

    await attach(cluster, second, volume)
    assert await cluster.inside(second, "head -c 20 /dev/vdb") == "from the first guest"
    assert await cluster.inside(second, "dd if=/dev/vdb bs=1M skip=2047 2>/dev/null | head -c 10") == "at the end"
    await cluster.act(second, reboot={"type": "HARD"})
    await cluster.booted(second, 2)
    assert await cluster.inside(second, "head -c 20 /dev/vdb") == "from the first guest"
    await cluster.delete(second)
    await volume_is(cluster, volume, "available")
    assert daemons(cluster) == others
    await cluster.delete(first)
    await cluster.ask("DELETE", f"/volume/v3/snapshots/{snapshot}")
    await snapshot_is(cluster, snapshot, "")
    await cluster.ask("DELETE", f"{VOLUMES}/{volume}")
    await cluster.all_is_well()


async def test_two_guests_of_one_host_share_a_volume(cluster: Cluster, test_guest: Path) -> None:
    """Each has a password of its own."""
    known = (await cluster.ask("GET", "/volume/v3/types"))["volume_types"]
    if "lab.shared" not in {each["name"] for each in known}:
        shared = {"name": "lab.shared", "extra_specs": {"multiattach": "<is> True"}}
        await cluster.ask("POST", "/volume/v3/types", {"volume_type": shared})
    others, volume = daemons(cluster), await make(cluster, volume_type="lab.shared")
    one, other = await on(cluster, test_guest, HOSTS[0]), await on(cluster, test_guest, HOSTS[0])
    for guest in (one, other):
        await attach(cluster, guest, volume)
    assert len({target_of(path).password for path in set(daemons(cluster)).difference(others)}) == 2
    await cluster.inside(one, "echo of the one | dd of=/dev/vdb bs=512 oflag=direct conv=sync")
    assert await cluster.inside(other, "dd if=/dev/vdb bs=512 count=1 iflag=direct 2>/dev/null | head -c 10") == "of the one"
    await detach(cluster, other, volume, "in-use")
    await cluster.act(one, reboot={"type": "HARD"})
    await cluster.booted(one, 2)
    assert await cluster.inside(one, "head -c 10 /dev/vdb") == "of the one"
    await detach(cluster, one, volume)
    for guest in (one, other):
        await cluster.delete(guest)
    await cluster.ask("DELETE", f"{VOLUMES}/{volume}")
    await cluster.all_is_well()


async def test_a_guest_migrates_there_and_back_while_it_writes_to_an_encrypted_volume(cluster: Cluster, test_guest: Path) -> None:
    """It boots from another."""
    others = daemons(cluster)
    guest = await from_a_volume(cluster, test_guest, HOSTS[0])
    volume = await make(cluster, volume_type=await encrypted_type(cluster))
    await attach(cluster, guest, volume)
    await cluster.inside(guest, WRITE)
    await cluster.inside(guest, "dd if=/dev/urandom of=/dev/vdb bs=64k seek=256 count=32 conv=fsync 2>/dev/null; sync")
    before, count = await cluster.inside(guest, SUM), await ticks(cluster, guest)
    await cluster.inside(guest, WRITER)
    written, had = await grows(cluster, guest, WRITTEN, 0), len(daemons(cluster))
    async with no_twins(cluster, guest):
        for _ in range(2):
            await migrated(cluster, guest)
            count, written = await grows(cluster, guest, "cat /run/ticks", count), await grows(cluster, guest, WRITTEN, written)
            assert await cluster.inside(guest, SUM) == before
            assert await cluster.inside(guest, READ) == MARK
            assert len(daemons(cluster)) == had
    await is_ciphertext(cluster, volume)
    await detach(cluster, guest, volume)
    await cluster.delete(guest)
    await cluster.ask("DELETE", f"{VOLUMES}/{volume}")
    await until_daemons_are(cluster, others)
    await cluster.all_is_well()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "step", "victim"), CASES)
async def test_a_death_at_this_step(cluster: Cluster, database: Database, server: str, kind: str, step: str, victim: str) -> None:
    await a_death_at_this_step(cluster, database, server, kind, step, victim)


@pytest.mark.slow
async def test_a_server_goes_where_it_is_told_while_it_is_off(cluster: Cluster, test_guest: Path) -> None:
    await it_goes_where_it_is_told_while_it_is_off(cluster, test_guest)
