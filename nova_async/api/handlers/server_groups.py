"""Server groups: servers that want to be together on a host, or apart. Servers join when they are created."""

from nova_async.api.handlers.instances import UUID
from nova_async.api.handlers.quota_sets import limits
from nova_async.api.request import Request
from nova_async.api.versions import V
from nova_async.db import Connection, server_groups
from nova_async.errors import Invalid, NotFound, QuotaExceeded
from nova_async.model.server_groups import ANTI_AFFINITY, ServerGroup
from nova_async.policy import server_groups as policy
from nova_async.quota import UNLIMITED


async def index(request: Request) -> list[ServerGroup]:
    """Those of the project; administrators may ask for all (``all_projects``)."""
    project: str | None = request.ctx.project_id
    if request.first("all_projects") is not None and request.is_admin:
        request.require(policy.INDEX_ALL)
        project = None
    async with request.parts.database.connection() as conn:
        groups = await server_groups.of_project(conn, project)
    start = int((request.first("offset") or "0")[:18])
    return groups[start : start + (request.limit() or request.parts.config.api.max_limit)]


async def show(request: Request) -> ServerGroup:
    async with request.parts.database.connection() as conn:
        return await _found(request, conn, policy.SHOW)


async def create(request: Request) -> ServerGroup:
    asked, ctx = request.body["server_group"], request.ctx
    kind = asked["policy"] if request.has(V.SERVER_GROUP_RULES) else asked["policies"][0]
    most = (asked.get("rules") or {}).get("max_server_per_host")
    if asked.get("rules") and kind != ANTI_AFFINITY:
        raise Invalid("Only anti-affinity policy supports rules.")
    group = ServerGroup(
        id=request.parts.world.uuid(),
        project_id=ctx.project_id,
        user_id=ctx.user_id,
        name=asked["name"].strip(),
        policy=kind,
        max_server_per_host=None if most is None else int(most),
        members=[],
    )
    async with request.parts.database.transaction() as conn:
        await _check_room(request, conn)
        await server_groups.insert(
            conn,
            id=group.id,
            project_id=group.project_id,
            user_id=group.user_id,
            name=group.name,
            policy=group.policy,
            max_server_per_host=group.max_server_per_host,
        )
        await request.tell(conn, group, "server_group.create")
    return group


async def delete(request: Request) -> None:
    """Servers that were in it stay where they are."""
    async with request.parts.database.transaction() as conn:
        group = await _found(request, conn, policy.DELETE)
        await server_groups.delete(conn, group.id)
        await request.tell(conn, group, "server_group.delete")


async def _check_room(request: Request, conn: Connection) -> None:
    """Whether the project, and its user, may have one group more. Holds until the transaction ends."""
    ctx = request.ctx
    counted = await server_groups.count(conn, ctx.project_id, ctx.user_id)
    whole = (await limits(request, conn, ctx.project_id))["server_groups"]
    own = (await limits(request, conn, ctx.project_id, ctx.user_id))["server_groups"]
    if (whole != UNLIMITED and counted.groups >= whole) or (own != UNLIMITED and counted.own >= own):
        raise QuotaExceeded("Quota exceeded, too many server groups.")


async def _found(request: Request, conn: Connection, name: str) -> ServerGroup:
    """The group in the path, once the caller may do ``name`` to it."""
    id = request.values["id"]
    group = await server_groups.get(conn, id) if UUID.fullmatch(id) else None
    if group is None:
        raise NotFound(f"Instance group {id} could not be found.")
    request.require(name, project_id=group.project_id)
    return group
