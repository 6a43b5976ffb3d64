"""The volume service inside nova_async: records in PostgreSQL, bytes where ``[volume]`` says."""

import asyncio
import socket
import uuid
from pathlib import Path
from typing import Any

from nova_async.certs.authority import Authority
from nova_async.config import Config
from nova_async.context import Context, service_context
from nova_async.db import Database
from nova_async.db import volumes as rows
from nova_async.db.volumes import SnapshotRow, VolumeRow
from nova_async.errors import Invalid, NotFound
from nova_async.services.image import ImageService
from nova_async.services.image.certificates import CertificateFolder, Certificates
from nova_async.services.volume import Attachment, Snapshot, Volume, Wanted
from nova_async.services.volume.attachments import Attachments
from nova_async.services.volume.backend import Backend
from nova_async.services.volume.bases import Bases
from nova_async.services.volume.encryption import Encryptions
from nova_async.services.volume.exports import Exports
from nova_async.services.volume.jobs import Jobs
from nova_async.services.volume.keys import Keys
from nova_async.services.volume.lvm import LvmStore
from nova_async.services.volume.qos import QosSpecs
from nova_async.services.volume.quotas import Quotas
from nova_async.services.volume.rbd import RbdStore
from nova_async.services.volume.snapshots import Snapshots
from nova_async.services.volume.store import VolumeStore
from nova_async.services.volume.stores import Store
from nova_async.services.volume.transfers import Transfers
from nova_async.services.volume.types import Types
from nova_async.services.volume.volumes import Asked, Volumes
from nova_async.storage_daemons import StorageDaemons
from nova_async.world import World

NAMES = uuid.UUID("0d4a5a7e-97a2-5d0e-8c52-8f4f3a0f7d31")  # namespace of the ids that keys give


class BuiltinVolumes:
    """``VolumeService`` on our own tables; ``volumes``, ``snapshots`` ... are its parts. Made by ``open``; ``run`` does its work."""

    def __init__(
        self,
        database: Database,
        config: Config,
        world: World,
        images: ImageService,
        store: Store,
        daemons: StorageDaemons,
        authority: Authority | None,
        certificates: Certificates,
    ) -> None:
        self.database, self.config, self.world, self.store = database, config, world, store
        self.host = config.compute.host or socket.gethostname()
        self.backend = Backend(database, self.host, store.traits)
        self.exports = Exports(database, config, world, store, daemons, self.host, authority)
        self.keys = Keys(config.state / "volume.key")
        self.jobs = Jobs(database, world, store, images, self.exports, self.keys, self.backend, certificates)
        self.quotas = Quotas(database, config)
        self.types = Types(database, world)
        self.encryptions = Encryptions(database, world)
        self.qos = QosSpecs(database, world)
        self.volumes = Volumes(database, config, world, images, self.jobs, self.quotas, self.keys, self.backend)
        self.snapshots = Snapshots(database, world, self.jobs, self.quotas)
        self.transfers = Transfers(database, world, self.quotas)
        self.holders = Attachments(database, world, self.exports)

    @classmethod
    async def open(
        cls,
        database: Database,
        config: Config,
        world: World,
        images: ImageService,
        authority: Authority | None = None,
        certificates: Certificates | None = None,
    ) -> "BuiltinVolumes":
        """``authority``: of hosts' certificates; ``certificates``: of images' signers, None for the operator's folder.

        Raises ``Invalid`` for a back end that there is not.
        """
        daemons = StorageDaemons(config.state / "exports", world)
        store = await _store(config, world, daemons)
        service = cls(database, config, world, images, store, daemons, authority, certificates or CertificateFolder(config))
        await service.types.bootstrap()
        return service

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.jobs.run(), name="volume-jobs")
            group.create_task(self.exports.run(), name="volume-exports")

    async def close(self) -> None:
        self.exports.shut()
        self.store.close()

    # -- VolumeService

    async def get(self, ctx: Context, volume_id: str) -> Volume:
        return volume_of(await self.volumes.get(ctx, volume_id))

    async def create(self, ctx: Context, key: str, wanted: Wanted) -> Volume:
        asked = Asked(
            size=wanted.size,
            name=wanted.name,
            description=wanted.description,
            volume_type=wanted.volume_type,
            zone=wanted.zone,
            image_id=wanted.image_id,
            snapshot_id=wanted.snapshot_id,
            metadata=wanted.metadata,
        )
        return volume_of(await self.volumes.create(ctx, asked, str(uuid.uuid5(NAMES, key))))

    async def made(self, ctx: Context, key: str) -> Volume | None:
        try:
            return await self.get(ctx, str(uuid.uuid5(NAMES, key)))
        except NotFound:
            return None

    async def delete(self, ctx: Context, volume_id: str) -> None:
        await self._delete(ctx, volume_id, force=False)

    async def discard(self, ctx: Context, volume_id: str) -> None:
        await self._delete(ctx, volume_id, force=True)

    async def _delete(self, ctx: Context, volume_id: str, *, force: bool) -> None:
        try:
            if (await self.volumes.get(ctx, volume_id)).status != "deleting":
                await self.volumes.delete(ctx, volume_id, force=force)
        except NotFound:
            return

    async def has_type(self, ctx: Context, name: str) -> bool:
        try:
            await self.types.get(ctx, name)
        except NotFound:
            return False
        return True

    async def find(self, ctx: Context) -> list[Volume]:
        return [volume_of(row) for row in await self.volumes.listing(ctx)]

    async def snapshot(self, ctx: Context, snapshot_id: str) -> Snapshot:
        return snapshot_of(await self.snapshots.get(ctx, snapshot_id))

    async def create_snapshot(self, ctx: Context, key: str, volume_id: str, name: str, description: str) -> Snapshot:
        chosen = str(uuid.uuid5(NAMES, key))
        return snapshot_of(await self.snapshots.create(ctx, volume_id, name, description, {}, force=True, snapshot_id=chosen))

    async def delete_snapshot(self, ctx: Context, snapshot_id: str) -> None:
        try:
            await self.snapshots.delete(ctx, snapshot_id)
        except NotFound:
            return

    async def discard_snapshot(self, ctx: Context, key: str) -> None:
        try:
            await self.snapshots.delete(ctx, str(uuid.uuid5(NAMES, key)), force=True)
        except NotFound:
            return

    async def tell_snapshot(self, ctx: Context, snapshot_id: str, status: str) -> None:
        await self.snapshots.follow(self._own(ctx), snapshot_id, status)

    async def find_snapshots(self, ctx: Context) -> list[Snapshot]:
        return [snapshot_of(row) for row in await self.snapshots.listing(ctx)]

    async def reserve(self, ctx: Context, volume_id: str, instance_id: str) -> str:
        return (await self.holders.reserve(ctx, volume_id, instance_id)).id

    async def connect(self, ctx: Context, attachment_id: str, connector: dict[str, Any], mountpoint: str) -> str:
        return (await self.holders.connect(self._own(ctx), attachment_id, connector, mountpoint)).id

    async def disconnect(self, ctx: Context, attachment_id: str) -> str:
        return (await self.holders.disconnect(self._own(ctx), attachment_id)).id

    async def join(self, ctx: Context, attachment_id: str, connector: dict[str, Any]) -> str:
        own = self._own(ctx)
        present = await self.holders.get(own, attachment_id)
        row = await self.holders.reserve_for_move(own, attachment_id)
        return (await self.holders.connect(own, row.id, connector, present.mountpoint)).id

    async def settle(self, ctx: Context, attachment_id: str, joined: str) -> None:
        await self.holders.settle(self._own(ctx), attachment_id, joined)

    async def complete(self, ctx: Context, attachment_id: str) -> None:
        await self.holders.complete(self._own(ctx), attachment_id)

    async def begin_detaching(self, ctx: Context, attachment_id: str) -> bool:
        return await self.holders.begin_detaching(self._own(ctx), attachment_id)

    async def free(self, ctx: Context, attachment_id: str) -> None:
        await self.holders.free(self._own(ctx), attachment_id)

    async def end_migration(self, ctx: Context, volume_id: str, new_id: str, *, failed: bool) -> str:
        """See ``VolumeService``: this service begins none, and what takes a volume's place is a volume of its own."""
        return volume_id if failed else new_id

    async def attachments(self, ctx: Context, instance_id: str) -> list[Attachment]:
        found = await self.holders.listing(self._own(ctx), all_projects=True, servers=[instance_id])
        return [Attachment(id=row.id, volume_id=row.volume_id, instance_id=row.instance_id or "", status=row.status) for row in found]

    async def connection(self, attachment_id: str) -> dict[str, Any]:
        """Where the back end has no way to all hosts, those other than this machine get at a volume through a process that hands it out to
        them alone.

        So does this machine while a guest comes to it: QEMU would refuse to open a file that the host it leaves has open still.
        """
        ctx = service_context("req-" + self.world.uuid())
        row = await self.holders.get(ctx, attachment_id)
        if row.connector is None:
            raise Invalid(f"Attachment {row.id} has no connector yet.")
        volume = await self.volumes.get(ctx, row.volume_id)
        limits = await self.qos.told(volume.type_id, volume.size)
        of_all = {"access_mode": row.mode, "qos_specs": limits, **await self._opened_by(volume)}
        if way := await self.store.way(row.volume_id, here=row.connector.get("host") == self.host and not row.moving):
            return way | {"data": way["data"] | of_all}
        kind, told = self.exports.way(await self.exports.open(row, volume))
        return {"driver_volume_type": kind, "data": told | of_all}

    async def _opened_by(self, volume: VolumeRow) -> dict[str, Any]:
        async with self.database.connection() as conn:
            sealed = await rows.sealed_key(conn, volume.id)
        return {"encrypted": True, "passphrase": await self.keys.open(sealed, volume.id)} if sealed else {"encrypted": False}

    async def reimage(self, ctx: Context, volume_id: str, image_id: str) -> None:
        await self.volumes.reimage(ctx, volume_id, image_id)

    def _own(self, ctx: Context) -> Context:
        """What is done on a server's behalf is done with the service's own rights."""
        return service_context(ctx.request_id, ctx.project_id, ctx.user_id)


async def _store(config: Config, world: World, daemons: StorageDaemons) -> Store:
    """Raises ``Invalid`` for a back end that there is not, or that cannot be had here."""
    folder = (Path(config.volume.store_dir) if config.volume.store_dir else config.files / "volumes").absolute()
    match config.volume.backend:
        case "file":
            if (config.volume.file_format, config.volume.protocol) == ("qcow2", "iscsi"):
                raise Invalid("volume.file_format: iSCSI hands out raw files alone; choose raw, or nbd as volume.protocol.")
            return await asyncio.to_thread(VolumeStore, folder, Bases(daemons), config.volume.file_format)
        case "rbd":
            return await RbdStore.open(config.volume, folder, world)
        case "lvm":
            return await LvmStore.open(config.volume, folder)
    raise Invalid(f"volume.backend: the built-in volume service has no back end {config.volume.backend!r}; it may be file, rbd or lvm.")


def volume_of(row: VolumeRow) -> Volume:
    return Volume(
        id=row.id,
        name=row.name or "",
        description=row.description or "",
        status=row.status,
        size=row.size,
        project_id=row.project_id,
        availability_zone=row.availability_zone,
        volume_type=row.type_name,
        bootable=row.bootable,
        multiattach=row.multiattach,
        encrypted=row.encrypted,
        read_only=bool(row.read_only),
        image_metadata=row.image_metadata,
        metadata=row.metadata,
        holders={a["instance_id"]: a["mountpoint"] for a in row.attachments if a["instance_id"]},
        snapshot_id=row.snapshot_id,
        created_at=row.created_at.isoformat(),
    )


def snapshot_of(row: SnapshotRow) -> Snapshot:
    return Snapshot(
        id=row.id,
        volume_id=row.volume_id,
        name=row.name or "",
        description=row.description or "",
        status=row.status,
        size=row.size,
        created_at=row.created_at.isoformat(),
    )
