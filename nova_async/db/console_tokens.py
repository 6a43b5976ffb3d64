"""Console tokens: who may open which console, as long as the server runs where it did when the token was made."""

from typing import Any

import msgspec

from nova_async.db import Connection, Query
from nova_async.model.consoles import ConsoleAddress


class Grant(msgspec.Struct, frozen=True):
    """What a token allows: one type of console of one placement of a server, at the address that its host gave.

    ``ended``: why it does not any more, one of ``deleted``, ``moved``, ``stopped``, ``over``; empty while it holds.
    """

    instance_id: str
    console_type: str
    user_id: str
    host: str
    generation: int
    address: str
    port: int
    tls_port: int | None
    ended: str = ""


class Holding(msgspec.Struct, frozen=True):
    instance_id: str
    generation: int


INSERT = Query[Any]("console_tokens", "insert")
FIND = Query("console_tokens", "find", Grant)
HOLDING = Query("console_tokens", "holding", Holding)


async def insert(
    conn: Connection,
    hash: bytes,
    instance_id: str,
    console_type: str,
    user_id: str,
    host: str,
    generation: int,
    address: ConsoleAddress,
    *,
    seconds: float,
    most: int,
) -> None:
    """``most``: how many tokens a server may have; the oldest beyond are forgotten."""
    where = (address.host, address.port, address.tls_port)
    await INSERT.run(conn, hash, instance_id, console_type, user_id, host, generation, *where, seconds, most)


async def find(conn: Connection, hash: bytes) -> Grant | None:
    """None for a token that is unknown, or has been over for long."""
    return await FIND.maybe(conn, hash)


async def holding(conn: Connection, grants: list[Grant]) -> set[tuple[str, int]]:
    """(server, placement) of those whose server still runs where it did."""
    columns = ([g.instance_id for g in grants], [g.host for g in grants], [g.generation for g in grants])
    return {(row.instance_id, row.generation) for row in await HOLDING.all(conn, *columns)}
