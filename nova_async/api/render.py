"""Views: what a thing looks like from outside, as a table of fields with the versions in which each is shown."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from nova_async.api.versions import LATEST, V

if TYPE_CHECKING:
    from nova_async.api.request import Request

How = str | Callable[[Any, "Request"], Any]
Allowed = Callable[["Request"], bool]


class Omitted:
    """What a field's function returns to leave the field out of this one item."""


class Field(NamedTuple):
    """``how`` is the name of the row's attribute, or a function of row and request. ``allowed`` is asked once per request."""

    name: str
    how: How
    since: int = V.BASE
    until: int = LATEST
    allowed: Allowed | None = None
    optional: bool = False  # ``how`` may return Omitted
    type: dict[str, Any] = {}  # JSON Schema of the value, for the OpenAPI document


class Fields:
    """The fields of one kind of item; ``render`` makes a plain dict of a row."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = tuple(fields)
        self._plans: dict[int, tuple[Field, ...]] = {}

    def at(self, version: int) -> tuple[Field, ...]:
        if version not in self._plans:
            self._plans[version] = tuple(f for f in self.fields if f.since <= version <= f.until)
        return self._plans[version]

    def render(self, row: Any, request: "Request") -> dict[str, Any]:
        return self.render_all([row], request)[0]

    def render_all(self, rows: Sequence[Any], request: "Request") -> list[dict[str, Any]]:
        plan = [f for f in self.at(request.version) if f.allowed is None or f.allowed(request)]
        plain = [(f.name, f.how) for f in plan]
        optional = [f.name for f in plan if f.optional]
        items = [{name: getattr(row, how) if isinstance(how, str) else how(row, request) for name, how in plain} for row in rows]
        for name in optional:
            for item in items:
                if item[name] is Omitted:
                    del item[name]
        return items

    def schema(self, version: int) -> dict[str, Any]:
        return {"type": "object", "properties": {f.name: f.type for f in self.at(version)}}


class Page(NamedTuple):
    """A part of a list, and the marker of the next part when there may be one."""

    rows: Sequence[Any]
    next: str | None = None


class View:
    """How a handler's result becomes the body of the answer."""

    def render(self, result: Any, request: "Request") -> Any:
        raise NotImplementedError

    def schema(self, version: int) -> dict[str, Any]:
        raise NotImplementedError


class One(View):
    """``{envelope: {fields}}`` of one row; without an envelope, the fields themselves."""

    def __init__(self, envelope: str | None, fields: Fields) -> None:
        self.envelope, self.fields = envelope, fields

    def render(self, result: Any, request: "Request") -> Any:
        inner = self.fields.render(result, request)
        return inner if self.envelope is None else {self.envelope: inner}

    def schema(self, version: int) -> dict[str, Any]:
        inner = self.fields.schema(version)
        return inner if self.envelope is None else {"type": "object", "properties": {self.envelope: inner}, "required": [self.envelope]}


class Many(View):
    """``{envelope: [{fields}], envelope_links: [...]}`` of a list or a ``Page`` of rows; links since ``links_since``."""

    def __init__(self, envelope: str, fields: Fields, links_since: int | None = None) -> None:
        self.envelope, self.fields, self.links_since = envelope, fields, links_since

    def render(self, result: Any, request: "Request") -> Any:
        page = result if isinstance(result, Page) else Page(result)
        body: dict[str, Any] = {self.envelope: self.fields.render_all(page.rows, request)}
        if page.next is not None and self.links_since is not None and request.version >= self.links_since:
            body[f"{self.envelope}_links"] = [{"rel": "next", "href": request.next_page(page.next)}]
        return body

    def schema(self, version: int) -> dict[str, Any]:
        properties: dict[str, Any] = {self.envelope: {"type": "array", "items": self.fields.schema(version)}}
        if self.links_since is not None and version >= self.links_since:
            properties[f"{self.envelope}_links"] = LINKS
        return {"type": "object", "properties": properties, "required": [self.envelope]}


class Plain(View):
    """A body that a function makes; ``shape`` is its JSON Schema."""

    def __init__(self, make: Callable[[Any, "Request"], Any], shape: dict[str, Any] | None = None) -> None:
        self.make, self.shape = make, shape or {"type": "object"}

    def render(self, result: Any, request: "Request") -> Any:
        return self.make(result, request)

    def schema(self, version: int) -> dict[str, Any]:
        return self.shape


LINKS = {
    "type": "array",
    "items": {"type": "object", "properties": {"rel": {"type": "string"}, "href": {"type": "string", "format": "uri"}}},
}


def seconds(moment: datetime | None) -> str | None:
    """``2026-01-31T12:00:00Z``, as created and updated are shown."""
    return None if moment is None else f"{moment.replace(microsecond=0, tzinfo=None).isoformat()}Z"


def microseconds(moment: datetime | None) -> str | None:
    """``2026-01-31T12:00:00.000000``, as launched_at and the times of services are shown."""
    return None if moment is None else moment.replace(tzinfo=None).isoformat(timespec="microseconds")
