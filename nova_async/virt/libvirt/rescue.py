"""Rescue: a guest that boots from a fresh disk of some image, with its own disks beside it.

The domain's mark says that the guest is in rescue; its rescue files are ``disk.rescue``, ``kernel.rescue`` and ``ramdisk.rescue``.
An image that names ``hw_rescue_bus`` or ``hw_rescue_device`` is a stable rescue: the guest's own disks keep their names, and the
rescue disk comes last. Otherwise the rescue disk is the first one, the others move up, and volumes are not there, as in Nova.
"""

from pathlib import Path

import msgspec

from nova_async.errors import NotFound, Unsupported
from nova_async.model.guests import GuestSpec, ImageRef
from nova_async.model.power import PowerState
from nova_async.virt.driver import Progress
from nova_async.virt.libvirt import domains
from nova_async.virt.libvirt.base import START_SECONDS, LibvirtBase
from nova_async.virt.libvirt.disks import Disk, Files, target

DEVICES = ("disk", "cdrom")
BUS_OF = {"disk": "virtio", "cdrom": "scsi"}


class Rescue(LibvirtBase):
    """The methods of ``virt.driver.Driver`` for rescue."""

    async def rescue(self, guest: GuestSpec, generation: int, image: ImageRef, progress: Progress) -> None:
        files = layout(self._disks.layout(guest), image, tuple(volume.device.removeprefix("/dev/") for volume in guest.volumes))
        async with self._alone(guest.instance_id):
            known = await self.guest(guest.instance_id)
            if known.rescued and known.generation >= generation:
                if known.power_state is not PowerState.RUNNING:
                    await self._start(guest)
                return
            if not self._mock:
                if not await self._disks.exist(guest):
                    raise NotFound(f"The disks of server {guest.instance_id} are not on this host.")
                await self._disks.make_rescue(guest, image, progress)
            await self._domain(guest.instance_id, domains.cut_power, deadline=START_SECONDS)
            await self._domain(guest.instance_id, domains.forget_saved)
            await self._plugs.plug(guest.instance_id, guest.ports)
            shown = guest if is_stable(image) else msgspec.structs.replace(guest, volumes=())
            await self._define_and_start(shown, generation, files)

    async def unrescue(self, guest: GuestSpec, generation: int, *, power_on: bool) -> None:
        async with self._alone(guest.instance_id):
            known = await self.guest(guest.instance_id)
            if known.rescued:
                await self._domain(guest.instance_id, domains.cut_power, deadline=START_SECONDS)
                await self._domain(guest.instance_id, domains.forget_saved)
                await self._define_off(guest, generation, self._disks.layout(guest))
                if power_on:
                    await self._start(guest)
            elif power_on and known.power_state is not PowerState.RUNNING:  # a rescue had gone as far as to stop it
                await self._bring_up(guest, generation)
            if not self._mock:
                await self._disks.forget_rescue(guest.instance_id)


def is_stable(image: ImageRef) -> bool:
    return "hw_rescue_bus" in image.properties or "hw_rescue_device" in image.properties


def layout(own: Files, image: ImageRef, taken: tuple[str, ...] = ()) -> Files:
    """What a guest in rescue refers to; ``taken``: names that its volumes have.

    Raises ``Unsupported`` for a rescue device that guests cannot be given.
    """
    folder = own.console.parent
    properties = image.properties
    stable = is_stable(image)
    device = properties.get("hw_rescue_device", "disk")
    if device not in DEVICES:
        raise Unsupported(f"A rescue device {device} is not supported; set the image's hw_rescue_device to one of {', '.join(DEVICES)}.")
    bus = properties.get("hw_rescue_bus") or (properties.get("hw_disk_bus") if device == "disk" else None) or BUS_OF[device]
    fixed = tuple(disk for disk in own.disks if disk.read_only)  # a config drive
    movable = tuple(disk for disk in own.disks if not disk.read_only)
    rescue = Disk(
        path=folder / "disk.rescue",
        format="qcow2",
        target=_free_target(bus, {*taken, *(disk.target for disk in own.disks)}) if stable else target(bus, 0),
        bus=bus,
        device=device,
        boot=True,
        read_only=device == "cdrom",
    )
    if stable:
        disks = (*own.disks, rescue)
    else:
        moved = (msgspec.structs.replace(disk, target=target(disk.bus, number)) for number, disk in enumerate(movable, start=1))
        disks = (rescue, *moved, *fixed)
    return Files(
        disks=disks,
        console=own.console,
        kernel=_beside(folder, "kernel", image.kernel),
        ramdisk=_beside(folder, "ramdisk", image.ramdisk),
        command_line=properties.get("os_command_line", ""),
        rescue=image.id,
        nvram=own.nvram,
    )


def _beside(folder: Path, name: str, image: ImageRef | None) -> Path | None:
    return folder / f"{name}.rescue" if image else None


def _free_target(bus: str, taken: set[str]) -> str:
    return next(name for number in range(25) if (name := target(bus, number)) not in taken)
