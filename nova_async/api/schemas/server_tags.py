"""Bodies of server tags."""

from nova_async.api.schema import Schema

MOST, LONGEST = 50, 60
TAG = {"type": "string", "pattern": "^[^,/]*$", "minLength": 1, "maxLength": LONGEST}

ALL = Schema(
    {
        "type": "object",
        "properties": {"tags": {"type": "array", "items": TAG, "maxItems": MOST}},
        "required": ["tags"],
        "additionalProperties": False,
    }
)
