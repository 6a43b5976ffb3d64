"""Security groups and their rules over the API."""

import ipaddress
from typing import Any

import msgspec

from nova_async.context import Context
from nova_async.db import Connection, changes
from nova_async.db import networks as rows
from nova_async.errors import Conflict, Invalid, NotFound
from nova_async.model.protocols import ICMP, PROTOCOLS, WITH_PORTS
from nova_async.services.network import fields as f
from nova_async.services.network.checks import is_uuid
from nova_async.services.network.collection import Collection, Listing, Query, project_of, uuids
from nova_async.services.network.quotas import require_room
from nova_async.services.network.views import dates, moment

GROUP_CHANGES: dict[str, f.Reader] = {"name": f.text(255), "description": f.text(255), "stateful": f.boolean}
RULES_OF_A_NEW_GROUP = 2
GROUP_FIELDS = {**GROUP_CHANGES, "project_id": f.text(255)}
ANY_NUMBER = (-(10**9), 10**9)  # what ports, types and codes may be depends on the protocol
PORTS, ICMP_NUMBERS = range(1, 65_536), range(256)


def _protocol(name: str, value: Any) -> str:
    text = str(value).lower() if not isinstance(value, bool) else ""
    if text in PROTOCOLS or (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 255):
        return text
    raise Invalid(
        f"Security group rule protocol {str(value)[:64]} not supported: give a number from 0 to 255 or one of {', '.join(PROTOCOLS)}."
    )


RULE_FIELDS: dict[str, f.Reader] = {
    "security_group_id": f.identifier,
    "direction": f.one_of("ingress", "egress"),
    "ethertype": f.one_of("IPv4", "IPv6"),
    "protocol": lambda name, value: None if value in (None, "", "any") else _protocol(name, value),
    "port_range_min": f.maybe(f.integer(*ANY_NUMBER)),
    "port_range_max": f.maybe(f.integer(*ANY_NUMBER)),
    "remote_ip_prefix": f.maybe(f.prefix_as_written),
    "remote_group_id": f.maybe(f.text(255)),
    "remote_address_group_id": f.nothing,
    "description": f.text(255),
    "project_id": f.text(255),
}


class SecurityGroups(Collection[rows.GroupRow]):
    name, plural, label, tagged_as = "security_group", "security_groups", "Security group", "group"

    async def find(self, conn: Connection, page: rows.Page, indexed: Query) -> list[rows.GroupRow]:
        return await rows.groups(conn, page)

    async def listing(self, ctx: Context, query: Query) -> Listing:
        if ctx.project_id:
            async with self.service.db.connection() as conn:
                await rows.default_group(conn, ctx.project_id)
        return await super().listing(ctx, query)

    def view(self, row: rows.GroupRow, ctx: Context) -> dict[str, Any]:
        return {
            "id": row.id,
            "name": row.name,
            "description": row.description,
            "project_id": row.project_id,
            "tenant_id": row.project_id,
            "stateful": row.stateful,
            "shared": False,
            "security_group_rules": [rule_view(msgspec.convert(rule, rows.RuleRow)) for rule in row.rules],
            "tags": row.tags,
            **dates(row),
        }

    async def create(self, ctx: Context, body: dict[str, Any]) -> rows.GroupRow:
        values = f.read(body, self.name, GROUP_FIELDS)
        if values.get("name", "").lower() == "default":
            raise Conflict("Default security group already exists.")
        world = self.service.world
        row = rows.GroupRow(
            id=world.uuid(),
            project_id=project_of(ctx, values),
            name=values.get("name", ""),
            description=values.get("description", ""),
            stateful=values.get("stateful", True),
            is_default=False,
            tags=[],
            revision=1,
            created_at=world.now(),
            updated_at=None,
            rules=[],
        )
        async with self.service.db.transaction() as conn:
            await require_room(self.service, conn, row.project_id, "security_group")
            await require_room(self.service, conn, row.project_id, "security_group_rule", RULES_OF_A_NEW_GROUP)
            await rows.insert_group(conn, row, (world.uuid(), world.uuid()))
        return await self.get(ctx, row.id)

    async def update(self, ctx: Context, row: rows.GroupRow, body: dict[str, Any]) -> rows.GroupRow:
        values = f.read(body, self.name, GROUP_CHANGES)
        if row.is_default and values.get("name", "default") != "default":
            raise Conflict("Updating the name of the default security group is not allowed.")
        if not row.is_default and values.get("name", "").lower() == "default":
            raise Conflict("Default security group already exists.")
        async with self.service.db.transaction() as conn:
            await changes.alone(conn, self.name, row.id)
            await rows.update_group(conn, msgspec.structs.replace(await self.get(ctx, row.id, conn), **values))
        return await self.get(ctx, row.id)

    async def delete(self, ctx: Context, row: rows.GroupRow) -> None:
        """Administrators may remove a project's default group: it is made anew when somebody needs it."""
        if row.is_default and not ctx.is_admin:
            raise Conflict("Insufficient rights for removing default security group.")
        try:
            async with self.service.db.connection() as conn:
                await rows.delete_group(conn, row.id)
        except Conflict as error:
            raise Conflict(f"Security Group {row.id} in use.", detail=error.detail) from None


class SecurityGroupRules(Collection[rows.RuleRow]):
    name, plural, label = "security_group_rule", "security_group_rules", "Security group rule"
    indexed = ("security_group_id",)
    has_name = False

    async def find(self, conn: Connection, page: rows.Page, indexed: Query) -> list[rows.RuleRow]:
        return await rows.rules(conn, page, uuids(indexed.get("security_group_id")))

    def view(self, row: rows.RuleRow, ctx: Context) -> dict[str, Any]:
        return rule_view(row)

    async def create(self, ctx: Context, body: dict[str, Any]) -> rows.RuleRow:
        values = f.read(body, self.name, RULE_FIELDS)
        for required in ("security_group_id", "direction"):
            if required not in values:
                raise Invalid(f"Failed to parse request. Required attribute '{required}' not specified")
        groups = SecurityGroups(self.service)
        group = await groups.get_own(ctx, values["security_group_id"])
        if values.get("remote_group_id"):
            values["remote_group_id"] = (await groups.get(ctx, values["remote_group_id"])).id
        values.pop("project_id", None)
        row = rows.RuleRow(
            id=self.service.world.uuid(),
            security_group_id=group.id,
            project_id=group.project_id,
            direction=values["direction"],
            ethertype=values.get("ethertype") or "IPv4",
            protocol=values.get("protocol"),
            port_range_min=values.get("port_range_min"),
            port_range_max=values.get("port_range_max"),
            remote_ip_prefix=values.get("remote_ip_prefix"),
            normalized_cidr=None,
            remote_group_id=values.get("remote_group_id"),
            description=values.get("description", ""),
            revision=0,
            created_at=self.service.world.now(),
        )
        _sensible(row)
        await self._insert(row)
        await self._tell(group.id)
        return await self.get(ctx, row.id)

    async def _insert(self, row: rows.RuleRow) -> None:
        try:
            async with self.service.db.transaction() as conn:
                await require_room(self.service, conn, row.project_id, "security_group_rule")
                await rows.insert_rule(conn, row)
        except Conflict as error:
            raise Conflict("Security group rule already exists.", detail=error.detail) from None
        except NotFound:
            raise NotFound(f"Security group {row.security_group_id} could not be found.") from None

    async def delete(self, ctx: Context, row: rows.RuleRow) -> None:
        async with self.service.db.connection() as conn:
            await rows.delete_rule(conn, row.id)
        await self._tell(row.security_group_id)

    async def _tell(self, group_id: str) -> None:
        async with self.service.db.connection() as conn:
            servers = await rows.servers_behind(conn, group_id)
        await self.service.tell([server for server in servers if is_uuid(server)])


def rule_view(row: rows.RuleRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "security_group_id": row.security_group_id,
        "project_id": row.project_id,
        "tenant_id": row.project_id,
        "direction": row.direction,
        "ethertype": row.ethertype,
        "protocol": row.protocol,
        "port_range_min": row.port_range_min,
        "port_range_max": row.port_range_max,
        "remote_ip_prefix": row.remote_ip_prefix,
        "remote_group_id": row.remote_group_id,
        "remote_address_group_id": None,
        "normalized_cidr": row.normalized_cidr,
        "description": row.description,
        "belongs_to_default_sg": None,
        "revision_number": row.revision,
        "created_at": moment(row.created_at),
        "updated_at": moment(row.created_at),
    }


def protocol_number(protocol: str | None) -> int | None:
    """The number behind a rule's protocol; None for any."""
    return None if protocol is None else PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol)


def _sensible(rule: rows.RuleRow) -> None:
    """Refuse rules that contradict themselves."""
    number = protocol_number(rule.protocol)
    low, high = rule.port_range_min, rule.port_range_max
    if rule.remote_ip_prefix and rule.remote_group_id:
        raise Invalid("Only remote_ip_prefix or remote_group_id may be provided.")
    if rule.remote_ip_prefix and ipaddress.ip_interface(rule.remote_ip_prefix).version != int(rule.ethertype[-1]):
        raise Invalid(f"Conflicting value ethertype {rule.ethertype} for CIDR {rule.remote_ip_prefix}")
    if number == PROTOCOLS["icmpv6"] and rule.ethertype == "IPv4":
        raise Invalid("Invalid ethertype IPv4 for protocol ipv6-icmp.")
    if (low, high) == (None, None):
        return
    if number in ICMP:
        if low is None:
            raise Invalid(f"ICMP code (port-range-max) {high} is provided but ICMP type (port-range-min) is missing.")
        for field, value in (("type (port-range-min)", low), ("code (port-range-max)", high)):
            if value is not None and value not in ICMP_NUMBERS:
                raise Invalid(f"Invalid value for ICMP {field} {value}. It must be 0 to 255.")
    elif number not in WITH_PORTS:
        raise Invalid("Must also specify a protocol with ports (TCP, UDP, SCTP ...) if a port range is given.")
    else:
        for port in (low, high):
            if port is not None and port not in PORTS:
                raise Invalid(f"Invalid value for port {port}. It must be 1 to 65535.")
        if low is None or high is None or low > high:
            raise Invalid("For TCP/UDP protocols, port_range_min must be <= port_range_max")
