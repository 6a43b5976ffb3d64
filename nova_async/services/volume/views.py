"""What the things of the volume API look like, at each microversion."""

from datetime import UTC, datetime, timedelta
from typing import Any

from nova_async.db.volume_transfers import TransferRow
from nova_async.db.volume_types import EncryptionRow, MessageRow, TypeRow
from nova_async.db.volumes import AttachmentRow, SnapshotRow, VolumeRow
from nova_async.services.volume import versions as v
from nova_async.services.volume.attachments import HAD
from nova_async.services.volume.jobs import MESSAGE_DAYS


def moment(value: datetime | None) -> str | None:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") if value else None


def volume_summary(row: VolumeRow, base: str) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "links": _links(base, "volumes", row.id)}


def volume(row: VolumeRow, base: str, version: int) -> dict[str, Any]:
    """As the answers to create and update have it."""
    shown = {
        **volume_summary(row, base),
        "description": row.description,
        "size": row.size,
        "status": row.status,
        "availability_zone": row.availability_zone,
        "volume_type": row.type_name,
        "bootable": str(row.bootable).lower(),
        "encrypted": row.encrypted,
        "multiattach": row.multiattach,
        "metadata": row.metadata | ({} if row.read_only is None else {"readonly": str(row.read_only)}),
        "snapshot_id": row.snapshot_id,
        "source_volid": row.source_volume_id,
        "consistencygroup_id": None,
        "replication_status": None,
        "user_id": row.user_id,
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
        "attachments": [_attached(row.id, a) for a in row.attachments if a["status"] in HAD],
    }
    if version >= 13:
        shown["group_id"] = None
    if version >= v.SHARED_TARGETS:
        shown |= {"shared_targets": False, "service_uuid": None}
    if version >= v.TYPE_ID:
        shown["volume_type_id"] = row.type_id
    if version >= v.CONSUMES_QUOTA:
        shown["consumes_quota"] = True
    return shown


def volume_in_full(row: VolumeRow, base: str, version: int, pool: str | None = None) -> dict[str, Any]:
    """As show and lists have it. ``pool``: where the bytes are, shown to administrators."""
    shown = {**volume(row, base, version), "os-vol-tenant-attr:tenant_id": row.project_id}
    if row.encrypted and version >= v.ENCRYPTION_KEY_ID:
        shown["encryption_key_id"] = row.id
    if row.image_metadata:
        shown["volume_image_metadata"] = row.image_metadata
    if pool is not None:
        shown |= {
            "os-vol-host-attr:host": pool,
            "os-vol-mig-status-attr:migstat": None,
            "os-vol-mig-status-attr:name_id": None,
            "migration_status": None,
        }
    return shown


def encryption(row: EncryptionRow) -> dict[str, Any]:
    """Of a volume type."""
    return {
        "volume_type_id": row.type_id,
        "encryption_id": row.id,
        "provider": row.provider,
        "control_location": row.control_location,
        "cipher": row.cipher,
        "key_size": row.key_size,
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
        "deleted_at": None,
        "deleted": False,
    }


def encryption_of_volume(row: VolumeRow, kind: EncryptionRow | None) -> dict[str, Any]:
    """``kind``: that of its type; None for a volume that is not encrypted."""
    if kind is None:
        return {"encryption_key_id": None}
    told = {"provider": kind.provider, "control_location": kind.control_location, "cipher": kind.cipher, "key_size": kind.key_size}
    return {"encryption_key_id": row.id} | told


def _attached(volume_id: str, a: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": volume_id,
        "attachment_id": a["id"],
        "volume_id": volume_id,
        "server_id": a["instance_id"],
        "host_name": a["host"],
        "device": a["mountpoint"],
        "attached_at": moment(datetime.fromisoformat(a["attached_at"])) if a["attached_at"] else None,
    }


def snapshot(row: SnapshotRow, version: int) -> dict[str, Any]:
    """As show and detailed lists have it."""
    return {
        **snapshot_summary(row, version),
        "os-extended-snapshot-attributes:progress": row.progress or ("100%" if row.status == "available" else "0%"),
        "os-extended-snapshot-attributes:project_id": row.project_id,
    }


def snapshot_summary(row: SnapshotRow, version: int) -> dict[str, Any]:
    shown = {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "volume_id": row.volume_id,
        "size": row.size,
        "status": row.status,
        "metadata": row.metadata,
        "created_at": moment(row.created_at),
        "updated_at": moment(row.updated_at),
    }
    if version >= 14:
        shown["group_snapshot_id"] = None
    if version >= v.SNAPSHOT_USER:
        shown["user_id"] = row.user_id
    if version >= v.CONSUMES_QUOTA:
        shown["consumes_quota"] = True
    return shown


def attachment_summary(row: AttachmentRow) -> dict[str, Any]:
    """One that is being detached is attached until then; the volume's status says more."""
    status = "attached" if row.status in HAD else row.status
    return {"id": row.id, "status": status, "instance": row.instance_id, "volume_id": row.volume_id}


def attachment(row: AttachmentRow, connection: dict[str, Any]) -> dict[str, Any]:
    """``connection``: how the host reaches it, for services only; else empty."""
    return {
        **attachment_summary(row),
        "attached_at": moment(row.attached_at) or "",
        "detached_at": "",
        "attach_mode": row.mode,
        "connection_info": connection,
    }


def volume_type(row: TypeRow, *, everything: bool) -> dict[str, Any]:
    """``everything``: what only administrators see of its extra specs."""
    open_to_all = ("multiattach", "RESKEY:availability_zones", "replication_enabled")
    specs = row.extra_specs if everything else {k: value for k, value in row.extra_specs.items() if k in open_to_all}
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "is_public": row.is_public,
        "os-volume-type-access:is_public": row.is_public,
        "extra_specs": specs,
        "qos_specs_id": row.qos_specs_id,
    }


def transfer_summary(row: TransferRow, base: str) -> dict[str, Any]:
    return {"id": row.id, "volume_id": row.volume_id, "name": row.name, "links": _links(base, "volume-transfers", row.id)}


def transfer(row: TransferRow, base: str, version: int) -> dict[str, Any]:
    """An offer that stands: one that was accepted is gone."""
    shown = {**transfer_summary(row, base), "created_at": moment(row.created_at)}
    if version >= v.TRANSFERS:
        shown["no_snapshots"] = row.no_snapshots
    if version >= v.TRANSFER_PROJECTS:
        shown |= {"source_project_id": row.project_id, "destination_project_id": None, "accepted": False}
    return shown


def message(row: MessageRow, base: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "event_id": f"VOLUME_{row.event.upper()}_FAILED",
        "user_message": f"{row.event}: {row.message}",
        "message_level": "ERROR",
        "resource_type": row.resource_type,
        "resource_uuid": row.resource_id,
        "request_id": row.request_id,
        "created_at": moment(row.created_at),
        "guaranteed_until": moment(row.created_at + timedelta(days=MESSAGE_DAYS)),
        "links": _links(base, "messages", row.id),
    }


def _links(base: str, collection: str, item: str) -> list[dict[str, str]]:
    return [
        {"rel": "self", "href": f"{base}/v3/{collection}/{item}"},
        {"rel": "bookmark", "href": f"{base}/{collection}/{item}"},
    ]
