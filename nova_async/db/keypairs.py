"""Key pairs: the public halves."""

from nova_async.db import Connection, Query
from nova_async.model.keypairs import KeyPair

LIST = Query("keypairs", "list", KeyPair)
GET = Query("keypairs", "get", KeyPair)
COUNT = Query[int]("keypairs", "count", int)
SERIALIZE = Query[bool]("keypairs", "serialize", bool)
INSERT = Query("keypairs", "insert", KeyPair)
DELETE = Query[None]("keypairs", "delete")


async def of_user(conn: Connection, user_id: str, *, after: str | None = None, limit: int | None = None) -> list[KeyPair]:
    """By name, from after the name ``after``."""
    return await LIST.all(conn, user_id, after, limit)


async def get(conn: Connection, user_id: str, name: str) -> KeyPair | None:
    return await GET.maybe(conn, user_id, name)


async def count(conn: Connection, user_id: str) -> int:
    """Exact until the transaction ends: nobody adds meanwhile."""
    await SERIALIZE.one(conn, user_id)
    return await COUNT.one(conn, user_id)


async def insert(conn: Connection, user_id: str, name: str, type: str, public_key: str, fingerprint: str) -> KeyPair:
    """Raises ``Conflict`` (through the constraint's name) when the user has one of this name."""
    return await INSERT.one(conn, user_id, name, type, public_key, fingerprint)


async def delete(conn: Connection, user_id: str, name: str) -> bool:
    """False when there was none."""
    return await DELETE.run(conn, user_id, name) > 0
