"""Lists: filters, order and pages over what a project has, in the ways that Cinder's clients ask."""

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from nova_async.errors import Invalid, NotFound

T = TypeVar("T")
TIMES = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le, "eq": operator.eq, "neq": operator.ne}
ASKED = frozenset({"limit", "marker", "offset", "sort", "sort_key", "sort_dir", "all_tenants", "with_count", "consume_quota"})


class Page(NamedTuple):
    """``more``: the page is full; the next one may be empty."""

    items: list[Any]
    total: int
    more: bool


def paged(
    items: Sequence[T], query: Mapping[str, str], filters: Mapping[str, Callable[[T], Any]], most: int, id_of: Callable[[T], str]
) -> Page:
    """``items`` are newest first. ``filters``: what may be asked of an item, and sorted by; ``name~=x`` asks for a part of a text.

    Unknown filters are left aside, as Cinder does.
    Raises ``Invalid``, and ``NotFound`` for a marker that is not there.
    """
    asked = [(filters[name], value) for name, value in query.items() if name in filters]
    parts = [(filters[name[:-1]], value) for name, value in query.items() if name.endswith("~") and name[:-1] in filters]
    kept = [item for item in items if all(_passes(of(item), value) for of, value in asked)]
    kept = [item for item in kept if all(value in str(of(item) or "") for of, value in parts)]
    for key, descending in reversed(_order(query)):
        if key not in filters:
            raise Invalid(f"Sort key supplied is invalid: {key[:50]}")
        kept.sort(key=lambda item, of=filters[key]: (of(item) is None, _sortable(of(item))), reverse=descending)  # type: ignore[misc]
    total = len(kept)
    if marker := query.get("marker"):
        place = next((n for n, item in enumerate(kept) if id_of(item) == marker), None)
        if place is None:
            raise NotFound(f"marker [{marker[:100]}] not found")
        kept = kept[place + 1 :]
    kept = kept[_number(query, "offset", 0) :]
    limit = min(_number(query, "limit", most), most)
    return Page(kept[:limit], total, len(kept) >= limit > 0)


def _order(query: Mapping[str, str]) -> list[tuple[str, bool]]:
    """Keys, and whether they descend; none for newest first."""
    if sort := query.get("sort"):
        pairs = [part.partition(":") for part in sort.split(",") if part]
    elif key := query.get("sort_key"):
        pairs = [(key, ":", query.get("sort_dir", "desc"))]
    else:
        return []
    for _, _, direction in pairs:
        if direction not in ("", "asc", "desc"):
            raise Invalid("Unknown sort direction, must be 'desc' or 'asc'.")
    return [(key, direction != "asc") for key, _, direction in pairs]


def _passes(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return str(value).lower() == wanted.lower()
    if isinstance(value, dict):
        return all(pair in value.items() for pair in _pairs(wanted))
    if isinstance(value, datetime):
        return all(TIMES[how](value, moment) for how, moment in _moments(wanted))
    return str(value) == wanted


def _moments(text: str) -> list[tuple[str, datetime]]:
    """``gt:2026-01-01T00:00:00,lt:...``, or one time alone. Raises ``Invalid``."""
    found = []
    for part in text.split(","):
        how, _, time = part.partition(":")
        how, time = (how, time) if how in TIMES else ("eq", part)
        try:
            moment = datetime.fromisoformat(time)
        except ValueError:
            raise Invalid(f"Invalid input for a time. Value: {part[:40]}. Expected such as gt:2026-01-01T00:00:00.") from None
        found.append((how, moment if moment.tzinfo else moment.replace(tzinfo=UTC)))
    return found


def _pairs(text: str) -> list[tuple[str, str]]:
    """A dictionary in Python's or JSON's writing, as clients send it."""
    inner = text.strip().removeprefix("{").removesuffix("}")
    pairs = [part.partition(":") for part in inner.split(",") if part.strip()]
    return [(key.strip(" '\"u"), value.strip(" '\"u")) for key, _, value in pairs]


def _sortable(value: Any) -> Any:
    return value if isinstance(value, int | float) else str(value)


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None or text == "":
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Invalid(f"Invalid input for field/attribute {name}. Value: {text[:40]}. It must be a non-negative integer.")
    return int(text)
