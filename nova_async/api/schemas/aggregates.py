"""Bodies of host aggregates."""

from typing import Any

from nova_async.api.schema import Schema
from nova_async.api.schemas import UUID, body
from nova_async.api.schemas.servers import HOST

NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 255, "format": "name"}
ZONE: dict[str, Any] = {
    "oneOf": [{"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^:\x00-\x1f\x7f]*[^:\s\x00-\x1f\x7f][^:\x00-\x1f\x7f]*$"},
              {"type": "null"}]
}  # fmt: skip
FIELDS = {"name": NAME, "availability_zone": ZONE}
ANY_FIELD = [{"required": ["name"]}, {"required": ["availability_zone"]}]
KEY = "^[a-zA-Z0-9-_:. ]{1,255}$"


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


CREATE = Schema(body("aggregate", _object(FIELDS, "name")))
UPDATE = Schema(body("aggregate", {"type": "object", "properties": FIELDS, "additionalProperties": False, "anyOf": ANY_FIELD}))
ADD_HOST = Schema(body("add_host", _object({"host": HOST}, "host")))
REMOVE_HOST = Schema(body("remove_host", _object({"host": HOST}, "host")))
SET_METADATA = Schema(
    body(
        "set_metadata",
        _object(
            {
                "metadata": {
                    "type": "object",
                    "patternProperties": {KEY: {"type": ["string", "null"], "maxLength": 255}},
                    "additionalProperties": False,
                }
            },
            "metadata",
        ),
    )
)
IMAGES = Schema(body("cache", {"type": "array", "minItems": 1, "maxItems": 1000, "items": _object({"id": UUID}, "id")}))
