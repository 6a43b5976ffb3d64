"""Rows of the built-in network service."""

from datetime import datetime
from typing import Any

import msgspec

from nova_async.db import Connection, Query


class Survey(msgspec.Struct, kw_only=True):
    """What a request for network cards is judged by: lists of plain objects, as ``networks_ports.sql`` builds them."""

    default_group: str
    networks: list[dict[str, Any]]  # id, name, external, own, shared, guarded, wires, cidrs, gateways, taken
    ports: list[dict[str, Any]]  # id, network_id, in_use, on_guarded, wires, addressed
    groups: list[dict[str, str]]  # id, name
    ports_left: int | None = None  # that the project may still have; None: any number


class BoundPort(msgspec.Struct, kw_only=True):
    """A port of a server with what its host needs."""

    id: str
    network_id: str
    project_id: str
    mac: str
    position: int
    tag: str | None
    mtu: int
    network_label: str
    port_security: bool
    addresses: list[dict[str, Any]]  # address, subnet_id, cidr, version, gateway, routes, dns_servers, dhcp, ra_mode, address_mode
    security_rules: list[dict[str, Any]]
    allowed_address_pairs: list[dict[str, str]]  # ip_address, mac_address
    host_addresses: dict[str, str]  # by subnet, where hosts are not the gateway
    floating: dict[str, list[str]]  # floating IPs by the address that they lead to
    apart: bool
    up: bool  # it and its network
    wires: str  # see PortSpec
    vlan: int | None
    dns_name: str
    dns_domain: str


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a port is, or was."""

    network_id: str
    project_id: str


class Left(Place, frozen=True, kw_only=True):
    """Where a port was. ``router_id``: of one that sent floating IPs to it."""

    router_id: str | None


class NeighborRow(msgspec.Struct, kw_only=True):
    """A port on another host. ``wired``: wires lead there."""

    network_id: str
    vni: int
    host: str
    mac: str
    port_security: bool
    allowed_address_pairs: list[dict[str, str]]
    addresses: list[str]
    dns_name: str
    wired: bool


class MembersRow(msgspec.Struct, kw_only=True):
    """Who is in a security group."""

    id: str
    addresses: list[str]


class StrangersRow(MembersRow, kw_only=True):
    """Whose addresses in a network are not those of the group's members that have them elsewhere."""

    network_id: str


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """For whom and where ports are bound."""

    instance_id: str
    project_id: str
    device_owner: str
    host: str
    dns_name: str


class NetworkRow(msgspec.Struct, kw_only=True):
    id: str
    project_id: str
    name: str
    description: str
    shared: bool
    external: bool
    admin_state_up: bool
    port_security_enabled: bool
    mtu: int
    dns_domain: str
    vni: int
    is_default: bool
    apart: bool  # others had its ranges already, or it is on wires; hosts keep their own end of it to itself
    provider: str = "vxlan"  # flat, vlan
    physical_network: str | None = None
    vlan: int | None = None
    tags: list[str]
    revision: int
    created_at: datetime
    updated_at: datetime | None
    subnets: list[str]


class Overlaps(msgspec.Struct, kw_only=True):
    """Who has addresses of a range already: other networks, and among them such as hosts are in themselves."""

    of_networks: bool
    of_hosts: bool


class SubnetRow(msgspec.Struct, kw_only=True):
    id: str
    network_id: str
    project_id: str
    name: str
    description: str
    cidr: str
    gateway: str | None
    enable_dhcp: bool
    dns_servers: list[str]
    host_routes: list[dict[str, str]]  # destination, nexthop
    pools: list[dict[str, str]]  # start, end
    ipv6_ra_mode: str | None
    ipv6_address_mode: str | None
    subnet_pool: str | None
    tags: list[str]
    revision: int
    created_at: datetime
    updated_at: datetime | None


class PortRow(msgspec.Struct, kw_only=True):
    id: str
    network_id: str
    project_id: str
    name: str
    description: str
    admin_state_up: bool
    port_security_enabled: bool
    mac: str
    device_id: str
    device_owner: str
    host: str
    dns_name: str
    allowed_address_pairs: list[dict[str, str]]
    profile: dict[str, Any]
    tags: list[str]
    revision: int
    created_at: datetime
    updated_at: datetime | None
    fixed_ips: list[dict[str, str]]  # subnet_id, ip_address
    security_groups: list[str]
    up: bool = True  # it and its network
    dns_domain: str = ""  # of its network


class GroupRow(msgspec.Struct, kw_only=True):
    id: str
    project_id: str
    name: str
    description: str
    stateful: bool
    is_default: bool
    tags: list[str]
    revision: int
    created_at: datetime
    updated_at: datetime | None
    rules: list[dict[str, Any]]  # fields of RuleRow


class RuleRow(msgspec.Struct, kw_only=True):
    id: str
    security_group_id: str
    project_id: str
    direction: str
    ethertype: str
    protocol: str | None
    port_range_min: int | None
    port_range_max: int | None
    remote_ip_prefix: str | None  # as it was written, perhaps with host bits
    normalized_cidr: str | None
    remote_group_id: str | None
    description: str
    revision: int
    created_at: datetime


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows of a list; None leaves a condition out. ``project_id`` None shows all projects'."""

    project_id: str | None = None
    ids: list[str] | None = None
    names: list[str] | None = None
    after: str | None = None
    limit: int | None = None

    @property
    def args(self) -> tuple[Any, ...]:
        return (self.project_id, self.ids, self.names, self.after, self.limit)


BOOTSTRAP: Query[None] = Query("networks", "bootstrap")
SURVEY = Query("networks_ports", "survey", Survey)
BIND = Query("networks_ports", "bind", BoundPort)
UNBIND = Query("networks_ports", "unbind", Left, one_plan=True)
MOVE: Query[None] = Query("networks_ports", "move")
BOUND = Query("networks_ports", "bound", BoundPort)
HOSTS_BESIDE = Query("networks_ports", "hosts_beside", str)
NEIGHBORS = Query("networks_ports", "neighbors", NeighborRow)
MEMBERS = Query("networks_ports", "members", MembersRow)
STRANGERS = Query("networks_ports", "strangers", StrangersRow)
GROUP_NAMES = Query("networks_ports", "group_names", str)
NETWORKS = Query("networks", "networks", NetworkRow)
SUBNETS = Query("networks", "subnets", SubnetRow)
OVERLAPS = Query("networks", "overlaps", Overlaps)
WIRED = Query("networks", "wired", bool)
SET_APART = Query("networks", "set_apart", str)
FREE_RANGE = Query("networks", "free_range", str)
PORTS = Query("networks_ports", "ports", PortRow)
GROUPS = Query("networks_groups", "groups", GroupRow)
RULES = Query("networks_groups", "rules", RuleRow)
DEFAULT_GROUP = Query("networks_groups", "default_group", str)
SERVERS_BEHIND = Query("networks_groups", "servers_behind", str)
INSERT_NETWORK: Query[None] = Query("networks", "insert_network")
UPDATE_NETWORK: Query[None] = Query("networks", "update_network")
DELETE_NETWORK: Query[None] = Query("networks", "delete_network")
LOCK_NETWORK = Query("networks", "lock_network", str)
LOCK_SUBNETS: Query[None] = Query("networks", "lock_subnets")
LOCK_TOPOLOGIES: Query[None] = Query("networks", "lock_topologies")
INSERT_SUBNET: Query[None] = Query("networks", "insert_subnet")
ADDRESS_ALL = Query("networks", "address_all", str)
FORGET_MADE_ADDRESSES: Query[None] = Query("networks", "forget_made_addresses")
UPDATE_SUBNET: Query[None] = Query("networks", "update_subnet")
DELETE_SUBNET: Query[None] = Query("networks", "delete_subnet")
INSERT_PORT: Query[None] = Query("networks_ports", "insert_port")
UPDATE_PORT: Query[None] = Query("networks_ports", "update_port")
DELETE_PORT: Query[None] = Query("networks_ports", "delete_port")
GIVE_ADDRESSES: Query[None] = Query("networks_ports", "give_addresses")
DROP_ADDRESSES: Query[None] = Query("networks_ports", "drop_addresses")
PUT_INTO_GROUPS: Query[None] = Query("networks_ports", "put_into_groups")
INSERT_GROUP: Query[None] = Query("networks_groups", "insert_group")
UPDATE_GROUP: Query[None] = Query("networks_groups", "update_group")
DELETE_GROUP: Query[None] = Query("networks_groups", "delete_group")
INSERT_RULE: Query[None] = Query("networks_groups", "insert_rule")
DELETE_RULE: Query[None] = Query("networks_groups", "delete_rule")
TAGS: dict[str, Query[None]] = {
    "network": Query("networks", "tag_network"),
    "subnet": Query("networks", "tag_subnet"),
    "subnet_pool": Query("subnet_pools", "tag_subnet_pool"),
    "port": Query("networks_ports", "tag_port"),
    "group": Query("networks_groups", "tag_group"),
    "router": Query("routers", "tag_router"),
    "floating_ip": Query("routers", "tag_floating_ip"),
}


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
    conn: Connection, project_id: str, admin: bool, network_ids: list[str], port_ids: list[str], addresses: list[str], port_quota: int
) -> Survey:
    return await SURVEY.one(conn, project_id, admin, network_ids, port_ids, addresses, port_quota)


async def bind(conn: Connection, binding: Binding, wishes: list[dict[str, Any]], groups: list[str]) -> list[BoundPort]:
    """Make or take the wished ports; returns all ports of the server. Raises ``Conflict``, ``Invalid`` or ``NotFound``."""
    return await BIND.all(
        conn, binding.instance_id, binding.project_id, binding.device_owner, binding.host, binding.dns_name, wishes, groups
    )


async def unbind(conn: Connection, instance_id: str, port_id: str | None = None) -> list[Left]:
    """All ports of the server, or one; says where they were, and the routers that sent floating IPs to those that are deleted."""
    return await UNBIND.all(conn, instance_id, port_id)


async def move(conn: Connection, instance_id: str, host: str, device_owner: str) -> None:
    await MOVE.run(conn, instance_id, host, device_owner)


async def bound(conn: Connection, instance_id: str) -> list[BoundPort]:
    return await BOUND.all(conn, instance_id)


async def hosts_beside(conn: Connection, network_ids: list[str], project_ids: list[str]) -> list[str]:
    """The hosts that may have to know of a change."""
    return await HOSTS_BESIDE.all(conn, network_ids, project_ids)


async def neighbors(conn: Connection, network_ids: list[str], host: str) -> list[NeighborRow]:
    """The ports of these networks that are on other hosts than this."""
    return await NEIGHBORS.all(conn, network_ids, host)


async def members(conn: Connection, group_ids: list[str]) -> list[MembersRow]:
    return await MEMBERS.all(conn, group_ids)


async def strangers(conn: Connection, group_ids: list[str], network_ids: list[str]) -> list[StrangersRow]:
    return await STRANGERS.all(conn, group_ids, network_ids)


async def group_names(conn: Connection, instance_id: str) -> list[str]:
    return await GROUP_NAMES.all(conn, instance_id)


async def networks(conn: Connection, page: Page) -> list[NetworkRow]:
    return await NETWORKS.all(conn, *page.args)


async def insert_network(conn: Connection, row: NetworkRow) -> None:
    await INSERT_NETWORK.run(conn, row.id, row.project_id, *_network_values(row), row.apart, row.provider, row.physical_network, row.vlan)


async def update_network(conn: Connection, row: NetworkRow) -> None:
    await UPDATE_NETWORK.run(conn, row.id, *_network_values(row))


def _network_values(row: NetworkRow) -> tuple[Any, ...]:
    return (
        row.name,
        row.description,
        row.shared,
        row.external,
        row.admin_state_up,
        row.port_security_enabled,
        row.mtu,
        row.dns_domain,
        row.is_default,
    )


async def delete_network(conn: Connection, network_id: str) -> None:
    """With its subnets; raises ``Conflict`` while it has ports."""
    await DELETE_NETWORK.run(conn, network_id)


async def subnets(conn: Connection, page: Page, network_ids: list[str] | None = None) -> list[SubnetRow]:
    return await SUBNETS.all(conn, *page.args, network_ids)


async def lock_network(conn: Connection, network_id: str) -> None:
    """Until the transaction ends nobody else changes it. Raises ``NotFound``."""
    await LOCK_NETWORK.one(conn, network_id)


async def lock_subnets(conn: Connection) -> None:
    """Until the transaction ends nobody else makes a subnet."""
    await LOCK_SUBNETS.run(conn)


async def overlaps(conn: Connection, cidr: str, network_id: str) -> Overlaps:
    """``network_id``: of the network that is to have the range; it does not count."""
    return await OVERLAPS.one(conn, cidr, network_id)


async def wired(conn: Connection, wires: str) -> bool:
    """Whether there is a host that has these (``PortSpec.wires``)."""
    return await WIRED.one(conn, wires)


async def set_apart(conn: Connection, network_id: str) -> bool:
    """Keep the network apart from others from now on; says whether that could still be: it has no ports yet."""
    return await SET_APART.maybe(conn, network_id) is not None


async def lock_topologies(conn: Connection) -> None:
    """Nobody else makes or removes a project's automatic network until the transaction ends."""
    await LOCK_TOPOLOGIES.run(conn)


async def free_range(conn: Connection, pool: str, prefix: int) -> str | None:
    """The first IPv4 range of this length in ``pool`` that no subnet has anything of."""
    return await FREE_RANGE.maybe(conn, pool, prefix)


async def insert_subnet(conn: Connection, row: SubnetRow) -> None:
    await INSERT_SUBNET.run(
        conn,
        row.id,
        row.network_id,
        row.project_id,
        row.name,
        row.description,
        row.cidr,
        row.gateway,
        row.enable_dhcp,
        row.dns_servers,
        row.host_routes,
        row.pools,
        row.ipv6_ra_mode,
        row.ipv6_address_mode,
        row.subnet_pool,
    )


async def address_all(conn: Connection, subnet_id: str) -> list[str]:
    """Give every port of the network an address of this subnet; returns the servers that have them."""
    return await ADDRESS_ALL.all(conn, subnet_id)


async def forget_made_addresses(conn: Connection, subnet_id: str) -> None:
    await FORGET_MADE_ADDRESSES.run(conn, subnet_id)


async def update_subnet(conn: Connection, row: SubnetRow) -> None:
    await UPDATE_SUBNET.run(
        conn, row.id, row.name, row.description, row.gateway, row.enable_dhcp, row.dns_servers, row.host_routes, row.pools
    )


async def delete_subnet(conn: Connection, subnet_id: str) -> None:
    """Raises ``Conflict`` while ports have addresses of it."""
    await DELETE_SUBNET.run(conn, subnet_id)


async def ports(conn: Connection, page: Page, network_ids: list[str] | None = None, device_ids: list[str] | None = None) -> list[PortRow]:
    return await PORTS.all(conn, *page.args, network_ids, device_ids)


async def insert_port(conn: Connection, row: PortRow, seed: int) -> None:
    """``row.mac`` empty: one is made from ``seed``. Raises ``Conflict`` when the MAC is taken."""
    await INSERT_PORT.run(
        conn,
        row.id,
        row.network_id,
        row.project_id,
        row.name,
        row.description,
        row.admin_state_up,
        row.port_security_enabled,
        row.mac or None,
        seed,
        row.device_id,
        row.device_owner,
        row.host,
        row.dns_name,
        row.allowed_address_pairs,
        row.profile,
    )


async def update_port(conn: Connection, row: PortRow) -> None:
    await UPDATE_PORT.run(
        conn,
        row.id,
        row.name,
        row.description,
        row.admin_state_up,
        row.port_security_enabled,
        row.mac,
        row.device_id,
        row.device_owner,
        row.host,
        row.dns_name,
        row.allowed_address_pairs,
        row.profile,
    )


async def delete_port(conn: Connection, port_id: str) -> None:
    await DELETE_PORT.run(conn, port_id)


async def give_addresses(conn: Connection, port_id: str, network_id: str, wishes: list[dict[str, str]] | None, seed: int) -> None:
    """Addresses as wished ({ip_address, subnet_id}, either may be missing), or one of each version the network has."""
    await GIVE_ADDRESSES.run(conn, port_id, network_id, wishes, seed)


async def drop_addresses(conn: Connection, port_id: str, keep: list[str]) -> None:
    await DROP_ADDRESSES.run(conn, port_id, keep)


async def put_into_groups(conn: Connection, port_id: str, groups: list[str]) -> None:
    """Into exactly these groups."""
    await PUT_INTO_GROUPS.run(conn, port_id, groups)


async def default_group(conn: Connection, project_id: str) -> str:
    """The id of the project's default group, made on first use."""
    return await DEFAULT_GROUP.one(conn, project_id)


async def groups(conn: Connection, page: Page) -> list[GroupRow]:
    return await GROUPS.all(conn, *page.args)


async def insert_group(conn: Connection, row: GroupRow, rule_ids: tuple[str, str]) -> None:
    """With two rules that let everything out, as Neutron makes them."""
    await INSERT_GROUP.run(conn, row.id, row.project_id, row.name, row.description, row.stateful, *rule_ids)


async def update_group(conn: Connection, row: GroupRow) -> None:
    await UPDATE_GROUP.run(conn, row.id, row.name, row.description, row.stateful)


async def delete_group(conn: Connection, group_id: str) -> None:
    """Raises ``Conflict`` while ports are in it."""
    await DELETE_GROUP.run(conn, group_id)


async def rules(conn: Connection, page: Page, group_ids: list[str] | None = None) -> list[RuleRow]:
    return await RULES.all(conn, *page.args, group_ids)


async def insert_rule(conn: Connection, row: RuleRow) -> None:
    await INSERT_RULE.run(
        conn,
        row.id,
        row.security_group_id,
        row.project_id,
        row.direction,
        row.ethertype,
        row.protocol,
        row.port_range_min,
        row.port_range_max,
        row.remote_ip_prefix,
        row.remote_group_id,
        row.description,
    )


async def delete_rule(conn: Connection, rule_id: str) -> None:
    await DELETE_RULE.run(conn, rule_id)


async def servers_behind(conn: Connection, group_id: str) -> list[str]:
    """The servers that a change of the group's rules or members concerns."""
    return await SERVERS_BEHIND.all(conn, group_id)


async def tag(conn: Connection, kind: str, thing_id: str, tags: list[str]) -> None:
    """``kind`` is a key of ``TAGS``."""
    await TAGS[kind].run(conn, thing_id, tags)
