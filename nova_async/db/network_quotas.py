"""Limits of the network service, and what counts against them."""

import msgspec

from nova_async.db import Connection, Query


class Limit(msgspec.Struct):
    """-1: without limit."""

    project_id: str
    resource: str
    hard_limit: int


LIMITS = Query("network_quotas", "limits", Limit)
ALL_LIMITS = Query("network_quotas", "all_limits", Limit)
SET: Query[None] = Query("network_quotas", "set")
FORGET: Query[None] = Query("network_quotas", "forget")
ALONE: Query[None] = Query("network_quotas", "alone")
USED = Query("network_quotas", "used", int)


async def limits(conn: Connection, project_id: str) -> dict[str, int]:
    """Resource to limit, where somebody set one for the project."""
    return {row.resource: row.hard_limit for row in await LIMITS.all(conn, project_id)}


async def all_limits(conn: Connection) -> dict[str, dict[str, int]]:
    """As ``limits``, by project."""
    found: dict[str, dict[str, int]] = {}
    for row in await ALL_LIMITS.all(conn):
        found.setdefault(row.project_id, {})[row.resource] = row.hard_limit
    return found


async def put(conn: Connection, project_id: str, wanted: dict[str, int]) -> None:
    await SET.run(conn, project_id, list(wanted), list(wanted.values()))


async def forget(conn: Connection, project_id: str) -> None:
    await FORGET.run(conn, project_id)


async def alone(conn: Connection, project_id: str, resource: str) -> None:
    """Until the transaction ends nobody else counts the project's things of this kind, or adds to them."""
    await ALONE.run(conn, project_id, resource)


async def used(conn: Connection, project_id: str, resource: str) -> int:
    return await USED.one(conn, project_id, resource)
