"""Volumes and snapshots as logical volumes ``nova-<id>`` of a thin pool of this machine's, with a tag that says whose they are.

Thin ones, since there a snapshot is made at once, of one moment, and leans on nothing; so is a copy. Blocks are filled with zeros when
they are first had, and so nobody reads what somebody else has deleted.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from nova_async import qemu_img
from nova_async.config import VolumeSection
from nova_async.errors import Error, Invalid, NoCapacity, Unavailable
from nova_async.processes import run
from nova_async.qemu_img import Luks
from nova_async.services.volume.aside import HEADER, ID, IMAGE, UPLOAD, Aside, checked
from nova_async.services.volume.luks import HEADER_BYTES, header_bytes
from nova_async.services.volume.stores import GIB, Copier, Origin, Traits
from nova_async.storage_daemons import option

TAG = "nova-async"
NAME, MOMENT = "nova-", "nova-moment-"
MAPPER = Path("/dev/mapper/control")
DEVICES = Path("/dev")
CHANGE_SECONDS = 120.0
# What LVM says.
GONE, BUSY, FULL = "Failed to find logical volume", " in use.", ("insufficient free space", "Cannot create new thin volume")


class LvmStore(Aside):
    """``Store``. Made by ``open``."""

    traits = Traits(name="lvm", protocol="local")

    def __init__(self, group: str, pool: str, folder: Path) -> None:
        super().__init__(folder / "part")
        self.group, self.pool = group, pool

    @classmethod
    async def open(cls, section: VolumeSection, folder: Path) -> "LvmStore":
        """Raises ``Invalid``, which says what is missing and what to change."""
        group, _, pool = section.lvm_pool.partition("/")
        if not group or not pool:
            raise Invalid(f"volume.lvm_pool: a volume group and a thin pool in it are expected (group/pool), not {section.lvm_pool!r}.")
        store = cls(group, pool, folder)
        try:
            await store._check()
        except Error as error:
            store.close()
            raise Invalid(f"volume.backend: {_why(error, section)}") from error
        return store

    def path(self, volume: str) -> Path:
        return DEVICES / self.group / (NAME + checked(volume))

    async def make(self, volume: str, gib: int, luks: Luks | None = None) -> None:
        """In place of one that is there, as all that makes volumes here: a job that was killed is done again."""
        await self._remove(NAME + checked(volume))
        header = await self._header_bytes() if luks else 0
        new = ("--virtualsize", f"{gib * GIB + header}b", "--thinpool", self.pool, "--name", NAME + volume)
        await self._lvm("lvcreate", "--yes", "--addtag", TAG, *new, self.group)
        if luks:
            await self._encrypt(volume, luks, header, self._device(volume))

    async def from_image(self, volume: str, gib: int, disk_format: str, data: AsyncIterator[bytes], luks: Luks | None = None) -> None:
        async with self._image(volume, gib, disk_format, data) as image:
            await self.make(volume, gib, luks)
            await self._fill(image, disk_format, self._device(volume), luks)

    async def clone(self, of: Origin, volume: str, gib: int, copier: Copier | None = None, *, encrypted: bool = False) -> None:
        await self._copy(NAME + checked(of.snapshot or of.volume), NAME + checked(volume))
        await self.grow(volume, gib, encrypted=encrypted)

    async def snapshot(self, volume: str, snapshot: str, gib: int, copier: Copier | None = None, *, encrypted: bool = False) -> None:
        await self._copy(NAME + checked(volume), NAME + checked(snapshot))

    async def grow(self, volume: str, gib: int, *, encrypted: bool = False) -> None:
        name = f"{self.group}/{NAME}{checked(volume)}"
        [told] = await self._told("lv_size", name)
        size = await self._size(volume, gib, encrypted)
        if int(told["lv_size"]) < size:
            await self._lvm("lvextend", "--size", f"{size}b", name)

    async def as_image(self, volume: str, disk_format: str, copier: Copier | None = None) -> Path:
        image = self._part(volume, UPLOAD)
        async with self._moment(volume) as device:
            await qemu_img.convert_out_of(f"driver=raw,file.driver=host_device,file.filename={option(device)}", image, disk_format)
        return image

    async def remove(self, volume: str) -> None:
        """A snapshot, too. Raises ``Unavailable`` while somebody has it open."""
        for name in (MOMENT + checked(volume), NAME + volume):
            await self._remove(name)
        for suffix in (IMAGE, UPLOAD, HEADER):
            await self.discard(self._part(volume, suffix))

    async def remove_snapshot(self, volume: str, snapshot: str) -> None:
        await self.remove(snapshot)

    async def space(self) -> tuple[float, float]:
        """Of the thin pool."""
        [told] = await self._told("lv_size,data_percent", f"{self.group}/{self.pool}")
        total = int(told["lv_size"]) / GIB
        return round(total, 2), round(total * (1 - float(told["data_percent"] or 0) / 100), 2)

    async def names(self) -> set[str]:
        """Of volumes and snapshots."""
        told = await self._told("lv_name", self.group, "--select", f"lv_tags={TAG}")
        return {name for name in (each["lv_name"].removeprefix(NAME) for each in told) if ID.fullmatch(name)}

    async def way(self, volume: str, *, here: bool) -> dict[str, Any] | None:
        told = {"device_path": str(self.path(volume)), "format": "raw"}
        return {"driver_volume_type": "local", "data": told} if here else None

    async def node(self, volume: str, gib: int, *, encrypted: bool, shared: bool) -> str:
        """Devices have no locks of QEMU's."""
        return f"size={await self._size(volume, gib, encrypted)},{self._device(volume)},file.discard=unmap"

    # -- parts

    async def _check(self) -> None:
        """Raises ``Invalid`` where there is no device mapper, or no pool that fills new blocks with zeros."""
        if not await self._run(_can_open, MAPPER):
            raise Invalid(
                f"this machine's kernel has no device mapper ({MAPPER}), by which logical volumes are had: load its modules dm_mod and "
                "dm_thin_pool, or choose the back end file or rbd."
            )
        [told] = await self._told("segtype,zero", f"{self.group}/{self.pool}")
        if told["segtype"] != "thin-pool":
            raise Invalid(f"{self.group}/{self.pool} is no thin pool; make one: lvcreate --type thin-pool.")
        if told["zero"] != "zero":
            raise Invalid(f"{self.group}/{self.pool} does not fill new blocks with zeros: lvchange --zero y {self.group}/{self.pool}.")

    async def _header_bytes(self) -> int:
        """Of a new encrypted volume. Devices are whole extents: with less, guests of this machine would have more than they asked for."""
        [told] = await self._told("vg_extent_size", f"{self.group}/{self.pool}")
        extent = int(told["vg_extent_size"])
        return -(-HEADER_BYTES // extent) * extent

    async def _size(self, volume: str, gib: int, encrypted: bool) -> int:
        """What a volume of ``gib`` has to have, in bytes."""
        return gib * GIB + (await self._run(header_bytes, self.path(volume)) if encrypted else 0)

    @asynccontextmanager
    async def _moment(self, volume: str) -> AsyncIterator[Path]:
        """The device of a snapshot for a while, as the volume is now."""
        name = MOMENT + checked(volume)
        await self._copy(NAME + volume, name)
        try:
            yield DEVICES / self.group / name
        finally:
            await self._remove(name)

    async def _copy(self, source: str, name: str) -> None:
        await self._remove(name)
        new = ("--type", "thin", "--setactivationskip", "n", "--name", name)
        await self._lvm("lvcreate", "--yes", "--addtag", TAG, *new, f"{self.group}/{source}")

    async def _remove(self, name: str) -> None:
        try:
            await self._lvm("lvremove", "--yes", f"{self.group}/{name}")
        except Error as error:
            if GONE not in (error.detail or ""):
                raise

    async def _told(self, columns: str, name: str, *words: str) -> list[dict[str, str]]:
        """What LVM tells of a logical volume, or of all of a group. Sizes are in bytes."""
        how = ("--reportformat", "json", "--units", "b", "--nosuffix", "--options", columns)
        told = msgspec.json.decode(await self._lvm("lvs", *how, *words, name))
        found: list[dict[str, str]] = told["report"][0]["lv"]
        return found

    async def _lvm(self, program: str, *words: str) -> bytes:
        try:
            return await run(program, *words, deadline=CHANGE_SECONDS)
        except Error as error:
            said = error.detail or ""
            if BUSY in said:
                raise Unavailable("The volume's data are still open somewhere.", detail=said) from None
            if any(words in said for words in FULL):
                raise NoCapacity("There is no room left for the volume's data.", detail=said) from None
            raise

    def _device(self, volume: str) -> str:
        return f"file.driver=host_device,file.filename={option(self.path(volume))}"


def _can_open(path: Path) -> bool:
    """Some devices have a name and nothing behind it."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _why(error: Error, section: VolumeSection) -> str:
    """What an operator can do about it."""
    said = error.detail or ""
    if "is not installed" in error.message:
        return f"{error.message} Volumes of LVM need the packages lvm2 and thin-provisioning-tools."
    if "not found" in said or GONE in said:
        return f"there is no thin pool {section.lvm_pool} (volume.lvm_pool); make one: lvcreate --type thin-pool."
    return f"{error.message} {said[-300:]}".strip()
