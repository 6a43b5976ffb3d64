"""Weighers: each gives every host a number; the numbers are scaled to 0..1 over the hosts that passed, multiplied, and summed.

Names and default multipliers are Nova's; the option ``scheduler.multipliers`` changes them, and so does the metadata of aggregates.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nova_async.config import SchedulerSection
from nova_async.errors import Invalid
from nova_async.model.server_groups import SOFT_AFFINITY, SOFT_ANTI_AFFINITY
from nova_async.scheduler.facts import metrics
from nova_async.scheduler.filters.foreign import ForeignWeigher
from nova_async.scheduler.hosts import Floats, HostTable, Ints, Mask
from nova_async.scheduler.request import Request

Weigh = Callable[[HostTable, Request], Floats | None]  # a number for every host of the table; None: all are alike


class Weigher(NamedTuple):
    """``key`` is the metadata of aggregates that changes the multiplier for their hosts."""

    name: str
    weigh: Weigh
    multiplier: float
    key: str


def free(resource: str) -> Weigh:
    """More of it free is better."""
    return lambda table, request: table.room.get(resource)


def column(name: str) -> Weigh:
    """A column of the table, as it is."""

    def weigh(table: HostTable, request: Request) -> Floats | None:
        values: Floats = getattr(table, name)
        return values

    return weigh


def soft_group(policy: str, sign: float) -> Weigh:
    """Members of the request's group on the host, when the group has this policy."""

    def weigh(table: HostTable, request: Request) -> Floats | None:
        if request.group is None or request.group.policy != policy:
            return None
        return _of_hosts(table, {host: sign * count for host, count in request.group.members.items()})

    return weigh


def failed_builds(table: HostTable, request: Request) -> Floats | None:
    return -table.failed_builds if table.any_failed else None


def spare_devices(table: HostTable, request: Request) -> Floats | None:
    """Hosts with few or no free PCI devices first: the others are kept for servers that want many."""
    return table.fewer_devices if table.any_devices else None


def cross_cell(table: HostTable, request: Request) -> Floats | None:
    """A server that moves had better stay in its cell."""
    if request.cell is None or len(table.cells.known) < 2:
        return None
    same: Floats = (table.cell == table.cells.find(request.cell)).astype(np.float32)
    return same


def image_properties(table: HostTable, request: Request) -> Floats | None:
    """How much the images of the host's servers are like the request's; the conductor counted."""
    return _of_hosts(table, request.alike) if request.alike else None


def metrics_of(options: SchedulerSection) -> Weigh:
    """The sum of what the host measures, each metric multiplied by its weight."""

    def weigh(table: HostTable, request: Request) -> Floats | None:
        if not options.metric_weights:
            return None
        weights = np.full(len(table), options.metrics_weight_of_unavailable)
        for host in table.states:
            told = metrics(host)
            if options.metric_weights.keys() <= told.keys():
                weights[host.index] = sum(weight * float(told[name]) for name, weight in options.metric_weights.items())
        return weights

    return weigh


def _of_hosts(table: HostTable, values: dict[str, float]) -> Floats:
    weights = np.zeros(len(table), np.float32)
    for host, value in values.items():
        if state := table.by_name.get(host):
            weights[state.index] = value
    return weights


# name -> (weigher or what makes one of the options, multiplier, key in the metadata of aggregates)
BUILT_IN: dict[str, tuple[Weigh, float, str]] = {
    "RAMWeigher": (free("MEMORY_MB"), 1.0, "ram_weight_multiplier"),
    "CPUWeigher": (free("VCPU"), 1.0, "cpu_weight_multiplier"),
    "DiskWeigher": (free("DISK_GB"), 1.0, "disk_weight_multiplier"),
    "HypervisorVersionWeigher": (column("version"), 1.0, "hypervisor_version_weight_multiplier"),
    "NumInstancesWeigher": (column("instances"), 0.0, "num_instances_weight_multiplier"),
    "IoOpsWeigher": (column("operations"), -1.0, "io_ops_weight_multiplier"),
    "ImagePropertiesWeigher": (image_properties, 0.0, "image_props_weight_multiplier"),
    "PCIWeigher": (spare_devices, 1.0, "pci_weight_multiplier"),
    "ServerGroupSoftAffinityWeigher": (soft_group(SOFT_AFFINITY, 1.0), 1.0, "soft_affinity_weight_multiplier"),
    "ServerGroupSoftAntiAffinityWeigher": (soft_group(SOFT_ANTI_AFFINITY, -1.0), 1.0, "soft_anti_affinity_weight_multiplier"),
    "CrossCellWeigher": (cross_cell, 1_000_000.0, "cross_cell_move_weight_multiplier"),
    "BuildFailureWeigher": (failed_builds, 1_000_000.0, "build_failure_weight_multiplier"),
}
OF_OPTIONS: dict[str, tuple[Callable[[SchedulerSection], Weigh], float, str]] = {
    "MetricsWeigher": (metrics_of, 1.0, "metrics_weight_multiplier"),
}


def load(options: SchedulerSection) -> list[Weigher]:
    """The weighers of the options; ``package.module.Class`` loads one of the operator's own (its instances are called as ``Weigh``)."""
    known = {name: (weigh, default, key) for name, (weigh, default, key) in BUILT_IN.items()}
    known |= {name: (make(options), default, key) for name, (make, default, key) in OF_OPTIONS.items()}
    for name in options.multipliers:
        if name not in known and name not in options.weighers:
            raise Invalid(f"scheduler.multipliers: {name!r} is no known weigher and none of scheduler.weighers")
    found = []
    for name in options.weighers:
        weigh, default, key = known[name] if name in known else (ForeignWeigher(name), 1.0, "")
        found.append(Weigher(name, weigh, options.multipliers.get(name, default), key))
    return found


class Ranking(NamedTuple):
    """``sums`` of the hosts in ``rows`` (None: of all, those that are out at -inf); with ``best`` they are the weights.

    They are distances to what a host would have that is the best in everything: small numbers keep their precision.
    """

    sums: Floats
    rows: Ints | None
    best: float


def total(weighers: list[Weigher], table: HostTable, left: Mask, count: int, request: Request) -> Ranking:
    """The sum of all weights of each of the ``count`` hosts in ``left``, each scaled to 0..1 over these hosts first.

    Where most hosts are in, whole columns are worked on, since picking rows out of them costs more.
    """
    few = count * 2 < len(table)
    rows = np.flatnonzero(left if few else ~left)
    sums, scaled, patched = (buffer[: count if few else len(table)] for buffer in table.scratch)
    sums.fill(0.0)
    stand_in, best = int(left.argmax()), 0.0
    for weigher in weighers:
        by_aggregate = weigher.key in table.keys
        if weigher.multiplier == 0.0 and not by_aggregate:
            continue
        weights = weigher.weigh(table, request)
        if weights is None:
            continue
        if few:
            weights = weights.take(rows, out=patched if weights.dtype == patched.dtype else None, mode="clip")
        elif len(rows):
            np.copyto(patched, weights, casting="unsafe")
            patched[rows] = patched[stand_in]  # of a host that is in: neither the lowest nor the highest changes
            weights = patched
        low, high = weights.min(), weights.max()
        if high == low:
            continue
        if by_aggregate:
            multipliers = _multipliers(weigher, table)
            sums += (weights - low) / (high - low) * (multipliers[rows] if few else multipliers)
            continue
        np.subtract(weights, high if weigher.multiplier > 0 else low, out=scaled, casting="unsafe")
        np.multiply(scaled, weigher.multiplier / (high - low), out=scaled)
        np.add(sums, scaled, out=sums)
        best += max(0.0, weigher.multiplier)
    if not few:
        sums[rows] = -np.inf
    return Ranking(sums, rows if few else None, best)


def _multipliers(weigher: Weigher, table: HostTable) -> Floats:
    multipliers: Floats = table.by_membership(lambda membership: membership.least(weigher.key, weigher.multiplier))
    return multipliers
