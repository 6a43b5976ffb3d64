"""Certificates that the authority made, and join tokens."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from nova_async.db import Connection, Query


class Issued(msgspec.Struct, frozen=True):
    """A certificate; ``serial`` in hexadecimal."""

    serial: str
    party: str
    alternatives: list[str]
    issued_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class Leave(msgspec.Struct, frozen=True):
    """What a join token allows; ``public_key`` is Ed25519, 32 octets."""

    id: str
    host: str
    alternatives: list[str]
    public_key: bytes
    expires_at: datetime


INSERT = Query[Any]("certificates", "insert")
HOLDS = Query[bool]("certificates", "holds", bool)
LIST = Query("certificates", "list", Issued)
REVOKE = Query("certificates", "revoke", Issued)
REVOKED = Query("certificates", "revoked", Issued)
FORGET = Query[Any]("certificates", "forget")
ALLOW = Query[Any]("certificates", "allow")
LEAVE = Query("certificates", "leave", Leave)
USED = Query[Any]("certificates", "used")


async def insert(conn: Connection, serial: str, party: str, alternatives: Sequence[str], issued: datetime, expires: datetime) -> None:
    await INSERT.run(conn, serial, party, list(alternatives), issued, expires)


async def holds(conn: Connection, serial: str) -> bool:
    """False for a serial number that is unknown or revoked."""
    return await HOLDS.one(conn, serial)


async def valid(conn: Connection, now: datetime, party: str | None = None) -> list[Issued]:
    """All whose time is not over, revoked ones too."""
    return await LIST.all(conn, now, party)


async def revoke(conn: Connection, party_or_serial: str, now: datetime) -> list[Issued]:
    """Those that were revoked by this."""
    return await REVOKE.all(conn, party_or_serial, now)


async def revoked(conn: Connection, now: datetime) -> list[Issued]:
    return await REVOKED.all(conn, now)


async def forget(conn: Connection, before: datetime) -> None:
    await FORGET.run(conn, before)


async def allow(
    conn: Connection, token: str, host: str, alternatives: Sequence[str], public_key: bytes, expires: datetime, now: datetime
) -> None:
    await ALLOW.run(conn, token, host, list(alternatives), public_key, expires, now)


async def leave(conn: Connection, token: str, now: datetime) -> Leave | None:
    """Until the transaction ends nobody else has it. None when it is unknown, used or over."""
    return await LEAVE.maybe(conn, token, now)


async def used(conn: Connection, token: str) -> None:
    await USED.run(conn, token)
