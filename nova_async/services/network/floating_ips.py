"""Floating IPs over the API: an address of an external network that leads to a port's own."""

import ipaddress
from typing import Any

from nova_async.context import Context
from nova_async.db import Connection, changes
from nova_async.db import networks as rows
from nova_async.db import routers as router_rows
from nova_async.db.constraints import translated
from nova_async.db.routers import FloatingIpRow
from nova_async.errors import Conflict, Invalid, NotFound
from nova_async.services.network import fields as f
from nova_async.services.network import own_ports
from nova_async.services.network.checks import is_uuid
from nova_async.services.network.collection import Collection, Query, admin_only, project_of, uuids
from nova_async.services.network.ports import Ports
from nova_async.services.network.quotas import require_room
from nova_async.services.network.views import dates

CHANGES: dict[str, f.Reader] = {
    "port_id": f.maybe(f.identifier),
    "fixed_ip_address": f.maybe(f.address),
    "description": f.text(255),
    "qos_policy_id": f.nothing,
}
FIELDS = {
    **CHANGES,
    "floating_network_id": f.identifier,
    "floating_ip_address": f.maybe(f.address),
    "subnet_id": f.maybe(f.identifier),
    "project_id": f.text(255),
    "dns_name": f.one_of("", None),
    "dns_domain": f.one_of("", None),
}
Target = tuple[str, str, str]  # router, subnet, fixed address


class FloatingIps(Collection[FloatingIpRow]):
    name, plural, label, tagged_as = "floatingip", "floatingips", "Floating IP", "floating_ip"
    indexed = ("floating_ip_address", "port_id")
    has_name = False

    async def find(self, conn: Connection, page: rows.Page, indexed: Query) -> list[FloatingIpRow]:
        return await router_rows.floating_ips(conn, page, indexed.get("floating_ip_address"), uuids(indexed.get("port_id")))

    def view(self, row: FloatingIpRow, ctx: Context) -> dict[str, Any]:
        return {
            "id": row.id,
            "project_id": row.project_id,
            "tenant_id": row.project_id,
            "description": row.description,
            "floating_network_id": row.network_id,
            "floating_ip_address": row.address,
            "port_id": row.fixed_port,
            "fixed_ip_address": row.fixed_address,
            "router_id": row.router_id,
            "status": "ACTIVE" if row.fixed_port and row.plugged else "DOWN",
            "port_details": row.port_details,
            "port_forwardings": [],
            "dns_name": "",
            "dns_domain": "",
            "qos_policy_id": None,
            "qos_network_policy_id": None,
            "tags": row.tags,
            **dates(row),
        }

    async def create(self, ctx: Context, body: dict[str, Any]) -> FloatingIpRow:
        values = f.read(body, self.name, FIELDS)
        if "floating_network_id" not in values:
            raise Invalid("Failed to parse request. Required attribute 'floating_network_id' not specified")
        admin_only(ctx, values, ("floating_ip_address",))
        owner = project_of(ctx, values)
        own_id, network_id = self.service.world.uuid(), values["floating_network_id"]
        async with self.service.db.transaction() as conn:
            await require_room(self.service, conn, owner, "floatingip")
            port_id = await self._address(conn, own_id, network_id, values)
            await router_rows.insert_floating_ip(conn, own_id, owner, network_id, port_id, values.get("description", ""))
            row = await self.get(ctx, own_id, conn)
            target = await self._target(ctx, conn, row, values)
            if target is not None:
                await self._associate(conn, row, row.description, target)
        await self._tell([row.id])
        return await self.get(ctx, own_id)

    async def update(self, ctx: Context, row: FloatingIpRow, body: dict[str, Any]) -> FloatingIpRow:
        values = f.read(body, self.name, CHANGES)
        async with self.service.db.transaction() as conn:
            row = await self._locked(ctx, conn, row.id)
            target = await self._target(ctx, conn, row, values)
            await self._associate(conn, row, values.get("description", row.description), target)
        await self._tell([row.id], row)
        return await self.get(ctx, row.id)

    async def delete(self, ctx: Context, row: FloatingIpRow) -> None:
        async with self.service.db.transaction() as conn:
            row = await self._locked(ctx, conn, row.id)
            await router_rows.delete_floating_ip(conn, row.id)
        await self._tell([], row)

    async def _locked(self, ctx: Context, conn: Connection, id: str) -> FloatingIpRow:
        """As it is now; nobody else changes it until the transaction ends."""
        await changes.alone(conn, self.name, id)
        return await self.get(ctx, id, conn)

    async def _address(self, conn: Connection, own_id: str, network_id: str, values: dict[str, Any]) -> str:
        """The port that has the new floating IP's address. Raises ``Invalid``, ``Conflict`` when none is left."""
        found = await rows.networks(conn, rows.Page(ids=[network_id]))
        if not found or not found[0].external:
            raise Invalid(f"Bad floatingip request: Network {network_id} is not a valid external network.")
        subnets = [s for s in await rows.subnets(conn, rows.Page(), [network_id]) if ipaddress.ip_network(s.cidr).version == 4]
        if not subnets:
            raise Invalid(f"Bad floatingip request: Network {network_id} does not contain any IPv4 subnet.")
        wanted, wish = values.get("subnet_id"), values.get("floating_ip_address")
        subnets = [s for s in subnets if wanted in (None, s.id) and (wish is None or _within(wish, s.cidr))]
        if not subnets:
            raise Invalid("Bad floatingip request: the external network has no such subnet, or the address is in none of its subnets.")
        full = Conflict(f"No more IP addresses available on network {network_id}.")
        for subnet in subnets:
            wishes = [{"subnet_id": subnet.id} | ({"ip_address": wish} if wish else {})]
            try:
                with translated():
                    async with conn.transaction():
                        return await own_ports.make(self.service, conn, network_id, own_ports.FLOATING_IP, own_id, wishes)
            except Conflict as error:
                full = error
        raise full

    async def _target(self, ctx: Context, conn: Connection, row: FloatingIpRow, values: dict[str, Any]) -> Target | None:
        """Where it shall lead: as asked, or, when nothing is said of it, where it leads. Raises ``Invalid``, ``NotFound``."""
        port_id = values.get("port_id", row.fixed_port)
        if port_id is None:
            if values.get("fixed_ip_address"):
                raise Invalid("Bad floatingip request: fixed_ip_address cannot be specified without a port_id.")
            return None
        port = await Ports(self.service).get(ctx, port_id, conn)
        fixed = values.get("fixed_ip_address") or (row.fixed_address if port_id == row.fixed_port else None)
        subnet_id, address = _fixed(port, fixed)
        router_id = await router_rows.between(conn, row.network_id, subnet_id)
        if router_id is None:
            raise NotFound(
                f"External network {row.network_id} is not reachable from subnet {subnet_id}. Therefore, cannot associate Port {port.id} "
                "with a Floating IP."
            )
        return router_id, subnet_id, address

    async def _associate(self, conn: Connection, row: FloatingIpRow, description: str, target: Target | None) -> None:
        await router_rows.update_floating_ip(conn, row.id, description, *(target or (None, None, None)))

    async def _tell(self, ids: list[str], before: FloatingIpRow | None = None) -> None:
        """The routers and the servers' hosts that have, or had, one of these.

        Routers' hosts as a rule before we answer: who goes to the address then is not led to where it was.
        """
        async with self.service.db.connection() as conn:
            now = await router_rows.floating_ips(conn, rows.Page(ids=ids)) if ids else []
        concerned = [row for row in (*now, before) if row is not None and row.port_details is not None]
        routers = sorted({row.router_id for row in concerned if row.router_id})
        await self.service.tell_routers(routers)
        devices = {(row.port_details or {}).get("device_id", "") for row in concerned}
        await self.service.tell(sorted(device for device in devices if is_uuid(device)))
        await self.service.routers_settled(routers)


def _fixed(port: rows.PortRow, wanted: str | None) -> tuple[str, str]:
    """Subnet and IPv4 address of the port. Raises ``Invalid``."""
    v4 = [ip for ip in port.fixed_ips if ":" not in ip["ip_address"]]
    if wanted is not None:
        found = [ip for ip in v4 if ip["ip_address"] == wanted]
        if not found:
            raise Invalid(f"Bad floatingip request: Port {port.id} does not have fixed ip {wanted}.")
        return found[0]["subnet_id"], wanted
    if not v4:
        raise Invalid(f"Bad floatingip request: Cannot add floating IP to port {port.id} that has no fixed IPv4 addresses.")
    if len(v4) > 1:
        raise Invalid(
            f"Bad floatingip request: Port {port.id} has multiple fixed IPv4 addresses. Must provide a specific IPv4 address when "
            "assigning a floating IP."
        )
    return v4[0]["subnet_id"], v4[0]["ip_address"]


def _within(address: str, cidr: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr)
