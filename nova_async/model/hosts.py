"""What the control plane knows of a host, beside its rows: whether it lives."""

from datetime import datetime
from typing import Protocol


class Liveness(Protocol):
    """Kept in memory from the reports on the bus; heartbeats are no database writes."""

    def is_up(self, host: str) -> bool:
        """Whether the host's worker reported within ``compute.down_seconds`` by this process's own clock."""
        ...

    def last_seen(self, host: str) -> datetime | None:
        """When the last report came; None when none was heard since this process started."""
        ...
