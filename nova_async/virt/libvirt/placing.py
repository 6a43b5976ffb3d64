"""Where on its host a guest runs: CPUs, NUMA cells, pages and PCI devices, as the claim gave them, added to its domain."""

import re
from xml.etree.ElementTree import Element, SubElement

from nova_async.errors import Error
from nova_async.model.guests import GuestSpec
from nova_async.model.topology import Fit, FittedCell, told

KIB_IN_MIB = 1024
SMALL_PAGE = 4  # KiB; a guest on these needs no word about pages
REALTIME_PRIORITY = "1"
ADDRESS = re.compile(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{2}):([0-9a-fA-F]{2})\.([0-7])")


def place(root: Element, guest: GuestSpec, shared: str) -> None:
    """``shared``: the host's CPUs for guests that were given none (``cpu_shared_set``); empty: all."""
    fit = guest.fit or Fit()
    if fit.cells:
        _pin(root, fit)
        _cells(root, fit)
        _memory(root, fit)
    elif shared and (vcpu := root.find("vcpu")) is not None:
        vcpu.set("cpuset", shared)
    _child(root, "devices").extend(_device(device.address) for device in fit.devices)


def guest_threads(guest: GuestSpec) -> int:
    """How many of the guest's CPUs are threads of one core of the host."""
    cells = guest.fit.cells if guest.fit else ()
    return min((cell.threads for cell in cells), default=1)


CPU_LIMITS = {"shares": "cpu_shares", "period": "cpu_period", "quota": "cpu_quota"}  # of cputune, from quota:*


def limit(root: Element, guest: GuestSpec) -> None:
    """How much of its CPUs the guest may use, wherever it runs."""
    for tag, name in CPU_LIMITS.items():
        if value := guest.extra_specs.get(f"quota:{name}"):
            SubElement(_child(root, "cputune"), tag).text = value


def _pin(root: Element, fit: Fit) -> None:
    tune = _child(root, "cputune")
    for cell in fit.cells:
        pins = dict(cell.pins)
        for cpu in cell.cpus:
            SubElement(tune, "vcpupin", vcpu=str(cpu), cpuset=str(pins[cpu]) if cpu in pins else told(cell.shared))
    if fit.emulator:
        SubElement(tune, "emulatorpin", cpuset=told(fit.emulator))
    if fit.realtime:
        SubElement(tune, "vcpusched", vcpus=told(fit.realtime), scheduler="fifo", priority=REALTIME_PRIORITY)


def _cells(root: Element, fit: Fit) -> None:
    """The guest sees its cells, and each one's memory is on its host cell."""
    tune = SubElement(root, "numatune")
    SubElement(tune, "memory", mode="strict", nodeset=told({cell.host_cell for cell in fit.cells}))
    numa = SubElement(_child(root, "cpu"), "numa")
    for number, cell in enumerate(fit.cells):
        SubElement(tune, "memnode", cellid=str(number), mode="strict", nodeset=str(cell.host_cell))
        SubElement(numa, "cell", id=str(number), cpus=told(cell.cpus), memory=str(cell.memory_mib * KIB_IN_MIB), unit="KiB")


def _memory(root: Element, fit: Fit) -> None:
    large = [(number, cell) for number, cell in enumerate(fit.cells) if (cell.page_size or 0) > SMALL_PAGE]
    if large:
        pages = SubElement(_child(root, "memoryBacking"), "hugepages")
        for size, nodes in _by_size(large).items():
            SubElement(pages, "page", size=str(size), unit="KiB", nodeset=told(nodes))
    if fit.realtime:
        SubElement(_child(root, "memoryBacking"), "nosharepages")
    if fit.realtime or fit.locked:
        SubElement(_child(root, "memoryBacking"), "locked")


def _by_size(cells: list[tuple[int, FittedCell]]) -> dict[int, list[int]]:
    sizes: dict[int, list[int]] = {}
    for number, cell in cells:
        sizes.setdefault(cell.page_size or 0, []).append(number)
    return sizes


def _device(address: str) -> Element:
    """libvirt takes the device from its driver on the host, and gives it back when the guest ends."""
    match = ADDRESS.fullmatch(address)
    if match is None:
        raise Error(f"{address[:40]!r} is no address of a PCI device.")
    domain, bus, slot, function = (f"0x{part}" for part in match.groups())
    device = Element("hostdev", mode="subsystem", type="pci", managed="yes")
    SubElement(SubElement(device, "source"), "address", domain=domain, bus=bus, slot=slot, function=function)
    return device


def _child(root: Element, tag: str) -> Element:
    """The one element of this name, made if it is not there."""
    found = root.find(tag)
    return SubElement(root, tag) if found is None else found
