"""The services that make up the compute service (os-services). Only workers, called nova-compute, can be changed."""

import re
from typing import Any

from nova_async.api.request import Request
from nova_async.api.schema import UUID
from nova_async.api.schemas import truth
from nova_async.api.versions import V
from nova_async.bus.messages.conductor import HostsChanged
from nova_async.db import Connection, hosts
from nova_async.db.hosts import Process, Worker
from nova_async.errors import Conflict, Invalid, NotFound
from nova_async.model.hosts import HostRow
from nova_async.model.services import COMPUTE, INTERNAL_ZONE, Service

NUMBER = re.compile(r"[0-9]{1,18}")


async def index(request: Request) -> list[Service]:
    host, binary = request.first("host") or None, request.first("binary")
    async with request.parts.database.connection() as conn:
        found = await services(request, conn, host)
    return [s for s in found if not binary or s.binary == binary]


async def update(request: Request) -> Service:
    """Enable, disable or force down the service with this UUID."""
    service_id, asked = request.values["id"], request.body
    if not UUID.fullmatch(service_id):
        raise Invalid(f"Invalid uuid {service_id}")
    if asked.get("status") == "enabled" and asked.get("disabled_reason"):
        raise Invalid("Specifying 'disabled_reason' with status 'enabled' is invalid.")
    async with request.parts.database.transaction() as conn:
        await _worker(conn, service_id)
        if not {"status", "forced_down"} & set(asked):
            raise Invalid("No updates were requested. Fields 'status' or 'forced_down' should be specified.")
        await hosts.set_service(
            conn,
            service_id,
            disabled=asked["status"] == "disabled" if "status" in asked else None,
            reason=asked.get("disabled_reason"),
            forced_down=truth(asked["forced_down"]) if "forced_down" in asked else None,
        )
        host = await _worker(conn, service_id)
        changed = (await services(request, conn, host.name, processes=False))[0]
        await request.tell(conn, changed, "service.update")
    await _tell(request, host.name)
    return changed


async def enable(request: Request) -> dict[str, Any]:
    return await _change(request, {"status": "enabled"}, disabled=False)


async def disable(request: Request) -> dict[str, Any]:
    return await _change(request, {"status": "disabled"}, disabled=True)


async def disable_with_reason(request: Request) -> dict[str, Any]:
    reason = request.body.get("disabled_reason")
    if reason is None:
        raise Invalid("Missing disabled reason field")
    return await _change(request, {"status": "disabled", "disabled_reason": reason}, disabled=True, reason=reason)


async def force_down(request: Request) -> dict[str, Any]:
    if "forced_down" not in request.body:
        raise Invalid("Missing forced_down field")
    forced = truth(request.body["forced_down"])
    return await _change(request, {"forced_down": forced}, forced_down=forced)


async def delete(request: Request) -> None:
    """Forget a service. A worker that still holds servers stays; one that still runs comes back with its next report."""
    service = request.values["id"]
    if request.has(V.SERVICE_UUIDS):
        if not UUID.fullmatch(service):
            raise Invalid(f"Invalid uuid {service}")
    elif not NUMBER.fullmatch(service):
        raise Invalid(f"Invalid input received: id must be an integer, not {service}")
    async with request.parts.database.transaction() as conn:
        process = next((p for p in await hosts.processes(conn) if service.lower() in (p.id, str(p.number))), None)
        host = await hosts.of_service(conn, service)
        gone = (await services(request, conn, host.name, processes=False))[0] if host else None
        if process is not None:
            await hosts.delete_process(conn, process.id)
        elif host is None:
            raise NotFound(f"Service {service} not found.")
        elif host.instances:
            raise Conflict("Unable to delete compute service that is hosting instances. Migrate or delete the instances first.")
        elif not await hosts.delete(conn, host.service_id):
            raise Conflict(
                "Unable to delete compute service that has in-progress migrations. Complete the migrations or delete the instances first."
            )
        else:
            await hosts.leave_aggregates(conn, host.name)
            await request.tell(conn, gone, "service.delete")
    if host is not None:
        await _tell(request, host.name)


async def services(request: Request, conn: Connection, host: str | None = None, *, processes: bool = True) -> list[Service]:
    """Those of one host or all of them, oldest first."""
    found = [of_worker(request, worker) for worker in await hosts.services(conn, host)]
    if processes:
        found += [of_process(p) for p in await hosts.processes(conn) if host in (None, p.host)]
    return sorted(found, key=lambda s: s.number)


def of_process(row: Process) -> Service:
    return Service(
        row.id, row.number, row.binary_name, row.host, INTERNAL_ZONE, row.disabled, row.disabled_reason, row.up, False, row.seen_at
    )


def of_worker(request: Request, row: Worker) -> Service:
    return Service(
        id=row.service_id,
        number=row.number,
        binary=COMPUTE,
        host=row.name,
        zone=row.availability_zone,
        disabled=row.disabled,
        disabled_reason=row.disabled_reason,
        up=is_up(request, row),
        forced_down=row.forced_down,
        seen_at=request.parts.hosts.last_seen(row.name) or row.updated_at,
    )


def is_up(request: Request, row: HostRow | Worker) -> bool:
    """Whether the host's worker reports, and no operator said that it is down."""
    return not row.forced_down and request.parts.hosts.is_heard(row.name)


async def _worker(conn: Connection, service_id: str) -> HostRow:
    """The host of a worker; raises ``NotFound``, or ``Invalid`` for a service that is no worker."""
    host = await hosts.of_service(conn, service_id)
    if host is not None:
        return host
    process = next((p for p in await hosts.processes(conn) if p.id == service_id.lower()), None)
    if process is None:
        raise NotFound(f"Service {service_id} could not be found.")
    raise unchangeable(process.binary_name)


def unchangeable(binary: str) -> Invalid:
    return Invalid(f"Updating a {binary} service is not supported. Only nova-compute services can be updated.")


async def _tell(request: Request, host: str) -> None:
    """The schedulers look at the host anew, at once instead of at their next round."""
    await request.parts.bus.publish("hosts", HostsChanged(hosts=(host,)))


async def _change(request: Request, told: dict[str, Any], **change: Any) -> dict[str, Any]:
    """As versions before 2.53 do it: by host and binary. Returns what is told to the caller."""
    host, binary = request.body["host"], request.body["binary"]
    if binary != COMPUTE:
        raise unchangeable(binary)
    async with request.parts.database.transaction() as conn:
        found = await hosts.all(conn, [host])
        if not found:
            raise NotFound(f"Could not find binary {binary} on host {host}.")
        await hosts.set_service(conn, found[0].service_id, **change)
        await request.tell(conn, (await services(request, conn, host, processes=False))[0], "service.update")
    await _tell(request, host)
    return {"host": host, "binary": binary, **told}
