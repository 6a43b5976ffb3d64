"""A copy of a disk as it is at one moment, made by the daemon through which a guest writes to it (QMP's ``blockdev-backup``).

What the guest overwrites before it was copied is copied first: so the copy is what a disk would hold after a sudden loss of power.
"""

from pathlib import Path
from typing import Any

from nova_async.errors import Error, Unavailable
from nova_async.storage_daemons import StorageDaemons
from nova_async.world import World

COPY = "copy"  # the name of the job, and of the node that it writes to
LOOK_SECONDS = (0.05, 1.0)  # least and most time between two looks at a copy


async def copy(daemons: StorageDaemons, name: str, node: str, target: Path, world: World) -> None:
    """``target`` is as large as the disk, and empty. Raises ``Unavailable`` when the daemon died, ``Error`` when the copy failed."""
    await _forget(daemons, name, world)
    file = {"driver": "file", "node-name": COPY, "filename": str(target), "discard": "unmap", "detect-zeroes": "unmap"}
    backup = {"job-id": COPY, "device": node, "target": COPY, "sync": "full", "auto-dismiss": False}
    try:
        await daemons.ask(name, ("blockdev-add", file), ("blockdev-backup", backup))
        job = await _ended(daemons, name, world)
    finally:
        await _forget(daemons, name, world)
    if job is None:
        raise Unavailable("The daemon that copied the volume was started anew.")
    if "error" in job:
        raise Error("The volume could not be copied.", detail=job["error"])


async def _ended(daemons: StorageDaemons, name: str, world: World) -> dict[str, Any] | None:
    """The job, once it is over; None when there is none."""
    pause = LOOK_SECONDS[0]
    while job := await _job(daemons, name):
        if job["status"] == "concluded":
            return job
        await world.sleep(pause)
        pause = min(2 * pause, LOOK_SECONDS[1])
    return None


async def _forget(daemons: StorageDaemons, name: str, world: World) -> None:
    """End a copy that somebody began."""
    job = await _job(daemons, name)
    if job is not None and job["status"] != "concluded":
        await daemons.ask(name, ("job-cancel", {"id": COPY}))
        job = await _ended(daemons, name, world)
    if job is not None:
        await daemons.ask(name, ("job-dismiss", {"id": COPY}))
    (nodes,) = await daemons.ask(name, ("query-named-block-nodes", {}))
    if any(each["node-name"] == COPY for each in nodes):
        await daemons.ask(name, ("blockdev-del", {"node-name": COPY}))


async def _job(daemons: StorageDaemons, name: str) -> dict[str, Any] | None:
    (jobs,) = await daemons.ask(name, ("query-jobs", {}))
    return next((job for job in jobs if job["id"] == COPY), None)
