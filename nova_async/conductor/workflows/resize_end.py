"""The end of a resize: confirmed, what waits at the old place goes; reverted, the server goes back to it."""

from typing import Any

import msgspec

from nova_async.bus.messages.compute import ConfirmMove, Destroy, RevertMove
from nova_async.conductor.parts import Run
from nova_async.conductor.placing import gave_back
from nova_async.conductor.servers import failed_forward, fault, forward, guest_now, leave_to_host, note_fault
from nova_async.conductor.volumes import bring_to
from nova_async.db import Connection, moves, placements
from nova_async.errors import Conflict
from nova_async.model import states
from nova_async.model.power import PowerState
from nova_async.workflow.steps import Definition, step, steps


async def decide(run: Run, conn: Connection) -> dict[str, Any]:
    """From here on there is one way. ``back``: the placement that the server gets when it goes back."""
    state = await moves.state(conn, run.subject_id)
    if state.vm_state != states.RESIZED or state.old_generation is None:
        raise Conflict("The server is not resized.")
    return {
        **msgspec.to_builtins(state),
        "back": state.newest + 1,
        "same_host": state.old_host == state.host,
        "stopped": state.old_vm_state == states.STOPPED,
    }


async def clear_source(run: Run) -> dict[str, Any]:
    """What could not be removed, the reconcilers find later."""
    was = run.results["decide"]
    if was["same_host"]:
        return await forward(run, was["host"], ConfirmMove, generation=was["generation"])
    return await forward(run, was["old_host"], Destroy, generation=was["old_generation"])


async def confirmed(run: Run, conn: Connection) -> None:
    was = run.results["decide"]
    await moves.release_one(conn, run.subject_id, was["old_generation"])
    await gave_back(run, conn, was["old_host_id"], was["old_flavor"])
    state = await moves.state(conn, run.subject_id)
    await moves.confirm(conn, run.subject_id, states.STOPPED if state.power_state == PowerState.SHUTDOWN else states.ACTIVE)


async def clear_destination(run: Run) -> None:
    was = run.results["decide"]
    if not was["same_host"]:
        await leave_to_host(run, was["host"], Destroy, generation=was["generation"])


async def bind_ports(run: Run) -> list[dict[str, Any]]:
    was = run.results["decide"]
    await bring_to(run, was["old_host"])
    ports = await run.parts.networks.move(
        run.ctx, instance_id=run.subject_id, host=was["old_host"], availability_zone=was["old_zone"] or ""
    )
    return [msgspec.to_builtins(p) for p in ports]


async def restart_source(run: Run) -> dict[str, Any]:
    """Under a placement of its own: what was sent to either place before counts no more."""
    was, ports = run.results["decide"], run.results["bind_ports"]
    flavor = was["old_flavor"]
    guest = await guest_now(run, was["old_generation"], ports=ports, flavor=flavor, vcpus=flavor["vcpus"], memory_mb=flavor["memory_mb"])
    fields = {"guest": guest, "power_on": not was["stopped"], "same_host": was["same_host"], "moved": was["generation"]}
    return await forward(run, was["old_host"], RevertMove, generation=was["back"], **fields)


async def reverted(run: Run, conn: Connection) -> None:
    """A guest that does not start there leaves an error that says why."""
    was, back = run.results["decide"], run.results["decide"]["back"]
    await moves.release_one(conn, run.subject_id, was["generation"])
    await gave_back(run, conn, was["host_id"], was["flavor"])
    await moves.restamp(conn, run.subject_id, was["old_generation"], back)
    state, power = (states.STOPPED, PowerState.SHUTDOWN) if was["stopped"] else (states.ACTIVE, PowerState.RUNNING)
    await moves.revert(conn, run.subject_id, back, state, power, run.results["bind_ports"])
    if reason := failed_forward(run, "restart_source"):
        await placements.set_error(conn, run.subject_id, fault(run, {"kind": "Error", "message": reason}))
    run.memo.clear()


CONFIRM = Definition(
    kind="confirmResize",
    steps=steps(
        step(decide, deadline=120, in_transaction=True, point_of_no_return=True),
        step(clear_source, deadline=600),
        step(confirmed, deadline=120, in_transaction=True),
    ),
    failed=note_fault,
)
REVERT = Definition(
    kind="revertResize",
    steps=steps(
        step(decide, task_state=states.RESIZE_REVERTING, deadline=120, in_transaction=True, point_of_no_return=True),
        step(clear_destination, task_state=states.RESIZE_REVERTING, deadline=600),
        step(bind_ports, task_state=states.RESIZE_REVERTING, deadline=120),
        step(restart_source, task_state=states.RESIZE_REVERTING, deadline=1800),
        step(reverted, task_state=states.RESIZE_REVERTING, deadline=120, in_transaction=True),
    ),
    failed=note_fault,
)
