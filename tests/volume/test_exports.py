"""Volumes for guests of other hosts: handed out over TLS to one host each, by processes that outlive the service."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nova_async.certs.authority import Authority
from nova_async.certs.broker import NoAccounts
from nova_async.certs.keeper import write_identity
from nova_async.config import Config
from nova_async.db import Database
from nova_async.errors import Unavailable
from nova_async.services.volume.exports import Exports
from nova_async.storage_daemons import PID, PROGRAM, StorageDaemons
from nova_async.virt.libvirt.bridges import Bridges
from nova_async.virt.libvirt.files import FileThreads
from nova_async.world import RealWorld
from tests.volume.conftest import BOTH, PEOPLE, SERVER, Client, Service

pytestmark = pytest.mark.skipif(shutil.which(PROGRAM) is None, reason=f"needs {PROGRAM}")

GIB = 2**30
SECONDS = 100


@pytest.fixture
async def bridges(tmp_path: Path, database: Database, config: Config, world: RealWorld) -> AsyncIterator["dict[str, Bridges]"]:
    """Hosts: ``one`` and ``two`` have certificates, ``none`` has not."""
    authority = await Authority.open(config, world, database, NoAccounts())
    made, threads = {}, FileThreads()
    short = Path(tempfile.mkdtemp(prefix="nab-", dir="/tmp"))  # sockets live below it
    for host in ("one", "two", "none"):
        folder = tmp_path / host
        if host != "none":
            key, pems = await authority.issue(f"compute.{host}", ["127.0.0.1"])
            write_identity(folder, key, pems.chain, pems.root)
        made[host] = Bridges(short / host, world, threads, folder if host != "none" else None)
    yield made
    for bridge in made.values():
        await bridge.close_all(SERVER)
        bridge.shut()
    threads.close()
    shutil.rmtree(short)


async def attach(service: Service, volume: str, host: str, **connector: Any) -> tuple[str, dict[str, Any]]:
    """An attachment of the volume for a host that is not the service's, and the way to it."""
    nova = service.client("nova")
    body = {"attachment": {"volume_uuid": volume, "instance_uuid": SERVER, "connector": {"host": host, **connector}}}
    made = (await nova("POST", "/attachments", 200, body))["attachment"]
    assert made["connection_info"]["driver_volume_type"] == "nbd"
    return made["id"], made["connection_info"]


async def disk(socket: Path, name: str, *commands: str, fails: bool = False) -> str:
    """What QEMU says that does this with the volume, as a guest's would: nothing is flushed that is not said to be."""
    words = [word for command in commands for word in ("-c", command)]
    done = await asyncio.to_thread(
        subprocess.run,
        ["qemu-io", "-f", "raw", "-t", "writeback", *words, f"nbd+unix:///{name}?socket={socket}"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return done.stdout + done.stderr


async def until(check: Any) -> None:
    end = time.monotonic() + SECONDS
    while not check():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def process(exports: Exports, attachment: str) -> int:
    """Its id; 0 while there is none."""
    try:
        return int((exports.daemons.folder / attachment / PID).read_text())
    except (FileNotFoundError, ValueError):
        return 0


@pytest.mark.parametrize(
    ("host", "connector", "file_format"),
    [("one", {"party": "compute.one"}, "raw"), ("none", {}, "raw"), ("none", {}, "qcow2")],
    indirect=["file_format"],
)
async def test_another_host_reads_and_writes_the_file(
    service: Service, anna: Client, bridges: dict[str, Bridges], host: str, connector: dict[str, Any]
) -> None:
    volume = await anna.volume()
    attachment, way = await attach(service, volume, host, **connector)
    socket = await bridges[host].open(SERVER, attachment, way)
    assert await bridges[host].open(SERVER, attachment, way) == socket
    await disk(socket, way["name"], "write -P 7 4k 4k", "read -P 7 4k 4k", "read -P 0 0 4k")
    assert await service.holds(volume, 8192) == bytes(4096) + bytes([7]) * 4096
    await service.client("nova")("DELETE", f"/attachments/{attachment}", 200)
    assert await service.volumes.exports.daemons.names() == set()
    with pytest.raises(Unavailable):
        await bridges[host].open(SERVER, attachment, way, anew=True)


async def test_nobody_else_gets_in(service: Service, anna: Client, bridges: dict[str, Bridges]) -> None:
    volume, other = await anna.volume(), await anna.volume()
    attachment, way = await attach(service, volume, "one", party="compute.one")
    secret, shared = await attach(service, other, "none")
    with pytest.raises(Unavailable):
        await bridges["two"].open(SERVER, attachment, way)
    with pytest.raises(Unavailable):
        await bridges["none"].open(SERVER, attachment, way)
    with pytest.raises(Unavailable):
        await bridges["none"].open(SERVER, secret, shared | {"key": "00" * 32})
    for address, port in ((w["address"], w["port"]) for w in (way, shared)):
        plain = await asyncio.to_thread(
            subprocess.run, ["qemu-img", "info", f"nbd://{address}:{port}/{way['name']}"], capture_output=True, text=True
        )
        assert "TLS" in plain.stderr
    told = await anna("GET", f"/attachments/{secret}", 200)
    assert shared["key"] not in str(told)
    listed = await asyncio.to_thread(subprocess.run, ["ps", "-eo", "args"], capture_output=True, text=True)
    assert shared["key"] not in listed.stdout


@BOTH
async def test_what_is_killed_comes_back_and_loses_nothing(
    service: Service, anna: Client, bridges: dict[str, Bridges], database: Database, config: Config, world: RealWorld
) -> None:
    volume, exports = await anna.volume(), service.volumes.exports
    attachment, way = await attach(service, volume, "one", party="compute.one")
    socket = await bridges["one"].open(SERVER, attachment, way)
    base = [volume] if volume in await exports.daemons.names() else []
    writes = [f"aio_write -q -P {n % 250 + 1} {n * 64}k 64k" for n in range(400)]
    writing = asyncio.create_task(disk(socket, way["name"], *writes, "aio_flush"))
    for name in [attachment, *base] * 3:
        await asyncio.sleep(0.1)
        killed = process(exports, name)
        os.kill(killed, signal.SIGKILL)
        await until(lambda name=name, killed=killed: process(exports, name) not in (0, killed))
    await writing
    held = await service.holds(volume, 400 * 65536)
    assert all(set(held[n * 65536 : (n + 1) * 65536]) == {n % 250 + 1} for n in range(400))
    authority, daemons = await Authority.open(config, world, database, NoAccounts()), StorageDaemons(exports.daemons.folder, world)
    again = Exports(database, config, world, service.volumes.store, daemons, service.volumes.host, authority)
    before = process(exports, attachment)
    await again.look()
    assert process(exports, attachment) == before, "another process of the same machine leaves it alone"
    again.shut()
    bridge = bridges["one"]
    pid = bridge._daemons.folder / attachment / PID
    os.kill(int(pid.read_text()), signal.SIGKILL)
    await asyncio.wait_for(bridge.next_look(), SECONDS)
    if os.geteuid() == 0:
        bridge.owner = (12345, 12345)
    await bridge.keep()
    assert (socket.stat().st_uid, socket.stat().st_gid) == bridge.owner, "QEMU may run as somebody else"
    await disk(socket, way["name"], "read -P 1 0 64k")


@BOTH
async def test_the_size_grows_while_it_is_handed_out(service: Service, anna: Client, bridges: dict[str, Bridges]) -> None:
    volume = await anna.volume()
    attachment, way = await attach(service, volume, "one", party="compute.one")
    socket = await bridges["one"].open(SERVER, attachment, way)
    await service.client("nova")("POST", f"/attachments/{attachment}/action", 204, {"os-complete": None})
    await disk(socket, way["name"], "write -P 7 0 4k")
    await anna.act(volume, "os-extend", {"new_size": 2})
    await service.idle()
    assert (await anna.show(volume))["status"] == "in-use"
    assert await bridges["one"].open(SERVER, attachment, way, anew=True) == socket
    await disk(socket, way["name"], "read -P 7 0 4k", f"write -P 8 {2 * GIB - 4096} 4k")


@BOTH
async def test_a_snapshot_of_what_is_written_to_is_of_one_moment(service: Service, anna: Client, bridges: dict[str, Bridges]) -> None:
    """The guest writes at the beginning, then the same at the end: at no moment is the end ahead."""
    volume = await anna.volume()
    attachment, way = await attach(service, volume, "one", party="compute.one")
    socket = await bridges["one"].open(SERVER, attachment, way)
    await service.client("nova")("POST", f"/attachments/{attachment}/action", 204, {"os-complete": None})
    await disk(socket, way["name"], "write -P 9 16M 128M")
    places = ((n % 250 + 1, place) for n in range(2000) for place in ("0", "1000M"))
    writing = asyncio.create_task(disk(socket, way["name"], *(f"write -q -P {value} {place} 64k" for value, place in places)))
    size = service.path(volume).stat().st_blocks
    await until(lambda: service.path(volume).stat().st_blocks > size)
    made = (await anna("POST", "/snapshots", 202, {"snapshot": {"volume_id": volume, "force": True}}))["snapshot"]["id"]
    await service.idle()
    assert not writing.done(), "the guest wrote all the time"
    assert (await anna("GET", f"/snapshots/{made}", 200))["snapshot"]["status"] == "available"
    first, last = await service.holds(made, 65536), await service.holds(made, 65536, 1000 * 2**20)
    assert len(set(first)) == len(set(last)) == 1
    assert (first[0] - last[0]) % 250 in (0, 1)
    assert service.path(made).stat().st_blocks * 512 < 250 * 2**20, "holes stay holes"
    await writing


@BOTH
async def test_two_hosts_reach_it_while_the_server_moves(service: Service, anna: Client, bridges: dict[str, Bridges]) -> None:
    volume, volumes, nova = await anna.volume(), service.volumes, service.client("nova")
    attachment, way = await attach(service, volume, "one", party="compute.one")
    await nova("POST", f"/attachments/{attachment}/action", 204, {"os-complete": None})
    ctx = PEOPLE["nova"]
    joined = await volumes.join(ctx, attachment, {"host": "two", "party": "compute.two"})
    assert await volumes.join(ctx, attachment, {"host": "two", "party": "compute.two"}) == joined != attachment
    other = (await volumes.connection(joined))["data"]
    first, second = await bridges["one"].open(SERVER, attachment, way), await bridges["two"].open(SERVER, joined, other)
    await disk(first, way["name"], "write -P 7 0 4k")
    await disk(second, other["name"], "read -P 7 0 4k", "write -P 8 0 4k")
    await disk(first, way["name"], "read -P 8 0 4k")
    for _ in range(2):
        await volumes.settle(ctx, attachment, joined)
    assert [a.id for a in await volumes.attachments(ctx, SERVER)] == [joined]
    assert attachment not in await volumes.exports.daemons.names()
    assert (await anna.show(volume))["status"] == "in-use"
    await disk(second, other["name"], "read -P 8 0 4k")


async def test_a_revoked_host_is_cut_off(
    service: Service, anna: Client, bridges: dict[str, Bridges], database: Database, config: Config, world: RealWorld
) -> None:
    attachment, way = await attach(service, await anna.volume(), "one", party="compute.one")
    await bridges["one"].open(SERVER, attachment, way)
    authority = await Authority.open(config, world, database, NoAccounts())
    await authority.revoke("compute.one")
    await service.volumes.exports.look()
    with pytest.raises(Unavailable):
        await bridges["one"].open(SERVER, attachment, way, anew=True)
