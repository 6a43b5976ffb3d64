"""Views: what a thing looks like from outside, as a table of fields with the versions in which each is shown."""

from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from nova_async.api.schema import Absent, at
from nova_async.api.shapes import LINKS, Shape, Versioned, array, closed
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
    type: Versioned = {}  # JSON Schema of the value, for the OpenAPI document; parts of it may be ``since`` or ``until`` a version


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
        # A column at a time: what kind of field it is need not be asked for each of a thousand rows.
        columns = [_column(field.how, rows, request) for field in plan]
        names = [f.name for f in plan]
        items = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)] if plan else [{} for _ in rows]
        for name in [f.name for f in plan if f.optional]:
            for item in items:
                if item[name] is Omitted:
                    del item[name]
        return items

    def schema(self, version: int) -> Shape:
        """Closed; a field that not everybody sees, or not of every item, may be missing."""
        shown = self.at(version)
        return closed({f.name: at(f.type, version) for f in shown}, {f.name for f in shown if f.optional or f.allowed is not None})


def _column(how: How, rows: Sequence[Any], request: "Request") -> list[Any]:
    """One field's value of each row."""
    return list(map(attrgetter(how), rows)) if isinstance(how, str) else [how(row, request) for row in rows]


class Page(NamedTuple):
    """A part of a list, and the marker of the next part when there may be one."""

    rows: Sequence[Any]
    next: str | None = None


class View:
    """How a handler's result becomes the body of the answer."""

    may_be_empty = False  # whether there are answers without a body

    def render(self, result: Any, request: "Request") -> Any:
        raise NotImplementedError

    def schema(self, version: int) -> Shape | None:
        """The JSON Schema of the body at one version; None where the answer has no body."""
        raise NotImplementedError


class One(View):
    """``{envelope: {fields}}`` of one row; without an envelope, the fields themselves."""

    def __init__(self, envelope: str | None, fields: Fields) -> None:
        self.envelope, self.fields = envelope, fields

    def render(self, result: Any, request: "Request") -> Any:
        inner = self.fields.render(result, request)
        return inner if self.envelope is None else {self.envelope: inner}

    def schema(self, version: int) -> Shape:
        inner = self.fields.schema(version)
        return inner if self.envelope is None else closed({self.envelope: inner})


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

    def schema(self, version: int) -> Shape:
        paged = self.links_since is not None and version >= self.links_since
        links = f"{self.envelope}_links"
        return closed({self.envelope: array(self.fields.schema(version))} | ({links: LINKS} if paged else {}), (links,))


class Plain(View):
    """A body that a function makes; ``shape`` is its JSON Schema, parts of which may be ``since`` or ``until`` a version."""

    def __init__(self, make: Callable[[Any, "Request"], Any], shape: Versioned) -> None:
        self.make, self.shape = make, shape

    def render(self, result: Any, request: "Request") -> Any:
        return self.make(result, request)

    def schema(self, version: int) -> Shape:
        shape: Shape = at(self.shape, version)
        return shape


class AsItIs(View):
    """A body that the handler has made; ``shape`` as in ``Plain``. None, an empty answer, where ``may_be_empty`` or out of its versions."""

    def __init__(self, shape: Versioned, *, may_be_empty: bool = False) -> None:
        self.shape, self.may_be_empty = shape, may_be_empty

    def render(self, result: Any, request: "Request") -> Any:
        return result

    def schema(self, version: int) -> Shape | None:
        shape = at(self.shape, version)
        return None if shape is Absent else shape


def seconds(moment: datetime | None) -> str | None:
    """``2026-01-31T12:00:00Z``, as created and updated are shown."""
    return None if moment is None else f"{msgspec.to_builtins(moment)[:19]}Z"  # in a tenth of the time of isoformat


def microseconds(moment: datetime | None) -> str | None:
    """``2026-01-31T12:00:00.000000``, as launched_at and the times of services are shown."""
    if moment is None:
        return None
    text: str = msgspec.to_builtins(moment)  # without a fraction where there is none
    return text[:26] if moment.microsecond else f"{text[:19]}.000000"
