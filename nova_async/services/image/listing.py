"""The query of ``GET /v2/images``: filters, sort keys, page."""

from datetime import UTC, datetime, timedelta

import msgspec
from multidict import MultiMapping

from nova_async.db.images import SORT_KEYS, Filters
from nova_async.errors import Invalid
from nova_async.services.image import rules

DEFAULT_LIMIT = 25
MAX_LIMIT = 1000
DIRECTIONS = ("asc", "desc")
SECOND = timedelta(seconds=1)
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}

# Lists of one or more: the query's name and the filter's. "in:a,b" asks for any of several.
LISTS = {"id": "ids", "name": "names", "status": "statuses", "disk_format": "disk_formats", "container_format": "container_formats"}
TEXTS = ("owner", "checksum", "os_hash_value")
NUMBERS = {"size_min": 2**63 - 1, "size_max": 2**63 - 1, "min_disk": rules.INT32, "min_ram": rules.INT32}
FLAGS = ("protected", "os_hidden")
TIMES = {"created_at": "created", "updated_at": "updated"}
PAGING = ("limit", "marker", "sort", "sort_key", "sort_dir", "member_status", "visibility", "tag")


class Listing(msgspec.Struct, kw_only=True):
    filters: Filters
    member_status: str
    sort: list[tuple[str, str]]
    marker: str | None
    limit: int


def parse(query: MultiMapping[str], max_limit: int) -> Listing:
    """Raises ``Invalid`` naming the parameter."""
    if any("\0" in part for pair in query.items() for part in pair):
        raise Invalid("A query parameter holds NUL.")
    return Listing(
        filters=_filters(query),
        member_status=_choice(query, "member_status", ("accepted", "pending", "rejected", "all")) or "accepted",
        sort=_sort(query),
        marker=query.get("marker"),
        limit=min(_number(query, "limit", rules.INT32) if "limit" in query else DEFAULT_LIMIT, max_limit),
    )


def _filters(query: MultiMapping[str]) -> Filters:
    filters = Filters(os_hidden=False, tags=query.getall("tag", None) or None)
    filters.visibility = _choice(query, "visibility", (*rules.VISIBILITIES, "all"))
    for name, field in LISTS.items():
        if name in query:
            setattr(filters, field, _any_of(query[name]))
    for name in TEXTS:
        setattr(filters, name, query.get(name))
    for name, limit in NUMBERS.items():
        setattr(filters, name, _number(query, name, limit) if name in query else None)
    for name in FLAGS:
        if name in query:
            setattr(filters, name, _flag(name, query[name]))
    for name, field in TIMES.items():
        for text in query.getall(name, []):
            _bound(filters, field, name, text)
    others = {name: value for name, value in query.items() if name not in _KNOWN}
    filters.properties = others or None
    return filters


_KNOWN = frozenset({*LISTS, *TEXTS, *NUMBERS, *FLAGS, *TIMES, *PAGING})


def _choice(query: MultiMapping[str], name: str, choices: tuple[str, ...]) -> str | None:
    value = query.get(name)
    if value is not None and value not in choices:
        raise Invalid(f"Invalid value for {name}: expected one of {', '.join(choices)}.")
    return value


def _any_of(text: str) -> list[str]:
    """``in:a,b`` or ``in:"a,b",c``, or one value."""
    if not text.startswith("in:"):
        return [text]
    values, quoted = [""], False
    for char in text.removeprefix("in:"):
        if char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            values.append("")
        else:
            values[-1] += char
    return values


def _number(query: MultiMapping[str], name: str, limit: int) -> int:
    text = query[name]
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > limit:
        raise Invalid(f"Invalid value for {name}: a whole number is expected.")
    return int(text)


def _flag(name: str, text: str) -> bool:
    if text.lower() not in BOOLEANS:
        raise Invalid(f"Invalid value for {name}: true or false is expected.")
    return BOOLEANS[text.lower()]


def _bound(filters: Filters, field: str, name: str, text: str) -> None:
    """``gt:2026-01-01T00:00:00Z``; records are compared as they are shown, to the second."""
    operator, _, rest = text.partition(":") if text[:1].isalpha() else ("eq", "", text)
    try:
        moment = datetime.fromisoformat(rest).replace(microsecond=0)
    except ValueError:
        raise Invalid(f"Invalid value for {name}: a time such as gte:2026-01-01T00:00:00Z is expected.") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if operator not in ("eq", "gt", "gte", "lt", "lte"):
        raise Invalid(f"Invalid operator for {name}: expected one of eq, gt, gte, lt, lte.")
    if operator in ("eq", "gt", "gte"):
        setattr(filters, f"{field}_from", moment + SECOND if operator == "gt" else moment)
    if operator in ("eq", "lt", "lte"):
        setattr(filters, f"{field}_until", moment if operator == "lt" else moment + SECOND)


def _sort(query: MultiMapping[str]) -> list[tuple[str, str]]:
    if "sort" in query:
        if "sort_key" in query or "sort_dir" in query:
            raise Invalid("Old and new sorting syntax cannot be combined.")
        pairs = [(key, direction or "desc") for key, _, direction in (p.strip().partition(":") for p in query["sort"].split(","))]
    else:
        pairs = _old_sort(query.getall("sort_key", ["created_at"]), query.getall("sort_dir", ["desc"]))
    if any(key not in SORT_KEYS or direction not in DIRECTIONS for key, direction in pairs) or len(pairs) > len(SORT_KEYS):
        raise Invalid(f"Invalid sort key or direction: expected {', '.join(SORT_KEYS)}, each with asc or desc.")
    known = [key for key, _ in pairs]
    return pairs + ([] if "created_at" in known else [("created_at", pairs[-1][1])])


def _old_sort(keys: list[str], directions: list[str]) -> list[tuple[str, str]]:
    if len(directions) not in (1, len(keys)):
        raise Invalid("There must be one sort_dir, or as many as there are sort_key.")
    return list(zip(keys, directions if len(directions) == len(keys) else directions * len(keys), strict=True))
