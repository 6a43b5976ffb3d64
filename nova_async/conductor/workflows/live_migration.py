"""Live migration: a running guest changes its host. Until it has arrived the server is where it was.

Whatever fails or is called off, the guest is where the hypervisors say: undoing looks there, and the row follows.
"""

from typing import Any

import msgspec

from nova_async import log
from nova_async.bus.messages.compute import AbortLive, Destroy, FinishLive, LiveMigrate, PrepareLive, Unpause
from nova_async.conductor.commands import HostDown
from nova_async.conductor.parts import Run
from nova_async.conductor.placing import claim_beside, gave_back
from nova_async.conductor.servers import failed_forward, fault, forward, guest_now, instance_of, leave_to_host, note_fault
from nova_async.conductor.volumes import join_at, joined, settle_at, stay
from nova_async.db import Connection, moves, placements, server_volumes
from nova_async.errors import Conflict, Error, Unavailable, Unsupported
from nova_async.model import states
from nova_async.model.guests import GuestSpec
from nova_async.model.power import PowerState
from nova_async.workflow.steps import Definition, step, steps

ALIVE = (PowerState.RUNNING, PowerState.PAUSED)
logger = log.get("conductor.live_migration")


async def claim_destination(run: Run, conn: Connection) -> dict[str, Any]:
    instance = await instance_of(run, conn)
    if instance.flavor.get("extra_specs", {}).get("pci_passthrough:alias"):
        raise Unsupported("The server has PCI devices of its host, which stay behind: it can be migrated while it is off.")
    claimed = await claim_beside(run, conn, instance.flavor)
    return {**claimed, "paused": instance.vm_state == states.PAUSED}


async def settle_where_it_is(run: Run) -> None:
    """The undo: the claim of the place where the guest is not goes back."""
    claimed = run.results.get("claim_destination")
    if not claimed:
        return
    source, moved = claimed["source"], await _has_moved(run)
    devices = await _devices_there(run)
    if moved:
        await leave_to_host(run, source["host"], Destroy, generation=source["generation"], undo=True)
        ports = await _ports_to(run, claimed)
    elif not claimed["paused"]:
        await _go_on(run, source)
    async with run.parts.database.transaction() as conn:
        if moved:
            await moves.relocate(conn, run.subject_id, source["generation"], claimed["generation"], claimed["host_id"])
            await moves.shown_ports(conn, run.subject_id, ports)
            await server_volumes.set_devices(conn, run.subject_id, devices)
        await moves.release_one(conn, run.subject_id, source["generation"] if moved else claimed["generation"])
        await gave_back(run, conn, source["host_id"] if moved else claimed["host_id"])
    if moved:
        await settle_at(run, run.results.get("join_volumes") or {})


async def join_volumes(run: Run) -> dict[str, str]:
    """The destination gets its own way to each volume; the source keeps its until the guest has left."""
    return await join_at(run, run.results["claim_destination"]["host"])


async def part_volumes(run: Run) -> None:
    """The undo: the destination's ways are closed, unless the guest has arrived."""
    if not await _has_moved(run):
        await stay(run)


async def join_ports(run: Run) -> None:
    """The destination can have the server's ports, and is made ready for them."""
    await run.parts.networks.join(run.ctx, instance_id=run.subject_id, host=run.results["claim_destination"]["host"])


async def part_ports(run: Run) -> None:
    """The undo: they stay where they are, unless the guest has arrived."""
    if not await _has_moved(run):
        await run.parts.networks.part(run.ctx, instance_id=run.subject_id, host=run.results["claim_destination"]["host"])


async def prepare(run: Run) -> dict[str, Any]:
    claimed = run.results["claim_destination"]
    fields = {"from_host": claimed["source"]["host"], "block": run.input.get("block_migration")}
    fields["guest"] = await _guest_there(run)
    return await run.parts.commands.run(run, claimed["host"], PrepareLive, generation=claimed["generation"], **fields)


async def clear_or_keep(run: Run) -> None:
    """The undo: what waits at the destination goes, unless the guest has arrived."""
    claimed = run.results["claim_destination"]
    if await _has_moved(run):
        fields = {"guest": await _guest_there(run), "paused": claimed["paused"]}
        await leave_to_host(run, claimed["host"], FinishLive, generation=claimed["generation"], undo=True, **fields)
    else:
        await leave_to_host(run, claimed["host"], Destroy, generation=claimed["generation"], undo=True)


async def migrate(run: Run) -> None:
    claimed = run.results["claim_destination"]
    fields = {"block": run.input.get("block_migration"), "to_generation": claimed["generation"]}
    fields["ticket"] = run.results["prepare"]
    fields["guest"] = await _guest_there(run)
    source, to = claimed["source"], {"to_host": claimed["host"], "to_address": claimed["address"]}
    await run.parts.commands.run(run, source["host"], LiveMigrate, generation=source["generation"], **to, **fields)


async def call_off(run: Run) -> None:
    """The undo: no migration runs any more; whether the guest had left before is seen in its place."""
    source = run.results["claim_destination"]["source"]
    await leave_to_host(run, source["host"], AbortLive, generation=source["generation"], undo=True)


async def arrive(run: Run, conn: Connection) -> None:
    """The guest has left its old host: the row follows."""
    claimed = run.results["claim_destination"]
    old, new, devices = claimed["source"]["generation"], claimed["generation"], await _devices_there(run, conn)
    if not await moves.relocate(conn, run.subject_id, old, new, claimed["host_id"]):
        raise Conflict("The server was deleted or placed anew while it was migrated.")
    await server_volumes.set_devices(conn, run.subject_id, devices)
    run.memo.clear()


async def bind_ports(run: Run) -> list[dict[str, Any]]:
    return await _ports_to(run, run.results["claim_destination"])


async def finish(run: Run) -> dict[str, Any]:
    claimed = run.results["claim_destination"]
    fields = {"guest": await guest_now(run, claimed["generation"], ports=run.results["bind_ports"]), "paused": claimed["paused"]}
    return await forward(run, claimed["host"], FinishLive, generation=claimed["generation"], **fields)


async def clear_source(run: Run) -> None:
    source = run.results["claim_destination"]["source"]
    await leave_to_host(run, source["host"], Destroy, generation=source["generation"])


async def settle_volumes(run: Run) -> None:
    await settle_at(run, run.results.get("join_volumes") or {})


async def settle(run: Run, conn: Connection) -> None:
    claimed = run.results["claim_destination"]
    source = claimed["source"]
    await moves.release_one(conn, run.subject_id, source["generation"])
    await gave_back(run, conn, source["host_id"])
    await moves.shown_ports(conn, run.subject_id, run.results["bind_ports"])
    state, power = (states.PAUSED, PowerState.PAUSED) if claimed["paused"] else (states.ACTIVE, PowerState.RUNNING)
    await placements.set_state(conn, run.subject_id, state, power)
    if reason := failed_forward(run, "finish"):
        await placements.set_error(conn, run.subject_id, fault(run, {"kind": "Error", "message": reason}))


async def _has_moved(run: Run) -> bool:
    if "moved" not in run.memo:
        run.memo["moved"] = await _look(run)
    return bool(run.memo["moved"])


async def _look(run: Run) -> bool:
    """Whether the guest is at the destination; asked of the source first. When neither answers, it has not moved.

    A hypervisor that died at the last moment leaves the guest paused at the source, whether it runs at the destination or not.
    """
    claimed, gone = run.results["claim_destination"], False
    proof: tuple[PowerState, ...] = (PowerState.RUNNING,)
    try:
        here = await run.parts.commands.power_of(claimed["source"]["host"], run.subject_id)
        if here is PowerState.RUNNING or (here is PowerState.PAUSED and claimed["paused"]):
            return False
        if here is not PowerState.PAUSED:
            proof, gone = ALIVE, here is None
    except HostDown:
        pass
    try:
        return await run.parts.commands.power_of(claimed["host"], run.subject_id) in proof
    except HostDown:
        return gone


async def _go_on(run: Run, source: dict[str, Any]) -> None:
    """At the source, where it may have been paused to end its way sooner; nothing of it is at the destination any more."""
    try:
        await leave_to_host(run, source["host"], Unpause, generation=source["generation"], undo=True)
    except Unavailable:
        raise
    except Error as error:
        logger.warning("live.not_going_on", server=run.subject_id, error=error.message)


async def _devices_there(run: Run, conn: Connection | None = None) -> list[dict[str, Any]]:
    """The server's block devices, reached from the destination."""
    return joined((await instance_of(run, conn)).block_devices, run.results.get("join_volumes") or {})


async def _guest_there(run: Run) -> GuestSpec:
    """The guest as the destination is to have it."""
    return await guest_now(run, run.results["claim_destination"]["generation"], block_devices=await _devices_there(run))


async def _ports_to(run: Run, place: dict[str, Any]) -> list[dict[str, Any]]:
    ports = await run.parts.networks.move(
        run.ctx, instance_id=run.subject_id, host=place["host"], availability_zone=place["availability_zone"] or ""
    )
    return [msgspec.to_builtins(p) for p in ports]


LIVE_MIGRATION = Definition(
    kind="live-migration",
    steps=steps(
        step(claim_destination, undo=settle_where_it_is, task_state=states.MIGRATING, deadline=120, in_transaction=True),
        step(join_volumes, undo=part_volumes, task_state=states.MIGRATING, deadline=120),
        step(join_ports, undo=part_ports, task_state=states.MIGRATING, deadline=120),
        step(prepare, undo=clear_or_keep, task_state=states.MIGRATING, deadline=600),
        step(migrate, undo=call_off, task_state=states.MIGRATING, deadline=86_400),
        step(arrive, task_state=states.MIGRATING, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
        step(bind_ports, task_state=states.MIGRATING, deadline=120),
        step(finish, task_state=states.MIGRATING, deadline=600),
        step(clear_source, task_state=states.MIGRATING, deadline=600),
        step(settle_volumes, task_state=states.MIGRATING, deadline=120),
        step(settle, task_state=states.MIGRATING, deadline=120, in_transaction=True, joined=True),
    ),
    failed=note_fault,
)
