"""Where on a host a guest's NUMA cells, dedicated CPUs, pages and PCI devices fit: pure functions over the host's facts.

``fit`` is asked twice, by the filter on the scheduler's view of the host, and by the claim on the rows, under the host's lock.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from nova_async.model.topology import (
    ANY,
    LARGE,
    SMALL,
    DeviceRequest,
    Fit,
    FittedCell,
    FittedDevice,
    GuestCell,
    GuestTopology,
    HostCell,
    HostTopology,
)
from nova_async.scheduler import pci

KIB_IN_MIB = 1024
MOST_TRIES = 20_000  # ways to lay a guest's cells on a host's that are looked at


class Ratios(NamedTuple):
    """How many floating guest CPUs one shared host CPU carries, and how much memory a cell has for guests that do not claim pages."""

    cpu: float = 1.0
    memory: float = 1.0


class Used:
    """What guests hold of a host, summed over their fits."""

    def __init__(self, fits: Iterable[Fit] = ()) -> None:
        self.cpus: set[int] = set()
        self.devices: set[str] = set()
        self.floating: dict[int, int] = {}  # host cell -> floating guest CPUs
        self.memory: dict[tuple[int, int | None], int] = {}  # host cell, page size -> MiB
        self._key: tuple[Any, ...] | None = ()
        for fit in fits:
            self.add(fit)

    @property
    def key(self) -> tuple[Any, ...]:
        """The same where the same is held."""
        if self._key is None:
            held = tuple(sorted(self.memory.items(), key=str))
            self._key = (frozenset(self.cpus), frozenset(self.devices), tuple(sorted(self.floating.items())), held)
        return self._key

    def add(self, fit: Fit) -> None:
        self._key = None
        self.cpus.update(fit.reserved)
        self.devices.update(device.address for device in fit.devices)
        for cell in fit.cells:
            self.cpus.update(host for _, host in cell.pins)
            self.floating[cell.host_cell] = self.floating.get(cell.host_cell, 0) + len(cell.cpus) - len(cell.pins)
            key = (cell.host_cell, cell.page_size)
            self.memory[key] = self.memory.get(key, 0) + cell.memory_mib

    def in_pages(self, cell: HostCell, size: int) -> int:
        """MiB of a cell's pages of this size that are held. Guests that did not ask for a size use the smallest pages."""
        held = self.memory.get((cell.id, size), 0)
        return held + (self.memory.get((cell.id, None), 0) if size == min(s for s, _ in cell.pages) else 0)

    def in_all(self, cell: HostCell) -> int:
        return sum(amount for (number, _), amount in self.memory.items() if number == cell.id)


class _Placed(NamedTuple):
    cell: FittedCell
    reserved: tuple[int, ...]


def fit(
    host: HostTopology, used: Used, wanted: GuestTopology | None, devices: tuple[DeviceRequest, ...] = (), ratios: Ratios | None = None
) -> Fit | str:
    """What the guest is given, or why the host has no room for it, needed against available."""
    if wanted is None:
        chosen = pci.choose(host, used.devices, devices)
        return chosen if isinstance(chosen, str) else Fit(devices=chosen)
    if not host.cells:
        return "it reports no NUMA cells, CPUs or pages"
    if len(wanted.cells) > len(host.cells):
        return f"the guest wants {len(wanted.cells)} NUMA cells, the host has {len(host.cells)}"
    if wanted.emulator == "share" and not any(cell.shared for cell in host.cells):
        return "the guest's emulator is to run on shared CPUs (cpu_shared_set), the host has none"
    verdicts = _verdicts(host, used, wanted, ratios or Ratios())
    for number, row in enumerate(verdicts):
        if all(isinstance(verdict, str) for verdict in row.values()):
            return _nowhere(wanted.cells[number], number, row)
    return _joined(host, used, wanted, devices, verdicts)


Verdicts = list[dict[int, _Placed | str]]  # guest cell -> host cell -> where it would go there, or why it would not


def _verdicts(host: HostTopology, used: Used, wanted: GuestTopology, ratios: Ratios) -> Verdicts:
    order = sorted(host.cells, key=lambda cell: _emptiness(host, used, cell), reverse=True)
    found: Verdicts = []
    for number, guest in enumerate(wanted.cells):
        extra = 1 if number == 0 and wanted.emulator == "isolate" else 0
        found.append({cell.id: _place(cell, used, wanted, guest, extra, ratios) for cell in order})
    return found


def _emptiness(host: HostTopology, used: Used, cell: HostCell) -> tuple[bool, int, int]:
    """Cells without devices first, which others may want to be near to; then the emptier ones."""
    free = sum(cpu not in used.cpus for cpu in cell.dedicated) - used.floating.get(cell.id, 0)
    return not any(device.numa_node == cell.id for device in host.devices), free, cell.memory_mib - used.in_all(cell)


def _joined(host: HostTopology, used: Used, wanted: GuestTopology, devices: tuple[DeviceRequest, ...], verdicts: Verdicts) -> Fit | str:
    """Every guest cell on a host cell of its own, with the devices near enough."""
    reason, known = f"the guest's {len(wanted.cells)} NUMA cells fit one by one, but not all at once", dict[frozenset[int], str]()
    for tries, cells in enumerate(_layouts(verdicts)):
        if tries == MOST_TRIES:
            return f"{reason} ({MOST_TRIES} ways tried)"
        on = frozenset(placed.cell.host_cell for placed in cells)
        if on in known:
            continue
        chosen = pci.choose(host, used.devices, devices, on)
        if isinstance(chosen, str):
            reason = known[on] = chosen
            continue
        return _fit(host, wanted, cells, chosen)
    return reason


def _layouts(verdicts: Verdicts, taken: frozenset[int] = frozenset()) -> Iterator[list[_Placed]]:
    if not verdicts:
        yield []
        return
    for number, verdict in verdicts[0].items():
        if number not in taken and not isinstance(verdict, str):
            for others in _layouts(verdicts[1:], taken | {number}):
                yield [verdict, *others]


def _fit(host: HostTopology, wanted: GuestTopology, cells: list[_Placed], devices: tuple[FittedDevice, ...]) -> Fit:
    reserved = tuple(cpu for placed in cells for cpu in placed.reserved)
    if wanted.emulator == "share":
        emulator = {cpu for cell in host.cells for cpu in cell.shared}
    else:
        emulator = set(reserved) or {cpu for placed in cells for cpu in (*placed.cell.shared, *(p for _, p in placed.cell.pins))}
    return Fit(
        cells=tuple(placed.cell for placed in cells),
        devices=devices,
        reserved=reserved,
        emulator=tuple(sorted(emulator)),
        realtime=wanted.realtime,
        locked=wanted.locked,
    )


# -- one cell on one cell


def _place(cell: HostCell, used: Used, wanted: GuestTopology, guest: GuestCell, extra: int, ratios: Ratios) -> _Placed | str:
    page_size = _page_size(cell, used, wanted, guest, ratios)
    if isinstance(page_size, str):
        return page_size
    floating = len(guest.cpus) - len(guest.dedicated)
    held, room = used.floating.get(cell.id, 0), int(len(cell.shared) * ratios.cpu)
    if floating > len(cell.shared):
        return f"shared CPUs: needs {floating}, it has {len(cell.shared)} in all"
    if floating and held + floating > room:
        return f"shared CPUs: needs {floating}, {max(0, room - held)} of {room} free"
    pins: tuple[tuple[int, int], ...] = ()
    reserved: tuple[int, ...] = ()
    threads = 1
    if guest.dedicated:
        packed = _pack(cell, used, guest, wanted.threads, extra)
        if isinstance(packed, str):
            return packed
        pins, reserved, threads = packed
    fitted = FittedCell(
        host_cell=cell.id,
        cpus=guest.cpus,
        memory_mib=guest.memory_mib,
        pins=pins,
        shared=cell.shared if floating else (),
        threads=threads,
        page_size=page_size,
    )
    return _Placed(fitted, reserved)


def _page_size(cell: HostCell, used: Used, wanted: GuestTopology, guest: GuestCell, ratios: Ratios) -> int | str | None:
    """The size of the pages that the guest's memory comes from; None where that is the host's choice. Or why there is no room."""
    sizes = sorted((size for size, _ in cell.pages), reverse=True)
    if wanted.page_size is None:
        return _memory(cell, used, wanted, guest, ratios)
    if not sizes:
        return "it does not report its pages"
    asked = {ANY: sizes, LARGE: sizes[:-1], SMALL: sizes[-1:]}.get(wanted.page_size)
    asked = [int(wanted.page_size)] if asked is None else asked
    reasons = []
    for size in asked:
        if size not in sizes:
            reasons.append(f"it has no pages of {size} KiB")
            continue
        total, needed = dict(cell.pages)[size], guest.memory_mib * KIB_IN_MIB
        free = total - used.in_pages(cell, size) * KIB_IN_MIB // size
        if needed % size:
            reasons.append(f"{guest.memory_mib} MiB are no whole number of pages of {size} KiB")
        elif needed // size > free:
            reasons.append(f"pages of {size} KiB: needs {needed // size}, {max(0, free)} of {total} free")
        else:
            return size
    return ", ".join(reasons) or "it has no large pages"


def _memory(cell: HostCell, used: Used, wanted: GuestTopology, guest: GuestCell, ratios: Ratios) -> str | None:
    """Memory is promised more than once only to guests without dedicated CPUs (as in Nova), and to none more than there is."""
    if cell.pages:
        size = min(size for size, _ in cell.pages)
        total, held = dict(cell.pages)[size] * size // KIB_IN_MIB, used.in_pages(cell, size)
    else:
        total, held = cell.memory_mib, used.in_all(cell)
    if guest.memory_mib > total:
        return f"memory: needs {guest.memory_mib} MiB, it has {total} MiB in all"
    room = total if wanted.is_pinned else int(total * ratios.memory)
    return None if held + guest.memory_mib <= room else f"memory: needs {guest.memory_mib} MiB, {max(0, room - held)} of {room} MiB free"


Packed = tuple[tuple[tuple[int, int], ...], tuple[int, ...], int]  # pins, CPUs for the emulator, threads of a core


def _pack(cell: HostCell, used: Used, guest: GuestCell, policy: str | None, extra: int) -> Packed | str:
    """Host CPUs for the guest's dedicated ones, by the thread policy, and ``extra`` for its emulator."""
    free = {cpu for cpu in cell.dedicated if cpu not in used.cpus}
    needed = len(guest.dedicated) + extra
    if needed > len(cell.dedicated):
        return f"dedicated CPUs: needs {needed}, it has {len(cell.dedicated)} in all"
    if needed > len(free):
        return f"dedicated CPUs: needs {needed}, {len(free)} of {len(cell.dedicated)} free"
    cores = [tuple(sorted(core)) for core in cell.siblings] or [(cpu,) for cpu in cell.dedicated]
    most = max(map(len, cores))
    if policy == "isolate" and most > 1:
        return "its cores have threads, the thread policy isolate wants cores without"
    if policy == "require" and most == 1:
        return "its cores have no threads, the thread policy require wants them"
    left = sorted((core for core in (tuple(c for c in core if c in free) for core in cores) if core), key=len)
    least = 2 if policy == "require" else 1
    for threads in range(min(most, max(least, len(guest.dedicated))), least - 1, -1):
        taken = [cpu for core in left if len(core) >= threads for cpu in core[:threads]][: len(guest.dedicated)]
        if packed := _packed(guest, free, taken, extra, threads):
            return packed
    if policy != "require" and (packed := _packed(guest, free, [cpu for core in left for cpu in core], extra, 1)):
        return packed
    return f"dedicated CPUs: needs {len(guest.dedicated)} that are threads of the same cores; {len(free)} are free, in pairs too few"


def _packed(guest: GuestCell, free: set[int], taken: list[int], extra: int, threads: int) -> Packed | None:
    taken = taken[: len(guest.dedicated)]
    rest = sorted(free - set(taken))[:extra]
    if len(taken) < len(guest.dedicated) or len(rest) < extra:
        return None
    whole = threads if len(guest.cpus) % threads == 0 and len(guest.cpus) == len(guest.dedicated) else 1
    return tuple(zip(sorted(guest.dedicated), taken, strict=True)), tuple(rest), whole


def _nowhere(guest: GuestCell, number: int, row: dict[int, _Placed | str]) -> str:
    """Why a guest's cell fits on no cell of the host; cells of the same reason are named together."""
    cells: dict[str, list[int]] = {}
    for cell, reason in sorted(row.items()):
        cells.setdefault(str(reason), []).append(cell)
    reasons = "; ".join(f"NUMA cell {', '.join(map(str, numbers))}: {reason}" for reason, numbers in cells.items())
    cpus = "1 CPU" if len(guest.cpus) == 1 else f"{len(guest.cpus)} CPUs"
    return f"guest cell {number} ({cpus}, {guest.memory_mib} MiB) fits nowhere: {reasons}"
