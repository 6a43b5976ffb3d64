"""Names that policies had before Nova split them: an operator's older file may still use them.

An override under an old name holds for every new one that has none of its own. As in Nova, an old name with its old default says nothing.
"""

from typing import Final, NamedTuple

OWNER: Final = "rule:admin_or_owner"
ADMIN: Final = "rule:admin_api"
IS_ADMIN: Final = "rule:context_is_admin"
PREFIX: Final = "os_compute_api:"


class Renamed(NamedTuple):
    """``now``: what became of ``old``; both without ``os_compute_api:``."""

    old: str
    default: str
    now: tuple[str, ...]


RENAMED = (
    Renamed("os-attach-interfaces", OWNER, tuple(f"os-attach-interfaces:{x}" for x in ("list", "show", "create", "delete"))),
    Renamed("os-baremetal-nodes", ADMIN, ("os-baremetal-nodes:list", "os-baremetal-nodes:show")),
    Renamed("os-deferred-delete", OWNER, ("os-deferred-delete:restore", "os-deferred-delete:force")),
    Renamed("os-flavor-extra-specs:index", OWNER, ("servers:show:flavor-extra-specs",)),
    Renamed("os-floating-ips", OWNER, tuple(f"os-floating-ips:{x}" for x in ("add", "remove", "list", "create", "show", "delete"))),
    Renamed("os-hosts", ADMIN, tuple(f"os-hosts:{x}" for x in ("list", "show", "update", "reboot", "shutdown", "start"))),
    Renamed(
        "os-hypervisors",
        ADMIN,
        tuple(f"os-hypervisors:{x}" for x in ("list", "list-detail", "statistics", "show", "uptime", "search", "servers")),
    ),
    Renamed("os-instance-actions", OWNER, ("os-instance-actions:list", "os-instance-actions:show")),
    Renamed("os-instance-usage-audit-log", ADMIN, ("os-instance-usage-audit-log:list", "os-instance-usage-audit-log:show")),
    Renamed("os-migrate-server:migrate_live", IS_ADMIN, ("os-migrate-server:migrate_live:host",)),
    Renamed("os-migrations:index", IS_ADMIN, ("os-migrations:index:all_projects", "os-migrations:index:host")),
    Renamed("os-multinic", OWNER, ("os-multinic:add", "os-multinic:remove")),
    Renamed("os-networks:view", OWNER, ("os-networks:list", "os-networks:show")),
    Renamed("os-rescue", OWNER, ("os-unrescue",)),
    Renamed(
        "os-security-groups",
        OWNER,
        tuple(
            f"os-security-groups:{x}"
            for x in ("get", "show", "create", "update", "delete", "rule:create", "rule:delete", "list", "add", "remove")
        ),
    ),
    Renamed("os-server-password", OWNER, ("os-server-password:show", "os-server-password:clear")),
    Renamed("os-services", ADMIN, ("os-services:list", "os-services:update", "os-services:delete")),
    Renamed("os-tenant-networks", OWNER, ("os-tenant-networks:list", "os-tenant-networks:show")),
    Renamed("os-used-limits", ADMIN, ("limits:other_project",)),
    Renamed(
        "os-volumes",
        OWNER,
        tuple(
            f"os-volumes:{x}"
            for x in (
                *("list", "create", "detail", "show", "delete"),
                *("snapshots:list", "snapshots:create", "snapshots:detail", "snapshots:show", "snapshots:delete"),
            )
        ),
    ),
    Renamed("servers:migrations:index", IS_ADMIN, ("servers:migrations:index:host",)),
)


def under_new_names(overrides: dict[str, str], known: frozenset[str]) -> dict[str, str]:
    """What an operator's rules under old names say of new ones; ``known`` are the names that there are."""
    found: dict[str, str] = {}
    for renamed in RENAMED:
        text = overrides.get(PREFIX + renamed.old)
        if text is None or text == renamed.default:
            continue
        for name in (PREFIX + now for now in renamed.now):
            if name in known and name not in overrides and text != f"rule:{name}":
                found[name] = text
    return found


OLD_NAMES = frozenset(PREFIX + renamed.old for renamed in RENAMED)
