"""Once a period is over, what each host ran in it is counted and kept (os-instance_usage_audit_log)."""

from nova_async import log
from nova_async.config import Config
from nova_async.db import Database, usage_audits
from nova_async.errors import Invalid
from nova_async.model.periods import last_completed
from nova_async.world import World

logger = log.get("reconcile.usage_audits")
KEPT_DAYS = 3 * 366


class UsageAuditor:
    """Counts hosts that were not counted for the period that ended last. Raises ``Invalid`` for an unknown period."""

    def __init__(self, config: Config, database: Database, world: World) -> None:
        self.unit, self.database, self.world = config.compute.instance_usage_audit_period, database, world
        try:
            last_completed(self.unit, world.now())
        except ValueError as error:
            raise Invalid(f"configuration: compute.instance_usage_audit_period: {error}") from None

    async def __call__(self) -> None:
        begin, end = last_completed(self.unit, self.world.now())
        started = self.world.monotonic()
        async with self.database.transaction() as conn:
            counts = await usage_audits.due(conn, begin, end)
            if not counts:
                return
            took = self.world.monotonic() - started
            messages = [f"Instance usage audit ran for host {c.host}, {c.instances} instances in {took:.3f} seconds." for c in counts]
            await usage_audits.put(conn, begin, end, counts, messages)
            await usage_audits.forget(conn, KEPT_DAYS)
        logger.info("usage.audited", hosts=len(counts), begin=begin.isoformat(), end=end.isoformat())
