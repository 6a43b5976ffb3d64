"""The NUMA cells, cores, pages and PCI devices that a host of the fake driver pretends to have."""

from collections.abc import Iterator
from itertools import count

from nova_async.config import Fake, FakeDevices
from nova_async.model.topology import PHYSICAL, VIRTUAL, Device, HostCell, HostTopology

KIB_IN_MIB = 1024
SMALL, LARGE, HUGE = 4, 2048, 1_048_576  # KiB


def made(options: Fake) -> HostTopology:
    """CPUs and memory evenly over the cells. As on real machines a core's threads have numbers far apart."""
    cores = options.vcpus // options.threads
    size = cores // options.cells
    cells = tuple(_cell(options, number, range(number * size, (number + 1) * size), cores) for number in range(options.cells))
    addresses = (f"0000:{number // 32 + 1:02x}:{number % 32:02x}.0" for number in count())
    return HostTopology(cells=cells, devices=tuple(d for kind in options.devices for d in _devices(kind, options.cells, addresses)))


def traits_of(topology: HostTopology) -> tuple[str, ...]:
    """What hosts with such cells report."""
    threads = any(len(core) > 1 for cell in topology.cells for core in cell.siblings)
    near = bool(topology.cells) and all(cell.socket is not None for cell in topology.cells)
    return (("HW_CPU_HYPERTHREADING",) if threads else ()) + (("COMPUTE_SOCKET_PCI_NUMA_AFFINITY",) if near else ())


def _cell(options: Fake, number: int, cores: range, stride: int) -> HostCell:
    siblings = tuple(tuple(core + thread * stride for thread in range(options.threads)) for core in cores)
    memory = options.memory_mib // options.cells
    large = options.large_pages * LARGE + options.huge_pages * HUGE
    pages = ((SMALL, max(0, memory * KIB_IN_MIB - large) // SMALL), (LARGE, options.large_pages), (HUGE, options.huge_pages))
    return HostCell(
        id=number,
        memory_mib=memory,
        shared=tuple(sorted(cpu for core in siblings for cpu in core)),
        siblings=siblings if options.threads > 1 else (),
        pages=tuple((size, amount) for size, amount in pages if amount),
        socket=number // 2,
    )


def _devices(kind: FakeDevices, cells: int, addresses: Iterator[str]) -> Iterator[Device]:
    for number in range(kind.count):
        ids = {"vendor_id": kind.vendor_id, "product_id": kind.product_id}
        address, node = next(addresses), number % cells
        yield Device(address=address, kind=kind.device_type, numa_node=node, **ids)
        for _ in range(kind.functions if kind.device_type == PHYSICAL else 0):
            yield Device(address=next(addresses), kind=VIRTUAL, numa_node=node, parent=address, **ids)
