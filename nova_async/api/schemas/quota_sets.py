"""Bodies and queries of quota sets and quota classes."""

from typing import Any

from nova_async.api.schema import Query, Schema, integer, until
from nova_async.api.schemas import BOOLEAN, TEXT, body
from nova_async.api.versions import V
from nova_async.quota import GROUPS, INJECTED, NETWORK, SERVERS

LIMIT = integer(-1)


def _limits(network_until: int) -> dict[str, Any]:
    return {
        **dict.fromkeys((*SERVERS, *GROUPS), LIMIT),
        **{name: until(V.NO_PERSONALITY - 1, LIMIT) for name in INJECTED},
        **{name: until(network_until, LIMIT) for name in NETWORK},
    }


UPDATE = Schema(
    body("quota_set", {"type": "object", "properties": {**_limits(V.NO_PROXIES - 1), "force": BOOLEAN}, "additionalProperties": False})
)
UPDATE_CLASS = Schema(
    body("quota_class_set", {"type": "object", "properties": _limits(V.QUOTA_CLASS_GROUPS - 1), "additionalProperties": False})
)
SHOW = Query({"user_id": TEXT}, strict_since=V.STRICT_QUERIES)
DEFAULTS = Query({}, strict_since=None)
