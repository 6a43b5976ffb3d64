"""Encrypted volumes of real guests: ciphertext on the volume's machine and on the wire, and what opens them nowhere to be read."""

import asyncio
from pathlib import Path

import pytest

from nova_async.db import Database
from nova_async.db import volumes as rows
from nova_async.services.volume.keys import Keys
from tests.lab.cluster import COMPUTE, HOSTS, Cluster
from tests.lab.test_deaths import database
from tests.lab.test_volumes import VOLUMES, attach, daemons, detach, grown, make, on, snapshot_is, volume_is
from tests.lab.test_volumes_on_the_move import SUM, grows, migrated, ticks, until_there_are

__all__ = ["database"]
pytestmark = [pytest.mark.qemu, pytest.mark.hosts, pytest.mark.rabbitmq, pytest.mark.timeout(1500), pytest.mark.xdist_group("qemu")]

MARK = "plain words that nobody else shall read"
WRITE = f"for i in 1 2 3 4 5 6 7 8; do echo '{MARK}'; done > /dev/vdb; sync"
READ = f"head -c {len(MARK)} /dev/vdb"


async def encrypted_type(cluster: Cluster) -> str:
    known = {each["name"]: each["id"] for each in (await cluster.ask("GET", "/volume/v3/types"))["volume_types"]}
    if "lab.encrypted" not in known:
        made = await cluster.ask("POST", "/volume/v3/types", {"volume_type": {"name": "lab.encrypted"}})
        how = {"provider": "luks", "cipher": "aes-xts-plain64", "key_size": 256, "control_location": "front-end"}
        await cluster.ask("POST", f"/volume/v3/types/{made['volume_type']['id']}/encryption", {"encryption": how})
    return "lab.encrypted"


def path_of(cluster: Cluster, volume: str) -> Path:
    (found,) = (path for path in (cluster.state / "app").rglob(volume) if path.is_file())
    return found


def holds(path: Path, text: str) -> bool:
    """Whether the first 64 MiB of a file hold it."""
    with path.open("rb") as file:
        return text.encode() in file.read(64 * 2**20)


async def is_ciphertext(cluster: Cluster, volume: str, text: str = MARK) -> None:
    path = path_of(cluster, volume)
    with path.open("rb") as file:
        assert file.read(8) == b"LUKS\xba\xbe\x00\x01"
    assert not await asyncio.to_thread(holds, path, text)


async def passphrase(cluster: Cluster, database: Database, volume: str) -> str:
    async with database.connection() as conn:
        sealed = await rows.sealed_key(conn, volume)
    assert sealed is not None
    return await Keys(cluster.state / "app" / "volume.key").open(sealed, volume)


def said(cluster: Cluster, secret: str) -> list[str]:
    """Logs, configurations and command lines of all processes that name the secret."""
    files = [path for path in cluster.state.rglob("*") if path.is_file() and path.suffix in (".log", ".toml", ".xml", ".json", ".yaml")]
    lines = list(Path("/proc").glob("[0-9]*/cmdline"))
    found = []
    for path in (*files, *lines):
        try:
            if secret.encode() in path.read_bytes():
                found.append(str(path))
        except OSError:
            continue
    return found


def secrets(cluster: Cluster, host: str) -> str:
    return cluster.virsh(host, "secret-list")


async def test_a_guest_has_an_encrypted_volume_wherever_it_is(cluster: Cluster, database: Database, test_guest: Path) -> None:
    """SEC-036: written, read after a hard reboot, grown, copied while it is written, exchanged, taken along to the other host."""
    kind = await encrypted_type(cluster)
    server = await on(cluster, test_guest, HOSTS[0])
    volume = await make(cluster, volume_type=kind)
    await attach(cluster, server, volume)
    await cluster.inside(server, WRITE)
    await cluster.inside(server, "dd if=/dev/urandom of=/dev/vdb bs=64k seek=256 count=32 conv=fsync 2>/dev/null")
    before = await cluster.inside(server, SUM)
    await is_ciphertext(cluster, volume)
    await grown(cluster, server, 1)
    secret = await passphrase(cluster, database, volume)
    assert said(cluster, secret) == []
    assert secret not in await asyncio.to_thread(cluster.virsh, HOSTS[0], "dumpxml", "--security-info", server)
    assert volume in secrets(cluster, HOSTS[0])
    assert await asyncio.to_thread(cluster.virsh, HOSTS[0], "secret-get-value", volume) == ""

    await cluster.ask("POST", f"{VOLUMES}/{volume}/action", {"os-extend": {"new_size": 2}})
    await volume_is(cluster, volume, "in-use")
    await cluster.settles(server)
    await grown(cluster, server, 2)
    await cluster.inside(server, "echo at the end | dd of=/dev/vdb bs=1M seek=2047 conv=fsync")
    asked = {"snapshot": {"volume_id": volume, "force": True}}
    snapshot = str((await cluster.ask("POST", "/volume/v3/snapshots", asked))["snapshot"]["id"])
    await snapshot_is(cluster, snapshot, "available")
    await is_ciphertext(cluster, snapshot)
    await cluster.act(server, reboot={"type": "HARD"})
    await cluster.booted(server, 2)
    assert await cluster.inside(server, READ) == MARK

    count, had = await ticks(cluster, server), len(daemons(cluster))
    await migrated(cluster, server)
    await grows(cluster, server, "cat /run/ticks", count)
    assert (await cluster.inside(server, SUM), await cluster.inside(server, READ)) == (before, MARK)
    await until_there_are(cluster, had)
    assert [volume in secrets(cluster, host) for host in HOSTS] == [False, True]

    other = await make(cluster, volume_type=kind, size=2)
    await cluster.ask("PUT", f"{COMPUTE}/servers/{server}/os-volume_attachments/{volume}", {"volumeAttachment": {"volumeId": other}})
    await volume_is(cluster, volume, "available")
    await cluster.settles(server)
    assert (await cluster.inside(server, SUM), await cluster.inside(server, READ)) == (before, MARK)
    await is_ciphertext(cluster, other)
    assert [each in secrets(cluster, HOSTS[1]) for each in (volume, other)] == [False, True]
    await detach(cluster, server, other)
    assert other not in secrets(cluster, HOSTS[1])

    copy = await make(cluster, snapshot_id=snapshot, size=2)
    await attach(cluster, server, copy)
    assert await cluster.inside(server, READ) == MARK
    assert await cluster.inside(server, "dd if=/dev/vdb bs=1M skip=2047 2>/dev/null | head -c 10") == "at the end"
    await cluster.delete(server)
    await volume_is(cluster, copy, "available")
    assert copy not in secrets(cluster, HOSTS[1])
    assert said(cluster, secret) == []
    await cluster.ask("DELETE", f"/volume/v3/snapshots/{snapshot}")
    await snapshot_is(cluster, snapshot, "")
    for each in (volume, other, copy):
        await cluster.ask("DELETE", f"{VOLUMES}/{each}")
    await cluster.all_is_well()


async def test_a_guest_boots_from_an_encrypted_volume_and_outlives_a_dead_libvirtd(
    cluster: Cluster, database: Database, test_guest: Path
) -> None:
    """What libvirtd knew of the key is gone with it: the guest runs on, and is started again with what the volume service tells."""
    kind = await encrypted_type(cluster)
    root = {"uuid": await cluster.test_image(test_guest), "source_type": "image", "destination_type": "volume", "volume_size": 1}
    device = root | {"boot_index": 0, "delete_on_termination": True, "volume_type": kind}
    zone = f"nova:{HOSTS[0]}"
    server = await cluster.boot("", await cluster.flavor("lab.vol"), availability_zone=zone, block_device_mapping_v2=[device])
    await cluster.reaches(server, "ACTIVE")
    await cluster.booted(server, 1)
    (held,) = (await cluster.ask("GET", f"{COMPUTE}/servers/{server}/os-volume_attachments"))["volumeAttachments"]
    volume = str(held["volumeId"])
    await cluster.inside(server, f"echo '{MARK}' > /data/mark; sync")
    await is_ciphertext(cluster, volume)
    assert said(cluster, await passphrase(cluster, database, volume)) == []
    cluster.kill(f"{HOSTS[0]}/libvirtd")
    await cluster.act(server, reboot={"type": "HARD"})
    await cluster.booted(server, 2)
    assert await cluster.inside(server, "cat /data/mark", 120) == MARK
    await cluster.act(server, **{"os-stop": None})
    await cluster.reaches(server, "SHUTOFF")
    await cluster.act(server, migrate=None)
    await cluster.reaches(server, "VERIFY_RESIZE")
    await cluster.act(server, confirmResize=None)
    await cluster.reaches(server, "SHUTOFF")
    await cluster.act(server, **{"os-start": None})
    await cluster.booted(server, 3)
    assert await cluster.inside(server, "cat /data/mark", 120) == MARK
    await cluster.delete(server)
    assert [volume in secrets(cluster, host) for host in HOSTS] == [False, False]
    await cluster.all_is_well()
