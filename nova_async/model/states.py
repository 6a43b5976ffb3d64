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

# action (as os-instance-actions names it) -> vm_states in which it may begin. A live workflow refuses all but delete.
LEGAL: Final[dict[str, frozenset[str]]] = {
    "start": frozenset({STOPPED}),
    "stop": frozenset({ACTIVE, ERROR, RESCUED}),
    "pause": frozenset({ACTIVE, RESCUED}),
    "unpause": frozenset({PAUSED}),
    "suspend": frozenset({ACTIVE}),
    "resume": frozenset({SUSPENDED}),
    "reboot soft": frozenset({ACTIVE}),
    "reboot hard": frozenset({ACTIVE, STOPPED, PAUSED, SUSPENDED, ERROR, RESCUED}),
}

# (vm_state, task_state) -> status that the API shows; a missing task falls back to the state's own word.
STATUS: Final[dict[str, dict[str | None, str]]] = {
    ACTIVE: {None: "ACTIVE", REBOOTING: "REBOOT", REBOOTING_HARD: "HARD_REBOOT", "reboot_pending": "REBOOT", "reboot_started": "REBOOT"},
    BUILDING: {None: "BUILD"},
    STOPPED: {None: "SHUTOFF", REBOOTING_HARD: "HARD_REBOOT"},
    PAUSED: {None: "PAUSED", REBOOTING_HARD: "HARD_REBOOT"},
    SUSPENDED: {None: "SUSPENDED", REBOOTING_HARD: "HARD_REBOOT"},
    RESCUED: {None: "RESCUE"},
    RESIZED: {None: "VERIFY_RESIZE"},
    ERROR: {None: "ERROR", REBOOTING_HARD: "HARD_REBOOT"},
    DELETED: {None: "DELETED"},
    SOFT_DELETED: {None: "SOFT_DELETED"},
    SHELVED: {None: "SHELVED"},
    SHELVED_OFFLOADED: {None: "SHELVED_OFFLOADED"},
}


def status(vm_state: str, task_state: str | None) -> str:
    """The ``status`` of a server view."""
    words = STATUS.get(vm_state, {None: "UNKNOWN"})
    return words.get(task_state, words[None])


def vm_states_of(word: str) -> list[str]:
    """The vm_states that show as this status when nothing is being done; empty when there is no such status."""
    return [state for state, words in STATUS.items() if words[None] == word.upper()]
