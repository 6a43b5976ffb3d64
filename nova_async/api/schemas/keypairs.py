"""Bodies and queries of key pairs."""

from nova_async.api.schema import Query, Schema, first, since, until
from nova_async.api.schemas import LIMIT, NAME, TEXT, body
from nova_async.api.versions import V
from nova_async.model.keypairs import SSH, X509

CREATE = Schema(
    body(
        "keypair",
        {
            "type": "object",
            "properties": {
                "name": first(
                    until(V.KEYPAIRS_IMPORTED_ONLY - 1, {**NAME, "pattern": r"^[_\- a-zA-Z0-9]+$"}),
                    since(V.KEYPAIRS_IMPORTED_ONLY, {**NAME, "pattern": r"^[_\-\@\. a-zA-Z0-9]+$"}),
                ),
                "type": since(V.KEYPAIR_TYPES, {"type": "string", "enum": [SSH, X509]}),
                "public_key": TEXT,
                "user_id": since(V.KEYPAIRS_OF_OTHERS, {"type": "string", "maxLength": 255}),
            },
            "required": ["name", since(V.KEYPAIRS_IMPORTED_ONLY, "public_key")],
            "additionalProperties": False,
        },
    )
)

OWNER = {"user_id": since(V.KEYPAIRS_OF_OTHERS, TEXT)}
SHOW = Query(OWNER, strict_since=V.STRICT_QUERIES)
LIST = Query({**OWNER, "limit": since(V.PAGED_KEYPAIRS, LIMIT), "marker": since(V.PAGED_KEYPAIRS, TEXT)}, strict_since=V.STRICT_QUERIES)
