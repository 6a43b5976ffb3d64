"""Soft delete: a server is switched off and waits, until it is restored, or its time is over and it is deleted."""

from nova_async.bus.messages.compute import PowerOff, PowerOn
from nova_async.conductor.parts import Run
from nova_async.conductor.servers import forward, guest_now, instance_of, leave_to_host, note_fault, seconds_to_shut_down
from nova_async.db import Connection, moves
from nova_async.model import states
from nova_async.model.power import PowerState
from nova_async.workflow.steps import Definition, step, steps


async def switch_off(run: Run) -> dict[str, str]:
    """A guest that cannot be switched off is no reason to keep the server."""
    instance = await instance_of(run)
    if instance.deleted or not instance.host:
        return {}
    seconds = seconds_to_shut_down(instance.image_properties)
    return await forward(run, instance.host, PowerOff, generation=instance.generation, timeout_seconds=seconds)


async def put_aside(run: Run, conn: Connection) -> None:
    await moves.soft_delete(conn, run.subject_id)
    run.memo.clear()


async def switch_on(run: Run) -> None:
    instance = await instance_of(run)
    if instance.host:
        await run.parts.commands.run(run, instance.host, PowerOn, generation=instance.generation, guest=await guest_now(run))


async def switch_off_again(run: Run) -> None:
    instance = await instance_of(run)
    if instance.host:
        await leave_to_host(run, instance.host, PowerOff, generation=instance.generation, undo=True, timeout_seconds=0)


async def take_back(run: Run, conn: Connection) -> None:
    """A server on a host runs; one on the shelf is there again."""
    state = await moves.state(conn, run.subject_id)
    if state.host is None:
        await moves.restore(conn, run.subject_id, state.old_vm_state or states.ERROR, state.power_state)
    else:
        await moves.restore(conn, run.subject_id, states.ACTIVE, PowerState.RUNNING)


SOFT_DELETE = Definition(
    kind="softDelete",
    steps=steps(
        step(switch_off, task_state=states.SOFT_DELETING, deadline=300),
        step(put_aside, task_state=states.SOFT_DELETING, deadline=120, in_transaction=True, joined=True),
    ),
    forced_through=True,
)
RESTORE = Definition(
    kind="restore",
    steps=steps(
        step(switch_on, undo=switch_off_again, task_state=states.RESTORING, deadline=600),
        step(take_back, task_state=states.RESTORING, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
    ),
    failed=note_fault,
)
