"""Notifications that wait for the bus."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from nova_async.db import Connection, Query


class Waiting(msgspec.Struct):
    number: int
    message_id: str
    event_type: str
    publisher_id: str
    facts: dict[str, Any]
    created_at: datetime


PUT = Query[Any]("notifications", "put")
PUT_OF_SERVER = Query[str]("notifications", "put_of_server", str)
TAKE_TURN = Query[bool]("notifications", "take_turn", bool)
OLDEST = Query("notifications", "oldest", Waiting)
FORGET = Query[Any]("notifications", "forget")
DROP_OLD = Query[Any]("notifications", "drop_old")


async def put(conn: Connection, ids: Sequence[str], event_types: Sequence[str], publishers: Sequence[str], facts: dict[str, Any]) -> None:
    await PUT.run(conn, ids, event_types, publishers, facts)


async def put_of_server(
    conn: Connection, ids: Sequence[str], event_types: Sequence[str], services: Sequence[str], host: str, server: str, facts: dict[str, Any]
) -> str | None:
    """The server's vm_state; None when there is no such server."""
    return await PUT_OF_SERVER.maybe(conn, ids, event_types, services, host, server, facts)


async def take_turn(conn: Connection) -> bool:
    return await TAKE_TURN.one(conn)


async def oldest(conn: Connection, most: int) -> list[Waiting]:
    return await OLDEST.all(conn, most)


async def forget(conn: Connection, numbers: Sequence[int]) -> None:
    await FORGET.run(conn, numbers)


async def drop_old(conn: Connection, seconds: float) -> int:
    """How many were given up."""
    return await DROP_OLD.run(conn, seconds)
