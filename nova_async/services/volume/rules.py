"""Who may do what to a volume, and the words in which it is refused. Defaults are Cinder's."""

import re
from typing import Any

from nova_async.context import Context
from nova_async.db.volumes import Usage, VolumeRow
from nova_async.errors import Forbidden, Invalid, NotFound, TooLarge

UUID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
WRITERS = frozenset({"admin", "manager", "member", "service"})
DELETABLE = frozenset({"available", "error", "error_restoring", "error_extending", "error_managing"})
SNAPSHOT_DELETABLE = frozenset({"available", "error"})
STATUSES = frozenset(
    {
        *("creating", "available", "deleting", "error", "error_deleting", "error_managing", "managing", "attaching", "in-use"),
        *("detaching", "maintenance", "restoring-backup", "error_restoring", "reserved", "awaiting-transfer", "backing-up"),
        *("error_backing-up", "error_extending", "downloading", "uploading", "retyping", "extending"),
    }
)
SNAPSHOT_STATUSES = frozenset({"creating", "available", "deleting", "error", "error_deleting"})
SNAPSHOT_FOLLOWS = {"creating": ("creating", "available", "error"), "deleting": ("deleting", "error_deleting")}
MAX_ATTACHMENTS = 128  # of one volume that several servers may have
LIMITS = ("volumes", "snapshots", "gigabytes", "per_volume_gigabytes", "backups", "backup_gigabytes", "groups")


def writer(ctx: Context) -> None:
    """Readers change nothing. Raises ``Forbidden``."""
    if not WRITERS & set(ctx.roles):
        raise Forbidden("Policy doesn't allow this action to be performed.")


def admin(ctx: Context, what: str) -> None:
    if not ctx.is_admin:
        raise Forbidden(f"Policy doesn't allow {what} to be performed.")


def scope(ctx: Context) -> str | None:
    """The project whose things the caller sees; None for those who see all."""
    return None if ctx.is_service else ctx.project_id


def may_see(ctx: Context, project_id: str) -> bool:
    return ctx.is_service or ctx.project_id == project_id


def well_formed(kind: str, text: str) -> str:
    """An id in lower case. Raises ``NotFound``: what is no UUID names nothing."""
    if not UUID.fullmatch(text):
        raise NotFound(f"{kind} {text[:255]} could not be found.")
    return text.lower()


def deletable(row: VolumeRow, *, force: bool) -> None:
    if row.attachments or (row.status not in DELETABLE and not force):
        raise Invalid(
            "Invalid volume: Volume status must be available or error or error_restoring or error_extending or error_managing and must "
            "not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, or be disassociated from snapshots "
            f"after volume transfer (it is {row.status})."
        )


def in_status(row: Any, wanted: tuple[str, ...], what: str) -> None:
    if row.status not in wanted:
        states = " or ".join(wanted)
        raise Invalid(f"Invalid volume: Volume {row.id} status must be {states} to {what}, but the current status is {row.status}.")


def check_room(
    limits: dict[str, int],
    used: Usage,
    of_type: str = "",
    *,
    volumes: int = 0,
    snapshots: int = 0,
    gigabytes: int = 0,
    size: int = 0,
) -> None:
    """Raises ``TooLarge`` in Cinder's words. ``of_type``: what the names of a single type's limits end with."""
    if 0 <= limits["per_volume_gigabytes"] < size:
        raise TooLarge(
            f"VolumeSizeExceedsLimit: Requested volume size {size}G is larger than maximum allowed limit {limits['per_volume_gigabytes']}G."
        )
    for name, more, have in (("volumes", volumes, used.volumes), ("snapshots", snapshots, used.snapshots)):
        if more and 0 <= limits[name] < have + more:
            kind = "VolumeLimitExceeded" if name == "volumes" else "SnapshotLimitExceeded"
            raise TooLarge(f"{kind}: Maximum number of {name} allowed ({limits[name]}) exceeded for quota '{name}{of_type}'.")
    if gigabytes and 0 <= limits["gigabytes"] < used.gigabytes + gigabytes:
        raise TooLarge(
            f"VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes{of_type} quota. "
            f"Requested {gigabytes}G, quota is {limits['gigabytes']}G and {used.gigabytes}G has been consumed."
        )
