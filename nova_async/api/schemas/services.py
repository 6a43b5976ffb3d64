"""Bodies and queries of services."""

from nova_async.api.schema import Query, Schema, since
from nova_async.api.schemas import BOOLEAN, TEXT
from nova_async.api.versions import V

HOST = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9-._]*$"}
TITLE = {"type": "string", "minLength": 1, "maxLength": 255}

UPDATE = Schema(
    {
        "type": "object",
        "properties": {
            "status": {"type": "string", "enum": ["enabled", "disabled"]},
            "disabled_reason": TITLE,
            "forced_down": BOOLEAN,
        },
        "additionalProperties": False,
    }
)
UPDATE_BY_NAME = Schema(
    {
        "type": "object",
        "properties": {
            "host": HOST,
            "binary": TITLE,
            "disabled_reason": TITLE,
            "forced_down": since(V.SERVICE_FORCED_DOWN, BOOLEAN),
        },
        "required": ["host", "binary"],
        "additionalProperties": False,
    }
)
LIST = Query({"host": TEXT, "binary": TEXT}, strict_since=V.STRICT_QUERIES)
