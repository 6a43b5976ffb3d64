"""Access rules: for which requests a token of an application credential may be used, beside what its roles allow."""

import re
from collections.abc import Iterable

import msgspec

# Where each service is, and its types in a catalog: a rule may name any of them.
SERVICES: dict[str, tuple[str, ...]] = {
    "compute": ("compute",),
    "identity": ("identity",),
    "image": ("image",),
    "network": ("network",),
    "placement": ("placement",),
    "volume": ("block-storage", "volumev3"),
}
PIECE = re.compile(r"\{[^{}]*\}|\*\*|\*|[^{}*]")


class AccessRule(msgspec.Struct, frozen=True, kw_only=True):
    id: str = ""
    service: str  # a type, as in a catalog
    method: str
    path: str


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for.

    ``path`` is the whole one, each segment decoded (a slash within one stays ``%2F``). ``service_token`` is that of the service
    which asks on behalf of the caller, if one does.
    """

    method: str
    path: str
    service_token: str = ""


ALWAYS = AccessRule(service="identity", method="GET", path="/v3/auth/tokens")  # every token may be shown to those who may check it


def allows(rules: Iterable[AccessRule], visit: Visit) -> bool:
    """Whether one of the rules is for this request. Their paths start with the service's own (``/compute``), or after it."""
    mount = visit.path.removeprefix("/").partition("/")[0]
    services = SERVICES.get(mount, ())
    paths = (visit.path, visit.path.removeprefix(f"/{mount}"))
    meant = [r for r in (*rules, ALWAYS) if r.service in services and r.method == visit.method]
    return any(matches(r.path, path) for r in meant for path in paths)


def is_well_formed(pattern: str) -> bool:
    """Whether the braces of the pattern are closed, and do not hold others."""
    return "".join(PIECE.findall(pattern)) == pattern


def matches(pattern: str, path: str) -> bool:
    """``*`` and ``{name}`` stand for one or more characters within a segment, ``**`` for any.

    All places in the path that the pattern may have come to are followed at once. They are a number with a bit for each
    place, so that no pattern takes long, however it is made.
    """
    if not is_well_formed(pattern):
        return False
    everywhere = (2 << len(path)) - 1
    inside = _places(path, "/") ^ ((1 << len(path)) - 1)
    here = 1
    for piece in PIECE.findall(pattern):
        if piece == "**":
            here = everywhere & -(here & -here)  # the first, and all after it
        elif piece == "*" or piece.startswith("{"):
            here = _to_the_end_of_the_segment(here & inside, inside) << 1
        else:
            here = (here & _places(path, piece)) << 1
    return bool(here >> len(path) & 1)


def _places(path: str, character: str) -> int:
    """Where the character stands."""
    return int("".join("1" if c == character else "0" for c in reversed(path)) or "0", 2)


def _to_the_end_of_the_segment(starts: int, inside: int) -> int:
    """The starts, and all places after them in their segments: a carry runs through what is ``inside``, and ends at a slash."""
    return ((starts + inside) ^ inside | starts) & inside
