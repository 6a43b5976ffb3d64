"""The three hypervisors under test, behind one face.

QEMU's libvirtd lives in a folder and a network namespace of its own; both are gone after the run. The test guest
is built once per machine and kept in the temporary folder.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blockbuster import blockbuster_ctx

from nova_async.compute.plugs import NetworkPlugs, NoPlugs
from nova_async.config import load
from nova_async.errors import Unavailable
from nova_async.model.consoles import ConsoleAddress
from nova_async.model.guests import GuestSpec, ImageRef, VolumeSpec
from nova_async.model.power import PowerState
from nova_async.processes import run
from nova_async.virt import testguest
from nova_async.virt.driver import Driver, GuestEvent
from nova_async.virt.events import Listener
from nova_async.virt.fake import FakeDriver
from nova_async.world import RealWorld, World

CHUNK = 2**20
WAIT_SECONDS = 60
BUILD_SECONDS = 250  # the test guest, on a busy machine, once


def quiet(percent: int | None, note: str) -> None:
    """Progress that nobody looks at."""


class FolderImages:
    """An image service whose images are the files of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.downloads = 0

    async def download(self, image_id: str, start: int = 0) -> AsyncIterator[bytes]:
        self.downloads += 1
        data = await asyncio.to_thread((self.folder / image_id).read_bytes)
        for begin in range(start, len(data), CHUNK):
            yield data[begin : begin + CHUNK]


def image_of(path: Path, disk_format: str, **others: object) -> ImageRef:
    data = path.read_bytes()
    return ImageRef(id=path.name, disk_format=disk_format, size_bytes=len(data), sha512=hashlib.sha512(data).hexdigest(), **others)


class Lab:
    """A driver, guests for it, and a look at what it leaves behind."""

    kind = ""
    offers_consoles = False

    def __init__(self, world: World) -> None:
        self.world = world
        self.driver: Driver
        self.listener: Listener
        self.spawned: list[str] = []

    async def open(self) -> None:
        self.driver = await self.another_driver()
        self.listener = self.driver.events()

    async def another_driver(self) -> Driver:
        """As a new process on the same host would make it."""
        raise NotImplementedError

    def spec(self, **changes: object) -> GuestSpec:
        instance_id = self.world.uuid()
        values: dict[str, object] = {
            "instance_id": instance_id,
            "name": f"instance-{instance_id[:8]}",
            "display_name": "a <server> & more",
            "hostname": "guest",
            "project_id": "project",
            "user_id": "user",
            "flavor_id": "1",
            "flavor_name": "tiny",
            "vcpus": 1,
            "memory_mib": 128,
            "root_gib": 1,
            **changes,
        }
        self.spawned.append(instance_id)
        return GuestSpec(**values)

    async def spawn(self, generation: int = 1, **changes: object) -> GuestSpec:
        guest = self.spec(**changes)
        await self.driver.spawn(guest, generation, quiet)
        return guest

    async def state(self, guest: GuestSpec) -> PowerState:
        return (await self.driver.guest(guest.instance_id)).power_state

    async def event(self, guest: GuestSpec, state: PowerState) -> GuestEvent:
        """The next event that says so; fails after a while without one."""
        async with asyncio.timeout(WAIT_SECONDS):
            async for event in self.listener:
                if (event.instance_id, event.power_state) == (guest.instance_id, state):
                    return event
        raise AssertionError("the events ended")

    async def ready(self, guest: GuestSpec) -> None:
        """Wait until the guest's own system is up."""

    async def wrote(self, guest: GuestSpec) -> None:
        """Wait until the guest's console shows its first lines."""

    async def connect(self, address: ConsoleAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with asyncio.timeout(WAIT_SECONDS):
            return await asyncio.open_connection(address.host, address.port)

    async def cut_off(self, reader: asyncio.StreamReader, address: ConsoleAddress) -> None:
        """Fails unless the connection ends, and nobody is at the address any more."""
        async with asyncio.timeout(WAIT_SECONDS):
            with contextlib.suppress(ConnectionError):
                while await reader.read(CHUNK):
                    pass
            with pytest.raises(ConnectionError):
                while True:
                    _, writer = await asyncio.open_connection(address.host, address.port)
                    writer.close()
                    await asyncio.sleep(0.05)

    def ignore_power_button(self) -> None:
        """Make guests deaf, where that takes more than asking early."""

    def volume(self) -> VolumeSpec:
        """A volume that a guest may be given as /dev/vdb."""
        return VolumeSpec(volume_id=str(uuid.uuid4()), attachment_id="held", device="/dev/vdb")

    async def overlay(self, volume: VolumeSpec, name: str) -> None:
        """An empty overlay beside the volume's newest file, as its service makes it; one that is there already stays."""

    async def left(self) -> list[str]:
        """What is left of guests on this host."""
        return [guest.instance_id for guest in await self.driver.guests()]

    async def close(self) -> None:
        for instance_id in self.spawned:
            await self.driver.destroy(instance_id)
        assert await self.left() == []
        await self.driver.close()


class FakeLab(Lab):
    kind = "fake"
    offers_consoles = True

    def __init__(self, world: World, folder: Path) -> None:
        super().__init__(world)
        self.folder = folder

    async def another_driver(self) -> FakeDriver:
        driver = FakeDriver(self.world, "host", state_file=self.folder / "guests")
        await driver.start()
        return driver

    def ignore_power_button(self) -> None:
        assert isinstance(self.driver, FakeDriver)
        self.driver.faults.ignore_power_button = True

    async def left(self) -> list[str]:
        return await super().left() + await self.driver.stray_files()


class FolderVolumes:
    """Volumes as files of a folder; an attachment has the volume's id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, list[str]] = {}  # of volumes with overlays, the newest last

    def make(self, gib: int) -> VolumeSpec:
        """An empty volume for /dev/vdb."""
        self.folder.mkdir(mode=0o711, exist_ok=True)
        volume = VolumeSpec(volume_id=str(uuid.uuid4()), attachment_id="", device="/dev/vdb")
        with (self.folder / volume.volume_id).open("wb") as file:
            file.truncate(gib * 2**30)
        return msgspec.structs.replace(volume, attachment_id=volume.volume_id)

    async def connection(self, attachment_id: str) -> dict[str, Any]:
        return {"driver_volume_type": "file", "data": {"device_path": str(self.folder / attachment_id)}}


class LibvirtLab(Lab):
    def __init__(self, world: World, folder: Path, uri: str, plugs: NetworkPlugs | None = None) -> None:
        super().__init__(world)
        self.folder = folder
        self.uri = uri
        self.plugs = plugs or NoPlugs()
        self.images = FolderImages(folder)
        self.volumes = FolderVolumes(folder / "volumes")
        self.options: dict[str, object] = {}  # of the configuration, as ``load`` takes them

    def volume(self) -> VolumeSpec:
        return self.volumes.make(1)

    async def overlay(self, volume: VolumeSpec, name: str) -> None:
        files = self.volumes.files.setdefault(volume.volume_id, [volume.volume_id])
        if name not in files:
            base = ("-b", files[-1], "-F", "raw" if len(files) == 1 else "qcow2")
            await run("qemu-img", "create", "-q", "-f", "qcow2", *base, str(self.volumes.folder / name), deadline=30.0)
            files.append(name)

    async def another_driver(self) -> Driver:
        from nova_async.virt.libvirt.driver import LibvirtDriver

        told = {"state_dir": str(self.folder), "compute__libvirt_uri": self.uri, "compute__virt_type": "qemu", "compute__threads": 4}
        config = load(environment={}, **told | self.options)
        driver = LibvirtDriver(config, self.world, self.images, self.plugs, "host", self.volumes)
        await driver.start()
        return driver

    async def left(self) -> list[str]:
        import libvirt

        def look() -> list[str]:
            connection = libvirt.open(self.uri)
            try:
                return [domain.name() for domain in connection.listAllDomains() if domain.name() != "test"]
            finally:
                connection.close()

        folders = [path.name for path in (self.folder / "instances").iterdir()]
        parts = [path.name for path in (self.folder / "image-cache").glob("*.part")]
        return await asyncio.to_thread(look) + folders + parts


class TestHypervisorLab(LibvirtLab):
    __test__ = False
    kind = "test"

    async def open(self) -> None:
        import libvirt

        self.kept = await asyncio.to_thread(libvirt.open, self.uri)  # the hypervisor lives as long as a connection to it
        await super().open()

    async def close(self) -> None:
        await super().close()
        await asyncio.to_thread(self.kept.close)


class QemuLab(LibvirtLab):
    kind = "qemu"
    offers_consoles = True

    def spec(self, **changes: object) -> GuestSpec:
        if "image" in changes:
            return super().spec(**changes)
        kernel, ramdisk, disk = (self.folder / name for name in (testguest.KERNEL, testguest.RAMDISK, testguest.IMAGE))
        image = image_of(disk, "qcow2", kernel=image_of(kernel, "aki"), ramdisk=image_of(ramdisk, "ari"))
        return super().spec(**{"image": image, **changes})

    async def ready(self, guest: GuestSpec) -> None:
        await self.printed(guest, "TESTGUEST ready")

    async def wrote(self, guest: GuestSpec) -> None:
        await self.printed(guest, "\n", times=3)

    async def shell(self, guest: GuestSpec, command: str) -> str:
        """What a command prints that is typed on the guest's serial line."""
        reader, writer = await self.connect(await self.driver.console(guest.instance_id, "serial"))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                writer.write(b"\n")
                while b"# " not in await reader.read(CHUNK):  # what is typed before the shell waits for it is lost
                    writer.write(b"\n")
                writer.write(f"echo BE''GIN; {command}; echo EN''D\n".encode())
                await reader.readuntil(b"BEGIN\r\n")
                printed = (await reader.readuntil(b"END\r\n")).decode().removesuffix("END\r\n").replace("\r\n", "\n").strip()
                return "\n".join(line for line in printed.split("\n") if not line.startswith("TESTGUEST hotplug"))
        finally:
            writer.close()

    async def printed(self, guest: GuestSpec, text: str, times: int = 1) -> str:
        """The whole console, once it shows the text."""
        for _ in range(WAIT_SECONDS * 5):
            shown = await self.driver.console_output(guest.instance_id, None)
            if shown.count(text) >= times:
                return shown
            await asyncio.sleep(0.2)
        raise AssertionError(f"{text!r} did not appear in:\n{shown[-2000:]}")


class QemuHost:
    """A private libvirtd in a network namespace, and the test guest's files in its state folder."""

    def __init__(self, folder: Path, network: str, uri: str) -> None:
        self.folder = folder
        self.network = network
        self.uri = uri


@pytest.fixture(scope="session")
def test_guest() -> Path:
    """The folder with the test guest's kernel, initial RAM disk and disk image."""
    if shutil.which("apt-get") is None:
        pytest.skip("the test guest is made from Debian packages")
    try:
        return find_test_guest()
    except Unavailable as reason:
        pytest.skip(reason.message)


def find_test_guest() -> Path:
    """As the fixture gives it. Raises ``Unavailable`` where it cannot be made."""
    script = (Path(testguest.__file__).parent / "build-test-image").read_bytes()
    folder = Path(tempfile.gettempdir()) / f"nova-async-testguest-{hashlib.sha256(script).hexdigest()[:12]}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        in_a_loop(testguest.build(folder, RealWorld()))
    return folder


@pytest.fixture(scope="session")
def qemu_host(test_guest: Path) -> Iterator[QemuHost]:
    pytest.importorskip("libvirt")
    from nova_async.virt.libvirt import daemon

    if os.geteuid() != 0 or shutil.which("libvirtd") is None or shutil.which("qemu-system-x86_64") is None:
        pytest.skip("real guests need root, libvirtd and QEMU")
    network = f"nat-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", network], check=False, capture_output=True).returncode != 0:
        pytest.skip("network namespaces cannot be made here")
    folder = Path(tempfile.mkdtemp(prefix="nat-", dir="/tmp"))
    for name in (testguest.KERNEL, testguest.RAMDISK, testguest.IMAGE):
        (folder / name).symlink_to(test_guest / name)
    try:
        uri = in_a_loop(daemon.start_private(folder, RealWorld(), network=network))
        yield QemuHost(folder, network, uri)
        in_a_loop(daemon.stop_private(folder, RealWorld()))
    finally:
        subprocess.run(["ip", "netns", "del", network], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(
    params=[
        "fake",
        pytest.param("test", marks=pytest.mark.libvirt),
        pytest.param("qemu", marks=[pytest.mark.libvirt, pytest.mark.qemu, pytest.mark.timeout(300)]),
    ]
)
async def lab(request: pytest.FixtureRequest, tmp_path: Path, world: RealWorld) -> AsyncIterator[Lab]:
    """One of the hypervisors, empty; the test fails if anything is left on it afterwards."""
    lab = _make(request, tmp_path, world)
    with blockbuster_ctx(scanned_modules="nova_async"):  # the event loop is never held up
        await lab.open()
        yield lab
        await lab.close()


def in_a_loop(work: Coroutine[Any, Any, Any]) -> Any:
    """Run in a loop of its own, whatever loop the test has."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result(timeout=BUILD_SECONDS)


def _make(request: pytest.FixtureRequest, tmp_path: Path, world: World) -> Lab:
    if request.param == "fake":
        return FakeLab(world, tmp_path)
    pytest.importorskip("libvirt")
    if request.param == "test":
        return TestHypervisorLab(world, tmp_path, "test:///default")
    host: QemuHost = request.getfixturevalue("qemu_host")
    return QemuLab(world, host.folder, host.uri)


@pytest.fixture
async def qemu_lab(qemu_host: QemuHost, world: RealWorld) -> AsyncIterator[Callable[..., Awaitable[QemuLab]]]:
    """Makes a QEMU lab with given plugs and options."""
    labs: list[QemuLab] = []

    async def make(plugs: NetworkPlugs | None = None, **options: object) -> QemuLab:
        lab = QemuLab(world, qemu_host.folder, qemu_host.uri, plugs)
        lab.options = options
        await lab.open()
        labs.append(lab)
        return lab

    yield make
    for lab in labs:
        await lab.close()
