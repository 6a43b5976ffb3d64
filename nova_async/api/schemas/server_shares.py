"""Bodies and queries of shares."""

from nova_async.api.schema import Query, Schema
from nova_async.api.schemas import UUID, body
from nova_async.api.versions import V

TAG = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[a-zA-Z0-9-]*$"}

CREATE = Schema(
    body("share", {"type": "object", "properties": {"share_id": UUID, "tag": TAG}, "required": ["share_id"], "additionalProperties": False})
)
NOTHING = Query({}, strict_since=V.SHARES)
