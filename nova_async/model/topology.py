"""NUMA cells, CPUs, pages and PCI devices: what hosts have, what guests want, and what each guest was given.

Guest CPUs are numbered as the guest sees them, host CPUs as the host's operating system does. Memory in MiB, pages in KiB.
"""

from collections.abc import Iterable

import msgspec

PCI, PHYSICAL, VIRTUAL = "type-PCI", "type-PF", "type-VF"  # kinds of PCI devices, by Nova's words
SMALL, LARGE, ANY = "small", "large", "any"  # page sizes that are no numbers


class HostCell(msgspec.Struct, frozen=True, kw_only=True):
    """A NUMA cell of a host. ``shared`` CPUs carry guests' floating CPUs, each of the ``dedicated`` belongs to one guest CPU at most.

    ``siblings``: the CPUs of each core. ``pages``: (size, how many there are), the small ones too; empty: not known.
    """

    id: int
    memory_mib: int
    shared: tuple[int, ...] = ()
    dedicated: tuple[int, ...] = ()
    siblings: tuple[tuple[int, ...], ...] = ()
    pages: tuple[tuple[int, int], ...] = ()
    socket: int | None = None


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A PCI device that guests may be given. ``parent``: the address of a virtual function's physical one."""

    address: str
    vendor_id: str
    product_id: str
    kind: str = PCI
    numa_node: int | None = None
    parent: str | None = None


class HostTopology(msgspec.Struct, frozen=True, kw_only=True):
    cells: tuple[HostCell, ...] = ()
    devices: tuple[Device, ...] = ()


class GuestCell(msgspec.Struct, frozen=True, kw_only=True):
    """A NUMA cell that a guest wants. ``dedicated`` are those of its CPUs that want a host CPU each."""

    cpus: tuple[int, ...]
    dedicated: tuple[int, ...]
    memory_mib: int


class GuestTopology(msgspec.Struct, frozen=True, kw_only=True):
    """What flavor and image say. ``page_size``: small, large, any, KiB in digits, or None (not said).

    ``threads``: prefer, require, isolate or None. ``emulator``: isolate (a CPU of its own), share or None. ``realtime``: guest CPUs.
    """

    cells: tuple[GuestCell, ...]
    page_size: str | None = None
    threads: str | None = None
    emulator: str | None = None
    realtime: tuple[int, ...] = ()
    locked: bool = False  # its memory stays in the host's memory

    @property
    def is_pinned(self) -> bool:
        return any(cell.dedicated for cell in self.cells)


class DeviceSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which devices an alias means. The name may stand in several: any of them will do."""

    name: str
    vendor_id: str
    product_id: str
    device_type: str | None = None
    numa_policy: str = "legacy"


class DeviceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """So many devices that an alias means. ``policy``: required, socket, legacy or preferred."""

    alias: str
    count: int
    specs: tuple[DeviceSpec, ...]
    policy: str


class FittedCell(msgspec.Struct, frozen=True, kw_only=True):
    """A guest's cell on a host's. ``pins``: (guest CPU, host CPU); the other guest CPUs float over ``shared``.

    ``threads``: how many guest CPUs are threads of one core. ``page_size`` of its memory; None: the host's choice.
    """

    host_cell: int
    cpus: tuple[int, ...]
    memory_mib: int
    pins: tuple[tuple[int, int], ...] = ()
    shared: tuple[int, ...] = ()
    threads: int = 1
    page_size: int | None = None


class FittedDevice(msgspec.Struct, frozen=True, kw_only=True):
    alias: str
    address: str
    numa_node: int | None = None


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest was given. ``reserved``: host CPUs for its emulator alone; ``emulator``: where its emulator runs (empty: anywhere)."""

    cells: tuple[FittedCell, ...] = ()
    devices: tuple[FittedDevice, ...] = ()
    reserved: tuple[int, ...] = ()
    emulator: tuple[int, ...] = ()
    realtime: tuple[int, ...] = ()
    locked: bool = False

    @property
    def exclusive(self) -> list[str]:
        """The host's CPUs and devices that nobody else has: ``cpu/3``, ``pci/0000:01:00.0``."""
        pinned = [host for cell in self.cells for _, host in cell.pins]
        return [f"cpu/{cpu}" for cpu in (*pinned, *self.reserved)] + [f"pci/{device.address}" for device in self.devices]


def divided(cells: Iterable[HostCell], shared: frozenset[int] | None, dedicated: frozenset[int]) -> tuple[HostCell, ...]:
    """Cells whose CPUs are all shared, with these dedicated. ``shared`` None: all others, if none is dedicated."""
    kept = []
    for cell in cells:
        floating = [cpu for cpu in cell.shared if cpu not in dedicated and (cpu in shared if shared is not None else not dedicated)]
        pinned = tuple(cpu for cpu in cell.shared if cpu in dedicated)
        kept.append(msgspec.structs.replace(cell, shared=tuple(floating), dedicated=pinned))
    return tuple(kept)


def cpus_of(text: str, count: int | None = None) -> frozenset[int]:
    """``0-3,^2,8``: numbers and ranges, without those after ``^``. With ``count`` what begins with ``^`` is taken from 0 to count - 1.

    Raises ``ValueError``.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if count is not None and parts and parts[0].startswith("^"):
        parts.insert(0, f"0-{count - 1}")
    taken, left_out = set[int](), set[int]()
    for part in parts:
        low, dash, high = part.removeprefix("^").partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()) or len(part) > 12:
            raise ValueError(f"{part!r} is no CPU and no range of CPUs")
        numbers = range(int(low), int(high if dash else low) + 1)
        if not numbers or numbers[-1] >= MOST_CPUS:
            raise ValueError(f"{part!r} is no range of CPUs below {MOST_CPUS}")
        (left_out if part.startswith("^") else taken).update(numbers)
    return frozenset(taken - left_out)


def told(cpus: Iterable[int]) -> str:
    """As libvirt and people write it: ``0-3,8``."""
    ranges: list[list[int]] = []
    for cpu in sorted(cpus):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


MOST_CPUS = 8192
