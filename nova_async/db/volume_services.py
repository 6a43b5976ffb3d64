"""What an administrator says of the built-in volume service's processes, and what each project has there."""

from typing import Any

import msgspec

from nova_async.db.database import Connection
from nova_async.db.query import Query


class ServiceRow(msgspec.Struct, kw_only=True):
    """One without a row is enabled."""

    name: str
    disabled: bool
    reason: str | None


class ProjectUsage(msgspec.Struct):
    project_id: str
    volumes: int
    gigabytes: int
    snapshots: int
    snapshot_gigabytes: int


_all = Query("volume_services", "all", ServiceRow)
_put = Query[Any]("volume_services", "put")
_usage = Query("volume_services", "usage", ProjectUsage)


async def all(conn: Connection) -> dict[str, ServiceRow]:
    return {row.name: row for row in await _all.all(conn)}


async def put(conn: Connection, name: str, disabled: bool, reason: str | None) -> None:
    await _put.run(conn, name, disabled, reason)


async def usage(conn: Connection) -> list[ProjectUsage]:
    return await _usage.all(conn)
