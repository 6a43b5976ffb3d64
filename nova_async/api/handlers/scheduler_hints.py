"""Scheduler hints: what a new server's owner wishes about where it runs. Unknown ones are kept for filters of the operator's own."""

import ipaddress
import uuid
from typing import Any

from nova_async.errors import Invalid
from nova_async.scheduler.json_query import parsed

OF_IDS = ("group", "different_host", "same_host")


def checked(hints: dict[str, Any]) -> dict[str, Any]:
    """The hints as they are kept; raises ``Invalid`` saying what to change."""
    if group_of(hints) is not None:
        hints = hints | {"group": group_of(hints)}
    hints = hints | {name: _as_kept(hints[name]) for name in OF_IDS if hints.get(name)}
    if "query" in hints:
        parsed(hints["query"])
    if "cidr" in hints:
        near = hints.get("build_near_host_ip")
        if near is None:
            raise Invalid("Invalid scheduler hint cidr: it needs the hint build_near_host_ip.")
        try:
            ipaddress.ip_network(f"{near}{hints['cidr']}", strict=False)
        except ValueError:
            raise Invalid(f"Invalid scheduler hint cidr: {near}{hints['cidr']} is no network; give a mask such as /24.") from None
    return hints


def _as_kept(ids: str | list[str]) -> str | list[str]:
    """Ids may be written in several ways; filters compare them with those of servers."""
    return [str(uuid.UUID(id)) for id in ids] if isinstance(ids, list) else str(uuid.UUID(ids))


def group_of(hints: dict[str, Any]) -> str | None:
    """The id of the server group to join. Raises ``Invalid`` for several."""
    group = hints.get("group")
    if isinstance(group, list):
        if len(group) != 1:
            raise Invalid("Invalid scheduler hint group: a server joins exactly one group.")
        group = group[0]
    return group
