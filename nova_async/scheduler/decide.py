"""One decision: which hosts could take this server, best first, and why the others could not.

All hosts are judged at once where a filter can do that; only hosts still in the running are asked one by one.
"""

from collections.abc import Callable

import numpy as np

from nova_async.config import SchedulerSection
from nova_async.scheduler import filters, weighers
from nova_async.scheduler.hosts import HostState, HostTable, Mask
from nova_async.scheduler.request import Candidate, Decision, Refusal, Request
from nova_async.world import World

Reason = Callable[[HostState, Request], str | None]
EXAMPLES = 20  # refusals told by name when the server found a host
ALL = 1000  # and when it did not


class Scheduler:
    """Ranks the hosts of ``table``. Holds no truth: whoever takes a candidate claims it in the database."""

    def __init__(self, config: SchedulerSection, table: HostTable, world: World) -> None:
        self.table, self.world = table, world
        self.alternates, self.subset = config.alternates, max(1, config.host_subset_size)
        self._filters = [(name.rpartition(":")[2], filters.load(name)) for name in config.filters]
        self._weighers = [weighers.load(name, config.multipliers) for name in config.weighers]

    def decide(self, request: Request) -> Decision:
        """Never fails: no candidates is an answer too, and explains itself."""
        table = self.table
        left = np.ones(len(table), bool)
        counts: dict[str, int] = {}
        refusals: dict[str, Refusal] = {}
        refused: list[tuple[str, Mask, Reason]] = []
        for name, mask, reason in self._stages(request):
            verdict = mask if mask is not None else self._one_by_one(left, request, reason)
            out = left & ~verdict
            if out.any():
                counts[name] = int(out.sum())
                refused.append((name, out, reason))
                left &= verdict
        candidates = self._ranked(left, request)
        room = EXAMPLES if candidates else ALL
        for name, out, reason in refused:
            for i in np.flatnonzero(out)[: max(0, room - len(refusals))]:
                host = table.states[i]
                refusals[host.name] = Refusal(name, reason(host, request) or "refused")
        return Decision(candidates=candidates, hosts=len(table), counts=counts, refusals=refusals)

    def _stages(self, request: Request) -> "list[tuple[str, Mask | None, Reason]]":
        """What every host must pass, in order: (name, verdict on all hosts or None, reason for one)."""
        table = self.table
        stages: list[tuple[str, Mask | None, Reason]] = []
        forced = request.forced_host or request.forced_node
        named = forced or request.requested_host or request.requested_node
        if named:
            stages.append(("RequestedHost", self._named(request), lambda h, r: f"the request names {named}"))
        if request.ignored_hosts:
            stages.append(("AlreadyTried", self._not_ignored(request), lambda h, r: r.ignored_hosts[h.name]))
        if request.zone:
            stages.append(
                ("AvailabilityZone", table.in_zone(request.zone), lambda h, r: f"it is in {h.row.availability_zone}, not {r.zone}")
            )
        if request.required_traits or request.forbidden_traits:
            stages.append(("Traits", None, _traits))
        if not forced:
            stages += [(name, f.mask(table, request), f.reason) for name, f in self._filters if f.applies(request)]
        stages.append(("Capacity", table.fitting(request.resources), _capacity))
        return stages

    def _named(self, request: Request) -> Mask:
        mask = np.zeros(len(self.table), bool)
        for host in self.table.states:
            node = host.facts.get("hypervisor_hostname", host.name)
            mask[host.index] = (request.forced_host or request.requested_host or host.name) == host.name and (
                request.forced_node or request.requested_node or node
            ) == node
        return mask

    def _not_ignored(self, request: Request) -> Mask:
        mask = np.ones(len(self.table), bool)
        for name in request.ignored_hosts:
            if state := self.table.by_name.get(name):
                mask[state.index] = False
        return mask

    def _one_by_one(self, left: Mask, request: Request, reason: Reason) -> Mask:
        verdict = np.zeros(len(self.table), bool)
        for i in np.flatnonzero(left):
            verdict[i] = reason(self.table.states[i], request) is None
        return verdict

    def _ranked(self, left: Mask, request: Request) -> list[Candidate]:
        rows = np.flatnonzero(left)
        if not len(rows):
            return []
        weights = weighers.total(self._weighers, self.table, rows, request)
        k = min(len(rows), max(self.subset, 1) + self.alternates)
        best = np.argpartition(-weights, k - 1)[:k]
        best = best[np.lexsort((rows[best], -weights[best]))]
        if self.subset > 1:
            chosen = self.world.random.randrange(min(self.subset, len(best)))
            best = np.concatenate([best[chosen : chosen + 1], np.delete(best, chosen)])
        found = [(self.table.states[rows[i]], float(weights[i])) for i in best]
        return [Candidate(state.name, state.row.id, round(weight, 6)) for state, weight in found]


def _traits(host: HostState, request: Request) -> str | None:
    if missing := request.required_traits - host.traits:
        return f"it lacks the trait {', '.join(sorted(missing))}"
    if unwanted := request.forbidden_traits & host.traits:
        return f"it has the trait {', '.join(sorted(unwanted))}"
    return None


def _capacity(host: HostState, request: Request) -> str | None:
    return "; ".join(w for r, a in request.resources.items() if (w := host.fit(r, a))) or None
