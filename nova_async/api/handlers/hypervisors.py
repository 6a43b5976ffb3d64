"""Hypervisors: what hosts have, use and run (os-hypervisors)."""

from collections.abc import Sequence

from nova_async.api.handlers.services import NUMBER, is_up
from nova_async.api.render import Page
from nova_async.api.request import MARKER_MISSING, Request
from nova_async.api.schema import UUID
from nova_async.api.schemas import truth
from nova_async.api.versions import V
from nova_async.api.views.hypervisors import Hypervisor
from nova_async.db import Connection, hosts
from nova_async.db.hosts import Guest, Totals
from nova_async.errors import Invalid, NotFound, Unsupported
from nova_async.model.hosts import HostRow


async def index(request: Request) -> Page:
    """A page of them, or all whose name has a part (``hypervisor_hostname_pattern``)."""
    part = request.first("hypervisor_hostname_pattern")
    if part is not None and ("limit" in request.query or "marker" in request.query):
        raise Invalid("Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.")
    async with request.parts.database.connection() as conn:
        page = await _page(request, conn) if part is None else Page(await _matching(conn, part))
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


async def totals(request: Request) -> Totals:
    """What all enabled hypervisors have, use and run."""
    async with request.parts.database.connection() as conn:
        return await hosts.totals(conn)


async def _search(request: Request, servers: bool) -> list[Hypervisor]:
    async with request.parts.database.connection() as conn:
        return await _told(request, conn, await _matching(conn, request.values["id"]), servers=servers)


async def _told(request: Request, conn: Connection, rows: Sequence[HostRow], *, servers: bool) -> list[Hypervisor]:
    told = [Hypervisor(row, is_up(request, row)) for row in rows]
    if servers:
        on: dict[str, list[Guest]] = {row.name: [] for row in rows}
        for guest in await hosts.servers(conn, list(on)):
            on[guest.host].append(guest)
        told = [item._replace(servers=on[item.host.name]) for item in told]
    return told


async def _matching(conn: Connection, part: str) -> list[HostRow]:
    found = await hosts.hypervisors(conn, part=part)
    if not found:
        raise NotFound(f"No hypervisor matching '{part}' could be found.")
    return found


async def _page(request: Request, conn: Connection) -> Page:
    if not request.has(V.PAGED_HYPERVISORS):
        return Page(await hosts.hypervisors(conn))
    limit = request.limit()
    rows = await hosts.hypervisors(conn, after=await _after(request, conn), limit=limit)
    return Page(rows, _id(request, rows[-1]) if rows and len(rows) == limit else None)


async def _after(request: Request, conn: Connection) -> int:
    """The number of the hypervisor that the marker names; 0 without a marker."""
    marker = request.first("marker")
    if marker is None:
        return 0
    fits = UUID.fullmatch(marker) if request.has(V.SERVICE_UUIDS) else NUMBER.fullmatch(marker)
    row = await hosts.hypervisor(conn, marker) if fits else None
    if row is None:
        raise Invalid(MARKER_MISSING.format(marker))
    return row.number


async def _found(request: Request, conn: Connection) -> HostRow:
    """The hypervisor in the path: by UUID since 2.53, by number before."""
    asked = request.values["id"]
    if request.has(V.SERVICE_UUIDS):
        if not UUID.fullmatch(asked):
            raise Invalid(f"Invalid uuid {asked}")
    elif not NUMBER.fullmatch(asked):
        raise missing(asked)
    row = await hosts.hypervisor(conn, asked)
    if row is None:
        raise missing(asked)
    return row


def missing(asked: str) -> NotFound:
    return NotFound(f"Hypervisor with ID '{asked}' could not be found.")


def _id(request: Request, row: HostRow) -> str:
    return row.id if request.has(V.SERVICE_UUIDS) else str(row.number)


def _with_servers(request: Request) -> bool:
    return truth(request.first("with_servers") or False)
