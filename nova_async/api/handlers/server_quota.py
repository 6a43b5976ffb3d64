"""The limits of a project and of its user, for new servers and for what makes one that exists count for more."""

from typing import Any

from nova_async import quota
from nova_async.api.request import Request
from nova_async.db import Connection, instances, quota_sets
from nova_async.db.instances import Made, Prepared
from nova_async.errors import QuotaExceeded
from nova_async.model.instances import Instance


def checked_limits(request: Request, prepared: Prepared, body: dict[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Those of the project and of its user, once those that hold for a single server are kept. Raises ``QuotaExceeded``."""
    limits = quota.holding(quota.merged(request.parts.config.quota, prepared.limits), prepared.user_limits)
    quota.check_metadata(limits, len(body.get("metadata") or ()))
    files = body.get("personality") or []
    quota.check_injected_files(limits, [(f.get("path", ""), len(f.get("contents", "")) * 3 // 4) for f in files])
    return limits, quota.of_user(prepared.user_limits)


def counted(limits: dict[str, int]) -> tuple[int, int, int]:
    return limits["instances"], limits["cores"], limits["ram"]


def over_quota(flavor: dict[str, Any], count: tuple[int, int], limits: dict[str, int], own: dict[str, int], made: Made) -> QuotaExceeded:
    """The refusal of ``count`` (at least, at most) servers: by the project's limits, or by its user's where the project has room."""
    least, most = count
    used = {"instances": made.instances, "cores": made.cores, "ram": made.ram}
    if not quota.over(limits, used, _amounts(flavor, least)):
        limits, used = own, {"instances": made.own_instances, "cores": made.own_cores, "ram": made.own_ram}
    added = _amounts(flavor, most)
    asked = {resource: str(amount) for resource, amount in added.items()}
    if least != most:
        asked["instances"] = f"{least}-{most}"
    return quota.exceeded(limits, used, added, asked)


def _amounts(flavor: dict[str, Any], servers: int) -> dict[str, int]:
    return {"instances": servers, "cores": servers * flavor["vcpus"], "ram": servers * flavor["memory_mb"]}


async def check_growth(conn: Connection, request: Request, server: Instance, added: dict[str, int]) -> None:
    """Whether the server's project and its user have room for ``added`` instances, cores and MiB of ram (any may be missing or negative).

    Others who count wait until the transaction ends. Raises ``QuotaExceeded``.
    """
    await instances.serialize(conn, server.project_id)
    grown = {resource: max(added.get(resource, 0), 0) for resource in quota.COUNTED}
    asked = {resource: str(amount) for resource, amount in grown.items()}
    limits = quota.merged(request.parts.config.quota, await quota_sets.effective(conn, server.project_id))
    own = quota.of_user(await quota_sets.of_user(conn, server.project_id, server.user_id))
    for table, user in ((limits, ""), (own, server.user_id)):
        used = await quota_sets.usage(conn, server.project_id, user)
        if quota.over(table, used, grown):
            raise quota.exceeded(table, used, grown, asked)
