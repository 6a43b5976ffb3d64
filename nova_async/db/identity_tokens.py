"""The life of tokens: keys that sign them, and who had theirs revoked."""

from typing import Any

import msgspec

from nova_async.db.database import Connection
from nova_async.db.query import Query


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key that signs tokens."""

    id: int
    secret: bytes


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    subject: str
    epoch: int


_keys = Query("identity_tokens", "keys", Key)
_key_insert: Query[Any] = Query("identity_tokens", "key_insert")
_revoke = Query("identity_tokens", "revoke", Revocation)
_revocations = Query("identity_tokens", "revocations", Revocation)
_revocations_of = Query("identity_tokens", "revocations_of", Revocation)
_revocations_digest = Query("identity_tokens", "revocations_digest", str)
_revocations_expire: Query[Any] = Query("identity_tokens", "revocations_expire")


async def keys(conn: Connection) -> list[Key]:
    """The keys that sign tokens, oldest first."""
    return await _keys.all(conn)


async def key_insert(conn: Connection, secret: bytes) -> None:
    await _key_insert.run(conn, secret)


async def revoke(conn: Connection, subjects: list[str], keep_seconds: float) -> list[Revocation]:
    """Give the subjects a new epoch, remembered for ``keep_seconds``: longer than any token lives."""
    return await _revoke.all(conn, subjects, keep_seconds)


async def revocations(conn: Connection) -> list[Revocation]:
    return await _revocations.all(conn)


async def revocations_of(conn: Connection, subjects: list[str]) -> dict[str, int]:
    return {r.subject: r.epoch for r in await _revocations_of.all(conn, subjects)}


async def revocations_digest(conn: Connection) -> str:
    return await _revocations_digest.one(conn)


async def revocations_expire(conn: Connection) -> int:
    return await _revocations_expire.run(conn)
