"""What the control plane knows of a host: its rows, and whether it lives."""

from datetime import datetime
from typing import Any, Protocol

import msgspec


class HostRow(msgspec.Struct, kw_only=True):
    """A host as its rows tell it. ``inventory``: resource class -> [total, reserved, allocation ratio, used]."""

    id: str
    name: str
    number: int
    service_id: str
    address: str = ""
    availability_zone: str
    disabled: bool = False
    disabled_reason: str | None = None
    forced_down: bool = False
    facts: dict[str, Any]
    traits: list[str]
    failed_builds: int = 0
    created_at: datetime
    updated_at: datetime
    inventory: dict[str, list[float]]
    instances: int = 0
    operations: int = 0
    aggregates: list[int] = []
    cell: str = ""
    fits: list[dict[str, Any]] = []  # what its guests were given of its cells and devices (model.topology.Fit)


class Liveness(Protocol):
    """Kept in memory from the reports on the bus; heartbeats are no database writes."""

    def is_heard(self, host: str) -> bool:
        """Whether the host's worker reported within ``compute.down_seconds`` by this process's own clock, whatever an operator says."""
        ...

    def last_seen(self, host: str) -> datetime | None:
        """When the last report came; None when none was heard since this process started."""
        ...
