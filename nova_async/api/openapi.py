"""The OpenAPI 3.1 document of the newest version, made from the route table."""

import re
from typing import Any

from nova_async import __version__
from nova_async.api.faults import NAMES
from nova_async.api.route import Route
from nova_async.api.schema import at
from nova_async.api.versions import LATEST

FAULT = {
    "type": "object",
    "maxProperties": 1,
    "additionalProperties": {
        "type": "object",
        "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
        "required": ["code", "message"],
    },
}


def document(routes: tuple[Route, ...], root: str, version: int = LATEST) -> dict[str, Any]:
    """All paths that ``version`` serves; the rows of an action share one operation."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if not route.serves(version):
            continue
        operations = paths.setdefault(route.path, {})
        operation = operations.get(route.method.lower())
        if operation is None:
            operations[route.method.lower()] = _operation(route, version)
        else:
            _add_action(operation, route, version)
    return {
        "openapi": "3.1.0",
        "info": {"title": "nova_async compute API", "version": f"2.{int(version)}", "summary": f"nova_async {__version__}"},
        "servers": [{"url": f"{root}/v2.1"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
            "schemas": {"Fault": FAULT | {"description": f"The key is one of {', '.join(sorted({*NAMES.values(), 'computeFault'}))}."}},
        },
    }


def _operation(route: Route, version: int) -> dict[str, Any]:
    name = re.sub(r"\W+", "_", f"{route.method.lower()} {route.path}").strip("_")
    operation: dict[str, Any] = {
        "operationId": name if route.action is None else f"{name}_by_key",
        "summary": route.summary if route.action is None else "Act, as the one key of the body says.",
        "parameters": [*_path_parameters(route), *_query_parameters(route, version)],
        "responses": _responses(route, version),
    }
    if route.policy is not None:
        operation["x-policy"] = [route.policy]
    if route.action is not None:
        operation["requestBody"] = {"required": True, "content": _json({"oneOf": [_body(route, version)]})}
    elif route.body is not None:
        operation["requestBody"] = {"required": not route.body.optional, "content": _json(_body(route, version))}
    return operation


def _add_action(operation: dict[str, Any], route: Route, version: int) -> None:
    if route.action is None:
        return
    operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"].append(_body(route, version))
    operation["responses"] |= _responses(route, version)
    if route.policy is not None and route.policy not in operation.setdefault("x-policy", []):
        operation["x-policy"].append(route.policy)


def _body(route: Route, version: int) -> dict[str, Any]:
    schema = {"type": "object", "required": [route.action]} if route.body is None else at(route.body.literal, version)
    return {**openapi_form(schema), "description": route.summary}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in re.findall(r"{(\w+)}", route.path)]


def _query_parameters(route: Route, version: int) -> list[dict[str, Any]]:
    properties = route.query.literal(version)["properties"]
    return [{"name": name, "in": "query", "schema": openapi_form(part), "explode": True} for name, part in properties.items()]


def _responses(route: Route, version: int) -> dict[str, Any]:
    good: dict[str, Any] = {"description": route.summary}
    if route.view is not None:
        good["content"] = _json(route.view.schema(version))
    fault = {"description": "A fault.", "content": _json({"$ref": "#/components/schemas/Fault"})}
    return {str(route.status(version)): good, "4XX": fault, "5XX": fault}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def openapi_form(schema: Any) -> Any:
    """JSON Schema of draft 4 in the words of 2020-12: numbers in place of the exclusive flags."""
    if isinstance(schema, list):
        return [openapi_form(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: openapi_form(part) for key, part in schema.items()}
    for flag, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if plain.get(flag) is True:
            plain[flag] = plain.pop(bound)
    return plain
