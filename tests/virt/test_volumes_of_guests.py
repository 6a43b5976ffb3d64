"""A volume of real guests: written in one, read in another; grown, exchanged, kept."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest

pytest.importorskip("libvirt")

from nova_async.model.guests import GuestSpec, VolumeSpec

from .conftest import QemuLab, quiet

pytestmark = [pytest.mark.libvirt, pytest.mark.qemu, pytest.mark.timeout(300), pytest.mark.xdist_group("qemu-volumes")]

MakeLab = Callable[..., Awaitable[QemuLab]]
GIB = 2**30
WORDS = "written-by-the-first-guest"
READ = "head -c 26 /dev/vdb"


def having(guest: GuestSpec, *volumes: VolumeSpec) -> GuestSpec:
    return msgspec.structs.replace(guest, volumes=volumes)


async def test_what_one_guest_writes_another_reads(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab()
    first, second = await lab.spawn(), await lab.spawn()
    volume = lab.volumes.make(1)
    await lab.ready(first)
    for _ in range(2):
        await lab.driver.attach_volume(having(first, volume), 1, volume)
    await lab.printed(first, "hotplug add block")
    await lab.shell(first, f"echo {WORDS} > /dev/vdb; sync")
    assert await lab.shell(first, "cat /sys/block/vdb/serial") == volume.volume_id[:20]
    with (lab.volumes.folder / volume.volume_id).open("r+b") as file:
        file.truncate(2 * GIB)
    await lab.driver.extend_volume(having(first, volume), msgspec.structs.replace(volume, size_gib=2))
    assert await lab.shell(first, "cat /sys/block/vdb/size") == str(2 * GIB // 512)
    for _ in range(2):
        await lab.driver.detach_volume(first, 1, volume)
    assert await lab.shell(first, "ls /sys/block | grep vdb | wc -l") == "0"

    await lab.ready(second)
    await lab.driver.attach_volume(having(second, volume), 1, volume)
    await lab.printed(second, "hotplug add block")
    assert await lab.shell(second, READ) == WORDS
    other = msgspec.structs.replace(lab.volumes.make(2), serial=volume.volume_id)  # the guest knows the disk by it from before
    await lab.driver.swap_volume(having(second, other), 1, volume, other, quiet)
    await lab.driver.swap_volume(having(second, other), 1, volume, other, quiet)
    assert await lab.shell(second, READ) == WORDS
    with (lab.volumes.folder / other.volume_id).open("rb") as file:
        assert file.read(26).decode() == WORDS
    await lab.driver.reboot(having(second, other), 1, hard=True)
    await lab.printed(second, "TESTGUEST ready", times=2)
    assert await lab.shell(second, READ) == WORDS
    await lab.driver.destroy(first.instance_id)
    await lab.driver.destroy(second.instance_id)
    assert await lab.left() == []
    assert (lab.volumes.folder / volume.volume_id).exists(), "volumes are not the guest's to remove"
