"""Claims that nobody holds any more, and servers that lost their operation."""

from nova_async import log
from nova_async.db import Database, moves, placements
from nova_async.world import World

logger = log.get("reconcile.claims")


class ClaimsReconciler:
    """Gives back leaked claims; a server that still builds without an operation is an ERROR with a reason."""

    def __init__(self, database: Database, world: World) -> None:
        self.database, self.world = database, world

    async def __call__(self) -> None:
        async with self.database.transaction() as conn:
            for claim in await placements.leaked(conn):
                logger.error("claim.leaked", server=claim.consumer_id, host_id=claim.host_id, generation=claim.generation)
                await moves.release_one(conn, claim.consumer_id, claim.generation)
            for lost in await placements.stuck(conn):
                logger.error("server.operation_lost", server=lost.uuid)
                message = "The operation that built this server is gone; delete the server."
                await placements.set_error(
                    conn, lost.uuid, {"code": 500, "message": message, "details": message, "created": self.world.now().isoformat()}
                )
