"""Moves of servers (os-migrations): the workflows that make them."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from nova_async.api.render import Page
from nova_async.api.request import Request
from nova_async.api.schema import UUID, moment
from nova_async.api.schemas import TRUE_WORDS
from nova_async.api.versions import V
from nova_async.db import Connection, server_migrations
from nova_async.db.server_migrations import Filters, ServerMigration
from nova_async.errors import Invalid
from nova_async.policy import migrations as policy

MARKER_MISSING = "Marker {} could not be found."


async def index(request: Request) -> Page:
    """Newest first since 2.59, which pages; oldest first before."""
    if request.first("project_id") != request.ctx.project_id:
        request.require(policy.INDEX_ALL)
    filters = _filters(request)
    if filters is None:
        return Page([])
    limit = request.limit() if request.has(V.PAGED_MIGRATIONS) else server_migrations.MOST
    async with request.parts.database.connection() as conn:
        filters.after = await _after(request, conn)
        rows = await server_migrations.find(conn, filters, limit)
    shown = rows if request.may(policy.INDEX_HOST) else without_hosts(rows)
    if not request.has(V.PAGED_MIGRATIONS):
        return Page(shown[::-1])
    return Page(shown, rows[-1].uuid if rows and len(rows) == limit else None)


def without_hosts(rows: Sequence[ServerMigration]) -> Sequence[ServerMigration]:
    """As they are told to those who may not know hosts."""
    hidden = dict.fromkeys(("source_host", "source_node", "dest_host", "dest_node", "dest_address"))
    return [msgspec.structs.replace(row, **hidden) for row in rows]


def _filters(request: Request) -> Filters | None:
    """None when nothing can pass. Where a key is given several times, the last one counts."""
    asked = {key: values[-1] for key, values in request.query.items()}
    server = asked.get("instance_uuid")
    if asked.get("hidden", "").lower() in TRUE_WORDS or (server is not None and not UUID.fullmatch(server)):
        return None
    since, until = (_moment(asked.get(key)) for key in ("changes-since", "changes-before"))
    if since and until and since > until:
        raise Invalid("The value of changes-since must be less than or equal to changes-before.")
    return Filters(
        instance_id=server,
        project_id=asked.get("project_id"),
        user_id=asked.get("user_id"),
        host=asked.get("host"),
        statuses=[asked["status"]] if "status" in asked else None,
        types=[asked["migration_type"]] if "migration_type" in asked else None,
        source_host=asked.get("source_compute") if "host" not in asked else None,
        changed_since=since,
        changed_until=until,
    )


def _moment(text: str | None) -> datetime | None:
    return moment(text) if text is not None else None


async def _after(request: Request, conn: Connection) -> int | None:
    """The number of the move that the marker names; None without a marker. Raises ``Invalid``."""
    marker = request.first("marker")
    if marker is None:
        return None
    number = await server_migrations.number(conn, marker) if UUID.fullmatch(marker) else None
    if number is None:
        raise Invalid(MARKER_MISSING.format(marker[:255]))
    return number
