"""The OpenAPI 3.1 document of one microversion, made from the route table: what may be asked, and every answer to it."""

import re
from typing import Any

from nova_async import __version__
from nova_async.api.faults import NAMES
from nova_async.api.route import Route
from nova_async.api.schema import at
from nova_async.api.shapes import INTEGER, TEXT, Shape, closed
from nova_async.api.versions import LATEST, OLDER, STANDARD, V

INNER = closed({"code": INTEGER, "message": TEXT, "title": TEXT, "retryAfter": TEXT}, ("title", "retryAfter"))
FAULT = {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": INNER}
NAMED = f"The key is one of {', '.join(sorted({*NAMES.values(), 'computeFault', 'error'}))}."
REQUEST_ID = {"description": "Names the request in the service's log.", "required": True, "schema": {"type": "string", "pattern": "^req-"}}
MEANINGS = {
    400: "The request is malformed; the message says what is wrong with it.",
    401: "There is no valid token.",
    403: "The caller may not do this, or not so much of it.",
    404: "There is no such thing, or the caller may not know of it.",
    406: "The service does not speak the version that was asked for.",
    409: "The present state of the thing forbids it.",
    413: "The body is too large.",
    415: "The body is of a kind that is not read.",
    501: "The host, or its driver, cannot do this.",
    503: "A part of the service does not answer now.",
}
EMPTY = "x-may-be-empty"  # marks answers that have this body, or none


def document(routes: tuple[Route, ...], root: str, version: int = LATEST) -> dict[str, Any]:
    """All paths that ``version`` serves; the rows of an action share one operation."""
    rows: dict[tuple[str, str], list[Route]] = {}
    for route in routes:
        if route.serves(version):
            rows.setdefault((route.path, route.method.lower()), []).append(route)
    paths: dict[str, dict[str, Any]] = {}
    for (path, method), same in rows.items():
        paths.setdefault(path, {})[method] = _operation(same, version)
    return {
        "openapi": "3.1.0",
        "info": {"title": "nova_async compute API", "version": f"2.{int(version)}", "summary": f"nova_async {__version__}"},
        "servers": [{"url": f"{root}/v2.1"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
            "parameters": {"Version": _version_parameter(version)},
            "headers": {"RequestId": REQUEST_ID, "Version": {"required": True, "schema": {"type": "string"}}},
            "schemas": {"Fault": FAULT | {"description": NAMED}},
            "responses": {str(status): _fault(status) for status in MEANINGS},
        },
    }


def answer(route: Route, status: int, version: int) -> tuple[Shape | None, bool]:
    """The JSON Schema of the body of one answer (None: it has none), and whether it may be missing.

    ``status`` is one of ``route.statuses(version)``. 204 never has a body.
    """
    if status >= 400:
        return FAULT, False
    if status == 204 or route.view is None:
        return None, True
    shape = route.view.schema(version)
    return shape, shape is None or route.view.may_be_empty


def _operation(rows: list[Route], version: int) -> dict[str, Any]:
    """Of rows that differ in their action only."""
    route = rows[0]
    name = re.sub(r"\W+", "_", f"{route.method.lower()} {route.path}").strip("_")
    operation: dict[str, Any] = {
        "operationId": name if route.action is None else f"{name}_by_key",
        "summary": route.summary if route.action is None else "Act, as the one key of the body says.",
        "tags": [route.path.split("/")[1]],
        "parameters": [*_path_parameters(route), *_query_parameters(route, version), {"$ref": "#/components/parameters/Version"}],
        "responses": _responses(rows, version),
    }
    if policies := list(dict.fromkeys(row.policy for row in rows if row.policy is not None)):
        operation["x-policy"] = policies
    if route.action is not None:
        operation["requestBody"] = {"required": True, "content": _json({"oneOf": [_body(row, version) for row in rows]})}
    elif route.body is not None:
        operation["requestBody"] = {"required": not route.body.optional, "content": _json(_body(route, version))}
    return operation


def _body(route: Route, version: int) -> Shape:
    schema = closed({str(route.action): {}}) if route.body is None else at(route.body.literal, version)
    return {**openapi_form(schema), "description": route.summary}


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]


def _query_parameters(route: Route, version: int) -> list[dict[str, Any]]:
    """Each key may be given several times, unless ``maxItems`` says otherwise."""
    properties = route.query.literal(version)["properties"]
    return [
        {"name": name, "in": "query", "schema": openapi_form(part), "style": "form", "explode": True} for name, part in properties.items()
    ]


def _version_parameter(version: int) -> dict[str, Any]:
    """Without the header the service speaks 2.1."""
    words = [f"compute 2.{int(version)}", *(["compute latest"] if version == LATEST else [])]
    described = f"The version that is spoken; {OLDER} says the same in the older form."
    return {"name": STANDARD, "in": "header", "required": version > V.BASE, "description": described, "schema": {"enum": words}}


def _responses(rows: list[Route], version: int) -> dict[str, Any]:
    """By status. Where several rows answer with it, the body is one of theirs."""
    told: dict[str, Any] = {}
    for status in sorted({status for row in rows for status in row.statuses(version)}):
        if status in MEANINGS:
            told[str(status)] = {"$ref": f"#/components/responses/{status}"}
            continue
        given = [answer(row, status, version) for row in rows if status in row.statuses(version)]
        shapes = [shape for n, (shape, _) in enumerate(given) if shape is not None and shape not in [s for s, _ in given[:n]]]
        good: dict[str, Any] = {"description": rows[0].summary if len(rows) == 1 else "What the action answers.", "headers": _headers()}
        if shapes:
            good["content"] = _json(openapi_form(shapes[0] if len(shapes) == 1 else {"anyOf": shapes}))
            good |= {EMPTY: True} if any(empty for _, empty in given) else {}
        told[str(status)] = good
    return told


def _fault(status: int) -> dict[str, Any]:
    headers = {"x-openstack-request-id": {"$ref": "#/components/headers/RequestId"}}
    return {"description": MEANINGS[status], "headers": headers, "content": _json({"$ref": "#/components/schemas/Fault"})}


def _headers() -> dict[str, Any]:
    names = {"x-openstack-request-id": "RequestId", "x-compute-request-id": "RequestId", STANDARD: "Version", OLDER: "Version"}
    return {name: {"$ref": f"#/components/headers/{part}"} for name, part in names.items()}


def _json(schema: Shape) -> dict[str, Any]:
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
