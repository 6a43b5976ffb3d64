"""Bodies and queries of hosts as versions before 2.43 know them."""

from nova_async.api.schema import Query, Schema
from nova_async.api.schemas import TEXT

SWITCH = {"type": "string", "enum": ["enable", "disable", "Enable", "Disable", "ENABLE", "DISABLE"]}

UPDATE = Schema(
    {
        "type": "object",
        "properties": {"status": SWITCH, "maintenance_mode": SWITCH},
        "anyOf": [{"required": ["status"]}, {"required": ["maintenance_mode"]}],
        "additionalProperties": False,
    }
)
LIST = Query({"zone": TEXT}, strict_since=None)
