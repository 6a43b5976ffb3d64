"""Rows of routers, their ports, and floating IPs."""

from datetime import datetime
from typing import Any

import msgspec

from nova_async.db import Connection, Query
from nova_async.db.networks import Page, Place

INTERFACE, GATEWAY, HOST = "interface", "gateway", "host"


class RouterRow(msgspec.Struct, kw_only=True):
    id: str
    project_id: str
    name: str
    description: str
    admin_state_up: bool
    enable_snat: bool
    routes: list[dict[str, str]]  # destination, nexthop
    host: str
    tags: list[str]
    revision: int
    created_at: datetime
    updated_at: datetime | None
    gateway: dict[str, Any] | None  # port_id, network_id, addresses


class RouterPort(msgspec.Struct, kw_only=True):
    """``kind``: an interface, the gateway, or what hosts answer by in place of the gateway's address (host)."""

    port_id: str
    network_id: str
    kind: str
    addresses: list[dict[str, str]]  # subnet_id, ip_address


class HostPort(msgspec.Struct, kw_only=True):
    """What hosts answer by in a subnet. ``router_id``: whose gateway's address they make room for; None: no router's."""

    port_id: str
    router_id: str | None


class FloatingIpRow(msgspec.Struct, kw_only=True):
    """``router_id``, ``fixed_address``, ``fixed_port``, ``port_details``: None where it leads nowhere."""

    id: str
    project_id: str
    network_id: str
    description: str
    tags: list[str]
    revision: int
    created_at: datetime
    updated_at: datetime | None
    address: str
    fixed_address: str | None
    fixed_port: str | None
    router_id: str | None
    plugged: bool
    port_details: dict[str, Any] | None


class Home(msgspec.Struct):
    """A router, and the host that carries it; empty: none yet."""

    id: str
    host: str


class Specified(msgspec.Struct, kw_only=True):
    """A router with what its host needs."""

    id: str
    project_id: str
    admin_state_up: bool
    enable_snat: bool
    routes: list[dict[str, str]]
    host: str
    ports: list[dict[str, Any]]  # id, network_id, mac, mtu, apart, up, kind, host_addresses, addresses: as those of a BoundPort
    floating_ips: list[dict[str, str]]  # id, address, fixed_address


ROUTERS = Query("routers", "routers", RouterRow)
LOCK_ROUTER = Query("routers", "lock_router", str)
INSERT_ROUTER: Query[None] = Query("routers", "insert_router")
UPDATE_ROUTER: Query[None] = Query("routers", "update_router")
DELETE_ROUTER: Query[None] = Query("routers", "delete_router")
ROUTER_PORTS = Query("routers", "router_ports", RouterPort)
ROUTERS_BEHIND = Query("routers", "routers_behind", str)
JOIN_PORT: Query[None] = Query("routers", "join_port")
PART_PORT: Query[None] = Query("routers", "part_port")
ROUTER_BETWEEN = Query("routers", "router_between", str)
HOST_PORTS = Query("routers", "host_ports", HostPort)
HAS_ADDRESS = Query("routers", "has_address", bool)
SERVERS_ON = Query("routers", "servers_on", str)
ROUTERS_ON = Query("routers", "routers_on", str)
FLOATING_IN_USE = Query("routers", "floating_in_use", bool)
USED_OUTSIDE = Query("routers", "used_outside", bool)
FLOATING_IPS = Query("routers", "floating_ips", FloatingIpRow)
INSERT_FLOATING_IP: Query[None] = Query("routers", "insert_floating_ip")
UPDATE_FLOATING_IP: Query[None] = Query("routers", "update_floating_ip")
DELETE_FLOATING_IP: Query[None] = Query("routers", "delete_floating_ip")
DELETE_UNUSED_FLOATING_IPS: Query[None] = Query("routers", "delete_unused_floating_ips")
SPECS = Query("routers", "specs", Specified)
HOMES = Query("routers", "homes", Home)
GIVE_ROUTER = Query("routers", "give_router", str)
PLACE_ROUTER = Query("routers", "place_router", Place)
PLUGGED: Query[None] = Query("routers", "plugged")


async def routers(conn: Connection, page: Page) -> list[RouterRow]:
    return await ROUTERS.all(conn, *page.args)


async def lock_router(conn: Connection, router_id: str) -> None:
    """Raises ``NotFound``."""
    await LOCK_ROUTER.one(conn, router_id)


async def insert_router(conn: Connection, row: RouterRow) -> None:
    await INSERT_ROUTER.run(conn, row.id, row.project_id, row.name, row.description, row.admin_state_up, row.enable_snat)


async def update_router(conn: Connection, row: RouterRow) -> None:
    await UPDATE_ROUTER.run(conn, row.id, row.name, row.description, row.admin_state_up, row.enable_snat, row.routes)


async def delete_router(conn: Connection, router_id: str) -> None:
    """Raises ``Conflict`` while it has ports."""
    await DELETE_ROUTER.run(conn, router_id)


async def ports(conn: Connection, router_id: str) -> list[RouterPort]:
    return await ROUTER_PORTS.all(conn, router_id)


async def behind(conn: Connection, port_ids: list[str]) -> list[str]:
    """The routers that a change of these ports concerns."""
    return await ROUTERS_BEHIND.all(conn, port_ids)


async def join(conn: Connection, router_id: str | None, port_id: str, network_id: str, kind: str) -> None:
    """``router_id`` None: hosts need the port, and no router does."""
    await JOIN_PORT.run(conn, port_id, router_id, network_id, kind)


async def part(conn: Connection, port_id: str) -> None:
    """Take a port from its router and remove it."""
    await PART_PORT.run(conn, port_id)


async def between(conn: Connection, external_network: str, subnet_id: str) -> str | None:
    """The router on the way from one to the other."""
    return await ROUTER_BETWEEN.maybe(conn, external_network, subnet_id)


async def host_ports(conn: Connection, network_id: str, subnet_id: str | None = None) -> list[HostPort]:
    """The ports by which hosts answer in one subnet, or all, of a network."""
    return await HOST_PORTS.all(conn, network_id, subnet_id)


async def has_address(conn: Connection, subnet_id: str, address: str) -> bool:
    """Whether a port has it."""
    return await HAS_ADDRESS.one(conn, subnet_id, address)


async def servers_on(conn: Connection, network_id: str) -> list[str]:
    return await SERVERS_ON.all(conn, network_id)


async def routers_on(conn: Connection, network_id: str) -> list[str]:
    return await ROUTERS_ON.all(conn, network_id)


async def floating_in_use(conn: Connection, router_id: str, subnet_id: str | None = None) -> bool:
    return await FLOATING_IN_USE.one(conn, router_id, subnet_id)


async def used_outside(conn: Connection, network_id: str) -> bool:
    return await USED_OUTSIDE.one(conn, network_id)


async def floating_ips(
    conn: Connection, page: Page, addresses: list[str] | None = None, ports: list[str] | None = None
) -> list[FloatingIpRow]:
    return await FLOATING_IPS.all(conn, *page.args, addresses, ports)


async def insert_floating_ip(conn: Connection, id: str, project_id: str, network_id: str, port_id: str, description: str) -> None:
    await INSERT_FLOATING_IP.run(conn, id, project_id, network_id, port_id, description)


async def update_floating_ip(
    conn: Connection, id: str, description: str, router_id: str | None, subnet_id: str | None, fixed_address: str | None
) -> None:
    """Raises ``Conflict`` when the fixed address has another floating IP of the same network."""
    await UPDATE_FLOATING_IP.run(conn, id, description, router_id, subnet_id, fixed_address)


async def delete_floating_ip(conn: Connection, id: str) -> None:
    await DELETE_FLOATING_IP.run(conn, id)


async def delete_unused_floating_ips(conn: Connection, network_id: str) -> None:
    """Those of an external network that lead nowhere."""
    await DELETE_UNUSED_FLOATING_IPS.run(conn, network_id)


async def plugged(conn: Connection, router_id: str, floating_ips: list[str]) -> None:
    """The router's host has these and no others."""
    await PLUGGED.run(conn, router_id, floating_ips)


async def specs(conn: Connection, ids: list[str] | None = None) -> list[Specified]:
    """Of these routers, or of all."""
    return await SPECS.all(conn, ids)


async def homes(conn: Connection) -> list[Home]:
    """Of all routers."""
    return await HOMES.all(conn)


async def give(conn: Connection, router_id: str, from_host: str, host: str) -> bool:
    """The router is to be carried by this host; False where the other does not have it any more."""
    return await GIVE_ROUTER.maybe(conn, router_id, from_host, host) is not None


async def place(conn: Connection, router_id: str) -> list[Place]:
    """The inner ports are where the router is; returns the places of those that were not there before."""
    return await PLACE_ROUTER.all(conn, router_id)
