"""Limits by class (os-quota-class-sets). The class "default" holds for all who have no limits of their own; others hold for nobody."""

from nova_async.api.request import Request
from nova_async.api.views.quota_sets import QuotaSet
from nova_async.db import Connection, quota_sets
from nova_async.errors import Invalid
from nova_async.quota import merged


async def show(request: Request) -> QuotaSet:
    name = request.values["id"]
    async with request.parts.database.connection() as conn:
        return QuotaSet(await _limits(request, conn, name), name)


async def update(request: Request) -> QuotaSet:
    name = request.values["id"]
    if len(name) > 255:
        raise Invalid(f"Invalid input received: quota_class_name has {len(name)} characters, more than 255.")
    wanted = {key: int(value) for key, value in request.body["quota_class_set"].items()}
    async with request.parts.database.transaction() as conn:
        await quota_sets.put_class(conn, name, wanted)
        return QuotaSet(await _limits(request, conn, name))


async def _limits(request: Request, conn: Connection, name: str) -> dict[str, int]:
    return merged(request.parts.config.quota, await quota_sets.of_class(conn, name))
