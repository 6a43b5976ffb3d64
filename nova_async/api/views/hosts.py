"""What a host looks like before 2.43."""

from typing import Any

from nova_async.api.render import AsItIs, Field, Fields, Many, Plain
from nova_async.api.request import Request
from nova_async.api.shapes import INTEGER, TEXT, array, closed, one_of
from nova_async.api.views.hypervisors import Hypervisor
from nova_async.db.hosts import ProjectUse
from nova_async.model.services import Service


def _topic(row: Service, request: Request) -> str:
    return row.binary.removeprefix("nova-")


def _resources(told: tuple[Hypervisor, list[ProjectUse]], request: Request) -> dict[str, Any]:
    """What there is, what is taken, and what projects' flavors add up to, together and each."""
    host, uses = told
    sums = [
        ("(total)", host.total("VCPU"), host.total("MEMORY_MB"), host.total("DISK_GB")),
        ("(used_now)", host.used("VCPU"), host.used("MEMORY_MB"), host.used("DISK_GB")),
        ("(used_max)", sum(u.vcpus for u in uses), sum(u.memory_mb for u in uses), sum(u.disk_gb for u in uses)),
        *((u.project_id, u.vcpus, u.memory_mb, u.disk_gb) for u in uses),
    ]
    return {
        "host": [
            {"resource": {"host": host.host.name, "project": name, "cpu": cpu, "memory_mb": memory, "disk_gb": disk}}
            for name, cpu, memory, disk in sums
        ]
    }


LIST = Many("hosts", Fields((Field("host_name", "host", type=TEXT), Field("service", _topic, type=TEXT), Field("zone", "zone", type=TEXT))))
RESOURCE = closed({"host": TEXT, "project": TEXT, "cpu": INTEGER, "memory_mb": INTEGER, "disk_gb": INTEGER})
SHOW = Plain(_resources, closed({"host": array(closed({"resource": RESOURCE}))}))
UPDATED = AsItIs(closed({"host": TEXT, "status": one_of("enabled", "disabled")}))
