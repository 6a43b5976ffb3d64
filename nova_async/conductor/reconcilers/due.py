"""What becomes due by itself: resizes that nobody confirmed, shelved servers still on their hosts, deleted ones whose time is over."""

from nova_async import log
from nova_async.config import Config
from nova_async.context import service_context
from nova_async.db import Connection, Database, moves
from nova_async.errors import Conflict
from nova_async.workflow.start import Starter
from nova_async.world import World

logger = log.get("reconcile.due")


class DueReconciler:
    """Begins operations in the name of the service; one that finds another operation waits for the next turn."""

    def __init__(self, config: Config, database: Database, starter: Starter, world: World) -> None:
        self.options, self.database, self.starter, self.world = config.compute, database, starter, world

    async def __call__(self) -> None:
        async with self.database.connection() as conn:
            due = await self._due(conn)
        for kind, server in due:
            await self._begin(kind, server)

    async def _due(self, conn: Connection) -> list[tuple[str, moves.Due]]:
        found: list[tuple[str, moves.Due]] = []
        if (seconds := self.options.resize_confirm_window_seconds) > 0:
            found += [("confirmResize", server) for server in await moves.to_confirm(conn, seconds)]
        if (seconds := self.options.shelved_offload_seconds) > 0:
            found += [("shelveOffload", server) for server in await moves.to_offload(conn, seconds)]
        if (seconds := self.options.reclaim_instance_seconds) > 0:
            found += [("delete", server) for server in await moves.to_reclaim(conn, seconds)]
        return found

    async def _begin(self, kind: str, server: moves.Due) -> None:
        ctx = service_context("req-" + self.world.uuid(), server.project_id, server.user_id)
        try:
            async with self.database.transaction() as conn:
                workflow = await self.starter.begin(conn, ctx, kind, server.uuid)
        except Conflict:
            return
        logger.info("server.due", server=server.uuid, kind=kind)
        self.starter.go([workflow])
