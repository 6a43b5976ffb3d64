"""What a volume service that keeps its volumes as files asks: let the host of a volume's server take part in its snapshots."""

from typing import Any

import msgspec

from nova_async.api.handlers.actions import begin, target
from nova_async.api.handlers.instances import missing
from nova_async.api.request import Request
from nova_async.db import instances, server_volumes
from nova_async.errors import Conflict, Invalid
from nova_async.model import states
from nova_async.model.instances import Instance

PATIENCE_SECONDS = 5.0
LOOK_SECONDS = 0.1


async def create(request: Request) -> dict[str, Any]:
    """The volume service finds out by the snapshot's status how it went."""
    asked = request.body["snapshot"]
    volume_id, info = asked["volume_id"], asked["create_info"]
    request.server = await _holder(request, volume_id)
    await _begin(request, "create_volume_snapshot", volume_id, info["snapshot_id"], info)
    return {"snapshot": {"id": info.get("id"), "volumeId": volume_id}}


async def delete(request: Request) -> None:
    text = request.first("delete_info")
    try:
        info = msgspec.json.decode((text or "").encode(), type=dict[str, Any])
        volume_id = str(info["volume_id"])
    except (msgspec.DecodeError, KeyError):
        raise Invalid("delete_info must be a JSON object that names the volume_id.") from None
    for name in ("file_to_merge", "merge_target_file"):
        if not isinstance(info.get(name), str | None):
            raise Invalid(f"delete_info: {name} must be the name of a file, or null.")
    request.server = server = await _holder(request, volume_id)
    if info.get("merge_target_file") is not None and server.vm_state != states.ACTIVE:
        raise Invalid(f"Cannot 'volume_snapshot_delete' instance {server.uuid} while it is in vm_state {server.vm_state}")
    await _begin(request, "delete_volume_snapshot", volume_id, request.values["id"], info)


async def _holder(request: Request, volume_id: str) -> Instance:
    """The one server that has the volume."""
    async with request.parts.database.connection() as conn:
        found = await server_volumes.holders(conn, volume_id)
        server = await instances.get(conn, found[0]) if len(found) == 1 else None
    if not found:
        raise Invalid(f"No volume Block Device Mapping with id {volume_id[:255]}.")
    if len(found) > 1:
        raise Invalid(f"Block Device Mapping {volume_id} is a multi-attach volume and is not valid for this operation.")
    if server is None:
        raise missing(found[0])
    return server


async def _begin(request: Request, kind: str, volume_id: str, snapshot_id: str, info: dict[str, Any]) -> None:
    """Nova calls 400 what is a conflict elsewhere, and does two of these one after the other: the second waits for the first."""
    world, server = request.parts.world, target(request)
    end = world.monotonic() + PATIENCE_SECONDS
    word = "volume_snapshot_create" if kind == "create_volume_snapshot" else "volume_snapshot_delete"
    while True:
        try:
            await begin(request, kind, word=word, locks=False, placed=True, volume_id=volume_id, snapshot_id=snapshot_id, info=info)
            return
        except Conflict as error:
            if server.host is None or server.task_state is not None or world.monotonic() > end:
                raise Invalid(error.message) from None
        await world.sleep(LOOK_SECONDS)
