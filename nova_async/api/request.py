"""A request as a handler sees it: who asks, in which version, for what, and the parts that it needs to answer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from nova_async.context import Context
from nova_async.errors import Invalid
from nova_async.model.instances import Instance

if TYPE_CHECKING:
    from nova_async.api.parts import Parts
    from nova_async.db import Connection

MARKER_MISSING = "marker [{}] not found"


class Request:
    """Handlers know only the newest version; where behaviour differs they ask ``request.has(V.NAME)``."""

    __slots__ = (  # noqa: RUF023 - in the order of their making
        "parts", "ctx", "version", "path", "values", "project_id", "body", "query", "legacy", "root", "headers", "asked_headers",
        "status", "server", "_decided",
    )  # fmt: skip

    def __init__(self, parts: "Parts", ctx: Context, version: int, path: str, values: dict[str, str], project_id: str | None) -> None:
        self.parts, self.ctx, self.version, self.path, self.values, self.project_id = parts, ctx, version, path, values, project_id
        self.body: Any = None
        self.query: dict[str, list[str]] = {}
        self.legacy = False  # the /v2 tree
        self.root = ""  # where the service lives: http://host:port/compute
        self.asked_headers: Mapping[str, str] = {}
        self.headers: dict[str, str] = {}  # for the answer
        self.status: int | None = None  # for the answer, where it is not the table's
        self.server: Instance | None = None  # loaded where the route's target is the server
        self._decided: dict[tuple[str, str | None, str | None], bool] = {}

    def has(self, version: int) -> bool:
        """Whether the caller speaks this microversion or a newer one."""
        return self.version >= version

    @property
    def is_admin(self) -> bool:
        return self.parts.policy.may(self.ctx, "context_is_admin")

    def may(self, policy: str, *, project_id: str | None = None, user_id: str | None = None) -> bool:
        """Whether the caller may do it to something of this owner (None: the caller's own)."""
        key = (policy, project_id, user_id)
        if key not in self._decided:  # a list asks the same of each of its items
            self._decided[key] = self.parts.policy.may(self.ctx, policy, project_id=project_id, user_id=user_id)
        return self._decided[key]

    def require(self, policy: str, *, project_id: str | None = None, user_id: str | None = None) -> None:
        """Raises ``Forbidden``."""
        self.parts.policy.require(self.ctx, policy, project_id=project_id, user_id=user_id)

    def first(self, key: str) -> str | None:
        """The first value of a query key."""
        values = self.query.get(key)
        return values[0] if values else None

    async def tell(self, conn: "Connection", row: Any, *events: str) -> None:
        """Notifications of a change to something that is no server, told when the caller's transaction commits."""
        await self.parts.outbox.tell(conn, events, row)

    # Links

    def here(self, rest: str) -> str:
        """The full address of something of this API, with the version and project as the caller wrote them."""
        project = f"/{self.project_id}" if self.project_id else ""
        return f"{self.root}/{'v2' if self.legacy else 'v2.1'}{project}/{rest}"

    def bookmark(self, rest: str) -> str:
        """The address without the version."""
        return f"{self.root}/{self.project_id}/{rest}" if self.project_id else f"{self.root}/{rest}"

    def links(self, collection: str, item: str) -> list[dict[str, str]]:
        rest = f"{collection}/{item}"
        return [{"rel": "self", "href": self.here(rest)}, {"rel": "bookmark", "href": self.bookmark(rest)}]

    def next_page(self, marker: str) -> str:
        """This list from after ``marker``: the query string is kept, its keys sorted."""
        kept = sorted([(key, value) for key, values in self.query.items() if key != "marker" for value in values] + [("marker", marker)])
        return f"{self.here(self.path)}?{urlencode(kept)}"

    def limit(self) -> int:
        """How many items at most: the caller's wish, capped by the service."""
        most = self.parts.config.api.max_limit
        text = self.first("limit")
        if text is None or text == "":
            return most
        if len(text) > 18 or not text.isdecimal():
            raise Invalid(f"Invalid input for query parameters limit. Value: {text[:40]}. It must be a non-negative integer.")
        return min(int(text), most)
