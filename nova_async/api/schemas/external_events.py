"""Bodies of events from outside: their names by version."""

from nova_async.api.schema import Schema, since
from nova_async.api.schemas import UUID, body
from nova_async.api.versions import V

NETWORK_CHANGED = "network-changed"
VIF_PLUGGED = "network-vif-plugged"
VIF_UNPLUGGED = "network-vif-unplugged"
VIF_DELETED = "network-vif-deleted"
VOLUME_EXTENDED = "volume-extended"
POWER_UPDATE = "power-update"
ACCELERATOR_BOUND = "accelerator-request-bound"
VOLUME_REIMAGED = "volume-reimaged"

NAMES = [
    *(NETWORK_CHANGED, VIF_PLUGGED, VIF_UNPLUGGED, VIF_DELETED),
    since(V.VOLUME_EXTENDED, VOLUME_EXTENDED),
    since(V.POWER_UPDATE, POWER_UPDATE),
    since(V.ACCELERATOR_EVENT, ACCELERATOR_BOUND),
    since(V.REBUILD_VOLUME, VOLUME_REIMAGED),
]
EVENT = {
    "type": "object",
    "properties": {
        "server_uuid": UUID,
        "name": {"type": "string", "enum": NAMES},
        "status": {"type": "string", "enum": ["failed", "completed", "in-progress"]},
        "tag": {"type": "string", "maxLength": 255},
    },
    "required": ["server_uuid", "name"],
    "additionalProperties": False,
}
CREATE = Schema(body("events", {"type": "array", "minItems": 1, "items": EVENT}))
