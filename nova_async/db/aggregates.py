"""Host aggregates, and the availability zones that they give to hosts."""

from collections.abc import Mapping
from typing import Any

import msgspec

from nova_async.db import Connection, Query
from nova_async.model.aggregates import Aggregate, Label


class Standing(msgspec.Struct):
    """Where a host is: its zone, the one it is in without aggregates, those that other aggregates give it, and its servers."""

    name: str
    availability_zone: str
    own_zone: str
    other_zones: list[str]
    servers: int


ALL = Query("aggregates", "all", Aggregate)
LABELS = Query("aggregates", "labels", Label)
SERIALIZE = Query[bool]("aggregates", "serialize", bool)
INSERT = Query[int]("aggregates", "insert", int)
RENAME = Query[Any]("aggregates", "rename")
SET_METADATA = Query[Any]("aggregates", "set_metadata")
DELETE = Query[Any]("aggregates", "delete")
ADD_HOST = Query[Any]("aggregates", "add_host")
REMOVE_HOST = Query[Any]("aggregates", "remove_host")
STANDING = Query("aggregates", "standing", Standing)
SET_ZONES = Query[Any]("aggregates", "set_zones")


async def all(conn: Connection) -> list[Aggregate]:
    return await ALL.all(conn, None)


async def get(conn: Connection, id: int) -> Aggregate | None:
    return await ALL.maybe(conn, id)


async def labels(conn: Connection) -> list[Label]:
    return await LABELS.all(conn)


async def serialize(conn: Connection) -> None:
    """Others who change aggregates wait until the caller's transaction ends."""
    await SERIALIZE.one(conn)


async def insert(conn: Connection, uuid: str, name: str, metadata: Mapping[str, str]) -> int | None:
    """The new one's id; None when the name is taken."""
    return await INSERT.maybe(conn, uuid, name, metadata)


async def rename(conn: Connection, id: int, name: str) -> bool:
    """False when the name is taken."""
    return await RENAME.run(conn, id, name) > 0


async def set_metadata(conn: Connection, id: int, changes: Mapping[str, str | None]) -> None:
    """Keys whose value is None go."""
    await SET_METADATA.run(conn, id, changes)


async def delete(conn: Connection, id: int) -> None:
    await DELETE.run(conn, id)


async def add_host(conn: Connection, id: int, host: str) -> bool:
    """False when it was there before."""
    return await ADD_HOST.run(conn, id, host) > 0


async def remove_host(conn: Connection, id: int, host: str) -> bool:
    """False when it was not there."""
    return await REMOVE_HOST.run(conn, id, host) > 0


async def standing(conn: Connection, hosts: list[str], but: int) -> list[Standing]:
    """Those of the hosts that exist. ``but``: the aggregate whose zone is not told."""
    return await STANDING.all(conn, hosts, but)


async def set_zones(conn: Connection, hosts: list[str]) -> None:
    """Write the zones that follow from aggregates to these hosts."""
    await SET_ZONES.run(conn, hosts)
