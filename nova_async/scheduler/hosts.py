"""The scheduler's view of all hosts: a table of numbers for speed, one ``HostState`` per host for filters.

Fed by the hosts' reports on the bus and by rows. The truth about capacity is in PostgreSQL; this view only ranks.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import numpy as np

from nova_async.model.aggregates import Label
from nova_async.model.hosts import HostRow
from nova_async.world import World

Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


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


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class HostState:
    """One host, as filters see it. Amounts in the units of the resource classes (MEMORY_MB: MiB, DISK_GB: GiB)."""

    membership: Membership

    def __init__(self, row: HostRow, index: int) -> None:
        self.row, self.index = row, index
        self.traits = frozenset(row.traits)
        self.seen: float | None = None  # by our own monotonic clock
        self.seen_at: datetime | None = None
        self.stopping = False

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def facts(self) -> dict[str, Any]:
        return self.row.facts

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
        self.capacity: dict[str, Ints] = {}
        self.total: dict[str, Ints] = {}
        self.used: dict[str, Ints] = {}
        self.enabled: Mask = np.zeros(0, bool)
        self.seen: Floats = np.zeros(0)
        self.zone: Ints = np.zeros(0, np.int64)
        self.instances: Ints = np.zeros(0, np.int64)
        self.operations: Ints = np.zeros(0, np.int64)
        self.failed_builds: Ints = np.zeros(0, np.int64)
        self.version: Ints = np.zeros(0, np.int64)
        self.membership: Ints = np.zeros(0, np.int64)
        self.memberships: list[Membership] = []
        self._zones: dict[str, int] = {}
        self._membership_of: dict[tuple[int, ...], Membership] = {}
        self._labels: dict[int, Label] = {}

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
                self.by_name[row.name] = state
                state.row, state.traits = row, frozenset(row.traits)
                self._fill(state)
        self._append(new)

    def label(self, labels: Iterable[Label]) -> None:
        """Take over names and metadata of all aggregates there are."""
        self._labels = {label.id: label for label in labels}
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
            if resource in self.used:
                self.used[resource][state.index] = max(0, self.used[resource][state.index] + sign * amount)
            if resource in state.row.inventory:
                state.row.inventory[resource][3] = max(0, state.row.inventory[resource][3] + sign * amount)
        self.instances[state.index] = max(0, self.instances[state.index] + sign)

    def failed(self, host_id: str, count: int) -> None:
        """A build failed there (or, with 0, one succeeded)."""
        if state := self.by_id.get(host_id):
            state.row.failed_builds = count
            self.failed_builds[state.index] = count

    def working(self, host_id: str, change: int) -> None:
        """One more (or with -1 one less) operation is in progress there."""
        if state := self.by_id.get(host_id):
            self.operations[state.index] = max(0, self.operations[state.index] + change)

    # -- asking (model.hosts.Liveness)

    def is_up(self, host: str) -> bool:
        state = self.by_name.get(host)
        return bool(state and not state.row.forced_down and self.seen[state.index] >= self.world.monotonic() - self.down_seconds)

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
            if resource not in self.capacity:
                return np.zeros(len(self), bool)
            mask &= (self.used[resource] + amount <= self.capacity[resource]) & (self.total[resource] >= amount)
        return mask

    def in_zone(self, zone: str) -> Mask:
        mask: Mask = self.zone == self._zones.get(zone, -1)
        return mask

    def by_membership(self, judge: Callable[[Membership], float]) -> Any:
        """What follows from the aggregates of each host: an array with one value for each."""
        return np.array([judge(m) for m in self.memberships])[self.membership]

    # -- the arrays

    def _append(self, rows: list[HostRow]) -> None:
        if not rows:
            return
        start, extra = len(self.states), len(rows)
        for row in rows:
            state = HostState(row, len(self.states))
            self.states.append(state)
            self.by_name[row.name] = self.by_id[row.id] = state
        for name in ("enabled", "seen", "zone", "instances", "operations", "failed_builds", "version", "membership"):
            old = getattr(self, name)
            fill = -np.inf if name == "seen" else 0
            setattr(self, name, np.concatenate([old, np.full(extra, fill, old.dtype)]))
        for table in (self.capacity, self.total, self.used):
            for resource, old in table.items():
                table[resource] = np.concatenate([old, np.zeros(extra, np.int64)])
        for state in self.states[start:]:
            self._fill(state)

    def _fill(self, state: HostState) -> None:
        row, i = state.row, state.index
        for resource in row.inventory.keys() - self.capacity.keys():
            for table in (self.capacity, self.total, self.used):
                table[resource] = np.zeros(len(self.states), np.int64)
        for resource in self.capacity:
            total, reserved, ratio, used = row.inventory.get(resource, (0, 0, 1.0, 0))
            self.capacity[resource][i] = int((total - reserved) * ratio)
            self.total[resource][i], self.used[resource][i] = int(total), int(used)
        self.enabled[i] = not (row.disabled or row.forced_down)
        self.zone[i] = self._zones.setdefault(row.availability_zone, len(self._zones))
        self.instances[i], self.operations[i], self.failed_builds[i] = row.instances, row.operations, row.failed_builds
        self.version[i] = int(row.facts.get("hypervisor_version", 0))
        state.membership = self._joined(tuple(row.aggregates))
        self.membership[i] = state.membership.number

    def _joined(self, ids: tuple[int, ...]) -> Membership:
        membership = self._membership_of.get(ids)
        if membership is None:
            membership = self._membership_of[ids] = Membership(len(self.memberships), ids)
            membership.labels = [self._labels[id] for id in ids if id in self._labels]
            self.memberships.append(membership)
        return membership

    def _rebuild(self, rows: list[HostRow]) -> None:
        seen, labels = {s.row.id: (s.seen, s.seen_at, s.stopping) for s in self.states}, self._labels
        started = self.started
        self.__init__(self.world, self.down_seconds)  # type: ignore[misc]
        self.started = started
        self.label(labels.values())
        self._append(rows)
        for state in self.states:
            state.seen, state.seen_at, state.stopping = seen[state.row.id]
            self.seen[state.index] = -np.inf if state.seen is None or state.stopping else state.seen
