"""Volumes as logical volumes of a real LVM, in a guest of QEMU's that has a device mapper; and who is refused at start."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from nova_async import processes
from nova_async.config import Config, VolumeSection
from nova_async.db import Database
from nova_async.errors import Invalid, Unavailable
from nova_async.services.image.builtin import BuiltinImages
from nova_async.services.volume import lvm
from nova_async.services.volume.builtin import BuiltinVolumes
from nova_async.services.volume.lvm import LvmStore
from nova_async.services.volume.stores import Origin
from nova_async.world import RealWorld
from tests.virt.conftest import test_guest
from tests.volume import lvm_machine
from tests.volume.conftest import GIB
from tests.volume.lvm_machine import Machine

__all__ = ["test_guest"]
MISSING = [program for program in ("lvm", "cpio", "qemu-system-x86_64") if shutil.which(program, path="/usr/sbin:/usr/bin:/bin") is None]
ONE, TWO, COPY, SNAPSHOT = (f"{number}1111111-2222-4333-8444-555555555555" for number in range(4))


@pytest.fixture
async def machine(test_guest: Path, tmp_path: Path) -> AsyncIterator[Machine]:
    kernels = sorted((test_guest / ".debs").glob("linux-image-*.deb"))
    if MISSING or not kernels:
        pytest.skip(f"not there: {', '.join(MISSING) or 'the package of the kernel of the test guest'}")
    async with lvm_machine.running(tmp_path, kernels[-1]) as made:
        await made.run("vgcreate", "vg", "/dev/vda")
        await made.run("lvcreate", "--type", "thin-pool", "--size", "1g", "--name", "thin", "vg")
        yield made


@pytest.fixture
async def store(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LvmStore]:
    monkeypatch.setattr(lvm, "run", machine.run)
    monkeypatch.setattr(lvm, "MAPPER", Path("/dev/null"))
    made = await LvmStore.open(VolumeSection(lvm_pool="vg/thin"), tmp_path / "volumes")
    yield made
    made.close()


@pytest.mark.ceph
@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_logical_volumes_of_a_thin_pool(machine: Machine, store: LvmStore) -> None:
    """INV-30, SEC-016."""
    for _ in range(2):
        await store.make(ONE, 1)
    path = store.path(ONE)
    await machine.shell(f"echo before | dd of={path} conv=fsync")
    for _ in range(2):
        await store.snapshot(ONE, SNAPSHOT, 1)
    await machine.shell(f"echo later | dd of={path} conv=fsync")
    for _ in range(2):
        await store.clone(Origin(ONE, SNAPSHOT), TWO, 2)
        await store.clone(Origin(ONE), COPY, 1)
    assert await store.names() == {ONE, TWO, COPY, SNAPSHOT}
    for _ in range(2):
        await store.remove_snapshot(ONE, SNAPSHOT)
    assert await machine.shell(f"head -c 6 {store.path(TWO)}") == b"before"
    assert await machine.shell(f"head -c 5 {store.path(COPY)}") == b"later"
    for _ in range(2):
        await store.grow(COPY, 3)
    assert [await size(machine, name) for name in (ONE, TWO, COPY)] == [GIB, 2 * GIB, 3 * GIB]
    async with store._moment(ONE) as moment:
        assert await machine.shell(f"head -c 5 {moment}") == b"later"
        assert await store.names() == {ONE, TWO, COPY}

    await machine.shell(f"{{ sleep 1000 >/dev/null 2>&1 & echo $! >/tmp/holder; }} 3<{path}")
    with pytest.raises(Unavailable, match="open somewhere"):
        await store.remove(ONE)
    await machine.shell("kill $(cat /tmp/holder); while [ -e /proc/$(cat /tmp/holder)/fd/3 ]; do :; done")
    await machine.shell(f"tr '\\0' x </dev/zero | dd of={path} bs=1M count=8 iflag=fullblock conv=fsync")
    total, free = await store.space()
    assert (total, free < 1) == (1, True)
    for name in (ONE, TWO, COPY) * 2:
        await store.remove(name)
    assert (await store.names(), await store.space()) == (set(), (1, 1))
    await store.make(ONE, 1)
    await machine.shell(f"echo mine | dd of={path} bs=1 seek=70000 conv=fsync")
    assert (await machine.shell(f"head -c 16777216 {path} | tr -d '\\0'")).split() == [b"mine"]
    await store.remove(ONE)

    await machine.run("lvcreate", "--yes", "--size", "64m", "--name", "thick", "vg")
    assert await store.names() == set(), "what has not our tag is not ours"
    await machine.run("lvchange", "--zero", "n", "vg/thin")
    for pool, why in (("thin", "does not fill new blocks"), ("thick", "is no thin pool"), ("none", "no thin pool vg/none")):
        with pytest.raises(Invalid, match=why):
            await LvmStore.open(VolumeSection(lvm_pool=f"vg/{pool}"), store._parts.parent)


async def size(machine: Machine, volume: str) -> int:
    told = await machine.run("lvs", "--noheadings", "--units", "b", "--nosuffix", "--options", "lv_size", f"vg/nova-{volume}")
    return int(told)


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
