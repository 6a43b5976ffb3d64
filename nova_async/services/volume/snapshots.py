"""Snapshots of volumes, as records."""

from typing import Any

from nova_async.context import Context
from nova_async.db import Connection, Database
from nova_async.db import volumes as rows
from nova_async.db.volumes import SnapshotRow
from nova_async.errors import Invalid, NotFound
from nova_async.services.volume import rules
from nova_async.services.volume.jobs import Jobs
from nova_async.services.volume.quotas import Quotas
from nova_async.world import World


class Snapshots:
    def __init__(self, database: Database, world: World, jobs: Jobs, quotas: Quotas) -> None:
        self._database, self._world, self._jobs, self._quotas = database, world, jobs, quotas

    async def get(self, ctx: Context, snapshot_id: str) -> SnapshotRow:
        async with self._database.connection() as conn:
            return await self._seen(conn, ctx, snapshot_id)

    async def listing(
        self, ctx: Context, *, all_projects: bool = False, names: list[str] | None = None, volumes: list[str] | None = None
    ) -> list[SnapshotRow]:
        async with self._database.connection() as conn:
            project = None if all_projects and ctx.is_service else ctx.project_id
            return await rows.snapshots(conn, project, names=names, volumes=volumes)

    async def create(
        self,
        ctx: Context,
        volume_id: str,
        name: str | None,
        description: str | None,
        metadata: dict[str, str],
        *,
        force: bool,
        snapshot_id: str | None = None,
    ) -> SnapshotRow:
        """``force``: of a volume in use too. ``snapshot_id``: as in ``Volumes.create``."""
        rules.writer(ctx)
        chosen = snapshot_id or self._world.uuid()
        async with self._database.transaction() as conn:
            volume = await rows.get(conn, rules.well_formed("Volume", volume_id), lock=True)
            if volume is None or not rules.may_see(ctx, volume.project_id):
                raise NotFound(f"Volume {volume_id} could not be found.")
            used = await rows.usage(conn, ctx.project_id, lock=True)
            if snapshot_id is not None and (earlier := await rows.snapshot(conn, snapshot_id)):
                return earlier
            rules.in_status(volume, ("available", "in-use") if force else ("available",), "make a snapshot")
            await self._quotas.check(conn, ctx.project_id, volume, used, snapshots=1, gigabytes=volume.size)
            owner = (ctx.project_id, ctx.user_id)
            await rows.insert_snapshot(conn, chosen, volume, owner, name, description, status="creating", metadata=metadata)
            await self._jobs.begin(conn, ctx, "create_snapshot", volume.id, chosen)
            made = await rows.snapshot(conn, chosen)
        self._jobs.go()
        assert made is not None
        return made

    async def delete(self, ctx: Context, snapshot_id: str, *, force: bool = False) -> None:
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            row = await self._seen(conn, ctx, snapshot_id, lock=True)
            if row.status == "deleting" and not force:
                return
            if row.status not in rules.SNAPSHOT_DELETABLE and not force:
                raise Invalid(f"Invalid snapshot: Snapshot status must be available or error, but it is {row.status}.")
            await rows.change_snapshot(conn, row.id, status="deleting")
            await self._jobs.begin(conn, ctx, "delete_snapshot", row.volume_id, row.id)
        self._jobs.go()

    async def change(self, ctx: Context, snapshot_id: str, **columns: Any) -> SnapshotRow:
        """``metadata`` may be a function of what it was."""
        rules.writer(ctx)
        async with self._database.transaction() as conn:
            row = await self._seen(conn, ctx, snapshot_id, lock=True)
            columns = {name: value(getattr(row, name)) if callable(value) else value for name, value in columns.items()}
            await rows.change_snapshot(conn, row.id, **columns)
            return await self._seen(conn, ctx, row.id)

    async def set_status(self, ctx: Context, snapshot_id: str, status: str) -> None:
        rules.admin(ctx, "volume_extension:snapshot_admin_actions:reset_status")
        if status not in rules.SNAPSHOT_STATUSES:
            raise Invalid(f"Invalid input for field/attribute status. Value: {status}.")
        await self.change(ctx, snapshot_id, status=status)

    async def follow(self, ctx: Context, snapshot_id: str, status: str, progress: str | None = None) -> None:
        """As a host tells that it takes part. Raises ``Invalid`` for what does not follow on the snapshot's status."""
        async with self._database.transaction() as conn:
            row = await self._seen(conn, ctx, snapshot_id, lock=True)
            if status not in rules.SNAPSHOT_FOLLOWS.get(row.status, ()):
                raise Invalid(f"Invalid snapshot: {row.id} is {row.status}; it cannot become {status}.")
            await rows.change_snapshot(conn, row.id, status=status, **({"progress": progress} if progress else {}))

    async def _seen(self, conn: Connection, ctx: Context, snapshot_id: str, *, lock: bool = False) -> SnapshotRow:
        """``lock``: its volume first, as whoever deletes a volume with its snapshots does, so that neither waits for the other."""
        row = await rows.snapshot(conn, rules.well_formed("Snapshot", snapshot_id))
        if lock and row is not None:
            await rows.get(conn, row.volume_id, lock=True)
            row = await rows.snapshot(conn, row.id, lock=True)
        if row is None or not rules.may_see(ctx, row.project_id):
            raise NotFound(f"Snapshot {snapshot_id} could not be found.")
        return row
