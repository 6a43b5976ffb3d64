"""Every event type that is told: which of Nova's services it comes from, and what makes its payload."""

from collections.abc import Callable
from typing import Any

import msgspec

from nova_async.notifications import payloads as p

API, COMPUTE, CONDUCTOR, SCHEDULER = "nova-api", "nova-compute", "nova-conductor", "nova-scheduler"
PHASES, PHASES_OR_ERROR, TOLD_ONCE = (".start", ".end"), (".start", ".end", ".error"), ("",)


Payload = Callable[[dict[str, Any]], dict[str, Any]]


class Event(msgspec.Struct, frozen=True):
    service: str
    payload: Payload


_SERVERS: dict[Payload, dict[tuple[str, ...], tuple[str, ...]]] = {  # of one server, told by its host
    p.instance_action: {
        PHASES: (
            "delete", "shutdown", "interface_detach", "live_migration_abort", "live_migration_force_complete",
            "live_migration_post", "live_migration_post_dest", "live_migration_pre", "live_migration_rollback",
            "live_migration_rollback_dest", "pause", "power_off", "power_on", "resize_confirm", "resize_finish", "resize_revert",
            "restore", "resume", "shelve", "shelve_offload", "soft_delete", "suspend", "trigger_crash_dump", "unpause",
            "unrescue", "unshelve",
        ),
        PHASES_OR_ERROR: ("interface_attach", "reboot", "resize"),
    },
    p.instance_create: {PHASES_OR_ERROR: ("create",)},
    p.instance_rebuild: {PHASES_OR_ERROR: ("rebuild",)},
    p.instance_resize_prep: {PHASES: ("resize_prep",)},
    p.instance_rescue: {PHASES: ("rescue",)},
    p.instance_snapshot: {PHASES: ("snapshot",)},
    p.instance_volume: {PHASES_OR_ERROR: ("volume_attach",), PHASES: ("volume_detach",)},
    p.instance_volume_swap: {PHASES_OR_ERROR: ("volume_swap",)},
    p.instance_update: {TOLD_ONCE: ("update",)},
    p.instance_exists: {TOLD_ONCE: ("exists",)},
}  # fmt: skip
_OTHERS = {
    (API, p.instance_action): ("instance.lock", "instance.unlock", "instance.evacuate"),
    (CONDUCTOR, p.instance_rebuild): ("instance.rebuild_scheduled",),
    (CONDUCTOR, p.compute_task): (
        "compute_task.build_instances.error", "compute_task.migrate_server.error", "compute_task.rebuild_server.error",
    ),
    (SCHEDULER, p.request_spec): ("scheduler.select_destinations.start", "scheduler.select_destinations.end"),
    (API, p.exception): ("compute.exception",),
    (API, p.flavor): ("flavor.create", "flavor.update", "flavor.delete"),
    (API, p.keypair): tuple(f"keypair.{verb}{phase}" for verb in ("create", "import", "delete") for phase in PHASES),
    (API, p.aggregate): tuple(
        f"aggregate.{verb}{phase}"
        for verb in ("create", "delete", "add_host", "remove_host", "update_metadata", "update_prop", "cache_images")
        for phase in PHASES
    ),
    (API, p.server_group): ("server_group.create", "server_group.delete", "server_group.add_member"),
    (COMPUTE, p.service): ("service.create", "service.update", "service.delete"),
}  # fmt: skip

EVENTS: dict[str, Event] = {
    f"instance.{verb}{phase}": Event(COMPUTE, payload)
    for payload, verbs in _SERVERS.items()
    for phases, names in verbs.items()
    for verb in names
    for phase in phases
} | {name: Event(service, payload) for (service, payload), names in _OTHERS.items() for name in names}


def priority(event_type: str) -> str:
    return "ERROR" if event_type.endswith(".error") or event_type == "compute.exception" else "INFO"
