"""The built-in image service: records in the database, bytes in a ``Store``, nothing served that was not inspected.

An upload writes and locks a temporary file, claims the image's row, streams and checks, renames the
file, and only then makes the row ``active``. Killed anywhere, ``reap`` finds what it left.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from multidict import MultiDict

from nova_async import log
from nova_async.config import Config
from nova_async.context import Context, service_context
from nova_async.db import Database
from nova_async.db import images as rows
from nova_async.db.images import Editable, Filters, ImageRow, MemberRow
from nova_async.errors import Conflict, Forbidden, Gone, Invalid, NotFound, TooLarge, Unavailable
from nova_async.services.image import Image, listing, rules, signatures
from nova_async.services.image.blank import blank_qcow2
from nova_async.services.image.certificates import CertificateFolder, Certificates
from nova_async.services.image.inspect import Inspection
from nova_async.services.image.store import CHUNK, Incoming, Store
from nova_async.world import World

MAX_UPLOADS = 16  # at once in this process
IDLE_SECONDS = 60.0  # of an uploader that sends nothing
ENSURE_SECONDS = 600.0
NAMES = uuid.UUID("6f0d7c5e-2f3b-5f0e-9a34-6d1b1c1f4a10")  # namespace of the ids that ``ensure_image`` gives
SHOWN = tuple(f for f in Image.__struct_fields__ if f not in ("tags", "created_at", "updated_at"))
logger = log.get("image")


class BuiltinImages:
    """Implements ``ImageService``. Made by ``open``; ``close`` ends its threads."""

    def __init__(self, db: Database, config: Config, world: World, store: Store, certificates: Certificates) -> None:
        self._db, self._world, self._store, self._certificates = db, world, store, certificates
        self._max_virtual_size = config.image.max_virtual_size_bytes
        self.max_size = config.image.max_size_bytes
        self._uploads = 0

    @classmethod
    async def open(cls, db: Database, config: Config, world: World, certificates: Certificates | None = None) -> "BuiltinImages":
        """Make the store's folder if need be, and clear what dead processes left in it. ``certificates``: None for those in a folder."""
        folder = Path(config.image.store_dir) if config.image.store_dir else config.state / "images"
        store = await asyncio.to_thread(Store, folder.absolute(), config.image.max_size_bytes)
        images = cls(db, config, world, store, certificates or CertificateFolder(config))
        await images.reap()
        return images

    async def close(self) -> None:
        self._store.close()

    # Records

    async def get(self, ctx: Context, image_id: str) -> Image:
        """Raises ``NotFound`` when there is none that the caller may see, ``Unavailable``."""
        return image_of(await self._visible(ctx, image_id))

    async def create(self, ctx: Context, name: str | None, *, disk_format: str | None, properties: dict[str, str], **fields: Any) -> Image:
        """A queued image. ``fields``: ``id`` and those of ``Editable``; a new image is of format ``bare``, shared, the caller's own."""
        rules.check_writer(ctx)
        image_id = fields.pop("id", None) or self._world.uuid()
        if not isinstance(image_id, str) or not rules.UUID.fullmatch(image_id):
            raise Invalid("Invalid image id: a UUID is expected.")
        if fields.get("owner") in (None, ""):
            fields["owner"] = ctx.project_id
        editable = Editable(name=name, disk_format=disk_format, properties=properties, **fields)
        rules.check_fields(ctx, editable)
        async with self._db.transaction() as conn:
            await rows.lock_owner(conn, editable.owner)
            if await rows.count(conn, editable.owner) >= rules.MAX_IMAGES:
                raise TooLarge(f"The limit of {rules.MAX_IMAGES} images of one project has been exceeded.")
            await rows.insert(conn, image_id.lower(), editable, self._world.now())
        return await self.get(ctx, image_id)

    async def change(self, ctx: Context, image_id: str, edit: Callable[[Editable], Editable]) -> Image:
        """Apply ``edit`` to the image's editable fields, alone in time. Raises ``Forbidden``, ``Invalid``, ``Conflict``."""
        async with self._db.transaction() as conn:
            row = await self._locked(conn, ctx, image_id)
            rules.check_change(ctx, row, "modify")
            before = editable_of(row)
            after = edit(editable_of(row))
            rules.check_fields(ctx, after, before)
            if row.status != "queued" and (after.disk_format, after.container_format) != (before.disk_format, before.container_format):
                raise Forbidden("Attribute 'disk_format' or 'container_format' can be changed only while the image is queued.")
            await rows.update(conn, row.id, after, self._world.now())
        return await self.get(ctx, image_id)

    async def delete(self, ctx: Context, image_id: str) -> None:
        """The record first, then its bytes; an upload under way notices and leaves nothing. Raises ``Forbidden`` when protected."""
        async with self._db.transaction() as conn:
            row = await self._locked(conn, ctx, image_id)
            rules.check_change(ctx, row, "delete")
            if row.protected:
                raise Forbidden(f"Image {row.id} is protected and cannot be deleted.")
            await rows.delete(conn, row.id)
        if row.data_id is not None:
            await self._store.remove(row.data_id)

    async def page(
        self, ctx: Context, filters: Filters, *, member_status: str, sort: list[tuple[str, str]], marker: str | None, limit: int
    ) -> list[Image]:
        """Those that the caller may list. Raises ``Invalid`` for a marker that the caller cannot see."""
        if marker is not None:
            await self._check_marker(ctx, marker)
        async with self._db.connection() as conn:
            found = await rows.page(
                conn, ctx.project_id, ctx.is_admin, filters, member_status=member_status, sort=sort, marker=marker, limit=limit
            )
        return [image_of(row) for row in found]

    async def owned(self, ctx: Context, project_id: str, properties: dict[str, str]) -> list[Image]:
        """See ``ImageService.owned``."""
        filters = Filters(owner=project_id, properties=properties)
        own = service_context(ctx.request_id, project_id)
        return await self.page(own, filters, member_status="accepted", sort=[("created_at", "desc")], marker=None, limit=1000)

    async def find(self, ctx: Context, query: dict[str, str]) -> list[Image]:
        """See ``ImageService.find``."""
        asked = listing.parse(MultiDict(query), listing.MAX_LIMIT)
        return await self.page(
            ctx, asked.filters, member_status=asked.member_status, sort=asked.sort, marker=asked.marker, limit=asked.limit
        )

    async def set_properties(self, ctx: Context, image_id: str, properties: dict[str, str]) -> Image:
        """See ``ImageService.set_properties``."""
        return await self.change(ctx, image_id, lambda fields: msgspec.structs.replace(fields, properties=dict(properties)))

    async def _check_marker(self, ctx: Context, marker: str) -> None:
        try:
            await self._visible(ctx, marker)
        except NotFound:
            raise Invalid("Invalid marker: no such image.") from None

    async def set_active(self, ctx: Context, image_id: str, active: bool) -> None:
        """Deactivate an image (its data are withheld from all but administrators and workers), or make it usable again."""
        before, after = ("deactivated", "active") if active else ("active", "deactivated")
        row = await self._visible(ctx, image_id)
        rules.check_change(ctx, row, "reactivate" if active else "deactivate")
        async with self._db.connection() as conn:
            changed = await rows.set_status(conn, row.id, before, after, self._world.now())
        if not changed and (await self._visible(ctx, image_id)).status != after:
            raise Invalid(f"Image status transition from {row.status} to {after} is not allowed.")

    # Bytes

    async def download(self, ctx: Context, image_id: str, *, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes of an active image (from ``start`` on), in chunks of at most 1 MiB.

        Raises ``NotFound``, ``Forbidden`` (deactivated), ``Conflict`` (no data yet), ``Unavailable``.
        """
        row = await self._visible(ctx, image_id)
        if row.status == "deactivated" and not ctx.is_service:
            raise Forbidden("The requested image has been deactivated. Image data download is forbidden.")
        if row.data_id is None or row.status not in ("active", "deactivated"):
            raise Conflict(f"Image {row.id} is not active; its status is {row.status}.")
        async with aclosing(self._store.read(row.data_id, start, length)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def upload(
        self, ctx: Context, image_id: str, data: AsyncIterator[bytes], *, size: int | None = None, stage: bool = False
    ) -> Image:
        """Fill a queued image; every byte is inspected. Staged data wait for ``import_staged``.

        ``size``, where known, must be what arrives. Raises ``Invalid`` (cut short, the data lie about their format, or are not what was
        signed), ``TooLarge``, ``Conflict`` (not queued), ``Gone`` (deleted meanwhile), ``Unavailable``. A failed upload leaves the
        image queued and no byte of it.
        """
        row = await self._visible(ctx, image_id)
        rules.check_upload(ctx, row)
        if size is not None and size > self.max_size:
            raise TooLarge(f"The image is larger than the limit of {self.max_size} bytes.")
        claim = None if stage else await self._claim(ctx, row)
        async with self._incoming(row, "uploading" if stage else "saving", claim) as (upload_id, incoming):
            await self._take(incoming, data, size)
            facts = await self._store.run(incoming.seal)
            async with self._db.connection() as conn:
                status = "uploading" if stage else "active"
                if not await rows.finish_upload(conn, row.id, upload_id, status, facts, self._world.now()):
                    raise Gone("The image was deleted, or its upload was taken over, before all of it had arrived.")
        logger.info("image.stored", image=row.id, bytes=facts.size, virtual_bytes=facts.virtual_size, format=row.disk_format)
        return await self.get(ctx, image_id)

    @asynccontextmanager
    async def _incoming(self, row: ImageRow, status: str, claim: signatures.Claim | None) -> AsyncIterator[tuple[str, Incoming]]:
        """A temporary file and the image's claim; both are given back unless the block ends well."""
        if row.status != "queued":
            raise Conflict(f"Image status transition from {row.status} to {status} is not allowed.")
        if row.disk_format is None or row.container_format is None:
            raise Invalid("Properties disk_format, container_format must be set prior to saving data.")
        if self._uploads >= MAX_UPLOADS:
            raise Unavailable("Too many images are being uploaded now. Try again later.")
        self._uploads += 1
        upload_id, kept = self._world.uuid(), False
        incoming: Incoming | None = None
        try:
            incoming = await self._store.begin(upload_id, Inspection(row.disk_format, self._max_virtual_size), claim)
            async with self._db.connection() as conn:
                if not await rows.claim_upload(conn, row.id, upload_id, status, self._world.now()):
                    raise Conflict(f"Image {row.id} is no longer queued: another upload has begun, or it was deleted.")
            yield upload_id, incoming
            kept = True
        finally:
            self._uploads -= 1
            await asyncio.shield(self._end(upload_id, incoming, kept))

    async def _end(self, upload_id: str, incoming: Incoming | None, kept: bool) -> None:
        """Whether the row was finished is asked of the row: an answer lost on the way must not cost the data."""
        if incoming is None:
            return
        try:
            if not kept:
                async with self._db.connection() as conn:
                    await rows.release_upload(conn, upload_id, self._world.now())
                    kept = upload_id in await rows.data_ids(conn)
        except Unavailable:
            kept = True  # nobody knows; the next ``reap`` does
        finally:
            await self._store.run(incoming.close, keep=kept)

    async def _take(self, incoming: Incoming, data: AsyncIterator[bytes], size: int | None) -> None:
        """Write all of ``data``, in pieces large enough to be worth a thread."""
        taken, piece = 0, bytearray()
        async for chunk in _with_deadline(data):
            piece += chunk
            taken += len(chunk)
            if len(piece) >= CHUNK:
                await self._store.run(incoming.write, bytes(piece))
                piece = bytearray()
        await self._store.run(incoming.write, bytes(piece))
        if size is not None and taken != size:
            raise Invalid(f"Size mismatch: {size} bytes were announced and {taken} arrived.")

    async def import_staged(self, ctx: Context, image_id: str) -> None:
        """Make staged data the image's own. Raises ``Conflict`` when nothing is staged, ``Invalid`` when they are not what was signed:
        then they are dropped.
        """
        row = await self._visible(ctx, image_id)
        rules.check_change(ctx, row, "import data to")
        if row.status == "uploading" and row.data_id is not None:
            await self._check_staged(ctx, row, row.data_id)
        async with self._db.connection() as conn:
            if not await rows.activate_staged(conn, row.id, self._world.now()):
                raise Conflict("The image has no staged data: its status must be uploading, and the staging complete.")

    async def _check_staged(self, ctx: Context, row: ImageRow, data_id: str) -> None:
        try:
            if (claim := await self._claim(ctx, row)) is not None:
                claim.check(await self._store.digest(data_id, claim))
        except Invalid:
            async with self._db.connection() as conn:
                dropped = await rows.drop_staged(conn, row.id, data_id, self._world.now())
            if dropped:
                await self._store.remove(data_id)
            raise

    async def _claim(self, ctx: Context, row: ImageRow) -> signatures.Claim | None:
        """What the bytes must be of an image that has all that a signature takes; as Glance, one that lacks something is not signed."""
        if signatures.missing(row.properties):
            return None
        certificate = await self._certificates.get(ctx, row.properties[signatures.CERTIFICATE])
        return signatures.claim(row.properties, certificate, self._world.now())

    async def reap(self) -> int:
        """Give back the claims of uploads whose process died, and remove files that no record names. Safe at any time."""
        async with self._db.connection() as conn:
            claims = await rows.uploads_under_way(conn)
        for upload_id in claims:
            if not await self._store.is_live(upload_id):
                async with self._db.connection() as conn:
                    await rows.release_upload(conn, upload_id, self._world.now())
        unheld = await self._store.unheld()
        async with self._db.connection() as conn:
            known = await rows.data_ids(conn)
        orphans = [path for path in unheld if path.parent.name == "uploads" or path.name not in known]
        await self._store.discard(orphans)
        if orphans:
            logger.info("image.leftovers_removed", files=len(orphans))
        return len(orphans)

    # Members

    async def members(self, ctx: Context, image_id: str) -> list[MemberRow]:
        """All of them to the owner; to a member itself alone. Raises ``Forbidden`` where the image has none."""
        row = await self._visible(ctx, image_id)
        if row.visibility != "shared":
            raise Forbidden("Only shared images have members.")
        async with self._db.connection() as conn:
            found = await rows.members(conn, row.id)
        return [m for m in found if ctx.is_admin or row.owner == ctx.project_id or m.member == ctx.project_id]

    async def member(self, ctx: Context, image_id: str, member: str) -> MemberRow:
        for found in await self.members(ctx, image_id):
            if found.member == member:
                return found
        raise NotFound(f"{member[:64]} not found in the member list of the image {image_id}.")

    async def add_member(self, ctx: Context, image_id: str, member: str) -> MemberRow:
        if not member or len(member) > rules.MAX_TEXT or "\0" in member:
            raise Invalid("Member can't be empty, and is the id of a project.")
        async with self._db.transaction() as conn:
            row = await self._locked(conn, ctx, image_id)
            rules.check_change(ctx, row, "share")
            if row.visibility != "shared":
                raise Forbidden("Only shared images have members.")
            if len(await rows.members(conn, row.id)) >= rules.MAX_MEMBERS:
                raise TooLarge(f"The limit of {rules.MAX_MEMBERS} image members has been exceeded.")
            await rows.insert_member(conn, row.id, member, self._world.now())
        return await self.member(ctx, image_id, member)

    async def set_member_status(self, ctx: Context, image_id: str, member: str, status: str) -> MemberRow:
        """The member itself decides; the owner may not decide for it."""
        found = await self.member(ctx, image_id, member)
        rules.check_writer(ctx)
        if not ctx.is_admin and ctx.project_id != member:
            raise Forbidden("Only the member itself may change its status.")
        if status not in ("pending", "accepted", "rejected"):
            raise Invalid("Invalid value for status: expected one of pending, accepted, rejected.")
        async with self._db.connection() as conn:
            await rows.set_member_status(conn, found.image_id, member, status, self._world.now())
        return await self.member(ctx, image_id, member)

    async def remove_member(self, ctx: Context, image_id: str, member: str) -> None:
        found = await self.member(ctx, image_id, member)
        rules.check_change(ctx, await self._visible(ctx, image_id), "share")
        async with self._db.connection() as conn:
            await rows.delete_member(conn, found.image_id, member)

    # Images that come with the cloud

    async def ensure_image(self, ctx: Context, name: str, path: str | Path, disk_format: str, properties: dict[str, str]) -> Image:
        """A public, active image of this name: the one there is, else made of the file at ``path``. Raises as ``upload``."""
        return await self._ensure(ctx, name, disk_format, properties, lambda: _file_chunks(self._store, Path(path)))

    async def ensure_blank(self, ctx: Context, name: str = "cirros-fake", mib: int = 1) -> Image:
        """A public, active image of an empty disk of ``mib`` MiB, for the fake driver."""
        return await self._ensure(ctx, name, "qcow2", {}, lambda: _chunks(blank_qcow2(mib)))

    async def _ensure(self, ctx: Context, name: str, disk_format: str, properties: dict[str, str], data: Any) -> Image:
        """The id comes from the name, so that of two processes only one makes the image and the other waits for it."""
        admin = service_context(ctx.request_id, ctx.project_id, ctx.user_id)
        image_id = str(uuid.uuid5(NAMES, name))
        give_up = self._world.monotonic() + ENSURE_SECONDS
        while self._world.monotonic() < give_up:
            async with self._db.connection() as conn:
                found = await rows.public_named(conn, name)
            if found is not None:
                return await self.get(admin, found)
            try:
                await self._create_public(admin, image_id, name, disk_format, properties)
                return await self.upload(admin, image_id, data())
            except (Conflict, Gone):
                await self._world.sleep(0.5)
        raise Unavailable(f"The image {name!r} is being uploaded by another process, which does not come to an end.")

    async def _create_public(self, ctx: Context, image_id: str, name: str, disk_format: str, properties: dict[str, str]) -> None:
        try:
            row = await self._visible(ctx, image_id)
        except NotFound:
            fields = {"id": image_id, "visibility": "public", "container_format": "bare"}
            await self.create(ctx, name, disk_format=disk_format, properties=properties, **fields)
            return
        if row.status not in ("queued", "saving"):
            raise Invalid(f"The image {image_id} was made as {name!r} and is no longer active, public and so named; restore or delete it.")

    # Rows

    async def _visible(self, ctx: Context, image_id: str) -> ImageRow:
        if not rules.UUID.fullmatch(image_id):
            raise rules.no_image(image_id)
        async with self._db.connection() as conn:
            row = await rows.get(conn, image_id, ctx.project_id)
        if row is None or not rules.may_see(ctx, row):
            raise rules.no_image(image_id)
        return row

    async def _locked(self, conn: Any, ctx: Context, image_id: str) -> ImageRow:
        """As ``_visible``, holding the row until the transaction ends."""
        row = await rows.lock(conn, image_id, ctx.project_id) if rules.UUID.fullmatch(image_id) else None
        if row is None or not rules.may_see(ctx, row):
            raise rules.no_image(image_id)
        return row


def image_of(row: ImageRow) -> Image:
    shown = {name: getattr(row, name) for name in SHOWN}
    return Image(**shown, tags=tuple(row.tags), created_at=timestamp(row.created_at), updated_at=timestamp(row.updated_at))


def editable_of(row: ImageRow) -> Editable:
    shown = {name: getattr(row, name) for name in Editable.__struct_fields__}
    return Editable(**shown | {"tags": list(row.tags), "properties": dict(row.properties)})


def timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


async def _with_deadline(data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks of ``data``; raises ``Unavailable`` when the sender falls silent."""
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await anext(data)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Unavailable(f"No data arrived for {IDLE_SECONDS:.0f} seconds.") from None
        yield chunk


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _file_chunks(store: Store, path: Path) -> AsyncIterator[bytes]:
    file = await store.run(_open_readable, path)
    try:
        while chunk := await store.run(file.read, CHUNK):
            yield chunk
    finally:
        file.close()


def _open_readable(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise Invalid(f"The image file {path.name} cannot be read: {error.strerror}.") from None
