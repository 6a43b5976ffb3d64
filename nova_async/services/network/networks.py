"""Networks and subnets over the API."""

import ipaddress
import itertools
import re
from typing import Any

import msgspec

from nova_async import log
from nova_async.context import Context
from nova_async.db import Connection
from nova_async.db import networks as rows
from nova_async.db import routers as router_rows
from nova_async.db.constraints import translated
from nova_async.db.subnet_pools import SubnetPoolRow
from nova_async.errors import Conflict, Forbidden, Invalid
from nova_async.services.network import fields as f
from nova_async.services.network import own_ports
from nova_async.services.network.checks import is_uuid, usable_address
from nova_async.services.network.collection import Collection, Query, admin_only, project_of, require_owner, uuids
from nova_async.services.network.ground import plugs_ports
from nova_async.services.network.quotas import require_room
from nova_async.services.network.subnet_pools import Cidr, SubnetPools, take
from nova_async.services.network.views import ZONE, dates

logger = log.get("network")
NETWORK_CHANGES: dict[str, f.Reader] = {
    "name": f.text(255),
    "description": f.text(255),
    "admin_state_up": f.boolean,
    "shared": f.boolean,
    "router:external": f.boolean,
    "port_security_enabled": f.boolean,
    "mtu": f.integer(1280, 9216),
    "dns_domain": f.host_name,
    "is_default": f.boolean,
    "qos_policy_id": f.nothing,
}
OF_PORTS = ("name", "admin_state_up", "mtu", "dns_domain")  # what hosts know of a network by its ports
PHYSICAL = re.compile(r"[A-Za-z0-9._-]{1,64}")
LAST_VLAN = 4094
PROVIDER = ("provider:network_type", "provider:physical_network", "provider:segmentation_id")
NETWORK_FIELDS = {
    **NETWORK_CHANGES,
    "provider:network_type": f.maybe(f.text(32)),
    "provider:physical_network": f.maybe(f.text(64)),
    "provider:segmentation_id": f.maybe(f.integer(1, 2**24 - 1)),
    "project_id": f.text(255),
    "availability_zone_hints": f.list_of(f.one_of(ZONE)),
    "vlan_transparent": f.nothing,
}
SUBNET_CHANGES: dict[str, f.Reader] = {
    "name": f.text(255),
    "description": f.text(255),
    "gateway_ip": f.maybe(f.address),
    "enable_dhcp": f.boolean,
    "dns_nameservers": f.list_of(f.address, 5),
    "host_routes": f.list_of(f.record(destination=f.prefix, nexthop=f.address), 20),
    "allocation_pools": f.list_of(f.record(start=f.address, end=f.address)),
    "dns_publish_fixed_ip": f.nothing,
    "service_types": f.nothing,
}
IPV6_MODES = ("slaac", "dhcpv6-stateful", "dhcpv6-stateless")
MADE_BY_GUESTS = ("slaac", "dhcpv6-stateless")  # modes in which an address follows from the MAC
SUBNET_FIELDS = {
    **SUBNET_CHANGES,
    "project_id": f.text(255),
    "network_id": f.identifier,
    "cidr": f.prefix,
    "ip_version": f.one_of(4, 6, "4", "6"),
    "ipv6_ra_mode": f.maybe(f.one_of(*IPV6_MODES)),
    "ipv6_address_mode": f.maybe(f.one_of(*IPV6_MODES)),
    "subnetpool_id": f.maybe(f.identifier),
    "use_default_subnetpool": f.maybe(f.boolean),
    "prefixlen": f.maybe(f.integer(0, 128)),
}


class Networks(Collection[rows.NetworkRow]):
    name, plural, label, tagged_as = "network", "networks", "Network", "network"

    async def find(self, conn: Connection, page: rows.Page, indexed: Query) -> list[rows.NetworkRow]:
        return await rows.networks(conn, page)

    def view(self, row: rows.NetworkRow, ctx: Context) -> dict[str, Any]:
        view = {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "project_id": row.project_id,
            "tenant_id": row.project_id,
            "admin_state_up": row.admin_state_up,
            "status": "ACTIVE",
            "shared": row.shared,
            "router:external": row.external,
            "is_default": row.is_default,
            "port_security_enabled": row.port_security_enabled,
            "mtu": row.mtu,
            "dns_domain": row.dns_domain,
            "subnets": row.subnets,
            "availability_zone_hints": [],
            "availability_zones": [ZONE],
            "ipv4_address_scope": None,
            "ipv6_address_scope": None,
            "qos_policy_id": None,
            "tags": row.tags,
            **dates(row),
        }
        if ctx.is_admin:
            segment = row.vni if row.physical_network is None else row.vlan
            view |= dict(zip(PROVIDER, (row.provider, row.physical_network, segment), strict=True))
        return view

    async def create(self, ctx: Context, body: dict[str, Any], id: str | None = None) -> rows.NetworkRow:
        values = f.read(body, self.name, NETWORK_FIELDS)
        admin_only(ctx, values, ("shared", "router:external", "is_default", *PROVIDER))
        on_wires = _provider(values)
        row = rows.NetworkRow(
            id=id or self.service.world.uuid(),
            project_id=project_of(ctx, values),
            name="",
            description="",
            shared=False,
            external=False,
            admin_state_up=True,
            port_security_enabled=True,
            mtu=self.service.config.network.mtu,
            dns_domain="",
            vni=0,  # the database gives it one
            is_default=False,
            apart=bool(on_wires) and not values.get("router:external"),
            tags=[],
            revision=1,
            created_at=self.service.world.now(),
            updated_at=None,
            subnets=[],
            **on_wires,
        )
        row = _changed_network(row, values)
        async with self.service.db.transaction() as conn:
            if row.apart and self.service.plug:
                await _require_wires(conn, row)
            await require_room(self.service, conn, row.project_id, "network")
            await rows.insert_network(conn, row)
        return await self.get(ctx, row.id)

    async def update(self, ctx: Context, row: rows.NetworkRow, body: dict[str, Any]) -> rows.NetworkRow:
        values = f.read(body, self.name, NETWORK_CHANGES)
        admin_only(ctx, values, ("shared", "router:external", "is_default"))
        async with self.service.db.transaction() as conn:
            await rows.lock_network(conn, row.id)
            row = await self.get(ctx, row.id, conn)
            changed = _changed_network(row, values)
            if row.physical_network is not None and changed.external != row.external:
                raise Conflict(f"Network {row.id} is on a physical network: whether it is external cannot be changed any more.")
            if row.external and values.get("router:external") is False and await router_rows.used_outside(conn, row.id):
                raise Conflict(f"External network {row.id} cannot be updated to be made non-external, since it has existing gateway ports.")
            if row.apart and values.get("router:external"):
                raise Conflict(f"Network {row.id} cannot be updated to be made external, since its ranges overlap with other networks'.")
            await rows.update_network(conn, changed)
        if any(getattr(changed, name) != getattr(row, name) for name in OF_PORTS):
            await self.service.tell_network(row.id)
        return await self.get(ctx, row.id)

    async def delete(self, ctx: Context, row: rows.NetworkRow) -> None:
        """Floating IPs that lead nowhere go with their network, and what hosts answer by."""
        try:
            async with self.service.db.transaction() as conn:
                if row.external:
                    await router_rows.delete_unused_floating_ips(conn, row.id)
                await _answer_no_more(conn, row.id)
                await rows.delete_network(conn, row.id)
        except Conflict as error:
            text = f"Unable to complete operation on network {row.id}. There are one or more ports still in use on the network."
            raise Conflict(text, detail=error.detail) from None


def _provider(values: dict[str, Any]) -> dict[str, Any]:
    """The columns that say what a network is on; none: VXLAN. An external network is its bridge on the gateway host, whatever lies behind.

    Raises ``Invalid`` for what hosts cannot make.
    """
    kind, physical, segment = (values.get(name) for name in PROVIDER)
    if kind in (None, "vxlan"):
        if physical is not None or segment is not None:
            raise Invalid("Invalid input for provider:network_type: a VXLAN network is on no physical network, and the service numbers it.")
        return {}
    if kind not in ("flat", "vlan"):
        raise Invalid(f"Invalid input for provider:network_type: {kind} cannot be had; use vxlan, flat or vlan.")
    if kind == "vlan" and values.get("router:external"):
        raise Invalid("Invalid input for provider:network_type: an external network is network.external_bridge. Put that on the VLAN.")
    if kind == "flat" and values.get("router:external") and physical is None:
        return {}
    if physical is None or not PHYSICAL.fullmatch(physical):
        raise Invalid("Invalid input for provider:physical_network: a name of letters, digits, '.', '_' and '-' is required.")
    if (kind == "vlan") != (segment is not None) or not 1 <= (segment or 1) <= LAST_VLAN:
        told = f"is required, 1 to {LAST_VLAN}" if kind == "vlan" else "is prohibited for a flat network"
        raise Invalid(f"Invalid input for provider:segmentation_id: it {told}.")
    return {"provider": kind, "physical_network": physical, "vlan": segment}


async def _require_wires(conn: Connection, row: rows.NetworkRow) -> None:
    """Raises ``Invalid`` where no host could have a port of it."""
    kind, name = row.provider, row.physical_network
    if await rows.wired(conn, f"{kind}:{name}"):
        return
    if kind == "vlan" and await rows.wired(conn, f"flat:{name}"):
        raise Invalid(
            f"Invalid input for provider:network_type: no host of physical network {name} has a kernel that makes VLANs (802.1Q)."
        )
    raise Invalid(f"Invalid input for provider:physical_network: no host has {name} for {kind} networks (compute.physical_networks).")


def _changed_network(row: rows.NetworkRow, values: dict[str, Any]) -> rows.NetworkRow:
    columns = {"router:external": "external"}
    known = {columns.get(name, name): value for name, value in values.items()}
    return msgspec.structs.replace(row, **{name: value for name, value in known.items() if name in row.__struct_fields__})


class Subnets(Collection[rows.SubnetRow]):
    name, plural, label, tagged_as = "subnet", "subnets", "Subnet", "subnet"
    indexed = ("network_id",)

    async def find(self, conn: Connection, page: rows.Page, indexed: Query) -> list[rows.SubnetRow]:
        return await rows.subnets(conn, page, uuids(indexed.get("network_id")))

    def view(self, row: rows.SubnetRow, ctx: Context) -> dict[str, Any]:
        return {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "project_id": row.project_id,
            "tenant_id": row.project_id,
            "network_id": row.network_id,
            "ip_version": ipaddress.ip_network(row.cidr).version,
            "cidr": row.cidr,
            "gateway_ip": row.gateway,
            "enable_dhcp": row.enable_dhcp,
            "dns_nameservers": row.dns_servers,
            "host_routes": row.host_routes,
            "allocation_pools": row.pools,
            "ipv6_ra_mode": row.ipv6_ra_mode,
            "ipv6_address_mode": row.ipv6_address_mode,
            "subnetpool_id": row.subnet_pool,
            "service_types": [],
            "dns_publish_fixed_ip": False,
            "tags": row.tags,
            **dates(row),
        }

    async def create(self, ctx: Context, body: dict[str, Any], id: str | None = None) -> rows.SubnetRow:
        values = f.read(body, self.name, SUBNET_FIELDS)
        if not values.get("network_id"):
            raise Invalid("Failed to parse request. Required attribute 'network_id' not specified")
        pool = await SubnetPools(self.service).asked_for(ctx, values)
        wanted, owner = _wanted_range(values, pool), project_of(ctx, values)
        async with self.service.db.transaction() as conn:
            network = await Networks(self.service).get(ctx, values["network_id"], conn)
            require_owner(ctx, network)
            await require_room(self.service, conn, owner, "subnet")
            await rows.lock_subnets(conn)
            cidr = wanted if pool is None else await take(conn, pool, owner, wanted)
            row = self._row(id or self.service.world.uuid(), values, owner, _usable_range(str(cidr), None), pool)
            servers = await self._insert(conn, row, network)
        await self.service.tell([server for server in servers if is_uuid(server)])
        return await self.get(ctx, row.id)

    def _row(self, id: str, values: dict[str, Any], owner: str, cidr: Cidr, pool: SubnetPoolRow | None) -> rows.SubnetRow:
        gateway = values["gateway_ip"] if "gateway_ip" in values else str(cidr[1])
        row = rows.SubnetRow(
            id=id,
            network_id=values["network_id"],
            project_id=owner,
            name=values.get("name", ""),
            description=values.get("description", ""),
            cidr=str(cidr),
            gateway=_gateway(gateway, cidr),
            enable_dhcp=values.get("enable_dhcp", True),
            dns_servers=values.get("dns_nameservers", []),
            host_routes=_routes(values.get("host_routes", []), cidr),
            pools=_pools(values.get("allocation_pools") or default_pools(cidr, gateway), cidr, gateway),
            ipv6_ra_mode=values.get("ipv6_ra_mode"),
            ipv6_address_mode=values.get("ipv6_address_mode"),
            subnet_pool=pool.id if pool else None,
            tags=[],
            revision=1,
            created_at=self.service.world.now(),
            updated_at=None,
        )
        _sensible_modes(row)
        return row

    async def _insert(self, conn: Connection, row: rows.SubnetRow, network: rows.NetworkRow) -> list[str]:
        """One at a time: what others have already when it is made sets its network apart. Returns the servers that have addresses of it.

        Raises ``Invalid``, as Neutron does where it lets no ranges overlap: clients that try range after range wait for that.
        """
        beside = await rows.subnets(conn, rows.Page(), [row.network_id])
        if any(_version(subnet) == _version(row) and subnet.subnet_pool != row.subnet_pool for subnet in beside):
            raise Invalid("Subnets hosted on the same network must be allocated from the same subnet pool.")
        if any(_overlap(subnet.cidr, row.cidr) for subnet in beside) or not await self._finds_place(conn, network, row.cidr):
            raise Invalid(f"Requested subnet with cidr: {row.cidr} overlaps with another subnet.")
        await rows.insert_subnet(conn, row)
        await self._serve(conn, row, network)
        return await rows.address_all(conn, row.id) if row.ipv6_address_mode in MADE_BY_GUESTS else []

    async def _finds_place(self, conn: Connection, network: rows.NetworkRow, cidr: str) -> bool:
        """Whether the network can have a range beside all others.

        Hosts are in external networks themselves, and stay in others that have ports already as they are.
        """
        taken = await rows.overlaps(conn, cidr, network.id)
        if network.external:
            return not taken.of_hosts or not plugs_ports(self.service.config)
        if network.apart or not taken.of_networks:
            return True
        return await rows.set_apart(conn, network.id) or not plugs_ports(self.service.config)

    async def update(self, ctx: Context, row: rows.SubnetRow, body: dict[str, Any]) -> rows.SubnetRow:
        values = f.read(body, self.name, SUBNET_CHANGES)
        async with self.service.db.transaction() as conn:
            await rows.lock_subnets(conn)
            changed = _changed_subnet(await self.get(ctx, row.id, conn), values)
            await rows.update_subnet(conn, changed)
            [network] = await rows.networks(conn, rows.Page(ids=[row.network_id]))
            await self._serve(conn, changed, network)
        await self.service.tell_network(row.network_id)
        return await self.get(ctx, row.id)

    async def _serve(self, conn: Connection, row: rows.SubnetRow, network: rows.NetworkRow) -> None:
        """Give hosts an address to serve the subnet by, where they are not its gateway; take it where that is not so any more.

        Where a router has the gateway's address, they have one for its sake (``RouterInterfaces``). A full subnet is not served.
        """
        if ipaddress.ip_network(row.cidr).version != 4:
            return
        elsewhere = network.provider != "vxlan" and not network.external  # the gateway is beyond the wires
        served = row.enable_dhcp and (elsewhere or row.gateway is None or await router_rows.has_address(conn, row.id, row.gateway))
        if not served:
            await _answer_no_more(conn, row.network_id, row.id)
            return
        try:
            with translated():
                async with conn.transaction():
                    await own_ports.answer(self.service, conn, row, None)
        except Conflict as error:
            logger.warning("subnet.not_served", subnet=row.id, error=error.message)

    async def delete(self, ctx: Context, row: rows.SubnetRow) -> None:
        try:
            async with self.service.db.transaction() as conn:
                await _answer_no_more(conn, row.network_id, row.id)
                if row.ipv6_address_mode in MADE_BY_GUESTS:
                    await rows.forget_made_addresses(conn, row.id)
                await rows.delete_subnet(conn, row.id)
        except Conflict as error:
            text = f"Unable to complete operation on subnet {row.id}: One or more ports have an IP allocation from this subnet."
            raise Conflict(text, detail=error.detail) from None


def _changed_subnet(row: rows.SubnetRow, values: dict[str, Any]) -> rows.SubnetRow:
    cidr = ipaddress.ip_network(row.cidr)
    gateway = _gateway(values["gateway_ip"], cidr) if "gateway_ip" in values else row.gateway
    return msgspec.structs.replace(
        row,
        name=values.get("name", row.name),
        description=values.get("description", row.description),
        gateway=gateway,
        enable_dhcp=values.get("enable_dhcp", row.enable_dhcp),
        dns_servers=values.get("dns_nameservers", row.dns_servers),
        host_routes=_routes(values.get("host_routes", row.host_routes), cidr),
        pools=_pools(values.get("allocation_pools", row.pools), cidr, gateway),
    )


async def _answer_no_more(conn: Connection, network_id: str, subnet_id: str | None = None) -> None:
    """Remove the ports by which hosts answer in a subnet, or a whole network, that has no gateway."""
    for port in await router_rows.host_ports(conn, network_id, subnet_id):
        if port.router_id is None:
            await router_rows.part(conn, port.port_id)


def default_pools(cidr: Cidr, gateway: str | None) -> list[dict[str, str]]:
    """All host addresses but the gateway's."""
    first, last = (cidr[1], cidr[-2]) if cidr.version == 4 and cidr.num_addresses > 2 else (cidr[1 if cidr.version == 6 else 0], cidr[-1])
    if gateway is None or not first <= ipaddress.ip_address(gateway) <= last:  # type: ignore[operator]
        return [{"start": str(first), "end": str(last)}]
    taken = ipaddress.ip_address(gateway)
    around = ((first, taken - 1), (taken + 1, last))
    return [{"start": str(start), "end": str(end)} for start, end in around if start <= end]  # type: ignore[operator]


def _wanted_range(values: dict[str, Any], pool: SubnetPoolRow | None) -> Cidr | int | None:
    """The range that is asked for; or the length of its prefix, or None, where the pool chooses. Raises ``Invalid``."""
    if values.get("cidr"):
        if values.get("prefixlen") is not None:
            raise Invalid("Bad subnets request: cidr and prefixlen must not be supplied together.")
        return _usable_range(values["cidr"], values.get("ip_version"))
    if pool is None:
        raise Invalid("Bad subnets request: a subnetpool must be specified in the absence of a cidr.")
    if values.get("allocation_pools"):
        raise Invalid("Bad subnets request: allocation_pools allowed only for specific subnet requests.")
    return values.get("prefixlen")


def _version(row: rows.SubnetRow) -> int:
    return ipaddress.ip_network(row.cidr).version


def _usable_range(text: str, version: Any) -> Cidr:
    cidr = ipaddress.ip_network(text)
    if version is not None and cidr.version != int(version):
        raise Invalid(f"Invalid input for operation: CIDR '{text}' does not match the ip_version '{version}'.")
    if cidr.prefixlen < (8 if cidr.version == 4 else 48) or cidr.num_addresses < 4:
        raise Invalid(f"Invalid input for operation: CIDR '{text}' is too large or has no room for a gateway and a server.")
    if cidr.is_loopback or cidr.is_link_local or cidr.is_multicast or cidr.is_unspecified or text.startswith("0."):
        raise Invalid(f"Invalid input for operation: servers cannot have addresses of '{text}'.")
    return cidr


def _sensible_modes(row: rows.SubnetRow) -> None:
    """Refuse IPv6 modes that contradict each other or the rest of the subnet."""
    modes = {mode for mode in (row.ipv6_ra_mode, row.ipv6_address_mode) if mode}
    if not modes:
        return
    cidr = ipaddress.ip_network(row.cidr)
    if cidr.version == 4:
        raise Invalid("Invalid input for operation: ipv6_ra_mode and ipv6_address_mode cannot be set when ip_version is 4.")
    if len(modes) > 1:
        raise Invalid("Invalid input for operation: ipv6_ra_mode and ipv6_address_mode must be the same where both are set.")
    if not row.enable_dhcp:
        raise Invalid("Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False.")
    if modes & set(MADE_BY_GUESTS) and cidr.prefixlen != 64:
        raise Invalid(f"Invalid CIDR {row.cidr} for IPv6 address mode. Servers make addresses of their own with a prefix of 64 only.")


def _gateway(text: str | None, cidr: Cidr) -> str | None:
    if text is not None and not usable_address(ipaddress.ip_address(text), cidr):
        raise Invalid(f"Invalid input for operation: Gateway {text} is not valid on subnet {cidr}.")
    return text


def _routes(routes: list[dict[str, str]], cidr: Cidr) -> list[dict[str, str]]:
    for route in routes:
        if set(route) != {"destination", "nexthop"}:
            raise Invalid("Invalid input for host_routes: each needs a destination and a nexthop.")
        versions = {ipaddress.ip_network(route["destination"]).version, ipaddress.ip_address(route["nexthop"]).version}
        if versions != {cidr.version}:
            raise Invalid("Invalid input for host_routes: destination and nexthop must be of the subnet's IP version.")
    return routes


def _pools(pools: list[dict[str, str]], cidr: Cidr, gateway: str | None) -> list[dict[str, str]]:
    """Inside the range, without the gateway, and apart from each other."""
    spans = []
    for pool in pools:
        if set(pool) != {"start", "end"}:
            raise Invalid("Invalid input for allocation_pools: each needs a start and an end.")
        start, end = ipaddress.ip_address(pool["start"]), ipaddress.ip_address(pool["end"])
        if start.version != end.version or not (usable_address(start, cidr) and usable_address(end, cidr)) or int(start) > int(end):
            raise Invalid(f"The allocation pool {pool['start']}-{pool['end']} spans beyond the subnet cidr {cidr}.")
        spans.append((int(start), int(end)))
    spans.sort()
    if any(left[1] >= right[0] for left, right in itertools.pairwise(spans)):
        raise Invalid("Found overlapping allocation pools.")
    if gateway is not None and any(start <= int(ipaddress.ip_address(gateway)) <= end for start, end in spans):
        raise Conflict(f"Gateway ip {gateway} conflicts with an allocation pool.")
    return pools


def _overlap(one: str, other: str) -> bool:
    a, b = ipaddress.ip_network(one), ipaddress.ip_network(other)
    return a.version == b.version and a.overlaps(b)


def forbid_external(row: rows.NetworkRow, ctx: Context) -> None:
    """Ports of an external network belong to administrators, unless it is shared as well."""
    if row.external and not row.shared and not ctx.is_admin and row.project_id != ctx.project_id:
        raise Forbidden(f"It is not allowed to create an interface on external network {row.id}")
