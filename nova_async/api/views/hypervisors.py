"""What a hypervisor looks like: little in lists, more in details, and until 2.87 what it has and uses."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from nova_async.api.render import Field, Fields, Many, Omitted, One, Plain
from nova_async.api.request import Request
from nova_async.api.schema import first, since, until
from nova_async.api.shapes import INTEGER, MAYBE_TEXT, TEXT, UUID, array, closed, one_of
from nova_async.api.versions import V
from nova_async.db.hosts import Guest, Totals
from nova_async.model.hosts import HostRow

OLD = V.NO_HYPERVISOR_COUNTERS - 1


class Hypervisor(NamedTuple):
    """A host, whether it lives, and where they were asked for its servers."""

    host: HostRow
    up: bool
    servers: list[Guest] | None = None

    def total(self, resource: str) -> int:
        return int(self._inventory(resource)[0])

    def used(self, resource: str) -> int:
        """What servers hold and what is kept for the host itself."""
        _, reserved, _, used = self._inventory(resource)
        return int(reserved + used)

    def _inventory(self, resource: str) -> list[float]:
        return self.host.inventory.get(resource) or [0, 0, 1, 0]


def hostname(row: HostRow) -> str:
    """The hypervisor's own name, which is the host's where the driver tells none."""
    return str(row.facts.get("hypervisor_hostname") or row.name)


def _hostname(row: Hypervisor, request: Request) -> str:
    return hostname(row.host)


def _id(row: Hypervisor, request: Request) -> Any:
    return row.host.id if request.has(V.SERVICE_UUIDS) else row.host.number


def _state(row: Hypervisor, request: Request) -> str:
    return "up" if row.up else "down"


def _status(row: Hypervisor, request: Request) -> str:
    return "disabled" if row.host.disabled else "enabled"


def _service(row: Hypervisor, request: Request) -> dict[str, Any]:
    service_id = row.host.service_id if request.has(V.SERVICE_UUIDS) else row.host.number
    return {"id": service_id, "host": row.host.name, "disabled_reason": row.host.disabled_reason}


def _address(row: Hypervisor, request: Request) -> str:
    return row.host.address


def _type(row: Hypervisor, request: Request) -> str:
    return str(row.host.facts.get("hypervisor_type", ""))


def _version(row: Hypervisor, request: Request) -> int:
    return int(row.host.facts.get("hypervisor_version", 0))


def _cpu(row: Hypervisor, request: Request) -> Any:
    info = row.host.facts.get("cpu_info") or {}
    return info if request.has(V.CPU_INFO_OBJECT) else msgspec.json.encode(info).decode()


def _uptime(row: Hypervisor, request: Request) -> str | None:
    return row.host.facts.get("uptime") or None


def _servers(row: Hypervisor, request: Request) -> Any:
    """Shown where they were asked for; before 2.75 only where there are some."""
    if row.servers is None or not (row.servers or request.has(V.STRICT_QUERIES)):
        return Omitted
    return [{"name": f"instance-{guest.number:08x}", "uuid": guest.uuid} for guest in row.servers]


COUNTERS: dict[str, Callable[[Hypervisor], int]] = {
    "vcpus": lambda row: row.total("VCPU"),
    "vcpus_used": lambda row: row.used("VCPU"),
    "memory_mb": lambda row: row.total("MEMORY_MB"),
    "memory_mb_used": lambda row: row.used("MEMORY_MB"),
    "free_ram_mb": lambda row: row.total("MEMORY_MB") - row.used("MEMORY_MB"),
    "local_gb": lambda row: row.total("DISK_GB"),
    "local_gb_used": lambda row: row.used("DISK_GB"),
    "free_disk_gb": lambda row: row.total("DISK_GB") - row.used("DISK_GB"),
    "disk_available_least": lambda row: row.total("DISK_GB") - int(row.host.facts.get("disk_used_gib") or row.used("DISK_GB")),
    "running_vms": lambda row: row.host.instances,
    "current_workload": lambda row: row.host.operations,
}


def _counter(name: str) -> Field:
    def how(row: Hypervisor, request: Request) -> int:
        return COUNTERS[name](row)

    return Field(name, how, until=OLD, type=INTEGER)


def _totals(totals: Totals, request: Request) -> Any:
    told = msgspec.structs.asdict(totals)
    told |= {"free_ram_mb": totals.memory_mb - totals.memory_mb_used, "free_disk_gb": totals.local_gb - totals.local_gb_used}
    return {"hypervisor_statistics": told | {"current_workload": 0}}


ID = first(until(V.SERVICE_UUIDS - 1, INTEGER), since(V.SERVICE_UUIDS, UUID))
CPU = first(until(V.CPU_INFO_OBJECT - 1, TEXT), since(V.CPU_INFO_OBJECT, {"type": "object"}))  # keys are the driver's
BRIEF = (
    Field("id", _id, type=ID),
    Field("hypervisor_hostname", _hostname, type=TEXT),
    Field("state", _state, type=one_of("up", "down")),
    Field("status", _status, type=one_of("enabled", "disabled")),
    Field("servers", _servers, optional=True, type=array(closed({"name": TEXT, "uuid": UUID}))),
)
FULL = (
    *BRIEF,
    Field("service", _service, type=closed({"id": ID, "host": TEXT, "disabled_reason": MAYBE_TEXT})),
    Field("host_ip", _address, type=TEXT),
    Field("hypervisor_type", _type, type=TEXT),
    Field("hypervisor_version", _version, type=INTEGER),
    Field("cpu_info", _cpu, until=OLD, type=CPU),
    *(_counter(name) for name in COUNTERS),
    Field("uptime", _uptime, since=V.NO_HYPERVISOR_COUNTERS, type=MAYBE_TEXT),
)

LIST = Many("hypervisors", Fields(BRIEF), links_since=V.PAGED_HYPERVISORS)
DETAIL = Many("hypervisors", Fields(FULL), links_since=V.PAGED_HYPERVISORS)
SHOW = One("hypervisor", Fields(FULL))
UPTIME = One("hypervisor", Fields((*BRIEF, Field("uptime", _uptime, type=TEXT))))
SUMS = (*Totals.__struct_fields__, "free_ram_mb", "free_disk_gb", "current_workload")
STATISTICS = Plain(_totals, closed({"hypervisor_statistics": closed(dict.fromkeys(SUMS, INTEGER))}))
