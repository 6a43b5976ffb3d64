"""What was done to a server (/servers/{id}/os-instance-actions): its workflows."""

from datetime import UTC, datetime

from nova_async.api.handlers.instances import UUID, missing
from nova_async.api.render import Page
from nova_async.api.request import MARKER_MISSING, Request
from nova_async.api.versions import V
from nova_async.api.views.instance_actions import Shown
from nova_async.db import Connection, instance_actions
from nova_async.db.instance_actions import Owner
from nova_async.errors import Invalid, NotFound
from nova_async.policy import instance_actions as policy


async def index(request: Request) -> Page:
    """Newest first; paged and filtered by the time of the last change since 2.58."""
    limit = request.limit() if request.has(V.PAGED_ACTIONS) else None
    since, before = _moment(request, "changes-since"), _moment(request, "changes-before")
    if since is not None and before is not None and since > before:
        raise Invalid("The value of changes-since must be less than or equal to changes-before.")
    async with request.parts.database.connection() as conn:
        owner = await _owner(request, conn, policy.LIST)
        after = await _marker(request, conn, owner)
        rows = await instance_actions.newest_first(conn, owner.uuid, since=since, before=before, after=after, limit=limit)
    return Page(rows, rows[-1].request_id if rows and len(rows) == limit else None)


async def show(request: Request) -> Shown:
    async with request.parts.database.connection() as conn:
        owner = await _owner(request, conn, policy.SHOW)
        row = await instance_actions.get(conn, owner.uuid, request.values["id"])
    if row is None:
        raise NotFound(f"Action {request.values['id']} not found")
    return Shown(row, owner)


async def _owner(request: Request, conn: Connection, name: str) -> Owner:
    """The owner of the server in the path, who may be gone since 2.21; raises ``NotFound`` to others, or ``Forbidden``."""
    server_id = request.values["server_id"]
    owner = await instance_actions.owner(conn, server_id) if UUID.fullmatch(server_id) else None
    if owner is None or (owner.deleted and not request.has(V.ACTIONS_OF_DELETED)):
        raise missing(server_id)
    if owner.project_id != request.ctx.project_id and not request.is_admin:
        raise missing(server_id)
    request.require(name, project_id=owner.project_id, user_id=owner.user_id)
    return owner


async def _marker(request: Request, conn: Connection, owner: Owner) -> instance_actions.Action | None:
    marker = request.first("marker")
    if marker is None:
        return None
    row = await instance_actions.get(conn, owner.uuid, marker)
    if row is None:
        raise Invalid(MARKER_MISSING.format(marker))
    return row


def _moment(request: Request, key: str) -> datetime | None:
    """A time of the query; without an offset it is in UTC. Raises ``Invalid`` for one that no calendar has."""
    text = request.first(key)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"Invalid input for query parameters {key}. Value: {text[:40]}. It is not a time that can be used.") from None
