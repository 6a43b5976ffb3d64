"""The live migration of a server while it is under way: seen, aborted, or told to end now."""

import re
from collections.abc import Sequence

import msgspec

from nova_async.api.handlers.actions import target
from nova_async.api.handlers.instances import hold, illegal, refuse_locked, refuse_unlaunched
from nova_async.api.handlers.migrations import without_hosts
from nova_async.api.request import Request
from nova_async.api.versions import V
from nova_async.bus.messages.compute import ForceLiveMigration, GetLiveProgress, LiveProgressTold
from nova_async.db import Connection, server_migrations
from nova_async.db.server_migrations import Filters, Measured, ServerMigration
from nova_async.errors import Conflict, Error, Invalid, NotFound, Unavailable
from nova_async.model import states
from nova_async.policy import server_migrations as policy

LIVE = "live-migration"
FORCE_SECONDS = 10.0
PROGRESS_SECONDS = 2.0
NUMBER = re.compile(r"[0-9]{1,18}")
ABORTABLE = ("running",)
ABORTABLE_EARLY = ("queued", "preparing", *ABORTABLE)


async def index(request: Request) -> Sequence[ServerMigration]:
    server = target(request)
    async with request.parts.database.connection() as conn:
        found = await server_migrations.find(conn, Filters(instance_id=server.uuid, types=[LIVE]), 10)
    rows = [await _measured(request, row) for row in found if row.in_progress]
    return rows if request.may(policy.INDEX_HOST, project_id=server.project_id) else without_hosts(rows)


async def show(request: Request) -> ServerMigration:
    server, asked = target(request), request.values["id"]
    async with request.parts.database.connection() as conn:
        row = await _find(conn, server.uuid, asked)
    if row is None:
        raise NotFound(f"In-progress live migration {asked[:255]} is not found for server {server.uuid}.")
    if row.migration_type != LIVE:
        raise NotFound(f"Migration {asked} for server {server.uuid} is not live-migration.")
    if not row.in_progress:
        raise NotFound(f"Live migration {asked} for server {server.uuid} is not in progress.")
    return await _measured(request, row)


async def abort(request: Request) -> None:
    """The server stays where it is; since 2.65 also before the guest is on its way."""
    async with request.parts.database.transaction() as conn:
        row = await _under_way(request, conn, "abort live migration", missing=NotFound)
        if row.status not in (ABORTABLE_EARLY if request.has(V.ABORT_QUEUED_MIGRATION) else ABORTABLE):
            raise _wrong_state(row, "abort live migration")
        if not await request.parts.starter.signal(conn, row.uuid, "abort"):
            raise _wrong_state(row, "abort live migration")
        await request.parts.starter.record(conn, request.ctx, "live_migration_cancel", row.instance_id)
    request.parts.starter.go([row.uuid])


async def force_complete(request: Request) -> None:
    """The guest may be stopped for the rest of its way."""
    async with request.parts.database.transaction() as conn:
        row = await _under_way(request, conn, "force_complete", missing=Invalid, vm_state=states.ACTIVE)
        if row.status != "running":
            raise _wrong_state(row, "force complete")
    try:
        await request.parts.bus.call(f"compute.{row.source_host}", ForceLiveMigration(instance_id=row.instance_id), timeout=FORCE_SECONDS)
    except Conflict:
        raise _wrong_state(row, "force complete") from None
    except Unavailable as error:
        raise Conflict(f"The host of instance {row.instance_id} does not answer; try again later.", detail=error.detail) from None
    async with request.parts.database.transaction() as conn:
        await request.parts.starter.record(conn, request.ctx, "live_migration_force_complete", row.instance_id)


async def _measured(request: Request, row: ServerMigration) -> ServerMigration:
    """With what the source says of a guest that is on its way; without it where that does not answer soon."""
    if row.status != "running":
        return row
    try:
        question = GetLiveProgress(instance_id=row.instance_id)
        answer = await request.parts.bus.call(f"compute.{row.source_host}", question, timeout=PROGRESS_SECONDS)
    except Error:
        return row
    assert isinstance(answer, LiveProgressTold)
    return Measured(**msgspec.structs.asdict(row), progress=answer.progress)


async def _under_way(
    request: Request, conn: Connection, action: str, *, missing: type[Error], vm_state: str | None = None
) -> ServerMigration:
    """The migration in the path of a server that is migrating, in this vm_state (None: any). Raises ``Conflict``, or ``missing``."""
    server, asked = target(request), request.values["id"]
    state = await hold(request, conn, server)
    refuse_locked(request, server, state)
    if vm_state not in (None, server.vm_state):
        raise illegal(server, action, "vm_state", server.vm_state)
    if server.task_state != states.MIGRATING:
        raise illegal(server, action, "task_state", str(server.task_state))
    refuse_unlaunched(server, state, action)
    row = await _find(conn, server.uuid, asked)
    if row is None or row.migration_type != LIVE:
        raise missing(f"Migration {asked[:255]} not found for instance {server.uuid}")
    return row


async def _find(conn: Connection, server: str, asked: str) -> ServerMigration | None:
    return await server_migrations.get(conn, int(asked), server) if NUMBER.fullmatch(asked) else None


def _wrong_state(row: ServerMigration, action: str) -> Invalid:
    return Invalid(
        f"Migration {row.number} state of instance {row.instance_id} is {row.status}. Cannot {action} while the migration is in this state."
    )
