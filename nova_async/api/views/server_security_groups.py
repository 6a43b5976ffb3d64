"""A server's security groups, as the first versions of the API told of groups."""

from typing import Any

from nova_async.api.render import Field, Fields, Many
from nova_async.api.request import Request

TEXT = {"type": "string"}


def _rules(group: dict[str, Any], _: Request) -> list[dict[str, Any]]:
    return [rule(one) for one in group["security_group_rules"] if one["direction"] == "ingress"]


def rule(one: dict[str, Any]) -> dict[str, Any]:
    """A rule of Neutron's in Nova's fields."""
    prefix = one["remote_ip_prefix"] or ("0.0.0.0/0" if one["ethertype"] == "IPv4" else "::/0")
    return {
        "id": one["id"],
        "parent_group_id": one["security_group_id"],
        "ip_protocol": one["protocol"].lower() if one["protocol"] else None,
        "from_port": one["port_range_min"],
        "to_port": one["port_range_max"],
        "ip_range": {} if one["remote_group_id"] else {"cidr": prefix},
        "group": {"name": one["remote_group_id"], "tenant_id": one["tenant_id"]} if one["remote_group_id"] else {},
    }


LIST = Many(
    "security_groups",
    Fields(
        (
            Field("id", lambda group, _: group["id"], type=TEXT),
            Field("name", lambda group, _: group["name"], type=TEXT),
            Field("description", lambda group, _: group["description"], type=TEXT),
            Field("tenant_id", lambda group, _: group["tenant_id"], type=TEXT),
            Field("rules", _rules, type={"type": "array"}),
        )
    ),
)
