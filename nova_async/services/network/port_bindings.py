"""Bindings of a port to hosts (Neutron's ``binding-extended``): one is active, others are got ready for where the port may move to."""

from typing import Any

import msgspec
from aiohttp import web

from nova_async.context import Context
from nova_async.db import Connection
from nova_async.db import networks as rows
from nova_async.db import port_bindings as binding_rows
from nova_async.db import routers as router_rows
from nova_async.db.port_bindings import BindingRow
from nova_async.errors import Conflict, Forbidden, Invalid, NotFound
from nova_async.services.network import fields as f
from nova_async.services.network.checks import is_uuid
from nova_async.services.network.collection import PAGING, with_fields
from nova_async.services.network.ground import Ground
from nova_async.services.web import context_of, json_body, json_response

NAME = "binding"
PATH = "/v2.0/ports/{port}/bindings"
OWNERS = ("compute:", "manila:")  # how the owners of ports begin that may have several
BRIDGE, UNBOUND = "bridge", "unbound"
CHANGES: dict[str, f.Reader] = {"host": f.text(255), "vnic_type": f.one_of("normal"), "profile": f.maybe(f.plain_object)}
FIELDS = {**CHANGES, "project_id": f.ignored}


class PortBindings:
    """``ctx`` is only asked whether it may: these are for services, whoever's port it is."""

    def __init__(self, service: Ground) -> None:
        self.service = service

    async def all(self, ctx: Context, port_id: str) -> list[BindingRow]:
        """The active one first. Raises ``Forbidden``, ``NotFound``, ``Invalid``."""
        async with self.service.db.connection() as conn:
            await _port(ctx, conn, port_id)
            return await binding_rows.of_port(conn, port_id)

    async def get(self, ctx: Context, port_id: str, host: str) -> BindingRow:
        return _of_host(await self.all(ctx, port_id), port_id, host)

    async def create(self, ctx: Context, port_id: str, body: dict[str, Any]) -> BindingRow:
        """Inactive, unless the port has none yet. Raises ``Conflict`` for a host that it has one to."""
        values = f.read(body, NAME, FIELDS)
        if not values.get("host"):
            raise Invalid("Failed to parse request. Required attribute 'host' not specified")
        host, profile = values["host"], values.get("profile") or {}
        async with self.service.db.transaction() as conn:
            port = await _port(ctx, conn, port_id, lock=True)
            found = await binding_rows.of_port(conn, port_id)
            if any(binding.host == host for binding in found):
                raise Conflict(f"Binding for port {port_id} on host {host} already exists.")
            if first := not port.host:
                await self._bind(conn, port, host, profile)
            else:
                await binding_rows.put(conn, port_id, host, BRIDGE, profile)
        if first:
            await self._tell(port)
        return await self.get(ctx, port_id, host)

    async def update(self, ctx: Context, port_id: str, host: str, body: dict[str, Any]) -> BindingRow:
        """Its profile; ``host`` in the body says nothing."""
        values = f.read(body, NAME, CHANGES)
        async with self.service.db.transaction() as conn:
            port = await _port(ctx, conn, port_id, lock=True)
            binding = _of_host(await binding_rows.of_port(conn, port_id), port_id, host)
            profile = (values["profile"] or {}) if "profile" in values else binding.profile
            if binding.active:
                await self._bind(conn, port, host, profile)
            else:
                await binding_rows.put(conn, port_id, host, binding.vif_type, profile)
        return await self.get(ctx, port_id, host)

    async def activate(self, ctx: Context, port_id: str, host: str) -> BindingRow:
        """From now on the port is there; what was the active one stays, unbound. Raises ``Conflict`` when it is there already."""
        async with self.service.db.transaction() as conn:
            port = await _port(ctx, conn, port_id, lock=True)
            binding = _of_host(await binding_rows.of_port(conn, port_id), port_id, host)
            if binding.active:
                raise Conflict(f"Binding for port {port_id} on host {host} is already active.")
            await self._bind(conn, port, host, binding.profile)
            if port.host:
                await binding_rows.put(conn, port_id, port.host, UNBOUND, port.profile)
        await self._tell(port)
        return await self.get(ctx, port_id, host)

    async def delete(self, ctx: Context, port_id: str, host: str) -> None:
        """Without the active one the port is nowhere."""
        async with self.service.db.transaction() as conn:
            port = await _port(ctx, conn, port_id, lock=True)
            binding = _of_host(await binding_rows.of_port(conn, port_id), port_id, host)
            if binding.active:
                await self._bind(conn, port, "", {})
            else:
                await binding_rows.remove(conn, port_id, host)
        if binding.active:
            await self._tell(port)

    async def _bind(self, conn: Connection, port: rows.PortRow, host: str, profile: dict[str, Any]) -> None:
        await rows.update_port(conn, msgspec.structs.replace(port, host=host, profile=profile))

    async def _tell(self, port: rows.PortRow) -> None:
        """Those who hear of a port that moved; ``port`` as it was."""
        self.service.moved([port])
        if is_uuid(port.device_id):
            await self.service.tell([port.device_id])
        async with self.service.db.connection() as conn:
            routers = await router_rows.behind(conn, [port.id])
        await self.service.tell_routers(routers)


class BindingApi:
    """The requests."""

    def __init__(self, service: Ground) -> None:
        self.bindings = PortBindings(service)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(PATH, self.index),
            web.post(PATH, self.create),
            web.get(PATH + "/{host}", self.show),
            web.put(PATH + "/{host}", self.update),
            web.put(PATH + "/{host}/activate", self.activate),
            web.delete(PATH + "/{host}", self.delete),
        ]

    async def index(self, request: web.Request) -> web.Response:
        views = [_view(row) for row in await self.bindings.all(context_of(request), request.match_info["port"])]
        for name in set(request.query) - set(PAGING):
            views = [view for view in views if str(view.get(name)) in request.query.getall(name)]
        return json_response({"bindings": [with_fields(view, request.query.getall("fields", [])) for view in views]})

    async def create(self, request: web.Request) -> web.Response:
        row = await self.bindings.create(context_of(request), request.match_info["port"], await json_body(request))
        return json_response({NAME: _view(row)}, 201)

    async def show(self, request: web.Request) -> web.Response:
        return json_response({NAME: _view(await self.bindings.get(context_of(request), *_place(request)))})

    async def update(self, request: web.Request) -> web.Response:
        return json_response({NAME: _view(await self.bindings.update(context_of(request), *_place(request), await json_body(request)))})

    async def activate(self, request: web.Request) -> web.Response:
        return json_response({NAME: _view(await self.bindings.activate(context_of(request), *_place(request)))})

    async def delete(self, request: web.Request) -> web.Response:
        await self.bindings.delete(context_of(request), *_place(request))
        return web.Response(status=204)


async def _port(ctx: Context, conn: Connection, port_id: str, *, lock: bool = False) -> rows.PortRow:
    """Raises ``Forbidden``, ``NotFound``, ``Invalid`` for a port that is not a server's."""
    if not ctx.is_service:
        raise Forbidden("rule:service_api is disallowed by policy")
    found = is_uuid(port_id) and (not lock or await binding_rows.lock_port(conn, port_id))
    ports = await rows.ports(conn, rows.Page(ids=[port_id])) if found else []
    if not ports:
        raise NotFound(f"Port {port_id} could not be found.")
    if not ports[0].device_owner.startswith(OWNERS):
        raise Invalid(f"Bad port request: Invalid port {port_id}. Operation only valid on compute and shared filesystem ports.")
    return ports[0]


def _of_host(bindings: list[BindingRow], port_id: str, host: str) -> BindingRow:
    """Raises ``NotFound``."""
    binding = next((binding for binding in bindings if binding.host == host), None)
    if binding is None:
        raise NotFound(f"Binding for port {port_id} for host {host} could not be found.")
    return binding


def _place(request: web.Request) -> tuple[str, str]:
    return request.match_info["port"], request.match_info["host"]


def _view(row: BindingRow) -> dict[str, Any]:
    return {
        "host": row.host,
        "vif_type": row.vif_type,
        "vif_details": {} if row.vif_type == UNBOUND else {"port_filter": True},
        "vnic_type": "normal",
        "profile": row.profile,
        "status": "ACTIVE" if row.active else "INACTIVE",
    }
