"""What a project used in a time: sums of hours, and the servers that make them."""

from datetime import datetime
from typing import Any, NamedTuple

from nova_async.api.render import Page, View, microseconds
from nova_async.api.request import Request
from nova_async.api.shapes import INTEGER, LINKS, MICROSECONDS, NUMBER, TEXT, UUID, Shape, array, closed, nullable
from nova_async.api.versions import V
from nova_async.db.usage import Used

TOTALS = ("total_hours", "total_local_gb_usage", "total_memory_mb_usage", "total_vcpus_usage")


class ProjectUsage(NamedTuple):
    """The servers of one project that ran between ``start`` and ``stop``, seen at ``now``."""

    project_id: str
    servers: list[Used]
    start: datetime
    stop: datetime
    now: datetime

    def hours(self, server: Used) -> float:
        """How long it ran within the time."""
        end = min(self.stop, server.terminated_at) if server.terminated_at else self.stop
        return max(0.0, (end - max(server.launched_at, self.start)).total_seconds() / 3600)


def shown(usage: ProjectUsage, *, detailed: bool) -> dict[str, Any]:
    """The hours of each server, multiplied by what it has, and summed."""
    hours = [(server, usage.hours(server)) for server in usage.servers]
    told: dict[str, Any] = {
        "tenant_id": usage.project_id,
        "start": microseconds(usage.start),
        "stop": microseconds(usage.stop),
        "total_hours": sum(h for _, h in hours),
        "total_local_gb_usage": sum(s.local_gb * h for s, h in hours),
        "total_memory_mb_usage": sum(s.memory_mb * h for s, h in hours),
        "total_vcpus_usage": sum(s.vcpus * h for s, h in hours),
    }
    return told | ({"server_usages": [_server(usage, s, h) for s, h in hours]} if detailed else {})


def _server(usage: ProjectUsage, server: Used, hours: float) -> dict[str, Any]:
    end = server.terminated_at
    return {
        "instance_id": server.uuid,
        "name": server.display_name,
        "tenant_id": server.project_id,
        "flavor": server.flavor,
        "hours": hours,
        "local_gb": server.local_gb,
        "memory_mb": server.memory_mb,
        "vcpus": server.vcpus,
        "started_at": microseconds(server.launched_at),
        "ended_at": microseconds(end),
        "state": "terminated" if end else server.vm_state,
        "uptime": max(0, int(((end or usage.now) - server.launched_at).total_seconds())),
    }


class Usages(View):
    """``envelope`` holds what ``rows`` make of the page; links to the next page since 2.40."""

    def __init__(self, envelope: str, inner: Shape) -> None:
        self.envelope, self.inner = envelope, inner

    def render(self, result: Page, request: Request) -> Any:
        body: dict[str, Any] = {self.envelope: self.make(result, request)}
        if result.next is not None and request.has(V.PAGED_USAGE):
            body[f"{self.envelope}_links"] = [{"rel": "next", "href": request.next_page(result.next)}]
        return body

    def make(self, page: Page, request: Request) -> Any:
        raise NotImplementedError

    def schema(self, version: int) -> Shape:
        links = {f"{self.envelope}_links": LINKS} if version >= V.PAGED_USAGE else {}
        return closed({self.envelope: self.inner, **links}, links)


class OfAll(Usages):
    def make(self, page: Page, request: Request) -> Any:
        return [shown(usage, detailed=request.first("detailed") == "1") for usage in page.rows]


class OfOne(Usages):
    """An empty object for a project that used nothing."""

    def make(self, page: Page, request: Request) -> Any:
        return shown(page.rows[0], detailed=True) if page.rows else {}


OF_SERVER = closed(
    {
        "instance_id": UUID,
        **dict.fromkeys(("name", "tenant_id", "flavor", "state"), TEXT),
        "hours": NUMBER,
        **dict.fromkeys(("local_gb", "memory_mb", "vcpus", "uptime"), INTEGER),
        "started_at": MICROSECONDS,
        "ended_at": nullable(MICROSECONDS),
    }
)
SUMS = {"tenant_id": TEXT, "start": MICROSECONDS, "stop": MICROSECONDS, **dict.fromkeys(TOTALS, NUMBER), "server_usages": array(OF_SERVER)}
LIST = OfAll("tenant_usages", array(closed(SUMS, ("server_usages",))))
SHOW = OfOne("tenant_usage", closed(SUMS, SUMS))
