"""A host's part in snapshots of volumes that a volume service keeps as files: it alone knows what the guest is writing.

No action of the server records it, and a failure is no fault of the server: the volume service is told, and asked for it.
"""

from typing import Any

from nova_async import errors
from nova_async.bus.messages.compute import MergeVolume, SnapshotVolume
from nova_async.conductor.guests import volume_spec
from nova_async.conductor.parts import Run
from nova_async.conductor.servers import guest_now, host_of, instance_of
from nova_async.conductor.volumes import held
from nova_async.model.guests import VolumeSpec
from nova_async.workflow.steps import Definition, step, steps

SECONDS = 7200.0  # for files to be merged


async def snapshot_volume(run: Run) -> None:
    instance, info = await instance_of(run), run.input["info"]
    fields: dict[str, Any] = {"guest": await guest_now(run), "volume": await _volume(run), "new_file": info["new_file"]}
    await run.parts.commands.run(run, await host_of(run), SnapshotVolume, generation=instance.generation, **fields)


async def say_error(run: Run) -> None:
    """The undo: where the guest writes is the volume service's to decide."""
    await _tell(run, "error")


async def say_created(run: Run) -> None:
    """It is still ``creating`` by Cinder's rules: the host's part of it is done."""
    await _tell(run, "creating")


async def merge_volume(run: Run) -> None:
    instance, info = await instance_of(run), run.input["info"]
    if info.get("type") != "qcow2":
        raise errors.Invalid("delete_info must name the type, which is qcow2.")
    fields: dict[str, Any] = {"guest": await guest_now(run), "volume": await _volume(run)}
    files = {"file_to_merge": info.get("file_to_merge"), "merge_target_file": info.get("merge_target_file")}
    await run.parts.commands.run(run, await host_of(run), MergeVolume, generation=instance.generation, **fields, **files)


async def say_error_deleting(run: Run) -> None:
    await _tell(run, "error_deleting")


async def say_deleted(run: Run) -> None:
    await _tell(run, "deleting")


async def _volume(run: Run) -> VolumeSpec:
    volume_id = run.input["volume_id"]
    found = next((d for d in held((await instance_of(run)).block_devices) if d["volume_id"] == volume_id), None)
    if found is None:
        raise errors.NotFound(f"Volume {volume_id} is attached no more.")
    return volume_spec(found)


async def _tell(run: Run, status: str) -> None:
    """A snapshot that the volume service does not know, or that has come further, is nothing to be told of."""
    try:
        await run.parts.volumes.tell_snapshot(run.ctx, run.input["snapshot_id"], status)
    except (errors.NotFound, errors.Invalid):
        return


DEFINITIONS = [
    Definition(
        kind="create_volume_snapshot",
        steps=steps(
            step(snapshot_volume, undo=say_error, deadline=300, point_of_no_return=True),
            step(say_created, deadline=120),
        ),
    ),
    Definition(
        kind="delete_volume_snapshot",
        steps=steps(
            step(merge_volume, undo=say_error_deleting, deadline=SECONDS, point_of_no_return=True),
            step(say_deleted, deadline=120),
        ),
    ),
]
