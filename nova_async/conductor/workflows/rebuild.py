"""Rebuild a server from the image that its row names: same host, same ports, same placement, new disks."""

from typing import Any

from nova_async import log
from nova_async.bus.messages.compute import PowerOff, Rebuild
from nova_async.conductor.parts import Run
from nova_async.conductor.proofs import with_proof
from nova_async.conductor.requests import check_image, check_place
from nova_async.conductor.servers import guest_now, host_of, instance_of, mark_error, note_fault
from nova_async.conductor.volumes import bring_to, look_again
from nova_async.db import Connection, instances, placements
from nova_async.errors import Conflict, Invalid, NotFound
from nova_async.model import states
from nova_async.model.power import PowerState
from nova_async.workflow.steps import Definition, GiveUp, Wait, step, steps

logger = log.get("conductor.rebuild")


async def remember_state(run: Run, conn: Connection) -> dict[str, bool]:
    """A server that was off is off afterwards. Raises ``GiveUp`` where its host may not have the image."""
    instance = await instance_of(run, conn)
    if not instance.host:
        raise Conflict("The server is on no host.")
    was = run.input.get("was")
    if was and was["image_id"] != run.input["image_id"]:
        await check_image(run, conn, instance, image_id=run.input["image_id"])
    else:
        await check_place(run, instance, conn)
    return {"stopped": instance.vm_state == states.STOPPED}


def keeps_volume(run: Run) -> bool:
    """There is no volume that it boots from, or that stays as it is."""
    return not run.input.get("reimage")


async def begin_image(run: Run) -> None:
    """The image is written over the volume, which no running guest may have open."""
    instance = await instance_of(run)
    await run.parts.commands.run(run, await host_of(run), PowerOff, generation=instance.generation, timeout_seconds=0)
    await bring_to(run, "")
    assert instance.root_volume is not None
    await run.parts.volumes.reimage(run.ctx, instance.root_volume["volume_id"], run.input["image_id"])


async def await_image(run: Run) -> Wait | None:
    instance = await instance_of(run)
    assert instance.root_volume is not None
    volume = await run.parts.volumes.get(run.ctx, instance.root_volume["volume_id"])
    if volume.status == "downloading":
        return look_again(run)
    if volume.status.startswith("error"):
        raise Invalid(f"The image could not be written to volume {volume.id}.")
    await bring_to(run, await host_of(run))
    return None


async def reach_again(run: Run) -> None:
    """The undo: the server has its volumes, but one that the image spoilt is nobody's any more."""
    instance = await instance_of(run)
    if instance.host and not keeps_volume(run):
        try:
            await bring_to(run, instance.host)
        except (Conflict, Invalid, NotFound) as error:
            logger.warning("rebuild.volume_lost", server=instance.uuid, error=error.message)


async def rebuild_guest(run: Run) -> None:
    """Raises ``GiveUp``, before anything of the guest has changed, where its image is not signed as it has to be."""
    on = not run.results["remember_state"]["stopped"]
    instance = await instance_of(run)
    try:
        guest = await with_proof(run, await guest_now(run))
    except Invalid as error:
        raise GiveUp(error, {"refused": error.message}) from error
    await run.parts.commands.run(run, await host_of(run), Rebuild, generation=instance.generation, guest=guest, power_on=on)


async def settle(run: Run, conn: Connection) -> None:
    if run.results["remember_state"]["stopped"]:
        await placements.set_state(conn, run.subject_id, states.STOPPED, PowerState.SHUTDOWN)
        return
    instance = await instance_of(run, conn)
    if not await placements.activate(conn, run.subject_id, instance.generation, PowerState.RUNNING, instance.ports, "/dev/vda"):
        raise Conflict("The server was deleted or placed anew while it was rebuilt.")


async def failed(run: Run, conn: Connection, error: dict[str, Any]) -> None:
    """A server that may not have the image is as it was."""
    if run.memory.get("refused"):
        await instances.change(conn, run.subject_id, **run.input.get("was", {}))
        await note_fault(run, conn, error)
    else:
        await mark_error(run, conn, error)


async def broken(run: Run, conn: Connection) -> None:
    """Turned back by a signal: the disks may be gone."""
    await mark_error(run, conn, {"kind": "Conflict", "message": "The rebuild was called off."})


REBUILD = Definition(
    kind="rebuild",
    steps=steps(
        step(remember_state, task_state=states.REBUILDING, deadline=120, in_transaction=True),
        step(begin_image, undo=reach_again, task_state=states.REBUILDING, deadline=300, skip=keeps_volume),
        step(await_image, task_state=states.REBUILDING, deadline=3600, skip=keeps_volume),
        step(rebuild_guest, task_state=states.REBUILD_SPAWNING, deadline=1800),
        step(settle, task_state=states.REBUILD_SPAWNING, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
    ),
    failed=failed,
    cancelled=broken,
)
