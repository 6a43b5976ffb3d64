"""Snapshots of volumes that are files: the volume service lays an empty qcow2 overlay beside the file, and the guest goes on in that.

Files are known by their names in the volume's folder. Which format a file has is said by the overlay above it, never guessed.
"""

import asyncio
from pathlib import Path
from xml.etree import ElementTree as Tree

import libvirt

from nova_async import qemu_img
from nova_async.errors import Conflict, Error, Invalid, Unsupported
from nova_async.model.guests import GuestSpec, VolumeSpec
from nova_async.model.power import PowerState
from nova_async.virt.driver import Progress
from nova_async.virt.libvirt import domains
from nova_async.virt.libvirt.base import START_SECONDS
from nova_async.virt.libvirt.parsed import parsed
from nova_async.virt.libvirt.snapshots import AGENT_SECONDS, Snapshots

LOOK_SECONDS = 0.5


class VolumeSnapshots(Snapshots):
    """The methods of ``virt.driver.Driver`` for snapshots of volumes."""

    async def snapshot_volume(self, guest: GuestSpec, volume: VolumeSpec, new_file: str) -> None:
        async with self._alone(guest.instance_id):
            state = await self._running(guest)
            files = await self._domain(guest.instance_id, lambda domain: chain(domain, volume))
            new = files[0].with_name(_name(new_file))
            if new == files[0]:
                return
            await _check_overlay(new, files[0])
            frozen = state is PowerState.RUNNING and await self._freeze(guest)
            try:
                await self._domain(guest.instance_id, lambda domain: begin_overlay(domain, volume, new), deadline=START_SECONDS)
            finally:
                if frozen:
                    await self._domain(guest.instance_id, domains.thaw, deadline=AGENT_SECONDS)

    async def merge_volume(
        self, guest: GuestSpec, volume: VolumeSpec, file_to_merge: str | None, merge_target_file: str | None, progress: Progress
    ) -> None:
        async with self._alone(guest.instance_id):
            await self._running(guest)
            server = guest.instance_id
            if await self._domain(server, lambda domain: is_merged(domain, volume, file_to_merge, merge_target_file)):
                return
            await self._domain(server, lambda domain: begin_merge(domain, volume, file_to_merge, merge_target_file), deadline=START_SECONDS)
            while (percent := await self._domain(server, lambda domain: merged_percent(domain, volume))) < 100:
                progress(percent, "merging the volume's files")
                await self._world.sleep(LOOK_SECONDS)
            if not await self._domain(server, lambda domain: is_merged(domain, volume, file_to_merge, merge_target_file)):
                raise Error("The volume's files could not be merged; libvirt's log says why.")

    async def _running(self, guest: GuestSpec) -> PowerState:
        if self._mock:
            raise Unsupported("libvirt's test hypervisor makes no snapshots of volumes.")
        state = (await self.guest(guest.instance_id)).power_state
        if state not in (PowerState.RUNNING, PowerState.PAUSED):
            raise Conflict(f"Server {guest.instance_id} does not run; its hypervisor cannot take part in snapshots of its volumes.")
        return state


async def _check_overlay(new: Path, current: Path) -> None:
    """Raises ``Invalid`` for what is no overlay of this file, or leaves the file's format to be guessed."""
    if not await asyncio.to_thread(new.is_file):
        raise Invalid(f"There is no file {new.name} beside the volume's; the volume service makes it first.")
    facts = await qemu_img.info(new, "qcow2")
    if facts.get("backing-filename") != current.name or "data-file" in facts.get("format-specific", {}).get("data", {}):
        raise Invalid(f"{new.name} is not an overlay of {current.name} alone.")
    if facts.get("backing-filename-format") not in qemu_img.FORMATS:
        raise Invalid(f"{new.name} does not say which format {current.name} has.")


def chain(domain: libvirt.virDomain, volume: VolumeSpec) -> list[Path]:
    """The files of a running guest's volume, the one that it writes first. Raises ``NotFound``, ``Unsupported``."""
    disk: Tree.Element | None = domains.disk_of(domain, volume)
    found = []
    while disk is not None and (source := disk.find("source")) is not None:
        file = source.get("file")
        if file is None:
            raise Unsupported("The volume is no file on this host; its own service must make snapshots of it.")
        found.append(Path(file))
        disk = disk.find("backingStore")
    return found


def begin_overlay(domain: libvirt.virDomain, volume: VolumeSpec, new: Path) -> None:
    root = Tree.Element("domainsnapshot")
    disks = Tree.SubElement(root, "disks")
    wanted = domains.target_of(domain, volume)
    for element in parsed(domain.XMLDesc(0)).iterfind("devices/disk/target"):
        name = element.get("dev", "")
        part = Tree.SubElement(disks, "disk", name=name, snapshot="external" if name == wanted else "no")
        if name == wanted:
            part.set("type", "file")
            Tree.SubElement(part, "driver", type="qcow2")
            Tree.SubElement(part, "source", file=str(new))
    flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
    flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
    domain.snapshotCreateXML(Tree.tostring(root, encoding="unicode"), flags)


def is_merged(domain: libvirt.virDomain, volume: VolumeSpec, file_to_merge: str | None, target: str | None) -> bool:
    """Into ``target``: the other file is in use no more. Without one: the active file has nothing but that file below it."""
    names = [path.name for path in chain(domain, volume)]
    if target is not None:
        return _name(file_to_merge) not in names and _name(target) in names
    return names[1:2] == ([_name(file_to_merge)] if file_to_merge is not None else [])


def begin_merge(domain: libvirt.virDomain, volume: VolumeSpec, file_to_merge: str | None, target: str | None) -> None:
    """A merge that is under way already is left at it."""
    files, device = {path.name: str(path) for path in chain(domain, volume)}, domains.target_of(domain, volume)
    for name in (file_to_merge, target):
        if name is not None and _name(name) not in files:
            raise Invalid(f"{name} is none of the volume's files.")
    if domain.blockJobInfo(device, 0):
        return
    if target is not None:
        domain.blockCommit(device, files[target], files[_name(file_to_merge)], 0, libvirt.VIR_DOMAIN_BLOCK_COMMIT_RELATIVE)
    elif file_to_merge is not None:
        domain.blockRebase(device, files[file_to_merge], 0, libvirt.VIR_DOMAIN_BLOCK_REBASE_RELATIVE)
    else:
        domain.blockPull(device, 0, 0)


def merged_percent(domain: libvirt.virDomain, volume: VolumeSpec) -> int:
    job = domain.blockJobInfo(domains.target_of(domain, volume), 0)
    if not job:
        return 100
    return min(99, int(job["cur"] * 100 // job["end"])) if job["end"] else 0


def _name(file: str | None) -> str:
    """A plain name, of a file in the volume's own folder."""
    if not file or file in (".", "..") or "/" in file or "\0" in file:
        raise Invalid("Files of a volume are named without a folder.")
    return file
