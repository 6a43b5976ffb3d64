"""Hosts made up for the scheduler's tests."""

from datetime import UTC, datetime
from typing import Any

from nova_async.config import SchedulerSection
from nova_async.model.aggregates import Label
from nova_async.model.hosts import HostRow
from nova_async.scheduler import filters
from nova_async.scheduler.decide import Scheduler
from nova_async.scheduler.hosts import HostTable
from nova_async.scheduler.request import Decision, Request
from nova_async.world import SimulatedWorld

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def row(name: str = "host1", **fields: Any) -> HostRow:
    inventory = {"VCPU": [8, 0, 4.0, 0], "MEMORY_MB": [8192, 512, 1.0, 0], "DISK_GB": [100, 0, 1.0, 0]}
    given = {"id": f"id-{name}", "name": name, "number": 1, "service_id": "s", "availability_zone": "nova", "facts": {}, "traits": []}
    return HostRow(**({"created_at": NOW, "updated_at": NOW, "inventory": inventory} | given | fields))


def table(*rows: HostRow, aggregates: tuple[dict[str, str], ...] = ()) -> HostTable:
    """Hosts that all report. ``aggregates``: the metadata of the aggregates 1, 2 ... that rows name."""
    made = HostTable(SimulatedWorld(), 30.0)
    made.label([Label(id=number, name=f"agg{number}", metadata=metadata) for number, metadata in enumerate(aggregates, 1)])
    made.load(rows)
    for each in rows:
        made.heard(each.name)
    return made


def request(**fields: Any) -> Request:
    return Request(**({"instance_id": "server", "resources": {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}} | fields))


def scheduler(hosts: HostTable, **options: Any) -> Scheduler:
    return Scheduler(SchedulerSection(**options), hosts, hosts.world)


def decide(hosts: HostTable, asked: Request | None = None, **options: Any) -> Decision:
    return scheduler(hosts, **options).decide(asked or request())


def verdict(name: str, hosts: HostTable, asked: Request, **options: Any) -> str | None:
    """What one filter says of the first host; its two ways to judge must agree."""
    _, judge = filters.load(name, SchedulerSection(**options))
    if not judge.applies(asked):
        return None
    mask, reason = judge.mask(hosts, asked), judge.reason(hosts.states[0], asked)
    assert mask is None or bool(mask[0]) == (reason is None), (mask, reason)
    return reason
