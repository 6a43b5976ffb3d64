"""What a server wrote is nowhere in the disks of the next one on the same storage."""

from pathlib import Path

import pytest

from nova_async import processes
from nova_async.errors import Invalid
from nova_async.world import RealWorld

from .conftest import image_of
from .test_resize import SERVER, Guests, quiet

OF_LAST = 0xCA
NAMES = ("disk", "disk.eph0", "disk.swap")


@pytest.fixture
async def guests(tmp_path: Path, world: RealWorld) -> Guests:
    made = Guests(tmp_path, world)
    await made.make()
    return made


async def at(guests: Guests, name: str, command: str) -> None:
    """What ``qemu-io`` does to a part that no file system of ours and no image is at."""
    await processes.run("qemu-io", "-f", "qcow2", "-c", f"{command} 12M 64k", str(guests.folder / name), deadline=30)


async def nothing_of_the_last(guests: Guests) -> None:
    """Where the canary was there are zeros, and no cluster that the files have holds any of it."""
    assert sorted(path.name for path in guests.folder.glob("disk*")) == sorted(NAMES)
    for name in NAMES:
        await at(guests, name, "read -P 0")
        assert bytes([OF_LAST]) * 512 not in (guests.folder / name).read_bytes()


async def test_root_ephemeral_and_swap_disks_of_a_new_server_hold_nothing_of_a_deleted_one(guests: Guests) -> None:
    """SEC-016: disks are new files, which read as zeros but for the image; volumes are tried in tests/volume."""
    for name in NAMES:
        await at(guests, name, f"write -P {OF_LAST}")
        await at(guests, name, f"read -P {OF_LAST}")
    await guests.disks.remove(SERVER)
    assert not guests.folder.exists()
    await guests.disks.make(guests.small, quiet)
    await nothing_of_the_last(guests)


async def test_nor_after_a_build_that_failed(guests: Guests, tmp_path: Path) -> None:
    """SEC-016"""
    await at(guests, "disk", f"write -P {OF_LAST}")
    await guests.disks.remove(SERVER)
    large = tmp_path / "large"
    await processes.run("qemu-img", "create", "-q", "-f", "qcow2", str(large), "3G", deadline=30)
    with pytest.raises(Invalid):
        await guests.disks.make(guests.spec(image=image_of(large, "qcow2")), quiet)
    await guests.disks.remove(SERVER)
    await guests.disks.make(guests.small, quiet)
    await nothing_of_the_last(guests)
