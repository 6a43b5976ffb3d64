"""Servers: listed, shown, changed and deleted. How they are made is in ``server_create``."""

from collections.abc import Sequence
from typing import Any

from nova_async.api.handlers.actions import target
from nova_async.api.handlers.instances import UUID, described, hold, refuse_locked
from nova_async.api.handlers.server_filters import Nothing, filters, sorting
from nova_async.api.render import Page
from nova_async.api.request import MARKER_MISSING, Request
from nova_async.db import Connection, instances
from nova_async.db.instances import Place
from nova_async.errors import Conflict, Invalid
from nova_async.model.instances import Instance
from nova_async.model.states import SOFT_DELETED
from nova_async.policy import servers as policy

DEFAULT_ORDER = [("created_at", True)]


async def index(request: Request) -> Page:
    return await _listed(request, policy.INDEX_ALL)


async def detail(request: Request) -> Page:
    return await _listed(request, policy.DETAIL_ALL)


async def show(request: Request) -> Instance:
    return target(request)


async def update(request: Request) -> Instance:
    """Names, addresses and the like; nothing that a host would have to know at once."""
    server, asked = target(request), request.body["server"]
    columns = described(asked)
    if "pinned_availability_zone" in asked:
        columns["pinned_zone"] = _pinned(server, asked["pinned_availability_zone"])
    async with request.parts.database.transaction() as conn:
        await instances.change(conn, server.uuid, **columns)
        await request.parts.outbox.tell_of_server(
            conn, ["instance.update"], server.uuid, request.ctx, task_state=server.task_state, old_display_name=server.display_name
        )
        return await instances.get(conn, server.uuid) or server


async def delete(request: Request) -> None:
    """Legal in every state; where deleted servers are kept for a time, they can be restored until it is over."""
    kept = request.parts.config.compute.reclaim_instance_seconds > 0 and target(request).vm_state != SOFT_DELETED
    await _delete(request, kept)


async def force_delete(request: Request) -> None:
    await _delete(request, kept=False)


async def _delete(request: Request, kept: bool) -> None:
    """What was being done is cancelled. A second delete changes nothing."""
    server = target(request)
    async with request.parts.database.transaction() as conn:
        state = await hold(request, conn, server)
        refuse_locked(request, server, state)
        kind = "softDelete" if kept and server.task_state is None and state.launched_at is not None else "delete"
        workflow = await request.parts.starter.begin(conn, request.ctx, kind, server.uuid)
    request.parts.starter.go([workflow])


def _pinned(server: Instance, zone: str | None) -> str | None:
    """The zone to pin to: none, or the one where the server is. Raises ``Conflict``."""
    if zone is None or zone == server.pinned_zone:
        return zone
    if server.pinned_zone is not None:
        raise Conflict("Cannot change pinned availability zone directly. Unpin first by setting pinned_availability_zone to null.")
    if zone != server.availability_zone:
        raise Conflict(
            f"Server can only be pinned to its current availability zone '{server.availability_zone}', but '{zone}' was requested."
        )
    return zone


async def _listed(request: Request, all_projects_policy: str) -> Page:
    limit = request.limit()
    order = sorting(request)
    try:
        chosen = filters(request, all_projects_policy)
    except Nothing:
        return Page([])
    if limit == 0:
        return Page([])
    async with request.parts.database.connection() as conn:
        rows = await _page(request, conn, chosen, order or DEFAULT_ORDER, limit)
    return Page(rows, rows[-1].uuid if len(rows) == limit else None)


async def _page(
    request: Request, conn: Connection, chosen: dict[str, Any], order: list[tuple[str, bool]], limit: int
) -> Sequence[Instance]:
    """The rows after the marker. The usual order is the index's; for others all keys are fetched and sorted here."""
    marker = request.first("marker")
    if marker is not None:
        chosen |= await _after(request, conn, marker)
    if order == DEFAULT_ORDER:
        return await instances.newest_first(conn, chosen | ({"after_marker": True} if marker else {}), limit)
    places = _sorted(await instances.places(conn, chosen, [key for key, _ in order]), order)
    uuids = [place.uuid for place in places]
    start = uuids.index(marker) + 1 if marker in uuids else 0
    rows = await instances.by_ids(conn, uuids[start : start + limit])
    return [rows[uuid] for uuid in uuids[start : start + limit] if uuid in rows]


async def _after(request: Request, conn: Connection, marker: str) -> dict[str, Any]:
    made = await instances.marker(conn, marker, None if request.is_admin else request.ctx.project_id) if UUID.fullmatch(marker) else None
    if made is None:
        raise Invalid(MARKER_MISSING.format(marker[:255]))
    return {"marker": marker, "marker_created_at": made.isoformat()}


def _sorted(places: list[Place], order: list[tuple[str, bool]]) -> list[Place]:
    """By each key in its direction, missing values as the smallest; equal ones by id."""
    places = sorted(places, key=lambda place: place.uuid)
    for i, (_, descending) in reversed(list(enumerate(order))):

        def value(place: Place, i: int = i) -> tuple[bool, Any]:
            return place.values[i] is not None, place.values[i] if place.values[i] is not None else ""

        places.sort(key=value, reverse=descending)
    return places
