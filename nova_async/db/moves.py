"""Servers that change their place: claims beside the present one, the switch, and what is kept until a resize is confirmed."""

from collections.abc import Sequence
from typing import Any

import msgspec

from nova_async.db import Connection, Query
from nova_async.db.placements import Candidate


class MoveState(msgspec.Struct):
    """A server's placements. ``newest``: the highest generation ever given to it."""

    generation: int
    newest: int
    vm_state: str
    power_state: int
    host_id: str | None
    host: str | None
    node: str | None
    availability_zone: str | None
    flavor: dict[str, Any]
    flavor_id: int
    move_id: str | None
    old_host_id: str | None
    old_host: str | None
    old_node: str | None
    old_zone: str | None
    old_generation: int | None
    old_flavor: dict[str, Any] | None
    old_flavor_id: int | None
    old_vm_state: str | None
    deleted: bool


class Destination(msgspec.Struct):
    """The host that took the claim."""

    host_id: str
    host: str
    node: str
    availability_zone: str
    address: str


class Left(msgspec.Struct):
    """A guest that waits at its old place."""

    uuid: str
    old_generation: int


class Due(msgspec.Struct):
    uuid: str
    project_id: str
    user_id: str


STATE = Query("moves", "state", MoveState)
CLAIM = Query("moves", "claim", Destination)
RELEASE_ONE = Query[Any]("moves", "release_one")
RESTAMP = Query[Any]("moves", "restamp")
RESIZED = Query[Any]("moves", "resized")
RELOCATE = Query[Any]("moves", "relocate")
CONFIRM = Query[Any]("moves", "confirm")
REVERT = Query[Any]("moves", "revert")
PUT_BACK = Query[Any]("moves", "put_back")
LEAVE_HOST = Query[Any]("moves", "leave_host")
REMEMBER = Query[Any]("moves", "remember")
SOFT_DELETE = Query[Any]("moves", "soft_delete")
RESTORE = Query[Any]("moves", "restore")
LEFT_ON = Query("moves", "left_on", Left)
TO_CONFIRM = Query("moves", "to_confirm", Due)
TO_OFFLOAD = Query("moves", "to_offload", Due)
TO_RECLAIM = Query("moves", "to_reclaim", Due)
SHOWN_PORTS = Query[Any]("moves", "shown_ports")


async def state(conn: Connection, instance_id: str) -> MoveState:
    """Locks the row until the transaction ends. Raises ``NotFound``."""
    return await STATE.one(conn, instance_id)


async def claim(
    conn: Connection, instance_id: str, generation: int, candidates: Sequence[Candidate], resources: dict[str, int], newest: int
) -> Destination | None:
    """None when no candidate has room any more. The server's row stays at its host."""
    ids = [c.host_id for c in candidates]
    return await CLAIM.maybe(conn, instance_id, generation, ids, list(resources), list(resources.values()), newest)


async def release_one(conn: Connection, instance_id: str, generation: int) -> None:
    await RELEASE_ONE.run(conn, instance_id, generation)


async def restamp(conn: Connection, instance_id: str, old: int, new: int) -> None:
    """Nothing happens when the claim and the server are at another placement already."""
    await RESTAMP.run(conn, instance_id, old, new)


async def resized(
    conn: Connection,
    instance_id: str,
    old: int,
    new: int,
    host_id: str,
    flavor: dict[str, Any],
    power_state: int,
    ports: list[dict[str, Any]],
    workflow_id: str,
) -> bool:
    """False when the server is not at its old placement any more."""
    return await RESIZED.run(conn, instance_id, old, new, host_id, flavor, power_state, ports, workflow_id) > 0


async def relocate(conn: Connection, instance_id: str, old: int, new: int, host_id: str) -> bool:
    """False when the server is not at its old placement any more."""
    return await RELOCATE.run(conn, instance_id, old, new, host_id) > 0


async def confirm(conn: Connection, instance_id: str, vm_state: str) -> None:
    await CONFIRM.run(conn, instance_id, vm_state)


async def revert(conn: Connection, instance_id: str, generation: int, vm_state: str, power_state: int, ports: list[dict[str, Any]]) -> bool:
    """False when there is nothing to revert."""
    return await REVERT.run(conn, instance_id, generation, vm_state, power_state, ports) > 0


async def put_back(conn: Connection, instance_id: str, generation: int, old: int, host_id: str) -> None:
    await PUT_BACK.run(conn, instance_id, generation, old, host_id)


async def leave_host(conn: Connection, instance_id: str, vm_state: str, ports: list[dict[str, Any]]) -> None:
    await LEAVE_HOST.run(conn, instance_id, vm_state, ports)


async def remember(conn: Connection, instance_id: str, facts: dict[str, Any]) -> None:
    """Facts with a None are forgotten."""
    await REMEMBER.run(conn, instance_id, facts)


async def soft_delete(conn: Connection, instance_id: str) -> None:
    await SOFT_DELETE.run(conn, instance_id)


async def restore(conn: Connection, instance_id: str, vm_state: str, power_state: int) -> None:
    await RESTORE.run(conn, instance_id, vm_state, power_state)


async def left_on(conn: Connection, host: str) -> dict[str, int]:
    """Server -> the placement of the guest that waits on this host."""
    return {row.uuid: row.old_generation for row in await LEFT_ON.all(conn, host)}


async def to_confirm(conn: Connection, seconds: float, limit: int = 100) -> list[Due]:
    return await TO_CONFIRM.all(conn, seconds, limit)


async def to_offload(conn: Connection, seconds: float, limit: int = 100) -> list[Due]:
    return await TO_OFFLOAD.all(conn, seconds, limit)


async def to_reclaim(conn: Connection, seconds: float, limit: int = 100) -> list[Due]:
    return await TO_RECLAIM.all(conn, seconds, limit)


async def shown_ports(
    conn: Connection, instance_id: str, ports: list[dict[str, Any]], requests: list[dict[str, Any]] | None = None
) -> None:
    await SHOWN_PORTS.run(conn, instance_id, ports, requests)
