"""Security groups as the first versions of the API told of them."""

from typing import Any

from nova_async.api.render import Field, Fields, Many, One, Plain
from nova_async.api.request import Request
from nova_async.api.shapes import MAYBE_INTEGER, MAYBE_TEXT, TEXT, array, closed


def _rule(rule: dict[str, Any], _: Request) -> dict[str, Any]:
    """A rule of Neutron's in Nova's fields."""
    protocol, low, high = rule["protocol"], rule["port_range_min"], rule["port_range_max"]
    if protocol and low is None and high is None:
        low, high = (1, 65_535) if protocol.lower() in ("tcp", "udp") else (-1, -1)
    cidr = rule["remote_ip_prefix"] or ("0.0.0.0/0" if rule["ethertype"] == "IPv4" else "::/0")
    return {
        "id": rule["id"],
        "parent_group_id": rule["security_group_id"],
        "ip_protocol": protocol,
        "from_port": low,
        "to_port": high,
        "ip_range": {} if rule["remote_group"] else {"cidr": cidr},
        "group": rule["remote_group"],
    }


def _rules(group: dict[str, Any], request: Request) -> list[dict[str, Any]]:
    return [_rule(rule, request) for rule in group["security_group_rules"]]


RULE_SHAPE = closed(
    {
        "id": TEXT,
        "parent_group_id": TEXT,
        "ip_protocol": MAYBE_TEXT,
        "from_port": MAYBE_INTEGER,
        "to_port": MAYBE_INTEGER,
        "ip_range": closed({"cidr": TEXT}, ("cidr",)),
        "group": closed({"tenant_id": TEXT, "name": TEXT}, ("tenant_id", "name")),
    }
)
FIELDS = Fields(
    (
        Field("id", lambda group, _: group["id"], type=TEXT),
        Field("name", lambda group, _: group["name"], type=TEXT),
        Field("description", lambda group, _: group["description"], type=TEXT),
        Field("tenant_id", lambda group, _: group["tenant_id"], type=TEXT),
        Field("rules", _rules, type=array(RULE_SHAPE)),
    )
)
LIST = Many("security_groups", FIELDS)
SHOW = One("security_group", FIELDS)
RULE = Plain(lambda rule, request: {"security_group_rule": _rule(rule, request)}, closed({"security_group_rule": RULE_SHAPE}))
