"""The limits of projects and of their users (os-quota-sets)."""

from nova_async.api.request import Request
from nova_async.api.schemas import truth
from nova_async.api.views.quota_sets import QuotaSet
from nova_async.db import Connection, quota_sets
from nova_async.errors import Invalid
from nova_async.policy import quota_sets as policy
from nova_async.quota import UNLIMITED, merged

INFINITE = float("inf")


async def show(request: Request) -> QuotaSet:
    project = await _project(request, policy.SHOW)
    async with request.parts.database.connection() as conn:
        return QuotaSet(await limits(request, conn, project, _user(request)), project)


async def detail(request: Request) -> QuotaSet:
    """Limits, and what is used of them. Nothing is ever reserved."""
    project, user = await _project(request, policy.DETAIL), _user(request)
    async with request.parts.database.connection() as conn:
        table = await limits(request, conn, project, user)
        used = await quota_sets.usage(conn, project, user)
    values = {name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0} for name, limit in table.items()}
    return QuotaSet(values, project)


async def defaults(request: Request) -> QuotaSet:
    project = await _project(request, policy.DEFAULTS)
    async with request.parts.database.connection() as conn:
        table = await quota_sets.of_class(conn, quota_sets.DEFAULT_CLASS)
    return QuotaSet(merged(request.parts.config.quota, table), project)


async def update(request: Request) -> QuotaSet:
    """Set limits; unless forced, not below what is used or given to users, nor above what the project has left."""
    project, user = await _project(request, policy.UPDATE), _user(request)
    asked = dict(request.body["quota_set"])
    forced = truth(asked.pop("force", False))
    wanted = {name: int(value) for name, value in asked.items()}
    async with request.parts.database.transaction() as conn:
        await quota_sets.serialize(conn, project)
        if not forced:
            await _check(request, conn, project, user, wanted)
        await quota_sets.put(conn, project, user, wanted)
        return QuotaSet(await limits(request, conn, project, user))


async def delete(request: Request) -> None:
    """Also of a project that is gone."""
    project = request.values["id"]
    request.require(policy.DELETE, project_id=project)
    async with request.parts.database.connection() as conn:
        await quota_sets.forget(conn, project, _user(request))


async def limits(request: Request, conn: Connection, project_id: str, user_id: str = "") -> dict[str, int]:
    """Every resource with the limit that holds for the project, or for one of its users."""
    return merged(request.parts.config.quota, await quota_sets.effective(conn, project_id, user_id))


async def _project(request: Request, name: str) -> str:
    """The project in the path, once the caller may do ``name`` to its limits. Raises ``Invalid`` for one that is not there."""
    project = request.values["id"]
    request.require(name, project_id=project)
    await require_project(request, project)
    return project


async def require_project(request: Request, project: str) -> None:
    if project != request.ctx.project_id and not await request.parts.tokens.has_project(project):
        raise Invalid(f"Project ID {project[:255]} is not a valid project.")


def _user(request: Request) -> str:
    return request.first("user_id") or ""


async def _check(request: Request, conn: Connection, project: str, user: str, wanted: dict[str, int]) -> None:
    """Raises ``Invalid`` for a limit outside of what can be set."""
    used = await quota_sets.usage(conn, project, user)
    given = await quota_sets.given_to_users(conn, project, but=user)
    whole = await limits(request, conn, project)
    for name, value in wanted.items():
        least, most = used.get(name, 0), INFINITE
        if user:
            most = _infinite(whole[name]) - given.get(name, 0)
        else:
            least = max(least, given.get(name, 0))
        if _infinite(value) < least:
            raise Invalid(f"Quota limit {value} for {name} must be greater than or equal to already used and reserved {least}.")
        if _infinite(value) > most:
            raise Invalid(f"Quota limit {value} for {name} must be less than or equal to {int(most)}.")


def _infinite(limit: int) -> float:
    return INFINITE if limit == UNLIMITED else limit
