"""Every answer that a test of the API sees, held against what the route table promises: its status, and the schema of its body."""

import json
from typing import Any

import jsonschema_rs

from nova_async.api.openapi import answer, openapi_form
from nova_async.api.route import Route, Tree, choose
from nova_async.api.routes import ROUTES
from nova_async.api.versions import parse
from nova_async.errors import Error

TREE = Tree(ROUTES)
_validators: dict[tuple[int, int, int], Any] = {}


def row(method: str, path: str, version: str | None, body: Any) -> tuple[Route, int] | None:
    """The row that serves a request, and its version; None where none does. ``path`` starts after the tree; ``body`` is JSON or bytes."""
    found = TREE.find(method, path.partition("?")[0])
    if found is None:
        return None
    try:
        minor = parse(version)
        return choose(found.rows, minor, json.loads(body) if isinstance(body, bytes) else body), minor
    except (Error, ValueError, RecursionError):
        return None


def breach(method: str, path: str, version: str | None, body: Any, status: int, raw: bytes) -> str | None:
    """What an answer has that the table does not promise; None when all is well."""
    asked = row(method, path, version, body)
    if asked is None or asked[0].handler is None:
        return None
    route, minor = asked
    if status not in route.statuses(minor):
        return f"status {status} is not documented: {raw[:300]!r}"
    shape, may_be_empty = answer(route, status, minor)
    if not raw:
        return None if may_be_empty else f"{status} without a body"
    if shape is None:
        return f"{status} with a body, where none is documented: {raw[:300]!r}"
    key = (id(route), minor, status)
    if key not in _validators:
        _validators[key] = jsonschema_rs.Draft202012Validator(openapi_form(shape))
    try:
        document = json.loads(raw)
    except ValueError:
        return f"{status} with a body that is no JSON: {raw[:300]!r}"
    errors = [f"{'/'.join(map(str, e.instance_path))}: {e.message[:300]}" for e in _validators[key].iter_errors(document)]
    return "; ".join(errors[:3]) or None
