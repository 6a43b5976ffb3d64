"""Bodies and queries of server groups."""

from typing import Any

from nova_async.api.schema import Query, Schema, first, integer, since, until
from nova_async.api.schemas import LIMIT, NAME, TEXT, body
from nova_async.api.versions import V

HARD = ["anti-affinity", "affinity"]
ALL = [*HARD, "soft-anti-affinity", "soft-affinity"]


def _policies(names: list[str]) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "string", "enum": names}, "minItems": 1, "maxItems": 1}


RULES: dict[str, Any] = {"type": "object", "properties": {"max_server_per_host": integer(1)}, "additionalProperties": False}

CREATE = Schema(
    body(
        "server_group",
        {
            "type": "object",
            "properties": {
                "name": NAME,
                "policies": first(
                    until(V.SOFT_AFFINITY - 1, _policies(HARD)),
                    since(V.SOFT_AFFINITY, _policies(ALL), until=V.SERVER_GROUP_RULES - 1),
                ),
                "policy": since(V.SERVER_GROUP_RULES, {"type": "string", "enum": ALL}),
                "rules": since(V.SERVER_GROUP_RULES, RULES),
            },
            "required": ["name", until(V.SERVER_GROUP_RULES - 1, "policies"), since(V.SERVER_GROUP_RULES, "policy")],
            "additionalProperties": False,
        },
    )
)
LIST = Query({"all_projects": TEXT, "limit": LIMIT, "offset": LIMIT}, strict_since=V.STRICT_QUERIES)
