"""The services that make up the compute service, as operators see them: one list of workers and of the application's processes."""

from datetime import datetime
from typing import NamedTuple

COMPUTE = "nova-compute"
INTERNAL_ZONE = "internal"  # where the application's own processes are


class Service(NamedTuple):
    id: str  # UUID
    number: int  # what versions before 2.53 call id
    binary: str
    host: str
    zone: str
    disabled: bool
    disabled_reason: str | None
    up: bool
    forced_down: bool
    seen_at: datetime
