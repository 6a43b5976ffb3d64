"""A guest's files on its host: ``<state>/instances/<id>/{disk, disk.eph0, disk.swap, disk.config, console.log}``."""

import os
from pathlib import Path

import msgspec

from nova_async import processes, qemu_img
from nova_async.errors import Invalid, Unsupported
from nova_async.model.guests import DiskSpec, GuestSpec, ImageRef
from nova_async.virt import config_drive
from nova_async.virt.driver import Progress
from nova_async.virt.libvirt import hardware, owners, qcow2
from nova_async.virt.libvirt.files import IDENTIFIER, FileThreads, named, remove_tree
from nova_async.virt.libvirt.image_cache import Base, ImageCache
from nova_async.virt.libvirt.meeting import PlannedDisk

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
    boot: bool = False  # the one to boot from, wherever it stands


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """What a domain refers to."""

    disks: tuple[Disk, ...]
    console: Path
    kernel: Path | None = None
    ramdisk: Path | None = None
    command_line: str = ""  # of the kernel; empty: the image's
    rescue: str = ""  # id of the image that the guest is rescued with
    nvram: Path | None = None  # what its firmware keeps


COPY = "snapshot.qcow2"
RESCUE = ("disk.rescue", "kernel.rescue", "ramdisk.rescue")
PREFIXES = {"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd", "ide": "hd"}


def layout(folder: Path, guest: GuestSpec, drive_format: str = config_drive.ISO9660) -> Files:
    """Which files a guest has, and as which disk it sees each. ``drive_format``: of its config drive."""
    image = guest.image
    properties = guest.properties
    bus = properties.get("hw_disk_bus", "virtio")
    if bus not in PREFIXES:
        raise Unsupported(f"The disk bus {bus} is not supported.")
    disks = []
    if not guest.boots_from_volume and (image or guest.root_gib):
        disks.append(Disk(path=folder / "disk", format="qcow2", target=target(bus, 0), bus=bus))
    for number, spec in enumerate(guest.disks, start=1 if guest.boots_from_volume else len(disks)):
        disks.append(Disk(path=folder / _file_name(spec), format="qcow2", target=target(spec.bus, number), bus=spec.bus))
    if guest.config_drive:
        disks.append(_config_disk(folder, guest, properties.get("hw_cdrom_bus", "") if drive_format == config_drive.ISO9660 else ""))
    return Files(
        disks=tuple(disks),
        console=folder / "console.log",
        kernel=folder / "kernel" if image and image.kernel else None,
        ramdisk=folder / "ramdisk" if image and image.ramdisk else None,
        nvram=folder / "nvram" if hardware.keeps_variables(guest) else None,
    )


class Disks:
    """``host`` is written into the folder of each guest: where hosts share them, only the guest's own host removes its files."""

    def __init__(
        self, folder: Path, cache: ImageCache, files: FileThreads, host: str = "", drive_format: str = config_drive.ISO9660
    ) -> None:
        self._drive_format = drive_format
        self._folder = folder
        self._host = host
        self._cache = cache
        self._files = files

    async def open(self) -> None:
        await self._files.run(lambda: self._folder.mkdir(mode=0o711, parents=True, exist_ok=True))

    def layout(self, guest: GuestSpec) -> Files:
        return layout(named(self._folder, guest.instance_id), guest, self._drive_format)

    def console(self, instance_id: str) -> Path:
        return named(self._folder, instance_id) / "console.log"

    async def make(self, guest: GuestSpec, progress: Progress) -> Files:
        """Make all files of a guest that has none. Raises ``Invalid`` when the image does not fit the root disk.

        What another host left on storage that hosts share is taken over: the server was evacuated from there.
        """
        files = self.layout(guest)
        folder = files.console.parent
        if not await self.are_ours(guest.instance_id):
            await self.take(guest.instance_id)
            if await self.exist(guest):
                return files
            await self.remove(guest.instance_id)
        await self._files.run(lambda: folder.mkdir(mode=0o711))
        await self.give(guest.instance_id, self._host)
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

    async def make_rescue(self, guest: GuestSpec, image: ImageRef, progress: Progress) -> None:
        """A fresh disk of the rescue image, with its kernel and RAM disk; what an earlier try left is replaced."""
        await self.forget_rescue(guest.instance_id)
        folder = named(self._folder, guest.instance_id)
        for reference, name in ((image.kernel, "kernel.rescue"), (image.ramdisk, "ramdisk.rescue")):
            if reference:
                async with self._cache.image(reference, progress) as base:
                    await self._files.run(os.link, base.path, folder / name)
        async with self._cache.image(image, progress) as base:
            await self._files.run(_overlay, folder / "disk.rescue", base.virtual_size, base)

    async def forget_rescue(self, instance_id: str) -> None:
        folder = named(self._folder, instance_id)
        for name in RESCUE:
            await self._files.run((folder / name).unlink, True)

    async def copy_root(self, guest: GuestSpec) -> Path:
        """The root disk as a qcow2 file of its own; see ``forget_copy``. Raises ``Unsupported`` when it has none."""
        disk, copy = await self.root_and_copy(guest)
        await qemu_img.convert(disk, "qcow2", copy, "qcow2", in_use=True)
        return copy

    async def forget_copy(self, guest: GuestSpec) -> None:
        copy = named(self._folder, guest.instance_id) / COPY
        await self._files.run(lambda: copy.unlink(missing_ok=True))

    async def root_and_copy(self, guest: GuestSpec) -> tuple[Path, Path]:
        """The root disk, and the file that a copy of it goes to. Raises ``Unsupported`` when there is no root disk."""
        folder = named(self._folder, guest.instance_id)
        if not await self._files.run((folder / "disk").exists):
            raise Unsupported(f"Server {guest.instance_id} has no root disk to take a snapshot of.")
        return folder / "disk", folder / COPY

    async def write_config_drive(self, guest: GuestSpec) -> None:
        path = named(self._folder, guest.instance_id) / "disk.config"
        if self._drive_format == config_drive.VFAT:
            await config_drive.write_vfat(path, guest.config_drive_files)
        else:
            await self._files.run(config_drive.write, path, guest.config_drive_files)

    async def remove(self, instance_id: str) -> None:
        """Succeeds when there is nothing, and when the files are another host's."""
        if await self.are_ours(instance_id):
            await self._files.run(remove_tree, named(self._folder, instance_id))

    async def give(self, instance_id: str, host: str, back_to: str = "") -> None:
        """From now on the files are this host's."""
        await self._files.run(owners.write, named(self._folder, instance_id), owners.Owner(host, back_to))

    async def take(self, instance_id: str, back_to: str = "") -> None:
        await self.give(instance_id, self._host, back_to)

    async def owner(self, instance_id: str) -> owners.Owner:
        return await self._files.run(owners.read, named(self._folder, instance_id))

    async def are_ours(self, instance_id: str) -> bool:
        """False where another host's files are where ours would be."""
        return await self._files.run(self._is_ours, named(self._folder, instance_id))

    async def write(self, guest: GuestSpec, name: str, data: bytes) -> None:
        await self._files.run((named(self._folder, guest.instance_id) / name).write_bytes, data)

    async def make_targets(self, guest: GuestSpec, planned: tuple[PlannedDisk, ...]) -> tuple[str, ...]:
        """Disks for a running guest's content to come into, in a folder made anew; the names of those without a base."""
        folder = named(self._folder, guest.instance_id)
        await self.remove(guest.instance_id)
        await self._files.run(lambda: folder.mkdir(mode=0o711))
        await self.give(guest.instance_id, self._host)
        await self._boot_files(guest, self.layout(guest), lambda *_: None)
        whole = []
        for disk in planned:
            if guest.image and disk.base and disk.base == self._cache.name_of(guest.image):
                async with self._cache.image(guest.image, lambda *_: None) as base:
                    await self._files.run(_overlay, folder / disk.name, disk.virtual_size, base)
            else:
                await self._files.run(qcow2.create, folder / disk.name, disk.virtual_size)
                whole.append(disk.name)
        return tuple(whole)

    def _is_ours(self, folder: Path) -> bool:
        """Blocks."""
        return owners.read(folder).host in ("", self._host)

    async def exist(self, guest: GuestSpec) -> bool:
        """Whether every disk of the guest is there."""
        files = self.layout(guest)
        return await self._files.run(lambda: all(disk.path.exists() for disk in files.disks))

    async def owners(self) -> list[str]:
        """Ids of the servers that have a folder which is ours."""

        def look() -> list[str]:
            return sorted(e.name for e in os.scandir(self._folder) if IDENTIFIER.fullmatch(e.name) and self._is_ours(Path(e)))

        return await self._files.run(look)

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
        if guest.boots_from_volume:
            return
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


def _config_disk(folder: Path, guest: GuestSpec, cdrom_bus: str) -> Disk:
    """A read-only virtio disk: guests whose kernel knows no other bus see it; a CD-ROM where the image asks for one and it can be one.

    The last of its bus, as in Nova: volumes that are attached later have the names after the disks'.
    """
    path = folder / "disk.config"
    if cdrom_bus in PREFIXES and cdrom_bus != "virtio":
        narrow = cdrom_bus == "scsi" and hardware.scsi_model(guest) != hardware.VIRTIO_SCSI
        last = PREFIXES[cdrom_bus] + ("d" if cdrom_bus == "ide" else "g" if narrow else "z")  # they have four places, and seven
        return Disk(path=path, format="raw", target=last, bus=cdrom_bus, read_only=True, device="cdrom")
    return Disk(path=path, format="raw", target="vdz", read_only=True)


def target(bus: str, number: int) -> str:
    if bus not in PREFIXES:
        raise Unsupported(f"The disk bus {bus} is not supported.")
    return PREFIXES[bus] + "abcdefghijklmnopqrstuvwxy"[number]
