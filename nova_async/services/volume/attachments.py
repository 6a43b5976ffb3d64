"""Who holds a volume: kept for a server (reserved), reached by its host (attaching), had by its guest (attached, detaching).

The states of the volume follow in the same transaction; the database itself refuses a second holder of a volume that is not
made for several.
"""

from typing import Any

from nova_async.context import Context
from nova_async.db import Connection, Database
from nova_async.db import volumes as rows
from nova_async.db.volumes import AttachmentRow, VolumeRow
from nova_async.errors import Conflict, Invalid, NotFound, TooLarge
from nova_async.services.volume import rules
from nova_async.services.volume.exports import Exports
from nova_async.world import World

# Where there are several the first of these tells the volume's status.
VOLUME_STATUS = {"detaching": "detaching", "attached": "in-use", "attaching": "attaching", "reserved": "reserved"}
HAD = ("attached", "detaching")


class Attachments:
    def __init__(self, database: Database, world: World, exports: Exports) -> None:
        self._database, self._world, self._exports = database, world, exports

    async def listing(
        self, ctx: Context, *, all_projects: bool = False, volumes: list[str] | None = None, servers: list[str] | None = None
    ) -> list[AttachmentRow]:
        async with self._database.connection() as conn:
            project = None if all_projects and ctx.is_service else ctx.project_id
            return await rows.attachments(conn, project, volumes=volumes, servers=servers)

    async def get(self, ctx: Context, attachment_id: str) -> AttachmentRow:
        async with self._database.connection() as conn:
            return await self._seen(conn, ctx, attachment_id)

    async def reserve(self, ctx: Context, volume_id: str, instance_id: str | None, mode: str = "rw") -> AttachmentRow:
        """The attachment of this pair, made now when there is none."""
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            volume = await self._volume(conn, ctx, volume_id)
            if instance_id is not None:
                for earlier in await rows.attachments(conn, volumes=[volume.id], servers=[instance_id]):
                    if not earlier.moving:
                        return earlier
            _check_free(volume)
            if len(await rows.attachments(conn, volumes=[volume.id])) >= rules.MAX_ATTACHMENTS:
                raise TooLarge(
                    f"AttachmentLimitExceeded: Volume {volume.id} has {rules.MAX_ATTACHMENTS} attachments already; delete some first."
                )
            attachment_id = self._world.uuid()
            await rows.insert_attachment(
                conn,
                attachment_id,
                volume.id,
                instance_id,
                shared=volume.multiattach,
                status="reserved",
                mode=mode,
                secret=self._world.secret(32),
            )
            await self._follow(conn, volume.id)
            return await self._seen(conn, ctx, attachment_id)

    async def reserve_for_move(self, ctx: Context, attachment_id: str) -> AttachmentRow:
        """Beside the attachment of a server one for the host that it moves to, the same when repeated."""
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            row = await self._seen(conn, ctx, attachment_id)
            volume = await self._volume(conn, ctx, row.volume_id)
            assert row.instance_id is not None
            for one in await rows.attachments(conn, volumes=[volume.id], servers=[row.instance_id]):
                if one.moving:
                    return one
            new, facts = self._world.uuid(), {"shared": volume.multiattach, "status": "reserved", "mode": row.mode}
            await rows.insert_attachment(conn, new, volume.id, row.instance_id, secret=self._world.secret(32), moving=True, **facts)
            return await self._seen(conn, ctx, new)

    async def settle(self, ctx: Context, attachment_id: str, moved: str) -> None:
        """The server has moved: ``moved`` takes the place of its attachment. Safe to repeat."""
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            new = await self._seen(conn, ctx, moved)
            await self._volume(conn, ctx, new.volume_id)
            await rows.delete_attachment(conn, attachment_id)
            await rows.settle_attachment(conn, new.id)
            await rows.connect(conn, new.id, "attached", new.connector, None)
            await self._follow(conn, new.volume_id)
        await self._exports.end_unwanted(attachment_id, new.volume_id)

    async def connect(self, ctx: Context, attachment_id: str, connector: dict[str, Any] | None, mountpoint: str | None) -> AttachmentRow:
        """Another host takes the place of the one before, whose way to the volume is closed. ``connector`` None: no host of ours."""
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            row = await self._seen(conn, ctx, attachment_id)
            await self._volume(conn, ctx, row.volume_id)
            if row.connector != connector:
                await rows.delete_export(conn, row.id)
            status = row.status if row.status in HAD else "attaching"
            await rows.connect(conn, row.id, status, connector, mountpoint)
            await self._follow(conn, row.volume_id)
            row = await self._seen(conn, ctx, row.id)
        await self._exports.end_unwanted(row.id, row.volume_id)
        return row

    async def disconnect(self, ctx: Context, attachment_id: str) -> AttachmentRow:
        """Kept for the server, and reached by no host."""
        async with self._database.transaction() as conn:
            row = await self._seen(conn, ctx, attachment_id)
            await self._volume(conn, ctx, row.volume_id)
            await rows.delete_export(conn, row.id)
            await rows.connect(conn, row.id, "reserved", None, None)
            await self._follow(conn, row.volume_id)
            row = await self._seen(conn, ctx, row.id)
        await self._exports.end_unwanted(row.id, row.volume_id)
        return row

    async def complete(self, ctx: Context, attachment_id: str) -> None:
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            row = await self._seen(conn, ctx, attachment_id)
            await self._volume(conn, ctx, row.volume_id)
            await rows.connect(conn, row.id, "attached", row.connector, None)
            await self._follow(conn, row.volume_id)

    async def begin_detaching(self, ctx: Context, attachment_id: str) -> bool:
        """See ``VolumeService``."""
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            row = await self._seen(conn, ctx, attachment_id)
            volume = await self._volume(conn, ctx, row.volume_id)
            row = await self._seen(conn, ctx, attachment_id)
            if row.status == "detaching":
                return False
            rules.in_status(volume, ("in-use", "detaching") if row.status == "attached" else ("in-use",), "detach")
            await rows.connect(conn, row.id, "detaching", row.connector, None)
            await self._follow(conn, row.volume_id)
            return True

    async def free(self, ctx: Context, attachment_id: str) -> AttachmentRow | None:
        """The one that was there; None when there was none."""
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            try:
                row = await self._seen(conn, ctx, attachment_id)
            except NotFound:
                return None
            volume = await self._volume(conn, ctx, row.volume_id)
            _check_letting_go(ctx, row)
            await rows.delete_attachment(conn, row.id)
            for other in await rows.attachments(conn, volumes=[volume.id], servers=[row.instance_id] if row.instance_id else []):
                await rows.settle_attachment(conn, other.id)  # the server has moved
            await self._follow(conn, volume.id)
        await self._exports.end_unwanted(row.id, row.volume_id)
        return row

    async def take_off(self, ctx: Context, volume_id: str, attachment_id: str | None, wanted: tuple[str, ...]) -> None:
        """End one attachment of a volume, or the only one; the volume's status, one of ``wanted``, then says what is left.

        Raises ``Invalid`` where it is not clear which, ``Conflict`` for what a host of ours has.
        """
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            volume = await self._volume(conn, ctx, volume_id)
            rules.in_status(volume, wanted, "detach")
            held = await rows.attachments(conn, volumes=[volume.id])
            if attachment_id is None and len(held) > 1:
                raise Invalid("Invalid volume: Detach volume failed: More than one attachment, but no attachment_id provided.")
            gone = [row for row in held if attachment_id in (None, row.id)]
            for row in gone:
                _check_letting_go(ctx, row)
                await rows.delete_attachment(conn, row.id)
            await rows.change(conn, volume.id, status="available")
            await self._follow(conn, volume.id)
        for row in gone:
            await self._exports.end_unwanted(row.id, row.volume_id)

    async def _follow(self, conn: Connection, volume_id: str) -> None:
        """Let the volume's status say what its attachments are, unless something else is being done with it."""
        volume = await rows.get(conn, volume_id)
        assert volume is not None
        held = {a["status"] for a in volume.attachments}
        status = next((told for had, told in VOLUME_STATUS.items() if had in held), "available")
        busy = volume.status in ("downloading", "uploading", "extending", "creating")
        if busy and volume.status_before is not None:
            await rows.change(conn, volume_id, status_before=status)
        elif volume.status in (*VOLUME_STATUS.values(), "available"):
            await rows.change(conn, volume_id, status=status)

    async def _volume(self, conn: Connection, ctx: Context, volume_id: str) -> VolumeRow:
        """Held until the transaction ends."""
        volume = await rows.get(conn, rules.well_formed("Volume", volume_id), lock=True)
        if volume is None or not rules.may_see(ctx, volume.project_id):
            raise NotFound(f"Volume {volume_id} could not be found.")
        return volume

    async def _seen(self, conn: Connection, ctx: Context, attachment_id: str) -> AttachmentRow:
        found = await rows.attachments(conn, ids=[rules.well_formed("Volume attachment", attachment_id)])
        if not found or not rules.may_see(ctx, found[0].project_id):
            raise NotFound(f"Volume attachment could not be found with filter: attachment_id = {attachment_id}.")
        return found[0]


def _check_letting_go(ctx: Context, row: AttachmentRow) -> None:
    """What a host reaches for a server is the compute service's to take, whoever else asks (SEC-034)."""
    if row.instance_id and row.connector and "service" not in ctx.roles:
        raise Conflict(f"Detach volume from instance {row.instance_id} using the Compute API.")


def _check_free(volume: VolumeRow) -> None:
    wanted = ("available", "in-use", "reserved", "attaching") if volume.multiattach else ("available",)
    if volume.status == "in-use" and not volume.multiattach:
        raise Invalid(f"Invalid volume: Volume {volume.id} status must be available to reserve, but the current status is in-use.")
    rules.in_status(volume, wanted, "reserve")
