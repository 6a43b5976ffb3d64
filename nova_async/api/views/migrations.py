"""What a move of a server looks like: in os-migrations, and below the server while a live migration is under way."""

from typing import Any

from nova_async.api.render import Field, Fields, Many, Omitted, One, microseconds
from nova_async.api.request import Request
from nova_async.api.versions import V
from nova_async.db.server_migrations import ServerMigration

TEXT, NULLABLE, INTEGER = {"type": "string"}, {"type": ["string", "null"]}, {"type": "integer"}
BYTES = {"type": ["integer", "null"]}
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
    return row.memory_mb * MIB if row.status == "running" else None


def _unmeasured(row: ServerMigration, request: Request) -> None:
    """How far a migration is, is not kept."""


COMMON = (
    Field("created_at", _created, type=TEXT),
    Field("dest_compute", "dest_host", type=NULLABLE),
    Field("dest_host", "dest_address", type=NULLABLE),
    Field("dest_node", "dest_node", type=NULLABLE),
    Field("id", "number", type=INTEGER),
    Field("source_compute", "source_host", type=NULLABLE),
    Field("source_node", "source_node", type=NULLABLE),
    Field("status", "status", type=TEXT),
    Field("updated_at", _updated, type=NULLABLE),
    Field("uuid", "uuid", since=V.PAGED_MIGRATIONS, type=TEXT),
    Field("user_id", "user_id", since=V.MIGRATION_OWNER, type=NULLABLE),
    Field("project_id", "project_id", since=V.MIGRATION_OWNER, type=NULLABLE),
)
LISTED = (
    *COMMON,
    Field("instance_uuid", "instance_id", type=TEXT),
    Field("new_instance_type_id", "new_flavor_id", type=INTEGER),
    Field("old_instance_type_id", "old_flavor_id", type=INTEGER),
    Field("migration_type", "migration_type", since=V.SERVER_MIGRATIONS, type=TEXT),
    Field("links", _links, since=V.SERVER_MIGRATIONS, optional=True, type={"type": "array"}),
)
LIVE = (
    *COMMON,
    Field("server_uuid", "instance_id", type=TEXT),
    Field("memory_total_bytes", _memory, type=BYTES),
    *(Field(f"{what}_bytes", _unmeasured, type=BYTES) for what in ("memory_processed", "memory_remaining")),
    *(Field(f"disk_{what}_bytes", _unmeasured, type=BYTES) for what in ("total", "processed", "remaining")),
)

LIST = Many("migrations", Fields(LISTED), links_since=V.PAGED_MIGRATIONS)
OF_SERVER = Many("migrations", Fields(LIVE))
SHOW = One("migration", Fields(LIVE))
