"""What the network API's collections have in common: isolation, filters, pages, tags."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from nova_async.context import Context
from nova_async.db import Connection, changes
from nova_async.db import networks as rows
from nova_async.errors import Forbidden, Invalid, NotFound
from nova_async.services.network.checks import is_uuid
from nova_async.services.network.ground import Ground

PAGING = ("limit", "marker", "page_reverse", "sort_key", "sort_dir", "fields")
TAG_TESTS: dict[str, Callable[[set[str], set[str]], bool]] = {
    "tags": lambda wanted, has: wanted <= has,
    "tags-any": lambda wanted, has: bool(wanted & has),
    "not-tags": lambda wanted, has: not wanted <= has,
    "not-tags-any": lambda wanted, has: not wanted & has,
}


class Row(Protocol):
    id: str
    project_id: str


R = TypeVar("R", bound=Row)
Query = Mapping[str, list[str]]


class Collection(Generic[R]):
    """One kind of thing. Subclasses say how its rows are found, shown and changed."""

    name: ClassVar[str]
    plural: ClassVar[str]
    label: ClassVar[str]  # as messages call it
    tagged_as: ClassVar[str | None] = None
    indexed: ClassVar[tuple[str, ...]] = ()  # attributes that the statement itself filters by, beside id and name
    has_name: ClassVar[bool] = True

    def __init__(self, service: Ground) -> None:
        self.service = service

    async def find(self, conn: Connection, page: rows.Page, indexed: Query) -> list[R]:
        raise NotImplementedError

    def view(self, row: R, ctx: Context) -> dict[str, Any]:
        raise NotImplementedError

    async def create(self, ctx: Context, body: dict[str, Any]) -> R:
        raise NotImplementedError

    async def update(self, ctx: Context, row: R, body: dict[str, Any]) -> R:
        raise NotImplementedError

    async def delete(self, ctx: Context, row: R) -> None:
        raise NotImplementedError

    async def get(self, ctx: Context, thing_id: str, conn: Connection | None = None) -> R:
        """Raises ``NotFound``, also for what the caller may not see."""
        page = rows.Page(project_id=scope(ctx), ids=[thing_id.lower()])
        found: list[R] = []
        if is_uuid(thing_id):
            if conn is not None:
                found = await self.find(conn, page, {})
            else:
                async with self.service.db.connection() as own:
                    found = await self.find(own, page, {})
        if not found:
            raise NotFound(f"{self.label} {thing_id} could not be found.")
        return found[0]

    async def has(self, ctx: Context, thing_id: str) -> bool:
        """Whether the caller may see it."""
        try:
            await self.get(ctx, thing_id)
        except NotFound:
            return False
        return True

    async def get_own(self, ctx: Context, thing_id: str) -> R:
        """As ``get``, for changing it: raises ``Forbidden`` for what is only shared with the caller."""
        row = await self.get(ctx, thing_id)
        require_owner(ctx, row)
        return row

    async def listing(self, ctx: Context, query: Query) -> "Listing":
        """A page of views. Raises ``Invalid`` for a filter, sort key or limit that makes no sense."""
        filters = {name.replace("tenant_id", "project_id"): values for name, values in query.items() if name not in PAGING}
        limit, after = _limit(query), _marker(query)
        ids, names = filters.pop("id", None), filters.pop("name", None) if self.has_name else None
        indexed = {name: filters.pop(name) for name in self.indexed if name in filters}
        simple = not filters and not query.get("sort_key") and not query.get("page_reverse")
        page = rows.Page(
            project_id=scope(ctx),
            ids=uuids(ids),
            names=names,
            after=after if simple else None,
            limit=limit + 1 if simple and limit is not None else None,
        )
        async with self.service.db.connection() as conn:
            views = [self.view(row, ctx) for row in await self.find(conn, page, indexed)]
        views = [view for view in views if _passes(view, filters)]
        if not simple:
            views = _after(_ordered(views, query), after)
        more = limit is not None and len(views) > limit
        return Listing([with_fields(view, query.get("fields", [])) for view in views[:limit]], more)

    async def tag(self, ctx: Context, row: R, change: Callable[[set[str]], Iterable[str]]) -> list[str]:
        """The thing's new tags: what ``change`` makes of those that it has. Raises ``Invalid`` for more than 50 or an over-long one."""
        if self.tagged_as is None:
            raise NotFound()
        async with self.service.db.transaction() as conn:
            await changes.alone(conn, "tags", row.id)
            wanted = sorted(set(change(set(self.view(await self.get(ctx, row.id, conn), ctx)["tags"]))))
            if len(wanted) > 50 or any(not 0 < len(tag) <= 255 or "," in tag for tag in wanted):
                raise Invalid("A thing has at most 50 tags, each of 1 to 255 characters and without a comma.")
            await rows.tag(conn, self.tagged_as, row.id, wanted)
        return wanted


class Listing:
    def __init__(self, views: list[dict[str, Any]], more: bool) -> None:
        self.views, self.more = views, more


def uuids(values: list[str] | None) -> list[str] | None:
    """The well-formed ones; None stays None."""
    return None if values is None else [value.lower() for value in values if is_uuid(value)]


def scope(ctx: Context) -> str | None:
    """The project whose things the caller sees; None for an administrator, who sees all."""
    return None if ctx.is_admin else ctx.project_id


def require_project(ctx: Context, project_id: str) -> None:
    """Raises ``Forbidden`` for another's project, but not for an administrator."""
    if scope(ctx) not in (None, project_id):
        raise Forbidden("rule:admin_or_owner is disallowed by policy")


def require_owner(ctx: Context, row: Row) -> None:
    require_project(ctx, row.project_id)


def project_of(ctx: Context, values: dict[str, Any]) -> str:
    """The owner of a new thing; only an administrator may make things for others."""
    project_id: str = values.pop("project_id", None) or ctx.project_id
    if project_id != ctx.project_id and not ctx.is_admin:
        raise Forbidden("Specifying 'project_id' other than the authenticated project in request requires admin privileges")
    return project_id


def admin_only(ctx: Context, values: dict[str, Any], names: Iterable[str]) -> None:
    """Refuse attributes that only an administrator may set to something that matters."""
    wrong = sorted(name for name in names if values.get(name))
    if wrong and not ctx.is_admin:
        raise Forbidden(f"(rule:admin_only) and ({', '.join(wrong)}) is disallowed by policy")


def _limit(query: Query) -> int | None:
    if not query.get("limit"):
        return None
    text = query["limit"][-1]
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Invalid("Invalid input for limit: it must be a number of 0 or more.")
    return int(text) or None


def _marker(query: Query) -> str | None:
    if not query.get("marker"):
        return None
    marker = query["marker"][-1]
    if not is_uuid(marker):
        raise Invalid("Invalid input for marker: it must be the id of the last thing on the page before.")
    return marker.lower()


def _passes(view: dict[str, Any], filters: Query) -> bool:
    return all(_matches(view, name, values) for name, values in filters.items())


def _matches(view: dict[str, Any], name: str, wanted: list[str]) -> bool:
    if name in TAG_TESTS:
        return TAG_TESTS[name]({tag for text in wanted for tag in text.split(",")}, set(view.get("tags", ())))
    if name == "fixed_ips":
        return all(_has_address(view.get(name, []), text) for text in wanted)
    if name not in view:
        raise Invalid(f"['{name}'] is invalid attribute for filtering")
    value = view[name]
    if isinstance(value, list):
        return any(item in wanted for item in value if isinstance(item, str))
    if isinstance(value, bool) or value is None:
        return str(value).lower() in {text.lower().replace("1", "true") if text == "1" else text.lower() for text in wanted}
    return str(value) in wanted


def _has_address(fixed_ips: list[dict[str, str]], text: str) -> bool:
    """``ip_address=10.0.0.7``, ``subnet_id=...`` or ``ip_address_substr=10.0``."""
    key, _, wanted = text.partition("=")
    if key == "ip_address_substr":
        return any(wanted in ip["ip_address"] for ip in fixed_ips)
    return any(ip.get(key) == wanted for ip in fixed_ips)


def _ordered(views: list[dict[str, Any]], query: Query) -> list[dict[str, Any]]:
    keys = query.get("sort_key") or ["id"]
    directions = query.get("sort_dir") or []
    wrong = sorted(set(directions) - {"asc", "desc"})
    if wrong:
        raise Invalid(f"'{wrong[0][:50]}' is invalid for sort_dir: it must be asc or desc.")
    for position, key in reversed(list(enumerate(keys))):
        if any(key not in view for view in views):
            raise Invalid(f"{key} is invalid attribute for sort_key")
        descending = directions[position : position + 1] == ["desc"]
        views = sorted(views, key=lambda view, key=key: _sortable(view[key]), reverse=descending)  # type: ignore[misc]
    return views[::-1] if query.get("page_reverse", [""])[-1].lower() == "true" else views


def _sortable(value: Any) -> tuple[bool, float, str]:
    """Numbers by their size, before texts."""
    number = isinstance(value, int | float)
    return not number, value if number else 0, "" if number else str(value)


def _after(views: list[dict[str, Any]], marker: str | None) -> list[dict[str, Any]]:
    """Those that follow the marker in this order; all of them when it is not among them."""
    place = next((n for n, view in enumerate(views) if view["id"] == marker), -1)
    return views[place + 1 :]


def with_fields(view: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    """Of a view what ``fields`` names (each may be several, with commas), or all of it."""
    wanted = {name for text in fields for name in text.split(",")}
    return {name: value for name, value in view.items() if not wanted or name in wanted}
