"""How many networks, ports and so on a project may have: Neutron's quotas."""

from typing import Any

from aiohttp import web

from nova_async.config import Config
from nova_async.db import Connection
from nova_async.db import network_quotas as rows
from nova_async.errors import Forbidden, Invalid, NotFound, QuotaExceeded
from nova_async.services.network import fields as f
from nova_async.services.network.collection import require_project, scope
from nova_async.services.network.ground import Ground
from nova_async.services.web import context_of, json_body, json_response

UNLIMITED = -1
COUNTED = ("network", "subnet", "subnetpool", "port", "router", "floatingip", "security_group", "security_group_rule")
NEVER_MADE = ("rbac_policy",)  # this service has none
LIMIT = f.integer(UNLIMITED, 2**31 - 1)
FIELDS: dict[str, f.Reader] = {
    **dict.fromkeys((*COUNTED, *NEVER_MADE), LIMIT),
    "project_id": f.text(255),
    "force": f.boolean,
    "check_limit": f.ignored,
}


async def require_room(service: Ground, conn: Connection, project_id: str, resource: str, more: int = 1) -> None:
    """Let nobody else add to these until the transaction ends, and raise ``QuotaExceeded`` where so many ``more`` are too many."""
    limit = (await limits(service.config, conn, project_id))[resource]
    if limit == UNLIMITED:
        return
    await rows.alone(conn, project_id, resource)
    if await rows.used(conn, project_id, resource) + more > limit:
        raise QuotaExceeded(f"Quota exceeded for resources: ['{resource}'].")


async def limits(config: Config, conn: Connection, project_id: str) -> dict[str, int]:
    return defaults(config) | await rows.limits(conn, project_id)


def defaults(config: Config) -> dict[str, int]:
    """For projects that nobody set a limit for; whatever is negative means none."""
    given = {name: max(getattr(config.network, f"quota_{name}"), UNLIMITED) for name in COUNTED}
    return given | dict.fromkeys(NEVER_MADE, UNLIMITED)


class QuotaApi:
    """The requests below ``/v2.0/quotas``."""

    def __init__(self, service: Ground) -> None:
        self.service = service

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v2.0/quotas", self.index),
            web.get("/v2.0/quotas/{project}", self.show),
            web.put("/v2.0/quotas/{project}", self.update),
            web.delete("/v2.0/quotas/{project}", self.delete),
            web.get("/v2.0/quotas/{project}/default", self.default),
            web.get("/v2.0/quotas/{project}/details", self.details),
            web.get("/v2.0/quotas/{project}/details.json", self.details),
        ]

    async def index(self, request: web.Request) -> web.Response:
        """Of all projects that somebody set a limit for."""
        _require_admin(request)
        async with self.service.db.connection() as conn:
            found = await rows.all_limits(conn)
        usual = defaults(self.service.config)
        return json_response({"quotas": [{**usual, **own, "project_id": id, "tenant_id": id} for id, own in found.items()]})

    async def show(self, request: web.Request) -> web.Response:
        project = request.match_info["project"]
        if project in ("project", "tenant"):  # whose token it is
            return json_response({project: {f"{project}_id": context_of(request).project_id}})
        return await self._shown(_visible_project(request))

    async def default(self, request: web.Request) -> web.Response:
        _visible_project(request)
        return json_response({"quota": defaults(self.service.config)})

    async def details(self, request: web.Request) -> web.Response:
        project = _visible_project(request)
        async with self.service.db.connection() as conn:
            held = await limits(self.service.config, conn, project)
            used = {name: await rows.used(conn, project, name) for name in held}
        return json_response({"quota": {name: {"limit": held[name], "used": used[name], "reserved": 0} for name in held}})

    async def update(self, request: web.Request) -> web.Response:
        """A limit below what the project has is refused, unless ``force`` says otherwise."""
        _require_admin(request)
        project = request.match_info["project"]
        if len(project) > 255:
            raise Invalid("Invalid input for project_id: it must be text of at most 255 characters.")
        values = f.read(await json_body(request), "quota", FIELDS)
        wanted = {name: value for name, value in values.items() if name in COUNTED or name in NEVER_MADE}
        async with self.service.db.transaction() as conn:
            for name in sorted(wanted):
                await rows.alone(conn, project, name)
                used = await rows.used(conn, project, name)
                if UNLIMITED < wanted[name] < used and not values.get("force"):
                    raise Invalid(f"Quota limit {wanted[name]} for {name} must be greater than or equal to already used {used}")
            await rows.put(conn, project, wanted)
        return await self._shown(project)

    async def delete(self, request: web.Request) -> web.Response:
        _require_admin(request)
        project = request.match_info["project"]
        async with self.service.db.transaction() as conn:
            if not await rows.limits(conn, project):
                raise NotFound(f"Quota for tenant {project} could not be found.")
            await rows.forget(conn, project)
        return web.Response(status=204)

    async def _shown(self, project: str) -> web.Response:
        async with self.service.db.connection() as conn:
            held: dict[str, Any] = await limits(self.service.config, conn, project)
        return json_response({"quota": held})


def _require_admin(request: web.Request) -> None:
    if scope(context_of(request)) is not None:
        raise Forbidden("rule:admin_only is disallowed by policy")


def _visible_project(request: web.Request) -> str:
    project = request.match_info["project"]
    require_project(context_of(request), project)
    return project
