"""A guest's files on its host: ``<state>/instances/<id>/{disk, disk.eph0, disk.swap, disk.config, console.log}``."""

import os
from pathlib import Path

import msgspec

from nova_async import processes, qemu_img
from nova_async.errors import Invalid, Unsupported
from nova_async.model.guests import DiskSpec, GuestSpec
from nova_async.virt.driver import Progress
from nova_async.virt.libvirt import config_drive, qcow2
from nova_async.virt.libvirt.files import IDENTIFIER, FileThreads, named, remove_tree
from nova_async.virt.libvirt.image_cache import Base, ImageCache

GIB = 2**30
MIB = 2**20
FORMAT_SECONDS = 120.0
EMPTY = {  # what an empty disk is given: the command that makes it, ending before the file's name
    "ext2": ("mkfs.ext2", "-q", "-F", "-L"),
    "ext3": ("mkfs.ext3", "-q", "-F", "-L"),
    "ext4": ("mkfs.ext4", "-q", "-F", "-L"),
    "vfat": ("mkfs.vfat", "-n"),
    "swap": ("mkswap", "-L"),
}
DEFAULT_FORMAT = "ext4"


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """A disk as the domain names it."""

    path: Path
    format: str  # raw or qcow2; never guessed
    target: str  # vda ...
    bus: str = "virtio"
    serial: str = ""
    read_only: bool = False
    device: str = "disk"  # disk or cdrom


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """What a domain refers to."""

    disks: tuple[Disk, ...]
    console: Path
    kernel: Path | None = None
    ramdisk: Path | None = None


PREFIXES = {"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd", "ide": "hd"}


def layout(folder: Path, guest: GuestSpec) -> Files:
    """Which files a guest has, and as which disk it sees each."""
    image = guest.image
    properties = image.properties if image else {}
    bus = properties.get("hw_disk_bus", "virtio")
    if bus not in PREFIXES:
        raise Unsupported(f"The disk bus {bus} is not supported.")
    disks = []
    if image or guest.root_gib:
        disks.append(Disk(path=folder / "disk", format="qcow2", target=_target(bus, 0), bus=bus))
    for number, spec in enumerate(guest.disks, start=len(disks)):
        disks.append(Disk(path=folder / _file_name(spec), format="qcow2", target=_target(spec.bus, number), bus=spec.bus))
    if guest.config_drive:
        disks.append(_config_disk(folder, properties.get("hw_cdrom_bus", ""), len(disks)))
    return Files(
        disks=tuple(disks),
        console=folder / "console.log",
        kernel=folder / "kernel" if image and image.kernel else None,
        ramdisk=folder / "ramdisk" if image and image.ramdisk else None,
    )


class Disks:
    def __init__(self, folder: Path, cache: ImageCache, files: FileThreads) -> None:
        self._folder = folder
        self._cache = cache
        self._files = files

    async def open(self) -> None:
        await self._files.run(lambda: self._folder.mkdir(mode=0o711, parents=True, exist_ok=True))

    def layout(self, guest: GuestSpec) -> Files:
        return layout(named(self._folder, guest.instance_id), guest)

    def console(self, instance_id: str) -> Path:
        return named(self._folder, instance_id) / "console.log"

    async def make(self, guest: GuestSpec, progress: Progress) -> Files:
        """Make all files of a guest that has none. Raises ``Invalid`` when the image does not fit the root disk."""
        files = self.layout(guest)
        folder = files.console.parent
        await self._files.run(lambda: folder.mkdir(mode=0o711))
        await self._boot_files(guest, files, progress)
        await self._root(guest, folder / "disk", progress)
        await self.add(guest, guest.disks)
        return files

    async def add(self, guest: GuestSpec, specs: tuple[DiskSpec, ...]) -> None:
        """Make these of the guest's empty disks, and its config drive (anew)."""
        for spec in specs:
            await self._empty(spec, self.extra(guest.instance_id, spec))
        if guest.config_drive:
            await self.write_config_drive(guest)

    def folder(self, instance_id: str) -> Path:
        return named(self._folder, instance_id)

    def extra(self, instance_id: str, spec: DiskSpec) -> Path:
        """Where an ephemeral or swap disk is."""
        return named(self._folder, instance_id) / _file_name(spec)

    async def copy_root(self, guest: GuestSpec) -> Path:
        """The root disk as a qcow2 file of its own; see ``forget_copy``. Raises ``Unsupported`` when it has none."""
        disk, copy = self._root_and_copy(guest)
        if not await self._files.run(disk.exists):
            raise Unsupported(f"Server {guest.instance_id} has no root disk to take a snapshot of.")
        await qemu_img.convert(disk, "qcow2", copy, "qcow2", in_use=True)
        return copy

    async def forget_copy(self, guest: GuestSpec) -> None:
        _, copy = self._root_and_copy(guest)
        await self._files.run(lambda: copy.unlink(missing_ok=True))

    def _root_and_copy(self, guest: GuestSpec) -> tuple[Path, Path]:
        folder = named(self._folder, guest.instance_id)
        return folder / "disk", folder / "snapshot.qcow2"

    async def write_config_drive(self, guest: GuestSpec) -> None:
        path = named(self._folder, guest.instance_id) / "disk.config"
        await self._files.run(config_drive.write, path, guest.config_drive_files)

    async def remove(self, instance_id: str) -> None:
        """Succeeds when there is nothing."""
        await self._files.run(remove_tree, named(self._folder, instance_id))

    async def exist(self, guest: GuestSpec) -> bool:
        """Whether every disk of the guest is there."""
        files = self.layout(guest)
        return await self._files.run(lambda: all(disk.path.exists() for disk in files.disks))

    async def owners(self) -> list[str]:
        """Ids of the servers that have a folder."""
        return await self._files.run(lambda: sorted(entry.name for entry in os.scandir(self._folder) if IDENTIFIER.fullmatch(entry.name)))

    async def bases(self) -> set[str]:
        """Names of the cache's files that disks are overlays of."""
        return await self._files.run(_bases, self._folder)

    async def _boot_files(self, guest: GuestSpec, files: Files, progress: Progress) -> None:
        image = guest.image
        for reference, path in ((image and image.kernel, files.kernel), (image and image.ramdisk, files.ramdisk)):
            if reference and path:
                async with self._cache.image(reference, progress) as base:
                    await self._files.run(os.link, base.path, path)

    async def _root(self, guest: GuestSpec, path: Path, progress: Progress) -> None:
        if guest.image:
            async with self._cache.image(guest.image, progress) as base:
                await self._files.run(_overlay, path, _root_size(guest, base), base)
        elif guest.root_gib:
            await self._files.run(qcow2.create, path, guest.root_gib * GIB)

    async def _empty(self, spec: DiskSpec, path: Path) -> None:
        """A disk with an empty file system (or swap space), an overlay of one that all disks of its kind share."""
        form = "swap" if spec.name == "swap" else spec.format or DEFAULT_FORMAT
        if form not in EMPTY:
            raise Unsupported(f"Disks cannot be formatted with {form}; choose one of {', '.join(sorted(EMPTY))}.")

        async def write(part: Path) -> None:
            await self._files.run(_sparse, part, spec.size_mib * MIB)
            await processes.run(*EMPTY[form], spec.name, str(part), deadline=FORMAT_SECONDS)

        async with self._cache.made(f"empty-{form}-{spec.name}-{spec.size_mib}.raw", write) as base:
            await self._files.run(_overlay, path, base.virtual_size, base)


def _root_size(guest: GuestSpec, base: Base) -> int:
    size = guest.root_gib * GIB
    if size and size < base.virtual_size:
        needed = -(-base.virtual_size // GIB)
        raise Invalid(f"The image needs a root disk of {needed} GiB, and flavor {guest.flavor_name} has {guest.root_gib} GiB.")
    return size or base.virtual_size


def _overlay(path: Path, size: int, base: Base) -> None:
    qcow2.create(path, -(-size // 512) * 512, base.path, base.format)


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _bases(folder: Path) -> set[str]:
    found = set()
    for disk in (*folder.glob("*/disk*"), *folder.glob("*/before-*/disk*")):
        try:
            found.add(Path(qcow2.read_header(disk).backing_file).name)
        except (Invalid, OSError):
            continue
    return found


def _file_name(spec: DiskSpec) -> str:
    name = spec.name.replace("ephemeral", "eph")
    if not name.isalnum():
        raise Invalid(f"A disk cannot be named {spec.name!r}.")
    return f"disk.{name}"


def _config_disk(folder: Path, cdrom_bus: str, number: int) -> Disk:
    """A read-only virtio disk: guests whose kernel knows no other bus see it; a CD-ROM where the image asks for one."""
    path = folder / "disk.config"
    if cdrom_bus in PREFIXES and cdrom_bus != "virtio":
        return Disk(path=path, format="raw", target=_target(cdrom_bus, number), bus=cdrom_bus, read_only=True, device="cdrom")
    return Disk(path=path, format="raw", target="vdz", read_only=True)


def _target(bus: str, number: int) -> str:
    if bus not in PREFIXES:
        raise Unsupported(f"The disk bus {bus} is not supported.")
    return PREFIXES[bus] + "abcdefghijklmnopqrstuvwxy"[number]
