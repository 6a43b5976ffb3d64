"""What a move of a server looks like: in os-migrations, and below the server while a live migration is under way."""

from collections.abc import Callable
from typing import Any

from nova_async.api.render import Field, Fields, Many, Omitted, One, microseconds
from nova_async.api.request import Request
from nova_async.api.shapes import INTEGER, LINKS, MAYBE_INTEGER, MAYBE_TEXT, MICROSECONDS, TEXT, UUID, nullable
from nova_async.api.versions import V
from nova_async.db.server_migrations import Measured, ServerMigration

MIB = 2**20


def _created(row: ServerMigration, request: Request) -> str | None:
    return microseconds(row.created_at)


def _updated(row: ServerMigration, request: Request) -> str | None:
    return microseconds(row.updated_at)


def _links(row: ServerMigration, request: Request) -> Any:
    """Only what is still under way has a page of its own."""
    if row.migration_type != "live-migration" or not row.in_progress:
        return Omitted
    return request.links(f"servers/{row.instance_id}/migrations", str(row.number))


def _memory(row: ServerMigration, request: Request) -> int | None:
    """Known once the guest's memory is on its way."""
    measured = _measured("memory_total")(row, request)
    return measured or (row.memory_mb * MIB if row.status == "running" else None)


def _measured(name: str) -> Callable[[ServerMigration, Request], int | None]:
    """Known while the guest is on its way and its host answers."""

    def measure(row: ServerMigration, request: Request) -> int | None:
        progress = row.progress if isinstance(row, Measured) else None
        return getattr(progress, name) if progress is not None else None

    return measure


COMMON = (
    Field("created_at", _created, type=MICROSECONDS),
    Field("dest_compute", "dest_host", type=MAYBE_TEXT),
    Field("dest_host", "dest_address", type=MAYBE_TEXT),
    Field("dest_node", "dest_node", type=MAYBE_TEXT),
    Field("id", "number", type=INTEGER),
    Field("source_compute", "source_host", type=MAYBE_TEXT),
    Field("source_node", "source_node", type=MAYBE_TEXT),
    Field("status", "status", type=TEXT),
    Field("updated_at", _updated, type=nullable(MICROSECONDS)),
    Field("uuid", "uuid", since=V.PAGED_MIGRATIONS, type=UUID),
    Field("user_id", "user_id", since=V.MIGRATION_OWNER, type=MAYBE_TEXT),
    Field("project_id", "project_id", since=V.MIGRATION_OWNER, type=MAYBE_TEXT),
)
LISTED = (
    *COMMON,
    Field("instance_uuid", "instance_id", type=UUID),
    Field("new_instance_type_id", "new_flavor_id", type=INTEGER),
    Field("old_instance_type_id", "old_flavor_id", type=INTEGER),
    Field("migration_type", "migration_type", since=V.SERVER_MIGRATIONS, type=TEXT),
    Field("links", _links, since=V.SERVER_MIGRATIONS, optional=True, type=LINKS),
)
LIVE = (
    *COMMON,
    Field("server_uuid", "instance_id", type=UUID),
    Field("memory_total_bytes", _memory, type=MAYBE_INTEGER),
    *(Field(f"{what}_bytes", _measured(what), type=MAYBE_INTEGER) for what in ("memory_processed", "memory_remaining")),
    *(Field(f"{what}_bytes", _measured(what), type=MAYBE_INTEGER) for what in ("disk_total", "disk_processed", "disk_remaining")),
)

LIST = Many("migrations", Fields(LISTED), links_since=V.PAGED_MIGRATIONS)
OF_SERVER = Many("migrations", Fields(LIVE))
SHOW = One("migration", Fields(LIVE))
