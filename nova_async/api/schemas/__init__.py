"""What may be in bodies and query strings: one module per noun, and here the pieces that several share."""

import ipaddress
from typing import Any, Final

from nova_async.api.schema import integer

Literal = dict[str, Any]

NAME: Final[Literal] = {"type": "string", "minLength": 1, "maxLength": 255, "format": "name"}
BOOLEAN: Final[Literal] = {
    "type": ["boolean", "string"],
    "enum": [
        *(True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes"),
        *(False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"),
    ],
}
POSITIVE: Final[Literal] = integer(1)
NOT_NEGATIVE: Final[Literal] = integer(0)
UUID: Final[Literal] = {"type": "string", "format": "uuid"}
TEXT: Final[Literal] = {"type": "string"}
DESCRIPTION: Final[Literal] = {"type": ["string", "null"], "minLength": 0, "maxLength": 255, "pattern": r"^[^\x00-\x1f\x7f]*$"}
METADATA: Final[Literal] = {
    "type": "object",
    "patternProperties": {"^[a-zA-Z0-9-_:. ]{1,255}$": {"type": "string", "maxLength": 255}},
    "additionalProperties": False,
}
LIMIT: Final[Literal] = {"type": "string", "pattern": "^[0-9]*$"}
SORT_DIR: Final[Literal] = {"type": "string", "enum": ["asc", "desc"]}

TRUE_WORDS = frozenset({"true", "1", "on", "yes", "y", "t"})


def truth(value: bool | str) -> bool:
    """What a value that passed ``BOOLEAN`` means."""
    return value if isinstance(value, bool) else value.lower() in TRUE_WORDS


def address(text: str | None) -> str | None:
    """An IP address as it is shown: the shortest form."""
    return None if text is None else str(ipaddress.ip_address(text))


def body(key: str, inner: Any, **beside: Any) -> Literal:
    """The schema of ``{key: inner}``, with optional keys beside it."""
    return {"type": "object", "properties": {key: inner, **beside}, "required": [key], "additionalProperties": False}
