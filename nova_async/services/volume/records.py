"""What Cinder's JSON says, as our records. Each raises ``Unavailable`` where it is none."""

from typing import Any, Protocol, TypeVar

import msgspec

from nova_async.errors import Unavailable
from nova_async.services.volume import Attachment, Snapshot, Volume

KEY = "nova_async_key"  # in the metadata of what was made: the name under which it was asked for
OF_ADMINISTRATORS = frozenset({KEY, "readonly", "attached_mode"})  # in metadata, and nothing of the owner's
LUKS = frozenset({"luks", "LuksEncryptor", "nova.volume.encryptors.luks.LuksEncryptor", "os_brick.encryptors.luks.LuksEncryptor"})
MOST_BITS = 256
BITS = {None: 256, 128: 128, 256: 256, 512: 256}  # of AES, by what is called the key's size; XTS has two such keys, which some add up
TARGET = "target:"  # in the migration_status of the volume that another is brought to
Thing = dict[str, Any]
R = TypeVar("R", Volume, Snapshot, Attachment)


class Ask(Protocol):
    async def __call__(self, method: str, path: str, **options: Any) -> Thing:
        """The JSON of the volume service's answer."""
        ...


def volume_of(body: Thing, project_id: str = "") -> Volume:
    """``project_id``: whose it is where the answer does not say so."""
    metadata, status = body.get("metadata") or {}, str(body.get("migration_status"))
    return _converted(
        Volume,
        body,
        project_id=body.get("os-vol-tenant-attr:tenant_id") or project_id,
        bootable=str(body.get("bootable")).lower() == "true",
        read_only=str(metadata.get("readonly")).lower() == "true",
        migrating=status == "migrating",
        replaces=status.removeprefix(TARGET) if status.startswith(TARGET) else "",
        image_metadata={name: str(value) for name, value in (body.get("volume_image_metadata") or {}).items()},
        metadata={name: value for name, value in metadata.items() if name not in OF_ADMINISTRATORS},
        holders={a["server_id"]: a.get("device") for a in body.get("attachments") or [] if a.get("server_id")},
    )


def snapshot_of(body: Thing) -> Snapshot:
    return _converted(Snapshot, body)


def attachment_of(body: Thing) -> Attachment:
    return _converted(Attachment, body, instance_id=body.get("instance") or "")


def project_of_snapshot(body: Thing) -> str:
    return str(body.get("os-extended-snapshot-attributes:project_id") or "")


def connection_of(body: Thing) -> Thing:
    """The way to a volume as ``{driver_volume_type, data}``; an attachment has it flat."""
    data = dict(body.get("connection_info") or {})
    return {"driver_volume_type": str(data.pop("driver_volume_type", "")), "data": data}


def _converted(kind: type[R], body: Thing, **own: Any) -> R:
    told = {name: body[name] for name in kind.__struct_fields__ if body.get(name) is not None}
    try:
        return msgspec.convert(told | own, kind)
    except msgspec.ValidationError as error:
        raise Unavailable("The volume service answered in a form that is not known.", detail=str(error)) from None
