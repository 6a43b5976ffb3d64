"""Live migrations of guests with volumes that are called off, or lose a part on their way, at each stage.

The guest runs on without a restart and writes to its volumes; where it is not, nothing of it is left, and no way to its volumes.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nova_async.db import Database
from nova_async.errors import Error
from tests.lab.cluster import COMPUTE, HOSTS, Cluster, no_twins
from tests.lab.test_deaths import database, reached, settled
from tests.lab.test_volume_deaths import until_daemons_are
from tests.lab.test_volumes import attach, daemons, end_daemons, make
from tests.lab.test_volumes_on_the_move import SUM, WRITER, WRITTEN, from_a_volume, grows, migrated, ticks, until_there_are

__all__ = ["database"]
pytestmark = [pytest.mark.qemu, pytest.mark.hosts, pytest.mark.rabbitmq, pytest.mark.timeout(600), pytest.mark.xdist_group("qemu")]

CALLED_OFF = ("abort", "cut")  # a guest whose migration is called off while it can only have begun stays where it is
CASES = [
    *((step, "abort") for step in ("claim_destination", "join_volumes", "prepare", "migrate")),
    *((step, "destination/libvirtd") for step in ("join_volumes", "prepare", "migrate")),
    ("migrate", "source/libvirtd"),
    ("migrate", "destination"),
    ("migrate", "daemons"),
    ("migrate", "serve"),
    ("migrate", "cut"),
]


@pytest.fixture
async def server(cluster: Cluster, test_guest: Path) -> str:
    """One for all cases: it boots from a volume, and counts in another one."""
    known = (await cluster.ask("GET", f"{COMPUTE}/servers?name=failed-moves&all_tenants=1"))["servers"]
    if known:
        return str(known[0]["id"])
    server = await from_a_volume(cluster, test_guest, HOSTS[0])
    await cluster.ask("PUT", f"{COMPUTE}/servers/{server}", {"server": {"name": "failed-moves"}})
    await attach(cluster, server, await make(cluster))
    await cluster.inside(
        server, "dd if=/dev/urandom of=/dev/vdb bs=64k seek=256 count=32 conv=fsync 2>/dev/null; echo kept > /data/mark; sync"
    )
    await cluster.inside(server, WRITER)
    return server


@pytest.mark.parametrize(("step", "how"), CASES)
async def test_it_runs_on(cluster: Cluster, database: Database, server: str, step: str, how: str) -> None:
    home, before, ways = await cluster.host_of(server), await cluster.inside(server, SUM), daemons(cluster)
    other = cluster.other(home)
    count, written = await ticks(cluster, server), await grows(cluster, server, WRITTEN, 0)
    slow(cluster, home, server, 1)
    async with no_twins(cluster, server):
        await cluster.act(server, **{"os-migrateLive": {"host": other, "block_migration": "auto"}})
        await reached(database, server, "live-migration", step)
        async with cut(cluster, other) if how == "cut" else contextlib.nullcontext():
            if how in CALLED_OFF:
                await call_off(cluster, server)
            elif how == "daemons":
                end_daemons(set(daemons(cluster)) - set(ways))
            elif how == "serve":
                cluster.kill("serve")
            else:
                side, _, part = how.partition("/")
                host = home if side == "source" else other
                cluster.kill(f"{host}/{part}" if part else host)
            slow(cluster, home, server, 0)
            await settled(database, server)
        row = await cluster.settles(server, 300)
        place = row["OS-EXT-SRV-ATTR:host"]
        assert row["status"] == "ACTIVE"
        if how in CALLED_OFF:
            assert place == home
        await cluster.until_is_on(server, {place: True})
        count, written = await grows(cluster, server, "cat /run/ticks", count), await grows(cluster, server, WRITTEN, written)
        assert await cluster.inside(server, SUM) == before
        assert await cluster.inside(server, "cat /data/mark") == "kept"
        if place == home:
            await until_daemons_are(cluster, ways)
        else:
            await until_there_are(cluster, len(ways))
    await cluster.all_is_well()


async def test_and_then_it_migrates(cluster: Cluster, server: str) -> None:
    count = await ticks(cluster, server)
    await migrated(cluster, server)
    await grows(cluster, server, "cat /run/ticks", count)
    await cluster.delete(server)
    await cluster.all_is_well()


def slow(cluster: Cluster, host: str, server: str, mib_per_second: int) -> None:
    """So that the guest is on its way for as long as the test wants; 0: as fast as may be."""
    cluster.virsh(host, "migrate-setspeed", server, str(mib_per_second or 8192))


@contextlib.asynccontextmanager
async def cut(cluster: Cluster, host: str) -> AsyncIterator[None]:
    cluster.cut(host)
    try:
        yield
    finally:
        cluster.mend(host)
        await cluster.service(host, "up")


async def call_off(cluster: Cluster, server: str) -> None:
    """As soon as it can be."""
    end = time.monotonic() + 60
    while True:
        known = (await cluster.ask("GET", f"{COMPUTE}/servers/{server}/migrations"))["migrations"]
        if known:
            try:
                return await cluster.ask("DELETE", f"{COMPUTE}/servers/{server}/migrations/{known[0]['id']}")
            except Error:
                assert time.monotonic() < end
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
