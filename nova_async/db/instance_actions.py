"""What was done to a server: its workflows, as users see them."""

from datetime import datetime
from typing import Any

import msgspec

from nova_async.db import Connection, Query


class Owner(msgspec.Struct):
    """Whose server it is, or was."""

    uuid: str
    project_id: str
    user_id: str
    deleted: bool


class Action(msgspec.Struct, kw_only=True):
    """A workflow, much as in ``workflow.row.WorkflowRow``; ``failed``: something went wrong, if only on the way."""

    id: str
    kind: str
    subject_id: str
    request_id: str
    context: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    failed: bool
    state: str = ""
    history: list[dict[str, Any]] = []


OWNER = Query("instance_actions", "owner", Owner)
LIST = Query("instance_actions", "list", Action)
GET = Query("instance_actions", "get", Action)


async def owner(conn: Connection, uuid: str) -> Owner | None:
    """``uuid`` must be one."""
    return await OWNER.maybe(conn, uuid)


async def newest_first(
    conn: Connection, uuid: str, *, since: datetime | None, before: datetime | None, after: Action | None, limit: int | None
) -> list[Action]:
    """Those changed between ``since`` and ``before``, from after the action ``after``; without their history."""
    return await LIST.all(conn, uuid, since, before, after and after.created_at, after and after.id, limit)


async def get(conn: Connection, uuid: str, request_id: str) -> Action | None:
    """The last one that the request began."""
    return await GET.maybe(conn, uuid, request_id)
