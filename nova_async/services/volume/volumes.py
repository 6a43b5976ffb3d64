"""Volumes as records: made, found, changed; the work on their bytes is left to ``jobs``."""

import math
from typing import Any

import msgspec

from nova_async.config import Config
from nova_async.context import Context
from nova_async.db import Connection, Database
from nova_async.db import volume_types as type_rows
from nova_async.db import volumes as rows
from nova_async.db.volume_types import TypeRow
from nova_async.db.volumes import NewVolume, SnapshotRow, VolumeRow
from nova_async.errors import Conflict, Forbidden, Invalid, NotFound
from nova_async.services.image import Image, ImageService, signatures
from nova_async.services.volume import encryption, rules
from nova_async.services.volume.backend import Backend
from nova_async.services.volume.jobs import Jobs
from nova_async.services.volume.keys import Keys
from nova_async.services.volume.quotas import Quotas
from nova_async.services.volume.stores import GIB
from nova_async.services.volume.types import find
from nova_async.world import World

UPLOAD_FORMATS = ("raw", "qcow2")


class Asked(msgspec.Struct, kw_only=True):
    """What a new volume shall be; at most one of the three sources."""

    size: int | None = None  # GiB
    name: str | None = None
    description: str | None = None
    volume_type: str | None = None
    zone: str | None = None
    metadata: dict[str, str] = {}
    image_id: str | None = None
    snapshot_id: str | None = None
    source_volume_id: str | None = None
    multiattach: bool | None = None


class Source(msgspec.Struct, kw_only=True):
    """Where the bytes come from, and what the volume inherits."""

    size: int = 0  # GiB that are needed at least
    bootable: bool = False
    image_metadata: dict[str, str] = {}
    type_id: str | None = None
    encrypted: str | None = None  # id of the encrypted volume whose bytes they are
    status: str = "creating"
    job: dict[str, str] = {}


class Volumes:
    def __init__(
        self,
        database: Database,
        config: Config,
        world: World,
        images: ImageService,
        jobs: Jobs,
        quotas: Quotas,
        keys: Keys,
        backend: Backend,
    ) -> None:
        self._database, self._config, self._world, self._images = database, config, world, images
        self._jobs, self._quotas, self._keys, self._backend = jobs, quotas, keys, backend
        self.zone = config.compute.availability_zone

    # -- looking

    async def get(self, ctx: Context, volume_id: str) -> VolumeRow:
        """Raises ``NotFound`` when there is none that the caller may see."""
        async with self._database.connection() as conn:
            return _seen(ctx, volume_id, await rows.get(conn, rules.well_formed("Volume", volume_id)))

    async def listing(self, ctx: Context, *, all_projects: bool = False, names: list[str] | None = None) -> list[VolumeRow]:
        async with self._database.connection() as conn:
            return await rows.listed(conn, None if all_projects and ctx.is_service else ctx.project_id, None, names)

    # -- coming and going

    async def create(self, ctx: Context, asked: Asked, volume_id: str | None = None) -> VolumeRow:
        """``volume_id``: the id that it shall have; where there is one of this id already, that one is the answer."""
        rules.writer(ctx)
        if sum(s is not None for s in (asked.image_id, asked.snapshot_id, asked.source_volume_id)) > 1:
            raise Invalid("A volume is made from one source only: an image, a snapshot or another volume.")
        if asked.zone not in (None, "", self.zone):
            raise Invalid(f"Availability zone '{asked.zone}' is invalid.")
        image = await self._image(ctx, asked.image_id) if asked.image_id else None
        chosen = volume_id or self._world.uuid()
        async with self._database.transaction() as conn:
            used = await rows.usage(conn, ctx.project_id, lock=True)
            if volume_id is not None and (earlier := await rows.get(conn, volume_id)):
                return _seen(ctx, volume_id, earlier)
            source = _from_image(image) if image else await self._from_row(conn, ctx, asked)
            size = asked.size or source.size
            if size < max(1, source.size):
                raise Invalid(f"Invalid input received: Volume size '{size}'GB must be at least {max(1, source.size)}GB.")
            type_row = await find(conn, ctx, asked.volume_type or source.type_id)
            await self._quotas.check(conn, ctx.project_id, type_row, used, volumes=1, gigabytes=size, size=size)
            multiattach = "true" in type_row.extra_specs.get("multiattach", "").lower()
            if asked.multiattach and not multiattach:
                raise Invalid("multiattach parameter has been removed: use a volume type with the extra spec multiattach='<is> True'.")
            await rows.insert(
                conn,
                NewVolume(
                    id=chosen,
                    project_id=ctx.project_id,
                    user_id=ctx.user_id,
                    name=asked.name,
                    description=asked.description,
                    size=size,
                    status=source.status,
                    availability_zone=self.zone,
                    type_id=type_row.id,
                    bootable=source.bootable,
                    multiattach=multiattach,
                    metadata=asked.metadata,
                    image_metadata=source.image_metadata,
                    snapshot_id=asked.snapshot_id,
                    source_volume_id=asked.source_volume_id,
                    sealed_key=await self._key(conn, chosen, source, type_row, multiattach),
                ),
            )
            await self._jobs.begin(conn, ctx, "create", chosen, **source.job)
            made = await rows.get(conn, chosen)
        self._jobs.go()
        assert made is not None
        return made

    async def delete(self, ctx: Context, volume_id: str, *, force: bool = False, cascade: bool = False) -> None:
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            row = await self._own(conn, ctx, volume_id)
            rules.deletable(row, force=force)
            snapshots = await rows.snapshots(conn, volumes=[row.id])
            if snapshots and not (cascade and all(rules.may_see(ctx, snapshot.project_id) for snapshot in snapshots)):
                raise Invalid(f"Invalid volume: Volume {row.id} still has {len(snapshots)} dependent snapshots.")
            for snapshot in snapshots:
                await rows.change_snapshot(conn, snapshot.id, status="deleting")
                await self._jobs.begin(conn, ctx, "delete_snapshot", row.id, snapshot.id)
            await rows.change(conn, row.id, status="deleting")
            await self._jobs.begin(conn, ctx, "delete", row.id)
        self._jobs.go()

    # -- changing

    async def change(self, ctx: Context, volume_id: str, **columns: Any) -> VolumeRow:
        """Columns that users may set; ``metadata`` may be a function of what it was."""
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            row = await self._own(conn, ctx, volume_id)
            columns = {name: value(getattr(row, name)) if callable(value) else value for name, value in columns.items()}
            await rows.change(conn, row.id, **columns)
            changed = await rows.get(conn, row.id)
        assert changed is not None
        return changed

    async def set_status(self, ctx: Context, volume_id: str, status: str) -> None:
        rules.admin(ctx, "volume_extension:volume_admin_actions:reset_status")
        if status not in rules.STATUSES:
            raise Invalid(f"Invalid input for field/attribute status. Value: {status}.")
        await self.change(ctx, volume_id, status=status, status_before=None)

    async def switch(self, ctx: Context, volume_id: str, wanted: tuple[str, ...], status: str, what: str) -> None:
        """From one of these states into another (reserve, unreserve, begin and roll back a detachment)."""
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            row = await self._own(conn, ctx, volume_id)
            rules.in_status(row, wanted, what)
            await rows.change(conn, row.id, status=status)

    async def extend(self, ctx: Context, volume_id: str, size: int) -> None:
        """To ``size`` GiB; one in use may grow too."""
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            row = await self._own(conn, ctx, volume_id)
            rules.in_status(row, ("available", "in-use"), "extend")
            if size <= row.size:
                sizes = f"(current: {row.size}, extended: {size})"
                raise Invalid(f"Invalid input received: New size for extend must be greater than current size. {sizes}.")
            used = await rows.usage(conn, row.project_id, lock=True)
            await self._quotas.check(conn, row.project_id, row, used, gigabytes=size - row.size, size=size)
            await rows.change(conn, row.id, status="extending", status_before=row.status, size=size)
            await self._jobs.begin(conn, ctx, "extend", row.id)
        self._jobs.go()

    async def retype(self, ctx: Context, volume_id: str, new_type: str) -> None:
        """To a type that keeps the bytes where they are: all types of this service do. What is in use keeps its multi-attachment."""
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            row = await self._own(conn, ctx, volume_id)
            rules.in_status(row, ("available", "in-use"), "retype")
            type_row = await find(conn, ctx, new_type)
            if type_row.id != row.type_id and (row.encrypted or await type_rows.encryption(conn, type_row.id)):
                raise Invalid(
                    "Invalid volume: what is encrypted, or shall be, cannot change its type: its data would have to be written anew."
                )
            if why := self._backend.unserved(type_row.extra_specs):
                raise Invalid(f"Invalid volume: {why}")
            multiattach = "true" in type_row.extra_specs.get("multiattach", "").lower()
            if multiattach != row.multiattach and row.status != "available":
                raise Invalid("Invalid volume: Changing multiattach on a volume that is in use is not allowed.")
            if type_row.id != row.type_id:
                await rows.usage(conn, row.project_id, lock=True)
                await self._quotas.check_type(conn, row.project_id, type_row, volumes=1, gigabytes=row.size)
            await rows.change(conn, row.id, type_id=type_row.id, multiattach=multiattach)

    async def upload(self, ctx: Context, volume_id: str, name: str, disk_format: str, **more: Any) -> tuple[VolumeRow, Image]:
        """Begin to make an image of a volume. ``force``: of one in use, as it happens to be at the time."""
        rules.writer(ctx)
        if disk_format not in UPLOAD_FORMATS:
            raise Invalid(f"Invalid input for field/attribute disk_format: {disk_format} is not one of {', '.join(UPLOAD_FORMATS)}.")
        row = await self.get(ctx, volume_id)
        self._check_upload(row, more["force"])
        kept = ("image_id", "image_name", "checksum", "size", "container_format", "disk_format", "min_disk", "min_ram", "stores")
        properties = {key: value for key, value in row.image_metadata.items() if key not in (*kept, *signatures.PROPERTIES)}
        fields = {"visibility": more.get("visibility") or "shared", "protected": bool(more.get("protected")), "min_disk": row.size}
        image = await self._images.create(ctx, name, disk_format=disk_format, container_format="bare", properties=properties, **fields)
        try:
            async with self._database.transaction() as conn:
                row = await self._own(conn, ctx, volume_id)
                self._check_upload(row, more["force"])
                await rows.change(conn, row.id, status="uploading", status_before=row.status)
                await self._jobs.begin(conn, ctx, "upload", row.id, image_id=image.id, disk_format=disk_format)
        except BaseException:
            await self._images.delete(ctx, image.id)
            raise
        self._jobs.go()
        return msgspec.structs.replace(row, status="uploading"), image

    def _check_upload(self, row: VolumeRow, force: bool) -> None:
        if row.encrypted:
            raise Invalid(
                f"Invalid volume: Volume {row.id} is encrypted; no images are made of encrypted volumes, only snapshots and copies."
            )
        rules.in_status(row, ("available", "in-use") if force else ("available",), "upload as an image")

    async def reimage(self, ctx: Context, volume_id: str, image_id: str) -> None:
        """Write an image over a volume that no running guest has open; see ``VolumeService.reimage``."""
        rules.writer(ctx)
        image = await self._image(ctx, image_id)
        source = _from_image(image)
        async with self._database.transaction() as conn:
            row = await self._own(conn, ctx, volume_id)
            if row.status == "downloading":
                return
            rules.in_status(row, ("available", "error", "reserved", "in-use"), "write an image over it")
            if source.size > row.size:
                raise Invalid(f"The image needs {source.size} GiB, and volume {row.id} has {row.size} GiB.")
            facts = {"image_metadata": source.image_metadata, "bootable": True}
            await rows.change(conn, row.id, status="downloading", status_before=row.status, **facts)
            await self._jobs.begin(conn, ctx, "reimage", row.id, image_id=image.id)
        self._jobs.go()

    # -- parts

    async def _key(self, conn: Connection, volume_id: str, source: Source, kind: TypeRow, multiattach: bool) -> bytes | None:
        """The sealed passphrase of a new volume; None: it is not encrypted. Raises ``Invalid`` where its type does not fit."""
        wanted = await type_rows.encryption(conn, kind.id)
        if source.type_id not in (None, kind.id) and (wanted or source.encrypted):
            raise Invalid(
                f"Invalid input received: Invalid volume_type provided: {kind.id} (requested type is not compatible; either match "
                "source volume, or omit type argument)."
            )
        if wanted is None:
            return None
        encryption.bits(wanted)
        if multiattach:
            raise Invalid(f"Invalid volume type: {kind.name} asks for both encryption and multi-attach, which is not supported.")
        if source.encrypted is None:
            return await self._keys.make(volume_id, first=not await rows.any_encrypted(conn))
        sealed = await rows.sealed_key(conn, source.encrypted)
        assert sealed is not None
        return await self._keys.copy(sealed, source.encrypted, volume_id)

    async def _own(self, conn: Connection, ctx: Context, volume_id: str) -> VolumeRow:
        """The volume's row, held until the transaction ends."""
        return _seen(ctx, volume_id, await rows.get(conn, rules.well_formed("Volume", volume_id), lock=True))

    async def _image(self, ctx: Context, image_id: str) -> Image:
        try:
            image = await self._images.get(ctx, image_id)
        except NotFound:
            raise Invalid(f"Invalid image identifier or unable to access requested image: {image_id[:255]}.") from None
        if image.status != "active":
            raise Invalid(f"Invalid input received: Image {image.id} is not active.")
        return image

    async def _from_row(self, conn: Connection, ctx: Context, asked: Asked) -> Source:
        if asked.snapshot_id is not None:
            snapshot = await rows.snapshot(conn, rules.well_formed("Snapshot", asked.snapshot_id), lock=True)
            if snapshot is None or not rules.may_see(ctx, snapshot.project_id):
                raise NotFound(f"Snapshot {asked.snapshot_id} could not be found.")
            return await _from_snapshot(conn, snapshot)
        if asked.source_volume_id is not None:
            row = await self._own(conn, ctx, asked.source_volume_id)
            rules.in_status(row, ("available", "in-use"), "be copied")
            return _inherited(row, row.size, {"volume": row.id})
        return Source()


def _seen(ctx: Context, volume_id: str, row: VolumeRow | None) -> VolumeRow:
    if row is None or not rules.may_see(ctx, row.project_id):
        raise NotFound(f"Volume {volume_id} could not be found.")
    return row


async def _from_snapshot(conn: Connection, snapshot: SnapshotRow) -> Source:
    if snapshot.status != "available":
        raise Invalid(f"Invalid snapshot: Originating snapshot status must be available, but it is {snapshot.status}.")
    row = await rows.get(conn, snapshot.volume_id)
    if row is None:
        raise Conflict("The snapshot's volume is not there any more.")
    return _inherited(row, snapshot.size, {"snapshot": snapshot.id, "volume": row.id})


def _inherited(row: VolumeRow, size: int, job: dict[str, str]) -> Source:
    encrypted = row.id if row.encrypted else None
    return Source(size=size, bootable=row.bootable, image_metadata=row.image_metadata, type_id=row.type_id, encrypted=encrypted, job=job)


def _from_image(image: Image) -> Source:
    """Raises ``Forbidden`` for an image that only a service with its key could use."""
    if image.properties.get("cinder_encryption_key_id"):
        raise Forbidden(f"Image {image.id} was made of an encrypted volume by another volume service, which has its key.")
    size = max(image.min_disk, math.ceil((image.virtual_size or image.size or 0) / GIB), 1)
    facts = {
        "image_id": image.id,
        "image_name": image.name or "",
        "checksum": image.checksum or "",
        "container_format": image.container_format or "bare",
        "disk_format": image.disk_format or "",
        "min_disk": str(image.min_disk),
        "min_ram": str(image.min_ram),
        "size": str(image.size or 0),
    }
    return Source(size=size, bootable=True, image_metadata=image.properties | facts, status="downloading", job={"image_id": image.id})
