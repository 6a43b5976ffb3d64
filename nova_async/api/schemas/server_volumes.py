"""Bodies of a server's volumes."""

from typing import Any

from nova_async.api.schema import Query, Schema, integer, since
from nova_async.api.schemas import BOOLEAN, TEXT, UUID, body
from nova_async.api.schemas.servers import TAG
from nova_async.api.versions import V

DEVICE = {"type": ["string", "null"], "maxLength": 255, "pattern": "(^/dev/x{0,1}[a-z]{0,1}d{0,1})([a-z]+)[0-9]*$"}
NOT_EMPTY = {"type": "string", "minLength": 1, "maxLength": 255}
NUMBER = {"type": "string", "pattern": "^[0-9]{1,18}$"}


def _of(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


ATTACH = Schema(
    body(
        "volumeAttachment",
        _of(
            {
                "volumeId": UUID,
                "device": DEVICE,
                "tag": since(V.ATTACH_TAGS, TAG),
                "delete_on_termination": since(V.DELETE_ON_TERMINATION, BOOLEAN),
            },
            "volumeId",
        ),
    )
)
UPDATE = Schema(
    body(
        "volumeAttachment",
        _of(
            {
                "volumeId": UUID,
                "device": since(V.CHANGE_DELETE_ON_TERMINATION, DEVICE),
                "tag": since(V.CHANGE_DELETE_ON_TERMINATION, TAG),
                "delete_on_termination": since(V.CHANGE_DELETE_ON_TERMINATION, BOOLEAN),
                "serverId": since(V.CHANGE_DELETE_ON_TERMINATION, UUID),
                "id": since(V.CHANGE_DELETE_ON_TERMINATION, UUID),
            },
            "volumeId",
        ),
    )
)
LIST = Query({"limit": NUMBER, "offset": NUMBER}, strict_since=V.STRICT_QUERIES)
SHOW = Query({})
PAGE = Query({"limit": NUMBER, "offset": NUMBER})  # of the old proxies
SNAPSHOT = Schema(
    body(
        "snapshot",
        _of(
            {
                "volume_id": NOT_EMPTY,
                "create_info": _of(
                    {"snapshot_id": NOT_EMPTY, "type": {"type": "string", "enum": ["qcow2"]}, "new_file": NOT_EMPTY, "id": NOT_EMPTY},
                    *("snapshot_id", "type", "new_file"),
                ),
            },
            *("volume_id", "create_info"),
        ),
    )
)
DELETE_SNAPSHOT = Query({"delete_info": TEXT}, strict_since=V.STRICT_QUERIES)
CREATE_VOLUME = Schema(
    body(
        "volume",
        _of(
            {
                "volume_type": TEXT,
                "metadata": {"type": "object"},
                "snapshot_id": TEXT,
                "size": integer(1),
                "availability_zone": TEXT,
                "display_name": TEXT,
                "display_description": TEXT,
            },
            "size",
        ),
    )
)
CREATE_SNAPSHOT = Schema(
    body(
        "snapshot",
        _of({"volume_id": TEXT, "force": BOOLEAN, "display_name": TEXT, "display_description": TEXT}, "volume_id"),
    )
)
