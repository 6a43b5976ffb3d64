"""Volume types, limits of projects, and messages to them, of the built-in volume service."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from nova_async.db.database import Connection
from nova_async.db.query import Query


class TypeRow(msgspec.Struct, kw_only=True):
    """``projects``: who may use a type that is not public."""

    id: str
    name: str
    description: str | None
    is_public: bool
    is_default: bool
    extra_specs: dict[str, str]
    projects: list[str]
    qos_specs_id: str | None = None


class EncryptionRow(msgspec.Struct, kw_only=True):
    """How the volumes of a type are encrypted."""

    type_id: str
    id: str
    provider: str
    control_location: str  # front-end, back-end
    cipher: str | None
    key_size: int | None  # bits
    created_at: datetime
    updated_at: datetime | None


class QuotaRow(msgspec.Struct):
    resource: str
    hard_limit: int


class MessageRow(msgspec.Struct, kw_only=True):
    id: str
    project_id: str
    request_id: str
    resource_type: str
    resource_id: str
    event: str
    message: str
    created_at: datetime


_ensure_default = Query[Any]("volume_types", "ensure_default")
_types = Query("volume_types", "types", TypeRow)
_insert_type = Query[Any]("volume_types", "insert_type")
_change_type = Query[Any]("volume_types", "change_type")
_delete_type = Query[Any]("volume_types", "delete_type")
_encryption = Query("volume_types", "encryption", EncryptionRow)
_put_encryption = Query[Any]("volume_types", "put_encryption")
_delete_encryption = Query[Any]("volume_types", "delete_encryption")
_is_used = Query[bool]("volume_types", "is_used", bool)
_quotas = Query("volume_types", "quotas", QuotaRow)
_set_quota = Query[Any]("volume_types", "set_quota")
_delete_quotas = Query[Any]("volume_types", "delete_quotas")
_insert_message = Query[Any]("volume_types", "insert_message")
_messages = Query("volume_types", "messages", MessageRow)
_delete_message = Query[Any]("volume_types", "delete_message")
_expire_messages = Query[Any]("volume_types", "expire_messages")


async def ensure_default(conn: Connection, type_id: str, name: str) -> None:
    await _ensure_default.run(conn, type_id, name)


async def types(
    conn: Connection, project_id: str | None, ids: Sequence[str] | None = None, names: Sequence[str] | None = None
) -> list[TypeRow]:
    """The default one first; ``project_id`` None: all."""
    return await _types.all(conn, project_id, ids, names)


async def insert_type(conn: Connection, row: TypeRow) -> None:
    await _insert_type.run(conn, row.id, row.name, row.description, row.is_public, row.extra_specs)


async def change_type(conn: Connection, row: TypeRow) -> None:
    await _change_type.run(conn, row.id, row.name, row.description, row.is_public, row.extra_specs, row.projects)


async def delete_type(conn: Connection, type_id: str) -> None:
    await _delete_type.run(conn, type_id)


async def encryption(conn: Connection, type_id: str) -> EncryptionRow | None:
    return await _encryption.maybe(conn, type_id)


async def put_encryption(conn: Connection, row: EncryptionRow) -> None:
    await _put_encryption.run(conn, *msgspec.structs.astuple(row))


async def delete_encryption(conn: Connection, type_id: str) -> bool:
    return await _delete_encryption.run(conn, type_id) == 1


async def is_used(conn: Connection, type_id: str) -> bool:
    """Whether there are volumes of it. None is made until the transaction ends."""
    return await _is_used.one(conn, type_id)


async def quotas(conn: Connection, project_id: str) -> dict[str, int]:
    return {row.resource: row.hard_limit for row in await _quotas.all(conn, project_id)}


async def set_quota(conn: Connection, project_id: str, resource: str, limit: int) -> None:
    await _set_quota.run(conn, project_id, resource, limit)


async def delete_quotas(conn: Connection, project_id: str) -> None:
    await _delete_quotas.run(conn, project_id)


async def insert_message(conn: Connection, row: MessageRow) -> None:
    await _insert_message.run(conn, row.id, row.project_id, row.request_id, row.resource_type, row.resource_id, row.event, row.message)


async def messages(conn: Connection, project_id: str, message_id: str | None = None) -> list[MessageRow]:
    return await _messages.all(conn, project_id, message_id)


async def delete_message(conn: Connection, project_id: str, message_id: str) -> bool:
    return await _delete_message.run(conn, project_id, message_id) == 1


async def expire_messages(conn: Connection, days: int) -> None:
    await _expire_messages.run(conn, days)
