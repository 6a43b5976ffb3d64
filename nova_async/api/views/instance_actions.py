"""What an action and its events look like. Users see less of the events than operators do."""

from datetime import datetime
from typing import Any, NamedTuple

from nova_async.api.render import Field, Fields, Omitted, Page, View, microseconds
from nova_async.api.request import Request
from nova_async.api.schema import at, since
from nova_async.api.shapes import LINKS, MAYBE_TEXT, MICROSECONDS, TEXT, UUID, Shape, array, closed, nullable
from nova_async.api.versions import V
from nova_async.api.views.servers import host_id
from nova_async.db.instance_actions import Action, Owner
from nova_async.policy import instance_actions as policy


class Shown(NamedTuple):
    """An action, and the owner of the server that it was done to."""

    action: Action
    owner: Owner


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


# Nova's names for what the compute service does in an action (nova/compute/manager.py): clients wait for their success.
WHOLE = {
    "create": "_do_build_and_run_instance",
    "delete": "terminate_instance",
    "softDelete": "soft_delete_instance",
    "restore": "restore_instance",
    "start": "start_instance",
    "stop": "stop_instance",
    "reboot": "reboot_instance",
    "pause": "pause_instance",
    "unpause": "unpause_instance",
    "suspend": "suspend_instance",
    "resume": "resume_instance",
    "rebuild": "rebuild_instance",
    "evacuate": "rebuild_instance",
    "rescue": "rescue_instance",
    "unrescue": "unrescue_instance",
    "resize": "finish_resize",
    "migrate": "finish_resize",
    "confirmResize": "confirm_resize",
    "revertResize": "finish_revert_resize",
    "live-migration": "live_migration",
    "shelve": "shelve_instance",
    "shelveOffload": "shelve_offload_instance",
    "unshelve": "unshelve_instance",
    "createImage": "snapshot_instance",
    "createBackup": "backup_instance",
    "changePassword": "set_admin_password",
    "trigger_crash_dump": "trigger_crash_dump",
    "attach_interface": "attach_interface",
    "detach_interface": "detach_interface",
    "attach_volume": "attach_volume",
    "detach_volume": "detach_volume",
    "swap_volume": "swap_volume",
    "extend_volume": "extend_volume",
}
RESULTS = {"done": "Success", "failed": "Error", "cancelled": "Error"}


def _whole(row: Action) -> list[dict[str, Any]]:
    """The action as the one event that Nova has of it, with the host that had the last word."""
    if row.kind not in WHOLE:
        return []
    host = next((event["host"] for event in reversed(row.history) if event.get("host")), None)
    whole = {"event": f"compute_{WHOLE[row.kind]}", "start_time": row.created_at.isoformat(), "host": host}
    if row.state in RESULTS:
        whole |= {"finish_time": row.updated_at.isoformat(), "result": RESULTS[row.state]}
    wrong = [event for event in row.history if event["result"] == "Error"]
    if row.state == "failed" and wrong:
        whole |= {"message": wrong[-1].get("message"), "traceback": wrong[-1].get("traceback")}
    return [whole]


def _events(shown: Shown, request: Request) -> Any:
    project = shown.owner.project_id
    everything = request.may(policy.EVENTS, project_id=project)
    if not everything and not request.has(V.VOLUME_EXTENDED):
        return Omitted
    details = request.has(V.EVENT_DETAILS) and request.may(policy.EVENT_DETAILS, project_id=project)
    events = [*_whole(shown.action), *reversed(shown.action.history)]
    return [_event(event, request, project, everything, details) for event in events]


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


ACTIONS = {"softDelete": "delete"}  # workflows that are not called as their action is

LISTED = (
    Field("action", lambda row, _: ACTIONS.get(row.kind, row.kind), type=TEXT),
    Field("instance_uuid", "subject_id", type=UUID),
    Field("request_id", "request_id", type=TEXT),
    Field("user_id", _user, type=MAYBE_TEXT),
    Field("project_id", _project, type=MAYBE_TEXT),
    Field("start_time", _start, type=MICROSECONDS),
    Field("updated_at", _change, since=V.PAGED_ACTIONS, type=MICROSECONDS),
    Field("message", _message, type=MAYBE_TEXT),
)


EVENT = closed(
    {
        "event": TEXT,
        "start_time": nullable(MICROSECONDS),
        "finish_time": nullable(MICROSECONDS),
        "result": MAYBE_TEXT,
        "traceback": MAYBE_TEXT,
        "hostId": since(V.EVENT_HOST, TEXT),
        "host": since(V.EVENT_HOST, TEXT),
        "details": since(V.EVENT_DETAILS, MAYBE_TEXT),
    },
    ("traceback", "hostId", "host", "details"),
)


class Listed(View):
    """A page, whose links have a name of their own."""

    fields = Fields(LISTED)

    def render(self, result: Page, request: Request) -> Any:
        shown: dict[str, Any] = {"instanceActions": self.fields.render_all(result.rows, request)}
        if result.next is not None:
            shown["links"] = [{"rel": "next", "href": request.next_page(result.next)}]
        return shown

    def schema(self, version: int) -> Shape:
        links = {"links": LINKS} if version >= V.PAGED_ACTIONS else {}
        return closed({"instanceActions": array(self.fields.schema(version)), **links}, ("links",))


class Detailed(View):
    """An action with its events, where the caller may see them."""

    fields = Fields(LISTED)
    events = Fields((Field("events", _events, optional=True, type=array(EVENT)),))

    def render(self, result: Shown, request: Request) -> Any:
        return {"instanceAction": self.fields.render(result.action, request) | self.events.render(result, request)}

    def schema(self, version: int) -> Shape:
        fields = {f.name: at(f.type, version) for f in (*self.fields.at(version), *self.events.at(version))}
        return closed({"instanceAction": closed(fields, ("events",))})


LIST = Listed()
SHOW = Detailed()
