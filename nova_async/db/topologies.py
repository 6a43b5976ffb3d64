"""What servers were given of their hosts' NUMA cells, CPUs, pages and PCI devices, and what of it nobody else may have."""

from typing import Any

import msgspec

from nova_async.db import Connection, Query
from nova_async.db.placements import Problem
from nova_async.model.topology import Fit, HostTopology


class Given(msgspec.Struct):
    host_id: str
    fit: dict[str, Any]


LOCK = Query[dict[str, Any]]("topologies", "lock", dict)
HELD = Query[dict[str, Any]]("topologies", "held", dict)
INSERT = Query[Any]("topologies", "insert")
OF = Query("topologies", "of", Given)
VIOLATIONS = Query("topologies", "violations", Problem)


async def held(conn: Connection, host_id: str) -> tuple[HostTopology, list[Fit]]:
    """What a host has, and what was given of it. Nobody else fits a guest there until the transaction, or the block in it, ends."""
    told = await LOCK.maybe(conn, host_id)
    return msgspec.convert(told or {}, HostTopology), msgspec.convert(await HELD.all(conn, host_id), list[Fit])


async def insert(conn: Connection, instance_id: str, generation: int, host_id: str, fit: Fit) -> None:
    await INSERT.run(conn, instance_id, generation, host_id, msgspec.to_builtins(fit), fit.exclusive)


async def of(conn: Connection, instance_id: str, generation: int) -> tuple[str, Fit] | None:
    """The host of a placement and what was given there; None when nothing was."""
    given = await OF.maybe(conn, instance_id, generation)
    return (given.host_id, msgspec.convert(given.fit, Fit)) if given else None


async def violations(conn: Connection) -> list[Problem]:
    return await VIOLATIONS.all(conn)
