"""Start, stop, reboot, pause, suspend and back: one command to the host, then the server's new state."""

from typing import Any

import msgspec

from nova_async import log
from nova_async.bus.messages.compute import Command, Pause, PowerOff, PowerOn, Reboot, Resume, Suspend, Unpause
from nova_async.conductor.guests import guest_of
from nova_async.conductor.parts import Run
from nova_async.conductor.requests import check_place
from nova_async.conductor.servers import fault, instance_of
from nova_async.db import Connection, placements
from nova_async.errors import Conflict, Error
from nova_async.model import states
from nova_async.model.guests import PortSpec
from nova_async.model.power import PowerState
from nova_async.workflow.steps import Definition, TaskState, step, steps

logger = log.get("conductor.power")


class Change(msgspec.Struct, frozen=True):
    """What one action sends and leaves behind."""

    command: type[Command]
    task_state: TaskState
    vm_state: str
    power_state: PowerState
    needs_guest: bool = False  # the host may have to define the guest anew


def rebooting(input: dict[str, Any]) -> str:
    return states.REBOOTING_HARD if input.get("type") == "HARD" else states.REBOOTING


CHANGES: dict[str, Change] = {
    "start": Change(PowerOn, states.POWERING_ON, states.ACTIVE, PowerState.RUNNING, needs_guest=True),
    "stop": Change(PowerOff, states.POWERING_OFF, states.STOPPED, PowerState.SHUTDOWN),
    "reboot": Change(Reboot, rebooting, states.ACTIVE, PowerState.RUNNING, needs_guest=True),
    "pause": Change(Pause, states.PAUSING, states.PAUSED, PowerState.PAUSED),
    "unpause": Change(Unpause, states.UNPAUSING, states.ACTIVE, PowerState.RUNNING),
    "suspend": Change(Suspend, states.SUSPENDING, states.SUSPENDED, PowerState.SHUTDOWN),
    "resume": Change(Resume, states.RESUMING, states.ACTIVE, PowerState.RUNNING, needs_guest=True),
}


async def tell_host(run: Run) -> None:
    instance = await instance_of(run)
    if not instance.host:
        raise Conflict("The server is on no host.")
    change = CHANGES[run.row.kind]
    fields: dict[str, Any] = {}
    if change.needs_guest:
        await check_place(run, instance)
        ports = tuple(msgspec.convert(p, PortSpec) for p in instance.ports)
        fields["guest"] = await guest_of(run.parts, instance, ports, instance.availability_zone or "")
    if change.command is Reboot:
        fields["hard"] = run.input.get("type") == "HARD"
    if change.command is PowerOff:
        fields["timeout_seconds"] = _seconds_to_shut_down(instance.image_properties)
    await run.parts.commands.run(run, instance.host, change.command, generation=instance.generation, **fields)


async def look_at_guest(run: Run) -> None:
    """The undo: whatever the host did before it failed, the row shall tell the truth."""
    instance = await instance_of(run)
    if instance.host:
        try:
            run.memo["power"] = await run.parts.commands.power_of(instance.host, instance.uuid)
        except Error as error:  # the guests' reconciler looks again
            logger.warning("server.power_unknown", error=error.message)


async def settle(run: Run, conn: Connection) -> None:
    change = CHANGES[run.row.kind]
    await placements.set_state(conn, run.subject_id, change.vm_state, change.power_state)


async def note_fault(run: Run, conn: Connection, error: dict[str, Any]) -> None:
    """The fault says what could not be done; the server is what its guest is."""
    await placements.set_fault(conn, run.subject_id, fault(run, error))
    await _follow_guest(run, conn)


async def follow_guest(run: Run, conn: Connection) -> None:
    """Turned back by a signal: the server is what its guest is."""
    await _follow_guest(run, conn)


async def _follow_guest(run: Run, conn: Connection) -> None:
    power = run.memo.get("power")
    instance = await instance_of(run, conn)
    vm_state = {PowerState.RUNNING: states.ACTIVE, PowerState.PAUSED: states.PAUSED}.get(power) if power is not None else None
    if power == PowerState.SHUTDOWN:
        saved = run.row.kind == "suspend" or instance.vm_state == states.SUSPENDED
        vm_state = states.SUSPENDED if saved else states.STOPPED
    if vm_state is not None and instance.vm_state != states.ERROR and (vm_state, power) != (instance.vm_state, instance.power_state):
        await placements.set_state(conn, run.subject_id, vm_state, power)


def _seconds_to_shut_down(image_properties: dict[str, Any]) -> int:
    """The image's ``os_shutdown_timeout``, else 60 (Nova's ``shutdown_timeout``)."""
    text = str(image_properties.get("os_shutdown_timeout", ""))
    return int(text) if text.isdecimal() else 60


DEFINITIONS = [
    Definition(
        kind=kind,
        steps=steps(
            step(tell_host, undo=look_at_guest, task_state=change.task_state, deadline=600),
            step(settle, task_state=change.task_state, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
        ),
        failed=note_fault,
        cancelled=follow_guest,
    )
    for kind, change in CHANGES.items()
]
