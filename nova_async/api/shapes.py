"""The JSON Schemas of answers: pieces that several views share.

Objects are closed unless somebody else chooses their keys (metadata, extra specs). As in ``schema``, a part may
be wrapped in ``since`` or ``until``.
"""

from collections.abc import Iterable
from typing import Any

from nova_async.api.schema import First, Ranged

Shape = dict[str, Any]
Versioned = Shape | Ranged | First

ANYTHING: Shape = {}
TEXT: Shape = {"type": "string"}
INTEGER: Shape = {"type": "integer"}
NUMBER: Shape = {"type": "number"}
BOOLEAN: Shape = {"type": "boolean"}
NULL: Shape = {"type": "null"}
MAYBE_TEXT: Shape = {"type": ["string", "null"]}
MAYBE_INTEGER: Shape = {"type": ["integer", "null"]}
UUID: Shape = {"type": "string", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}
SECONDS: Shape = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}  # render.seconds
MICROSECONDS: Shape = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$"}  # render.microseconds
ADDRESS: Shape = {"type": "string", "pattern": r"^[0-9a-f:.]+$"}


def closed(properties: Shape, optional: Iterable[str] = ()) -> Shape:
    """An object with these keys and no others; all of them, but for the ``optional`` ones."""
    required = [_in_range_of(part, name) for name, part in properties.items() if name not in set(optional)]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _in_range_of(part: Any, name: str) -> str | Ranged:
    return Ranged(name, part.since, part.until) if isinstance(part, Ranged) else name


def array(items: Versioned) -> Shape:
    return {"type": "array", "items": items}


def mapping(values: Versioned) -> Shape:
    """An object whose keys are the user's own."""
    return {"type": "object", "additionalProperties": values}


def nullable(shape: Shape) -> Shape:
    """The same, or null."""
    kinds = shape["type"]
    return {**shape, "type": [*([kinds] if isinstance(kinds, str) else kinds), "null"]}


def one_of(*words: str) -> Shape:
    return {"type": "string", "enum": list(words)}


LINK = closed({"rel": TEXT, "href": {"type": "string", "format": "uri"}, "type": TEXT}, optional=("type",))
LINKS = array(LINK)
STRINGS = array(TEXT)
ITEMS = mapping(TEXT)
