"""Shelve: keep a server as an image, and, offloaded, as nothing else; and take it off the shelf again, wherever there is room."""

from typing import Any

import msgspec

from nova_async import log
from nova_async.bus.messages.compute import Destroy, PowerOff, PowerOn, Spawn
from nova_async.conductor.guests import guest_of
from nova_async.conductor.parts import Run
from nova_async.conductor.placing import gave_back, request_to_move, take_host
from nova_async.conductor.proofs import with_proof
from nova_async.conductor.requests import check_place
from nova_async.conductor.servers import (
    guest_now,
    host_of,
    instance_of,
    is_on,
    leave_to_host,
    note_fault,
    own_image,
    seconds_to_shut_down,
)
from nova_async.conductor.volumes import bring_to
from nova_async.conductor.workflows.snapshot import check_image, delete_image, send_image
from nova_async.db import Connection, instances, moves, placements
from nova_async.errors import Conflict, Error, NotFound
from nova_async.model import states
from nova_async.model.guests import PortSpec
from nova_async.model.power import PowerState
from nova_async.scheduler.request import Candidate
from nova_async.workflow.steps import Definition, step, steps

logger = log.get("conductor.shelve")


# -- onto the shelf


async def stop_guest(run: Run) -> dict[str, Any]:
    """A suspended guest is off already."""
    instance, host, on = await instance_of(run), await host_of(run), await is_on(run)
    if on:
        seconds = seconds_to_shut_down(instance.image_properties)
        await run.parts.commands.run(run, host, PowerOff, generation=instance.generation, timeout_seconds=seconds)
    return {"on": on}


async def start_guest(run: Run) -> None:
    """The undo: a guest that ran runs again. What it had in memory is lost, so one that was paused is active."""
    instance = await instance_of(run)
    if await is_on(run):
        await leave_to_host(run, await host_of(run), PowerOn, generation=instance.generation, undo=True, guest=await guest_now(run))
        run.memo["started"] = True


async def shelved(run: Run, conn: Connection) -> None:
    """The image is whole; from here on the server is on the shelf."""
    await placements.set_state(conn, run.subject_id, states.SHELVED, PowerState.SHUTDOWN)
    facts = {"shelved_image_id": run.input.get("image_id"), "shelved_at": run.world.now().isoformat()}
    await moves.remember(conn, run.subject_id, facts)
    run.memo.clear()


async def keep_old_state(run: Run, conn: Connection, error: dict[str, Any]) -> None:
    await note_fault(run, conn, error)
    await follow_start(run, conn)


async def follow_start(run: Run, conn: Connection) -> None:
    instance = await instance_of(run, conn)
    if run.memo.get("started") and instance.vm_state == states.PAUSED:
        await placements.set_state(conn, run.subject_id, states.ACTIVE, PowerState.RUNNING)


# -- off its host


def has_no_image(run: Run) -> bool:
    """It boots from a volume, which keeps it."""
    return run.input.get("image_id") is None


def keeps_host(run: Run) -> bool:
    return not has_no_image(run) and run.parts.config.compute.shelved_offload_seconds != 0


async def decide(run: Run, conn: Connection) -> None:
    instance = await instance_of(run, conn)
    if instance.vm_state != states.SHELVED or not instance.host:
        raise Conflict("Only a shelved server that is on a host can be offloaded.")


async def destroy_guest(run: Run) -> None:
    """A host that is down is cleaned when it returns."""
    instance = await instance_of(run)
    if instance.host:
        await leave_to_host(run, instance.host, Destroy, generation=instance.generation)


async def free_ports(run: Run) -> list[dict[str, Any]]:
    """The ports stay the server's, on no host."""
    instance = await instance_of(run)
    await bring_to(run, "")
    ports = await run.parts.networks.move(run.ctx, instance_id=instance.uuid, host="", availability_zone=instance.availability_zone or "")
    return [msgspec.to_builtins(p) for p in ports]


async def leave_host(run: Run, conn: Connection) -> None:
    if run.row.kind == "shelve" and keeps_host(run):
        return
    instance = await instance_of(run, conn)
    await moves.leave_host(conn, run.subject_id, states.SHELVED_OFFLOADED, run.results.get("free_ports", []))
    if instance.host_id:
        await gave_back(run, conn, instance.host_id)
    run.memo.clear()


# -- off the shelf


async def claim_host(run: Run, conn: Connection) -> dict[str, Any]:
    """A server that kept its host stays there; an offloaded one takes the best that has room."""
    instance = await instance_of(run, conn)
    state = await moves.state(conn, instance.uuid)
    image_id = instance.system_metadata.get("shelved_image_id")
    if state.host is not None:
        await check_place(run, instance, conn)
        place = {"host": state.host, "host_id": state.host_id, "availability_zone": state.availability_zone}
        return {**place, "generation": state.generation, "offloaded": False, "image_id": image_id}
    request = await request_to_move(run, conn, instance.flavor, {})
    if "availability_zone" in run.input:
        request = msgspec.structs.replace(request, zone=run.input["availability_zone"])
    generation = state.newest + 1

    async def take(candidates: list[Candidate]) -> placements.Placed | None:
        return await placements.place(conn, instance.uuid, generation, candidates, request.resources)

    placed, decision = await take_host(run, conn, request, generation, take)
    told = {"generation": generation, "offloaded": True, "image_id": image_id, "decision": msgspec.to_builtins(decision)}
    return {**msgspec.to_builtins(placed), **told}


async def release_host(run: Run, conn: Connection) -> None:
    claimed = run.results.get("claim_host")
    if claimed and claimed["offloaded"]:
        await placements.unplace(conn, run.subject_id, claimed["generation"])
        await gave_back(run, conn, claimed["host_id"])
        run.memo.clear()


def is_on_its_host(run: Run) -> bool:
    return not run.results["claim_host"]["offloaded"]


async def bind_ports(run: Run) -> list[dict[str, Any]]:
    """The volumes go with the ports."""
    claimed = run.results["claim_host"]
    await bring_to(run, claimed["host"])
    ports = await run.parts.networks.move(
        run.ctx, instance_id=run.subject_id, host=claimed["host"], availability_zone=claimed["availability_zone"]
    )
    return [msgspec.to_builtins(p) for p in ports]


async def unbind_ports(run: Run) -> None:
    if not is_on_its_host(run):
        await free_ports(run)


async def bring_up(run: Run) -> None:
    """Spawn the guest from its image, or start the one that is there."""
    instance, claimed = await instance_of(run), run.results["claim_host"]
    if not claimed["offloaded"]:
        guest = await guest_now(run)
        await run.parts.commands.run(run, claimed["host"], PowerOn, generation=claimed["generation"], guest=guest)
        return
    ports = tuple(msgspec.convert(p, PortSpec) for p in run.results["bind_ports"])
    guest = await guest_of(run.parts, instance, ports, claimed["availability_zone"], claimed["generation"])
    if claimed["image_id"]:
        guest = await with_proof(run, msgspec.structs.replace(guest, image=await own_image(run, claimed["image_id"])))
    await run.parts.commands.run(run, claimed["host"], Spawn, generation=claimed["generation"], guest=guest)


async def take_down(run: Run) -> None:
    """The undo: off the host, or off."""
    claimed = run.results["claim_host"]
    if claimed["offloaded"]:
        await leave_to_host(run, claimed["host"], Destroy, generation=claimed["generation"], undo=True)
    else:
        await leave_to_host(run, claimed["host"], PowerOff, generation=claimed["generation"], undo=True, timeout_seconds=0)


async def announce(run: Run, conn: Connection) -> None:
    claimed, instance = run.results["claim_host"], await instance_of(run, conn)
    ports, root = run.results["bind_ports"], instance.root_device_name or "/dev/vda"
    if not await placements.activate(conn, run.subject_id, claimed["generation"], PowerState.RUNNING, ports, root):
        raise Conflict("The server was deleted or placed anew while it was unshelved.")
    await moves.remember(conn, run.subject_id, {"shelved_image_id": None, "shelved_at": None})
    if "availability_zone" in run.input:
        await instances.change(conn, run.subject_id, pinned_zone=run.input["availability_zone"])


async def forget_image(run: Run) -> None:
    """An image that cannot be deleted stays its owner's."""
    if image_id := run.results["claim_host"]["image_id"]:
        try:
            await run.parts.images.delete(run.ctx, image_id)
        except NotFound:
            return
        except Error as error:
            logger.warning("shelf.image_left", image=image_id, error=error.message)


def _offload(task_state: str) -> tuple[Any, ...]:
    return (
        step(destroy_guest, task_state=task_state, deadline=300, skip=_skips_offload),
        step(free_ports, task_state=task_state, deadline=120, skip=_skips_offload),
        step(leave_host, task_state=task_state, deadline=120, in_transaction=True),
    )


def _skips_offload(run: Run) -> bool:
    return run.row.kind == "shelve" and keeps_host(run)


SHELVE = Definition(
    kind="shelve",
    steps=steps(
        step(check_image, undo=delete_image, task_state=states.SHELVING, deadline=120),
        step(stop_guest, undo=start_guest, task_state=states.SHELVING, deadline=600),
        step(send_image, task_state=states.SHELVING_IMAGE_UPLOADING, deadline=7200, skip=has_no_image),
        step(shelved, task_state=states.SHELVING_IMAGE_UPLOADING, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
        *_offload(states.SHELVING_OFFLOADING),
    ),
    failed=keep_old_state,
    cancelled=follow_start,
)
OFFLOAD = Definition(
    kind="shelveOffload",
    steps=steps(
        step(decide, task_state=states.SHELVING_OFFLOADING, deadline=120, in_transaction=True, point_of_no_return=True),
        *_offload(states.SHELVING_OFFLOADING),
    ),
    failed=note_fault,
)
UNSHELVE = Definition(
    kind="unshelve",
    steps=steps(
        step(claim_host, undo=release_host, task_state=states.UNSHELVING, deadline=120, in_transaction=True, undo_in_transaction=True),
        step(bind_ports, undo=unbind_ports, task_state=states.UNSHELVING, deadline=120),
        step(bring_up, undo=take_down, task_state=states.SPAWNING, deadline=1800),
        step(announce, task_state=states.SPAWNING, deadline=120, in_transaction=True, point_of_no_return=True),
        step(forget_image, task_state=states.UNSHELVING, deadline=120),
    ),
    failed=note_fault,
)
