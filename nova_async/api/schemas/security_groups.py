"""Bodies and queries of the proxy to security groups. Unknown keys were always tolerated here."""

from nova_async.api.schema import Query, Schema
from nova_async.api.schemas import NOT_NEGATIVE, TEXT

WORDS = {"type": "string", "maxLength": 255}
GROUP = Schema(
    {
        "type": "object",
        "properties": {
            "security_group": {
                "type": "object",
                "properties": {"name": WORDS, "description": WORDS},
                "required": ["name", "description"],
            }
        },
        "required": ["security_group"],
    }
)
RULE = Schema(
    {
        "type": "object",
        "properties": {
            "security_group_rule": {
                "type": "object",
                "properties": {
                    "group_id": {"type": ["string", "null"], "format": "uuid"},
                    "parent_group_id": {"type": "string", "format": "uuid"},
                },
                "required": ["parent_group_id"],
            }
        },
        "required": ["security_group_rule"],
    }
)
LIST = Query({"limit": NOT_NEGATIVE, "offset": NOT_NEGATIVE, "all_tenants": TEXT})
