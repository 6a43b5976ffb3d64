"""A volume changes its project: one offers it, and the other accepts with the key that came with the offer."""

import hashlib
import hmac

from nova_async.context import Context
from nova_async.db import Connection, Database, volumes
from nova_async.db import volume_transfers as rows
from nova_async.db.volume_transfers import TransferRow
from nova_async.db.volumes import SnapshotRow, VolumeRow
from nova_async.errors import Invalid, NotFound
from nova_async.services.volume import rules
from nova_async.services.volume.quotas import Quotas
from nova_async.world import World

OFFERED = "awaiting-transfer"
KEY_OCTETS = 16


class Transfers:
    def __init__(self, database: Database, world: World, quotas: Quotas) -> None:
        self._database, self._world, self._quotas = database, world, quotas

    async def listing(self, ctx: Context, *, all_projects: bool = False) -> list[TransferRow]:
        async with self._database.connection() as conn:
            return await rows.transfers(conn, None if all_projects and ctx.is_service else ctx.project_id)

    async def get(self, ctx: Context, transfer_id: str) -> TransferRow:
        """One that the caller's project offers. Raises ``NotFound``."""
        async with self._database.connection() as conn:
            return _own(ctx, transfer_id, await _find(conn, transfer_id))

    async def create(self, ctx: Context, volume_id: str, name: str | None, *, no_snapshots: bool) -> tuple[TransferRow, str]:
        """The offer and its key, which is kept nowhere. The volume's snapshots go with it unless ``no_snapshots``."""
        rules.writer(ctx)
        transfer_id, key = self._world.uuid(), self._world.secret(KEY_OCTETS)
        async with self._database.transaction() as conn:
            volume = await volumes.get(conn, rules.well_formed("Volume", volume_id), lock=True)
            if volume is None or not rules.may_see(ctx, volume.project_id):
                raise NotFound(f"Volume {volume_id} could not be found.")
            rules.in_status(volume, ("available",), "be offered to another project")
            if not no_snapshots:
                await _going_along(conn, volume)
            await rows.insert(conn, transfer_id, volume.id, name, _digest(key), no_snapshots=no_snapshots)
            await volumes.change(conn, volume.id, status=OFFERED)
            return await _find(conn, transfer_id), key

    async def accept(self, ctx: Context, transfer_id: str, key: str) -> TransferRow:
        """The caller's project has the volume from now on. Raises ``Invalid`` for a wrong key, ``TooLarge`` beyond a quota."""
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            row, volume = await self._held(conn, transfer_id)
            if not hmac.compare_digest(row.key_digest, _digest(key)):
                raise Invalid("Invalid auth key: it is not the one that was told when the transfer was created.")
            rules.in_status(volume, (OFFERED,), "be accepted")
            snapshots = [] if row.no_snapshots else await _going_along(conn, volume)
            if ctx.project_id != volume.project_id:
                used = await volumes.usage(conn, ctx.project_id, lock=True)
                more = {"volumes": 1, "snapshots": len(snapshots), "gigabytes": volume.size + sum(s.size for s in snapshots)}
                await self._quotas.check(conn, ctx.project_id, volume, used, **more, size=volume.size)
            await rows.delete(conn, row.id)
            await rows.hand_over(conn, volume.id, [s.id for s in snapshots], ctx.project_id, ctx.user_id)
            return row

    async def delete(self, ctx: Context, transfer_id: str) -> None:
        """The offer is taken back."""
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            row, volume = await self._held(conn, transfer_id)
            _own(ctx, transfer_id, row)
            await rows.delete(conn, row.id)
            if volume.status == OFFERED:
                await volumes.change(conn, volume.id, status="available")

    async def _held(self, conn: Connection, transfer_id: str) -> tuple[TransferRow, VolumeRow]:
        """The offer with its volume's row, which is held until the transaction ends: of two who accept, one comes too late."""
        volume = await volumes.get(conn, (await _find(conn, transfer_id)).volume_id, lock=True)
        row = await _find(conn, transfer_id)
        assert volume is not None  # an offer goes with its volume
        return row, volume


async def _going_along(conn: Connection, volume: VolumeRow) -> list[SnapshotRow]:
    """The snapshots of the volume that are its owner's. Raises ``Invalid`` while one of them is not ready."""
    found = [s for s in await volumes.snapshots(conn, volumes=[volume.id]) if s.project_id == volume.project_id]
    for snapshot in found:
        if snapshot.status != "available":
            raise Invalid(f"Invalid snapshot: Snapshot {snapshot.id} status must be available to go along, but it is {snapshot.status}.")
    return found


async def _find(conn: Connection, transfer_id: str) -> TransferRow:
    row = await rows.get(conn, rules.well_formed("Transfer", transfer_id))
    if row is None:
        raise NotFound(f"Transfer {transfer_id} could not be found.")
    return row


def _own(ctx: Context, transfer_id: str, row: TransferRow) -> TransferRow:
    if not rules.may_see(ctx, row.project_id):
        raise NotFound(f"Transfer {transfer_id} could not be found.")
    return row


def _digest(key: str) -> bytes:
    """The key is long and random: nothing slower is needed."""
    return hashlib.sha256(key.encode()).digest()
