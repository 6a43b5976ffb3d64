"""The smallest body that a row takes, made of its schema, or written here where a schema cannot tell."""

from typing import Any

from nova_async.api.route import Route
from nova_async.api.schema import Literal, at
from tests.api.conftest import IMAGE, NETWORK

TEXTS = {"uuid": IMAGE, "base64": "eA==", "ipv4": "10.0.0.5", "ipv6": "fd00::5", "date-time": "2026-01-01T00:00:00Z", "uri": "http://x"}
WRITTEN: dict[str, Any] = {  # by action, or by method and path
    "PUT /servers/{server_id}/metadata/{id}": {"meta": {"x": "y"}},
    "PUT /images/{image_id}/metadata/{id}": {"meta": {"x": "y"}},
    "PUT /flavors/{flavor_id}/os-extra_specs/{id}": {"x": "y"},
    "POST /servers/{server_id}/os-interface": {"interfaceAttachment": {"net_id": NETWORK}},
    "POST /os-keypairs": {"keypair": {"name": "key", "public_key": "ssh-rsa x"}},
}


def body(route: Route, version: int) -> Any:
    """One that passes the row's schema at this version."""
    written = WRITTEN.get(route.action or f"{route.method} {route.path}")
    if written is None:
        written = smallest(at(route.body.literal, version)) if route.body is not None else {route.action: None} if route.action else {}
    if route.body is not None:
        route.body.check(written, version)
    return written


def smallest(schema: Literal) -> Any:
    for key in ("oneOf", "anyOf"):
        if key in schema:
            return smallest({name: part for name, part in schema.items() if name != key} | schema[key][0])
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    kinds = [kind] if isinstance(kind, str) else kind or ["null"]
    if "object" in kinds:
        return _object(schema)
    if "array" in kinds:
        return [smallest(schema.get("items", {})) for _ in range(schema.get("minItems", 0))]
    if "integer" in kinds:
        return max(schema.get("minimum", 1), 1)
    if "boolean" in kinds:
        return True
    return TEXTS.get(schema.get("format", ""), "x" * max(schema.get("minLength", 1), 1)) if "string" in kinds else None


def _object(schema: Literal) -> dict[str, Any]:
    known = schema.get("properties", {})
    made = {name: smallest(known.get(name, {})) for name in schema.get("required", ())}
    missing = schema.get("minProperties", 0) - len(made)
    others = [name for name in known if name not in made][: max(missing, 0)]
    made |= {name: smallest(known[name]) for name in others}
    if len(made) < schema.get("minProperties", 0):
        made["x"] = smallest(next(iter(schema["patternProperties"].values())))
    return made
