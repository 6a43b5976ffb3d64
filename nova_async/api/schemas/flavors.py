"""Bodies and queries of flavors."""

from typing import Any

from nova_async.api.schema import Query, Schema, since, until
from nova_async.api.schemas import BOOLEAN, DESCRIPTION, LIMIT, NAME, NOT_NEGATIVE, POSITIVE, SORT_DIR, TEXT, body
from nova_async.api.versions import V

SORT_KEYS = [
    *("created_at", "description", "disabled", "ephemeral_gb", "flavorid", "id", "is_public", "memory_mb", "name", "root_gb"),
    *("rxtx_factor", "swap", "updated_at", "vcpu_weight", "vcpus"),
]
LONG_DESCRIPTION = {**DESCRIPTION, "maxLength": 65_535}

CREATE = Schema(
    body(
        "flavor",
        {
            "type": "object",
            "properties": {
                "name": NAME,
                "id": {"type": ["string", "number", "null"], "minLength": 1, "maxLength": 255, "pattern": "^(?! )[a-zA-Z0-9. _-]+(?<! )$"},
                "ram": POSITIVE,
                "vcpus": POSITIVE,
                "disk": NOT_NEGATIVE,
                "OS-FLV-EXT-DATA:ephemeral": NOT_NEGATIVE,
                "swap": NOT_NEGATIVE,
                "rxtx_factor": until(
                    V.STRICT_EVERYWHERE - 1,
                    {
                        "type": ["number", "string"],
                        "pattern": r"^[0-9]{1,30}(\.[0-9]{1,30})?$",
                        "minimum": 0,
                        "exclusiveMinimum": True,
                        "maximum": 3.40282e38,
                    },
                ),
                "os-flavor-access:is_public": BOOLEAN,
                "description": since(V.FLAVOR_DESCRIPTION, LONG_DESCRIPTION),
            },
            "required": ["name", "ram", "vcpus", "disk"],
            "additionalProperties": False,
        },
    )
)

UPDATE = Schema(
    body(
        "flavor",
        {"type": "object", "properties": {"description": LONG_DESCRIPTION}, "required": ["description"], "additionalProperties": False},
    )
)

LIST = Query(
    {
        "limit": LIMIT,
        "marker": TEXT,
        "is_public": TEXT,
        "minRam": TEXT,
        "minDisk": TEXT,
        "sort_key": {"type": "string", "enum": SORT_KEYS},
        "sort_dir": SORT_DIR,
        "name": since(V.STRICT_EVERYWHERE, {"type": "string", "format": "regex"}),
    },
    strict_since=V.STRICT_QUERIES,
)

SPECS: dict[str, Any] = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": ["string", "number"], "maxLength": 255}},
    "additionalProperties": False,
}
CREATE_EXTRA_SPECS = Schema(body("extra_specs", SPECS))
UPDATE_EXTRA_SPEC = Schema({**SPECS, "minProperties": 1, "maxProperties": 1})

TENANT = {
    "type": "object",
    "properties": {"tenant": {"type": "string", "minLength": 1, "maxLength": 255}},
    "required": ["tenant"],
    "additionalProperties": False,
}
ADD_ACCESS = Schema(body("addTenantAccess", TENANT))
REMOVE_ACCESS = Schema(body("removeTenantAccess", TENANT))
