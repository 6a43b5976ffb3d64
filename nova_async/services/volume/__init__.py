"""The volume service as the rest of nova_async sees it: built in, or Cinder behind the same interface."""

from typing import Any, Protocol

import msgspec

from nova_async.context import Context


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume's record. ``holders``: servers that it is attached to (or kept for), and as what."""

    id: str
    name: str = ""
    description: str = ""
    status: str  # creating, available, reserved, attaching, in-use, detaching, error ...
    size: int  # GiB
    project_id: str = ""
    availability_zone: str = ""
    volume_type: str = ""
    bootable: bool = False
    multiattach: bool = False
    encrypted: bool = False
    read_only: bool = False
    migrating: bool = False  # the volume service is bringing it to another of its back ends
    replaces: str = ""  # the volume that is being brought to where this one is
    image_metadata: dict[str, str] = msgspec.field(default_factory=dict)
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    holders: dict[str, str | None] = msgspec.field(default_factory=dict)
    snapshot_id: str | None = None
    created_at: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    volume_id: str
    name: str = ""
    description: str = ""
    status: str
    size: int  # GiB
    created_at: str = ""


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    volume_id: str
    instance_id: str
    status: str  # reserved, attaching, attached, detaching


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A volume to make: empty, or a copy of an image or a snapshot."""

    size: int  # GiB
    name: str = ""
    description: str = ""
    volume_type: str | None = None
    zone: str | None = None
    image_id: str | None = None
    snapshot_id: str | None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class VolumeService(Protocol):
    """All raise ``NotFound`` for what the caller may not see, ``Invalid`` for what its state forbids, and ``Unavailable``.

    ``key`` names what is made: repeated with the same key, the answer is the thing that was made the first time.
    """

    async def get(self, ctx: Context, volume_id: str) -> Volume: ...

    async def create(self, ctx: Context, key: str, wanted: Wanted) -> Volume:
        """Begin to make a volume. Raises ``QuotaExceeded``, ``TooLarge``."""
        ...

    async def made(self, ctx: Context, key: str) -> Volume | None:
        """What was made with this key; None when nothing was, or when it is gone."""
        ...

    async def delete(self, ctx: Context, volume_id: str) -> None:
        """Safe to repeat; a volume that is gone is no error."""
        ...

    async def discard(self, ctx: Context, volume_id: str) -> None:
        """As ``delete``, in whatever state the volume is: nobody wants what was made for nothing."""
        ...

    async def has_type(self, ctx: Context, name: str) -> bool:
        """Whether there is a volume type of this name or id that the caller may use."""
        ...

    async def find(self, ctx: Context) -> list[Volume]:
        """The caller's project's, newest first."""
        ...

    async def snapshot(self, ctx: Context, snapshot_id: str) -> Snapshot: ...

    async def create_snapshot(self, ctx: Context, key: str, volume_id: str, name: str, description: str) -> Snapshot:
        """Of a volume that may be in use."""
        ...

    async def delete_snapshot(self, ctx: Context, snapshot_id: str) -> None:
        """Safe to repeat."""
        ...

    async def discard_snapshot(self, ctx: Context, key: str) -> None:
        """What was made with this key goes, in whatever state it is. Safe to repeat."""
        ...

    async def tell_snapshot(self, ctx: Context, snapshot_id: str, status: str) -> None:
        """What a host did for a snapshot that it takes part in. Raises ``Invalid`` where that does not follow on its status."""
        ...

    async def find_snapshots(self, ctx: Context) -> list[Snapshot]: ...

    async def reserve(self, ctx: Context, volume_id: str, instance_id: str) -> str:
        """Keep a volume for a server; returns the attachment's id, the same when repeated."""
        ...

    async def connect(self, ctx: Context, attachment_id: str, connector: dict[str, Any], mountpoint: str) -> str:
        """Let a host reach the volume: ``connector`` is what it tells of itself (host, ip ...). Safe to repeat.

        Returns the attachment's id: a new one when the service makes one for another host than before, which stands beside the old one
        until that is freed.
        """
        ...

    async def disconnect(self, ctx: Context, attachment_id: str) -> str:
        """No host reaches the volume, which is still kept for the server. Safe to repeat; returns as ``connect``."""
        ...

    async def join(self, ctx: Context, attachment_id: str, connector: dict[str, Any]) -> str:
        """Let another host reach the volume beside the present one, while the server moves there. Safe to repeat.

        Returns the id of an attachment for that host: ``connection`` tells its way, and ``free`` takes it back.
        """
        ...

    async def settle(self, ctx: Context, attachment_id: str, joined: str) -> None:
        """The server has moved: what ``join`` returned takes the place of its attachment, which is freed. Safe to repeat."""
        ...

    async def complete(self, ctx: Context, attachment_id: str) -> None:
        """The server has it, though it may be on no host; what ``begin_detaching`` said holds no more. Safe to repeat."""
        ...

    async def begin_detaching(self, ctx: Context, attachment_id: str) -> bool:
        """The volume is ``detaching`` until ``free``, or ``complete`` where the server keeps it. Safe to repeat.

        Returns whether it was not so before. Raises ``NotFound``, and ``Invalid`` for a volume that the server does not have yet.
        """
        ...

    async def free(self, ctx: Context, attachment_id: str) -> None:
        """The server has it no more, and no host reaches it. Safe to repeat."""
        ...

    async def end_migration(self, ctx: Context, volume_id: str, new_id: str, *, failed: bool) -> str:
        """Say what came of a migration that the service began: whether the server has its bytes at ``new_id`` now. Safe to repeat.

        Returns the id which what the server has goes by from then on.
        """
        ...

    async def attachments(self, ctx: Context, instance_id: str) -> list[Attachment]:
        """All of a server."""
        ...

    async def connection(self, attachment_id: str) -> dict[str, Any]:
        """How the host reaches the volume, in Cinder's form ``{driver_volume_type, data}``. It may hold secrets: for hosts only."""
        ...

    async def reimage(self, ctx: Context, volume_id: str, image_id: str) -> None:
        """Begin to write an image over a volume that no host reaches; done when its status is what it was before. Safe to repeat."""
        ...
