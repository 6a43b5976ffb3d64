"""Hypervisors: what hosts have, use and run (os-hypervisors)."""

from collections.abc import Sequence

from nova_async.api.handlers.services import NUMBER, is_up
from nova_async.api.render import Page
from nova_async.api.request import MARKER_MISSING, Request
from nova_async.api.schema import UUID
from nova_async.api.schemas import truth
from nova_async.api.versions import V
from nova_async.api.views.hypervisors import Hypervisor, hostname
from nova_async.db import Connection, hosts
from nova_async.db.hosts import Guest
from nova_async.errors import Invalid, NotFound, Unsupported
from nova_async.model.hosts import HostRow


async def index(request: Request) -> Page:
    """A page of them, or all whose name has a part (``hypervisor_hostname_pattern``)."""
    part = request.first("hypervisor_hostname_pattern")
    if part is not None and ("limit" in request.query or "marker" in request.query):
        raise Invalid("Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.")
    async with request.parts.database.connection() as conn:
        rows = await _all(conn)
        page = _page(request, rows) if part is None else Page(_matching(rows, part))
        return Page(await _told(request, conn, page.rows, servers=_with_servers(request)), page.next)


async def search(request: Request) -> list[Hypervisor]:
    return await _search(request, servers=False)


async def servers(request: Request) -> list[Hypervisor]:
    return await _search(request, servers=True)


async def show(request: Request) -> Hypervisor:
    async with request.parts.database.connection() as conn:
        row = await _found(request, conn)
        return (await _told(request, conn, [row], servers=_with_servers(request)))[0]


async def uptime(request: Request) -> Hypervisor:
    async with request.parts.database.connection() as conn:
        row = await _found(request, conn)
    if not is_up(request, row):
        raise Invalid(f"Compute service of {row.name} is unavailable at this time.")
    if not row.facts.get("uptime"):
        raise Unsupported()
    return Hypervisor(row, True)


async def sums(request: Request) -> list[Hypervisor]:
    """All that are enabled; the view sums up what they have, use and run."""
    async with request.parts.database.connection() as conn:
        return [Hypervisor(row, is_up(request, row)) for row in await _all(conn) if not row.disabled]


async def _search(request: Request, servers: bool) -> list[Hypervisor]:
    async with request.parts.database.connection() as conn:
        return await _told(request, conn, _matching(await _all(conn), request.values["id"]), servers=servers)


async def _all(conn: Connection) -> list[HostRow]:
    """Oldest first."""
    return sorted(await hosts.all(conn), key=lambda row: row.number)


async def _told(request: Request, conn: Connection, rows: Sequence[HostRow], *, servers: bool) -> list[Hypervisor]:
    told = [Hypervisor(row, is_up(request, row)) for row in rows]
    if servers:
        on: dict[str, list[Guest]] = {row.name: [] for row in rows}
        for guest in await hosts.servers(conn, list(on)):
            on[guest.host].append(guest)
        told = [item._replace(servers=on[item.host.name]) for item in told]
    return told


def _matching(rows: Sequence[HostRow], part: str) -> list[HostRow]:
    found = [row for row in rows if part.lower() in hostname(row).lower()]
    if not found:
        raise NotFound(f"No hypervisor matching '{part}' could be found.")
    return found


def _page(request: Request, rows: Sequence[HostRow]) -> Page:
    if not request.has(V.PAGED_HYPERVISORS):
        return Page(rows)
    marker, limit = request.first("marker"), request.limit()
    if marker is not None:
        places = [i for i, row in enumerate(rows) if marker.lower() == _id(request, row)]
        if not places:
            raise Invalid(MARKER_MISSING.format(marker))
        rows = rows[places[0] + 1 :]
    rows = rows[:limit]
    return Page(rows, _id(request, rows[-1]) if rows and len(rows) == limit else None)


async def _found(request: Request, conn: Connection) -> HostRow:
    """The hypervisor in the path: by UUID since 2.53, by number before."""
    asked = request.values["id"]
    if request.has(V.SERVICE_UUIDS):
        if not UUID.match(asked):
            raise Invalid(f"Invalid uuid {asked}")
    elif not NUMBER.match(asked):
        raise missing(asked)
    for row in await hosts.all(conn):
        if asked.lower() == _id(request, row):
            return row
    raise missing(asked)


def missing(asked: str) -> NotFound:
    return NotFound(f"Hypervisor with ID '{asked}' could not be found.")


def _id(request: Request, row: HostRow) -> str:
    return row.id if request.has(V.SERVICE_UUIDS) else str(row.number)


def _with_servers(request: Request) -> bool:
    return truth(request.first("with_servers") or False)
