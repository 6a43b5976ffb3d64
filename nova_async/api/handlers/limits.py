"""All limits of a project in one place."""

from nova_async.api.handlers import quota_sets as handlers
from nova_async.api.request import Request
from nova_async.api.views.limits import Limits
from nova_async.db import quota_sets
from nova_async.policy import limits as policy


async def show(request: Request) -> Limits:
    project = request.ctx.project_id
    other = request.first("tenant_id")
    if other is not None:
        request.require(policy.OTHER_PROJECT)
        project = other
    async with request.parts.database.connection() as conn:
        return Limits(await handlers.limits(request, conn, project), await quota_sets.usage(conn, project))
