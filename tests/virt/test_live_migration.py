"""Running guests between two hosts: each a libvirtd in a network namespace of its own, under a host name of its own.

The guest is the witness: its counter (five a second) over the move, what is on its disks, how often it booted.
"""

import asyncio
import hashlib
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

pytest.importorskip("libvirt")

import libvirt

from nova_async.errors import Conflict, Error
from nova_async.model.guests import DiskSpec, GuestSpec
from nova_async.model.power import PowerState
from nova_async.virt.libvirt import daemon, domains, going
from nova_async.world import RealWorld
from tests.certs.parties import Parties

from .conftest import quiet
from .two_hosts import Host, Pair, Place, possible, two_places

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu, pytest.mark.timeout(400), pytest.mark.xdist_group("qemu-live")]


@pytest.fixture(scope="module")
def places(test_guest: Path) -> Iterator[list[Place]]:
    if not possible():
        pytest.skip("real guests need root, libvirtd and QEMU")
    try:
        with two_places(test_guest) as made:
            yield made
    except OSError as reason:
        pytest.skip(str(reason))


async def ticks(host: Host, guest: GuestSpec) -> int:
    return int(await host.shell(guest, "cat /run/ticks"))


def content(host: Host, guest: GuestSpec, name: str) -> str:
    """A hash of what the guest sees on a disk; the guest is paused or off."""
    folder = host.folder / "instances" / guest.instance_id
    raw = folder / "raw"
    subprocess.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", folder / name, raw], check=True)
    digest = hashlib.sha256(raw.read_bytes()).hexdigest()
    raw.unlink()
    return digest


@pytest.fixture
def parties(tmp_path: Path, world: RealWorld) -> Parties:
    return Parties(tmp_path / "parties", world)


@pytest.fixture
async def pair(places: list[Place], world: RealWorld, parties: Parties, request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Options of both hosts may be given by the mark ``options``; ``shared`` puts their files into one folder.

    ``enrolled`` gives them certificates of one authority.
    """
    mark = request.node.get_closest_marker("options")
    options = dict(mark.kwargs) if mark else {}
    shared = tempfile.mkdtemp(prefix="nlm-", dir="/tmp") if options.pop("shared", False) else ""
    enrolled = options.pop("enrolled", False)
    hosts = [
        Host(world, folder, uri, f"host{number}", (19100 + 10 * number, 19109 + 10 * number), shared, **options)
        for number, (folder, uri) in enumerate(places)
    ]
    for host in hosts:
        if enrolled:
            host.identity, host.viewer = await parties.identity(f"compute.{host.name}"), await parties.identity("app")
        await host.open()
    yield Pair(hosts)
    for host in hosts:
        await host.close()
    if shared:
        assert list((Path(shared) / "instances").iterdir()) == []
        shutil.rmtree(shared)


async def test_a_running_guest_takes_its_disks_along(pair: Pair) -> None:
    disks = (DiskSpec(name="ephemeral0", size_mib=64), DiskSpec(name="swap", size_mib=16))
    files = {"openstack/latest/meta_data.json": b'{"uuid": "on-the-drive"}'}
    guest = await pair.spawn(disks=disks, config_drive=True, config_drive_files=files)
    await pair.source.ready(guest)
    wrote = "dd if=/dev/urandom of=/data/noise bs=64k count=32 2>&1 | tail -1; mkdir -p /e; mount /dev/vdb /e && echo extra > /e/mark; sync"
    await pair.source.shell(guest, wrote)
    sums = "sha256sum /data/noise /e/mark /dev/vdd"
    before = await pair.source.shell(guest, sums)
    a_second = await pace(pair, guest)
    count, left = await ticks(pair.source, guest), asyncio.get_running_loop().time()

    await pair.move(guest)

    found = await pair.source.driver.guest(guest.instance_id)
    assert (found.power_state, found.generation) == (PowerState.RUNNING, 2)
    assert await pair.source.shell(guest, sums) == before
    later = await ticks(pair.source, guest)
    missed = (asyncio.get_running_loop().time() - left) - (later - count) / a_second
    print(f"\nblock migration: {missed:.2f} s of the guest's time missing, at {a_second:.1f} ticks a second before")
    assert later > count  # it did not start anew


@pytest.mark.hosts
@pytest.mark.parametrize("storage", ["own", pytest.param("shared", marks=pytest.mark.options(shared=True))])
async def test_ten_times_to_and_fro(pair: Pair, storage: str) -> None:
    guest = await pair.spawn()
    await pair.source.ready(guest)
    await pair.source.shell(guest, "dd if=/dev/urandom of=/data/noise bs=64k count=32 2>/dev/null; sync")
    read_anew = "sync; echo 3 > /proc/sys/vm/drop_caches; sha256sum /data/noise"
    kept = await pair.source.shell(guest, read_anew)
    a_second = await pace(pair, guest)
    gaps = []
    for _ in range(10):
        count, left = await ticks(pair.source, guest), asyncio.get_running_loop().time()
        await pair.move(guest, storage == "own")
        later, now = await ticks(pair.source, guest), asyncio.get_running_loop().time()
        assert later > count
        gaps.append(now - left - (later - count) / a_second)
        assert await pair.source.shell(guest, read_anew) == kept
        assert await pair.target.driver.guests() == []
    each = ", ".join(f"{gap:.2f}" for gap in gaps)
    print(f"\n{storage} storage, ten migrations: {statistics.median(gaps):.2f} s of the guest's time missing (median of {each})")
    assert await pair.source.shell(guest, "cat /data/boots") == "1"
    assert pair.generation == 11


async def pace(pair: Pair, guest: GuestSpec) -> float:
    """How often a second the guest counts: five times, on a machine that has nothing else to do."""
    first, began = await ticks(pair.source, guest), asyncio.get_running_loop().time()
    await asyncio.sleep(5)
    return (await ticks(pair.source, guest) - first) / (asyncio.get_running_loop().time() - began)


@pytest.mark.options(shared=True)
async def test_a_guest_on_shared_storage_moves_without_its_disks_and_keeps_them(pair: Pair) -> None:
    guest = await pair.spawn()
    await pair.source.ready(guest)
    await pair.source.shell(guest, "echo kept > /data/mark; sync")
    count = await ticks(pair.source, guest)
    with pytest.raises(Conflict, match="block migration cannot be used"):
        await pair.leave(guest, True)
    await pair.stayed(guest)
    await pair.move(guest, False)
    assert await ticks(pair.source, guest) > count
    assert await pair.target.driver.stray_files() == []
    await pair.target.driver.remove_stray(guest.instance_id)
    assert await pair.source.shell(guest, "cat /data/mark") == "kept"
    await pair.source.driver.reboot(guest, pair.generation, hard=True)
    assert await pair.source.state(guest) is PowerState.RUNNING


@pytest.mark.hosts
async def test_a_guest_whose_storage_is_not_shared_is_not_moved_without_its_disks(pair: Pair) -> None:
    guest = await pair.spawn()
    await pair.source.ready(guest)
    with pytest.raises(Conflict, match="use block migration"):
        await pair.leave(guest, False)
    await pair.stayed(guest)


@pytest.mark.options(live_migration_mib_per_second=1)
@pytest.mark.hosts
async def test_a_migration_that_is_aborted_leaves_the_guest_where_it_was(pair: Pair) -> None:
    guest = await pair.spawn()
    await pair.source.ready(guest)
    leaving = asyncio.create_task(pair.leave(guest))
    await under_way(pair, guest)
    assert await pair.source.driver.abort_live(guest.instance_id) is False
    with pytest.raises(Conflict, match="aborted"):
        await leaving
    await pair.stayed(guest)
    assert await pair.source.driver.abort_live(guest.instance_id) is False


@pytest.mark.hosts
async def test_libvirt_that_waits_for_ever_when_a_migration_is_called_off_is_roused(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What libvirt 9.0 does in one of some hundred migrations, called off as the guest's last memory moves: it waits for a stop."""
    guest = await pair.spawn()
    await pair.source.ready(guest)

    moving = threading.Event()

    def waits(domain: libvirt.virDomain, *_: object) -> None:
        moving.set()
        while domain.state()[0] != libvirt.VIR_DOMAIN_PAUSED:
            threading.Event().wait(0.05)
        raise Error("operation aborted")

    monkeypatch.setattr(domains, "migrate", waits)
    monkeypatch.setattr(going, "HANGS_SECONDS", 1.0)
    leaving = asyncio.create_task(pair.leave(guest))
    assert await asyncio.to_thread(moving.wait, 60)
    assert await pair.source.driver.abort_live(guest.instance_id) is False
    with pytest.raises(Conflict, match="aborted"):
        await leaving
    await pair.stayed(guest)


async def test_so_is_one_that_a_worker_left_behind_which_is_no_more(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = await pair.spawn()
    await pair.source.ready(guest)
    monkeypatch.setattr(domains, "has_job", lambda domain: domain.state()[0] != libvirt.VIR_DOMAIN_PAUSED)
    monkeypatch.setattr(going, "HANGS_SECONDS", 1.0)
    assert await pair.source.driver.abort_live(guest.instance_id) is False
    assert await pair.source.state(guest) is PowerState.RUNNING
    monkeypatch.setattr(domains, "has_job", lambda domain: True)
    monkeypatch.setattr(going, "CALL_OFF_SECONDS", 2.0)
    with pytest.raises(Error, match="has not ended"):
        await pair.source.driver.abort_live(guest.instance_id)


@pytest.mark.hosts
@pytest.mark.options(live_migration_mib_per_second=8)
async def test_a_migration_that_is_forced_ends_and_the_guest_goes_on(pair: Pair) -> None:
    guest = await pair.spawn()
    await pair.source.ready(guest)
    with pytest.raises(Conflict, match="not being migrated"):
        await pair.source.driver.force_live(guest.instance_id)
    leaving = asyncio.create_task(pair.leave(guest))
    await under_way(pair, guest)
    await pair.source.driver.force_live(guest.instance_id)
    await leaving
    await pair.arrive(guest)
    assert await pair.source.state(guest) is PowerState.RUNNING
    assert await pair.source.shell(guest, "echo alive") == "alive"


@pytest.mark.hosts
@pytest.mark.options(live_migration_mib_per_second=1, live_migration_seconds_per_gib=1.0)
async def test_a_migration_that_takes_too_long_is_called_off(pair: Pair) -> None:
    guest = await pair.spawn()
    await pair.source.ready(guest)
    with pytest.raises(Conflict, match="aborted"):
        await pair.leave(guest)
    await pair.stayed(guest)


@pytest.mark.hosts
@pytest.mark.options(live_migration_mib_per_second=1)
@pytest.mark.parametrize("fault", ["libvirtd", "listener", "certificate"])
async def test_a_migration_that_breaks_leaves_the_guest_where_it_was(pair: Pair, fault: str) -> None:
    """SEC-019, SEC-020: nothing is left at the destination, and nobody but it gets the guest."""
    guest = await pair.spawn()
    await pair.source.ready(guest)
    ticket = await pair.target.driver.prepare_live(guest, 2, pair.source.name, None)
    if fault == "certificate":
        ticket["fingerprint"] = "0" * 64
    leaving = asyncio.create_task(pair.source.driver.live_migrate(guest, 2, pair.target.name, None, ticket, quiet))
    if fault != "certificate":
        await under_way(pair, guest)
    if fault == "listener":
        await pair.target.driver.destroy(guest.instance_id)
    if fault == "libvirtd":
        number = int((pair.target.folder / "libvirt/run/libvirtd.pid").read_text())
        os.kill(number, 9)
    with pytest.raises(Error):
        await leaving
    if fault == "libvirtd":
        await daemon.start_private(pair.target.folder, pair.target.world)
    await pair.stayed(guest)


@pytest.mark.hosts
@pytest.mark.options(enrolled=True)
async def test_enrolled_hosts_take_guests_from_the_host_that_has_them_and_from_no_other(pair: Pair, parties: Parties, capsys) -> None:
    """SEC-020: another host's certificate, one that is over or that was revoked ends it, and the guest runs on."""
    guest = await pair.spawn()
    await pair.source.ready(guest)
    own = pair.source.identity
    target = pair.target.identity
    assert own is not None
    assert target is not None
    for identity, reason in (
        (await parties.identity("compute.elsewhere"), "party=compute.elsewhere"),
        (await parties.identity("compute.late", seconds=-1), "certificate has expired"),
        (None, "enrol the host"),
    ):
        pair.source.driver._identity = identity
        with pytest.raises(Error) as refused:
            await pair.leave(guest)
        assert reason in capsys.readouterr().out + str(refused.value.message)
        pair.source.driver._identity = own
        await pair.stayed(guest)
    await pair.move(guest)
    parties.revoke(target.party, own.party)  # it has the guest now, and wants to bring it back
    await own.load()
    with pytest.raises(Error):
        await pair.leave(guest)
    assert "certificate revoked" in capsys.readouterr().out
    await pair.stayed(guest)


async def under_way(pair: Pair, guest: GuestSpec) -> None:
    """Until bytes of the guest have left."""
    async with asyncio.timeout(60):
        while True:
            told = await pair.source.driver.live_progress(guest.instance_id)
            if told is not None and told.memory_processed + told.disk_processed:
                return
            await asyncio.sleep(0.1)


@pytest.mark.hosts
async def test_a_paused_guest_arrives_paused(pair: Pair) -> None:
    guest = await pair.spawn()
    await pair.source.ready(guest)
    await pair.source.driver.pause(guest.instance_id)
    await pair.leave(guest)
    await pair.arrive(guest, paused=True)
    assert await pair.source.state(guest) is PowerState.PAUSED
    await pair.source.driver.unpause(guest.instance_id)
    assert await pair.source.shell(guest, "echo alive") == "alive"


@pytest.mark.hosts
async def test_what_is_stored_at_the_destination_is_what_runs_there(pair: Pair) -> None:
    """SEC-018: no path, address or device of the source is left in either description."""
    guest = await pair.spawn()
    await pair.source.ready(guest)
    old = str(pair.source.folder)
    await pair.move(guest)
    descriptions = await described(pair.source, guest)
    assert all(old not in text for text in descriptions)
    await pair.source.driver.power_off(guest.instance_id, timeout=0, retry=0)
    with pytest.raises(Error):
        await pair.target.driver.guest(guest.instance_id)
    await pair.source.driver.power_on(guest, pair.generation)
    assert all(old not in text for text in await described(pair.source, guest))


async def described(host: Host, guest: GuestSpec) -> list[str]:
    import libvirt

    def look() -> list[str]:
        connection = libvirt.open(host.uri)
        try:
            domain = connection.lookupByUUIDString(guest.instance_id)
            return [domain.XMLDesc(0), domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)]
        finally:
            connection.close()

    return await asyncio.to_thread(look)


@pytest.mark.hosts
async def test_every_disk_is_the_same_after_the_move(pair: Pair) -> None:
    """SEC-017, with a guest that writes no more: it is paused."""
    guest = await pair.spawn(disks=(DiskSpec(name="ephemeral0", size_mib=32), DiskSpec(name="swap", size_mib=16)))
    await pair.source.printed(guest, "TESTGUEST data dev=vda2 boots=1")
    await pair.source.driver.pause(guest.instance_id)
    copies = [await asyncio.to_thread(content, pair.source, guest, name) for name in ("disk", "disk.eph0", "disk.swap")]
    await pair.leave(guest)
    await pair.arrive(guest, paused=True)
    await pair.source.driver.power_off(guest.instance_id, timeout=0, retry=0)
    assert [await asyncio.to_thread(content, pair.source, guest, name) for name in ("disk", "disk.eph0", "disk.swap")] == copies


@pytest.mark.hosts
@pytest.mark.options(live_migration_mib_per_second=8)
async def test_a_worker_that_stops_in_the_middle_begins_again_with_the_same_ticket(pair: Pair) -> None:
    guest = await pair.spawn()
    await pair.source.ready(guest)
    ticket = await pair.target.driver.prepare_live(guest, 2, pair.source.name, None)
    leaving = asyncio.create_task(pair.source.driver.live_migrate(guest, 2, pair.target.name, None, ticket, quiet))
    await under_way(pair, guest)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await pair.source.state(guest) is PowerState.RUNNING
    await pair.source.driver.live_migrate(guest, 2, pair.target.name, None, ticket, quiet)
    await pair.source.driver.live_migrate(guest, 2, pair.target.name, None, ticket, quiet)  # told again: it has left
    await pair.arrive(guest)
    assert await pair.source.shell(guest, "echo alive") == "alive"
