"""Rows of the built-in network service."""

from typing import Any

import msgspec

from nova_async.db import Connection, Query


class Survey(msgspec.Struct, kw_only=True):
    """What a request for network cards is judged by: lists of plain objects, as ``networks_ports.sql`` builds them."""

    default_group: str
    networks: list[dict[str, Any]]  # id, name, external, own, shared, cidrs, gateways, taken
    ports: list[dict[str, Any]]  # id, network_id, device_id, addressed
    groups: list[dict[str, str]]  # id, name


class BoundPort(msgspec.Struct, kw_only=True):
    """A port of a server with what its host needs."""

    id: str
    network_id: str
    mac: str
    position: int
    tag: str | None
    mtu: int
    network_label: str
    port_security: bool
    addresses: list[dict[str, Any]]  # address, subnet_id, cidr, version, gateway, routes, dns_servers, dhcp
    security_rules: list[dict[str, Any]]


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """For whom and where ports are bound."""

    instance_id: str
    project_id: str
    device_owner: str
    host: str
    dns_name: str


BOOTSTRAP: Query[None] = Query("networks", "bootstrap")
SURVEY = Query("networks_ports", "survey", Survey)
BIND = Query("networks_ports", "bind", BoundPort)
UNBIND: Query[None] = Query("networks_ports", "unbind")
BOUND = Query("networks_ports", "bound", BoundPort)
GROUP_NAMES = Query("networks_ports", "group_names", str)


async def bootstrap(
    conn: Connection,
    *,
    network_id: str,
    subnet_id: str,
    project_id: str,
    name: str,
    mtu: int,
    cidr: str,
    gateway: str,
    pools: list[dict[str, str]],
    dns_servers: list[str],
) -> bool:
    """Make the first network with its subnet; says whether it was missing."""
    return bool(await BOOTSTRAP.run(conn, network_id, project_id, name, mtu, subnet_id, cidr, gateway, pools, dns_servers))


async def survey(
    conn: Connection, project_id: str, admin: bool, network_ids: list[str], port_ids: list[str], addresses: list[str]
) -> Survey:
    return await SURVEY.one(conn, project_id, admin, network_ids, port_ids, addresses)


async def bind(conn: Connection, binding: Binding, wishes: list[dict[str, Any]], groups: list[str]) -> list[BoundPort]:
    """Make or take the wished ports; returns all ports of the server. Raises ``Conflict``, ``Invalid`` or ``NotFound``."""
    return await BIND.all(
        conn, binding.instance_id, binding.project_id, binding.device_owner, binding.host, binding.dns_name, wishes, groups
    )


async def unbind(conn: Connection, instance_id: str) -> None:
    await UNBIND.run(conn, instance_id)


async def bound(conn: Connection, instance_id: str) -> list[BoundPort]:
    return await BOUND.all(conn, instance_id)


async def group_names(conn: Connection, instance_id: str) -> list[str]:
    return await GROUP_NAMES.all(conn, instance_id)
