"""Hosts as versions before 2.43 know them (os-hosts)."""

from typing import Any

from nova_async.api.handlers.services import is_up, services
from nova_async.api.request import Request
from nova_async.api.views.hypervisors import Hypervisor
from nova_async.bus.messages.conductor import HostsChanged
from nova_async.db import Connection, hosts
from nova_async.db.hosts import ProjectUse
from nova_async.errors import NotFound, Unsupported
from nova_async.model.hosts import HostRow
from nova_async.model.services import Service


async def index(request: Request) -> list[Service]:
    """The enabled ones, in a zone where one is named."""
    zone = request.first("zone")
    async with request.parts.database.connection() as conn:
        found = await services(request, conn)
    return [s for s in found if not s.disabled and (not zone or s.zone == zone)]


async def show(request: Request) -> tuple[Hypervisor, list[ProjectUse]]:
    name = request.values["id"]
    async with request.parts.database.connection() as conn:
        row = await _host(conn, name, "Compute host {} could not be found.")
        return Hypervisor(row, is_up(request, row)), await hosts.used_by_projects(conn, name)


async def update(request: Request) -> dict[str, Any]:
    """Enable or disable the worker of a host. Nothing here knows a maintenance mode."""
    name, status = request.values["id"], request.body.get("status")
    async with request.parts.database.transaction() as conn:
        row = await _host(conn, name)
        if "maintenance_mode" in request.body:
            raise Unsupported()
        disabled = status.lower() == "disable"
        await hosts.set_service(conn, row.service_id, disabled=disabled)
    await request.parts.bus.publish("hosts", HostsChanged(hosts=(name,)))
    return {"host": name, "status": "disabled" if disabled else "enabled"}


async def power(request: Request) -> None:
    """No driver switches its own host."""
    async with request.parts.database.connection() as conn:
        await _host(conn, request.values["id"])
    raise Unsupported()


async def _host(conn: Connection, name: str, missing: str = "Host {} could not be found.") -> HostRow:
    found = await hosts.all(conn, [name])
    if not found:
        raise NotFound(missing.format(name[:255]))
    return found[0]
