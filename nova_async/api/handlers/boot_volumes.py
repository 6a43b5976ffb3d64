"""Volumes of a new server: whether they are to be had, what they are called in the guest, and what one says that is booted from."""

from typing import Any

import msgspec

from nova_async.api.handlers.block_devices import WRONG, Device, asked_devices
from nova_async.api.handlers.boot_images import bootable
from nova_async.api.handlers.server_volumes import check_attachable
from nova_async.api.request import Request
from nova_async.errors import Invalid, NotFound
from nova_async.model.devices import made_by_host, next_name, prefix_of
from nova_async.services.image import Image
from nova_async.services.volume import Volume

GIB = 2**30
# What a volume remembers of its image that is no property.
OF_THE_IMAGE = ("image_id", "image_name", "checksum", "container_format", "disk_format", "min_disk", "min_ram", "size")


class Root(msgspec.Struct, kw_only=True):
    """A volume that is booted from: what it knows of the image that it was made from. Sizes: GiB, MiB."""

    properties: dict[str, str] = {}
    min_disk: int = 0
    min_ram: int = 0
    size: int = 0


def mapped_by(image: Image | None) -> list[Device]:
    """The block devices that an image stands for (of a server that ran from volumes). Raises ``Invalid`` when they cannot be read."""
    text = image.properties.get("block_device_mapping") if image else None
    if not text:
        return []
    try:
        found = msgspec.json.decode(text.encode(), type=list[dict[str, Any]])
    except msgspec.DecodeError:
        raise Invalid(f"Image {image.id if image else ''} has a block_device_mapping that cannot be read.") from None
    return [{key: value for key, value in one.items() if value is not None} for one in found]


async def resolve(request: Request, body: dict[str, Any], image: Image | None, count: int) -> tuple[list[Device], Root | None]:
    """The devices of a new server, each volume looked at; and the root, where that is a volume. Raises ``Invalid``."""
    devices = asked_devices(body, request.parts.world, mapped_by(image))
    if count > 1 and any(d.get("source") == "volume" for d in devices):
        raise Invalid("Cannot attach one or more volumes to multiple instances")
    root: Root | None = None
    for device in devices:
        if device["kind"] == "volume":
            known = await _look(request, device)
            root = known if device["boot_index"] == 0 else root
    return devices, root


def name_devices(devices: list[Device], properties: dict[str, str], flavor: dict[str, Any]) -> None:
    """Give each volume its name in the guest. Raises ``Invalid``."""
    bus = properties.get("hw_disk_bus") or "virtio"
    taken = made_by_host(flavor, prefix_of(bus))
    root = taken[0]
    for device in devices:
        if device["kind"] != "volume":
            continue
        device["bus"] = device["bus"] or bus
        prefix = prefix_of(device["bus"])
        if device["boot_index"] == 0:
            device["device"] = prefix + "a"
            continue
        wish = device["device"] if str(device["device"]).startswith("/dev/") else f"/dev/{device['device']}"
        if device["device"] and wish == root:
            raise Invalid(f"The volume cannot be assigned the same device name as the root device {root.removeprefix('/dev/')}")
        usable = device["device"] and wish.startswith(prefix) and len(wish) == len(prefix) + 1 and wish not in taken
        name = wish if usable else next_name(taken, prefix)
        if name is None:
            raise Invalid("The maximum allowed number of disk devices would be exceeded.")
        device["device"] = name
        taken.append(name)


async def _look(request: Request, device: Device) -> Root:
    """See that the volume can be had or made; the device learns what is known of it."""
    volumes, ctx = request.parts.volumes, request.ctx
    if (volume_type := device.get("volume_type")) and not await volumes.has_type(ctx, volume_type):
        raise Invalid(f"The requested volume type id or name {volume_type} could not be found.")
    match device["source"]:
        case "volume":
            return await _existing(request, device)
        case "snapshot":
            try:
                snapshot = await volumes.snapshot(ctx, device["snapshot_id"])
            except NotFound:
                raise Invalid(WRONG + f"failed to get snapshot {device['snapshot_id']}.") from None
            device["size"] = device["size"] or snapshot.size
            try:
                return _root(await volumes.get(ctx, snapshot.volume_id), device["size"])
            except NotFound:
                return Root(size=device["size"])
        case "image":
            image = await bootable(request, device["image_id"], WRONG + f"failed to get image {device['image_id']}.")
            return Root(properties=image.properties, min_disk=image.min_disk, min_ram=image.min_ram, size=device["size"])
    return Root(size=device["size"])


async def _existing(request: Request, device: Device) -> Root:
    try:
        volume = await request.parts.volumes.get(request.ctx, device["volume_id"])
    except NotFound:
        raise Invalid(WRONG + f"failed to get volume {device['volume_id']}.") from None
    check_attachable(request, volume, "")
    if device["boot_index"] == 0 and not volume.bootable:
        raise Invalid(f"Block Device {volume.id} is not bootable.")
    device.update(size=volume.size, shared=volume.multiattach, read_only=volume.read_only)
    return _root(volume, volume.size)


def _root(volume: Volume, size: int) -> Root:
    facts = volume.image_metadata

    def number(name: str) -> int:
        text = str(facts.get(name, "0"))
        return int(text) if text.isdigit() else 0

    properties = {key: value for key, value in facts.items() if key not in OF_THE_IMAGE}
    return Root(properties=properties, min_disk=number("min_disk"), min_ram=number("min_ram"), size=size)


def check_root(root: Root, flavor: dict[str, Any]) -> None:
    """Whether the volume that is booted from is what its image needs. Raises ``Invalid``."""
    if flavor["memory_mb"] < root.min_ram:
        raise Invalid("Flavor's memory is too small for requested image.")
    if root.size < root.min_disk:
        raise Invalid(
            "Volume is smaller than the minimum size specified in image metadata. "
            f"Volume size is {root.size * GIB} bytes, minimum size is {root.min_disk * GIB} bytes."
        )
