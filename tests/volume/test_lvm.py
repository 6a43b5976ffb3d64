"""What a host is told of logical volumes, how daemons open them, and who is refused at start; the volumes are in test_lvm_volumes.py."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nova_async import processes
from nova_async.config import Config, VolumeSection
from nova_async.db import Database
from nova_async.errors import Invalid
from nova_async.services.image.builtin import BuiltinImages
from nova_async.services.volume import lvm
from nova_async.services.volume.builtin import BuiltinVolumes
from nova_async.services.volume.lvm import LvmStore
from nova_async.world import RealWorld
from tests.volume.conftest import GIB

ONE = "01111111-2222-4333-8444-555555555555"


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    """A block device of 1 GiB, whose bytes are in a file ``loop`` beside it."""
    with (tmp_path / "loop").open("wb") as file:
        file.truncate(GIB)
    done = subprocess.run(["losetup", "--find", "--show", str(tmp_path / "loop")], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no loop devices can be had here")
    yield Path(done.stdout.strip())
    subprocess.run(["losetup", "--detach", done.stdout.strip()], check=True)


async def test_a_device_is_opened_as_one(loop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lvm, "DEVICES", tmp_path)
    store = LvmStore("vg", "thin", tmp_path / "volumes")
    (tmp_path / "vg").mkdir()
    store.path(ONE).symlink_to(loop)
    node = await store.node(ONE, 1, encrypted=False, shared=False)
    command = ["qemu-io", "-c", "write -P 7 4k 4k", "-c", "read -P 0 0 4k", "--image-opts", f"driver=raw,{node}"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "loop").open("rb") as file:
        assert file.read(12_288) == bytes(4096) + bytes([7]) * 4096 + bytes(4096)
    assert await store.way(ONE, here=False) is None
    told = {"driver_volume_type": "local", "data": {"device_path": str(store.path(ONE)), "format": "raw"}}
    assert await store.way(ONE, here=True) == told
    store.close()


@pytest.mark.parametrize(
    ("pool", "mapper", "why"),
    [
        ("", "/dev/null", "a volume group and a thin pool in it are expected"),
        ("vg", "/dev/null", "a volume group and a thin pool in it are expected"),
        ("vg/thin", "/nowhere/control", "this machine's kernel has no device mapper (/nowhere/control)"),
        ("vg/thin", "/dev/null", "lvs is not installed on this host. Volumes of LVM need the packages lvm2"),
    ],
)
async def test_what_cannot_be_had_is_refused_at_start(
    pool: str, mapper: str, why: str, database: Database, config: Config, world: RealWorld, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "prlimit").symlink_to("/usr/bin/prlimit")
    monkeypatch.setitem(processes.ENVIRONMENT, "PATH", str(tmp_path))
    monkeypatch.setattr(lvm, "MAPPER", Path(mapper))
    changed = msgspec.structs.replace(config, volume=msgspec.structs.replace(config.volume, backend="lvm", lvm_pool=pool))
    images = await BuiltinImages.open(database, config, world)
    with pytest.raises(Invalid, match="volume") as refused:
        await BuiltinVolumes.open(database, changed, world, images)
    assert why in refused.value.message
    await images.close()


async def test_a_machine_without_a_device_mapper_is_told_so(tmp_path: Path) -> None:
    if lvm._can_open(lvm.MAPPER):
        pytest.skip("this machine has a device mapper")
    with pytest.raises(Invalid, match="no device mapper"):
        await LvmStore.open(VolumeSection(lvm_pool="vg/thin"), tmp_path)
