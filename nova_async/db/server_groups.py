"""Server groups, who is in them, and where their members are."""

from collections.abc import Sequence
from typing import Any

import msgspec

from nova_async.db import Connection, Query
from nova_async.db.placements import Problem
from nova_async.model.server_groups import Group, ServerGroup


class Counted(msgspec.Struct):
    """Groups of a project, and how many of them one user made."""

    groups: int
    own: int


LIST = Query("server_groups", "list", ServerGroup)
GET = Query("server_groups", "get", ServerGroup)
SERIALIZE = Query[bool]("server_groups", "serialize", bool)
COUNT = Query("server_groups", "count", Counted)
INSERT = Query[Any]("server_groups", "insert")
DELETE = Query[Any]("server_groups", "delete")
HOLD = Query[str]("server_groups", "hold", str)
JOIN = Query[int]("server_groups", "join", int)
TAKE_TURN = Query[bool]("server_groups", "take_turn", bool)
PLACED = Query("server_groups", "placed", Group)
VIOLATIONS = Query("server_groups", "violations", Problem)


async def of_project(conn: Connection, project_id: str | None) -> list[ServerGroup]:
    """None: those of all projects."""
    return await LIST.all(conn, project_id)


async def get(conn: Connection, id: str) -> ServerGroup | None:
    return await GET.maybe(conn, id)


async def count(conn: Connection, project_id: str, user_id: str) -> Counted:
    """How many the project has, and its user; nobody adds to them until the caller's transaction ends."""
    await SERIALIZE.one(conn, project_id)
    return await COUNT.one(conn, project_id, user_id)


async def insert(
    conn: Connection, *, id: str, project_id: str, user_id: str, name: str, policy: str, max_server_per_host: int | None
) -> None:
    await INSERT.run(conn, id, project_id, user_id, name, policy, max_server_per_host)


async def delete(conn: Connection, id: str) -> None:
    await DELETE.run(conn, id)


async def hold(conn: Connection, id: str) -> str | None:
    """The group's project; nobody adds to the group until the caller's transaction ends. None: there is no such group."""
    return await HOLD.maybe(conn, id)


async def join(conn: Connection, id: str, user_id: str, servers: Sequence[str]) -> int:
    """Add a user's servers to a group that is held; returns how many live ones of that user it has then."""
    return await JOIN.one(conn, id, servers, user_id)


async def placed(conn: Connection, server: str) -> Group | None:
    """The server's group and where its other members are, which stays so until the caller's transaction ends."""
    if await TAKE_TURN.maybe(conn, server) is None:
        return None
    return await PLACED.maybe(conn, server)


async def violations(conn: Connection) -> list[Problem]:
    return await VIOLATIONS.all(conn)
