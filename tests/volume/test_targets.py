"""Volumes for guests of other hosts by iSCSI: a real target (tgt) each, which one initiator with one password gets into."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nova_async import tgt
from nova_async.certs.authority import Authority
from nova_async.certs.broker import NoAccounts
from nova_async.config import Config
from nova_async.db import Database
from nova_async.services.volume.exports import Exports
from nova_async.storage_daemons import PID, RUN, SAID, SAID_BYTES, StorageDaemons
from nova_async.world import RealWorld
from tests.volume.conftest import EXPORT_PORTS, PEOPLE, SERVER, UNKNOWN, Client, Service
from tests.volume.test_exports import SECONDS, process, until

pytestmark = pytest.mark.skipif(shutil.which(tgt.PROGRAM, path=tgt.ENVIRONMENT["PATH"]) is None, reason="no iSCSI target: Debian's tgt")

GIB = 2**30
ONE, TWO = "iqn.2008-11.org.linux-kvm:one", "iqn.2008-11.org.linux-kvm:two"


@pytest.fixture
def config(config: Config) -> Config:
    return msgspec.structs.replace(config, volume=msgspec.structs.replace(config.volume, protocol="iscsi"))


async def attach(service: Service, volume: str, initiator: str = ONE, **fields: Any) -> tuple[str, dict[str, Any]]:
    """An attachment of the volume for a host that is not the service's, and the way to it."""
    connector = {"host": initiator.rpartition(":")[2], "initiator": initiator}
    body = {"attachment": {"volume_uuid": volume, "instance_uuid": SERVER, "connector": connector, **fields}}
    made = (await service.client("nova")("POST", "/attachments", 200, body, version="3.70"))["attachment"]
    assert made["connection_info"]["driver_volume_type"] == "iscsi"
    return made["id"], made["connection_info"]


async def complete(service: Service, attachment: str) -> None:
    await service.client("nova")("POST", f"/attachments/{attachment}/action", 204, {"os-complete": None})


async def disk(way: dict[str, Any], *commands: str, initiator: str = ONE, fails: bool = False, read_only: bool = False) -> str:
    """What QEMU says that does this with the volume, as a guest's would."""
    words = [word for command in commands for word in ("-c", command)]
    source = f"driver=iscsi,transport=tcp,portal={way['target_portal']},target={way['target_iqn']},lun={way['target_lun']}"
    source += f",user={way['auth_username']},password-secret=login,initiator-name={initiator}"
    image = f"driver=raw,read-only={'on' if read_only else 'off'}," + ",".join(f"file.{word}" for word in source.split(","))
    login = f"secret,id=login,data={way['auth_password']}"
    flags = ["-r"] if read_only else []
    done = await asyncio.to_thread(
        subprocess.run,
        ["qemu-io", "--object", login, *flags, "-d", "unmap", *words, "--image-opts", image],
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return done.stdout + done.stderr


async def test_another_host_reads_and_writes_the_file(service: Service, anna: Client) -> None:
    volume = await anna.volume()
    attachment, way = await attach(service, volume)
    await disk(way, "write -P 7 4k 4k", "read -P 7 4k 4k", "read -P 0 0 4k", "write -P 8 1M 16M", "flush")
    with service.path(volume).open("rb") as file:
        assert file.read(8192) == bytes(4096) + bytes([7]) * 4096
    assert service.path(volume).stat().st_blocks * 512 > 16 * 2**20
    await disk(way, "discard 1M 16M", "read -P 0 1M 16M")
    assert service.path(volume).stat().st_blocks * 512 < 2**20, "what a guest discards is free again"
    await service.client("nova")("DELETE", f"/attachments/{attachment}", 200)
    assert await service.volumes.exports.daemons.names() == set()
    await disk(way, fails=True)


async def test_nobody_else_gets_in(service: Service, anna: Client, admin: Client, caplog: Any) -> None:
    attachment, way = await attach(service, await anna.volume())
    other, known = await attach(service, await anna.volume(), TWO)
    assert "auth" in (await disk(way | {"auth_password": "0" * 32}, fails=True)).lower()
    for wrong in (known["auth_password"], ""):
        await disk(way | {"auth_password": wrong}, fails=True)
    await disk(way | {"auth_username": other, "auth_password": known["auth_password"]}, fails=True)
    await disk(way, initiator=TWO, fails=True)
    await disk(way, "read -P 0 0 4k")
    listed = await asyncio.to_thread(subprocess.run, ["ps", "-ww", "-eo", "args"], capture_output=True, text=True)
    for client in (anna, admin):
        assert way["auth_password"] not in str(await client("GET", f"/attachments/{attachment}", 200))
    folder = service.volumes.exports.daemons.folder / attachment
    holding = [path for path in folder.iterdir() if path.is_file() and way["auth_password"].encode() in path.read_bytes()]
    assert [(path.name, path.stat().st_mode & 0o777) for path in holding] == [(tgt.SETTINGS, 0o600)]
    assert way["auth_password"] not in listed.stdout + caplog.text
    assert attachment in listed.stdout, "the target was among them"


async def test_the_host_that_an_attachment_has_left_gets_in_no_more(service: Service, anna: Client) -> None:
    """Not even by the name of the other."""
    volume, nova = await anna.volume(), service.client("nova")
    attachment, way = await attach(service, volume)
    await disk(way, "write -P 7 0 4k")
    gone = {"attachment": {"connector": {"host": "two", "initiator": TWO}}}
    other = (await nova("PUT", f"/attachments/{attachment}", 200, gone))["attachment"]["connection_info"]
    assert (other["target_portal"], other["auth_username"]) == (way["target_portal"], way["auth_username"])
    for name in (ONE, TWO):
        await disk(way, initiator=name, fails=True)
    await disk(other, "read -P 7 0 4k", initiator=TWO)


async def test_what_strangers_make_it_say_does_not_fill_the_disk(service: Service, anna: Client) -> None:
    attachment, way = await attach(service, await anna.volume())
    said = service.volumes.exports.daemons.folder / attachment / SAID
    with said.open("ab") as file:
        file.write(b"x" * (SAID_BYTES + 1))
    await service.volumes.exports.look()
    assert said.stat().st_size == 0
    await disk(way | {"auth_password": "0" * 32}, fails=True)
    assert b"\0" not in said.read_bytes() != b""


async def test_a_host_without_a_name_of_its_own_is_refused(service: Service, anna: Client) -> None:
    volume, nova = await anna.volume(), service.client("nova")
    for name in ({}, {"initiator": "two words"}, {"initiator": "iqn.x\nall"}):
        body = {"attachment": {"volume_uuid": volume, "instance_uuid": SERVER, "connector": {"host": "one", **name}}}
        assert "iSCSI" in await nova.refused("POST", "/attachments", 400, body)
    assert await service.volumes.exports.daemons.names() == set()


async def test_a_volume_that_is_to_be_read_only_is(service: Service, anna: Client) -> None:
    volume = await anna.volume()
    _, way = await attach(service, volume, mode="ro")
    assert way["access_mode"] == "ro"
    await disk(way, "read -P 0 0 4k", read_only=True)
    await disk(way, "write -P 7 0 4k", fails=True)
    with service.path(volume).open("rb") as file:
        assert file.read(4096) == bytes(4096)


async def test_what_is_killed_comes_back_and_loses_nothing(
    service: Service, anna: Client, database: Database, config: Config, world: RealWorld
) -> None:
    volume, exports = await anna.volume(), service.volumes.exports
    attachment, way = await attach(service, volume)
    writes = [f"aio_write -q -P {n % 250 + 1} {n * 64}k 64k" for n in range(2000)]
    writing = asyncio.create_task(disk(way, *writes, "aio_flush"))
    await until(lambda: service.path(volume).open("rb").read(1) != b"\0")
    for _ in range(2):
        killed = process(exports, attachment)
        os.kill(killed, signal.SIGKILL)
        await until(lambda killed=killed: process(exports, attachment) not in (0, killed))
    await writing
    with service.path(volume).open("rb") as file:
        assert all(set(file.read(65536)) == {n % 250 + 1} for n in range(2000))
    authority = await Authority.open(config, world, database, NoAccounts())
    daemons = StorageDaemons(exports.daemons.folder, world)
    again = Exports(database, config, world, service.volumes.store, daemons, service.volumes.host, authority)
    before = process(exports, attachment)
    await again.look()
    assert process(exports, attachment) == before, "another process of the same machine leaves it alone"
    again.shut()


@pytest.fixture
async def daemons(tmp_path: Path, world: RealWorld) -> AsyncIterator[StorageDaemons]:
    """Under a path that is longer than a socket's name may be."""
    made = StorageDaemons(tmp_path / ("long" * 30), world)
    yield made
    for name in await made.names():
        await made.remove(name)
    made.close()


async def test_what_is_half_told_is_told_anew(daemons: StorageDaemons, tmp_path: Path) -> None:
    """Whoever started it was killed: before it had said which process it is, or before it had told it all."""
    file, own = tmp_path / "volume", daemons.folder / UNKNOWN
    with file.open("wb") as made:
        made.truncate(2**20)
    port = EXPORT_PORTS + 90
    target = tgt.Target(
        name="iqn.x:y", port=port, file=str(file), size=2**20, read_only=False, initiator=ONE, user="anna", password="sesame-sesame"
    )
    own.mkdir(parents=True)
    words = tgt.arguments("127.0.0.1", port)
    (own / RUN).write_bytes(msgspec.json.encode(words))
    command = [words[0], "-p", str(own / PID), *words[1:]]
    left = await asyncio.to_thread(subprocess.Popen, command, cwd=own, env=tgt.ENVIRONMENT, stderr=subprocess.DEVNULL)
    await until(lambda: tgt.listener(own) == left.pid)
    assert not tgt.serves(own)
    assert await daemons.ensure(UNKNOWN, words, tgt.settings(target))
    assert await asyncio.to_thread(left.wait, SECONDS) == -signal.SIGKILL
    assert tgt.serves(own)
    assert not await daemons.ensure(UNKNOWN, words, tgt.settings(target))
    way = {"target_portal": f"127.0.0.1:{port}", "target_iqn": "iqn.x:y", "target_lun": tgt.LUN}
    login = {"auth_username": "anna", "auth_password": "sesame-sesame"}
    await disk(way | login, "write -P 7 0 4k")
    assert await daemons.ensure(UNKNOWN, words, tgt.settings(msgspec.structs.replace(target, initiator=TWO)))
    await disk(way | login, fails=True)
    await disk(way | login, "read -P 7 0 4k", initiator=TWO)


async def test_a_port_that_somebody_has_is_passed_by(service: Service, anna: Client) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", EXPORT_PORTS))
        taken.listen()
        attachment, way = await attach(service, await anna.volume())
    assert way["target_portal"] == f"127.0.0.1:{EXPORT_PORTS + 1}"
    assert await service.volumes.exports.daemons.names() == {attachment}
    await disk(way, "read -P 0 0 4k")


async def test_the_size_grows_while_it_is_handed_out(service: Service, anna: Client) -> None:
    volume = await anna.volume()
    attachment, way = await attach(service, volume)
    await complete(service, attachment)
    await disk(way, "write -P 7 0 4k")
    await anna.act(volume, "os-extend", {"new_size": 2})
    await service.idle()
    assert (await anna.show(volume))["status"] == "in-use"
    await disk(way, "read -P 7 0 4k", f"write -P 8 {2 * GIB - 4096} 4k")


async def test_two_hosts_reach_it_while_the_server_moves(service: Service, anna: Client) -> None:
    volume, volumes, ctx = await anna.volume(), service.volumes, PEOPLE["nova"]
    attachment, way = await attach(service, volume)
    await complete(service, attachment)
    joined = await volumes.join(ctx, attachment, {"host": "two", "initiator": TWO})
    other = (await volumes.connection(joined))["data"]
    assert other["auth_password"] != way["auth_password"]
    await disk(way, "write -P 7 0 4k")
    await disk(other, "read -P 7 0 4k", "write -P 8 0 4k", initiator=TWO)
    await disk(way, "read -P 8 0 4k")
    await volumes.free(ctx, joined)
    assert await volumes.exports.daemons.names() == {attachment}
    joined = await volumes.join(ctx, attachment, {"host": "two", "initiator": TWO})
    other = (await volumes.connection(joined))["data"]
    for _ in range(2):
        await volumes.settle(ctx, attachment, joined)
    assert await volumes.exports.daemons.names() == {joined}
    await disk(way, fails=True)
    await disk(other, "read -P 8 0 4k", initiator=TWO)
    assert (await anna.show(volume))["status"] == "in-use"


async def test_a_way_stays_what_it_was_made_as(
    service: Service, anna: Client, database: Database, config: Config, world: RealWorld
) -> None:
    volume = await anna.volume()
    attachment, way = await attach(service, volume)
    before = process(service.volumes.exports, attachment)
    changed = msgspec.structs.replace(config, volume=msgspec.structs.replace(config.volume, protocol="nbd"))
    daemons = StorageDaemons(service.volumes.exports.daemons.folder, world)
    again = Exports(database, changed, world, service.volumes.store, daemons, service.volumes.host, None)
    await again.look()
    row = await service.volumes.holders.get(PEOPLE["nova"], attachment)
    known = await again.open(row, await service.volumes.volumes.get(PEOPLE["nova"], volume))
    assert again.way(known)[0] == "iscsi"
    assert process(again, attachment) == before
    again.shut()
    await disk(way, "read -P 0 0 4k")
