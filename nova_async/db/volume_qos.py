"""QoS specs of the built-in volume service, and the volume types that have them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from nova_async.db.database import Connection
from nova_async.db.query import Query


class QosRow(msgspec.Struct, kw_only=True):
    id: str
    name: str
    consumer: str  # front-end, back-end, both
    specs: dict[str, str]


class TypeName(msgspec.Struct):
    id: str
    name: str


_all = Query("volume_qos", "all", QosRow)
_insert = Query[Any]("volume_qos", "insert")
_lock = Query("volume_qos", "lock", QosRow)
_change = Query[Any]("volume_qos", "change")
_delete = Query[Any]("volume_qos", "delete")
_types = Query("volume_qos", "types", TypeName)
_associate = Query[Any]("volume_qos", "associate")
_disassociate_all = Query[Any]("volume_qos", "disassociate_all")
_of_type = Query("volume_qos", "of_type", QosRow)


async def all(conn: Connection, ids: Sequence[str] | None = None) -> list[QosRow]:
    return await _all.all(conn, ids)


async def insert(conn: Connection, row: QosRow) -> None:
    await _insert.run(conn, *msgspec.structs.astuple(row))


async def lock(conn: Connection, qos_id: str) -> QosRow | None:
    return await _lock.maybe(conn, qos_id)


async def change(conn: Connection, row: QosRow) -> None:
    await _change.run(conn, row.id, row.consumer, row.specs)


async def delete(conn: Connection, qos_id: str) -> None:
    await _delete.run(conn, qos_id)


async def types(conn: Connection, qos_id: str) -> list[TypeName]:
    return await _types.all(conn, qos_id)


async def associate(conn: Connection, type_id: str, qos_id: str | None) -> None:
    await _associate.run(conn, type_id, qos_id)


async def disassociate_all(conn: Connection, qos_id: str) -> None:
    await _disassociate_all.run(conn, qos_id)


async def of_type(conn: Connection, type_id: str) -> QosRow | None:
    return await _of_type.maybe(conn, type_id)
