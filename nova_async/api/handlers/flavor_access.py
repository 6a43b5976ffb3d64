"""Which projects may use a private flavor (/flavors/{id}/os-flavor-access, and two actions)."""

from msgspec import to_builtins

from nova_async.api.handlers.flavors import found
from nova_async.api.handlers.quota_sets import require_project
from nova_async.api.request import Request
from nova_async.api.versions import V
from nova_async.db import Connection, flavors
from nova_async.errors import Conflict, NotFound
from nova_async.model.flavors import Flavor

Access = tuple[Flavor, list[str]]


async def index(request: Request) -> Access:
    async with request.parts.database.connection() as conn:
        flavor = await found(request, conn, request.values["flavor_id"])
        if flavor.is_public:
            raise NotFound("Access list not available for public flavors.")
        return flavor, await flavors.access(conn, flavor.id)


async def add(request: Request) -> Access:
    project = request.body["addTenantAccess"]["tenant"]
    await require_project(request, project)
    async with request.parts.database.transaction() as conn:
        flavor = await found(request, conn, request.values["id"])
        if flavor.is_public and request.has(V.PUBLIC_FLAVOR_ACCESS_CONFLICT):
            raise Conflict("Can not add access to a public flavor.")
        if not await flavors.grant(conn, flavor.id, project):
            raise Conflict(f"Flavor access already exists for flavor {flavor.flavorid} and project {project} combination.")
        return await _changed(request, conn, flavor)


async def remove(request: Request) -> Access:
    project = request.body["removeTenantAccess"]["tenant"]
    async with request.parts.database.transaction() as conn:
        flavor = await found(request, conn, request.values["id"])
        if not await flavors.revoke(conn, flavor.id, project):
            raise NotFound(f"Flavor access not found for {flavor.flavorid} / {project} combination.")
        return await _changed(request, conn, flavor)


async def _changed(request: Request, conn: Connection, flavor: Flavor) -> Access:
    projects = await flavors.access(conn, flavor.id)
    await request.tell(conn, {**to_builtins(flavor), "projects": projects}, "flavor.update")
    return flavor, projects
