"""Work on the bytes of volumes: rows that some process holds a lease on, each safe to be done again.

The row of a job is deleted in the transaction that says how it ended. ``run`` is the loop that does them; ``go`` wakes it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import msgspec

from nova_async import log
from nova_async.context import Context, service_context
from nova_async.db import Connection, Database, volume_types
from nova_async.db import volumes as rows
from nova_async.db.volumes import JobRow, VolumeRow
from nova_async.errors import Conflict, Error, Invalid, Unavailable, plain
from nova_async.qemu_img import Luks
from nova_async.services.image import Image, ImageService, signatures
from nova_async.services.image.certificates import Certificates
from nova_async.services.volume import encryption
from nova_async.services.volume.backend import Backend
from nova_async.services.volume.exports import Exports
from nova_async.services.volume.keys import Keys
from nova_async.services.volume.stores import Copier, Origin, Store
from nova_async.world import World

AT_ONCE = 8
LEASE_SECONDS = 20.0
POLL_SECONDS = 2.0
MOST_TRIES = 20
REAP_SECONDS = 60.0
MESSAGE_DAYS = 30
AS_BEFORE = "as before"  # the status that was kept when the work began
logger = log.get("volume.jobs")


class Grown(Protocol):
    async def __call__(self, ctx: Context, volume_id: str, instance_id: str, size: int) -> None:
        """A volume that a server has is larger now (GiB). Raises ``Unavailable`` while the server is busy."""
        ...


class Jobs:
    def __init__(
        self,
        database: Database,
        world: World,
        store: Store,
        images: ImageService,
        exports: Exports,
        keys: Keys,
        backend: Backend,
        certificates: Certificates,
    ) -> None:
        self._database, self._world, self._store, self._images, self._certificates = database, world, store, images, certificates
        self._exports, self._keys, self._backend = exports, keys, backend
        self._owner = world.uuid()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._taking = False
        self.on_grown: Grown | None = None
        self._kinds: dict[str, Callable[[JobRow], Awaitable[dict[str, Any] | None]]] = {
            "create": self._create,
            "delete": self._delete,
            "extend": self._extend,
            "upload": self._upload,
            "reimage": self._reimage,
            "create_snapshot": self._create_snapshot,
            "delete_snapshot": self._delete_snapshot,
        }

    async def begin(self, conn: Connection, ctx: Context, kind: str, volume_id: str, snapshot_id: str | None = None, **input: Any) -> None:
        """In the caller's transaction; ``go`` after it."""
        await rows.insert_job(conn, self._world.uuid(), volume_id, snapshot_id, kind, input, ctx)

    def go(self) -> None:
        self._wake.set()

    async def idle(self) -> None:
        """Wait until nothing that this process holds is under way."""
        while self._wake.is_set() or self._taking or self._running:
            await self._world.sleep(0.01)

    async def run(self) -> None:
        """Do jobs until cancelled; what is cut off is taken up by whoever finds its lease lapsed."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew_forever(), name="volume-leases")
            group.create_task(self._reap_forever(), name="volume-reaper")
            while True:
                await self._take(group)
                try:
                    async with asyncio.timeout(POLL_SECONDS * (0.8 + 0.4 * self._world.random.random())):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    async def _take(self, group: asyncio.TaskGroup) -> None:
        room = AT_ONCE - len(self._running)
        self._taking = True
        self._wake.clear()
        try:
            if room <= 0:
                return
            async with self._database.connection() as conn:
                jobs = await rows.take_jobs(conn, self._owner, LEASE_SECONDS, room)
            for job in jobs:
                self._running[job.id] = group.create_task(self._work(job), name=f"volume-{job.kind}-{job.volume_id}")
        except Unavailable as error:
            logger.warning("volume.jobs_not_taken", error=error.message)
        finally:
            self._taking = False

    async def _renew_forever(self) -> None:
        while True:
            await self._world.sleep(LEASE_SECONDS / 4)
            if not self._running:
                continue
            try:
                async with self._database.connection() as conn:
                    ours = await rows.renew_jobs(conn, self._owner, list(self._running), LEASE_SECONDS)
            except Unavailable:
                continue
            for job_id in self._running.keys() - ours:
                if task := self._running.get(job_id):
                    task.cancel()

    async def _work(self, job: JobRow) -> None:
        with log.bound(volume=job.volume_id, job=job.kind):
            try:
                ended = await self._kinds[job.kind](job)
                await self._end(job, ended)
                logger.info(f"volume.{job.kind}", snapshot=job.snapshot_id)
            except Unavailable as error:
                await self._put_off(job, error)
            except Error as error:
                await self._failed(job, error)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                logger.exception("volume.job_crashed")
                await self._failed(job, Error("The volume service met an unexpected error; its log names it.", detail=plain(error)))
            finally:
                self._running.pop(job.id, None)
                self._wake.set()

    async def _put_off(self, job: JobRow, error: Error) -> None:
        if job.tries >= MOST_TRIES:
            return await self._failed(job, error)
        logger.warning("volume.job_put_off", error=error.message, detail=error.detail)
        pause = min(30.0, 0.5 * 2.0 ** min(job.tries, 10)) * (0.5 + self._world.random.random() / 2)
        try:
            async with self._database.connection() as conn:
                await rows.put_job_off(conn, job.id, self._owner, pause)
        except Unavailable:
            return None  # its lease lapses

    async def _end(self, job: JobRow, columns: dict[str, Any] | None) -> None:
        """``columns`` of the snapshot, or of the volume; None: the row itself goes."""
        async with self._database.transaction() as conn:
            volume = await rows.get(conn, job.volume_id, lock=True)  # before its jobs, as whoever deletes it does
            if not await rows.end_job(conn, job.id, self._owner):
                return
            if job.snapshot_id is not None:
                if columns is None:
                    await rows.delete_snapshot(conn, job.snapshot_id)
                else:
                    await rows.change_snapshot(conn, job.snapshot_id, **columns)
            elif columns is None:
                await rows.delete(conn, job.volume_id)
            else:
                if columns["status"] == AS_BEFORE:
                    columns = {"status": (volume and volume.status_before) or "available"}
                await rows.change(conn, job.volume_id, **columns, status_before=None)

    async def _failed(self, job: JobRow, error: Error) -> None:
        """The thing says that it failed, and its owner finds a message why."""
        logger.warning("volume.job_failed", error=error.message, detail=error.detail)
        ctx = msgspec.convert(job.context, Context)
        kind = "VOLUME_SNAPSHOT" if job.snapshot_id else "VOLUME"
        about = job.snapshot_id or job.volume_id
        try:
            async with self._database.transaction() as conn:
                volume = await rows.get(conn, job.volume_id, lock=True)
                if not await rows.end_job(conn, job.id, self._owner) or volume is None:
                    return
                if job.snapshot_id is not None:
                    await rows.change_snapshot(conn, job.snapshot_id, status="error_deleting" if job.kind == "delete_snapshot" else "error")
                else:
                    await rows.change(conn, job.volume_id, status=_after_failure(job, volume), status_before=None)
                note = volume_types.MessageRow(
                    id=self._world.uuid(),
                    project_id=volume.project_id,
                    request_id=ctx.request_id,
                    resource_type=kind,
                    resource_id=about,
                    event=job.kind,
                    message=error.message,
                    created_at=self._world.now(),
                )
                await volume_types.insert_message(conn, note)
        except Unavailable:
            return
        if job.kind == "upload":
            await self._forget_image(job)

    async def _forget_image(self, job: JobRow) -> None:
        try:
            await self._images.delete(msgspec.convert(job.context, Context), job.input["image_id"])
        except Error as error:
            logger.warning("volume.image_left", image=job.input["image_id"], error=error.message)

    # -- the kinds of work; each returns what the row says afterwards

    async def _create(self, job: JobRow) -> dict[str, Any]:
        volume = await self._volume(job)
        async with self._database.connection() as conn:
            [kind] = await volume_types.types(conn, None, [volume.type_id])
            if why := await self._backend.refusal(conn, kind.extra_specs):
                raise Error(why)
        source = job.input.get("volume", "")  # jobs of older releases name it only where it is not a snapshot that is copied
        if snapshot := job.input.get("snapshot"):
            await self._store.clone(Origin(source, snapshot), volume.id, volume.size, encrypted=volume.encrypted)
        elif source:
            await self._store.clone(Origin(source), volume.id, volume.size, await self._copier(source), encrypted=volume.encrypted)
        elif image_id := job.input.get("image_id"):
            await self._from_image(job, volume, image_id)
        else:
            await self._store.make(volume.id, volume.size, await self._luks(volume))
        return {"status": "available"}

    async def _reimage(self, job: JobRow) -> dict[str, Any]:
        volume = await self._volume(job)
        await self._from_image(job, volume, job.input["image_id"])
        return {"status": AS_BEFORE}

    async def _from_image(self, job: JobRow, volume: VolumeRow, image_id: str) -> None:
        ctx = service_context(msgspec.convert(job.context, Context).request_id)  # who asked was allowed to when they asked
        image = await self._images.get(ctx, image_id)
        data, luks = await self._bytes_of(ctx, image), await self._luks(volume)
        await self._store.from_image(volume.id, volume.size, image.disk_format or "", data, luks)

    async def _bytes_of(self, ctx: Context, image: Image) -> AsyncIterator[bytes]:
        """The image's data; they raise ``Invalid`` in the end where they are not what was signed. As in Cinder, unsigned images will do."""
        data, lacking = self._images.download(ctx, image.id), signatures.missing(image.properties)
        if len(lacking) == len(signatures.PROPERTIES):
            return data
        if lacking:
            raise Invalid(f"The signature of image {image.id} is incomplete: it lacks {', '.join(lacking)}.")
        certificate = await self._certificates.get(ctx, image.properties[signatures.CERTIFICATE])
        return signatures.claim(image.properties, certificate, self._world.now()).checked(data)

    async def _extend(self, job: JobRow) -> dict[str, Any]:
        volume = await self._volume(job)
        await self._store.grow(volume.id, volume.size, encrypted=volume.encrypted)
        await self._exports.grown(volume.id)
        if self.on_grown is not None:
            for server in [a["instance_id"] for a in volume.attachments if a["instance_id"]]:
                await self.on_grown(msgspec.convert(job.context, Context), volume.id, server, volume.size)
        return {"status": AS_BEFORE}

    async def _upload(self, job: JobRow) -> dict[str, Any]:
        """An image that is active already was sent by an earlier run, whose word was lost."""
        ctx = msgspec.convert(job.context, Context)
        if (await self._images.get(ctx, job.input["image_id"])).status != "active":
            copy = await self._store.as_image(job.volume_id, job.input["disk_format"], await self._copier(job.volume_id))
            try:
                await self._images.upload(ctx, job.input["image_id"], self._store.read(copy))
            finally:
                await self._store.discard(copy)
        return {"status": AS_BEFORE}

    async def _delete(self, job: JobRow) -> None:
        """Its snapshots, if they go with it, go first."""
        async with self._database.connection() as conn:
            if await rows.snapshots(conn, volumes=[job.volume_id]):
                raise Unavailable("The volume's snapshots are still being deleted.")
        await self._store.remove(job.volume_id)

    async def _create_snapshot(self, job: JobRow) -> dict[str, Any]:
        volume = await self._volume(job)
        assert job.snapshot_id is not None
        copier = await self._copier(volume.id)
        await self._store.snapshot(volume.id, job.snapshot_id, volume.size, copier, encrypted=volume.encrypted)
        return {"status": "available"}

    async def _delete_snapshot(self, job: JobRow) -> None:
        assert job.snapshot_id is not None
        await self._store.remove_snapshot(job.volume_id, job.snapshot_id)

    async def _copier(self, volume_id: str) -> Copier | None:
        """What copies a volume that a guest writes to; None for one that nobody has."""
        async with self._database.connection() as conn:
            volume = await rows.get(conn, volume_id)
        return partial(self._exports.copy, volume) if volume is not None and volume.attachments else None

    async def _luks(self, volume: VolumeRow) -> Luks | None:
        """How a volume is to be encrypted; None: not at all."""
        async with self._database.connection() as conn:
            sealed = await rows.sealed_key(conn, volume.id)
            kind = await volume_types.encryption(conn, volume.type_id) if sealed else None
        if sealed is None:
            return None
        if kind is None:
            raise Conflict("The volume's type does not say any more how volumes are encrypted.")
        return Luks(await self._keys.open(sealed, volume.id), encryption.bits(kind))

    async def _volume(self, job: JobRow) -> VolumeRow:
        async with self._database.connection() as conn:
            volume = await rows.get(conn, job.volume_id)
        if volume is None:
            raise Conflict("The volume is gone.")
        return volume

    # -- what dead processes left

    async def _reap_forever(self) -> None:
        while True:
            try:
                await self.reap()
            except Error as error:
                logger.warning("volume.not_reaped", error=error.message, detail=error.detail)
            await self._world.sleep(REAP_SECONDS * (0.8 + 0.4 * self._world.random.random()))

    async def reap(self) -> None:
        """Remove what belongs to no row; what there is is listed first, so that nothing made meanwhile is hit."""
        names = await self._store.names()
        async with self._database.connection() as conn:
            wanted = await rows.files(conn)
            await volume_types.expire_messages(conn, MESSAGE_DAYS)
        for name in names - wanted:
            logger.info("volume.reaped", name=name)
            await self._store.remove(name)


def _after_failure(job: JobRow, volume: VolumeRow) -> str:
    match job.kind:
        case "extend":
            return "error_extending"
        case "upload":
            return volume.status_before or "available"
        case "delete":
            return "error_deleting"
    return "error"
