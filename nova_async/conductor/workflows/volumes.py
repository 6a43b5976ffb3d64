"""Volumes that come and go, are exchanged, and grow while a server lives."""

from typing import Any

import msgspec

from nova_async import errors
from nova_async.bus.messages.compute import AttachVolume, DetachVolume, ExtendVolume, SwapVolume
from nova_async.conductor.guests import volume_spec
from nova_async.conductor.parts import Run
from nova_async.conductor.servers import guest_now, instance_of, leave_to_host, note_fault
from nova_async.conductor.volumes import Device, held, hold, let_go
from nova_async.db import Connection, instances, server_volumes
from nova_async.model.instances import Instance
from nova_async.workflow.steps import Definition, step, steps

# -- one more


async def hold_volume(run: Run) -> Device:
    """Kept for the server, and reached by its host if it is on one."""
    instance = await instance_of(run)
    return await hold(run, run.input["device"], instance.host)


async def give_back(run: Run) -> None:
    """The undo: all else that the row knows is held on."""
    await let_go(run, keep=frozenset(d["attachment_id"] for d in held(_others(run, await instance_of(run)))))


async def plug_volume(run: Run) -> None:
    instance, device = await instance_of(run), run.results["hold_volume"]
    if instance.host:
        guest = await guest_now(run, block_devices=[*_others(run, instance), device])
        await run.parts.commands.run(
            run, instance.host, AttachVolume, generation=instance.generation, guest=guest, volume=volume_spec(device)
        )


async def pull_volume(run: Run) -> None:
    instance, device = await instance_of(run), run.results["hold_volume"]
    if instance.host:
        guest = await guest_now(run, block_devices=_others(run, instance))
        fields: dict[str, Any] = {"guest": guest, "volume": volume_spec(device)}
        await leave_to_host(run, instance.host, DetachVolume, generation=instance.generation, undo=True, **fields)


async def attached(run: Run, conn: Connection) -> None:
    """What was said of the device meanwhile (whether it goes with the server) holds."""
    instance, device = await _fresh(run, conn), run.results["hold_volume"]
    known: Device = next((d for d in instance.block_devices if d.get("id") == device["id"]), {})
    told = {"delete_on_termination": known.get("delete_on_termination", device.get("delete_on_termination"))}
    await server_volumes.set_devices(conn, run.subject_id, [*_others(run, instance), device | told])
    run.memo.clear()


async def not_attached(run: Run, conn: Connection, error: dict[str, Any]) -> None:
    await called_off(run, conn)
    await note_fault(run, conn, error)


async def called_off(run: Run, conn: Connection) -> None:
    """The row has had the device since it was asked for."""
    instance = await _fresh(run, conn)
    await server_volumes.set_devices(conn, run.subject_id, _others(run, instance))
    run.memo.clear()


async def complete(run: Run) -> None:
    """On no host, too: the volume is the server's, and its next host is let to it."""
    await run.parts.volumes.complete(run.ctx, run.results["hold_volume"]["attachment_id"])


# -- one less


async def find_volume(run: Run) -> dict[str, Any]:
    instance = await instance_of(run)
    device = _device(instance, run.input["volume_id"])
    if instance.host:
        await run.parts.volumes.begin_detaching(run.ctx, device["attachment_id"])
    return {"device": device, "left": [d for d in instance.block_devices if d.get("id") != device["id"]]}


async def keep_volume(run: Run) -> None:
    """The undo."""
    instance = await instance_of(run)
    found = next((d for d in held(instance.block_devices) if d["volume_id"] == run.input["volume_id"]), None)
    if found and instance.host:
        await run.parts.volumes.complete(run.ctx, found["attachment_id"])


async def unplug_volume(run: Run) -> None:
    """The host's way to the volume ends before the volume service is told (SEC-034)."""
    instance, found = await instance_of(run), run.results["find_volume"]
    if instance.host:
        guest = await guest_now(run, block_devices=found["left"])
        await run.parts.commands.run(
            run, instance.host, DetachVolume, generation=instance.generation, guest=guest, volume=volume_spec(found["device"])
        )


async def plug_again(run: Run) -> None:
    instance, device = await instance_of(run), run.results["find_volume"]["device"]
    if instance.host:
        fields: dict[str, Any] = {"guest": await guest_now(run), "volume": volume_spec(device)}
        await leave_to_host(run, instance.host, AttachVolume, generation=instance.generation, undo=True, **fields)


async def detached(run: Run, conn: Connection) -> None:
    """The guest has it no more: from here on it goes."""
    instance = await _fresh(run, conn)
    gone = run.results["find_volume"]["device"]["id"]
    await server_volumes.set_devices(conn, run.subject_id, [d for d in instance.block_devices if d.get("id") != gone])
    run.memo.clear()


async def free_volume(run: Run) -> None:
    await run.parts.volumes.free(run.ctx, run.results["find_volume"]["device"]["attachment_id"])


# -- one for another, or (``migrates``) the same one elsewhere, which the volume service wants


async def hold_new(run: Run) -> dict[str, Any]:
    """What is migrated keeps its id: it is another attachment of the same volume to all but the volume service."""
    instance = await instance_of(run)
    old = _device(instance, run.input["old_volume_id"])
    if not instance.host:
        raise errors.Conflict("The server is on no host.")
    if not run.input.get("migrates"):
        await run.parts.volumes.begin_detaching(run.ctx, old["attachment_id"])
    serial = old.get("serial") or old["volume_id"]  # which no running guest can be told anew
    facts = {"volume_id": run.input["new_volume_id"], "size": run.input["new_size"], "attachment_id": None, "serial": serial}
    new = await hold(run, old | facts, instance.host)
    return {"old": old, "new": new | {"volume_id": old["volume_id"]} if run.input.get("migrates") else new}


async def keep_old(run: Run) -> None:
    """The undo: the new one is given back."""
    await give_back(run)
    if run.input.get("migrates"):
        await _end_migration(run, failed=True)
        return
    old = next((d for d in held((await instance_of(run)).block_devices) if d["volume_id"] == run.input["old_volume_id"]), None)
    if old:
        await run.parts.volumes.complete(run.ctx, old["attachment_id"])


async def swap_guests(run: Run) -> None:
    instance, both = await instance_of(run), run.results["hold_new"]
    assert instance.host is not None
    guest = await guest_now(run, block_devices=_swapped(instance, both["new"]))
    fields: dict[str, Any] = {"guest": guest, "old": volume_spec(both["old"]), "new": volume_spec(both["new"])}
    await run.parts.commands.run(run, instance.host, SwapVolume, generation=instance.generation, **fields)


async def swap_back(run: Run) -> None:
    """The undo: a guest that has the new one gets the old one back."""
    instance, both = await instance_of(run), run.results["hold_new"]
    if instance.host:
        fields: dict[str, Any] = {"guest": await guest_now(run), "old": volume_spec(both["new"]), "new": volume_spec(both["old"])}
        await leave_to_host(run, instance.host, SwapVolume, generation=instance.generation, undo=True, **fields)


async def swapped(run: Run, conn: Connection) -> None:
    instance = await _fresh(run, conn)
    await server_volumes.set_devices(conn, run.subject_id, _swapped(instance, run.results["hold_new"]["new"]))
    run.memo.clear()


async def complete_new(run: Run) -> str:
    """The id which the volume goes by from here on."""
    both = run.results["hold_new"]
    await run.parts.volumes.complete(run.ctx, both["new"]["attachment_id"])
    await run.parts.volumes.free(run.ctx, both["old"]["attachment_id"])
    return await _end_migration(run, failed=False) if run.input.get("migrates") else str(both["new"]["volume_id"])


async def named(run: Run, conn: Connection) -> None:
    """The volume service may have given up a migration after all: then the server has another volume."""
    instance = await _fresh(run, conn)
    known = run.results["hold_new"]["new"] | {"volume_id": run.results["complete_new"]}
    await server_volumes.set_devices(conn, run.subject_id, _swapped(instance, known))
    run.memo.clear()


# -- one that has grown


async def grow_disk(run: Run) -> dict[str, int]:
    """Tell the guest."""
    instance = await instance_of(run)
    device = _device(instance, run.input["volume_id"])
    volume = await run.parts.volumes.get(run.ctx, device["volume_id"])
    size = int(run.input.get("size") or volume.size)
    if instance.host:
        grown = msgspec.structs.replace(volume_spec(device), size_gib=size)
        await run.parts.commands.run(
            run, instance.host, ExtendVolume, generation=instance.generation, guest=await guest_now(run), volume=grown
        )
    return {"size": size}


async def noted(run: Run, conn: Connection) -> None:
    instance = await _fresh(run, conn)
    volume_id, size = run.input["volume_id"], run.results["grow_disk"]["size"]
    devices = [d | {"size": size} if d.get("volume_id") == volume_id else d for d in instance.block_devices]
    await server_volumes.set_devices(conn, run.subject_id, devices)
    run.memo.clear()


# -- parts


async def _fresh(run: Run, conn: Connection) -> Instance:
    """The row as it is now: what is kept of a device may change while it is plugged."""
    await instances.hold(conn, run.subject_id)
    run.memo.clear()
    return await instance_of(run, conn)


def _device(instance: Instance, volume_id: str) -> Device:
    found = next((d for d in held(instance.block_devices) if d["volume_id"] == volume_id), None)
    if found is None:
        raise errors.NotFound(f"Instance {instance.uuid} is not attached to volume {volume_id}")
    return found


def _others(run: Run, instance: Instance) -> list[Device]:
    """The server's devices but the one that is being attached."""
    device = run.input.get("device") or {}
    return [d for d in instance.block_devices if not device or d.get("id") != device["id"]]


async def _end_migration(run: Run, *, failed: bool) -> str:
    old, new = run.input["old_volume_id"], run.input["new_volume_id"]
    return await run.parts.volumes.end_migration(run.ctx, old, new, failed=failed)


def _swapped(instance: Instance, new: Device) -> list[Device]:
    """The same device, with another volume behind it."""
    facts = {name: new[name] for name in ("volume_id", "attachment_id", "size", "serial")}
    return [d | facts if d.get("id") == new["id"] else d for d in instance.block_devices]


DEFINITIONS = [
    Definition(
        kind="attach_volume",
        steps=steps(
            step(hold_volume, undo=give_back, deadline=120),
            step(plug_volume, undo=pull_volume, deadline=300),
            step(attached, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
            step(complete, deadline=120),
        ),
        failed=not_attached,
        cancelled=called_off,
    ),
    Definition(
        kind="detach_volume",
        steps=steps(
            step(find_volume, undo=keep_volume, deadline=120),
            step(unplug_volume, undo=plug_again, deadline=300),
            step(detached, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
            step(free_volume, deadline=120),
        ),
        failed=note_fault,
    ),
    Definition(
        kind="swap_volume",
        steps=steps(
            step(hold_new, undo=keep_old, deadline=120),
            step(swap_guests, undo=swap_back, deadline=7200),
            step(swapped, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
            step(complete_new, deadline=600),
            step(named, deadline=120, in_transaction=True, joined=True),
        ),
        failed=note_fault,
    ),
    Definition(
        kind="extend_volume",
        steps=steps(
            step(grow_disk, deadline=300),
            step(noted, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
        ),
        failed=note_fault,
    ),
]
