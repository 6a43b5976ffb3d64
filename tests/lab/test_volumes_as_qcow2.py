"""Volumes of real guests as qcow2 files: what raw ones do, with one process more that alone has the file open and may die as well."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nova_async.db import Database
from tests.lab.cluster import HOSTS, Cluster
from tests.lab.test_deaths import database
from tests.lab.test_volume_deaths import CASES, until_daemons_are
from tests.lab.test_volume_deaths import server as server
from tests.lab.test_volume_deaths import test_a_death_at_this_step as a_death_at_this_step
from tests.lab.test_volumes import VOLUMES, attach, daemons, detach, end_daemons, make, on, snapshot_is, volume_is
from tests.lab.test_volumes import (
    test_a_guest_boots_from_a_volume_of_another_machine_and_two_share_one as one_boots_and_two_share,
)
from tests.lab.test_volumes import test_what_a_guest_writes_a_guest_of_the_other_host_reads as what_one_writes_another_reads
from tests.lab.test_volumes_by_iscsi import configured
from tests.lab.test_volumes_on_the_move import (
    test_a_guest_migrates_there_and_back_while_it_writes_to_its_volumes as it_migrates_there_and_back_while_it_writes,
)
from tests.lab.test_volumes_on_the_move import (
    test_a_server_with_volumes_goes_where_it_is_told_while_it_is_off as it_goes_where_it_is_told_while_it_is_off,
)
from tests.lab.test_volumes_on_the_move import (
    test_a_server_with_volumes_is_rescued_rebuilt_and_evacuated as it_is_rescued_rebuilt_and_evacuated,
)

__all__ = ["database", "server"]
pytestmark = [
    *(pytest.mark.qemu, pytest.mark.hosts, pytest.mark.rabbitmq, pytest.mark.timeout(900), pytest.mark.xdist_group("qemu")),
    pytest.mark.usefixtures("as_qcow2"),
]
KILLS = 5


@pytest.fixture(scope="module")
def as_qcow2(lab: Path) -> Iterator[None]:
    """Volumes are made so from now on, until these tests have ended."""
    with configured(lab, '[volume]\nfile_format = "qcow2"\n'):
        yield


async def test_what_a_guest_writes_is_there_whatever_dies_and_whoever_copies(cluster: Cluster, test_guest: Path) -> None:
    """INV-24, INV-25. What was not flushed is there, too."""
    others, guest, volume = daemons(cluster), await on(cluster, test_guest, HOSTS[0]), await make(cluster)
    (file,) = (cluster.state / "app").rglob(f"{volume}.qcow2")
    await attach(cluster, guest, volume)
    serving = set(daemons(cluster)).difference(others)
    (base,) = (path for path in serving if path.parent.name == volume)
    assert len(serving) == 3
    written = "dd if=/dev/urandom of=/run/data bs=1M count=24 2>/dev/null; md5sum < /run/data"
    before = await cluster.inside(guest, written)
    await cluster.inside(guest, "(dd if=/run/data of=/dev/vdb bs=64k oflag=direct; touch /run/done) >/dev/null 2>&1 </dev/null &")
    asked = {"snapshot": {"volume_id": volume, "force": True}}
    snapshot = str((await cluster.ask("POST", "/volume/v3/snapshots", asked))["snapshot"]["id"])
    for _ in range(KILLS):
        end_daemons({base})
        assert await cluster.inside(guest, "dd if=/dev/vdb bs=64k count=1 iflag=direct 2>/dev/null | wc -c") == "65536"
    await cluster.inside(guest, "while [ ! -e /run/done ]; do sleep 0.1; done", 120)
    await snapshot_is(cluster, snapshot, "available")
    end_daemons(serving)
    assert await cluster.inside(guest, "dd if=/dev/vdb bs=1M count=24 iflag=direct 2>/dev/null | md5sum", 120) == before
    await detach(cluster, guest, volume)
    checked = await asyncio.to_thread(subprocess.run, ["qemu-img", "check", "-f", "qcow2", file], capture_output=True, text=True)
    assert checked.returncode in (0, 3), "leaks alone are allowed: " + checked.stdout + checked.stderr
    copy = await make(cluster, source_volid=volume)
    await attach(cluster, guest, copy)
    assert await cluster.inside(guest, "dd if=/dev/vdb bs=1M count=24 iflag=direct 2>/dev/null | md5sum") == before
    await cluster.delete(guest)
    await cluster.ask("DELETE", f"/volume/v3/snapshots/{snapshot}")
    await snapshot_is(cluster, snapshot, "")
    for each in (volume, copy):
        await volume_is(cluster, each, "available")
        await cluster.ask("DELETE", f"{VOLUMES}/{each}")
    await until_daemons_are(cluster, others)
    await cluster.all_is_well()


async def test_what_a_guest_writes_a_guest_of_the_other_host_reads(cluster: Cluster, test_guest: Path) -> None:
    await what_one_writes_another_reads(cluster, test_guest)


async def test_a_guest_boots_from_one_and_two_share_one(cluster: Cluster, test_guest: Path) -> None:
    await one_boots_and_two_share(cluster, test_guest)


async def test_a_guest_migrates_there_and_back_while_it_writes_to_its_volumes(cluster: Cluster, test_guest: Path) -> None:
    await it_migrates_there_and_back_while_it_writes(cluster, test_guest)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "step", "victim"), CASES)
async def test_a_death_at_this_step(cluster: Cluster, database: Database, server: str, kind: str, step: str, victim: str) -> None:
    await a_death_at_this_step(cluster, database, server, kind, step, victim)


@pytest.mark.slow
async def test_a_server_goes_where_it_is_told_while_it_is_off(cluster: Cluster, test_guest: Path) -> None:
    await it_goes_where_it_is_told_while_it_is_off(cluster, test_guest)


@pytest.mark.slow
@pytest.mark.parametrize("boots_from_volume", [False, True])
async def test_a_server_is_rescued_rebuilt_and_evacuated(cluster: Cluster, test_guest: Path, boots_from_volume: bool) -> None:
    await it_is_rescued_rebuilt_and_evacuated(cluster, test_guest, boots_from_volume)
