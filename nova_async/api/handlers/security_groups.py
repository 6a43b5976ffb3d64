"""Security groups as the first versions of the API had them: a proxy to the network service."""

import ipaddress
from typing import Any
from urllib.parse import unquote

from nova_async.api.handlers.server_networking import security_groups as groups_on_ports
from nova_async.api.request import Request
from nova_async.api.schema import UUID
from nova_async.errors import Conflict, Forbidden, Invalid

Group = dict[str, Any]  # in Neutron's fields; each rule with ``remote_group``, name and project of the group that it names
Rule = dict[str, Any]
PORTS, CODES = range(1, 65_536), range(-1, 256)


async def index(request: Request) -> list[Group]:
    filters = {} if request.is_admin and "all_tenants" in request.query else {"project_id": [request.ctx.project_id]}
    groups = await request.parts.networks.things(request.ctx, "security-groups", **filters)
    first = int(request.first("offset") or 0)
    return await _told(request, groups[first : first + (int(request.first("limit") or 0) or request.parts.config.api.max_limit)])


async def of_server(request: Request) -> list[Group]:
    return await _told(request, await groups_on_ports(request))


async def show(request: Request) -> Group:
    return (await _told(request, [await _group(request)]))[0]


async def create(request: Request) -> Group:
    asked = request.body["security_group"]
    fields = {"name": asked["name"], "description": asked["description"]}
    try:
        group = await request.parts.networks.make(request.ctx, "security-groups", fields)
    except Conflict as error:
        raise Forbidden(error.message, detail=error.detail) from None
    return (await _told(request, [group]))[0]


async def update(request: Request) -> Group:
    group, asked = await _group(request), request.body["security_group"]
    fields = {"name": asked["name"], "description": asked["description"]}
    try:
        changed = await request.parts.networks.change(request.ctx, "security-groups", group["id"], fields)
    except Conflict as error:
        raise Invalid(error.message, detail=error.detail) from None
    return (await _told(request, [changed]))[0]


async def delete(request: Request) -> None:
    group = await _group(request)
    try:
        await request.parts.networks.remove(request.ctx, "security-groups", group["id"])
    except Conflict as error:
        raise Invalid(error.message, detail=error.detail) from None


async def create_rule(request: Request) -> Rule:
    asked = request.body["security_group_rule"]
    group = await request.parts.networks.thing(request.ctx, "security-groups", asked["parent_group_id"])
    source = asked.get("group_id")
    if source is not None:
        await request.parts.networks.thing(request.ctx, "security-groups", source)
    fields = {"security_group_id": group["id"], "direction": "ingress", **(_from_group(asked) if source else _from_cidr(asked))}
    try:
        rule = await request.parts.networks.make(request.ctx, "security-group-rules", fields)
    except Conflict as error:
        raise Invalid(f"This rule already exists in group {group['id']}", detail=error.message) from None
    [told] = (await _told(request, [{**group, "security_group_rules": [rule]}]))[0]["security_group_rules"]
    return told  # type: ignore[no-any-return]


async def delete_rule(request: Request) -> None:
    await request.parts.networks.remove(request.ctx, "security-group-rules", _id(request))


def _id(request: Request) -> str:
    if not UUID.fullmatch(request.values["id"]):
        raise Invalid("Security group id should be uuid")
    return request.values["id"]


async def _group(request: Request) -> Group:
    return await request.parts.networks.thing(request.ctx, "security-groups", _id(request))


async def _told(request: Request, groups: list[Group]) -> list[Group]:
    """Rules for incoming traffic, with the names of the groups in them; rules that name a group which is gone are left out."""
    known = {group["id"]: group for group in groups}
    named = {rule["remote_group_id"] for group in groups for rule in group["security_group_rules"] if rule["remote_group_id"]}
    if missing := sorted(named - set(known)):
        known |= {group["id"]: group for group in await request.parts.networks.things(request.ctx, "security-groups", id=missing)}
    told = [
        {**group, "security_group_rules": [_named(rule, known) for rule in group["security_group_rules"] if _shown(rule, known)]}
        for group in groups
    ]
    return sorted(told, key=lambda group: (group["tenant_id"], group["name"]))


def _shown(rule: Rule, known: dict[str, Group]) -> bool:
    return rule["direction"] == "ingress" and (rule["remote_group_id"] is None or rule["remote_group_id"] in known)


def _named(rule: Rule, known: dict[str, Group]) -> Rule:
    source = known.get(rule["remote_group_id"] or "")
    return {**rule, "remote_group": {"name": source["name"], "tenant_id": source["tenant_id"]} if source else {}}


# Rules as they were asked for


def _from_group(asked: dict[str, Any]) -> dict[str, Any]:
    """Without a protocol, or without ports, everything is let in from the group."""
    fields: dict[str, Any] = {"remote_group_id": asked["group_id"]}
    if not asked.get("ip_protocol"):
        return fields
    protocol = _protocol(asked["ip_protocol"])
    everything = (-1, -1) if protocol == "icmp" else (1, 65_535)
    low, high = asked.get("from_port"), asked.get("to_port")
    return fields | _traffic(protocol, *(everything if low is None and high is None else (low, high)), version=4)


def _from_cidr(asked: dict[str, Any]) -> dict[str, Any]:
    network = _network(asked.get("cidr") or "0.0.0.0/0")
    if not asked.get("ip_protocol") or asked.get("from_port") is None or asked.get("to_port") is None:
        raise Invalid("Not enough parameters to build a valid rule.")
    traffic = _traffic(_protocol(asked["ip_protocol"]), asked["from_port"], asked["to_port"], version=network.version)
    return {"remote_ip_prefix": str(network), "ethertype": f"IPv{network.version}", **traffic}


def _network(cidr: Any) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    """Host bits are kept, as the network service keeps them."""
    text = unquote(cidr) if isinstance(cidr, str) else ""
    try:
        network = ipaddress.ip_interface(text)
    except ValueError:
        network = None
    if network is None or "/" not in text:
        raise Invalid(f"Invalid cidr {str(cidr)[:64]}.")
    if network.network.prefixlen == 0 and text.partition("/")[0] not in ("0.0.0.0", "::"):
        raise Invalid(f"Bad prefix for network in cidr {text}")
    return network


def _protocol(given: Any) -> str:
    name = str(given).lower()
    if name not in ("tcp", "udp", "icmp"):
        raise Invalid(f"Invalid IP protocol {str(given)[:64]}.")
    return name


def _traffic(protocol: str, low: Any, high: Any, *, version: int) -> dict[str, Any]:
    """Neutron's fields of a protocol with ports, or (ICMP) with type and code; -1 means any."""
    try:
        first, last = int(low), int(high)
    except (ValueError, TypeError, OverflowError):
        wrong = "Type and Code must be integers for ICMP protocol type" if protocol == "icmp" else "To and From ports must be integers"
        raise Invalid(f"Invalid input received: {wrong}") from None
    refused = f"Invalid port range {first}:{last}. "
    if protocol == "icmp":
        if first not in CODES or last not in CODES:
            raise Invalid(f"{refused}For ICMP, the type:code must be valid")
    elif first > last:
        raise Invalid(f"{refused}Former value cannot be greater than the later")
    elif first not in PORTS or last not in PORTS:
        raise Invalid(f"{refused}Valid {protocol.upper()} ports should be between 1-65535")
    ends = {name: value for name, value in (("port_range_min", first), ("port_range_max", last)) if value != -1}
    return {"protocol": "ipv6-icmp" if protocol == "icmp" and version == 6 else protocol, **ends}
