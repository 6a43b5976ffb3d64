"""Limits that operators set."""

from typing import Any

from nova_async.db import Connection, Query

LIMITS = Query[dict[str, Any]]("quotas", "limits", dict)


async def limits(conn: Connection, project_id: str) -> dict[str, int]:
    """Resource to limit, for those that were set for the project or for the class "default"; -1 is unlimited."""
    return await LIMITS.one(conn, project_id)
