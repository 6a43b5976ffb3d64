"""What all workflows on servers share: the row, and the fault that a failed one leaves."""

from typing import Any

import msgspec

from nova_async import log
from nova_async.bus.messages.compute import Command
from nova_async.conductor.commands import HostDown
from nova_async.conductor.guests import guest_of
from nova_async.conductor.parts import Run
from nova_async.db import Connection, instances, placements
from nova_async.errors import Conflict, Error, NotFound, Unavailable
from nova_async.model.guests import GuestSpec, ImageRef, PortSpec
from nova_async.model.instances import Instance
from nova_async.model.power import PowerState
from nova_async.services.image import image_ref

FORWARD_TRIES = 5  # of a host's work on the way that has no way back
logger = log.get("conductor.servers")


async def instance_of(run: Run, conn: Connection | None = None) -> Instance:
    """The server of a workflow, deleted or not, read once per run and process. Raises ``NotFound``."""
    if "instance" not in run.memo:
        if conn is None:
            async with run.parts.database.connection() as own:
                return await instance_of(run, own)
        found = await instances.by_ids(conn, [run.subject_id])
        if run.subject_id not in found:
            raise NotFound(f"Instance {run.subject_id} could not be found.")
        run.memo["instance"] = found[run.subject_id]
    return run.memo["instance"]  # type: ignore[no-any-return]


def fault(run: Run, error: dict[str, Any]) -> dict[str, Any]:
    """The ``fault`` of a server view. Details are for admins; Nova's code for a failed build is 500."""
    code = {"Invalid": 400, "NotFound": 404, "Forbidden": 403, "QuotaExceeded": 403, "Conflict": 409}.get(error.get("kind", ""), 500)
    return {
        "code": code,
        "message": str(error.get("message", ""))[:255],
        "details": error.get("detail") or error.get("message") or "",
        "created": run.world.now().isoformat(),
    }


async def guest_now(run: Run, generation: int | None = None, **changes: Any) -> GuestSpec:
    """The guest as its row describes it; ``changes`` replace fields of the row, ``ports`` included (as plain data).

    ``generation``: of the placement that is meant, if not the server's present one.
    """
    instance = msgspec.structs.replace(await instance_of(run), **changes)
    ports = tuple(msgspec.convert(p, PortSpec) for p in instance.ports)
    return await guest_of(run.parts, instance, ports, instance.availability_zone or "", generation)


async def own_image(run: Run, image_id: str | None) -> ImageRef:
    """An image to boot from now; without an id the one that the server was made from. Raises ``NotFound``, ``Invalid``."""
    instance = await instance_of(run)
    kept = instance.system_metadata.get("image")
    wanted = image_id or instance.image_id
    if wanted is None:
        raise Conflict("The server was made from no image; name one.")
    if kept and kept["id"] == wanted:
        return msgspec.convert(kept, ImageRef)
    return image_ref(await run.parts.images.get(run.ctx, wanted))


async def host_of(run: Run) -> str:
    """Raises ``Conflict`` when the server is on no host."""
    instance = await instance_of(run)
    if not instance.host:
        raise Conflict("The server is on no host.")
    return instance.host


async def is_on(run: Run) -> bool:
    """Whether the guest was running (or paused) before the operation."""
    return (await instance_of(run)).power_state in (PowerState.RUNNING, PowerState.PAUSED)


def seconds_to_shut_down(image_properties: dict[str, Any]) -> int:
    """The image's ``os_shutdown_timeout``, else 60 (Nova's ``shutdown_timeout``)."""
    text = str(image_properties.get("os_shutdown_timeout", ""))
    return int(text) if text.isdecimal() else 60


async def leave_to_host(run: Run, host: str, kind: type[Command], *, generation: int, undo: bool = False, **fields: Any) -> None:
    """A command whose host may be down, or go down meanwhile: it does it when it returns, whatever became of the operation."""
    try:
        await run.parts.commands.run(run, host, kind, generation=generation, undo=undo, stands=True, **fields)
    except HostDown as error:
        logger.warning("server.left_on_host", host=host, command=kind.__name__, error=error.message)


async def forward(run: Run, host: str, kind: type[Command], *, generation: int, **fields: Any) -> dict[str, Any]:
    """A command on the way that has no way back: tried some times, then its failure is the result (``failed``)."""
    try:
        await run.parts.commands.run(run, host, kind, generation=generation, **fields)
    except Unavailable:
        raise
    except Error as error:
        if run.attempt < FORWARD_TRIES:
            raise
        return {"failed": error.message}
    return {}


def failed_forward(run: Run, *steps: str) -> str | None:
    """What ``forward`` could not do in any of these steps."""
    return next((told["failed"] for name in steps if (told := run.results.get(name)) and told.get("failed")), None)


async def note_fault(run: Run, conn: Connection, error: dict[str, Any]) -> None:
    """``failed`` of operations that leave the server as it was."""
    await placements.set_fault(conn, run.subject_id, fault(run, error))


async def mark_error(run: Run, conn: Connection, error: dict[str, Any]) -> None:
    """``failed`` of operations that leave the server broken."""
    await placements.set_error(conn, run.subject_id, fault(run, error))
