"""Changes that read a thing, and write all of it again: one at a time."""

from nova_async.db import Connection, Query

ALONE: Query[None] = Query("changes", "alone")


async def alone(conn: Connection, kind: str, thing_id: str) -> None:
    """Others who change the same thing in this way wait until the transaction ends. Read it after this."""
    await ALONE.run(conn, f"{kind}/{thing_id}")
