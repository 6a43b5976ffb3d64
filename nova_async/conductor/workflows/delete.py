"""Delete a server: beats every other operation, is never undone, and is tried again until nothing is left."""

from nova_async import log
from nova_async.bus.messages.compute import Destroy
from nova_async.conductor.commands import HostDown
from nova_async.conductor.parts import Run
from nova_async.conductor.placing import gave_back
from nova_async.conductor.servers import instance_of
from nova_async.conductor.volumes import delete_quietly, let_go
from nova_async.db import Connection, moves, placements
from nova_async.errors import Error, NotFound
from nova_async.model import states
from nova_async.workflow.steps import Definition, step, steps

logger = log.get("conductor.delete")


async def destroy_guest(run: Run) -> None:
    """Take the guest off its host; a host that is down is cleaned when it returns."""
    instance = await instance_of(run)
    if instance.deleted or not instance.host:
        return
    try:
        await run.parts.commands.run(run, instance.host, Destroy, generation=instance.generation)
    except HostDown as error:
        logger.warning("server.left_on_host", host=instance.host, error=error.message)


async def destroy_old_guest(run: Run) -> None:
    """The one that waits where a resize left it."""
    async with run.parts.database.connection() as conn:
        state = await moves.state(conn, run.subject_id)
    if state.deleted or not state.old_host or state.old_generation is None or state.old_host == state.host:
        return
    try:
        await run.parts.commands.run(run, state.old_host, Destroy, generation=state.old_generation)
    except HostDown as error:
        logger.warning("server.left_on_host", host=state.old_host, error=error.message)


async def unbind_ports(run: Run) -> None:
    instance = await instance_of(run)
    if instance.network_requests or instance.ports:
        await run.parts.networks.unbind(run.ctx, instance_id=run.subject_id)


async def free_volumes(run: Run) -> None:
    """All are given back, and those go that were to go with the server."""
    await let_go(run)
    for device in (await instance_of(run)).volumes:
        if device.get("delete_on_termination") and device.get("volume_id"):
            await delete_quietly(run, device["volume_id"])


def has_no_volumes(run: Run) -> bool:
    return "instance" in run.memo and not run.memo["instance"].volumes


async def forget_shelf(run: Run) -> None:
    """The image that a shelved server waited in. One that cannot be deleted stays its owner's."""
    instance = await instance_of(run)
    if image_id := instance.system_metadata.get("shelved_image_id"):
        try:
            await run.parts.images.delete(run.ctx, image_id)
        except NotFound:
            return
        except Error as error:
            logger.warning("shelf.image_left", image=image_id, error=error.message)


def was_not_resized(run: Run) -> bool:
    """Known only where the row has been read in this process; else the step finds out."""
    return "instance" in run.memo and run.memo["instance"].vm_state not in (states.RESIZED, states.ERROR, states.SOFT_DELETED)


def is_not_on_shelf(run: Run) -> bool:
    return "instance" in run.memo and not run.memo["instance"].system_metadata.get("shelved_image_id")


async def bury(run: Run, conn: Connection) -> None:
    """Only the row is left, marked deleted; claims are given back in the same statement."""
    instance = await instance_of(run, conn)
    await placements.bury(conn, run.subject_id)
    if instance.host_id and not instance.deleted:
        await gave_back(run, conn, instance.host_id)


DELETE = Definition(
    kind="delete",
    steps=steps(
        step(destroy_guest, task_state=states.DELETING, deadline=300),
        step(destroy_old_guest, task_state=states.DELETING, deadline=300, skip=was_not_resized),
        step(unbind_ports, task_state=states.DELETING, deadline=120),
        step(free_volumes, task_state=states.DELETING, deadline=300, skip=has_no_volumes),
        step(forget_shelf, task_state=states.DELETING, deadline=120, skip=is_not_on_shelf),
        step(bury, task_state=states.DELETING, deadline=120, in_transaction=True, joined=True),
    ),
    forced_through=True,
)
