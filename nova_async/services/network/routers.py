"""Routers over the API: between a project's subnets, and from them to an external network."""

import ipaddress
from collections.abc import Iterable
from typing import Any

import msgspec

from nova_async.context import Context
from nova_async.db import Connection
from nova_async.db import networks as rows
from nova_async.db import routers as router_rows
from nova_async.db.routers import GATEWAY, RouterRow
from nova_async.errors import Conflict, Invalid, NotFound
from nova_async.services.network import fields as f
from nova_async.services.network import own_ports
from nova_async.services.network.collection import Collection, Query, admin_only, project_of
from nova_async.services.network.quotas import require_room
from nova_async.services.network.views import ZONE, dates

MOST_ROUTES = 30
ROUTE = f.record(destination=f.prefix, nexthop=f.address)
GATEWAY_INFO = f.record(
    network_id=f.identifier,
    enable_snat=f.boolean,
    external_fixed_ips=f.list_of(f.record(subnet_id=f.identifier, ip_address=f.address), 5),
    qos_policy_id=f.nothing,
)
CHANGES: dict[str, f.Reader] = {
    "name": f.text(255),
    "description": f.text(255),
    "admin_state_up": f.boolean,
    "external_gateway_info": lambda name, value: GATEWAY_INFO(name, value) if value else None,
    "routes": f.list_of(ROUTE, MOST_ROUTES),
    "distributed": f.one_of(False, None),
    "ha": f.one_of(False, None),
    "enable_ndp_proxy": f.one_of(False, None),
}
FIELDS = {**CHANGES, "project_id": f.text(255), "availability_zone_hints": f.list_of(f.one_of(ZONE)), "flavor_id": f.one_of(None)}


class Routers(Collection[RouterRow]):
    name, plural, label, tagged_as = "router", "routers", "Router", "router"

    async def find(self, conn: Connection, page: rows.Page, indexed: Query) -> list[RouterRow]:
        return await router_rows.routers(conn, page)

    def view(self, row: RouterRow, ctx: Context) -> dict[str, Any]:
        view = {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "project_id": row.project_id,
            "tenant_id": row.project_id,
            "admin_state_up": row.admin_state_up,
            "status": "ACTIVE",
            "external_gateway_info": _gateway_view(row),
            "routes": row.routes,
            "availability_zone_hints": [],
            "availability_zones": [ZONE],
            "flavor_id": None,
            "tags": row.tags,
            **dates(row),
        }
        if ctx.is_admin:
            view |= {"distributed": False, "ha": False}
        return view

    async def create(self, ctx: Context, body: dict[str, Any], id: str | None = None) -> RouterRow:
        values = f.read(body, self.name, FIELDS)
        gateway = values.pop("external_gateway_info", None)
        _gateway_of_admins(ctx, gateway)
        row = RouterRow(
            id=id or self.service.world.uuid(),
            project_id=project_of(ctx, values),
            name=values.get("name", ""),
            description=values.get("description", ""),
            admin_state_up=values.get("admin_state_up", True),
            enable_snat=(gateway or {}).get("enable_snat", True),
            routes=[],
            host="",
            tags=[],
            revision=1,
            created_at=self.service.world.now(),
            updated_at=None,
            gateway=None,
        )
        async with self.service.db.transaction() as conn:
            await require_room(self.service, conn, row.project_id, "router")
            await router_rows.insert_router(conn, row)
            if gateway:
                await self._set_gateway(conn, row, gateway)
            if values.get("routes"):
                await self._set_routes(conn, row, values["routes"])
        await self.service.tell_routers([row.id])
        return await self.get(ctx, row.id)

    async def update(self, ctx: Context, row: RouterRow, body: dict[str, Any]) -> RouterRow:
        values = f.read(body, self.name, CHANGES)
        async with self.service.db.transaction() as conn:
            row = await self._locked(ctx, conn, row.id)
            if "external_gateway_info" in values:
                gateway = values["external_gateway_info"]
                _gateway_of_admins(ctx, gateway)
                await self._set_gateway(conn, row, gateway)
                row = msgspec.structs.replace(row, enable_snat=(gateway or {}).get("enable_snat", row.enable_snat if gateway else True))
            plain = {name: values[name] for name in ("name", "description", "admin_state_up") if name in values}
            row = msgspec.structs.replace(row, **plain)
            await router_rows.update_router(conn, row)
            if "routes" in values:
                await self._set_routes(conn, row, values["routes"])
        await self.service.tell_routers([row.id])
        return await self.get(ctx, row.id)

    async def delete(self, ctx: Context, row: RouterRow) -> None:
        async with self.service.db.transaction() as conn:
            row = await self._locked(ctx, conn, row.id)
            if any(port.kind != GATEWAY for port in await router_rows.ports(conn, row.id)):
                raise Conflict(f"Router {row.id} still has ports")
            if row.gateway is not None:
                await router_rows.part(conn, row.gateway["port_id"])
            await router_rows.delete_router(conn, row.id)
        await self.service.tell_routers([row.id])

    async def change_routes(self, ctx: Context, row: RouterRow, body: dict[str, Any], *, add: bool) -> RouterRow:
        """Some more routes, or some fewer; those that are there, or are not, already are no error."""
        asked = f.read(body, self.name, {"routes": f.list_of(ROUTE, MOST_ROUTES)}).get("routes", [])
        async with self.service.db.transaction() as conn:
            row = await self._locked(ctx, conn, row.id)
            kept = [route for route in row.routes if route not in asked]
            await self._set_routes(conn, row, kept + asked if add else kept)
        await self.service.tell_routers([row.id])
        return await self.get(ctx, row.id)

    async def _locked(self, ctx: Context, conn: Connection, router_id: str) -> RouterRow:
        """The router as it is now; nobody else changes it until the transaction ends."""
        await router_rows.lock_router(conn, router_id)
        return await self.get(ctx, router_id, conn)

    async def _set_gateway(self, conn: Connection, row: RouterRow, wanted: dict[str, Any] | None) -> None:
        """Join the router to an external network, or to none. A gateway that is as wanted keeps its addresses."""
        now = row.gateway
        same_network = now is not None and wanted is not None and now["network_id"] == wanted.get("network_id")
        if now and wanted and same_network and _same(now["addresses"], wanted.get("external_fixed_ips", now["addresses"])):
            return
        if now is not None:
            if not same_network and await router_rows.floating_in_use(conn, row.id):
                raise Conflict(
                    f"Gateway cannot be updated for router {row.id}, since a gateway to external network {now['network_id']} is required "
                    "by one or more floating IPs."
                )
            await router_rows.part(conn, now["port_id"])
        if wanted is None:
            return
        network = await self._external(conn, wanted.get("network_id"))
        subnets = await rows.subnets(conn, rows.Page(), [network.id])
        ranges = {s.id: s.cidr for port in await router_rows.ports(conn, row.id) for s in await self._subnets_of(conn, port)}
        for subnet in subnets:
            apart(subnet, ranges)
        port = await own_ports.make(
            self.service, conn, network.id, own_ports.ROUTER_GATEWAY, row.id, _wishes(wanted.get("external_fixed_ips"), subnets)
        )
        await router_rows.join(conn, row.id, port, network.id, GATEWAY)

    async def _external(self, conn: Connection, network_id: str | None) -> rows.NetworkRow:
        if network_id is None:
            raise Invalid("Invalid input for external_gateway_info: network_id is required.")
        found = await rows.networks(conn, rows.Page(ids=[network_id]))
        if not found:
            raise NotFound(f"Network {network_id} could not be found.")
        if not found[0].external:
            raise Invalid(f"Bad router request: Network {network_id} is not an external network.")
        return found[0]

    async def _subnets_of(self, conn: Connection, port: router_rows.RouterPort) -> list[rows.SubnetRow]:
        if port.kind != router_rows.INTERFACE:
            return []
        return await rows.subnets(conn, rows.Page(ids=[address["subnet_id"] for address in port.addresses]))

    async def _set_routes(self, conn: Connection, row: RouterRow, routes: list[dict[str, str]]) -> None:
        """Each next hop must be a neighbour. Raises ``Invalid``."""
        if len(routes) > MOST_ROUTES:
            raise Invalid(f"Unable to add more routes to router {row.id}: it may have {MOST_ROUTES}.")
        ports = await router_rows.ports(conn, row.id)
        ids = [a["subnet_id"] for port in ports if port.kind != router_rows.HOST for a in port.addresses]
        ranges = [ipaddress.ip_network(s.cidr) for s in await rows.subnets(conn, rows.Page(ids=ids))]
        own = {a["ip_address"] for port in ports if port.kind != router_rows.HOST for a in port.addresses}
        for route in routes:
            if set(route) != {"destination", "nexthop"}:
                raise Invalid("Invalid input for routes: each needs a destination and a nexthop.")
            hop = ipaddress.ip_address(route["nexthop"])
            if hop.version != ipaddress.ip_network(route["destination"]).version:
                raise Invalid(f"Invalid format for routes: {route}, destination and nexthop must be of one IP version.")
            if not any(hop in cidr for cidr in ranges):
                raise Invalid(f"Invalid format for routes: {route}, the nexthop is not connected with router")
            if route["nexthop"] in own:
                raise Invalid(f"Invalid format for routes: {route}, the nexthop is used by router")
        await router_rows.update_router(conn, msgspec.structs.replace(row, routes=_once(routes)))


def _gateway_view(row: RouterRow) -> dict[str, Any] | None:
    if row.gateway is None:
        return None
    return {
        "network_id": row.gateway["network_id"],
        "enable_snat": row.enable_snat,
        "external_fixed_ips": row.gateway["addresses"],
        "qos_policy_id": None,
    }


def _gateway_of_admins(ctx: Context, gateway: dict[str, Any] | None) -> None:
    """Only they choose addresses outside, or do without NAT."""
    admin_only(ctx, {"enable_snat": "enable_snat" in (gateway or {}), **(gateway or {}), "network_id": None}, ("external_fixed_ips",))
    admin_only(ctx, {"enable_snat": (gateway or {}).get("enable_snat") is False}, ("enable_snat",))


def _same(addresses: list[dict[str, str]], wanted: list[dict[str, str]]) -> bool:
    """Whether each wish is met by an address of its own."""
    return len(addresses) == len(wanted) and all(any(wish.items() <= have.items() for have in addresses) for wish in wanted)


def _wishes(asked: list[dict[str, str]] | None, subnets: list[rows.SubnetRow]) -> list[dict[str, str]] | None:
    """Raises ``Invalid`` for an address that is the outer gateway's own, or of no subnet."""
    known = {s.id: s for s in subnets}
    for wish in asked or ():
        if wish.get("subnet_id", next(iter(known), "")) not in known:
            raise Invalid(f"Invalid input for external_fixed_ips: the external network has no subnet {wish['subnet_id']}.")
        if wish.get("ip_address") in {s.gateway for s in subnets}:
            raise Invalid(f"Bad router request: External IP {wish['ip_address']} is the same as the gateway IP.")
    return asked or None


def apart(subnet: rows.SubnetRow, others: dict[str, str]) -> None:
    """A router cannot tell overlapping ranges from each other."""
    own = ipaddress.ip_network(subnet.cidr)
    for other_id, cidr in others.items():
        other = ipaddress.ip_network(cidr)
        if other.version == own.version and other.overlaps(own):
            raise Invalid(f"Bad router request: Cidr {subnet.cidr} of subnet {subnet.id} overlaps with cidr {cidr} of subnet {other_id}.")


def _once(routes: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    return [dict(pair) for pair in dict.fromkeys(tuple(sorted(route.items())) for route in routes)]
