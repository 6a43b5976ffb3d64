"""Workers, libvirtd's and the application are killed at every step of every move of real guests.

The server then is what it would have been, or what it was; it runs in one place at most at any moment; its data are there; and
neither host keeps anything that is not its own.
"""

import asyncio
import contextlib
import random
import subprocess
import time
import tomllib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nova_async.conductor.workflows import DEFINITIONS
from nova_async.db import Database
from tests.lab.cluster import COMPUTE, HOSTS, Cluster, no_twins

pytestmark = [pytest.mark.qemu, pytest.mark.hosts, pytest.mark.rabbitmq, pytest.mark.timeout(400), pytest.mark.xdist_group("qemu")]

VICTIMS = ("serve", "workers", "libvirtds")
ONE_SIDE = ("source", "destination", "source/libvirtd", "destination/libvirtd")
MOVES = {  # kind: what it needs first, what is asked, where it ends, and where else it may when it is undone
    "resize": ((), {"resize": {"flavorRef": "lab.larger"}}, "VERIFY_RESIZE", "ACTIVE"),
    "confirmResize": (("resize",), {"confirmResize": None}, "ACTIVE", ""),
    "revertResize": (("resize",), {"revertResize": None}, "ACTIVE", ""),
    "shelve": ((), {"shelve": None}, "SHELVED_OFFLOADED", "ACTIVE"),
    "unshelve": (("shelve",), {"unshelve": None}, "ACTIVE", "SHELVED_OFFLOADED"),
    "evacuate": ((), {"evacuate": {}}, "SHUTOFF", ""),
    "live-migration": ((), {"os-migrateLive": {"host": None, "block_migration": "auto"}}, "ACTIVE", ""),
}
LONG = {("live-migration", "migrate"): 1.5}  # steps that last, and for how many seconds
UNDONE = {  # a hypervisor that does not answer fails a step; and the image service is a part of ``serve``
    *((kind, "libvirtds") for kind in MOVES),
    ("shelve", "serve"),
}
CASES = [
    pytest.param(definition.kind, step.name, victim, id=f"{definition.kind}-{step.name}-{victim}")
    for definition in DEFINITIONS
    if definition.kind in MOVES
    for step in definition.steps
    for victim in VICTIMS + (ONE_SIDE if (definition.kind, step.name) in LONG else ())
]


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[Database]:
    url = tomllib.loads((cluster.state / "serve-8781.toml").read_text())["database"]["url"]
    made = await Database.connect(url, size=1)
    yield made
    await made.close()


@pytest.mark.parametrize(("kind", "step", "victim"), CASES)
async def test_a_death_at_this_step(cluster: Cluster, database: Database, kind: str, step: str, victim: str) -> None:
    before, action, end, undone = MOVES[kind]
    server = await prepared(cluster, mib=256 if kind == "live-migration" else 0)
    for earlier in before:
        await cluster.act(server, **MOVES[earlier][1])
        await cluster.reaches(server, MOVES[earlier][2])
    home = await cluster.host_of(server) if kind == "live-migration" else ""
    async with fenced(cluster, server) if kind == "evacuate" else contextlib.nullcontext(), no_twins(cluster, server):
        await cluster.act(server, **action)
        await reached(database, server, kind, step)
        await asyncio.sleep(random.Random(f"{kind}{step}{victim}").random() * LONG.get((kind, step), 0.15))
        kill(cluster, victim, home)
        await settled(database, server)
    row = await cluster.server(server)
    assert row["status"] in {end, undone if (kind, victim) in UNDONE else end}, row.get("fault")
    await is_whole(cluster, server, row, data=kind != "evacuate")
    await cluster.delete(server)
    await cluster.until_is_on(server, {})
    await cluster.all_is_well()


async def prepared(cluster: Cluster, *, mib: int) -> str:
    """An active server whose disk holds something of its own, and ``mib`` more to carry."""
    image = await cluster.image("lab.blank", bytes(2**20), "raw", os_shutdown_timeout="1")
    await cluster.flavor("lab.larger", disk=2)
    server = await cluster.boot(image, await cluster.flavor("lab.plain"))
    await cluster.reaches(server, "ACTIVE")
    await cluster.act(server, **{"os-stop": None})
    await cluster.reaches(server, "SHUTOFF")
    await qemu_io(cluster, await cluster.host_of(server), server, "write")
    if mib:
        await qemu_io(cluster, await cluster.host_of(server), server, "write", f"write -P 9 16M {mib}M")
    await cluster.act(server, **{"os-start": None})
    await cluster.reaches(server, "ACTIVE")
    return server


async def qemu_io(cluster: Cluster, host: str, server: str, verb: str, words: str = "{} -P 7 8M 1M") -> None:
    command = ["qemu-io", "-f", "qcow2", *(["-U", "-r"] if verb == "read" else []), "-c", words.format(verb)]
    command += [str(cluster.folder(host, server) / "disk")]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout, done.stdout


@contextlib.asynccontextmanager
async def fenced(cluster: Cluster, server: str) -> AsyncIterator[None]:
    """The server's host is cut off, its guest dead, and everybody told so; afterwards it returns."""
    home = await cluster.host_of(server)
    services = (await cluster.ask("GET", f"{COMPUTE}/os-services?binary=nova-compute"))["services"]
    service = next(s["id"] for s in services if s["host"] == home)
    cluster.virsh(home, "destroy", server)
    cluster.cut(home)
    try:
        await cluster.ask("PUT", f"{COMPUTE}/os-services/{service}", {"forced_down": True})
        yield
    finally:
        cluster.mend(home)
        await cluster.ask("PUT", f"{COMPUTE}/os-services/{service}", {"forced_down": False})
        await cluster.service(home, "up")


def kill(cluster: Cluster, victim: str, home: str) -> None:
    side, _, part = victim.partition("/")
    if victim == "serve":
        cluster.kill("serve")
    elif victim in VICTIMS:
        for host in HOSTS:
            cluster.kill(host if victim == "workers" else f"{host}/libvirtd")
    else:
        host = home if side == "source" else cluster.other(home)
        cluster.kill(f"{host}/{part}" if part else host)


async def newest(database: Database, server: str) -> Any:
    async with database.connection() as conn:
        return await conn.fetchrow("SELECT kind, step, state FROM workflows WHERE subject_id = $1 ORDER BY created_at DESC LIMIT 1", server)


async def reached(database: Database, server: str, kind: str, step: str) -> None:
    """The operation is at this step, or has just gone past it."""
    steps = next(d for d in DEFINITIONS if d.kind == kind).steps
    names = [s.name for s in steps]
    later = set(names[names.index(step) :])
    end = time.monotonic() + 60
    while True:
        row = await newest(database, server)
        if row["kind"] == kind and (row["step"] in later or row["state"] not in ("running", "waiting", "queued")):
            return
        assert time.monotonic() < end, row
        await asyncio.sleep(0.005)


async def settled(database: Database, server: str) -> None:
    end = time.monotonic() + 150
    while (row := await newest(database, server))["state"] in ("queued", "running", "waiting", "undoing"):
        assert time.monotonic() < end, row
        await asyncio.sleep(0.2)


async def is_whole(cluster: Cluster, server: str, row: dict[str, Any], *, data: bool) -> None:
    """The guest is where the row says it is, and what it wrote as well; there is nothing else."""
    status, host = row["status"], row["OS-EXT-SRV-ATTR:host"]
    running = status in ("ACTIVE", "VERIFY_RESIZE")
    places = {host: running} if host else {}
    if status == "VERIFY_RESIZE":
        places[cluster.other(host)] = False
    await cluster.until_is_on(server, places)
    if running:
        assert (cluster.virsh(host, "domstate", server).strip(), row["OS-EXT-STS:power_state"]) == ("running", 1)
    for place in places if data else ():
        await qemu_io(cluster, place, server, "read")
    left = [path.name for place in places for path in cluster.folder(place, server).iterdir()]
    assert not [name for name in left if name.endswith(".part") or name.startswith(("arrival", "before", ".live"))], left
    assert not [path for name in HOSTS for path in (cluster.state / name / "libvirt/run/nova-async/live").glob("*")]
