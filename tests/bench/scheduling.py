"""How long one scheduling decision takes, beside its budget: ``python -m tests.bench.scheduling``. Never part of the tests."""

import statistics
import time
from datetime import UTC, datetime
from random import Random

from nova_async.config import SchedulerSection
from nova_async.model.aggregates import Label
from nova_async.model.hosts import HostRow
from nova_async.model.server_groups import Group
from nova_async.scheduler.decide import Scheduler
from nova_async.scheduler.hosts import HostTable
from nova_async.scheduler.request import Request
from nova_async.world import RealWorld

BUDGETS_MS = {1_000: "0.3", 10_000: "0.3", 100_000: "1"}
REPEATS = 300
WISH = {"VCPU": 2, "MEMORY_MB": 4096, "DISK_GB": 20}
MORE_FILTERS = (
    *("AggregateInstanceExtraSpecsFilter", "AggregateImagePropertiesIsolation", "AggregateMultiTenancyIsolation"),
    *("AggregateTypeAffinityFilter", "IoOpsFilter", "AggregateNumInstancesFilter", "DifferentHostFilter"),
)


def main() -> None:
    print(f"{'one decision over':<66} {'p50 / p95':>18}   budget")
    for hosts in BUDGETS_MS:
        table = made(hosts)
        plain = SchedulerSection()
        every = SchedulerSection(filters=(*plain.filters, *MORE_FILTERS))
        for what, options, request in (
            ("default filters", plain, Request(instance_id="s", resources=WISH)),
            ("an image with an architecture, a zone", plain, Request(
                instance_id="s", resources=WISH, image_properties={"hw_architecture": "x86_64"}, zone="zone-1")),
            ("an anti-affinity group of 20, a required trait", plain, Request(
                instance_id="s", resources=WISH, required_traits=frozenset({"COMPUTE_NODE"}),
                group=Group(policy="anti-affinity", members={f"host{n}": 1 for n in range(20)}))),
            ("all filters on aggregates too", every, Request(
                instance_id="s", resources=WISH, extra_specs={"aggregate_instance_extra_specs:ssd": "true"})),
        ):  # fmt: skip
            p50, p95 = measured(Scheduler(options, table, RealWorld()), request)
            print(f"{hosts:>7} hosts, {what:<50} {p50:>9.2f} / {p95:.2f} ms   {BUDGETS_MS[hosts]} ms", flush=True)


def measured(scheduler: Scheduler, request: Request) -> tuple[float, float]:
    """Milliseconds: the median, and what 95 of 100 decisions stay below. Each decision is claimed, as the conductor does."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        decision = scheduler.decide(request)
        times.append((time.perf_counter() - began) * 1000)
        scheduler.table.took(decision.candidates[0].host_id, request.resources)
    for _ in range(20):  # not counted: the caches are warm then
        scheduler.decide(request)
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


def made(count: int, seed: int = 1) -> HostTable:
    """Hosts of three sizes, differently full, one in fifty disabled, in ten zones and twenty aggregates."""
    random, now, table = Random(seed), datetime.now(UTC), HostTable(RealWorld(), 1e9)
    table.label([Label(id=n, name=f"rack{n}", metadata={"ssd": "true"} if n % 2 else {"max_instances_per_host": "40"}) for n in range(20)])
    rows = []
    for n in range(count):
        size = random.choice((32, 64, 128))
        load = random.random()
        rows.append(
            HostRow(
                id=f"id{n}",
                name=f"host{n}",
                number=n,
                service_id="",
                availability_zone=f"zone-{n % 10}",
                disabled=n % 50 == 0,
                facts={"supported_instances": [["x86_64", "kvm", "hvm"], ["i686", "kvm", "hvm"]], "hypervisor_version": 9001000},
                traits=["COMPUTE_NODE", "HW_CPU_X86_AVX"],
                created_at=now,
                updated_at=now,
                inventory={
                    "VCPU": [size, 0, 4.0, int(size * 4 * load)],
                    "MEMORY_MB": [size * 4096, 512, 1.0, int(size * 4000 * load)],
                    "DISK_GB": [size * 50, 0, 1.0, int(size * 50 * load)],
                },
                instances=int(40 * load),
                aggregates=[n % 20],
            )
        )
    table.load(rows)
    for row in rows:
        table.heard(row.name)
    return table


if __name__ == "__main__":
    main()
