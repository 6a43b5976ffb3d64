"""Tags of servers."""

import msgspec

from nova_async.db import Connection, Query


class Tags(msgspec.Struct):
    tags: list[str]


SET = Query("server_tags", "set", Tags)
CURRENT = Query("server_tags", "current", Tags)


async def put(conn: Connection, uuid: str, tags: list[str]) -> list[str]:
    """Replace them all. Raises ``Invalid`` (through the constraint's name) for too many, ``NotFound`` where the server is gone."""
    return (await SET.one(conn, uuid, tags)).tags


async def current(conn: Connection, uuid: str) -> list[str]:
    """Raises ``NotFound`` where the server is gone."""
    return (await CURRENT.one(conn, uuid)).tags
