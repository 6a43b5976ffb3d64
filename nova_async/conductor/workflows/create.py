"""Boot a server: claim a host, bind ports, let the host spawn the guest, announce it ACTIVE.

A host that fails is undone and the next one is tried, ``scheduler.max_attempts`` times in all.
"""

from typing import Any

import msgspec

from nova_async import errors, log
from nova_async.bus.messages.compute import Destroy, Spawn
from nova_async.conductor.commands import HostDown
from nova_async.conductor.guests import guest_of
from nova_async.conductor.parts import Run
from nova_async.conductor.placing import gave_back, take_host, told
from nova_async.conductor.proofs import with_proof
from nova_async.conductor.requests import request_for
from nova_async.conductor.servers import fault, instance_of
from nova_async.conductor.volumes import Device, held, hold, key_of, let_go, look_again
from nova_async.db import Connection, hosts, placements, server_volumes
from nova_async.model import states
from nova_async.model.guests import PortSpec
from nova_async.model.power import PowerState
from nova_async.scheduler.request import Candidate
from nova_async.services.network import NetworkRequest
from nova_async.services.volume import Wanted
from nova_async.workflow.steps import Definition, GiveUp, TryAgain, Wait, step, steps

logger = log.get("conductor.create")
MAKING = frozenset({"creating", "downloading"})  # states of a volume that is not ready yet
USERS_FAULT = (errors.Invalid, errors.NotFound, errors.Forbidden, errors.Unsupported)  # no other host would help


async def claim_host(run: Run, conn: Connection) -> dict[str, Any]:
    """Let the scheduler rank the hosts and claim the best that has room, one placement further.

    Raises ``Unavailable``, to be tried again, while hosts that may have room have not reported yet.
    """
    instance = await instance_of(run, conn)
    request = await request_for(run, conn, instance)
    generation = instance.generation + 1

    async def take(candidates: list[Candidate]) -> placements.Placed | None:
        return await placements.place(conn, instance.uuid, generation, candidates, request.resources)

    placed, decision = await take_host(run, conn, request, generation, take)
    logger.info("server.placed", host=placed.host, generation=generation)
    return {**msgspec.to_builtins(placed), "generation": generation, "decision": msgspec.to_builtins(decision)}


async def release_host(run: Run, conn: Connection) -> None:
    """Give the claim back. Without a result the claim was never committed."""
    if claimed := run.results.get("claim_host"):
        await placements.unplace(conn, run.subject_id, claimed["generation"])
        await gave_back(run, conn, claimed["host_id"])
        run.parts.scheduler.table.ended(run.id, claimed["host_id"])
        run.memo.clear()


async def bind_ports(run: Run) -> list[dict[str, Any]]:
    """Make the ports that the user asked for, and a network where there is none, and bind all to the host."""
    instance, claimed = await instance_of(run), run.results["claim_host"]
    requests = [msgspec.convert(r, NetworkRequest) for r in instance.network_requests]
    if any(request.auto for request in requests):
        requests = await run.parts.networks.auto(run.ctx)
    ports = await run.parts.networks.bind(
        run.ctx,
        instance_id=instance.uuid,
        hostname=instance.hostname,
        host=claimed["host"],
        availability_zone=claimed["availability_zone"],
        requests=requests,
        security_groups=instance.security_groups,
    )
    return [msgspec.to_builtins(p) for p in ports]


async def unbind_ports(run: Run) -> None:
    await run.parts.networks.unbind(run.ctx, instance_id=run.subject_id)


def has_no_network(run: Run) -> bool:
    """Known only where the row has been read in this process; else the step finds nothing to do."""
    return "instance" in run.memo and not run.memo["instance"].network_requests


async def make_volumes(run: Run) -> list[Device] | Wait:
    """Those that are to be made are made, and all are kept for the server and reached by its host. The result has all devices."""
    instance, claimed = await instance_of(run), run.results["claim_host"]
    found = [await _volume_of(run, device) for device in instance.block_devices]
    made = [device for device in found if device is not None]
    if len(made) < len(found):
        return look_again(run)
    return [await hold(run, device, claimed["host"]) if device.get("kind") == "volume" else device for device in made]


async def _volume_of(run: Run, device: Device) -> Device | None:
    """The device with its volume, ready to be had; None while that is still being made."""
    if device.get("kind") != "volume" or device["source"] == "volume":
        return device
    wanted = Wanted(
        size=int(device["size"]),
        volume_type=device.get("volume_type"),
        image_id=device.get("image_id"),
        snapshot_id=device.get("snapshot_id"),
    )
    volume = await run.parts.volumes.create(run.ctx, key_of(run, device), wanted)
    if volume.status in MAKING:
        return None
    if volume.status.startswith("error"):
        raise errors.Invalid(f"Volume {volume.id} did not finish being created; its status is {volume.status}.")
    return device | {"volume_id": volume.id, "shared": volume.multiattach}


async def release_volumes(run: Run) -> None:
    """Nothing is held for the server, and what was made for it goes: another host that is tried may be the last, and refused."""
    await let_go(run)
    for device in (await instance_of(run)).volumes:
        if device["source"] != "volume" and (made := await run.parts.volumes.made(run.ctx, key_of(run, device))):
            await run.parts.volumes.discard(run.ctx, made.id)


async def complete_volumes(run: Run) -> None:
    for device in held(run.results["make_volumes"]):
        await run.parts.volumes.complete(run.ctx, device["attachment_id"])


def has_no_volumes(run: Run) -> bool:
    """Known only where the row has been read in this process; else the steps find nothing to do."""
    return "instance" in run.memo and not run.memo["instance"].volumes


async def spawn(run: Run) -> None:
    """The host makes disks, plugs ports, defines the guest and starts it."""
    instance, claimed = await instance_of(run), run.results["claim_host"]
    ports = tuple(msgspec.convert(p, PortSpec) for p in run.results.get("bind_ports", []))
    if devices := run.results.get("make_volumes"):
        instance = msgspec.structs.replace(instance, block_devices=devices)
    try:
        guest = await guest_of(run.parts, instance, ports, claimed["availability_zone"], claimed["generation"])
        guest = await with_proof(run, guest)
        await run.parts.commands.run(run, claimed["host"], Spawn, generation=claimed["generation"], guest=guest)
    except errors.Unavailable:
        raise
    except errors.Error as error:
        raise await _after_failed_spawn(run, claimed, error) from error


async def destroy_guest(run: Run) -> None:
    """Take the guest off the host; a host that is down is cleaned when it returns."""
    claimed = run.results["claim_host"]
    try:
        await run.parts.commands.run(run, claimed["host"], Destroy, generation=claimed["generation"], undo=True)
    except HostDown as error:
        logger.warning("server.left_on_host", host=claimed["host"], error=error.message)


async def announce(run: Run, conn: Connection) -> None:
    """The guest runs: the server is ACTIVE."""
    claimed = run.results["claim_host"]
    instance = await instance_of(run, conn)
    ports = run.results.get("bind_ports", [])
    root = "/dev/" + {"scsi": "sda", "sata": "sda", "ide": "hda"}.get(str(instance.image_properties.get("hw_disk_bus", "virtio")), "vda")
    if not await placements.activate(conn, run.subject_id, claimed["generation"], PowerState.RUNNING, ports, root):
        raise errors.Conflict("The server was deleted or placed anew while it was built.")
    if devices := run.results.get("make_volumes"):
        await server_volumes.set_devices(conn, run.subject_id, devices)
    table = run.parts.scheduler.table
    if (state := table.by_id.get(claimed["host_id"])) and state.row.failed_builds:
        table.failed(claimed["host_id"], await hosts.count_failed_build(conn, claimed["host_id"], False))


async def mark_error(run: Run, conn: Connection, error: dict[str, Any]) -> None:
    """Nothing is left of the attempt but the server's row, which says why."""
    await placements.set_error(conn, run.subject_id, fault(run, error))


async def _after_failed_spawn(run: Run, claimed: dict[str, Any], error: errors.Error) -> errors.Error:
    """Whether another host is worth trying."""
    if isinstance(error, USERS_FAULT):
        return error
    async with run.parts.database.connection() as conn:
        count = await hosts.count_failed_build(conn, claimed["host_id"], True)
    run.parts.scheduler.table.failed(claimed["host_id"], count)
    tried = {**run.memory.get("tried", {}), claimed["host"]: f"the build failed there: {error.message}"}
    if len(tried) < run.parts.config.scheduler.max_attempts:
        return TryAgain("claim_host", error, {"tried": tried, "decision": claimed["decision"]})
    return GiveUp(
        errors.NoCapacity(f"Exceeded maximum number of retries. The last build failed: {error.message}", detail=told(tried)),
        {"tried": tried, "decision": claimed["decision"]},
    )


CREATE = Definition(
    kind="create",
    steps=steps(
        step(claim_host, undo=release_host, task_state=states.SCHEDULING, deadline=120, in_transaction=True, undo_in_transaction=True),
        step(bind_ports, undo=unbind_ports, task_state=states.NETWORKING, deadline=120, skip=has_no_network),
        step(make_volumes, undo=release_volumes, task_state=states.BLOCK_DEVICE_MAPPING, deadline=1800, skip=has_no_volumes),
        step(spawn, undo=destroy_guest, task_state=states.SPAWNING, deadline=1800),
        step(complete_volumes, task_state=states.SPAWNING, deadline=120, skip=has_no_volumes),
        step(announce, task_state=states.SPAWNING, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
    ),
    failed=mark_error,
)
