"""What may stand in a body: each attribute has a reader that returns the value or raises ``Invalid`` naming it."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from nova_async.errors import Invalid
from nova_async.services.volume.rules import UUID

Reader = Callable[[str, Any], Any]
TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})
FALSE = frozenset({"0", "f", "false", "off", "n", "no"})
LARGEST = 2**31 - 1
MOST_ITEMS = 128  # of metadata, of one thing


def read(body: dict[str, Any], wrapper: str, readers: Mapping[str, Reader], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    """The attributes inside ``{wrapper: {...}}``, each through its reader. Raises ``Invalid`` for unknown and for missing ones."""
    inside = body.get(wrapper)
    if not isinstance(inside, dict):
        raise Invalid(f"Invalid input for field/attribute {wrapper}: an object is expected.")
    if unknown := sorted(set(inside) - set(readers)):
        raise Invalid(f"Additional properties are not allowed ({', '.join(map(repr, unknown))[:200]} were unexpected)")
    values = {name: readers[name](name, value) for name, value in inside.items()}
    if missing := [name for name in required if inside.get(name) is None or values[name] is None]:
        raise Invalid(f"Invalid input for field/attribute {wrapper}: '{missing[0]}' is a required property")
    return values


def text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > 255 or "\0" in value:
        raise _wrong(name, value, "text of at most 255 characters")
    return value.strip()


def boolean(name: str, value: Any) -> bool:
    word = str(value).strip().lower()
    if not isinstance(value, bool | str | int) or word not in TRUE | FALSE:
        raise _wrong(name, value, "true or false")
    return word in TRUE


def integer(low: int) -> Reader:
    def reader(name: str, value: Any) -> int | None:
        if value is None:
            return None
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,10}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= LARGEST:
            raise _wrong(name, value, f"a whole number from {low} to {LARGEST}")
        return value

    return reader


def identifier(name: str, value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not UUID.fullmatch(value):
        raise _wrong(name, value, "a UUID")
    return value.lower()


def metadata(name: str, value: Any) -> dict[str, str]:
    """At most ``MOST_ITEMS``: keys of 1 to 255 characters, values of at most 255."""
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MOST_ITEMS:
        raise _wrong(name, value, f"an object of at most {MOST_ITEMS} texts")
    for key, item in value.items():
        if not 1 <= len(key) <= 255 or "\0" in key:
            raise _wrong(name, key, "keys of 1 to 255 characters")
        text(f"{name}.{key[:50]}", item)
    return {key: "" if item is None else item for key, item in value.items()}


def anything(name: str, value: Any) -> Any:
    return value


def ignored(name: str, value: Any) -> None:
    """An attribute that Cinder has and that changes nothing here."""


def _wrong(name: str, value: Any, expected: str) -> Invalid:
    return Invalid(f"Invalid input for field/attribute {name}. Value: {str(value)[:100]}. Expected {expected}.")
