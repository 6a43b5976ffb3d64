"""Devices of guests that users gave a tag, and where the guest finds them: ``devices`` of ``meta_data.json``."""

from typing import Any

import msgspec

LATEST = "latest"
SINCE = "2016-06-30"  # the first version of ``meta_data.json`` that tells of devices
TRUST_SINCE = "2018-08-27"  # and of whether a card is trusted
NOWHERE = "none"
ROOT, SWAP, EPHEMERAL = "root", "swap", "ephemeral0"  # names of disks that the host makes


class TaggedDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A device and its owner's word for it. ``name``: of a card its MAC, of a volume its id, else one of those above."""

    kind: str  # nic or disk
    name: str
    tag: str
    serial: str | None = None  # of a volume, its id


class DeviceAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a device of a guest is: ``pci`` 0000:00:05.0, or ``scsi``, ``ide``, ``usb`` with controller:bus:target:unit."""

    kind: str
    name: str
    bus: str = NOWHERE
    address: str = NOWHERE


def described(devices: tuple[TaggedDevice, ...], addresses: tuple[DeviceAddress, ...], version: str) -> list[dict[str, Any]]:
    """The list of one version of ``meta_data.json``; a device whose place is not known is nowhere ("none")."""
    places = {(place.kind, place.name): place for place in addresses}
    return [_described(device, places.get((device.kind, device.name)), version) for device in devices]


def _described(device: TaggedDevice, place: DeviceAddress | None, version: str) -> dict[str, Any]:
    about: dict[str, Any] = {"type": device.kind}
    if device.kind == "disk":
        about["serial"] = device.serial
    else:
        about["mac"] = device.name
        if version == LATEST or version >= TRUST_SINCE:
            about["vf_trusted"] = False
    return about | {"bus": place.bus if place else NOWHERE, "address": place.address if place else NOWHERE, "tags": [device.tag]}


def with_addresses(files: dict[str, bytes], devices: tuple[TaggedDevice, ...], addresses: tuple[DeviceAddress, ...]) -> dict[str, bytes]:
    """The files of a config drive, with every ``meta_data.json`` saying where the devices are."""
    return {path: _with_addresses(path, text, devices, addresses) for path, text in files.items()}


def _with_addresses(path: str, text: bytes, devices: tuple[TaggedDevice, ...], addresses: tuple[DeviceAddress, ...]) -> bytes:
    form, _, rest = path.partition("/")
    version, _, name = rest.partition("/")
    if form != "openstack" or name != "meta_data.json" or (version != LATEST and version < SINCE):
        return text
    return msgspec.json.encode(msgspec.json.decode(text) | {"devices": described(devices, addresses, version)})
