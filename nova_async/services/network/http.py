"""Neutron v2.0 over HTTP, mounted at ``/network``."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from aiohttp import web

from nova_async.config import Config
from nova_async.context import Context
from nova_async.db.routers import RouterRow
from nova_async.errors import Conflict, Error, Forbidden, Invalid, NotFound, QuotaExceeded, Unsupported
from nova_async.services.network.agents import AgentApi, Agents
from nova_async.services.network.builtin import BuiltinNetworks
from nova_async.services.network.collection import Collection, Query, with_fields
from nova_async.services.network.collections import COLLECTIONS
from nova_async.services.network.ip_availability import IpAvailabilityApi
from nova_async.services.network.port_bindings import BindingApi
from nova_async.services.network.quotas import QuotaApi
from nova_async.services.network.router_interfaces import RouterInterfaces
from nova_async.services.network.routers import Routers
from nova_async.services.network.views import ZONE
from nova_async.services.web import STATUS, Tokens, context_of, edge, json_body, json_response
from nova_async.world import World

# What a client may list and finds empty: this service does not have them.
EMPTY = {
    "address-scopes": "address_scope",
    "address-groups": "address_group",
    "rbac-policies": "rbac_policy",
    "trunks": "trunk",
    "service-providers": "service_provider",
    "segments": "segment",
    "flavors": "flavor",
}
EXTENSIONS = {
    "allowed-address-pairs": "Allowed Address Pairs",
    "auto-allocated-topology": "Auto Allocated Topology Services",
    "availability_zone": "Availability Zone",
    "binding": "Port Binding",
    "binding-extended": "Port Bindings Extended",
    "default-subnetpools": "Default Subnetpools",
    "dns-integration": "DNS Integration",
    "external-net": "Neutron external network",
    "ext-gw-mode": "Neutron L3 Configurable external gateway mode",
    "extraroute": "Neutron Extra Route",
    "extraroute-atomic": "Atomically add/remove extra routes",
    "filter-validation": "Filter parameters validation",
    "fip-port-details": "Add Port Details to Floating IP",
    "net-mtu": "Network MTU",
    "net-mtu-writable": "Network MTU (writable)",
    "network-ip-availability": "Network IP Availability",
    "network_availability_zone": "Network Availability Zone",
    "pagination": "Pagination support",
    "port-security": "Port Security",
    "project-id": "project_id field enabled",
    "provider": "Provider Network",
    "quota-check-limit": "Quota engine limit check",
    "quota-check-limit-default": "Quota limit check by default",
    "quota_details": "Quota details management support",
    "quotas": "Quota management support",
    "router": "Neutron L3 Router",
    "router_availability_zone": "Router Availability Zone",
    "security-group": "security-group",
    "sorting": "Sorting support",
    "standard-attr-description": "standard-attr-description",
    "standard-attr-revisions": "Resource revision numbers",
    "standard-attr-tag": "Tag support for resources with standard attributes",
    "standard-attr-timestamp": "Resource timestamps",
    "stateful-security-group": "Stateful security group",
    "subnet_allocation": "Subnet Allocation",
}
WRITERS = frozenset({"admin", "manager", "member", "service"})
ERROR_TYPES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "PolicyNotAuthorized",
    404: "NotFound",
    409: "Conflict",
    501: "NotImplementedError",
}
TYPES_BY_MESSAGE = {
    "The IP address is already in use on the network.": "IpAddressAlreadyAllocated",
    "The MAC address is already in use on the network.": "MacAddressInUse",
    "Security group rule already exists.": "SecurityGroupRuleExists",
}
MOST_AT_ONCE = 100
OPEN = "versions"
Call = Callable[[web.Request], Awaitable[web.StreamResponse]]


def application(networks: BuiltinNetworks, tokens: Tokens, world: World, config: Config) -> web.Application:
    """The application; the caller mounts it with ``add_subapp("/network", ...)``."""
    api = Api(networks, config)
    guard = edge(world, tokens, _fault, lambda request: (request.match_info.route.name or "").startswith(OPEN))
    app = web.Application(middlewares=[guard, _writers_only, _over_quota], client_max_size=config.api.max_body_bytes)
    app.add_routes(
        [
            web.get("", api.versions, name=OPEN),
            web.get("/", api.versions, name=OPEN + "-root"),
            web.get("/v2.0", api.resources),
            web.get("/v2.0/", api.resources),
            web.get("/v2.0/extensions", api.extensions),
            web.get("/v2.0/extensions/{alias}", api.extension),
            web.get("/v2.0/availability_zones", api.zones),
            *QuotaApi(networks).routes(),
            *BindingApi(networks).routes(),
            *IpAvailabilityApi(networks).routes(),
            *AgentApi(networks).routes(),
            web.get("/v2.0/auto-allocated-topology/{project}", api.topology),
            web.delete("/v2.0/auto-allocated-topology/{project}", api.remove_topology),
        ]
    )
    for path in EMPTY:
        app.router.add_get(f"/v2.0/{path}", api.empty)
        app.router.add_get(f"/v2.0/{path}/{{id}}", api.absent)
        app.router.add_post(f"/v2.0/{path}", api.refuse)
        app.router.add_put(f"/v2.0/{path}/{{id}}", api.absent)
        app.router.add_delete(f"/v2.0/{path}/{{id}}", api.absent)
    for path, kind in COLLECTIONS.items():
        _add_collection(app, f"/v2.0/{path}", CollectionApi(kind(networks), config))
    agents = CollectionApi(Agents(networks), config)
    app.router.add_get("/v2.0/agents", agents.index)
    app.router.add_get("/v2.0/agents/{id}", agents.show)
    app.router.add_put("/v2.0/agents/{id}", api.refuse)
    app.router.add_delete("/v2.0/agents/{id}", api.refuse)
    router = RouterApi(networks)
    app.router.add_put("/v2.0/routers/{id}/add_router_interface", router.add_interface)
    app.router.add_put("/v2.0/routers/{id}/remove_router_interface", router.remove_interface)
    app.router.add_put("/v2.0/routers/{id}/add_extraroutes", router.add_routes)
    app.router.add_put("/v2.0/routers/{id}/remove_extraroutes", router.remove_routes)
    return app


def _add_collection(app: web.Application, path: str, api: "CollectionApi") -> None:
    app.router.add_get(path, api.index)
    app.router.add_post(path, api.create)
    app.router.add_get(path + "/{id}", api.show)
    app.router.add_put(path + "/{id}", api.update)
    app.router.add_delete(path + "/{id}", api.delete)
    app.router.add_get(path + "/{id}/tags", api.tags)
    app.router.add_put(path + "/{id}/tags", api.set_tags)
    app.router.add_post(path + "/{id}/tags", api.add_tags)
    app.router.add_delete(path + "/{id}/tags", api.clear_tags)
    app.router.add_get(path + "/{id}/tags/{tag}", api.has_tag)
    app.router.add_put(path + "/{id}/tags/{tag}", api.add_tag)
    app.router.add_delete(path + "/{id}/tags/{tag}", api.remove_tag)


class CollectionApi:
    """The requests that every collection answers."""

    def __init__(self, things: Collection[Any], config: Config) -> None:
        self.things, self.config = things, config

    async def index(self, request: web.Request) -> web.Response:
        query = _query(request)
        listing = await self.things.listing(context_of(request), query)
        body: dict[str, Any] = {self.things.plural: listing.views}
        if listing.more and "id" in listing.views[-1]:
            following = request.rel_url.update_query(marker=listing.views[-1]["id"])
            body[f"{self.things.plural}_links"] = [{"rel": "next", "href": f"{self.config.public_url}{following}"}]
        return json_response(body)

    async def create(self, request: web.Request) -> web.Response:
        ctx, body = context_of(request), await json_body(request)
        if self.things.plural in body:
            rows = await self._create_many(ctx, body[self.things.plural])
            return json_response({self.things.plural: [self.things.view(row, ctx) for row in rows]}, 201)
        row = await self.things.create(ctx, body)
        return json_response({self.things.name: self.things.view(row, ctx)}, 201)

    async def _create_many(self, ctx: Context, asked: Any) -> list[Any]:
        """All of them or none: when one is refused, those made before it are taken away again."""
        if not isinstance(asked, list) or not 0 < len(asked) <= MOST_AT_ONCE:
            raise Invalid(f"Invalid input for {self.things.plural}: it must be a list of 1 to {MOST_AT_ONCE}.")
        made: list[Any] = []
        try:
            for fields in asked:
                made.append(await self.things.create(ctx, {self.things.name: fields}))
        except Error:
            for row in reversed(made):
                await self.things.delete(ctx, row)
            raise
        return made

    async def show(self, request: web.Request) -> web.Response:
        ctx = context_of(request)
        row = await self.things.get(ctx, request.match_info["id"])
        return json_response({self.things.name: with_fields(self.things.view(row, ctx), request.query.getall("fields", []))})

    async def update(self, request: web.Request) -> web.Response:
        ctx = context_of(request)
        row = await self.things.update(ctx, await self._own(request), await json_body(request))
        return json_response({self.things.name: self.things.view(row, ctx)})

    async def delete(self, request: web.Request) -> web.Response:
        await self.things.delete(context_of(request), await self._own(request))
        return web.Response(status=204)

    async def tags(self, request: web.Request) -> web.Response:
        row = await self.things.get(context_of(request), request.match_info["id"])
        return json_response({"tags": row.tags})

    async def set_tags(self, request: web.Request) -> web.Response:
        tags = await _tags(request)
        return json_response({"tags": await self._tag(request, lambda _: tags)})

    async def add_tags(self, request: web.Request) -> web.Response:
        tags = await _tags(request)
        return json_response({"tags": await self._tag(request, lambda old: old.union(tags))})

    async def clear_tags(self, request: web.Request) -> web.Response:
        await self._tag(request, lambda _: [])
        return web.Response(status=204)

    async def has_tag(self, request: web.Request) -> web.Response:
        row = await self.things.get(context_of(request), request.match_info["id"])
        _require_tag(row.tags, request.match_info["tag"])
        return web.Response(status=204)

    async def add_tag(self, request: web.Request) -> web.Response:
        await self._tag(request, lambda old: old | {request.match_info["tag"]})
        return web.Response(status=201)

    async def remove_tag(self, request: web.Request) -> web.Response:
        def without(old: set[str]) -> set[str]:
            _require_tag(old, request.match_info["tag"])
            return old - {request.match_info["tag"]}

        await self._tag(request, without)
        return web.Response(status=204)

    async def _tag(self, request: web.Request, change: Callable[[set[str]], Iterable[str]]) -> list[str]:
        return await self.things.tag(context_of(request), await self._own(request), change)

    async def _own(self, request: web.Request) -> Any:
        return await self.things.get_own(context_of(request), request.match_info["id"])


class RouterApi:
    """What is done to routers beside the requests of every collection."""

    def __init__(self, networks: BuiltinNetworks) -> None:
        self.routers, self.interfaces = Routers(networks), RouterInterfaces(networks)

    async def add_interface(self, request: web.Request) -> web.Response:
        return json_response(await self.interfaces.add(context_of(request), await self._own(request), await json_body(request)))

    async def remove_interface(self, request: web.Request) -> web.Response:
        return json_response(await self.interfaces.remove(context_of(request), await self._own(request), await json_body(request)))

    async def add_routes(self, request: web.Request) -> web.Response:
        return await self._change_routes(request, add=True)

    async def remove_routes(self, request: web.Request) -> web.Response:
        return await self._change_routes(request, add=False)

    async def _change_routes(self, request: web.Request, *, add: bool) -> web.Response:
        ctx = context_of(request)
        row = await self.routers.change_routes(ctx, await self._own(request), await json_body(request), add=add)
        return json_response({self.routers.name: self.routers.view(row, ctx)})

    async def _own(self, request: web.Request) -> RouterRow:
        return await self.routers.get_own(context_of(request), request.match_info["id"])


class Api:
    """What is not a collection."""

    def __init__(self, service: BuiltinNetworks, config: Config) -> None:
        self.service, self.config = service, config

    async def versions(self, request: web.Request) -> web.Response:
        link = {"rel": "self", "href": f"{self.config.public_url}/network/v2.0/"}
        return json_response({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]})

    async def resources(self, request: web.Request) -> web.Response:
        base = f"{self.config.public_url}/network/v2.0"
        names = [(kind.name, kind.plural, path) for path, kind in COLLECTIONS.items()]
        return json_response(
            {
                "resources": [
                    {"name": name, "collection": plural, "links": [{"rel": "self", "href": f"{base}/{path}"}]}
                    for name, plural, path in names
                ]
            }
        )

    async def extensions(self, request: web.Request) -> web.Response:
        return json_response({"extensions": [_extension(alias) for alias in EXTENSIONS]})

    async def extension(self, request: web.Request) -> web.Response:
        alias = request.match_info["alias"]
        if alias not in EXTENSIONS:
            raise NotFound(f"Extension with alias {alias} does not exist")
        return json_response({"extension": _extension(alias)})

    async def zones(self, request: web.Request) -> web.Response:
        zones = [{"name": ZONE, "resource": resource, "state": "available"} for resource in ("network", "router")]
        return json_response({"availability_zones": zones})

    async def topology(self, request: web.Request) -> web.Response:
        """``fields=dry-run``: only whether there could be one."""
        ctx = context_of(request)
        project = _own_project(request)
        if "dry-run" in request.query.getall("fields", []):
            await self.service.auto_topology.check(ctx, project)
            return json_response({"auto_allocated_topology": {"id": "dry-run=pass", "tenant_id": project, "project_id": project}})
        network = await self.service.auto_topology.network_of(ctx, project)
        return json_response({"auto_allocated_topology": {"id": network, "tenant_id": project, "project_id": project}})

    async def remove_topology(self, request: web.Request) -> web.Response:
        await self.service.auto_topology.remove(context_of(request), _own_project(request))
        return web.Response(status=204)

    async def empty(self, request: web.Request) -> web.Response:
        path = request.path.rpartition("/")[2]
        return json_response({f"{EMPTY[path]}s" if not path.endswith("policies") else "rbac_policies": []})

    async def absent(self, request: web.Request) -> web.Response:
        path = request.path.rsplit("/", 2)[1]
        raise NotFound(f"{EMPTY[path].capitalize()} {request.match_info['id']} could not be found.")

    async def refuse(self, request: web.Request) -> web.Response:
        raise Unsupported('The built-in network service does not have this. Neutron has it (services.network = "neutron").')


@web.middleware
async def _writers_only(request: web.Request, handler: Call) -> web.StreamResponse:
    """Readers change nothing."""
    if request.method not in ("GET", "HEAD", "OPTIONS") and not WRITERS & set(context_of(request).roles):
        raise Forbidden("rule:member is disallowed by policy")
    return await handler(request)


@web.middleware
async def _over_quota(request: web.Request, handler: Call) -> web.StreamResponse:
    """Neutron calls it a conflict; to the compute API it is forbidden."""
    try:
        return await handler(request)
    except QuotaExceeded as error:
        raise Conflict(error.message) from None


def _fault(status: int, message: str) -> dict[str, Any]:
    kind = ERROR_TYPES.get(status, "HTTPInternalServerError" if status == 500 else STATUS_NAMES.get(status, "HTTPError"))
    if status == 404 and " could not be found" in message:
        kind = "".join(word.capitalize() for word in message.split(" could not")[0].split()[:-1]) + "NotFound"
    if message.startswith("Quota exceeded for resources"):
        kind = "OverQuota"
    kind = TYPES_BY_MESSAGE.get(message, kind)
    return {"NeutronError": {"type": kind, "message": message, "detail": ""}}


STATUS_NAMES = {status: kind.__name__ for kind, status in STATUS.items()}


def _query(request: web.Request) -> Query:
    query: dict[str, list[str]] = {}
    for name, value in request.query.items():
        query.setdefault(name, []).append(value)
    return query


async def _tags(request: web.Request) -> list[str]:
    body = await json_body(request)
    try:
        return msgspec.convert(body.get("tags"), list[str])
    except msgspec.ValidationError:
        raise Invalid("Invalid input for tags: a list of texts is expected.") from None


def _require_tag(tags: set[str] | list[str], tag: str) -> None:
    if tag not in tags:
        raise NotFound(f"Tag {tag} could not be found.")


def _extension(alias: str) -> dict[str, Any]:
    name = EXTENSIONS[alias]
    return {"alias": alias, "name": name, "description": name, "updated": "2026-01-01T00:00:00-00:00", "links": []}


def _own_project(request: web.Request) -> str:
    """The one in the path; "None" and "null" stand for the caller's."""
    project = request.match_info["project"]
    return context_of(request).project_id if project in ("None", "null") else project
