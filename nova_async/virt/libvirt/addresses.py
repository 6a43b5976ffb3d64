"""Where libvirt put the devices of a guest: for the metadata of those that have a tag. Blocks; for a libvirt thread."""

from pathlib import Path
from xml.etree import ElementTree as Tree

import libvirt

from nova_async.model.tagged_devices import EPHEMERAL, NOWHERE, ROOT, SWAP, DeviceAddress
from nova_async.virt.libvirt.parsed import parsed

FILES = {"disk": ROOT, "disk.swap": SWAP, "disk.eph0": EPHEMERAL}
DRIVES = ("scsi", "ide", "usb")  # buses of drives that the metadata has a word for
Element = Tree.Element


def of(domain: libvirt.virDomain) -> tuple[DeviceAddress, ...]:
    """Of its disks and cards, as it runs or as it is to be started."""
    root = parsed(domain.XMLDesc(0))
    disks = [_address(disk, "disk", name) for disk in root.iterfind("devices/disk") if (name := _name(disk))]
    cards = [_address(card, "nic", _value(card, "mac", "address")) for card in root.iterfind("devices/interface")]
    return (*disks, *cards)


def _name(disk: Element) -> str | None:
    """A volume's id is its serial number; other disks are known by their file."""
    return disk.findtext("serial") or FILES.get(Path(_value(disk, "source", "file")).name)


def _address(device: Element, kind: str, name: str) -> DeviceAddress:
    """Of a drive the address is on the bus that the drive is on, wherever the controller is."""
    place = device.find("address")
    told = dict(place.attrib) if place is not None else {}
    if told.get("type") == "pci":
        numbers = {key: int(told[key], 16) for key in ("domain", "bus", "slot", "function")}
        return DeviceAddress(kind=kind, name=name, bus="pci", address="{domain:04x}:{bus:02x}:{slot:02x}.{function:x}".format(**numbers))
    bus = _value(device, "target", "bus")
    if bus not in DRIVES:
        return DeviceAddress(kind=kind, name=name)
    parts = [told.get(key, "") for key in ("controller", "bus", "target", "unit")]
    return DeviceAddress(kind=kind, name=name, bus=bus, address=":".join(parts) if all(parts) else NOWHERE)


def _value(device: Element, child: str, key: str) -> str:
    found = device.find(child)
    return found.get(key, "") if found is not None else ""
