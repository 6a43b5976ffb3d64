"""Bodies of a server's network interfaces."""

from nova_async.api.schema import Schema, since
from nova_async.api.schemas import UUID, body
from nova_async.api.schemas.servers import IP, TAG
from nova_async.api.versions import V

CREATE = Schema(
    body(
        "interfaceAttachment",
        {
            "type": "object",
            "properties": {
                "net_id": UUID,
                "port_id": UUID,
                "fixed_ips": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 1,
                    "items": {
                        "type": "object",
                        "properties": {"ip_address": IP},
                        "required": ["ip_address"],
                        "additionalProperties": False,
                    },
                },
                "tag": since(V.ATTACH_TAGS, TAG),
            },
            "additionalProperties": False,
        },
    )
)
