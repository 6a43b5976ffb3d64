"""What an action and its events look like. Users see less of the events than operators do."""

from datetime import datetime
from typing import Any, NamedTuple

from nova_async.api.render import LINKS, Field, Fields, Omitted, Page, View, microseconds
from nova_async.api.request import Request
from nova_async.api.versions import V
from nova_async.api.views.servers import host_id
from nova_async.db.instance_actions import Action, Owner
from nova_async.policy import instance_actions as policy


class Shown(NamedTuple):
    """An action, and the owner of the server that it was done to."""

    action: Action
    owner: Owner


TEXT, NULLABLE = {"type": "string"}, {"type": ["string", "null"]}


def _user(row: Action, request: Request) -> Any:
    return row.context.get("user_id") or None


def _project(row: Action, request: Request) -> Any:
    return row.context.get("project_id") or None


def _start(row: Action, request: Request) -> str | None:
    return microseconds(row.created_at)


def _change(row: Action, request: Request) -> str | None:
    return microseconds(row.updated_at)


def _message(row: Action, request: Request) -> str | None:
    return "Error" if row.failed else None


def _time(event: dict[str, Any], key: str) -> str | None:
    text = event.get(key)
    return microseconds(datetime.fromisoformat(text)) if text else None


def _events(shown: Shown, request: Request) -> Any:
    project = shown.owner.project_id
    everything = request.may(policy.EVENTS, project_id=project)
    if not everything and not request.has(V.VOLUME_EXTENDED):
        return Omitted
    details = request.has(V.EVENT_DETAILS) and request.may(policy.EVENT_DETAILS, project_id=project)
    return [_event(event, request, project, everything, details) for event in reversed(shown.action.history)]


def _event(event: dict[str, Any], request: Request, project: str, everything: bool, details: bool) -> dict[str, Any]:
    host = event.get("host")
    shown = {
        "event": event.get("event"),
        "start_time": _time(event, "start_time"),
        "finish_time": _time(event, "finish_time"),
        "result": event.get("result"),
    }
    if everything:
        shown["traceback"] = event.get("traceback")
    if request.has(V.EVENT_HOST):
        shown["hostId"] = host_id(project, host) if host else ""
        if everything:
            shown["host"] = host or ""
    if details:
        shown["details"] = event.get("message")
    return shown


LISTED = (
    Field("action", "kind", type=TEXT),
    Field("instance_uuid", "subject_id", type=TEXT),
    Field("request_id", "request_id", type=TEXT),
    Field("user_id", _user, type=NULLABLE),
    Field("project_id", _project, type=NULLABLE),
    Field("start_time", _start, type=TEXT),
    Field("updated_at", _change, since=V.PAGED_ACTIONS, type=TEXT),
    Field("message", _message, type=NULLABLE),
)


class Listed(View):
    """A page, whose links have a name of their own."""

    fields = Fields(LISTED)

    def render(self, result: Page, request: Request) -> Any:
        shown: dict[str, Any] = {"instanceActions": self.fields.render_all(result.rows, request)}
        if result.next is not None:
            shown["links"] = [{"rel": "next", "href": request.next_page(result.next)}]
        return shown

    def schema(self, version: int) -> dict[str, Any]:
        links = {"links": LINKS} if version >= V.PAGED_ACTIONS else {}
        actions = {"type": "array", "items": self.fields.schema(version)}
        return {"type": "object", "properties": {"instanceActions": actions, **links}, "required": ["instanceActions"]}


class Detailed(View):
    """An action with its events, where the caller may see them."""

    fields = Fields(LISTED)
    events = Fields((Field("events", _events, optional=True, type={"type": "array"}),))

    def render(self, result: Shown, request: Request) -> Any:
        return {"instanceAction": self.fields.render(result.action, request) | self.events.render(result, request)}

    def schema(self, version: int) -> dict[str, Any]:
        inner = self.fields.schema(version)
        inner["properties"]["events"] = {"type": "array"}
        return {"type": "object", "properties": {"instanceAction": inner}, "required": ["instanceAction"]}


LIST = Listed()
SHOW = Detailed()
