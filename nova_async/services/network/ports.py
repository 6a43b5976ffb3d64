"""Ports over the API."""

import ipaddress
from typing import Any

import msgspec

from nova_async.context import Context
from nova_async.db import Connection
from nova_async.db import networks as rows
from nova_async.db import port_bindings as binding_rows
from nova_async.db import routers as router_rows
from nova_async.errors import Conflict, Forbidden, Invalid
from nova_async.model.names import assigned, fits
from nova_async.services.network import fields as f
from nova_async.services.network.checks import is_uuid, usable_address
from nova_async.services.network.collection import Collection, Query, admin_only, project_of, uuids
from nova_async.services.network.networks import Networks, forbid_external
from nova_async.services.network.quotas import require_room
from nova_async.services.network.views import dates


def _pairs(name: str, value: Any) -> list[dict[str, str]]:
    """Addresses (or ranges) that a port may use besides its own, each with a MAC where that is not the port's."""
    pairs: list[dict[str, str]] = f.list_of(f.record(ip_address=f.address_or_prefix, mac_address=f.mac), 10)(name, value)
    if any("ip_address" not in pair for pair in pairs):
        raise Invalid("AllowedAddressPair must contain ip_address")
    if len({tuple(sorted(pair.items())) for pair in pairs}) < len(pairs):
        raise Invalid("Request contains duplicate address pair")
    return pairs


CHANGES: dict[str, f.Reader] = {
    "name": f.text(255),
    "description": f.text(255),
    "admin_state_up": f.boolean,
    "port_security_enabled": f.boolean,
    "mac_address": f.mac,
    "fixed_ips": f.list_of(f.record(ip_address=f.address, subnet_id=f.identifier), 10),
    "security_groups": f.list_of(f.identifier),
    "allowed_address_pairs": _pairs,
    "device_id": f.text(255),
    "device_owner": f.text(255),
    "dns_name": f.host_name,
    "binding:host_id": f.maybe(f.text(255)),
    "binding:profile": f.plain_object,
    "binding:vnic_type": f.one_of("normal"),
    "qos_policy_id": f.nothing,
    "extra_dhcp_opts": f.nothing,
}
FIELDS = {**CHANGES, "network_id": f.identifier, "project_id": f.text(255)}
COLUMNS = {"mac_address": "mac", "binding:host_id": "host", "binding:profile": "profile"}
ADMIN_ONLY = ("binding:host_id", "binding:profile")
NETWORK_OWNER_ONLY = ("mac_address", "allowed_address_pairs")
SERVICE = "network:"  # how the owners of ports begin that the network service made for itself
MAC_TRIES = 8


class Ports(Collection[rows.PortRow]):
    name, plural, label, tagged_as = "port", "ports", "Port", "port"
    indexed = ("network_id", "device_id")

    async def find(self, conn: Connection, page: rows.Page, indexed: Query) -> list[rows.PortRow]:
        return await rows.ports(conn, page, uuids(indexed.get("network_id")), indexed.get("device_id"))

    def view(self, row: rows.PortRow, ctx: Context) -> dict[str, Any]:
        view = {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "project_id": row.project_id,
            "tenant_id": row.project_id,
            "network_id": row.network_id,
            "admin_state_up": row.admin_state_up,
            "status": "ACTIVE" if row.up and (row.host or row.device_owner.startswith(SERVICE)) else "DOWN",
            "mac_address": row.mac,
            "fixed_ips": row.fixed_ips,
            "device_id": row.device_id,
            "device_owner": row.device_owner,
            "security_groups": row.security_groups,
            "port_security_enabled": row.port_security_enabled,
            "allowed_address_pairs": [{"mac_address": row.mac} | pair for pair in row.allowed_address_pairs],
            "dns_name": row.dns_name,
            "dns_assignment": self._dns_assignment(row),
            "extra_dhcp_opts": [],
            "qos_policy_id": None,
            "qos_network_policy_id": None,
            "binding:vnic_type": "normal",
            "tags": row.tags,
            **dates(row),
        }
        if ctx.is_admin:
            view |= {
                "binding:host_id": row.host,
                "binding:profile": row.profile,
                "binding:vif_type": "bridge" if row.host else "unbound",
                "binding:vif_details": {"port_filter": True} if row.host else {},
            }
        return view

    def _dns_assignment(self, row: rows.PortRow) -> list[dict[str, str]]:
        domain = self._domain(row.dns_domain)
        named = [(ip["ip_address"], assigned(ip["ip_address"], row.dns_name, domain)) for ip in row.fixed_ips]
        return [{"ip_address": address, "hostname": host, "fqdn": full} for address, (host, full) in named]

    def _domain(self, of_network: str) -> str:
        return of_network or self.service.config.network.dns_domain

    def _check_name(self, values: dict[str, Any], network: rows.NetworkRow) -> None:
        """Nobody's port is called as somebody elsewhere is. Raises ``Invalid``."""
        name, domain = values.get("dns_name"), self._domain(network.dns_domain)
        if name and not fits(name, domain):
            raise Invalid(f"Invalid input for dns_name: it must be a host name in the domain {domain!r}, of 254 characters with it.")

    async def create(self, ctx: Context, body: dict[str, Any]) -> rows.PortRow:
        values = f.read(body, self.name, FIELDS)
        if "network_id" not in values:
            raise Invalid("Failed to parse request. Required attribute 'network_id' not specified")
        admin_only(ctx, values, ADMIN_ONLY)
        owner = project_of(ctx, values)
        for _ in range(MAC_TRIES):
            row = rows.PortRow(
                id=self.service.world.uuid(),
                network_id=values["network_id"],
                project_id=owner,
                name="",
                description="",
                admin_state_up=True,
                port_security_enabled=True,
                mac="",
                device_id="",
                device_owner="",
                host="",
                dns_name="",
                allowed_address_pairs=[],
                profile={},
                tags=[],
                revision=1,
                created_at=self.service.world.now(),
                updated_at=None,
                fixed_ips=[],
                security_groups=[],
            )
            try:
                await self._insert(ctx, row, values)
            except Conflict as error:
                if values.get("mac_address") or "MAC" not in error.message:
                    raise
                continue
            self.service.moved([row])
            return await self.get(ctx, row.id)
        raise Conflict("No free MAC address was found. Try again.")

    async def _insert(self, ctx: Context, row: rows.PortRow, values: dict[str, Any]) -> None:
        seed = self.service.world.random.getrandbits(62)
        async with self.service.db.transaction() as conn:
            network = await Networks(self.service).get(ctx, row.network_id, conn)
            forbid_external(network, ctx)
            _only_on_own(ctx, network, values)
            self._check_name(values, network)
            row = msgspec.structs.replace(row, port_security_enabled=network.port_security_enabled)
            row = _changed(row, values)
            await require_room(self.service, conn, row.project_id, "port")
            await rows.insert_port(conn, row, seed)
            wishes = values.get("fixed_ips")
            if wishes is None or wishes:
                await self._address(ctx, conn, row, wishes, seed)
            await self._group(ctx, conn, row, values.get("security_groups"))

    async def _address(self, ctx: Context, conn: Connection, row: rows.PortRow, wishes: list[dict[str, str]] | None, seed: int) -> None:
        """Give the port what is wished. A network without subnets gives nothing, and that is no error."""
        subnets = {s.id: s.cidr for s in await rows.subnets(conn, rows.Page(), [row.network_id])}
        for wish in wishes or []:
            if wish.get("subnet_id", next(iter(subnets), "")) not in subnets:
                raise Invalid(f"Failed to create port on network {row.network_id}, because fixed_ips included invalid subnet.")
            ranges = [subnets[wish["subnet_id"]]] if "subnet_id" in wish else subnets.values()
            if "ip_address" in wish and not any(_fits(wish["ip_address"], cidr) for cidr in ranges):
                raise Invalid(f"IP address {wish['ip_address']} is not a valid IP for the specified subnet.")
        await rows.give_addresses(conn, row.id, row.network_id, wishes, seed)

    async def _group(self, ctx: Context, conn: Connection, row: rows.PortRow, wanted: list[str] | None) -> None:
        """Into the wanted groups, or the project's default one. Raises ``Invalid``."""
        if not row.port_security_enabled:
            if wanted:
                raise Invalid("Port security must be enabled and port must have an IP address in order to use security groups.")
            await rows.put_into_groups(conn, row.id, [])
            return
        if wanted is None:
            wanted = [await rows.default_group(conn, row.project_id)]
        elif wanted:
            owner = None if ctx.is_admin else row.project_id
            known = {g.id for g in await rows.groups(conn, rows.Page(project_id=owner, ids=wanted))}
            missing = sorted(set(wanted) - known)
            if missing:
                raise Invalid(f"Security group {missing[0]} does not exist")
        await rows.put_into_groups(conn, row.id, wanted)

    async def update(self, ctx: Context, row: rows.PortRow, body: dict[str, Any]) -> rows.PortRow:
        values = f.read(body, self.name, CHANGES)
        admin_only(ctx, values, ADMIN_ONLY)
        async with self.service.db.transaction() as conn:
            row = await self.locked(ctx, conn, row.id)
            changed = _changed(row, values)
            [network] = await rows.networks(conn, rows.Page(ids=[row.network_id]))
            _only_on_own(ctx, network, values)
            self._check_name(values, network)
            await rows.update_port(conn, changed)
            routers = await router_rows.behind(conn, [row.id])
            if "fixed_ips" in values:
                await self._readdress(ctx, conn, changed, values["fixed_ips"])
            if "security_groups" in values:
                await self._group(ctx, conn, changed, values["security_groups"])
            elif row.security_groups and not changed.port_security_enabled:
                raise Conflict(
                    "Port has security group associated. Cannot disable port security or IP address until security group is removed."
                )
        self.service.moved([row])
        if is_uuid(row.device_id):
            await self.service.tell([row.device_id])
        await self.service.tell_routers(routers)
        return await self.get(ctx, row.id)

    async def locked(self, ctx: Context, conn: Connection, port_id: str) -> rows.PortRow:
        """As ``get``; until the transaction ends nobody else changes it, or binds it to a server or a router."""
        await binding_rows.lock_port(conn, port_id)
        return await self.get(ctx, port_id, conn)

    async def _readdress(self, ctx: Context, conn: Connection, row: rows.PortRow, wishes: list[dict[str, str]]) -> None:
        """Keep the addresses that are still wished, drop the others, add the new ones."""
        keep = {wish["ip_address"] for wish in wishes if "ip_address" in wish} & {ip["ip_address"] for ip in row.fixed_ips}
        await rows.drop_addresses(conn, row.id, sorted(keep))
        fresh = [wish for wish in wishes if wish.get("ip_address") not in keep]
        if fresh:
            await self._address(ctx, conn, row, fresh, self.service.world.random.getrandbits(62))

    async def delete(self, ctx: Context, row: rows.PortRow) -> None:
        try:
            async with self.service.db.transaction() as conn:
                routers = await router_rows.behind(conn, [row.id])
                await rows.delete_port(conn, row.id)
        except Conflict as error:
            text = f"Port {row.id} cannot be deleted directly via the port API: has device owner {row.device_owner}."
            raise Conflict(text, detail=error.detail) from None
        self.service.moved([row])
        await self.service.tell_routers(routers)


def _changed(row: rows.PortRow, values: dict[str, Any]) -> rows.PortRow:
    known = {COLUMNS.get(name, name): value for name, value in values.items() if name not in ("fixed_ips", "security_groups", "network_id")}
    if known.get("host", "") is None:
        known["host"] = ""
    changed = msgspec.structs.replace(row, **{name: value for name, value in known.items() if name in row.__struct_fields__})
    if changed.allowed_address_pairs and not changed.port_security_enabled:
        raise Conflict("Port Security must be enabled in order to have allowed address pairs on a port.")
    return changed


def _only_on_own(ctx: Context, network: rows.NetworkRow, values: dict[str, Any]) -> None:
    """On somebody else's network nobody may choose a MAC, pass for another address, or do without protection."""
    if ctx.is_admin or network.project_id == ctx.project_id:
        return
    wrong = [name for name in NETWORK_OWNER_ONLY if values.get(name)]
    if values.get("device_owner", "").startswith(SERVICE):
        wrong.append("device_owner")
    if values.get("port_security_enabled") is False and network.port_security_enabled:
        wrong.append("port_security_enabled")
    if wrong:
        raise Forbidden(f"((rule:admin_only) or (rule:network_owner)) and ({', '.join(wrong)}) is disallowed by policy")


def _fits(address: str, cidr: str) -> bool:
    return usable_address(ipaddress.ip_address(address), ipaddress.ip_network(cidr))
