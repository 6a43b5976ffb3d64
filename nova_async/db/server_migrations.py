"""Moves of servers as os-migrations shows them, drawn from the workflows that make them."""

from datetime import datetime

import msgspec

from nova_async.db import Connection, Query
from nova_async.model.guests import LiveProgress


class ServerMigration(msgspec.Struct, kw_only=True):
    """``number`` is the id that the API shows, ``uuid`` the workflow's. Types and statuses in Nova's words; flavors by their row's id.

    ``project_id`` and ``user_id``: who began it.
    """

    number: int
    uuid: str
    instance_id: str
    project_id: str
    user_id: str
    kind: str
    state: str
    signal: str | None
    point_of_no_return: bool
    migration_type: str  # resize, migration, live-migration, evacuation
    status: str
    source_host: str | None
    source_node: str | None
    dest_host: str | None
    dest_node: str | None
    dest_address: str | None
    old_flavor_id: int
    new_flavor_id: int
    memory_mb: int
    created_at: datetime
    updated_at: datetime

    @property
    def in_progress(self) -> bool:
        return self.state in ("running", "waiting", "undoing")


class Measured(ServerMigration, kw_only=True):
    """A live migration, with what its source has measured; None when that cannot be asked."""

    progress: LiveProgress | None = None


class Filters(msgspec.Struct, kw_only=True):
    """None where not asked for. ``host``: where a move came from or went to; ``after``: the number that the last page ended with."""

    instance_id: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    host: str | None = None
    statuses: list[str] | None = None
    types: list[str] | None = None
    source_host: str | None = None
    changed_since: datetime | None = None
    changed_until: datetime | None = None
    number: int | None = None
    after: int | None = None


LIST = Query("server_migrations", "list", ServerMigration)
NUMBER = Query[int]("server_migrations", "number", int)
MOST = 1000


async def find(conn: Connection, filters: Filters, limit: int = MOST) -> list[ServerMigration]:
    """Newest first."""
    f = filters
    return await LIST.all(
        conn,
        f.instance_id,
        f.project_id,
        f.user_id,
        f.host,
        f.statuses,
        f.types,
        f.source_host,
        f.changed_since,
        f.changed_until,
        f.number,
        f.after,
        limit,
    )


async def of_server(conn: Connection, instance_id: str) -> list[ServerMigration]:
    return await find(conn, Filters(instance_id=instance_id))


async def get(conn: Connection, number: int, instance_id: str | None = None) -> ServerMigration | None:
    return next(iter(await find(conn, Filters(number=number, instance_id=instance_id), 1)), None)


async def number(conn: Connection, uuid: str) -> int | None:
    """The number of the move with this UUID."""
    return await NUMBER.maybe(conn, uuid)
