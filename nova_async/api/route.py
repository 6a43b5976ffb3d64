"""A row of the route table, and the tree that finds it."""

import re
from collections.abc import Awaitable, Callable, Container
from typing import Any, Literal
from urllib.parse import unquote

import msgspec

from nova_async.api.render import View
from nova_async.api.schema import Query, Schema
from nova_async.api.versions import LATEST, V
from nova_async.errors import Error, Gone, Invalid, NotFound

Handler = Callable[..., Awaitable[Any]]
PROJECT = re.compile(r"[0-9a-f-]+")
BEYOND: dict[int, type[Error]] = {400: Invalid, 404: NotFound, 410: Gone}
NO_KEYS = Query({})
# What needs no policy, by the first part of the path and the method (None: all). All other rows have one, or the service does not start.
UNGUARDED: dict[str, str | None] = {
    "versions": "GET",  # everybody's
    "flavors": "GET",  # everybody's that has access to them, as in Nova
    "images": None,  # the image service's own rules decide
}


class Route(msgspec.Struct, frozen=True):
    """One thing that can be asked: where, of whom, in which versions, with what body, and what comes back.

    ``handler(request)`` returns what ``view`` renders; a row without a view answers without a body.
    ``target`` says whose the thing is when ``policy`` is decided: the ``caller``'s own; the ``server``'s in the path, which is
    loaded first (``request.server``) and answers 404 to other projects; or ``later``: the handler decides.
    """

    method: str
    path: str
    handler: Handler | None
    summary: str = ""
    action: str | None = None  # the key of the body that names it
    since: int = V.BASE
    until: int = LATEST
    beyond: int = 404  # status outside of the versions
    success: int | dict[int, int] = 200  # a table maps the version from which it holds to the status
    also: tuple[int, ...] = ()  # statuses that the rest of the row does not tell: see ``statuses``
    policy: str | None = None
    useless: bool = False  # nobody can do this any more, whoever asks
    target: Literal["caller", "server", "later"] = "caller"
    body: Schema | None = None
    query: Query = NO_KEYS
    view: View | None = None

    def status(self, version: int) -> int:
        if isinstance(self.success, int):
            return self.success
        return self.success[max(v for v in self.success if v <= version)]

    def statuses(self, version: int) -> frozenset[int]:
        """All that may be answered: success, the refusals that the row implies, and ``also``."""
        refusals = {400, 401, 403, 406, 503}  # path, query and version; token; policy, access rules; version; a part that does not answer
        refusals |= {404} if "{" in self.path else set()
        refusals |= {413, 415} if self.method in ("POST", "PUT") else set()
        refusals |= {409} if self.target == "server" and self.method != "GET" else set()  # its state, or a lock
        return frozenset({self.status(version), *refusals, *self.also})

    def serves(self, version: int) -> bool:
        return self.since <= version <= self.until


def removed(method: str, path: str, action: str | None = None) -> Route:
    """An interface that is gone for good: 410 in every version."""
    return Route(method, path, None, "Removed.", action=action, since=LATEST, until=0, beyond=410)


class Node:
    """The rows of one path, by method, and the nodes below."""

    def __init__(self) -> None:
        self.below: dict[str, Node] = {}
        self.any: Node | None = None
        self.name = ""
        self.rows: dict[str, list[Route]] = {}


class Found(msgspec.Struct):
    """What a path and method lead to: rows that differ in version range or action."""

    rows: list[Route]
    values: dict[str, str]
    project_id: str | None = None


def check_policies(routes: tuple[Route, ...], known: Container[str]) -> None:
    """Raises ``ValueError`` for a row that asks no policy, or one that there is not. Rows that answer nobody have none."""
    for route in routes:
        method = UNGUARDED.get(route.path.split("/")[1], "")
        if route.policy is not None and route.policy not in known:
            raise ValueError(f"{route.method} {route.path}: there is no policy {route.policy}")
        if route.policy is None and route.handler is not None and not route.useless and method not in (None, route.method):
            raise ValueError(f"{route.method} {route.path} ({route.action}): it has no policy")


class Tree:
    """Finds rows by the segments of a path; literals beat parameters."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.root = Node()
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self.root
        for segment in route.path.strip("/").split("/") if route.path != "/" else []:
            if segment.startswith("{"):
                node.any = node.any or Node()
                node = node.any
            else:
                node = node.below.setdefault(segment, Node())
        node.rows.setdefault(route.method, []).append(route)

    def find(self, method: str, path: str) -> Found | None:
        """``path`` is what follows the version segment, still percent-encoded. With a slash at its end it is another path, as with Nova."""
        segments = [unquote(s) for s in path.removeprefix("/").split("/")]
        if PROJECT.fullmatch(segments[0]):
            found = self._match(method, segments[1:])
            if found is not None:
                found.project_id = segments[0]
                return found
        return self._match(method, segments)

    def _match(self, method: str, segments: list[str]) -> Found | None:
        values: list[str] = []
        rows = _walk(self.root, method, segments, 0, values)
        if rows is None:
            return None
        names = [s[1:-1] for s in rows[0].path.split("/") if s.startswith("{")]
        return Found(rows, dict(zip(names, values, strict=True)))


def _walk(node: Node, method: str, segments: list[str], depth: int, values: list[str]) -> list[Route] | None:
    if depth == len(segments):
        return node.rows.get(method)
    literal = node.below.get(segments[depth])
    if literal is not None:
        rows = _walk(literal, method, segments, depth + 1, values)
        if rows is not None:
            return rows
    if node.any is None or not segments[depth]:
        return None
    values.append(segments[depth])
    rows = _walk(node.any, method, segments, depth + 1, values)
    if rows is None:
        values.pop()
    return rows


def choose(rows: list[Route], version: int, body: Any) -> Route:
    """The row that serves the version and the action in the body.

    Raises ``Invalid`` for a body that names no action or an unknown one, ``NotFound`` or ``Gone`` outside of the versions.
    """
    if rows[0].action is not None:
        if not isinstance(body, dict) or len(body) != 1:
            raise Invalid("Malformed request body")
        name = next(iter(body))
        rows = [row for row in rows if row.action == name]
        if not rows:
            raise Invalid(f"There is no such action: {name[:255]}")
    for row in rows:
        if row.serves(version):
            return row
    raise BEYOND[rows[0].beyond]()
