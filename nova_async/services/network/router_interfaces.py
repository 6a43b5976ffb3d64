"""Interfaces of routers: a subnet, or a port that its owner made, is joined to a router and parted from it."""

import ipaddress
from typing import Any

from nova_async.context import Context
from nova_async.db import Connection
from nova_async.db import networks as rows
from nova_async.db import routers as router_rows
from nova_async.db.routers import HOST, INTERFACE, RouterPort, RouterRow
from nova_async.errors import Conflict, Invalid, NotFound
from nova_async.services.network import fields as f
from nova_async.services.network import own_ports
from nova_async.services.network.ground import Ground
from nova_async.services.network.networks import Subnets
from nova_async.services.network.ports import Ports
from nova_async.services.network.routers import Routers, apart

Place = dict[str, Any]


class RouterInterfaces:
    """Both directions answer with the interface that they were about."""

    def __init__(self, service: Ground) -> None:
        self.service = service
        self.routers, self.subnets, self.ports = Routers(service), Subnets(service), Ports(service)

    async def add(self, ctx: Context, router: RouterRow, asked: Place) -> Place:
        """Raises ``Invalid``, ``NotFound``, ``Conflict`` (address or port in use)."""
        asked = _asked(asked)
        if len(asked) != 1:
            raise Invalid(
                "Bad router request: Cannot specify both subnet-id and port-id."
                if asked
                else "Bad router request: Either subnet_id or port_id must be specified."
            )
        async with self.service.db.transaction() as conn:
            await router_rows.lock_router(conn, router.id)
            if "port_id" in asked:
                port = await self._take(ctx, conn, router, asked["port_id"])
            else:
                port = await self._make(ctx, conn, router, asked["subnet_id"])
            await self.answer_elsewhere(conn, router, port)
        await self._tell(router, port)
        return _told(router, port)

    async def remove(self, ctx: Context, router: RouterRow, asked: Place) -> Place:
        """Raises ``NotFound`` where there is none, ``Conflict`` while floating IPs or routes need it."""
        asked = _asked(asked)
        if not asked:
            raise Invalid("Bad router request: Either subnet_id or port_id must be specified.")
        async with self.service.db.transaction() as conn:
            await router_rows.lock_router(conn, router.id)
            router = await self.routers.get(ctx, router.id, conn)
            ports = await router_rows.ports(conn, router.id)
            port = self._found(router, ports, asked)
            await self._unused(conn, router, port)
            await router_rows.part(conn, port.port_id)
            for host_port in ports:
                if host_port.kind == HOST and {a["subnet_id"] for a in host_port.addresses} <= {a["subnet_id"] for a in port.addresses}:
                    await router_rows.part(conn, host_port.port_id)
        await self._tell(router, port)
        return _told(router, port)

    async def _make(self, ctx: Context, conn: Connection, router: RouterRow, subnet_id: str) -> RouterPort:
        """A port with the gateway's address of the subnet."""
        subnet = await self.subnets.get(ctx, subnet_id, conn)
        if subnet.gateway is None:
            raise Invalid("Bad router request: Subnet for router interface must have a gateway IP.")
        if not ctx.is_admin and subnet.project_id != ctx.project_id:
            raise Invalid(
                f"Bad router request: Cannot add interface to router because subnet {subnet.id} is not owned by project making the request."
            )
        await self._check_apart(conn, router, [subnet])
        wishes = [{"subnet_id": subnet.id, "ip_address": subnet.gateway}]
        port_id = await own_ports.make(
            self.service, conn, subnet.network_id, own_ports.ROUTER_INTERFACE, router.id, wishes, project_id=router.project_id
        )
        await router_rows.join(conn, router.id, port_id, subnet.network_id, INTERFACE)
        return RouterPort(port_id=port_id, network_id=subnet.network_id, kind=INTERFACE, addresses=wishes)

    async def _take(self, ctx: Context, conn: Connection, router: RouterRow, port_id: str) -> RouterPort:
        """A port that nobody uses yet, with its addresses."""
        row = await self.ports.locked(ctx, conn, port_id)
        if row.device_id:
            raise Conflict(
                f"Unable to complete operation on port {row.id} for network {row.network_id}. Port already has an attached device "
                f"{row.device_id}."
            )
        if not row.fixed_ips:
            raise Invalid("Bad router request: Router port must have at least one fixed IP.")
        subnets = await rows.subnets(conn, rows.Page(ids=[ip["subnet_id"] for ip in row.fixed_ips]))
        if sum(ipaddress.ip_network(s.cidr).version == 4 for s in subnets) > 1:
            raise Invalid("Bad router request: Cannot have multiple IPv4 subnets on router port.")
        await self._check_apart(conn, router, subnets)
        row.device_id, row.device_owner, row.port_security_enabled = router.id, own_ports.ROUTER_INTERFACE, False
        await rows.update_port(conn, row)
        await rows.put_into_groups(conn, row.id, [])
        await router_rows.join(conn, router.id, row.id, row.network_id, INTERFACE)
        return RouterPort(port_id=row.id, network_id=row.network_id, kind=INTERFACE, addresses=row.fixed_ips)

    async def _check_apart(self, conn: Connection, router: RouterRow, subnets: list[rows.SubnetRow]) -> None:
        ids = [a["subnet_id"] for port in await router_rows.ports(conn, router.id) if port.kind != HOST for a in port.addresses]
        others = {s.id: s.cidr for s in await rows.subnets(conn, rows.Page(ids=ids))}
        for subnet in subnets:
            if subnet.id in others:
                raise Invalid(f"Bad router request: Router already has a port on subnet {subnet.id}.")
            apart(subnet, others)

    async def answer_elsewhere(self, conn: Connection, router: RouterRow, port: RouterPort) -> None:
        """Where the router now has the gateway's address, hosts need another one to give leases and metadata by."""
        subnets = {s.id: s for s in await rows.subnets(conn, rows.Page(ids=[a["subnet_id"] for a in port.addresses]))}
        for address in port.addresses:
            subnet = subnets[address["subnet_id"]]
            is_gateway = subnet.gateway == address["ip_address"] and ipaddress.ip_network(subnet.cidr).version == 4
            if is_gateway and not await router_rows.host_ports(conn, subnet.network_id, subnet.id):
                await own_ports.answer(self.service, conn, subnet, router.id)

    def _found(self, router: RouterRow, ports: list[RouterPort], asked: Place) -> RouterPort:
        interfaces = [port for port in ports if port.kind == INTERFACE]
        if "port_id" in asked:
            found = [port for port in interfaces if port.port_id == asked["port_id"]]
            if not found:
                raise NotFound(f"Router {router.id} does not have an interface with id {asked['port_id']}")
            if "subnet_id" in asked and not _has(found[0], asked["subnet_id"]):
                raise Conflict(f"Subnet on port {asked['port_id']} does not match the requested subnet {asked['subnet_id']}.")
            return found[0]
        found = [port for port in interfaces if _has(port, asked["subnet_id"])]
        if not found:
            raise NotFound(f"Router {router.id} has no interface on subnet {asked['subnet_id']}")
        return found[0]

    async def _unused(self, conn: Connection, router: RouterRow, port: RouterPort) -> None:
        subnets = await rows.subnets(conn, rows.Page(ids=[a["subnet_id"] for a in port.addresses]))
        for subnet in subnets:
            on = f"Router interface for subnet {subnet.id} on router {router.id} cannot be deleted, as it is required by one or more"
            if await router_rows.floating_in_use(conn, router.id, subnet.id):
                raise Conflict(f"{on} floating IPs.")
            if any(_within(route["nexthop"], subnet.cidr) for route in router.routes):
                raise Conflict(f"{on} routes.")

    async def _tell(self, router: RouterRow, port: RouterPort) -> None:
        """The hosts of servers that get another gateway, and the router's own."""
        async with self.service.db.connection() as conn:
            servers = await router_rows.servers_on(conn, port.network_id)
        await self.service.tell_routers([router.id])
        self.service.moved([rows.Place(network_id=port.network_id, project_id=router.project_id)])
        await self.service.tell(servers)


def _asked(body: Any) -> Place:
    """``subnet_id``, ``port_id`` or both."""
    if not isinstance(body, dict):
        raise Invalid("Bad router request: Either subnet_id or port_id must be specified.")
    return {name: f.identifier(name, body[name]) for name in ("subnet_id", "port_id") if body.get(name) is not None}


def _has(port: RouterPort, subnet_id: str) -> bool:
    return any(a["subnet_id"] == subnet_id for a in port.addresses)


def _within(address: str, cidr: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr)


def _told(router: RouterRow, port: RouterPort) -> Place:
    subnets = [a["subnet_id"] for a in port.addresses]
    return {
        "id": router.id,
        "project_id": router.project_id,
        "tenant_id": router.project_id,
        "port_id": port.port_id,
        "network_id": port.network_id,
        "subnet_id": subnets[0],
        "subnet_ids": subnets,
    }
