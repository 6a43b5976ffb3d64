"""Weighers: each gives every host a number; the numbers are scaled to 0..1 over the hosts that passed, multiplied, and summed.

Names and default multipliers are Nova's; the option ``scheduler.multipliers`` changes them.
"""

from collections.abc import Callable

import numpy as np

from nova_async.errors import Invalid
from nova_async.scheduler.filters import loaded
from nova_async.scheduler.hosts import Floats, HostTable, Ints
from nova_async.scheduler.request import Request

Weigh = Callable[[HostTable, Ints, Request], Floats]


def free(resource: str) -> Weigh:
    """More of it free is better."""

    def weigh(table: HostTable, rows: Ints, request: Request) -> Floats:
        if resource not in table.capacity:
            return np.zeros(len(rows))
        return (table.capacity[resource][rows] - table.used[resource][rows]).astype(np.float64)

    return weigh


def column(name: str, sign: float = 1.0) -> Weigh:
    """A column of the table, as it is."""

    def weigh(table: HostTable, rows: Ints, request: Request) -> Floats:
        return sign * getattr(table, name)[rows].astype(np.float64)  # type: ignore[no-any-return]

    return weigh


def soft_group(policy: str, sign: float) -> Weigh:
    """Members of the request's group on the host, when the group has this policy."""

    def weigh(table: HostTable, rows: Ints, request: Request) -> Floats:
        weights = np.zeros(len(rows))
        if request.group is not None and request.group.policy == policy:
            for host, count in request.group.members.items():
                if state := table.by_name.get(host):
                    weights[rows == state.index] = sign * count
        return weights

    return weigh


# name -> (weigher, multiplier)
BUILT_IN: dict[str, tuple[Weigh, float]] = {
    "RAMWeigher": (free("MEMORY_MB"), 1.0),
    "CPUWeigher": (free("VCPU"), 1.0),
    "DiskWeigher": (free("DISK_GB"), 1.0),
    "IoOpsWeigher": (column("operations"), -1.0),
    "NumInstancesWeigher": (column("instances"), 0.0),
    "BuildFailureWeigher": (column("failed_builds", -1.0), 1_000_000.0),
    "HypervisorVersionWeigher": (column("version"), 1.0),
    "ServerGroupSoftAffinityWeigher": (soft_group("soft-affinity", 1.0), 1.0),
    "ServerGroupSoftAntiAffinityWeigher": (soft_group("soft-anti-affinity", -1.0), 1.0),
}


def load(name: str, multipliers: dict[str, float]) -> tuple[Weigh, float]:
    """A weigher and its multiplier; ``package.module:Class`` loads one of the operator's own (callable as ``Weigh``)."""
    for known in multipliers:
        if known not in BUILT_IN and ":" not in known:
            raise Invalid(f"scheduler.multipliers: there is no weigher {known!r}")
    weigh, multiplier = BUILT_IN[name] if name in BUILT_IN else (loaded("scheduler.weighers", name), 1.0)
    return weigh, multipliers.get(name, multiplier)


def total(weighers: list[tuple[Weigh, float]], table: HostTable, rows: Ints, request: Request) -> Floats:
    """The sum of all weights for these rows of the table, each scaled to 0..1 first."""
    sums = np.zeros(len(rows))
    for weigh, multiplier in weighers:
        if multiplier == 0.0:
            continue
        weights = weigh(table, rows, request)
        low, high = weights.min(), weights.max()
        if high > low:
            sums += (weights - low) * (multiplier / (high - low))
    return sums
