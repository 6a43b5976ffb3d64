"""Evacuate: a server whose host is down is made anew on another one. The old host removes its copy when it returns.

The row moves with the claim, before anything is made: from then on the old host's guest is a dead one (INV-11).
"""

from typing import Any

import msgspec

from nova_async.bus.messages.compute import Destroy, PowerOff, Spawn
from nova_async.conductor.guests import guest_of
from nova_async.conductor.parts import Run
from nova_async.conductor.placing import gave_back, request_to_move, take_host
from nova_async.conductor.proofs import with_proof
from nova_async.conductor.servers import instance_of, leave_to_host, mark_error
from nova_async.conductor.volumes import bring_to
from nova_async.db import Connection, moves, placements
from nova_async.errors import Conflict
from nova_async.model import states
from nova_async.model.guests import PortSpec
from nova_async.model.power import PowerState
from nova_async.scheduler.request import Candidate
from nova_async.workflow.steps import Definition, step, steps


async def claim_host(run: Run, conn: Connection) -> dict[str, Any]:
    state, instance = await moves.state(conn, run.subject_id), await instance_of(run, conn)
    if state.host is None:
        raise Conflict("The server is on no host.")
    if run.parts.scheduler.table.is_heard(state.host) and not instance.host_forced_down:
        raise Conflict(f"The host {state.host} is up; servers are evacuated from hosts that are down.")
    request = await request_to_move(run, conn, state.flavor, {state.host: "the server was there, and it is down"})
    generation = state.newest + 1

    async def take(candidates: list[Candidate]) -> placements.Placed | None:
        return await placements.place(conn, run.subject_id, generation, candidates, request.resources)

    placed, decision = await take_host(run, conn, request, generation, take)
    run.memo.clear()
    source = {
        "host_id": state.host_id,
        "host": state.host,
        "node": state.node,
        "availability_zone": state.availability_zone,
        "generation": state.generation,
    }
    stopped = instance.vm_state == states.STOPPED or bool(run.input.get("stay_stopped"))
    told = {"old_flavor_id": state.flavor_id, "new_flavor_id": state.flavor_id, "decision": msgspec.to_builtins(decision)}
    return {**msgspec.to_builtins(placed), "node": placed.host, "generation": generation, "source": source, "stopped": stopped, **told}


async def put_back(run: Run, conn: Connection) -> None:
    """The server is on its dead host again."""
    if claimed := run.results.get("claim_host"):
        source = claimed["source"]
        await moves.put_back(conn, run.subject_id, claimed["generation"], source["generation"], source["host_id"])
        await moves.release_one(conn, run.subject_id, claimed["generation"])
        await gave_back(run, conn, claimed["host_id"])
        run.memo.clear()


async def bind_ports(run: Run) -> list[dict[str, Any]]:
    return await _ports_to(run, run.results["claim_host"])


async def bind_ports_back(run: Run) -> None:
    await _ports_to(run, run.results["claim_host"]["source"])


async def spawn(run: Run) -> None:
    """From its image: what was on the dead host's disks is lost."""
    instance, claimed = await instance_of(run), run.results["claim_host"]
    ports = tuple(msgspec.convert(p, PortSpec) for p in run.results["bind_ports"])
    guest = await with_proof(run, await guest_of(run.parts, instance, ports, claimed["availability_zone"], claimed["generation"]))
    await run.parts.commands.run(run, claimed["host"], Spawn, generation=claimed["generation"], guest=guest)


async def destroy_guest(run: Run) -> None:
    claimed = run.results["claim_host"]
    await leave_to_host(run, claimed["host"], Destroy, generation=claimed["generation"], undo=True)


async def stop_guest(run: Run) -> None:
    """A server that was off stays off."""
    claimed = run.results["claim_host"]
    if claimed["stopped"]:
        await run.parts.commands.run(run, claimed["host"], PowerOff, generation=claimed["generation"], timeout_seconds=0)


async def announce(run: Run, conn: Connection) -> None:
    claimed, ports = run.results["claim_host"], run.results["bind_ports"]
    if not await placements.activate(conn, run.subject_id, claimed["generation"], PowerState.RUNNING, ports, "/dev/vda"):
        raise Conflict("The server was deleted or placed anew while it was evacuated.")
    if claimed["stopped"]:
        await placements.set_state(conn, run.subject_id, states.STOPPED, PowerState.SHUTDOWN)
    await moves.release_one(conn, run.subject_id, claimed["source"]["generation"])
    await gave_back(run, conn, claimed["source"]["host_id"])
    run.memo.clear()


async def _ports_to(run: Run, place: dict[str, Any]) -> list[dict[str, Any]]:
    """The volumes go with the ports."""
    await bring_to(run, place["host"])
    ports = await run.parts.networks.move(
        run.ctx, instance_id=run.subject_id, host=place["host"], availability_zone=place["availability_zone"] or ""
    )
    return [msgspec.to_builtins(p) for p in ports]


EVACUATE = Definition(
    kind="evacuate",
    steps=steps(
        step(claim_host, undo=put_back, task_state=states.REBUILDING, deadline=120, in_transaction=True, undo_in_transaction=True),
        step(bind_ports, undo=bind_ports_back, task_state=states.REBUILDING, deadline=120),
        step(spawn, undo=destroy_guest, task_state=states.REBUILD_SPAWNING, deadline=1800),
        step(stop_guest, task_state=states.REBUILD_SPAWNING, deadline=120),
        step(announce, task_state=states.REBUILD_SPAWNING, deadline=120, in_transaction=True, point_of_no_return=True),
    ),
    failed=mark_error,
)
