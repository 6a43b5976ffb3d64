"""Guests that are off, or whose host died, between hosts that share ``compute.files_dir``: their disks stay where they are."""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("libvirt")

from nova_async import processes
from nova_async.errors import Conflict
from nova_async.model.guests import DiskSpec, GuestSpec
from nova_async.model.power import PowerState
from nova_async.virt.libvirt import owners, qcow2
from nova_async.virt.libvirt.owners import Owner
from nova_async.world import RealWorld

from .conftest import image_of, quiet
from .two_hosts import Host, Pair, Place, possible, two_places

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu, pytest.mark.hosts, pytest.mark.timeout(400), pytest.mark.xdist_group("qemu-live")]
GIB = 2**30


@pytest.fixture(scope="module")
def places(test_guest: Path) -> Iterator[list[Place]]:
    if not possible():
        pytest.skip("real guests need root, libvirtd and QEMU")
    try:
        with two_places(test_guest) as made:
            yield made
    except OSError as reason:
        pytest.skip(str(reason))


async def opened(places: list[Place], world: RealWorld, files: str) -> Pair:
    pair = Pair([Host(world, folder, uri, f"host{n}", (19140 + 10 * n, 19149 + 10 * n), files) for n, (folder, uri) in enumerate(places)])
    for host in pair.hosts:
        await host.open()
    return pair


@pytest.fixture
async def sharing(places: list[Place], world: RealWorld, tmp_path: Path) -> AsyncIterator[Pair]:
    pair = await opened(places, world, str(tmp_path))
    yield pair
    for host in pair.hosts:
        await host.close()
    assert list((tmp_path / "instances").iterdir()) == []


@pytest.fixture
async def apart(places: list[Place], world: RealWorld) -> AsyncIterator[Pair]:
    pair = await opened(places, world, "")
    yield pair
    for host in pair.hosts:
        await host.close()


def folder_of(host: Host, guest: GuestSpec) -> Path:
    return Path(host.files or host.folder) / "instances" / guest.instance_id


async def moved(pair: Pair, guest: GuestSpec, generation: int, *, on: bool = True) -> None:
    """As the workflow does it, up to the owner's word."""
    source, target = pair.source.driver, pair.target.driver
    await source.power_off(guest.instance_id, timeout=0, retry=0)
    ticket = await target.receive_disk(guest, generation, pair.source.name)
    await source.send_disk(guest.instance_id, pair.target.name, "127.0.0.1", ticket, quiet)
    for _ in range(2):  # the second time as after a death
        await target.finish_move(guest, generation, power_on=False, same_host=False)
    if on:
        await target.finish_move(guest, generation, power_on=True, same_host=False)


async def written(pair: Pair) -> GuestSpec:
    """A guest that is off, whose disk holds something. It has no operating system."""
    guest = await pair.spawn(image=None, root_gib=1)
    await pair.source.driver.power_off(guest.instance_id, timeout=0, retry=0)
    await disk(pair.source, guest, "write -P 7 8M 1M")
    await pair.source.driver.power_on(guest, 1)
    return guest


async def disk(host: Host, guest: GuestSpec, *commands: str) -> None:
    """What is written, or must be read; the guest may run."""
    how = [] if commands[0].startswith("write") else ["-U", "-r"]
    words = [word for command in commands for word in ("-c", command)]
    said = await processes.run("qemu-io", "-f", "qcow2", *how, *words, str(folder_of(host, guest) / "disk"), deadline=60)
    assert b"failed" not in said


async def changed(pair: Pair, guest: GuestSpec) -> None:
    """Something else is written at the destination, where the guest is."""
    await pair.target.driver.power_off(guest.instance_id, timeout=0, retry=0)
    await disk(pair.target, guest, "write -P 9 8M 1M")


def larger(guest: GuestSpec) -> GuestSpec:
    return msgspec.structs.replace(guest, root_gib=2, disks=(DiskSpec(name="ephemeral0", size_mib=32),))


async def test_a_resize_that_is_reverted_leaves_everything_as_it_was(sharing: Pair) -> None:
    guest = await written(sharing)
    folder = folder_of(sharing.source, guest)
    await moved(sharing, larger(guest), 2)
    assert owners.read(folder) == Owner("host1", "host0")
    assert qcow2.read_header(folder / "disk").virtual_size == 2 * GIB
    assert (folder / "disk.eph0").exists()
    await changed(sharing, guest)
    await sharing.target.driver.destroy(guest.instance_id)
    assert owners.read(folder) == Owner("host0")
    await sharing.source.driver.revert_move(guest, 3, moved=2, power_on=True, same_host=False)
    assert await sharing.source.state(guest) is PowerState.RUNNING
    assert (qcow2.read_header(folder / "disk").virtual_size, (folder / "disk.eph0").exists()) == (GIB, False)
    await disk(sharing.source, guest, "read -P 7 8M 1M")
    assert [path.name for path in folder.iterdir() if path.name.startswith(("before", "returning"))] == []


async def test_a_resize_that_is_confirmed_keeps_what_was_written_since(sharing: Pair) -> None:
    guest = await written(sharing)
    folder = folder_of(sharing.source, guest)
    await moved(sharing, larger(guest), 2)
    await changed(sharing, guest)
    await sharing.source.driver.destroy(guest.instance_id)
    assert owners.read(folder) == Owner("host1")
    assert list(folder.glob("before-*")) == []
    await sharing.target.driver.power_on(larger(guest), 2)
    assert await sharing.target.state(guest) is PowerState.RUNNING
    await disk(sharing.target, guest, "read -P 9 8M 1M")


async def test_a_source_takes_its_files_back_from_a_destination_that_is_silent(sharing: Pair) -> None:
    guest = await written(sharing)
    await moved(sharing, larger(guest), 2)
    await changed(sharing, guest)
    await sharing.source.driver.revert_move(guest, 3, moved=2, power_on=True, same_host=False)
    await disk(sharing.source, guest, "read -P 7 8M 1M")
    await sharing.target.driver.destroy(guest.instance_id)  # when it is heard again
    await disk(sharing.source, guest, "read -P 7 8M 1M")
    assert await sharing.source.state(guest) is PowerState.RUNNING


async def test_an_evacuated_guest_finds_its_disks_and_its_old_host_removes_nothing(sharing: Pair) -> None:
    guest = await written(sharing)
    await sharing.source.driver.power_off(guest.instance_id, timeout=0, retry=0)
    await sharing.target.driver.spawn(guest, 2, quiet)
    await disk(sharing.target, guest, "read -P 7 8M 1M")
    await sharing.source.driver.destroy(guest.instance_id)
    assert await sharing.source.driver.stray_files() == []
    await sharing.target.driver.reboot(guest, 2, hard=True)
    assert await sharing.target.state(guest) is PowerState.RUNNING


async def test_files_of_a_third_host_are_not_taken(sharing: Pair) -> None:
    guest = await written(sharing)
    with pytest.raises(Conflict, match="belong to the host host0"):
        await sharing.target.driver.receive_disk(guest, 2, "host7")


@pytest.mark.skipif(shutil.which("swtpm") is None, reason="needs swtpm")
async def test_what_firmware_and_tpm_remember_comes_along(apart: Pair) -> None:
    blank = apart.source.folder / "blank.raw"
    blank.write_bytes(bytes(2**20))
    image = image_of(blank, "raw", properties={"hw_firmware_type": "uefi", "hw_machine_type": "q35"})
    guest = await apart.spawn(image=image, root_gib=1, extra_specs={"hw:tpm_version": "2.0", "hw:tpm_model": "tpm-crb"})
    nvram = folder_of(apart.source, guest) / "nvram"
    fresh = nvram.read_bytes()
    async with asyncio.timeout(120):
        while nvram.read_bytes() == fresh:  # until the firmware has written down what it found
            await asyncio.sleep(0.5)
    await moved(apart, guest, 2, on=False)
    assert remembered(apart.source, guest) == remembered(apart.target, guest)
    await apart.source.driver.destroy(guest.instance_id)
    await apart.target.driver.power_on(guest, 2)
    assert await apart.target.state(guest) is PowerState.RUNNING
    await apart.target.driver.destroy(guest.instance_id)
    assert [path for host in apart.hosts for path in (host.folder / "libvirt/lib/swtpm").glob("*")] == []


def remembered(host: Host, guest: GuestSpec) -> list[str]:
    tpm = host.folder / "libvirt/lib/swtpm" / guest.instance_id / "tpm2/tpm2-00.permall"
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder_of(host, guest) / "nvram", tpm)]
