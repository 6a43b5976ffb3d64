"""What users note on their servers."""

from typing import Any

from nova_async.db import Connection, Query

PUT = Query[dict[str, Any]]("server_metadata", "put", dict)
REMOVE = Query[None]("server_metadata", "remove")


async def put(conn: Connection, uuid: str, items: dict[str, str], *, replace: bool = False) -> dict[str, str]:
    """Returns all metadata as it is now; raises ``NotFound`` where the server is gone."""
    return await PUT.one(conn, uuid, items, replace)


async def remove(conn: Connection, uuid: str, key: str) -> bool:
    """False when there was none."""
    return await REMOVE.run(conn, uuid, key) > 0
