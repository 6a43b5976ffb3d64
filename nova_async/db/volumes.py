"""Volumes of the built-in volume service, with their attachments, snapshots, and the work on their bytes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from nova_async.db.database import Connection
from nova_async.db.query import Query


class VolumeRow(msgspec.Struct, kw_only=True):
    """``attachments``: {id, instance_id, status, mountpoint, host, attached_at}, oldest first."""

    id: str
    project_id: str
    user_id: str
    name: str | None
    description: str | None
    size: int  # GiB
    status: str
    status_before: str | None
    availability_zone: str
    type_id: str
    type_name: str
    bootable: bool
    multiattach: bool
    read_only: bool | None  # None: nobody has said
    metadata: dict[str, str]
    image_metadata: dict[str, str]
    snapshot_id: str | None
    source_volume_id: str | None
    created_at: datetime
    updated_at: datetime | None
    encrypted: bool
    attachments: list[dict[str, Any]]


class NewVolume(msgspec.Struct, kw_only=True):
    """In the order of the parameters of ``insert``."""

    id: str
    project_id: str
    user_id: str
    name: str | None
    description: str | None
    size: int
    status: str
    availability_zone: str
    type_id: str
    bootable: bool
    multiattach: bool
    metadata: dict[str, str]
    image_metadata: dict[str, str]
    snapshot_id: str | None
    source_volume_id: str | None
    sealed_key: bytes | None


class AttachmentRow(msgspec.Struct, kw_only=True):
    """``secret`` opens the export by which another host reads the volume; it is shown to services only."""

    id: str
    volume_id: str
    instance_id: str | None
    status: str  # reserved, attaching, attached
    mode: str  # rw, ro
    connector: dict[str, Any] | None
    mountpoint: str | None
    secret: str | None
    attached_at: datetime | None
    moving: bool  # for the host that the server is moving to
    project_id: str


class ExportRow(msgspec.Struct, kw_only=True):
    """How another host reaches a volume's file. ``party``: whose certificate opens it; without one ``secret`` does."""

    attachment_id: str
    volume_id: str
    protocol: str  # nbd, iscsi
    exporter: str
    address: str
    port: int
    peer: str  # the host that it is for, of iSCSI's the name of its initiator
    party: str | None
    size: int  # GiB, as it is shown there
    secret: str | None
    mode: str
    moving: bool
    volume_size: int  # GiB
    encrypted: bool


class SnapshotRow(msgspec.Struct, kw_only=True):
    id: str
    volume_id: str
    project_id: str
    user_id: str
    name: str | None
    description: str | None
    size: int  # GiB
    status: str
    progress: str | None  # where a host told it
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime | None


class JobRow(msgspec.Struct, kw_only=True):
    id: str
    volume_id: str
    snapshot_id: str | None
    kind: str
    input: dict[str, Any]
    context: dict[str, Any]
    tries: int


class Usage(msgspec.Struct):
    volumes: int
    snapshots: int
    gigabytes: int


class UsageOfType(Usage, kw_only=True):
    type_id: str


_lock_project = Query[bool]("volumes", "lock_project", bool)
_usage = Query("volumes", "usage", Usage)
_usage_by_type = Query("volumes", "usage_by_type", UsageOfType)
_insert = Query[Any]("volumes", "insert")
_list = Query("volumes", "list", VolumeRow)
_sealed_key = Query[bytes]("volumes", "sealed_key", bytes)
_any_encrypted = Query[bool]("volumes", "any_encrypted", bool)
_lock = Query[str]("volumes", "lock")
_change = Query[Any]("volumes", "change")
_delete = Query[Any]("volumes", "delete")
_insert_attachment = Query[Any]("volumes", "insert_attachment")
_attachments = Query("volumes", "attachments", AttachmentRow)
_connect = Query[Any]("volumes", "connect_attachment")
_delete_attachment = Query[Any]("volumes", "delete_attachment")
_settle_attachment = Query[Any]("volumes", "settle_attachment")
_insert_export = Query[str]("volumes", "insert_export")
_exports = Query("volumes", "exports", ExportRow)
_resize_export = Query[Any]("volumes", "resize_export")
_delete_export = Query[Any]("volumes", "delete_export")
_insert_snapshot = Query[Any]("volumes", "insert_snapshot")
_snapshots = Query("volumes", "snapshots", SnapshotRow)
_lock_snapshot = Query[str]("volumes", "lock_snapshot")
_change_snapshot = Query[Any]("volumes", "change_snapshot")
_delete_snapshot = Query[Any]("volumes", "delete_snapshot")
_insert_job = Query[Any]("volumes", "insert_job")
_take_jobs = Query("volumes", "take_jobs", JobRow)
_renew_jobs = Query[str]("volumes", "renew_jobs")
_put_job_off = Query[Any]("volumes", "put_job_off")
_end_job = Query[str]("volumes", "end_job")
_files = Query[str]("volumes", "files")


async def usage(conn: Connection, project_id: str, *, lock: bool = False) -> Usage:
    """``lock``: nobody else adds to it until the transaction ends."""
    if lock:
        await _lock_project.one(conn, project_id)
    return await _usage.one(conn, project_id)


async def usage_by_type(conn: Connection, project_id: str) -> dict[str, Usage]:
    """By the id of the type; those of which the project has nothing are left out."""
    return {row.type_id: row for row in await _usage_by_type.all(conn, project_id)}


async def insert(conn: Connection, new: NewVolume) -> bool:
    """False when the id is taken."""
    return await _insert.run(conn, *msgspec.structs.astuple(new)) == 1


async def listed(
    conn: Connection, project_id: str | None, ids: Sequence[str] | None = None, names: Sequence[str] | None = None
) -> list[VolumeRow]:
    """Newest first; ``project_id`` None: of all projects."""
    return await _list.all(conn, project_id, ids, names)


async def get(conn: Connection, volume_id: str, *, lock: bool = False) -> VolumeRow | None:
    """``lock``: nobody else changes it until the transaction ends."""
    if lock and await _lock.maybe(conn, volume_id) is None:
        return None
    found = await _list.all(conn, None, [volume_id], None)
    return found[0] if found else None


async def sealed_key(conn: Connection, volume_id: str) -> bytes | None:
    """None for a volume that is not encrypted."""
    return await _sealed_key.maybe(conn, volume_id)


async def any_encrypted(conn: Connection) -> bool:
    return await _any_encrypted.one(conn)


async def change(conn: Connection, volume_id: str, **columns: Any) -> None:
    """Set columns (see the statement for which)."""
    await _change.run(conn, volume_id, columns)


async def delete(conn: Connection, volume_id: str) -> None:
    await _delete.run(conn, volume_id)


async def insert_attachment(
    conn: Connection, attachment_id: str, volume_id: str, instance_id: str | None, *, secret: str, moving: bool = False, **more: Any
) -> None:
    """``more``: shared, status and mode."""
    values = (more["shared"], more["status"], more["mode"], secret, moving)
    await _insert_attachment.run(conn, attachment_id, volume_id, instance_id, *values)


async def attachments(
    conn: Connection,
    project_id: str | None = None,
    *,
    ids: Sequence[str] | None = None,
    volumes: Sequence[str] | None = None,
    servers: Sequence[str] | None = None,
) -> list[AttachmentRow]:
    return await _attachments.all(conn, project_id, ids, volumes, servers)


async def connect(conn: Connection, attachment_id: str, status: str, connector: Mapping[str, Any] | None, mountpoint: str | None) -> None:
    await _connect.run(conn, attachment_id, status, connector, mountpoint)


async def delete_attachment(conn: Connection, attachment_id: str) -> None:
    await _delete_attachment.run(conn, attachment_id)


async def settle_attachment(conn: Connection, attachment_id: str) -> None:
    await _settle_attachment.run(conn, attachment_id)


async def insert_export(conn: Connection, row: ExportRow) -> bool:
    """False when the attachment has one, or the port is taken."""
    values = (row.attachment_id, row.exporter, row.address, row.port, row.peer, row.party, row.size, row.protocol)
    return await _insert_export.maybe(conn, *values) is not None


async def exports(
    conn: Connection, exporter: str | None = None, *, attachments: Sequence[str] | None = None, volumes: Sequence[str] | None = None
) -> list[ExportRow]:
    return await _exports.all(conn, exporter, attachments, volumes)


async def resize_export(conn: Connection, attachment_id: str, size: int) -> None:
    """``size`` in GiB."""
    await _resize_export.run(conn, attachment_id, size)


async def delete_export(conn: Connection, attachment_id: str) -> None:
    await _delete_export.run(conn, attachment_id)


async def insert_snapshot(
    conn: Connection, snapshot_id: str, volume: VolumeRow, owner: tuple[str, str], name: str | None, description: str | None, **more: Any
) -> bool:
    """``owner``: project and user; ``more``: status and metadata. False when the id is taken."""
    values = (snapshot_id, volume.id, *owner, name, description, volume.size, more["status"], more["metadata"])
    return await _insert_snapshot.run(conn, *values) == 1


async def snapshots(
    conn: Connection,
    project_id: str | None = None,
    *,
    ids: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    volumes: Sequence[str] | None = None,
) -> list[SnapshotRow]:
    return await _snapshots.all(conn, project_id, ids, names, volumes)


async def snapshot(conn: Connection, snapshot_id: str, *, lock: bool = False) -> SnapshotRow | None:
    if lock and await _lock_snapshot.maybe(conn, snapshot_id) is None:
        return None
    found = await _snapshots.all(conn, None, [snapshot_id], None, None)
    return found[0] if found else None


async def change_snapshot(conn: Connection, snapshot_id: str, **columns: Any) -> None:
    await _change_snapshot.run(conn, snapshot_id, columns)


async def delete_snapshot(conn: Connection, snapshot_id: str) -> None:
    await _delete_snapshot.run(conn, snapshot_id)


async def insert_job(
    conn: Connection, job_id: str, volume_id: str, snapshot_id: str | None, kind: str, input: dict[str, Any], context: Any
) -> None:
    await _insert_job.run(conn, job_id, volume_id, snapshot_id, kind, input, msgspec.to_builtins(context))


async def take_jobs(conn: Connection, owner: str, seconds: float, count: int) -> list[JobRow]:
    return await _take_jobs.all(conn, owner, seconds, count)


async def renew_jobs(conn: Connection, owner: str, ids: Sequence[str], seconds: float) -> list[str]:
    return await _renew_jobs.all(conn, owner, ids, seconds)


async def put_job_off(conn: Connection, job_id: str, owner: str, seconds: float) -> None:
    await _put_job_off.run(conn, job_id, owner, seconds)


async def end_job(conn: Connection, job_id: str, owner: str) -> bool:
    """False when somebody else has taken it."""
    return await _end_job.maybe(conn, job_id, owner) is not None


async def files(conn: Connection) -> set[str]:
    return set(await _files.all(conn))
