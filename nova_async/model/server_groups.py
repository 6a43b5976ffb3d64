"""Server groups: servers that want to be together on a host, or apart."""

from typing import Final

import msgspec

AFFINITY: Final = "affinity"
ANTI_AFFINITY: Final = "anti-affinity"
SOFT_AFFINITY: Final = "soft-affinity"
SOFT_ANTI_AFFINITY: Final = "soft-anti-affinity"


class ServerGroup(msgspec.Struct, kw_only=True):
    """``max_server_per_host`` belongs to anti-affinity; None: not said, which means 1. ``members`` are ids of servers."""

    id: str
    project_id: str
    user_id: str
    name: str
    policy: str
    max_server_per_host: int | None = None
    members: list[str]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The group of a server that wants a host. ``members`` counts the others that a host already holds, by host name."""

    policy: str
    max_server_per_host: int = 1
    members: dict[str, int] = msgspec.field(default_factory=dict)
