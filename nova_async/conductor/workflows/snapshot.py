"""Images made of a server's root disk: createImage, and createBackup, which deletes the oldest backups afterwards."""

from typing import Any

from nova_async import log
from nova_async.bus.messages.compute import Snapshot
from nova_async.conductor.parts import Run
from nova_async.conductor.servers import guest_now, host_of, instance_of, note_fault
from nova_async.db import Connection
from nova_async.errors import Conflict, Error, NotFound, Unavailable
from nova_async.model import states
from nova_async.workflow.steps import Definition, step, steps

logger = log.get("conductor.snapshot")


async def check_image(run: Run) -> None:
    """The image that waits for data is still there; whoever deletes it calls the operation off."""
    image = await run.parts.images.get(run.ctx, run.input["image_id"])
    if image.status not in ("queued", "saving", "active"):
        raise Conflict(f"Image {image.id} is {image.status}; it takes no data.")
    await host_of(run)


async def delete_image(run: Run) -> None:
    """The undo: nobody waits for an image that will not be filled."""
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
        step(send_image, task_state=states.IMAGE_UPLOADING, deadline=7200),
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
