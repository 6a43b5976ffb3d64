"""Tags of servers."""

from nova_async.db import Connection, Query

SET = Query[list[str]]("server_tags", "set", list)
CURRENT = Query[list[str]]("server_tags", "current", list)


async def put(conn: Connection, uuid: str, tags: list[str]) -> list[str]:
    """Replace them all. Raises ``Invalid`` (through the constraint's name) for too many, ``NotFound`` where the server is gone."""
    return await SET.one(conn, uuid, tags)


async def current(conn: Connection, uuid: str) -> list[str]:
    """Raises ``NotFound`` where the server is gone."""
    return await CURRENT.one(conn, uuid)
