"""A host's NUMA cells, CPUs, pages and PCI devices, from libvirt's descriptions."""

from collections.abc import Iterable
from xml.etree import ElementTree as Tree

import libvirt

from nova_async.config import HostDevices
from nova_async.model.topology import PCI, PHYSICAL, VIRTUAL, Device, HostCell, cpus_of
from nova_async.virt.libvirt.parsed import parsed

KIB = {"b": 1 / 1024, "bytes": 1 / 1024, "KB": 1000 / 1024, "KiB": 1, "k": 1, "MiB": 1024, "M": 1024, "GiB": 1024**2, "G": 1024**2}


def cells(capabilities: Tree.Element) -> tuple[HostCell, ...]:
    """From the capabilities; empty where libvirt does not know."""
    return tuple(_cell(element) for element in capabilities.findall("host/topology/cells/cell"))


def _cell(element: Tree.Element) -> HostCell:
    cpus = element.findall("cpus/cpu")
    cores = {tuple(sorted(cpus_of(cpu.get("siblings") or cpu.get("id") or ""))) for cpu in cpus}
    sockets = {int(cpu.get("socket_id", "-1")) for cpu in cpus}
    socket = sockets.pop() if len(sockets) == 1 else -1
    pages = ((int(_kib(page, page.get("size"))), int(page.text or 0)) for page in element.findall("pages"))
    memory = element.find("memory")
    return HostCell(
        id=int(element.get("id", "0")),
        memory_mib=int(_kib(memory, memory.text) // 1024) if memory is not None else 0,
        shared=tuple(sorted(int(cpu.get("id", "0")) for cpu in cpus)),
        siblings=tuple(sorted(cores)) if any(len(core) > 1 for core in cores) else (),
        pages=tuple((size, count) for size, count in pages if size and count),
        socket=socket if socket >= 0 else None,
    )


def _kib(element: Tree.Element, text: str | None) -> float:
    return int(text or 0) * KIB.get(element.get("unit", "KiB"), 1)


def devices(connection: libvirt.virConnect, wanted: Iterable[HostDevices]) -> tuple[Device, ...]:
    """The host's PCI devices that the configuration names. Blocks; for a libvirt thread."""
    wanted = tuple(wanted)
    if not wanted:
        return ()
    flag = libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV
    found = (device_of(parsed(node.XMLDesc())) for node in connection.listAllDevices(flag))
    return tuple(sorted((d for d in found if any(_named(d, one) for one in wanted)), key=lambda d: d.address))


def device_of(node: Tree.Element) -> Device:
    """From libvirt's description of a node device."""
    capability = node.find("capability[@type='pci']")
    assert capability is not None
    kinds = {inner.get("type"): inner for inner in capability.findall("capability")}
    parent = kinds["phys_function"].find("address") if "phys_function" in kinds else None
    numa = capability.find("numa")
    vendor, product = capability.find("vendor"), capability.find("product")
    return Device(
        address=_address(*(int(capability.findtext(part, "0")) for part in PARTS)),
        vendor_id=_id(vendor),
        product_id=_id(product),
        kind=VIRTUAL if parent is not None else PHYSICAL if "virt_functions" in kinds else PCI,
        numa_node=int(numa.get("node", "-1")) if numa is not None and int(numa.get("node", "-1")) >= 0 else None,
        parent=None if parent is None else _address(*(int(parent.get(part, "0"), 16) for part in PARTS)),
    )


PARTS = ("domain", "bus", "slot", "function")


def _address(domain: int, bus: int, slot: int, function: int) -> str:
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def _id(element: Tree.Element | None) -> str:
    return (element.get("id", "") if element is not None else "").removeprefix("0x")


def _named(device: Device, wanted: HostDevices) -> bool:
    ids = ((wanted.vendor_id, device.vendor_id), (wanted.product_id, device.product_id), (wanted.address, device.address))
    return any(said for said, _ in ids) and all(not said or said.lower() == true.lower() for said, true in ids)
