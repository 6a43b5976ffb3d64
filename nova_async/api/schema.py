"""Schemas as Python literals whose parts may belong to a range of microversions, compiled on first use.

``since(V.TAGS, {...})`` and ``until(...)`` may stand for any value in a literal; out of range, the key or list item is
absent. ``first(a, b)`` takes the first alternative that is in range. Error messages are worded as Nova words them.
"""

import ipaddress
import re
import warnings
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import jsonschema_rs

from nova_async.api.versions import LATEST, V
from nova_async.errors import Invalid

Literal = dict[str, Any]
SECRETS = frozenset({"adminPass", "user_data", "contents"})  # fields whose values no message repeats
DIGITS = re.compile(r"-?[0-9]{1,20}")
REFERS_BACK = re.compile(r"(?<!\\)(?:\\\\)*\\[1-9]")  # a digit after an odd number of backslashes
UUID = re.compile(r"\{?[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\}?")


class Ranged:
    """A value that exists from ``since`` to ``until``, both included."""

    def __init__(self, value: Any, since: int = V.BASE, until: int = LATEST) -> None:
        self.value, self.since, self.until = value, since, until


class First:
    """Alternatives, of which the first in range counts."""

    def __init__(self, alternatives: tuple[Ranged, ...]) -> None:
        self.alternatives = alternatives


def since(version: int, value: Any, *, until: int = LATEST) -> Ranged:
    return Ranged(value, version, until)


def until(version: int, value: Any) -> Ranged:
    return Ranged(value, V.BASE, version)


def first(*alternatives: Ranged) -> First:
    return First(alternatives)


class Absent:
    """What a ranged value is out of its range."""


def at(value: Any, version: int, *, relaxed: bool = False) -> Any:
    """The plain JSON Schema of a literal at one version; ``relaxed`` tolerates unknown keys, as the /v2 tree does."""
    if isinstance(value, Ranged):
        return at(value.value, version, relaxed=relaxed) if value.since <= version <= value.until else Absent
    if isinstance(value, First):
        return next((at(a, version, relaxed=relaxed) for a in value.alternatives if a.since <= version <= a.until), Absent)
    if isinstance(value, dict):
        inner = {key: at(part, version, relaxed=relaxed) for key, part in value.items()}
        if relaxed and inner.get("additionalProperties") is False:
            del inner["additionalProperties"]
        if relaxed and inner.get("format") == "name":
            inner["format"] = "name_with_spaces"
        if inner.get("required") == []:  # draft 4 knows no empty one
            del inner["required"]
        return {key: part for key, part in inner.items() if part is not Absent}
    if isinstance(value, list | tuple):
        return [part for part in (at(p, version, relaxed=relaxed) for p in value) if part is not Absent]
    return value


def boundaries(value: Any) -> set[int]:
    """The versions at which a literal changes."""
    return {version for ranged in _ranged(value) for version in (ranged.since, ranged.until + 1)}


def _ranged(value: Any) -> Iterator[Ranged]:
    if isinstance(value, Ranged):
        yield value
        yield from _ranged(value.value)
    elif isinstance(value, First):
        for alternative in value.alternatives:
            yield from _ranged(alternative)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _ranged(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _ranged(part)


class Compiled(NamedTuple):
    """A validator and the plain schema that it checks."""

    validator: Any
    literal: Literal

    def first_error(self, document: Any) -> Any | None:
        """None when the document is right; else the error nearest to the top, which Nova's validator reports too."""
        if self.validator.is_valid(document):
            return None
        return min(self.validator.iter_errors(document), key=lambda e: (len(e.instance_path), [str(p) for p in e.schema_path]))

    def around(self, error: Any) -> Any:
        """The schema whose keyword the error broke."""
        place: Any = self.literal
        for part in list(error.schema_path)[:-1]:
            place = place[part]
        return place


class Schema:
    """A literal for bodies. ``check(body, version)`` raises ``Invalid``. ``optional``: there may be no body."""

    def __init__(self, literal: Literal, *, optional: bool = False) -> None:
        self.literal, self.optional = literal, optional
        self._steps = sorted(boundaries(literal))
        self._compiled: dict[tuple[int, bool], Compiled] = {}

    def check(self, document: Any, version: int, *, relaxed: bool = False) -> None:
        checked = self._validator(version, relaxed)
        error = checked.first_error(document)
        if error is not None:
            raise Invalid(body_message(checked, error))

    def _validator(self, version: int, relaxed: bool) -> Compiled:
        step = max((s for s in self._steps if s <= version), default=0)
        key = (step, relaxed)
        if key not in self._compiled:
            self._compiled[key] = compiled(at(self.literal, version, relaxed=relaxed))
        return self._compiled[key]


class Query:
    """The keys of a query string, each with the schema of one value.

    ``single`` names keys that may be given once only. Other keys are dropped, until ``strict_since`` refuses them;
    ``private`` keys (``^_``) then still pass. Keys that begin with ``prefix`` are known, whatever follows.
    """

    def __init__(
        self,
        keys: Literal,
        *,
        strict_since: int | None = V.STRICT_EVERYWHERE,
        single: frozenset[str] = frozenset(),
        private: bool = False,
        prefix: str | None = None,
    ) -> None:
        self.keys, self.strict_since, self.single = keys, strict_since, single
        self.private, self.prefix = private, "_" if private else prefix
        self._steps = sorted(boundaries(keys) | ({strict_since} if strict_since else set()))
        self._compiled: dict[tuple[int, bool], Compiled] = {}

    def check(self, query: dict[str, list[str]], version: int, *, relaxed: bool = False) -> dict[str, list[str]]:
        """The known keys of ``query``; raises ``Invalid``."""
        checked = self._validator(version, relaxed)
        error = checked.first_error(query)
        if error is not None:
            raise Invalid(query_message(checked, error))
        known = checked.literal["properties"]
        return {key: values for key, values in query.items() if key in known or (self.prefix and key.startswith(self.prefix))}

    def _validator(self, version: int, relaxed: bool) -> Compiled:
        key = (max((s for s in self._steps if s <= version), default=0), relaxed)
        if key not in self._compiled:
            self._compiled[key] = compiled(self.literal(version, relaxed=relaxed))
        return self._compiled[key]

    def literal(self, version: int, *, relaxed: bool = False) -> Literal:
        values = at(self.keys, version)
        properties = {
            key: {"type": "array", "items": value, **({"maxItems": 1} if key in self.single else {})} for key, value in values.items()
        }
        whole: Literal = {"type": "object", "properties": properties}
        if self.strict_since is not None and version >= self.strict_since and not relaxed:
            whole["additionalProperties"] = False
            if self.private:
                whole["patternProperties"] = {"^_": {}}
        return whole


def _is_base64(text: str) -> bool:
    """White space between the characters is common, and harmless."""
    try:
        b64decode("".join(text.split()).encode("ascii"), validate=True)
    except ValueError:
        return False
    return True


def _is_date_time(text: str) -> bool:
    try:
        moment(text)
    except (ValueError, OverflowError):
        return False
    return True


def moment(text: str) -> datetime:
    """The time that a text of format ``date-time`` means, in UTC; one without a zone is UTC already."""
    given = datetime.fromisoformat(text)
    return given.astimezone(UTC) if given.tzinfo else given.replace(tzinfo=UTC)


def _is_address(kind: type) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            kind(text)
        except ValueError:
            return False
        return True

    return check


def _is_uri(text: str) -> bool:
    try:
        return bool(urlsplit(text).scheme)
    except ValueError:
        return False


FORMATS: dict[str, Callable[[str], bool]] = {
    "uuid": lambda text: UUID.fullmatch(text) is not None,
    "base64": _is_base64,
    "date-time": _is_date_time,
    "ipv4": _is_address(ipaddress.IPv4Address),
    "ipv6": _is_address(ipaddress.IPv6Address),
    "uri": _is_uri,
    "name": lambda text: bool(text.strip()) and text == text.strip() and text.isprintable(),
    "name_with_spaces": lambda text: bool(text.strip()) and text.isprintable(),
    "regex": lambda text: _compiles(text),
}


def _compiles(text: str) -> bool:
    """Whether it is a regular expression without references back, which the database may try in more ways than it ever ends."""
    if REFERS_BACK.search(text):
        return False
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def compiled(literal: Literal) -> Compiled:
    formats = FORMATS | {name: _integer_format(name) for name in _integer_names(literal)}
    return Compiled(jsonschema_rs.Draft4Validator(literal, validate_formats=True, formats=formats), literal)


def integer(minimum: int | None = None, maximum: int = 2**31 - 1) -> Literal:
    """An integer, or a string of digits that means one, as Nova takes both."""
    whole: Literal = {"type": ["integer", "string"], "pattern": "^-?[0-9]+$", "maximum": maximum}
    if minimum is not None:
        whole["minimum"] = minimum
    return whole | {"format": f"integer:{'' if minimum is None else minimum}:{maximum}"}


def _integer_names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        name = value.get("format")
        if isinstance(name, str) and name.startswith("integer:"):
            yield name
        for part in value.values():
            yield from _integer_names(part)
    elif isinstance(value, list):
        for part in value:
            yield from _integer_names(part)


def _integer_format(name: str) -> Callable[[str], bool]:
    _, low, high = name.split(":")

    def check(text: str) -> bool:
        return DIGITS.fullmatch(text) is not None and (not low or int(text) >= int(low)) and int(text) <= int(high)

    return check


def body_message(checked: Compiled, error: Any) -> str:
    path = [str(part) for part in error.instance_path]
    reason = wording(checked, error)
    if not path:
        return reason
    value = "***" if path[-1] in SECRETS else _short(error.instance)
    return f"Invalid input for field/attribute {path[-1]}. Value: {value}. {reason}"


def query_message(checked: Compiled, error: Any) -> str:
    path = [str(part) for part in error.instance_path]
    reason = wording(checked, error)
    return f"Invalid input for query parameters {path[0]}. Value: {_plain(error.instance)}. {reason}" if path else reason


NAME_RULES = {
    "name": "An invalid 'name' value was provided. The name must be: printable characters. Can not start or end with whitespace.",
    "name_with_spaces": (
        "An invalid 'name' value was provided. The name must be: printable characters with at least one non space character."
    ),
}


def wording(checked: Compiled, error: Any) -> str:
    """What was expected, in the words of Python's jsonschema, which Nova's users know."""
    kind, limit, value = error.kind.name, error.kind.value, _short(error.instance)
    if error.instance_path and str(error.instance_path[-1]) in SECRETS:
        value = "***"
    match kind:
        case "required":
            return f"{limit!r} is a required property"
        case "type":
            expected = checked.around(error)["type"]
            return f"{value} is not of type {', '.join(repr(k) for k in ([expected] if isinstance(expected, str) else expected))}"
        case "enum":
            return f"{value} is not one of {limit!r}"
        case "pattern":
            return f"{value} does not match {limit!r}"
        case "format":
            return _wording_of_format(limit, value)
        case "minLength" | "minItems":
            return f"{value} should be non-empty" if limit == 1 and not error.instance else f"{value} is too short"
        case "maxLength" | "maxItems":
            return f"{value} is too long"
        case "minimum":
            return f"{value} is less than the minimum of {limit}"
        case "maximum":
            return f"{value} is greater than the maximum of {limit}"
        case "minProperties":
            return f"{value} does not have enough properties"
        case "maxProperties":
            return f"{value} has too many properties"
        case "uniqueItems":
            return f"{value} has non-unique elements"
        case "anyOf" | "oneOf":
            return f"{value} is not valid under any of the given schemas"
        case "not":
            return f"{value} is not allowed here"
        case "additionalProperties":
            return _wording_of_unexpected(sorted(limit), checked.around(error))
        case _:
            return f"{value} is not valid ({kind})"


def _wording_of_format(name: str, value: str) -> str:
    if name.startswith("integer:"):
        _, low, high = name.split(":")
        return f"{value} is not an integer between {low or 'any'} and {high}"
    return NAME_RULES.get(name, f"{value} is not a {name!r}")


def _wording_of_unexpected(names: list[str], schema: Literal) -> str:
    listed = _cut(", ".join(repr(name) for name in names))
    if "patternProperties" in schema:
        patterns = ", ".join(repr(pattern) for pattern in sorted(schema["patternProperties"]))
        return f"{listed} {'does' if len(names) == 1 else 'do'} not match any of the regexes: {patterns}"
    return f"Additional properties are not allowed ({listed} {'was' if len(names) == 1 else 'were'} unexpected)"


def _short(value: Any) -> str:
    """A value as Nova prints it, cut where it is long, without secrets."""
    return _cut(repr(_masked(value)))


def _plain(value: Any) -> str:
    return _cut(value if isinstance(value, str) else repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= 400 else text[:400] + "..."


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "***" if key in SECRETS else _masked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return value
