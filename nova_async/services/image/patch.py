"""A JSON patch of an image's record, in the two media types of Glance v2."""

from collections.abc import Callable
from typing import Any

import msgspec

from nova_async.db.images import Editable
from nova_async.errors import BadMediaType, Conflict, Forbidden, Invalid
from nova_async.services.image import rules

TYPES = ("application/openstack-images-v2.1-json-patch", "application/openstack-images-v2.0-json-patch")
OPERATIONS = ("add", "replace", "remove")
MAX_OPERATIONS = 1000


class Operation(msgspec.Struct, frozen=True):
    op: str
    field: str  # the first part of the path
    rest: str  # "-" or an index below /tags
    value: Any = None


def parse(media_type: str, body: bytes) -> list[Operation]:
    """Raises ``BadMediaType``, ``Invalid``."""
    if media_type not in TYPES:
        raise BadMediaType(f"A patch must be of the type {TYPES[0]}.")
    try:
        items = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Invalid("Malformed request body: it is not valid JSON.") from None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Invalid("Request body must be a JSON array of operation objects.")
    if len(items) > MAX_OPERATIONS:
        raise Invalid(f"A patch holds at most {MAX_OPERATIONS} operations.")
    return [_operation(item, old=media_type == TYPES[1]) for item in items]


def _operation(item: dict[str, Any], *, old: bool) -> Operation:
    op = item.get("op") if not old else next((name for name in OPERATIONS if name in item), None)
    path = item.get("path") if not old else item.get(op or "")
    if op not in OPERATIONS or not isinstance(path, str):
        raise Invalid("Operations must be one of add, replace, remove, each with a path.")
    if not path.startswith("/") or path.endswith("/"):
        raise Invalid("Operation paths must start with '/' and name one attribute.")
    if op != "remove" and "value" not in item:
        raise Invalid(f"Operation {op} needs a value.")
    field, _, rest = path[1:].partition("/")
    if rest and field != "tags":
        raise Invalid("Operation paths must name one attribute of the image, not a part of it.")
    return Operation(op, _unescaped(field), rest, item.get("value"))


def _unescaped(part: str) -> str:
    """RFC 6901."""
    return part.replace("~1", "/").replace("~0", "~")


def edit(operations: list[Operation]) -> Callable[[Editable], Editable]:
    """The function that applies them, in order."""

    def apply(fields: Editable) -> Editable:
        for operation in operations:
            _apply(fields, operation)
        return fields

    return apply


def _apply(fields: Editable, operation: Operation) -> None:
    if operation.field == "tags" and operation.rest:
        _change_tags(fields, operation)
    elif operation.field in rules.FIELDS:
        if operation.op == "remove":
            raise Forbidden(f"Property {operation.field} may not be removed.")
        setattr(fields, operation.field, operation.value)
    else:
        _change_property(fields.properties, operation)


def _change_tags(fields: Editable, operation: Operation) -> None:
    if operation.op == "add" and operation.rest == "-" and isinstance(fields.tags, list):
        fields.tags = [*fields.tags, operation.value]
        return
    raise Invalid("Below /tags only add to /tags/- is known; replace /tags as a whole.")


def _change_property(properties: dict[str, Any], operation: Operation) -> None:
    rules.check_property_name(operation.field)
    if operation.op != "add" and operation.field not in properties:
        raise Conflict(f"Property {operation.field[: rules.MAX_TEXT]} does not exist.")
    if operation.op == "remove":
        del properties[operation.field]
    else:
        properties[operation.field] = operation.value
