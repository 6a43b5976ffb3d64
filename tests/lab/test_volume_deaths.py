"""Workers, the application and what hands out volumes are killed at every step of an attachment and a detachment (INV-24, INV-25).

The guest then has the volume or has it not, and rows, the volume service, the domain and the host's processes all say the same.
"""

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import pytest

from nova_async.conductor.workflows import DEFINITIONS
from nova_async.db import Database
from tests.lab.cluster import COMPUTE, HOSTS, Cluster
from tests.lab.test_deaths import database, reached, settled
from tests.lab.test_volumes import VOLUMES, attach, daemons, detach, end_daemons, make, on, volume_is

__all__ = ["database"]
pytestmark = [pytest.mark.qemu, pytest.mark.hosts, pytest.mark.rabbitmq, pytest.mark.timeout(400), pytest.mark.xdist_group("qemu")]

VICTIMS = ("serve", "workers", "daemons")
CASES = [
    pytest.param(definition.kind, step.name, victim, id=f"{definition.kind}-{step.name}-{victim}")
    for definition in DEFINITIONS
    if definition.kind in ("attach_volume", "detach_volume")
    for step in definition.steps
    for victim in VICTIMS
]


@pytest.fixture
async def server(cluster: Cluster, test_guest: Path) -> str:
    """One for all cases, booted at the first; its own system gives disks back when asked."""
    known = (await cluster.ask("GET", f"{COMPUTE}/servers?name=volume-deaths&all_tenants=1"))["servers"]
    return str(known[0]["id"]) if known else await on(cluster, test_guest, HOSTS[0], name="volume-deaths")


@pytest.mark.parametrize(("kind", "step", "victim"), CASES)
async def test_a_death_at_this_step(cluster: Cluster, database: Database, server: str, kind: str, step: str, victim: str) -> None:
    others = daemons(cluster)
    volume = await make(cluster)
    if kind == "detach_volume":
        await attach(cluster, server, volume)
        await cluster.inside(server, "echo kept > /dev/vdb; sync")
        await cluster.ask("DELETE", f"{COMPUTE}/servers/{server}/os-volume_attachments/{volume}")
    else:
        await cluster.ask("POST", f"{COMPUTE}/servers/{server}/os-volume_attachments", {"volumeAttachment": {"volumeId": volume}})
    await reached(database, server, kind, step)
    await asyncio.sleep(random.Random(f"{kind}{step}{victim}").random() * 0.15)
    kill(cluster, victim, others)
    await settled(database, server)
    status = await at_rest(cluster, volume)
    has = status == "in-use"
    rows = (await cluster.ask("GET", f"{COMPUTE}/servers/{server}/os-volume_attachments"))["volumeAttachments"]
    assert [row["volumeId"] for row in rows] == [volume] * has
    assert (volume in await asyncio.to_thread(cluster.virsh, HOSTS[0], "dumpxml", server)) is has
    if has:
        await volume_is(cluster, volume, "in-use")
        await cluster.inside(server, "head -c 5 /dev/vdb > /dev/null && echo 3 > /proc/sys/vm/drop_caches")
        if kind == "detach_volume":
            assert await cluster.inside(server, "head -c 4 /dev/vdb") == "kept"
        await detach(cluster, server, volume)
    await until_daemons_are(cluster, others)
    await cluster.ask("DELETE", f"{VOLUMES}/{volume}")
    await cluster.all_is_well()


def kill(cluster: Cluster, victim: str, others: list[Path]) -> None:
    if victim == "daemons":
        end_daemons(set(daemons(cluster)).difference(others))
    elif victim == "serve":
        cluster.kill("serve")
    else:
        for host in HOSTS:
            cluster.kill(host)


async def at_rest(cluster: Cluster, volume: str) -> str:
    """Its status, once nothing is done to it."""
    end = time.monotonic() + 60
    while True:
        found: dict[str, Any] = (await cluster.ask("GET", f"{VOLUMES}/{volume}"))["volume"]
        if found["status"] in ("available", "in-use"):
            return str(found["status"])
        assert time.monotonic() < end, found
        await asyncio.sleep(0.3)


async def until_daemons_are(cluster: Cluster, wanted: list[Path]) -> None:
    """A host's process that nobody uses may be kept for two minutes: its disk might only be about to be plugged."""
    end = time.monotonic() + 180
    while (found := daemons(cluster)) != wanted:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.5)
