"""Which servers a list shows: the query's keys, who may use them, and the filters of the statement that they become."""

from datetime import datetime
from typing import Any

from nova_async.api.handlers.instances import UUID
from nova_async.api.request import Request
from nova_async.api.schema import moment
from nova_async.api.schemas import TRUE_WORDS
from nova_async.api.schemas.servers import IGNORED_SORT_KEYS, JOINED
from nova_async.api.versions import V
from nova_async.errors import Forbidden, Invalid
from nova_async.model.states import DELETED, SOFT_DELETED, states_of
from nova_async.policy import servers as policy

# key -> the version since which everybody may filter by it; administrators may use every key.
OPEN: dict[str, int] = {
    **dict.fromkeys(("reservation_id", "name", "status", "image", "flavor", "ip", "changes-since", "all_tenants"), V.BASE),
    "ip6": V.FILTER_IP6,
    **dict.fromkeys(("tags", "tags-any", "not-tags", "not-tags-any"), V.TAGS),
    "changes-before": V.CHANGES_BEFORE,
    "locked": V.LOCKED_REASON,
    **dict.fromkeys(("availability_zone", "config_drive", "key_name", "created_at", "launched_at", "terminated_at"), V.MORE_FILTERS),
    **dict.fromkeys(("power_state", "task_state", "vm_state", "progress", "user_id"), V.MORE_FILTERS),
    "hostname": V.HOSTNAME,
}
PAGING = frozenset({"limit", "marker", "sort_key", "sort_dir"})

# key -> the filter that compares with its text as it is
PLAIN: dict[str, str] = {
    **{key: key for key in ("user_id", "host", "image", "flavor", "hostname", "kernel_id", "ramdisk_id", "key_name", "power_state")},
    **{key: key for key in ("node", "reservation_id", "launched_at", "terminated_at", "availability_zone", "locked_by")},
    **{key: key for key in ("root_device_name", "config_drive", "access_ip_v4", "access_ip_v6", "auto_disk_config", "progress")},
    **{key: key for key in ("created_at", "launch_index", "ip", "ip6", "display_name", "display_description")},
    **{"name": "display_name", "description": "display_description", "image_ref": "image"},
}
LISTS: dict[str, str] = {"tags": "tags", "tags-any": "tags_any", "not-tags": "not_tags", "not-tags-any": "not_tags_any"}


class Nothing(Exception):
    """No server can pass: the list is empty without a look at the database."""


def filters(request: Request, all_projects_policy: str) -> dict[str, Any]:
    """The filters of a list. Raises ``Invalid``, ``Forbidden``, or ``Nothing`` when nothing can pass."""
    asked = {key: values for key, values in request.query.items() if key not in PAGING}
    if not request.may(policy.ALL_FILTERS):
        asked = {key: values for key, values in asked.items() if key in OPEN and request.has(OPEN[key])}
    for key in asked:
        if key in JOINED or key.startswith("_"):
            raise Invalid(f"Invalid filter field: {key}.")
    chosen: dict[str, Any] = {PLAIN[key]: values[-1] for key, values in asked.items() if key in PLAIN}
    chosen |= {LISTS[key]: values[-1].split(",") for key, values in asked.items() if key in LISTS}
    chosen |= _owner(request, asked, all_projects_policy)
    chosen |= _states(request, asked)
    chosen |= _moments(asked)
    if "locked" in asked:
        chosen["locked"] = _truth("locked", asked["locked"][-1])
    if "uuid" in asked:
        chosen["uuids"] = [value for value in asked["uuid"] if UUID.fullmatch(value)]
    chosen |= _deleted(request, asked, chosen)
    return chosen


def sorting(request: Request) -> list[tuple[str, bool]]:
    """(column, descending) in order. Directions go with keys pairwise; the last direction holds for the rest."""
    keys, directions = request.query.get("sort_key", []), request.query.get("sort_dir", [])
    for direction in directions:
        if direction not in ("asc", "desc"):
            raise Invalid("Unknown sort direction, must be 'desc' or 'asc'")
    ignored = frozenset(IGNORED_SORT_KEYS) | (frozenset() if request.has(V.LOCKED_REASON) else {"locked"})
    pairs = [(key, directions[i] if i < len(directions) else directions[-1] if directions else "desc") for i, key in enumerate(keys)]
    for key in keys:
        if key in ("host", "node") and not request.is_admin:
            raise Forbidden(f"Only administrators can sort servers by {key}")
    return [(key, direction == "desc") for key, direction in pairs if key not in ignored]


def _owner(request: Request, asked: dict[str, list[str]], all_projects_policy: str) -> dict[str, Any]:
    """The caller's own project, or with ``all_tenants`` any, or the one that is named."""
    if "all_tenants" not in asked or not _all_tenants(asked["all_tenants"][-1]):
        return {"project_id": request.ctx.project_id}
    request.require(all_projects_policy)
    named = asked.get("project_id") or asked.get("tenant_id")
    return {"project_id": named[-1]} if named else {}


def _all_tenants(text: str) -> bool:
    """A bare ``all_tenants`` means yes."""
    return True if text == "" else _truth("all_tenants", text)


def _states(request: Request, asked: dict[str, list[str]]) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for key, name in (("vm_state", "vm_states"), ("task_state", "task_states")):
        if key in asked:
            chosen[name] = asked[key]
    if "status" not in asked:
        return chosen
    vm_states, task_states = states_of(asked["status"])
    if not vm_states:
        if request.has(V.STATUS_FILTER_CHECKED):
            raise Invalid("Invalid status value")
        raise Nothing
    if vm_states == {DELETED} and not request.is_admin:
        raise Forbidden("Only administrators may list deleted instances")
    chosen["vm_states"] = sorted(vm_states)
    if None not in task_states:
        chosen["task_states"] = sorted(t for t in task_states if t)
    return chosen


def _deleted(request: Request, asked: dict[str, list[str]], chosen: dict[str, Any]) -> dict[str, Any]:
    """Live ones, unless changes are asked for, or an administrator asks for the deleted ones."""
    if chosen.get("vm_states") == [DELETED]:
        return {"deleted": True}
    if "deleted" in asked:
        return {"deleted": True} if asked["deleted"][-1].lower() in TRUE_WORDS else {"live": True}
    if "soft_deleted" in asked and asked["soft_deleted"][-1].lower() in TRUE_WORDS:
        return {"live": True, "vm_states": [SOFT_DELETED]}
    return {} if {"changes_since", "changes_before"} & chosen.keys() else {"live": True}


def _moments(asked: dict[str, list[str]]) -> dict[str, str]:
    chosen: dict[str, datetime] = {}
    for key in ("changes-since", "changes-before"):
        if key in asked:
            chosen[key.replace("-", "_")] = moment(asked[key][-1])
    if len(chosen) == 2 and chosen["changes_since"] > chosen["changes_before"]:
        raise Invalid("The value of changes-since must be less than or equal to changes-before.")
    return {key: time.isoformat() for key, time in chosen.items()}


FALSE_WORDS = frozenset({"false", "0", "off", "no", "n", "f"})


def _truth(key: str, text: str) -> bool:
    word = text.strip().lower()
    if word not in TRUE_WORDS | FALSE_WORDS:
        raise Invalid(f"Invalid value for query parameter {key}: {text[:255]}. It must be a boolean.")
    return word in TRUE_WORDS
