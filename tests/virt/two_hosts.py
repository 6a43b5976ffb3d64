"""Two hosts for real guests on this machine, each a libvirtd in a network namespace and under a host name of its own."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nova_async.certs.identity import Identity
from nova_async.config import load
from nova_async.model.consoles import ConsoleAddress
from nova_async.model.guests import GuestSpec
from nova_async.model.power import PowerState
from nova_async.virt import testguest
from nova_async.virt.libvirt import daemon
from nova_async.virt.libvirt.driver import LibvirtDriver
from nova_async.world import RealWorld

from .conftest import FolderImages, QemuLab, in_a_loop, quiet

Place = tuple[Path, str]  # a host's folder, and the URI of its libvirtd


def possible() -> bool:
    return os.geteuid() == 0 and all(shutil.which(name) for name in ("libvirtd", "qemu-system-x86_64", "ip"))


@contextmanager
def two_places(test_guest: Path) -> Iterator[list[Place]]:
    """Raises ``OSError`` where network namespaces cannot be made."""
    names = [f"nlm{number}-{os.getpid()}" for number in (1, 2)]
    made: list[Place] = []
    try:
        for name in names:
            if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
                raise OSError("network namespaces cannot be made here")
            folder = Path(tempfile.mkdtemp(prefix="nlm-", dir="/tmp"))
            for file in (testguest.KERNEL, testguest.RAMDISK, testguest.IMAGE):
                (folder / file).symlink_to(test_guest / file)
            made.append((folder, in_a_loop(daemon.start_private(folder, RealWorld(), network=name))))
        yield made
        for folder, _ in made:
            in_a_loop(daemon.stop_private(folder, RealWorld()))
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        for folder, _ in made:
            shutil.rmtree(folder, ignore_errors=True)


class Host(QemuLab):
    """One of two; ``files``: where guests' disks lie, when not below its own folder."""

    def __init__(
        self, world: RealWorld, folder: Path, uri: str, name: str, ports: tuple[int, int], files: str = "", **options: Any
    ) -> None:
        super().__init__(world, folder, uri)
        self.name, self.ports, self.files, self.options = name, ports, files, options
        self.identity: Identity | None = None
        self.viewer: Identity | None = None  # who looks at consoles of an enrolled host

    async def another_driver(self) -> LibvirtDriver:
        options = {f"compute__{name}": value for name, value in self.options.items()}
        config = load(
            environment={},
            state_dir=str(self.folder),
            compute__libvirt_uri=self.uri,
            compute__virt_type="qemu",
            compute__threads=4,
            compute__files_dir=self.files,
            compute__transfer_ports=self.ports,
            **options,
        )
        driver = LibvirtDriver(config, self.world, FolderImages(self.folder), self.plugs, self.name, identity=self.identity)
        await driver.start()
        return driver

    async def connect(self, address: ConsoleAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.viewer is None:
            return await super().connect(address)
        return await self.viewer.connect(address.host, address.port, address.party, limit=2**16)

    async def left(self) -> list[str]:
        if not self.files:
            return await super().left()
        return [guest.instance_id for guest in await self.driver.guests()]


class Pair:
    """Two hosts, and a guest that is told to go from one to the other as the workflow does it."""

    def __init__(self, hosts: list[Host]) -> None:
        self.hosts = hosts
        self.generation = 1
        self.at = 0

    @property
    def source(self) -> Host:
        return self.hosts[self.at]

    @property
    def target(self) -> Host:
        return self.hosts[1 - self.at]

    async def spawn(self, **changes: object) -> GuestSpec:
        guest = await self.source.spawn(self.generation, **changes)
        self.target.spawned.append(guest.instance_id)
        return guest

    async def leave(self, guest: GuestSpec, block: bool | None = None) -> None:
        """The part that can fail."""
        ticket = await self.target.driver.prepare_live(guest, self.generation + 1, self.source.name, block)
        await self.source.driver.live_migrate(guest, self.generation + 1, self.target.name, block, ticket, quiet)

    async def arrive(self, guest: GuestSpec, *, paused: bool = False) -> None:
        await self.target.driver.finish_live(guest, self.generation + 1, paused=paused)
        await self.source.driver.destroy(guest.instance_id)
        self.generation += 1
        self.at = 1 - self.at

    async def move(self, guest: GuestSpec, block: bool | None = None) -> None:
        await self.leave(guest, block)
        await self.arrive(guest)

    async def stayed(self, guest: GuestSpec) -> None:
        """After a migration that came to nothing: the guest is where it was, and nothing of it is at the other host."""
        await self.target.driver.destroy(guest.instance_id)
        assert [g.instance_id for g in await self.target.driver.guests()] == []
        if not self.target.files:
            assert await self.target.left() == []
        assert not list((self.target.folder / "libvirt/run/nova-async/live").glob("*"))
        assert not list((self.source.folder / "libvirt/run/nova-async/live").glob("*"))
        found = await self.source.driver.guest(guest.instance_id)
        assert (found.power_state, found.generation) == (PowerState.RUNNING, self.generation)
        assert await self.source.shell(guest, "echo alive") == "alive"
