"""What the conductor may be told: by workers (topic ``hosts``, target ``conductor``) and by the API (topic ``workflows``)."""

from typing import Any

import msgspec

from nova_async.bus.messages import Message, message


@message
class HostReport(Message, frozen=True, kw_only=True):
    """Published on ``hosts`` at start, every ``report_seconds``, and when something changed.

    Inventory maps a resource class to total, reserved and allocation ratio. ``facts`` are what
    filters look at: cpu_info, hypervisor type and version, supported instances, metrics.
    """

    host: str
    host_id: str  # UUID kept in the worker's state directory
    started_at: str  # ISO 8601; a new one tells of a restart
    sequence: int  # grows by one; the inventory is sent in full each time it changed
    inventory: dict[str, tuple[int, int, float]] = msgspec.field(default_factory=dict)
    traits: tuple[str, ...] = ()
    facts: dict[str, Any] = msgspec.field(default_factory=dict)
    availability_zone: str = "nova"
    address: str = ""
    version: str = ""


@message
class HostStopping(Message, frozen=True, kw_only=True):
    """Published on ``hosts``: the worker stops on purpose; its guests live on."""

    host: str


@message
class PowerChanged(Message, frozen=True, kw_only=True):
    """Cast to ``conductor``: a guest changed state by itself or by the hypervisor's operator."""

    host: str
    instance_id: str
    generation: int
    power_state: int


@message
class WorkflowReady(Message, frozen=True, kw_only=True):
    """Published on ``workflows``: a workflow was made or signalled; wake up and look for it."""

    workflow_id: str
