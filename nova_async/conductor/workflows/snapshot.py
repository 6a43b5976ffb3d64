"""Images made of a server's root disk: createImage, and createBackup, which deletes the oldest backups afterwards."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from nova_async import log
from nova_async.bus.messages.compute import Pause, Snapshot, Unpause
from nova_async.conductor.parts import Run
from nova_async.conductor.servers import guest_now, host_of, instance_of, leave_to_host, note_fault
from nova_async.conductor.volumes import Device, held, look_again
from nova_async.db import Connection
from nova_async.errors import Conflict, Error, NotFound, Unavailable
from nova_async.model import states
from nova_async.model.power import PowerState
from nova_async.workflow.steps import Definition, Wait, step, steps

logger = log.get("conductor.snapshot")


async def check_image(run: Run) -> None:
    """The image that waits for data is still there; whoever deletes it calls the operation off."""
    if run.input["image_id"] is None:  # it boots from a volume, and is shelved without an image
        await host_of(run)
        return
    image = await run.parts.images.get(run.ctx, run.input["image_id"])
    if image.status not in ("queued", "saving", "active"):
        raise Conflict(f"Image {image.id} is {image.status}; it takes no data.")
    await host_of(run)


async def delete_image(run: Run) -> None:
    """The undo: nobody waits for an image that will not be filled."""
    if run.input["image_id"] is None:
        return
    try:
        await run.parts.images.delete(run.ctx, run.input["image_id"])
    except NotFound:
        return


async def send_image(run: Run) -> None:
    """The host takes the snapshot and sends it to the image service."""
    instance = await instance_of(run)
    guest = await guest_now(run)
    await run.parts.commands.run(
        run, await host_of(run), Snapshot, generation=instance.generation, image_id=run.input["image_id"], guest=guest
    )


# -- of a server that boots from a volume: snapshots of its volumes, and an image without bytes that names them


def of_volumes(run: Run) -> bool:
    return bool(run.input.get("of_volumes"))


def of_a_disk(run: Run) -> bool:
    return not of_volumes(run)


async def hold_still(run: Run) -> dict[str, bool]:
    """So that all snapshots are of one instant."""
    instance = await instance_of(run)
    running = instance.vm_state == states.ACTIVE and instance.power_state == PowerState.RUNNING
    if running:
        await run.parts.commands.run(run, await host_of(run), Pause, generation=instance.generation)
    return {"held": running}


async def go_on(run: Run) -> None:
    instance = await instance_of(run)
    if instance.vm_state == states.ACTIVE and instance.host and run.results.get("hold_still", {"held": True})["held"]:
        await leave_to_host(run, instance.host, Unpause, generation=instance.generation, undo=run.undoing)


async def snapshot_volumes(run: Run) -> list[dict[str, Any]] | Wait:
    """The result is what the image maps, in the form of a server's body."""
    mapped, waiting = [], False
    for device in held((await instance_of(run)).block_devices):
        name = f"snapshot for image {run.input['image_id']}"
        snapshot = await run.parts.volumes.create_snapshot(run.ctx, _key(run, device), device["volume_id"], name, "")
        if snapshot.status.startswith("error"):
            raise Conflict(f"The snapshot of volume {device['volume_id']} could not be made.")
        waiting = waiting or snapshot.status == "creating"
        mapped.append(_mapping(device, snapshot.id))
    return look_again(run) if waiting else mapped


async def drop_snapshots(run: Run) -> None:
    for device in held((await instance_of(run)).block_devices):
        await run.parts.volumes.discard_snapshot(run.ctx, _key(run, device))


async def fill_image(run: Run) -> None:
    image = await run.parts.images.get(run.ctx, run.input["image_id"])
    if image.status == "active":
        return
    mapping = msgspec.json.encode(run.results["snapshot_volumes"]).decode()
    told = {"block_device_mapping": mapping, "bdm_v2": "True", "root_device_name": (await instance_of(run)).root_device_name or "/dev/vda"}
    await run.parts.images.set_properties(run.ctx, image.id, image.properties | told)
    await run.parts.images.upload(run.ctx, image.id, _no_bytes())


def _key(run: Run, device: Device) -> str:
    return f"image/{run.input['image_id']}/{device['id']}"


def _mapping(device: Device, snapshot_id: str) -> dict[str, Any]:
    return {
        "source_type": "snapshot",
        "destination_type": "volume",
        "snapshot_id": snapshot_id,
        "device_name": device["device"],
        "device_type": "disk",
        "disk_bus": device.get("bus"),
        "boot_index": device.get("boot_index"),
        "delete_on_termination": bool(device.get("delete_on_termination")),
        "volume_size": device.get("size"),
    }


async def _no_bytes() -> AsyncIterator[bytes]:
    yield b""


async def keep_image(run: Run, conn: Connection) -> None:
    """The image is whole: from here on it stays."""


async def rotate(run: Run) -> dict[str, Any]:
    """Delete the oldest backups of this kind beyond ``rotation``. One that cannot be deleted is left."""
    instance = await instance_of(run)
    kind = {"instance_uuid": instance.uuid, "image_type": "backup", "backup_type": str(run.input["backup_type"])}
    backups = await run.parts.images.owned(run.ctx, instance.project_id, kind)
    surplus = backups[int(run.input["rotation"]) :]
    left = []
    for image in surplus:
        try:
            await run.parts.images.delete(run.ctx, image.id)
        except NotFound:
            continue
        except Unavailable:
            raise
        except Error as error:
            logger.warning("backup.not_deleted", image=image.id, error=error.message)
            left.append(image.id)
    return {"deleted": len(surplus) - len(left), "left": left}


CREATE_IMAGE = Definition(
    kind="createImage",
    steps=steps(
        step(check_image, undo=delete_image, task_state=states.IMAGE_SNAPSHOT_PENDING, deadline=120),
        step(hold_still, undo=go_on, task_state=states.IMAGE_SNAPSHOT_PENDING, deadline=120, skip=of_a_disk),
        step(snapshot_volumes, undo=drop_snapshots, task_state=states.IMAGE_SNAPSHOT_PENDING, deadline=7200, skip=of_a_disk),
        step(go_on, task_state=states.IMAGE_SNAPSHOT_PENDING, deadline=120, skip=of_a_disk),
        step(send_image, task_state=states.IMAGE_UPLOADING, deadline=7200, skip=of_volumes),
        step(fill_image, task_state=states.IMAGE_UPLOADING, deadline=600, skip=of_a_disk),
        step(keep_image, task_state=states.IMAGE_UPLOADING, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
    ),
    failed=note_fault,
)
CREATE_BACKUP = Definition(
    kind="createBackup",
    steps=steps(
        step(check_image, undo=delete_image, task_state=states.IMAGE_BACKUP, deadline=120),
        step(send_image, task_state=states.IMAGE_BACKUP, deadline=7200),
        step(keep_image, task_state=states.IMAGE_BACKUP, deadline=120, in_transaction=True, point_of_no_return=True, joined=True),
        step(rotate, task_state=states.IMAGE_BACKUP, deadline=600),
    ),
    failed=note_fault,
)
