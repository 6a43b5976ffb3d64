"""One decision: which hosts could take this server, best first, and why the others could not.

All hosts are judged at once where a filter can do that; only hosts still in the running are asked one by one.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from nova_async.config import SchedulerSection
from nova_async.scheduler import filters, prefilters, weighers
from nova_async.scheduler.filters.server_groups import ServerGroupAffinityFilter, ServerGroupAntiAffinityFilter
from nova_async.scheduler.filters.topology import NUMATopologyFilter, PciPassthroughFilter
from nova_async.scheduler.hosts import Floats, HostState, HostTable, Mask
from nova_async.scheduler.request import Candidate, Decision, Refusal, Request
from nova_async.scheduler.resources import isolated_groups
from nova_async.world import World

Reason = Callable[[HostState, Request], str | None]
Stage = tuple[str, Mask | None, Reason]  # name, verdict on all hosts or None, reason for one
EXAMPLES = 20  # refusals told by name when the server found a host
ALL = 1000  # and when it did not
THOROUGH = 20  # of those so many are held against every filter, not only against the first that refuses
CAPACITY = "Capacity"
OF_IMAGES = ("AggregateImagePropertiesIsolation", "ImagePropertiesFilter", "IsolatedHostsFilter")  # asked when a server gets another image
LAST = ("PciPassthroughFilter", "NUMATopologyFilter")  # asked of the best that are left, whether the options name them or not
FEW = 16  # so many best hosts are picked one after the other


class Scheduler:
    """Ranks the hosts of ``table``. Holds no truth: whoever takes a candidate claims it in the database."""

    def __init__(self, config: SchedulerSection, table: HostTable, world: World) -> None:
        self.options, self.table, self.world = config, table, world
        self.subset = max(1, config.host_subset_size)
        self._filters = [filters.load(name, config) for name in config.filters if name not in LAST]
        self._groups = [(kind.__name__, kind(config)) for kind in (ServerGroupAntiAffinityFilter, ServerGroupAffinityFilter)]
        self._topology = [(kind.__name__, kind(config)) for kind in (PciPassthroughFilter, NUMATopologyFilter)]
        self._weighers = weighers.load(config)
        self._isolated, self._tenants = prefilters.IsolatedAggregates(config), prefilters.TenantAggregates(config)

    @property
    def compares_images(self) -> bool:
        """Whether a request should tell which hosts hold servers of similar images."""
        return any(w.name == "ImagePropertiesWeigher" and (w.multiplier or w.key in self.table.keys) for w in self._weighers)

    def decide(self, request: Request) -> Decision:
        """Never fails: no candidates is an answer too, and explains itself."""
        table = self.table
        left = np.ones(len(table), bool)
        counts: dict[str, int] = {}
        refusals: dict[str, Refusal] = {}
        refused: list[tuple[str, Mask, Reason]] = []
        stages = list(self._stages(request))
        for name, mask, reason in stages:
            if name in LAST:
                continue
            verdict = mask if mask is not None else self._one_by_one(left, request, reason)
            out = left & ~verdict
            if out.any():
                counts[name] = int(np.count_nonzero(out))
                refused.append((name, out, reason))
                left &= verdict
        passed = None
        if late := [(name, reason) for name, _, reason in stages if name in LAST]:
            passed, late_refused = self._lay(left, request, late)
            refused += late_refused
            counts |= {name: int(np.count_nonzero(out)) for name, out, _ in late_refused}
        candidates = self._ranked(left, request, passed)
        room = EXAMPLES if candidates else ALL
        for name, out, reason in refused:
            for i in _first(out, max(0, room - len(refusals))):
                host = table.states[i]
                others = [] if candidates or len(refusals) >= THOROUGH else _others(stages, name, i, host, request)
                refusals[host.name] = Refusal(name, reason(host, request) or "refused", others)
        return Decision(candidates=candidates, hosts=len(table), counts=counts, refusals=refusals)

    def keeps_out(self, host: HostState, request: Request, *, forced: bool = False) -> dict[str, str]:
        """Why a server that is on this host may not have this image there: filter to reason. It has its room, and may stay otherwise.

        ``forced``: its owner forced it onto the host, for which traits alone count.
        """
        forbidden = prefilters.unwanted(request) - {prefilters.DISABLED}
        asked = () if forced else OF_IMAGES
        found = {"Traits": _traits(host, prefilters.traits(request, self.options), forbidden)}
        found |= {name: each.reason(host, request) for name, each in self._filters if name in asked and each.applies(request)}
        return {name: why for name, why in found.items() if why}

    def _stages(self, request: Request) -> Iterator[Stage]:
        """What every host must pass, in order."""
        table = self.table
        forced = request.forced_host or request.forced_node
        if named := forced or request.requested_host or request.requested_node:
            asked = table.asked_for(request.forced_host or request.requested_host, request.forced_node or request.requested_node)
            yield "RequestedHost", asked, lambda h, r: f"the request names {named}"
        if request.ignored_hosts:
            yield "AlreadyTried", ~table.named(request.ignored_hosts), lambda h, r: r.ignored_hosts[h.name]
        if request.zone:
            yield "AvailabilityZone", table.in_zone(request.zone), lambda h, r: f"it is in {h.row.availability_zone}, not {r.zone}"
        if request.reached:
            yield "Networks", np.logical_and.reduce([table.named(hosts) for hosts in request.reached.values()]), _out_of_reach
        if request.wires:
            yield "PhysicalNetworks", None, _unwired
        required, forbidden = prefilters.traits(request, self.options), prefilters.unwanted(request)
        if required or any(forbidden & known for known in table.trait_sets.known):
            suits = table.by_traits(lambda traits: required <= traits and not forbidden & traits)
            yield "Traits", suits, lambda h, r: _traits(h, required, forbidden)
        if self.options.enable_isolated_aggregate_filtering:
            yield "IsolatedAggregates", self._isolated.mask(table, request), self._isolated.reason
        if self.options.limit_tenants_to_aggregate and self._tenants.applies_to(table, request):
            yield "TenantAggregates", self._tenants.mask(table, request), self._tenants.reason
        for name, each in self._groups if forced else self._filters:  # a forced host skips the filters, and yet keeps groups apart
            if each.applies(request):
                yield name, each.mask(table, request), each.reason
        if (providers := isolated_groups(request.extra_specs)) > 1:
            yield "RequestGroups", np.zeros(len(table), bool), lambda h, r: f"the flavor wants {providers} providers apart, a host is one"
        yield CAPACITY, table.fitting(request.resources), _capacity
        for name, last in self._topology:  # of forced hosts too
            if last.applies(request):
                yield name, None, last.reason

    def _one_by_one(self, left: Mask, request: Request, reason: Reason) -> Mask:
        verdict = np.zeros(len(self.table), bool)
        for i in np.flatnonzero(left):
            verdict[i] = reason(self.table.states[i], request) is None
        return verdict

    def _lay(self, left: Mask, request: Request, late: list[tuple[str, Reason]]) -> tuple[set[int], list[tuple[str, Mask, Reason]]]:
        """What takes time for each host is asked of the best first, until enough have passed; those that do not are taken out of ``left``.

        Returns the rows of those that passed, and the refused ones by filter.
        """
        states, passed, batch = self.table.states, set[int](), self._wanted
        refused = {name: np.zeros(len(self.table), bool) for name, _ in late}
        known: dict[Any, str | None] = {}  # hosts that are alike have one verdict
        while left.any():
            weights, rows, _ = weighers.total(self._weighers, self.table, left, int(np.count_nonzero(left)), request)
            best = [i if rows is None else int(rows[i]) for i in _best(weights, min(int(np.count_nonzero(left)), batch))]
            for i in best:
                if i in passed:
                    continue
                alike = states[i].alike
                if alike not in known:
                    known[alike] = next((name for name, reason in late if reason(states[i], request)), None)
                if name := known[alike]:
                    left[i], refused[name][i] = False, True
                else:
                    passed.add(i)
            if passed.issuperset(best[: self._wanted]):  # none that came first was refused: the order holds
                break
            batch *= 2
        return passed, [(name, refused[name], reason) for name, reason in late if refused[name].any()]

    @property
    def _wanted(self) -> int:
        """So many hosts are chosen from, and told."""
        return self.subset + self.options.alternates

    def _ranked(self, left: Mask, request: Request, passed: set[int] | None) -> list[Candidate]:
        """The best of those in ``left``; of these only the rows in ``passed``, unless it is None."""
        count = int(np.count_nonzero(left))
        if not count:
            return []
        weights, rows, most = weighers.total(self._weighers, self.table, left, count, request)
        if passed is not None:
            places = np.isin(np.arange(len(self.table)) if rows is None else rows, list(passed))
            weights[~places], count = -np.inf, len(passed)
        best = _best(weights, min(count, self._wanted))
        if self.options.shuffle_best_same_weighed_hosts:
            equal = np.flatnonzero(weights == weights[best[0]])
            best = list(dict.fromkeys([self.world.random.choice(equal.tolist()), *best]))
        if self.subset > 1:
            best.insert(0, best.pop(self.world.random.randrange(min(self.subset, len(best)))))
        found = [(self.table.states[i if rows is None else rows[i]], float(weights[i]) + most) for i in best]
        return [Candidate(state.name, state.row.id, round(weight, 6)) for state, weight in found]


def _others(stages: list[Stage], first: str, place: int, host: HostState, request: Request) -> list[tuple[str, str]]:
    """The filters beside the first that refuse the host in this row of the table, each with its reason."""
    asked = [(name, reason) for name, mask, reason in stages if name != first and (mask is None or not mask[place])]
    return [(name, why) for name, reason in asked if (why := reason(host, request))]


def _best(weights: Floats, k: int) -> list[int]:
    """Where the ``k`` greatest weights are, greatest first; of equal ones the earliest."""
    if k > FEW:
        some = np.argpartition(-weights, k - 1)[:k]
        return some[np.lexsort((some, -weights[some]))].tolist()  # type: ignore[no-any-return]
    found, kept = [], []
    for _ in range(k):
        place = int(weights.argmax())
        found.append(place)
        kept.append(weights[place])
        weights[place] = -np.inf
    weights[found] = kept
    return found


def _first(out: Mask, count: int) -> list[int]:
    """The first rows that are set, without a look at the rest."""
    found: list[int] = []
    start, step = 0, 1024
    while len(found) < count and start < len(out):
        found += (np.flatnonzero(out[start : start + step]) + start).tolist()
        start += step
    return found[:count]


def _traits(host: HostState, required: frozenset[str], forbidden: frozenset[str]) -> str | None:
    if missing := required - host.traits:
        return f"it lacks the trait {', '.join(sorted(missing))}"
    if unwanted := forbidden & host.traits:
        return f"it has the trait {', '.join(sorted(unwanted))}"
    return None


def _out_of_reach(host: HostState, request: Request) -> str | None:
    missing = [network for network, hosts in request.reached.items() if host.name not in hosts]
    return f"it reaches no segment of the network {', '.join(missing)} that has the server's subnet" if missing else None


def _unwired(host: HostState, request: Request) -> str | None:
    missing = sorted(request.wires.difference(host.row.facts.get("wires", ())))
    return (
        "; ".join(f"it has no physical network {wires.partition(':')[2]} for {wires.partition(':')[0]} networks" for wires in missing)
        or None
    )


def _capacity(host: HostState, request: Request) -> str | None:
    return "; ".join(w for r, a in request.resources.items() if (w := host.fit(r, a))) or None
