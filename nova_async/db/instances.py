"""Servers: found, listed, made and changed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from nova_async.db import Connection, Query
from nova_async.model.instances import Instance


class Prepared(msgspec.Struct):
    """What the checks of a new server look at. ``flavor`` holds the columns of its row."""

    locked: bool
    flavor: dict[str, Any]
    key: dict[str, Any] | None
    zone_known: bool
    unknown_hosts: list[str] | None
    limits: dict[str, int]  # that operators set for the project, or for all
    user_limits: dict[str, int]  # that they set for this user of it


class Made(msgspec.Struct):
    """What the project had used before, and its user (``own_...``; 0 where nothing limits them), and the servers that were made.

    None are made where the limits leave no room. ``ram`` in MiB.
    """

    instances: int
    cores: int
    ram: int
    own_instances: int
    own_cores: int
    own_ram: int
    made: list[str]


class State(msgspec.Struct):
    """What decides whether an action may begin."""

    vm_state: str
    locked_by: str | None
    launched_at: datetime | None


class Place(msgspec.Struct):
    """A server and the values that it is sorted by."""

    uuid: str
    values: list[Any]


GET = Query("instances", "get", Instance, one_plan=True)
BY_IDS = Query("instances", "by_ids", Instance)
NEWEST_FIRST = Query("instances", "newest_first", Instance)
PLACES = Query("instances", "places", Place)
MARKER = Query[datetime]("instances", "marker", datetime, one_plan=True)
PREPARE = Query("instances", "prepare", Prepared, one_plan=True)
INSERT = Query("instances", "insert", Made)
HOLD = Query("instances", "hold", State)
CHANGE = Query[Any]("instances", "change")
SERIALIZE = Query[bool]("instances", "serialize", bool)


async def get(conn: Connection, uuid: str, project_id: str | None = None) -> Instance | None:
    """A server that lives, of this project (None: of any). ``uuid`` must be one."""
    return await GET.maybe(conn, uuid, project_id)


async def by_ids(conn: Connection, uuids: Sequence[str]) -> dict[str, Instance]:
    """Those that exist, deleted ones too."""
    return {row.uuid: row for row in await BY_IDS.all(conn, uuids)}


async def newest_first(conn: Connection, filters: Mapping[str, Any], limit: int) -> list[Instance]:
    """A page, without ``system_metadata``. Keys of ``filters`` that are fragments of the statements file filter; others are arguments.

    Raises ``Invalid`` for a regular expression that PostgreSQL does not take.
    """
    return await NEWEST_FIRST.page(conn, _fragments(filters), filters, limit)


async def places(conn: Connection, filters: Mapping[str, Any], columns: Sequence[str]) -> list[Place]:
    """All that pass the filters, with the values of some columns, in no order."""
    return await PLACES.page(conn, _fragments(filters), filters, columns)


async def marker(conn: Connection, uuid: str, project_id: str | None) -> datetime | None:
    return await MARKER.maybe(conn, uuid, project_id)


async def prepare(
    conn: Connection,
    *,
    flavorid: str,
    project_id: str,
    private_flavors: bool,
    user_id: str,
    key_name: str | None,
    zone: str | None,
    hosts: Sequence[str],
    configured: tuple[int, int, int],
    alone: bool = False,
) -> Prepared | None:
    """None when there is no such flavor for the project. ``configured``: the limits where operators set none.

    Where instances, cores or ram are limited, or ``alone`` is asked for, it holds the project's lock until the transaction ends.
    """
    return await PREPARE.maybe(conn, flavorid, project_id, private_flavors, user_id, key_name, zone, hosts, configured, alone)


async def insert(
    conn: Connection,
    shared: Mapping[str, Any],
    uuids: Sequence[str],
    names: Sequence[str],
    hostnames: Sequence[str],
    limits: tuple[int, int, int],
    user_limits: tuple[int, int, int],
    least: int,
) -> Made:
    """Insert as many of the servers as the project's and its user's limits allow, or none below ``least``.

    Limits are of instances, cores, and MiB of memory; -1: unlimited.
    """
    return await INSERT.one(conn, shared, uuids, names, hostnames, limits, least, user_limits)


async def hold(conn: Connection, uuid: str) -> State | None:
    """The state of a server, which nobody else changes until the transaction ends."""
    return await HOLD.maybe(conn, uuid)


async def change(conn: Connection, uuid: str, **columns: Any) -> None:
    """Set columns that users and operators may set (see the statement for which)."""
    await CHANGE.run(conn, uuid, columns)


async def serialize(conn: Connection, project_id: str) -> None:
    """Until the transaction ends nobody else counts what the project has, or adds to it."""
    await SERIALIZE.one(conn, project_id)


ARGUMENTS = frozenset({"marker", "marker_created_at"})


def _fragments(filters: Mapping[str, Any]) -> list[str]:
    return [name for name in filters if name not in ARGUMENTS]
