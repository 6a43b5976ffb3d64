"""The scheduler's view of all hosts: a table of numbers for speed, one ``HostState`` per host for filters.

Fed by the hosts' reports on the bus and by rows. The truth about capacity is in PostgreSQL; this view only ranks.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np

from nova_async.model.aggregates import Label
from nova_async.model.hosts import HostRow
from nova_async.model.topology import Fit, HostTopology
from nova_async.scheduler.numa import Ratios, Used
from nova_async.scheduler.pci import free_devices
from nova_async.world import World

K = TypeVar("K")
Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Kinds(Generic[K]):
    """What many hosts have in common, kept once: ``number`` of it stands in a column of the table."""

    def __init__(self) -> None:
        self.known: list[K] = []
        self._numbers: dict[K, int] = {}

    def number(self, kind: K) -> int:
        number = self._numbers.get(kind)
        if number is None:
            number = self._numbers[kind] = len(self.known)
            self.known.append(kind)
        return number

    def find(self, kind: K) -> int:
        """-1: no host is of this kind."""
        return self._numbers.get(kind, -1)


class Membership:
    """The aggregates that some hosts have in common: what follows from them is judged once for all these hosts."""

    def __init__(self, number: int, ids: tuple[int, ...]) -> None:
        self.number, self.ids = number, ids
        self.labels: list[Label] = []

    def values(self, key: str) -> set[str]:
        """What the aggregates' metadata say under a key."""
        return {label.metadata[key] for label in self.labels if key in label.metadata}

    def words(self, key: str) -> set[str]:
        """As ``values``, each split at its commas."""
        return {word.strip() for value in self.values(key) for word in value.split(",")}

    def least(self, key: str, default: float) -> float:
        """The smallest number under a key; ``default`` when there is none."""
        numbers = [number for value in self.values(key) if (number := _number(value)) is not None]
        return min(numbers, default=default)


class Hypervisor(NamedTuple):
    """What a host runs guests with: (architecture, hypervisor, mode) triples, and major * 1000000 + minor * 1000 + release."""

    supported: tuple[tuple[str, ...], ...]
    version: int


MOST_DEVICES = 99  # beyond, hosts are alike: there is no shortage
COLUMNS = (
    *("enabled", "seen", "zone", "instances", "operations", "failed_builds", "version", "membership", "trait_set", "hypervisor", "cell"),
    "fewer_devices",
)


def _spread(verdicts: list[Any], column: Ints) -> Any:
    """An array with the verdict on each host's kind."""
    if verdicts and all(verdict == verdicts[0] for verdict in verdicts):
        return np.full(len(column), verdicts[0])
    return np.array(verdicts or [False])[column]  # of no kind there is no host


def hypervisor_of(host: "HostState") -> Hypervisor:
    supported = tuple(tuple(kind) for kind in host.facts.get("supported_instances") or ())
    return Hypervisor(supported, int(host.facts.get("hypervisor_version") or 0))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class HostState:
    """One host, as filters see it. Amounts in the units of the resource classes (MEMORY_MB: MiB, DISK_GB: GiB)."""

    membership: Membership

    def __init__(self, row: HostRow, topology: HostTopology, index: int) -> None:
        self.index = index
        self.take(row, topology)
        self.seen: float | None = None  # by our own monotonic clock
        self.seen_at: datetime | None = None
        self.stopping = False

    def take(self, row: HostRow, topology: HostTopology) -> None:
        """Its rows as they are now."""
        self.row, self.topology = row, topology
        self.traits = frozenset(row.traits)
        self.used = Used(msgspec.convert(row.fits, list[Fit])) if row.fits else Used()

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def node(self) -> str:
        """The hypervisor's own name."""
        return self.row.facts.get("hypervisor_hostname") or self.row.name

    @property
    def facts(self) -> dict[str, Any]:
        return self.row.facts

    @property
    def alike(self) -> tuple[Any, ...]:
        """The same of hosts with equal cells and devices of which the same is used."""
        return id(self.topology), self.used.key, self.ratios

    @property
    def ratios(self) -> Ratios:
        return Ratios(*(self.row.inventory.get(name, (0, 0, 1.0, 0))[2] for name in ("VCPU", "MEMORY_MB")))

    def fit(self, resource: str, amount: int) -> str | None:
        """Why ``amount`` does not fit, or None when it does."""
        total, reserved, ratio, used = self.row.inventory.get(resource, (0, 0, 1.0, 0))
        free = int((total - reserved) * ratio) - int(used)
        if amount > total:
            return f"{resource}: needs {amount}, the host has {total:.0f} in all"
        return None if amount <= free else f"{resource}: needs {amount}, {max(0, free)} free of {int((total - reserved) * ratio)}"


class HostTable:
    """All hosts. Row ``i`` of every array is the host ``states[i]``."""

    def __init__(self, world: World, down_seconds: float) -> None:
        self.world, self.down_seconds = world, down_seconds
        self.started = world.monotonic()
        self.states: list[HostState] = []
        self.by_name: dict[str, HostState] = {}
        self.by_id: dict[str, HostState] = {}
        self.by_node: dict[str, HostState] = {}
        self.room: dict[str, Floats] = {}  # resource class -> what is left of the capacity
        self.fits: dict[str, Floats] = {}  # resource class -> the most that one server can have
        self.enabled: Mask = np.zeros(0, bool)
        self.seen: Floats = np.zeros(0)
        self.zone: Ints = np.zeros(0, np.int64)
        self.instances: Floats = np.zeros(0, np.float32)
        self.operations: Floats = np.zeros(0, np.float32)
        self.failed_builds: Floats = np.zeros(0, np.float32)
        self.version: Floats = np.zeros(0, np.float32)
        self.scratch: Floats = np.zeros((3, 0), np.float32)  # rows for intermediate results, since getting memory takes time
        self.membership: Ints = np.zeros(0, np.int64)
        self.trait_set: Ints = np.zeros(0, np.int64)
        self.trait_sets: Kinds[frozenset[str]] = Kinds()
        self.hypervisor: Ints = np.zeros(0, np.int64)
        self.hypervisors: Kinds[Hypervisor] = Kinds()
        self.cell: Ints = np.zeros(0, np.int64)
        self.fewer_devices: Floats = np.zeros(0, np.float32)  # 0 without a free PCI device, -99 with so many or more
        self.any_devices = False
        self.cells: Kinds[str] = Kinds()
        self.memberships: list[Membership] = []
        self._zones: Kinds[str] = Kinds()
        self._membership_of: dict[tuple[int, ...], Membership] = {}
        self._labels: dict[int, Label] = {}
        self._topologies: dict[bytes, HostTopology] = {b"": HostTopology()}  # of hosts that are alike, kept once
        self.any_failed = False
        self.keys: set[str] = set()  # of the metadata of all aggregates
        self._busy: dict[str, set[str]] = {}  # operation of this process -> ids of the hosts where it works

    def __len__(self) -> int:
        return len(self.states)

    # -- feeding

    def load(self, rows: Iterable[HostRow], *, complete: bool = False) -> None:
        """Take over rows of the database; ``complete``: hosts that are not among them are gone."""
        rows = list(rows)
        if complete and (gone := set(self.by_id) - {r.id for r in rows}):
            self._rebuild([s.row for s in self.states if s.row.id not in gone])
        new = [r for r in rows if r.id not in self.by_id]
        for row in rows:
            if state := self.by_id.get(row.id):
                self.by_name.pop(state.name, None)
                self.by_node.pop(state.node, None)
                state.take(row, self._topology_of(row))
                self._fill(state)
        self._append(new)

    def label(self, labels: Iterable[Label]) -> None:
        """Take over names and metadata of all aggregates there are."""
        self._labels = {label.id: label for label in labels}
        self.keys = {key for label in self._labels.values() for key in label.metadata}
        for membership in self.memberships:
            membership.labels = [self._labels[id] for id in membership.ids if id in self._labels]

    def heard(self, name: str) -> bool:
        """A sign of life came from a host; False when we do not know it yet."""
        state = self.by_name.get(name)
        if state is None:
            return False
        state.seen, state.seen_at, state.stopping = self.world.monotonic(), self.world.now(), False
        self.seen[state.index] = state.seen
        return True

    def stopped(self, name: str) -> None:
        """The host's worker stops on purpose: nothing new goes there until it is back."""
        if state := self.by_name.get(name):
            state.stopping = True
            self.seen[state.index] = -np.inf

    def took(self, host_id: str, resources: dict[str, int], sign: int = 1) -> None:
        """A claim (or with -1 its release) that the database granted."""
        state = self.by_id.get(host_id)
        if state is None:
            return
        for resource, amount in resources.items():
            if (stock := state.row.inventory.get(resource)) is not None:
                stock[3] = max(0, stock[3] + sign * amount)
                self._stock(resource, state)
        state.row.instances = max(0, state.row.instances + sign)
        self.instances[state.index] = state.row.instances

    def fitted(self, host_id: str, fit: Fit) -> None:
        """CPUs, memory of cells, or devices that the database granted."""
        if state := self.by_id.get(host_id):
            state.used.add(fit)
            self._count_devices(state)

    def failed(self, host_id: str, count: int) -> None:
        """A build failed there (or, with 0, one succeeded)."""
        if state := self.by_id.get(host_id):
            state.row.failed_builds = count
            self.failed_builds[state.index] = count
            self.any_failed = bool(self.failed_builds.any())

    def began(self, operation: str, host_id: str) -> None:
        """An operation that keeps the host's disks or network busy is in progress there, until ``ended``."""
        if host_id not in self._busy.setdefault(operation, set()):
            self._busy[operation].add(host_id)
            self._working(host_id, 1)

    def ended(self, operation: str, host_id: str | None = None) -> None:
        """It is over there, or (None) everywhere."""
        hosts = self._busy.get(operation, set())
        for host in [h for h in hosts if host_id in (None, h)]:
            hosts.discard(host)
            self._working(host, -1)
        if not hosts:
            self._busy.pop(operation, None)

    def _working(self, host_id: str, change: int) -> None:
        if state := self.by_id.get(host_id):
            state.row.operations = max(0, state.row.operations + change)
            self.operations[state.index] = state.row.operations

    # -- asking (model.hosts.Liveness)

    def is_heard(self, host: str) -> bool:
        state = self.by_name.get(host)
        return bool(state and self.seen[state.index] >= self.world.monotonic() - self.down_seconds)

    def is_up(self, host: str) -> bool:
        """So, and not forced down as far as this table has been told."""
        return self.is_heard(host) and not self.by_name[host].row.forced_down

    def is_complete(self) -> bool:
        """False while hosts in service have had no time to report since this process started."""
        young = self.world.monotonic() - self.started < self.down_seconds
        return not (young and any(s.seen is None and not s.stopping and not s.row.disabled and not s.row.forced_down for s in self.states))

    def last_seen(self, host: str) -> datetime | None:
        state = self.by_name.get(host)
        return state.seen_at if state else None

    def up(self) -> Mask:
        mask: Mask = self.seen >= self.world.monotonic() - self.down_seconds
        return mask

    def fitting(self, resources: dict[str, int]) -> Mask:
        """Hosts with room for all of it."""
        mask = np.ones(len(self), bool)
        for resource, amount in resources.items():
            if resource not in self.fits:
                return np.zeros(len(self), bool)
            mask &= self.fits[resource] >= amount
        return mask

    def asked_for(self, host: str | None, node: str | None) -> Mask:
        """The hosts of this name, and of this hypervisor's name, where they are given."""
        mask = np.zeros(len(self), bool)
        state = self.by_name.get(host) if host else self.by_node.get(node or "")
        if state is not None and node in (None, "", state.node):
            mask[state.index] = True
        return mask

    def named(self, names: Iterable[str]) -> Mask:
        """Hosts with these names."""
        mask = np.zeros(len(self), bool)
        for name in names:
            if state := self.by_name.get(name):
                mask[state.index] = True
        return mask

    def in_zone(self, zone: str) -> Mask:
        mask: Mask = self.zone == self._zones.find(zone)
        return mask

    def by_membership(self, judge: Callable[[Membership], float]) -> Any:
        """What follows from the aggregates of each host: an array with one value for each."""
        return _spread([judge(m) for m in self.memberships], self.membership)

    def by_traits(self, judge: Callable[[frozenset[str]], bool]) -> Mask:
        """What follows from the traits of each host."""
        mask: Mask = _spread([judge(traits) for traits in self.trait_sets.known], self.trait_set)
        return mask

    def by_hypervisor(self, judge: Callable[[Hypervisor], bool]) -> Mask:
        """What follows from the hypervisor of each host."""
        mask: Mask = _spread([judge(hypervisor) for hypervisor in self.hypervisors.known], self.hypervisor)
        return mask

    # -- the arrays

    def _append(self, rows: list[HostRow]) -> None:
        if not rows:
            return
        start, extra = len(self.states), len(rows)
        for row in rows:
            state = HostState(row, self._topology_of(row), len(self.states))
            self.states.append(state)
            self.by_id[row.id] = state
        for name in COLUMNS:
            old = getattr(self, name)
            fill = -np.inf if name == "seen" else 0
            setattr(self, name, np.concatenate([old, np.full(extra, fill, old.dtype)]))
        for table in (self.room, self.fits):
            for resource, amounts in table.items():
                table[resource] = np.concatenate([amounts, np.zeros(extra, amounts.dtype)])
        self.scratch = np.zeros((3, len(self.states)), np.float32)
        for state in self.states[start:]:
            self._fill(state)

    def _fill(self, state: HostState) -> None:
        row, i = state.row, state.index
        self.by_name[row.name] = self.by_node[state.node] = state
        for resource in row.inventory.keys() - self.room.keys():
            self.room[resource], self.fits[resource] = np.zeros(len(self.states), np.float32), np.zeros(len(self.states))
        for resource in self.room:
            self._stock(resource, state)
        self.enabled[i] = not (row.disabled or row.forced_down)
        self.zone[i] = self._zones.number(row.availability_zone)
        self.instances[i], self.operations[i], self.failed_builds[i] = row.instances, row.operations, row.failed_builds
        self.version[i] = int(row.facts.get("hypervisor_version", 0))
        self.any_failed = self.any_failed or row.failed_builds > 0
        self.trait_set[i] = self.trait_sets.number(state.traits)
        self.hypervisor[i] = self.hypervisors.number(hypervisor_of(state))
        self.cell[i] = self.cells.number(row.cell)
        state.membership = self._joined(tuple(row.aggregates))
        self.membership[i] = state.membership.number
        self._count_devices(state)

    def _count_devices(self, state: HostState) -> None:
        free = len(free_devices(state.topology, state.used.devices)) if state.topology.devices else 0
        self.fewer_devices[state.index] = -min(free, MOST_DEVICES)
        self.any_devices = self.any_devices or bool(state.topology.devices)

    def _topology_of(self, row: HostRow) -> HostTopology:
        told = row.facts.get("topology")
        text = msgspec.json.encode(told) if told else b""
        if text not in self._topologies:
            self._topologies[text] = msgspec.json.decode(text, type=HostTopology)
        return self._topologies[text]

    def _stock(self, resource: str, state: HostState) -> None:
        total, reserved, ratio, used = state.row.inventory.get(resource, (0, 0, 1.0, 0))
        room = int((total - reserved) * ratio) - int(used)
        self.room[resource][state.index] = room
        self.fits[resource][state.index] = min(room, int(total))

    def _joined(self, ids: tuple[int, ...]) -> Membership:
        membership = self._membership_of.get(ids)
        if membership is None:
            membership = self._membership_of[ids] = Membership(len(self.memberships), ids)
            membership.labels = [self._labels[id] for id in ids if id in self._labels]
            self.memberships.append(membership)
        return membership

    def _rebuild(self, rows: list[HostRow]) -> None:
        seen, labels = {s.row.id: (s.seen, s.seen_at, s.stopping) for s in self.states}, self._labels
        started, busy = self.started, self._busy
        self.__init__(self.world, self.down_seconds)  # type: ignore[misc]
        self.started, self._busy = started, busy
        self.label(labels.values())
        self._append(rows)
        for state in self.states:
            state.seen, state.seen_at, state.stopping = seen[state.row.id]
            self.seen[state.index] = -np.inf if state.seen is None or state.stopping else state.seen
