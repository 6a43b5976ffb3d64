"""Resize and cold migration: off, disks over, on again elsewhere, with the old place kept until somebody confirms or reverts.

The server's row names the old place until the guest is at the new one; then one transaction switches it.
"""

from typing import Any

import msgspec

from nova_async.bus.messages.compute import Destroy, FinishMove, PowerOff, PowerOn, ReceiveDisk, RevertMove, SendDisk
from nova_async.conductor.parts import Run
from nova_async.conductor.placing import claim_beside, release_beside
from nova_async.conductor.servers import guest_now, instance_of, leave_to_host, note_fault, seconds_to_shut_down
from nova_async.conductor.volumes import bring_to
from nova_async.db import Connection, moves
from nova_async.errors import Conflict, Invalid
from nova_async.model import states
from nova_async.model.guests import GuestSpec
from nova_async.model.instances import Instance
from nova_async.model.power import PowerState
from nova_async.workflow.steps import Definition, step, steps


async def claim_destination(run: Run, conn: Connection) -> dict[str, Any]:
    """Room for the new flavor, beside the old claim."""
    _refuse_smaller(await instance_of(run, conn), await _flavor(run, conn))
    may_stay = run.row.kind == "resize" and run.parts.config.compute.allow_resize_to_same_host
    claimed = await claim_beside(run, conn, await _flavor(run, conn), may_stay=may_stay)
    return {**claimed, "on": (await instance_of(run, conn)).power_state in (PowerState.RUNNING, PowerState.PAUSED)}


async def release_destination(run: Run, conn: Connection) -> None:
    if claimed := run.results.get("claim_destination"):
        await release_beside(run, conn, claimed, await _flavor(run, conn))


async def stop_source(run: Run) -> None:
    claimed = run.results["claim_destination"]
    if claimed["on"]:
        instance, source = await instance_of(run), claimed["source"]
        seconds = seconds_to_shut_down(instance.image_properties)
        await run.parts.commands.run(run, source["host"], PowerOff, generation=source["generation"], timeout_seconds=seconds)


async def restart_source(run: Run) -> None:
    """The undo: as it was. One that was resized in place gets its old shape back, under a placement of its own."""
    claimed = run.results["claim_destination"]
    source, on = claimed["source"]["host"], claimed["on"]
    if claimed["same_host"]:
        fields: dict[str, Any] = {"guest": await guest_now(run), "power_on": on, "same_host": True, "moved": claimed["generation"]}
        await leave_to_host(run, source, RevertMove, generation=claimed["back"], undo=True, **fields)
    elif on:
        await leave_to_host(run, source, PowerOn, generation=claimed["back"], undo=True, guest=await guest_now(run))


async def receive_disk(run: Run) -> dict[str, Any]:
    claimed = run.results["claim_destination"]
    if claimed["same_host"]:
        return {}
    fields = {"guest": await _moved_guest(run), "from_host": claimed["source"]["host"]}
    return await run.parts.commands.run(run, claimed["host"], ReceiveDisk, generation=claimed["generation"], **fields)


async def clear_destination(run: Run) -> None:
    """The undo of all that was done there."""
    claimed = run.results["claim_destination"]
    if not claimed["same_host"]:
        await leave_to_host(run, claimed["host"], Destroy, generation=claimed["generation"], undo=True)


async def send_disk(run: Run) -> None:
    claimed = run.results["claim_destination"]
    if not claimed["same_host"]:
        fields = {"to_host": claimed["host"], "to_address": claimed["address"], "ticket": run.results.get("receive_disk", {})}
        source = claimed["source"]
        await run.parts.commands.run(run, source["host"], SendDisk, generation=source["generation"], **fields)


async def bind_ports(run: Run) -> list[dict[str, Any]]:
    return await _ports_to(run, run.results["claim_destination"])


async def bind_ports_back(run: Run) -> None:
    await _ports_to(run, run.results["claim_destination"]["source"])


async def finish_move(run: Run) -> None:
    claimed = run.results["claim_destination"]
    guest = await _moved_guest(run, run.results["bind_ports"])
    fields = {"guest": guest, "power_on": claimed["on"], "same_host": claimed["same_host"]}
    await run.parts.commands.run(run, claimed["host"], FinishMove, generation=claimed["generation"], **fields)


async def switch(run: Run, conn: Connection) -> None:
    """The guest is there: the row says so, and waits for the owner's word."""
    claimed = run.results["claim_destination"]
    power = PowerState.RUNNING if claimed["on"] else PowerState.SHUTDOWN
    flavor, ports = await _flavor(run, conn), run.results["bind_ports"]
    old, new = claimed["source"]["generation"], claimed["generation"]
    if not await moves.resized(conn, run.subject_id, old, new, claimed["host_id"], flavor, power, ports, run.id):
        raise Conflict("The server was deleted or placed anew while it was moved.")
    run.memo.clear()


def _refuse_smaller(instance: Instance, flavor: dict[str, Any]) -> None:
    """Raises ``Invalid`` where a disk would have to give up some of its end. A volume is as large as it is."""
    disks = ("ephemeral_gb", "root_gb") if instance.image_id else ("ephemeral_gb",)
    if any(flavor.get(disk, 0) < instance.flavor.get(disk, 0) for disk in disks):
        raise Invalid("Resize error: Unable to resize disk down.")


async def _flavor(run: Run, conn: Connection | None = None) -> dict[str, Any]:
    given: dict[str, Any] | None = run.input.get("flavor")
    return given or (await instance_of(run, conn)).flavor


async def _moved_guest(run: Run, ports: list[dict[str, Any]] | None = None) -> GuestSpec:
    """The guest as it will be at its destination."""
    flavor, claimed = await _flavor(run), run.results["claim_destination"]
    fields: dict[str, Any] = {} if ports is None else {"ports": ports}
    fields |= {"flavor": flavor, "vcpus": flavor["vcpus"], "memory_mb": flavor["memory_mb"]}
    return await guest_now(run, claimed["generation"], availability_zone=claimed["availability_zone"], **fields)


async def _ports_to(run: Run, place: dict[str, Any]) -> list[dict[str, Any]]:
    """The volumes go with the ports."""
    await bring_to(run, place["host"])
    ports = await run.parts.networks.move(
        run.ctx, instance_id=run.subject_id, host=place["host"], availability_zone=place["availability_zone"] or ""
    )
    return [msgspec.to_builtins(p) for p in ports]


DEFINITIONS = [
    Definition(
        kind=kind,
        steps=steps(
            step(
                claim_destination,
                undo=release_destination,
                task_state=states.RESIZE_PREP,
                deadline=120,
                in_transaction=True,
                undo_in_transaction=True,
            ),
            step(stop_source, undo=restart_source, task_state=states.RESIZE_MIGRATING, deadline=600),
            step(receive_disk, undo=clear_destination, task_state=states.RESIZE_MIGRATING, deadline=600),
            step(send_disk, task_state=states.RESIZE_MIGRATING, deadline=7200),
            step(bind_ports, undo=bind_ports_back, task_state=states.RESIZE_MIGRATED, deadline=120),
            step(finish_move, task_state=states.RESIZE_FINISH, deadline=1800),
            step(switch, task_state=states.RESIZE_FINISH, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
        ),
        failed=note_fault,
    )
    for kind in ("resize", "migrate")
]
