"""What a resize in place does to a guest's disks: larger, with a way back, and interrupted anywhere."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("libvirt")

from nova_async import processes, qemu_img
from nova_async.errors import Conflict, Invalid, NotFound
from nova_async.model.guests import DiskSpec, GuestSpec
from nova_async.virt.libvirt import qcow2, resize
from nova_async.virt.libvirt.disks import Disks
from nova_async.virt.libvirt.files import FileThreads
from nova_async.virt.libvirt.image_cache import ImageCache
from nova_async.virt.libvirt.resize import Resizer
from nova_async.world import RealWorld

from .conftest import FolderImages, QemuLab, image_of, quiet

GIB = 2**30
CANARY = b"the host's own canary"
SERVER = "11111111-2222-4333-8444-555555555555"
EPHEMERAL, SWAP = DiskSpec(name="ephemeral0", size_mib=64, format="ext4"), DiskSpec(name="swap", size_mib=16, format="swap")
MakeLab = Callable[..., Awaitable[QemuLab]]


class Guests:
    """One guest's files, without a hypervisor."""

    def __init__(self, folder: Path, world: RealWorld) -> None:
        self.files = FileThreads()
        image = folder / "image.raw"
        image.write_bytes(b"image" * 10_000)
        self.cache = ImageCache(folder / "image-cache", FolderImages(folder), self.files, world, keep_seconds=0)
        self.disks = Disks(folder / "instances", self.cache, self.files)
        self.resizer = Resizer(self.disks, self.files)
        self.folder = folder / "instances" / SERVER
        self.small = self.spec(image=image_of(image, "raw"), disks=(EPHEMERAL, SWAP))

    def spec(self, **changes: object) -> GuestSpec:
        names = dict.fromkeys(("name", "display_name", "hostname", "project_id", "user_id", "flavor_id", "flavor_name"), "x")
        return GuestSpec(**{"instance_id": SERVER, "vcpus": 1, "memory_mib": 128, "root_gib": 1, **names, **changes})

    async def make(self) -> None:
        await self.cache.open()
        await self.disks.open()
        await self.disks.make(self.small, quiet)

    def larger(self, **changes: object) -> GuestSpec:
        return msgspec.structs.replace(self.small, **{"root_gib": 2, **changes})

    async def write(self, text: int, name: str = "disk") -> None:
        await processes.run("qemu-io", "-f", "qcow2", "-c", f"write -P {text} 100M 64k", str(self.folder / name), deadline=30)

    async def holds(self, text: int, name: str = "disk") -> None:
        await processes.run("qemu-io", "-f", "qcow2", "-c", f"read -P {text} 100M 64k", str(self.folder / name), deadline=30)

    def sizes(self) -> dict[str, int]:
        """Virtual sizes in MiB, of disks where they belong."""
        return {path.name: qcow2.read_header(path).virtual_size >> 20 for path in sorted(self.folder.glob("disk*"))}


@pytest.fixture
async def guests(tmp_path: Path, world: RealWorld) -> Guests:
    made = Guests(tmp_path, world)
    await made.make()
    return made


async def test_disks_grow_and_swap_is_made_anew(guests: Guests) -> None:
    await guests.write(1)
    larger = guests.larger(disks=(msgspec.structs.replace(EPHEMERAL, size_mib=128), msgspec.structs.replace(SWAP, size_mib=8)))
    for _ in range(2):
        await guests.resizer.fit(larger)
        assert guests.sizes() == {"disk": 2048, "disk.eph0": 128, "disk.swap": 8}
    await guests.holds(1)


async def test_disks_that_the_flavor_has_no_more_go_and_new_ones_come(guests: Guests) -> None:
    await guests.resizer.fit(guests.larger(disks=(SWAP,), root_gib=1))
    assert guests.sizes() == {"disk": 1024, "disk.swap": 16}
    await guests.resizer.fit(guests.larger(disks=(EPHEMERAL,)))
    assert guests.sizes() == {"disk": 2048, "disk.eph0": 64}


@pytest.mark.parametrize("disks", [(EPHEMERAL, SWAP), (msgspec.structs.replace(EPHEMERAL, size_mib=32), SWAP)], ids=["root", "ephemeral"])
async def test_a_smaller_disk_is_refused_before_anything_is_changed(guests: Guests, disks: tuple[DiskSpec, ...]) -> None:
    await guests.resizer.fit(guests.larger())
    before = guests.sizes()
    smaller = guests.larger(disks=disks, root_gib=1 if disks[0] is EPHEMERAL else 3)
    with pytest.raises(Invalid, match=resize.SMALLER):
        await guests.resizer.fit(smaller)
    assert guests.sizes() == before


async def test_a_root_disk_that_is_gone_is_not_made_from_the_image_again(guests: Guests) -> None:
    (guests.folder / "disk").unlink()
    with pytest.raises(NotFound):
        await guests.resizer.fit(guests.larger())
    assert "disk" not in guests.sizes()


async def test_what_was_written_since_goes_with_the_resize_and_what_was_before_comes_back(guests: Guests) -> None:
    await guests.write(1)
    await guests.resizer.keep(SERVER, 2)
    await guests.resizer.fit(guests.larger(disks=()))
    await guests.write(2)
    assert Path(qcow2.read_header(guests.folder / "disk").backing_file).name in await guests.disks.bases()
    for _ in range(2):
        await guests.resizer.restore(guests.small, 2)
        assert guests.sizes() == {"disk": 1024, "disk.eph0": 64, "disk.swap": 16}
        await guests.holds(1)
    assert not list(guests.folder.glob("before-*"))


async def test_what_is_kept_for_one_resize_is_not_brought_back_by_another(guests: Guests) -> None:
    await guests.write(1)
    await guests.resizer.keep(SERVER, 2)
    await guests.write(2)
    await guests.resizer.restore(guests.small, 4)  # the resize that would have made 4 never began here
    await guests.holds(2)
    await guests.resizer.keep(SERVER, 4)
    assert [path.name for path in guests.folder.glob("before-*")] == ["before-4"]
    await guests.resizer.forget(SERVER)
    await guests.resizer.forget(SERVER)
    assert not list(guests.folder.glob("before-*"))


async def test_keeping_again_does_not_replace_what_was_kept(guests: Guests) -> None:
    await guests.write(1)
    await guests.resizer.keep(SERVER, 2)
    await guests.write(2)
    await guests.resizer.keep(SERVER, 2)
    await guests.resizer.restore(guests.small, 2)
    await guests.holds(1)


async def test_a_copy_that_was_interrupted_is_made_anew(guests: Guests) -> None:
    await guests.write(1)
    part = guests.folder / "before-2.part"
    part.mkdir()
    (part / "disk").write_bytes(b"half a disk")
    await guests.resizer.restore(guests.small, 2)  # not whole: it counts for nothing
    await guests.holds(1)
    await guests.resizer.keep(SERVER, 2)
    await guests.write(2)
    await guests.resizer.restore(guests.small, 2)
    await guests.holds(1)


async def test_going_back_goes_on_where_it_was_interrupted(guests: Guests) -> None:
    await guests.write(1)
    await guests.resizer.keep(SERVER, 2)
    await guests.resizer.fit(guests.larger(disks=()))
    await guests.write(2)
    (guests.folder / "before-2" / "disk").replace(guests.folder / "disk")
    await guests.resizer.restore(guests.small, 2)
    assert guests.sizes() == {"disk": 1024, "disk.eph0": 64, "disk.swap": 16}
    await guests.holds(1)


async def test_sec_004_what_a_guest_writes_into_its_disk_is_never_taken_for_the_disks_own_header(guests: Guests, tmp_path: Path) -> None:
    """SEC-004: a qcow2 header with a file of the host behind it, at the start of the guest's disk."""
    canary, evil = tmp_path / "canary", tmp_path / "evil"
    canary.write_bytes(CANARY * 100)
    qcow2.create(evil, GIB, canary, "raw")
    start = evil.read_bytes()
    write = f"write -s {evil} 0 {len(start)}"
    await processes.run("qemu-io", "-f", "qcow2", "-c", write, str(guests.folder / "disk"), deadline=30)
    await guests.resizer.keep(SERVER, 2)
    await guests.resizer.fit(guests.larger())
    copy = await guests.disks.copy_root(guests.larger())
    for path in (guests.folder / "disk", guests.folder / "before-2" / "disk", copy):
        assert canary.name not in qcow2.read_header(path).backing_file
        raw = tmp_path / "raw"
        await qemu_img.convert(path, "qcow2", raw, "raw")
        assert raw.read_bytes()[: len(start)] == start  # the guest's own bytes, as it wrote them
        assert CANARY not in raw.read_bytes()
    assert canary.read_bytes() == CANARY * 100


@pytest.mark.libvirt
@pytest.mark.qemu
@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_guest_sees_its_new_size_and_its_old_data_and_then_what_it_was_before(qemu_lab: MakeLab) -> None:
    lab = await qemu_lab()
    guest = await lab.spawn()
    await lab.printed(guest, "TESTGUEST data dev=vda2 boots=1")
    larger = msgspec.structs.replace(guest, vcpus=2, memory_mib=192, root_gib=2)
    with pytest.raises(Conflict):
        await lab.driver.finish_move(larger, 2, power_on=True, same_host=True)  # it runs
    await lab.printed(guest, "TESTGUEST ready")
    await lab.driver.power_off(guest.instance_id, timeout=60, retry=10)
    await lab.driver.finish_move(larger, 2, power_on=True, same_host=True)
    shown = await lab.printed(guest, "TESTGUEST data dev=vda2 boots=2")
    assert "TESTGUEST cpu online=2" in shown
    assert f"TESTGUEST disk name=vda bytes={2 * GIB}" in shown
    memory = [int(line.partition("kB=")[2]) for line in shown.splitlines() if "TESTGUEST mem kB=" in line]
    assert memory[1] - memory[0] > 50_000
    await lab.driver.revert_move(guest, 3, moved=2, power_on=True, same_host=True)
    shown = await lab.printed(guest, "TESTGUEST data dev=vda2 boots=2", times=2)  # the second boot of the old disk
    assert shown.count(f"TESTGUEST disk name=vda bytes={GIB}") == 2
    assert shown.rindex("TESTGUEST cpu online=1") > shown.rindex("TESTGUEST cpu online=2")
    assert not list((lab.folder / "instances" / guest.instance_id).glob("before-*"))
