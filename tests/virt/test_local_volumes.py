"""A volume that is a device of the host, as one of LVM's is: opened by a real guest, and there again after a hard reboot."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("libvirt")

from nova_async.model.guests import VolumeSpec
from tests.virt.conftest import QemuLab
from tests.volume.test_lvm import loop

__all__ = ["loop"]
pytestmark = [pytest.mark.libvirt, pytest.mark.qemu, pytest.mark.timeout(300), pytest.mark.xdist_group("qemu-volumes")]

WORDS = "written-to-a-device"


class Told:
    """A ``VolumeFetcher`` that says what our volume service says of such a volume."""

    def __init__(self, device: Path) -> None:
        self.device = device

    async def connection(self, attachment_id: str) -> dict[str, Any]:
        return {"driver_volume_type": "local", "data": {"device_path": str(self.device), "format": "raw", "encrypted": False}}


async def test_a_volume_that_is_a_device(qemu_lab: Callable[..., Awaitable[QemuLab]], loop: Path, tmp_path: Path) -> None:
    lab = await qemu_lab()
    lab.driver._volumes = Told(loop)
    guest = await lab.spawn()
    volume = VolumeSpec(volume_id="0b8a6a0e-5c1f-4d6c-9d0a-5f3f0f8b7a11", attachment_id="a", device="/dev/vdb", size_gib=1)
    having = msgspec.structs.replace(guest, volumes=(volume,))
    await lab.ready(guest)
    for _ in range(2):
        await lab.driver.attach_volume(having, 1, volume)
    await lab.printed(guest, "hotplug add block name=vdb")
    await lab.shell(guest, f"echo {WORDS} > /dev/vdb; sync")
    await lab.driver.reboot(having, 2, hard=True)
    await lab.printed(guest, "TESTGUEST ready", times=2)
    assert await lab.shell(guest, f"head -c {len(WORDS)} /dev/vdb") == WORDS
    await lab.driver.detach_volume(guest, 2, volume)
    await lab.driver.destroy(guest.instance_id)
    with (tmp_path / "loop").open("rb") as file:
        assert file.read(len(WORDS)) == WORDS.encode()
