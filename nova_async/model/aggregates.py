"""Host aggregates: sets of hosts with metadata that filters and weighers read."""

from datetime import datetime
from typing import Final

import msgspec

ZONE: Final = "availability_zone"  # the key of the metadata that says in which zone the hosts are


class Label(msgspec.Struct):
    """What the scheduler knows of an aggregate."""

    id: int
    name: str
    metadata: dict[str, str]


class Aggregate(msgspec.Struct, kw_only=True):
    """A row with the names of its hosts."""

    id: int
    uuid: str
    name: str
    metadata: dict[str, str]
    hosts: list[str]
    created_at: datetime
    updated_at: datetime | None = None

    @property
    def zone(self) -> str | None:
        return self.metadata.get(ZONE)
