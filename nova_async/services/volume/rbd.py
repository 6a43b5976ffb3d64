"""Volumes as images of a pool of Ceph's, ``volume-<id>`` as Cinder names them; their snapshots are RBD's, ``snapshot-<id>``.

A snapshot is of one moment, whoever writes. Copies are whole ones, so that nothing leans on what it was copied from, and blocks that
nobody has written are not there. The pool is this cloud's alone: an image in it says so.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from nova_async import qemu_img
from nova_async.config import VolumeSection
from nova_async.errors import Error, Invalid, NoCapacity, Unavailable, Unsupported
from nova_async.processes import run
from nova_async.qemu_img import Luks
from nova_async.services.volume.aside import HEADER, ID, IMAGE, UPLOAD, Aside, checked
from nova_async.services.volume.luks import HEADER_BYTES
from nova_async.services.volume.stores import GIB, Copier, Origin, Traits
from nova_async.storage_daemons import option
from nova_async.world import World

OURS = "nova-async"  # the image that makes a pool ours
VOLUME, SNAPSHOT, MOMENT = "volume-", "snapshot-", "moment-"
START_SECONDS = 15.0  # for each question at start
CHANGE_SECONDS = 60.0
COPY_SECONDS = 14_400.0  # for all bytes of a volume
MEMORY_BYTES = 4 * 2**30  # address space: dozens of threads
MONITORS_SECONDS = 300.0  # how long we believe that monitors are where they were
MIB = 2**20
NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
OPEN = "The volume's data are still open somewhere."
# What Ceph's tools say, with the numbers of errno.
NOT_ALLOWED, GONE, EXISTS, FULL = ("(1) ", "(13) "), "(2) ", "(17) ", ("(28) ", "(122) ")
BUSY, SAME = ("(16) ", "image still has watchers"), "new size is equal"


class RbdStore(Aside):
    """``Store``. Made by ``open``."""

    traits = Traits(name="rbd", protocol="ceph")

    def __init__(self, section: VolumeSection, folder: Path, world: World) -> None:
        super().__init__(folder / "part")
        self.pool, self._world = section.rbd_pool, world
        self._user, self._conf, self._secret = section.rbd_user, section.rbd_conf, section.rbd_secret
        self._monitors: tuple[float, dict[str, list[str]]] | None = None  # when they were asked for, and where they are

    @classmethod
    async def open(cls, section: VolumeSection, folder: Path, world: World) -> "RbdStore":
        """Raises ``Invalid``, which says what is missing and what to change."""
        _check(section)
        store = cls(section, folder, world)
        try:
            await store._claim()
            await store._where()
            await qemu_img.check_node(store._node(OURS))
        except Error as error:
            store.close()
            raise Invalid(f"volume.backend: {_why(error, section)}") from error
        return store

    async def make(self, volume: str, gib: int, luks: Luks | None = None) -> None:
        """Over one that is there, as all that makes volumes here: a job that was killed is done again.

        Raises ``Unavailable`` while somebody has that open: what the job had begun may outlive it, and write with another key.
        """
        name, size = self._name(volume), _image_size(gib, luks is not None)
        if await self._size(name) is None:
            await self._rbd("create", "--size", f"{size // MIB}M", name)
        else:
            await self._check_closed(name)
            await self._resize(name, 0)  # which forgets every block; snapshots keep theirs
            await self._resize(name, size)
        if luks:
            await self._encrypt(volume, luks, HEADER_BYTES, self._file(VOLUME + volume))

    async def from_image(self, volume: str, gib: int, disk_format: str, data: AsyncIterator[bytes], luks: Luks | None = None) -> None:
        async with self._image(volume, gib, disk_format, data) as image:
            await self.make(volume, gib, luks)
            await self._fill(image, disk_format, self._file(VOLUME + volume), luks)

    async def clone(self, of: Origin, volume: str, gib: int, copier: Copier | None = None, *, encrypted: bool = False) -> None:
        if of.snapshot:
            await self._copy(f"{self._name(of.volume)}@{SNAPSHOT}{checked(of.snapshot)}", volume)
        else:
            async with self._moment(of.volume, volume) as moment:
                await self._copy(f"{self._name(of.volume)}@{moment}", volume)
        await self.grow(volume, gib, encrypted=encrypted)

    async def snapshot(self, volume: str, snapshot: str, gib: int, copier: Copier | None = None, *, encrypted: bool = False) -> None:
        await self._rbd("snap", "create", f"{self._name(volume)}@{SNAPSHOT}{checked(snapshot)}", unless=EXISTS)

    async def grow(self, volume: str, gib: int, *, encrypted: bool = False) -> None:
        name, size = self._name(volume), _image_size(gib, encrypted)
        present = await self._size(name)
        if present is None:
            raise Error("The volume's data are not there.", detail=name)
        if present < size:
            await self._resize(name, size)

    async def as_image(self, volume: str, disk_format: str, copier: Copier | None = None) -> Path:
        image = self._part(volume, UPLOAD)
        async with self._moment(volume, volume) as moment:
            await qemu_img.convert_out_of(self._node(VOLUME + volume, moment), image, disk_format)
        return image

    async def remove(self, volume: str) -> None:
        """Raises ``Unavailable`` while somebody has it open, be it one who died half a minute ago."""
        await self._rbd("snap", "purge", self._name(volume), unless=GONE)
        await self._remove(self._name(volume))
        for suffix in (IMAGE, UPLOAD, HEADER):
            await self.discard(self._part(volume, suffix))

    async def remove_snapshot(self, volume: str, snapshot: str) -> None:
        await self._rbd("snap", "rm", f"{self._name(volume)}@{SNAPSHOT}{checked(snapshot)}", unless=GONE)

    async def space(self) -> tuple[float, float]:
        """Of the pool; Ceph reckons with what its copies take."""
        told = msgspec.json.decode(await self._ask("ceph", "df", "--format", "json", deadline=CHANGE_SECONDS))
        for pool in told["pools"]:
            if pool["name"] == self.pool:
                free, used = pool["stats"]["max_avail"], pool["stats"]["stored"]
                return round((free + used) / GIB, 2), round(free / GIB, 2)
        raise Unavailable("Ceph does not tell now how much room there is.", detail=f"no numbers of the pool {self.pool}")

    async def names(self) -> set[str]:
        """Of volumes; their snapshots go with them."""
        names = [name.removeprefix(VOLUME) for name in await self._listed(CHANGE_SECONDS) if name.startswith(VOLUME)]
        return {name for name in names if ID.fullmatch(name)}

    def path(self, volume: str) -> Path:
        raise Unsupported("Volumes of Ceph's are no files.")

    async def way(self, volume: str, *, here: bool) -> dict[str, Any] | None:
        login = {
            "auth_enabled": bool(self._secret),
            "auth_username": self._user,
            "secret_type": "ceph",
            "secret_uuid": self._secret or None,
        }
        told = {"name": self._name(volume), "cluster_name": "ceph", **await self._where(), **login, "format": "raw"}
        return {"driver_volume_type": "rbd", "data": told}

    async def node(self, volume: str, gib: int, *, encrypted: bool, shared: bool) -> str:
        return f"size={_image_size(gib, encrypted)},{self._file(VOLUME + checked(volume))}"

    # -- parts

    async def _claim(self) -> None:
        """Make an empty pool ours. Raises ``Invalid`` for one in which somebody else has images: we remove what we do not know."""
        listed = await self._listed(START_SECONDS)
        if OURS in listed:
            return
        if listed:
            raise Invalid(
                f"the pool {self.pool} has images that this cloud's volume service has not made; give it a pool of its own (rbd_pool)."
            )
        await self._rbd("create", "--size", "1M", f"{self.pool}/{OURS}", unless=EXISTS)

    async def _listed(self, deadline: float) -> list[str]:
        return msgspec.json.decode(await self._ask("rbd", "ls", "--format", "json", self.pool, deadline=deadline), type=list[str])

    async def _where(self) -> dict[str, list[str]]:
        """``hosts`` and ``ports`` of the monitors."""
        now = self._world.monotonic()
        if self._monitors is None or now - self._monitors[0] > MONITORS_SECONDS:
            told = msgspec.json.decode(await self._ask("ceph", "mon", "dump", "--format", "json", deadline=START_SECONDS))
            pairs = [_address(each["public_addrs"]["addrvec"]).rpartition(":") for each in told["mons"]]
            self._monitors = now, {"hosts": [host.strip("[]") for host, _, _ in pairs], "ports": [port for _, _, port in pairs]}
        return self._monitors[1]

    @asynccontextmanager
    async def _moment(self, volume: str, of: str) -> AsyncIterator[str]:
        """A snapshot for a while, as the volume is now. One that a process which was killed has left goes with the volume."""
        moment = MOMENT + checked(of)
        name = f"{self._name(volume)}@{moment}"
        await self._rbd("snap", "rm", name, unless=GONE)
        await self._rbd("snap", "create", name)
        try:
            yield moment
        finally:
            await self._rbd("snap", "rm", name, unless=GONE)

    async def _copy(self, source: str, volume: str) -> None:
        await self._remove(self._name(volume))
        await self._rbd("cp", source, self._name(volume), deadline=COPY_SECONDS)

    async def _remove(self, name: str) -> None:
        await self._rbd("rm", name, unless=GONE, deadline=COPY_SECONDS)

    async def _size(self, name: str) -> int | None:
        """In bytes; None: there is no such image."""
        told = await self._rbd("info", "--format", "json", name, unless=GONE)
        return int(msgspec.json.decode(told)["size"]) if told else None

    async def _check_closed(self, name: str) -> None:
        told = msgspec.json.decode(await self._rbd("status", "--format", "json", name))
        if told["watchers"]:
            raise Unavailable(OPEN, detail=str(told["watchers"]))

    async def _resize(self, name: str, size: int) -> None:
        await self._rbd("resize", "--allow-shrink", "--size", f"{size // MIB}M", name, unless=SAME, deadline=COPY_SECONDS)

    async def _rbd(self, *words: str, unless: str = "", deadline: float = CHANGE_SECONDS) -> bytes:
        """``unless``: an answer that is as good as success; nothing is returned then."""
        try:
            return await self._ask("rbd", *words, deadline=deadline)
        except Error as error:
            said = error.detail or ""
            if unless and unless in said:
                return b""
            if any(words in said for words in BUSY):
                raise Unavailable(OPEN, detail=said) from None
            if any(number in said for number in FULL):
                raise NoCapacity("There is no room left for the volume's data.", detail=said) from None
            raise

    async def _ask(self, program: str, *words: str, deadline: float) -> bytes:
        ourselves = ("--conf", self._conf, "--id", self._user)
        return await run(program, *ourselves, *words, deadline=deadline, memory_bytes=MEMORY_BYTES, cpu_seconds=int(COPY_SECONDS))

    def _name(self, volume: str) -> str:
        return f"{self.pool}/{VOLUME}{checked(volume)}"

    def _node(self, image: str, snapshot: str = "") -> str:
        return f"driver=raw,{self._file(image)}" + (f",file.snapshot={snapshot}" if snapshot else "")

    def _file(self, image: str) -> str:
        return f"file.driver=rbd,file.pool={self.pool},file.image={image},file.conf={option(self._conf)},file.user={self._user}"


def _image_size(gib: int, encrypted: bool) -> int:
    """Of an image, in bytes."""
    return gib * GIB + (HEADER_BYTES if encrypted else 0)


def _check(section: VolumeSection) -> None:
    """Raises ``Invalid`` for options that cannot be meant."""
    for name in ("rbd_pool", "rbd_user"):
        if not NAME.fullmatch(getattr(section, name)):
            raise Invalid(f"volume.{name}: {getattr(section, name)!r} is no name of Ceph's.")
    if not Path(section.rbd_conf).is_file():
        raise Invalid(
            f"volume.rbd_conf: there is no file {section.rbd_conf}; Ceph's operator has it, and the key of client.{section.rbd_user}."
        )
    try:
        _ = UUID(section.rbd_secret) if section.rbd_secret else None
    except ValueError:
        raise Invalid(f"volume.rbd_secret: {section.rbd_secret!r} is no id of a libvirt secret (a UUID).") from None


def _address(ways: list[dict[str, Any]]) -> str:
    """Of a monitor; QEMU tells Ceph's protocols apart by the port. Where there are both the older is the one that all clients speak."""
    known = {each["type"]: str(each["addr"]) for each in ways}
    return known.get("v1") or known["v2"]


def _why(error: Error, section: VolumeSection) -> str:
    """What an operator can do about it."""
    said, user = error.detail or "", f"client.{section.rbd_user}"
    if "is not installed" in error.message:
        return f"{error.message} Volumes of Ceph RBD need the packages ceph-common, qemu-utils and qemu-block-extra."
    if isinstance(error, Unavailable) or "(110) " in said:
        return f"Ceph's monitors do not answer ({section.rbd_conf})."
    if any(number in said for number in NOT_ALLOWED):
        return f"Ceph does not let {user} in, or not into the pool {section.rbd_pool}; see volume.rbd_user and its key."
    if "error opening pool" in said:
        return f"Ceph has no pool {section.rbd_pool}; make it (ceph osd pool create, rbd pool init), or see volume.rbd_pool."
    if error.message.startswith("qemu-img"):
        return f"QEMU cannot open volumes of Ceph RBD; install qemu-block-extra. It says: {said[-300:]}"
    return f"{error.message} {said[-300:]}".strip()
