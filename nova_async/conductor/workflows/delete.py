"""Delete a server: beats every other operation, is never undone, and is tried again until nothing is left."""

from nova_async import log
from nova_async.bus.messages.compute import Destroy
from nova_async.conductor.commands import HostDown
from nova_async.conductor.parts import Run
from nova_async.conductor.servers import instance_of
from nova_async.db import Connection, placements
from nova_async.model import states
from nova_async.scheduler.request import resources_of
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


async def unbind_ports(run: Run) -> None:
    instance = await instance_of(run)
    if instance.network_requests:
        await run.parts.networks.unbind(run.ctx, instance_id=run.subject_id)


async def bury(run: Run, conn: Connection) -> None:
    """Only the row is left, marked deleted; claims are given back in the same statement."""
    instance = await instance_of(run, conn)
    await placements.bury(conn, run.subject_id)
    if instance.host_id and not instance.deleted:
        run.parts.scheduler.table.took(instance.host_id, resources_of(instance.flavor), -1)


DELETE = Definition(
    kind="delete",
    steps=steps(
        step(destroy_guest, task_state=states.DELETING, deadline=300),
        step(unbind_ports, task_state=states.DELETING, deadline=120),
        step(bury, task_state=states.DELETING, deadline=120, in_transaction=True),
    ),
    forced_through=True,
)
