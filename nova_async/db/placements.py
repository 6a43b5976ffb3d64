"""Where servers are and what they hold there: claims, states that operations leave behind, and what reconcilers ask."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from nova_async.db import Connection, Query


class Placed(msgspec.Struct):
    """The host that took a server."""

    host_id: str
    host: str
    availability_zone: str


class Placement(msgspec.Struct):
    """Where a server is. ``busy``: an operation on it is open; ``newest``: the highest placement ever given to it.

    ``old_host`` and ``old_generation``: where its guest waits for a resize to be reverted.
    """

    uuid: str
    vm_state: str
    power_state: int
    generation: int
    host: str | None
    deleted: bool
    newest: int
    old_host: str | None
    old_generation: int | None
    busy: bool

    def is_dead(self, host: str, generation: int) -> bool:
        """Whether a guest of this placement on ``host`` is one that the server left for good.

        Never on the server's own host, nor one of its present placement, whatever its host is called now (INV-12). Elsewhere
        when the server has been placed anew since, unless a resize may go back there; a guest of a newer placement, which a
        move that failed left behind, once no operation is open.
        """
        if self.deleted:
            return True
        if self.host == host or (self.old_host, self.old_generation) == (host, generation):
            return False
        return self.generation > generation or (not self.busy and self.generation < generation <= self.newest)


class Where(msgspec.Struct):
    instance_id: str
    host: str


class Shared(msgspec.Struct):
    host: str
    name: str
    servers: int


class Claim(msgspec.Struct):
    consumer_id: str
    host_id: str
    generation: int


class Imbalance(msgspec.Struct):
    host: str
    resource_class: str
    used: int
    claimed: int
    capacity: int


class Problem(msgspec.Struct):
    instance_id: str
    problem: str


PLACE = Query("placements", "place", Placed)
UNPLACE = Query[Any]("placements", "unplace")
ACTIVATE = Query[Any]("placements", "activate")
SET_STATE = Query[Any]("placements", "set_state")
SET_ERROR = Query[Any]("placements", "set_error")
SET_FAULT = Query[Any]("placements", "set_fault")
BURY = Query[Any]("placements", "bury")
SET_POWER = Query[Any]("placements", "set_power")
ON_HOST = Query("placements", "on_host", Placement)
OF = Query("placements", "of", Placement)
LEAKED = Query("placements", "leaked", Claim)
RELEASE = Query[Any]("placements", "release")
STUCK = Query("placements", "stuck", Placement)
IMBALANCES = Query("placements", "imbalances", Imbalance)
UNCLAIMED = Query("placements", "unclaimed", Problem)
SET_PORTS = Query[str]("placements", "set_ports", str)
SET_PASSWORD = Query[Any]("placements", "set_password")
IS_HELD = Query[bool]("placements", "is_held", bool)
HOSTS_OF = Query("placements", "hosts_of", Where)
ALIKE = Query("placements", "alike", Shared)
UNSETTLED = Query("placements", "unsettled", Problem)


class Candidate(Protocol):
    """A host that may be claimed."""

    @property
    def host_id(self) -> str: ...


async def place(
    conn: Connection, instance_id: str, generation: int, candidates: Sequence[Candidate], resources: dict[str, int]
) -> Placed | None:
    """None when no candidate has room any more."""
    ids = [c.host_id for c in candidates]
    return await PLACE.maybe(conn, instance_id, generation, ids, list(resources), list(resources.values()))


async def unplace(conn: Connection, instance_id: str, generation: int) -> None:
    await UNPLACE.run(conn, instance_id, generation)


async def activate(
    conn: Connection, instance_id: str, generation: int, power_state: int, ports: list[dict[str, Any]], root_device: str
) -> bool:
    """False when the server was deleted or placed anew meanwhile."""
    return await ACTIVATE.run(conn, instance_id, generation, power_state, ports, root_device) > 0


async def set_state(conn: Connection, instance_id: str, vm_state: str, power_state: int | None = None) -> None:
    await SET_STATE.run(conn, instance_id, vm_state, power_state)


async def set_error(conn: Connection, instance_id: str, fault: dict[str, Any]) -> None:
    await SET_ERROR.run(conn, instance_id, fault)


async def set_fault(conn: Connection, instance_id: str, fault: dict[str, Any]) -> None:
    await SET_FAULT.run(conn, instance_id, fault)


async def bury(conn: Connection, instance_id: str) -> None:
    await BURY.run(conn, instance_id)


async def set_power(conn: Connection, instance_id: str, generation: int, power_state: int, host: str) -> bool:
    """False when nothing changed."""
    return await SET_POWER.run(conn, instance_id, generation, power_state, host) > 0


async def on_host(conn: Connection, host: str) -> list[Placement]:
    return await ON_HOST.all(conn, host)


async def of(conn: Connection, ids: list[str]) -> list[Placement]:
    return await OF.all(conn, ids)


async def leaked(conn: Connection) -> list[Claim]:
    return await LEAKED.all(conn)


async def is_held(conn: Connection, instance_id: str, generation: int, host: str) -> bool:
    """Whether a server's claim of this placement is on this host."""
    return await IS_HELD.one(conn, instance_id, generation, host)


async def release(conn: Connection, instance_id: str, generation: int) -> None:
    await RELEASE.run(conn, instance_id, generation)


async def stuck(conn: Connection, limit: int = 100) -> list[Placement]:
    return await STUCK.all(conn, limit)


async def imbalances(conn: Connection) -> list[Imbalance]:
    return await IMBALANCES.all(conn)


async def unclaimed(conn: Connection) -> list[Problem]:
    return await UNCLAIMED.all(conn)


async def unsettled(conn: Connection) -> list[Problem]:
    return await UNSETTLED.all(conn)


async def set_ports(conn: Connection, instance_id: str, ports: list[dict[str, Any]], groups: list[str]) -> str | None:
    """The host of the server; None when it has none or is gone. ``groups``: names of the security groups that the ports are in."""
    return await SET_PORTS.maybe(conn, instance_id, ports, groups)


async def set_password(conn: Connection, instance_id: str, text: str) -> bool:
    """False when one was posted before."""
    return await SET_PASSWORD.run(conn, instance_id, text) > 0


async def hosts_of(conn: Connection, ids: list[str]) -> dict[str, str]:
    """Server to host, for those of the servers that live on one."""
    return {row.instance_id: row.host for row in await HOSTS_OF.all(conn, ids)}


async def alike(conn: Connection, properties: dict[str, Any]) -> list[Shared]:
    """How many servers of each host have an image with each of these properties."""
    return await ALIKE.all(conn, properties)
