"""States of a server, and which action is legal in which. Nova's words; the API reference is the source.

``vm_state`` is what the server is; ``task_state`` is what is being done with it, derived from the running workflow step.
"""

from typing import Final

ACTIVE: Final = "active"
BUILDING: Final = "building"
PAUSED: Final = "paused"
SUSPENDED: Final = "suspended"
STOPPED: Final = "stopped"
RESCUED: Final = "rescued"
RESIZED: Final = "resized"
SOFT_DELETED: Final = "soft-delete"
DELETED: Final = "deleted"
ERROR: Final = "error"
SHELVED: Final = "shelved"
SHELVED_OFFLOADED: Final = "shelved_offloaded"

SCHEDULING: Final = "scheduling"
NETWORKING: Final = "networking"
BLOCK_DEVICE_MAPPING: Final = "block_device_mapping"
SPAWNING: Final = "spawning"
DELETING: Final = "deleting"
POWERING_OFF: Final = "powering-off"
POWERING_ON: Final = "powering-on"
REBOOTING: Final = "rebooting"
REBOOTING_HARD: Final = "rebooting_hard"
PAUSING: Final = "pausing"
UNPAUSING: Final = "unpausing"
SUSPENDING: Final = "suspending"
RESUMING: Final = "resuming"
IMAGE_SNAPSHOT_PENDING: Final = "image_snapshot_pending"
IMAGE_UPLOADING: Final = "image_uploading"
IMAGE_BACKUP: Final = "image_backup"
UPDATING_PASSWORD: Final = "updating_password"
REBUILDING: Final = "rebuilding"
REBUILD_SPAWNING: Final = "rebuild_spawning"
RESCUING: Final = "rescuing"
UNRESCUING: Final = "unrescuing"
SHELVING: Final = "shelving"
SHELVING_IMAGE_UPLOADING: Final = "shelving_image_uploading"
SHELVING_OFFLOADING: Final = "shelving_offloading"
UNSHELVING: Final = "unshelving"
RESIZE_PREP: Final = "resize_prep"
RESIZE_MIGRATING: Final = "resize_migrating"
RESIZE_MIGRATED: Final = "resize_migrated"
RESIZE_FINISH: Final = "resize_finish"
RESIZE_REVERTING: Final = "resize_reverting"
RESIZE_CONFIRMING: Final = "resize_confirming"
MIGRATING: Final = "migrating"
SOFT_DELETING: Final = "soft-deleting"
RESTORING: Final = "restoring"

# action (as os-instance-actions names it) -> vm_states in which it may begin. A live workflow refuses all but delete.
LEGAL: Final[dict[str, frozenset[str]]] = {
    "start": frozenset({STOPPED}),
    "stop": frozenset({ACTIVE, ERROR}),
    "pause": frozenset({ACTIVE}),
    "unpause": frozenset({PAUSED}),
    "suspend": frozenset({ACTIVE}),
    "resume": frozenset({SUSPENDED}),
    "reboot soft": frozenset({ACTIVE}),
    "reboot hard": frozenset({ACTIVE, STOPPED, PAUSED, SUSPENDED, ERROR}),
    "rescue": frozenset({ACTIVE, STOPPED, ERROR}),
    "unrescue": frozenset({RESCUED}),
    "resize": frozenset({ACTIVE, STOPPED}),
    "migrate": frozenset({ACTIVE, STOPPED}),
    "confirmResize": frozenset({RESIZED}),
    "revertResize": frozenset({RESIZED}),
    "rebuild": frozenset({ACTIVE, STOPPED, ERROR}),
    "evacuate": frozenset({ACTIVE, STOPPED, ERROR}),  # in every task_state
    "live-migration": frozenset({ACTIVE, PAUSED}),
    "shelve": frozenset({ACTIVE, STOPPED, PAUSED, SUSPENDED}),
    "shelveOffload": frozenset({SHELVED}),
    "unshelve": frozenset({SHELVED, SHELVED_OFFLOADED}),
    "createImage": frozenset({ACTIVE, STOPPED, PAUSED, SUSPENDED}),
    "createBackup": frozenset({ACTIVE, STOPPED, PAUSED, SUSPENDED}),
    "changePassword": frozenset({ACTIVE}),
    "restore": frozenset({SOFT_DELETED}),
    "trigger_crash_dump": frozenset({ACTIVE, PAUSED, RESCUED, RESIZED, ERROR}),
    "attach_interface": frozenset({ACTIVE, PAUSED, STOPPED}),
    "detach_interface": frozenset({ACTIVE, PAUSED, STOPPED}),
    "swap_volume": frozenset({ACTIVE, PAUSED, RESIZED}),
    "detach_volume": frozenset({ACTIVE, PAUSED, STOPPED, RESIZED, SOFT_DELETED, SHELVED, SHELVED_OFFLOADED}),
    **dict.fromkeys(
        ("create_volume_snapshot", "delete_volume_snapshot"),
        frozenset({ACTIVE, PAUSED, SUSPENDED, STOPPED, RESCUED, RESIZED, SOFT_DELETED, ERROR, SHELVED, SHELVED_OFFLOADED, BUILDING}),
    ),
    "attach_volume": frozenset({ACTIVE, PAUSED, STOPPED, RESIZED, SOFT_DELETED, SHELVED, SHELVED_OFFLOADED}),
}

# What a hard reboot cuts short: the task_state that shows it, and the operation.
REBOOT_OVER: Final[dict[str, str]] = {
    REBOOTING: "reboot",
    REBOOTING_HARD: "reboot",
    PAUSING: "pause",
    UNPAUSING: "unpause",
    SUSPENDING: "suspend",
    RESUMING: "resume",
}

_RESIZE: Final[dict[str | None, str]] = dict.fromkeys(("resize_prep", "resize_migrating", "resize_migrated", "resize_finish"), "RESIZE")
_REBUILD: Final[dict[str | None, str]] = dict.fromkeys(("rebuilding", "rebuild_block_device_mapping", "rebuild_spawning"), "REBUILD")
_REBOOT: Final[dict[str | None, str]] = dict.fromkeys((REBOOTING, "reboot_pending", "reboot_started"), "REBOOT")
_REBOOT_HARD: Final[dict[str | None, str]] = dict.fromkeys((REBOOTING_HARD, "reboot_pending_hard", "reboot_started_hard"), "HARD_REBOOT")

# (vm_state, task_state) -> status that the API shows; any other task falls back to the state's own word.
STATUS: Final[dict[str, dict[str | None, str]]] = {
    ACTIVE: {
        None: "ACTIVE",
        **_REBOOT,
        **_REBOOT_HARD,
        **_REBUILD,
        **_RESIZE,
        "updating_password": "PASSWORD",
        "migrating": "MIGRATING",
    },
    BUILDING: {None: "BUILD"},
    STOPPED: {None: "SHUTOFF", **_RESIZE, **_REBUILD},
    RESIZED: {None: "VERIFY_RESIZE", "resize_reverting": "REVERT_RESIZE"},
    PAUSED: {None: "PAUSED", "migrating": "MIGRATING"},
    SUSPENDED: {None: "SUSPENDED"},
    RESCUED: {None: "RESCUE"},
    ERROR: {None: "ERROR", **_REBUILD},
    DELETED: {None: "DELETED"},
    SOFT_DELETED: {None: "SOFT_DELETED"},
    SHELVED: {None: "SHELVED"},
    SHELVED_OFFLOADED: {None: "SHELVED_OFFLOADED"},
}
UNKNOWN: Final[dict[str | None, str]] = {None: "UNKNOWN"}


def status(vm_state: str, task_state: str | None) -> str:
    """The ``status`` of a server view."""
    words = STATUS.get(vm_state, UNKNOWN)
    return words.get(task_state, words[None])


def states_of(words: list[str]) -> tuple[set[str], set[str | None]]:
    """The vm_states and task_states that show as one of these statuses; both empty when there is no such status.

    None among the task_states stands for every task that has no word of its own.
    """
    wanted = {word.upper() for word in words}
    vm_states: set[str] = set()
    task_states: set[str | None] = set()
    for vm_state, shown in STATUS.items():
        tasks = {task for task, word in shown.items() if word in wanted}
        if tasks:
            vm_states.add(vm_state)
            task_states |= tasks
    return vm_states, task_states
