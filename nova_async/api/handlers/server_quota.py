"""The project's limits, for what makes a server that exists count for more."""

from nova_async import quota
from nova_async.api.request import Request
from nova_async.db import Connection, instances, quota_sets
from nova_async.model.instances import Instance


async def check_growth(conn: Connection, request: Request, server: Instance, added: dict[str, int]) -> None:
    """Whether the server's project has room for ``added`` instances, cores and MiB of ram (any may be missing, or be negative).

    Others who count wait until the transaction ends. Raises ``QuotaExceeded``.
    """
    await instances.serialize(conn, server.project_id)
    limits = quota.merged(request.parts.config.quota, await quota_sets.effective(conn, server.project_id))
    used = await quota_sets.usage(conn, server.project_id)
    grown = {resource: max(added.get(resource, 0), 0) for resource in quota.COUNTED}
    over = any(grown[r] and limits[r] != quota.UNLIMITED and used[r] + grown[r] > limits[r] for r in quota.COUNTED)
    if over:
        raise quota.exceeded(limits, used, grown, {resource: str(amount) for resource, amount in grown.items()})
