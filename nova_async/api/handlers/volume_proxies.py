"""Volumes and snapshots as the first versions of the API told of them: a proxy to the volume service."""

from typing import TypeVar

from nova_async.api.request import Request
from nova_async.errors import Forbidden, Invalid, NotFound, TooLarge
from nova_async.services.volume import Snapshot, Volume, Wanted

T = TypeVar("T")


async def volumes(request: Request) -> list[Volume]:
    return _page(request, await request.parts.volumes.find(request.ctx))


async def volume(request: Request) -> Volume:
    return await request.parts.volumes.get(request.ctx, request.values["id"])


async def create(request: Request) -> Volume:
    asked = request.body["volume"]
    snapshot_id = asked.get("snapshot_id")
    if snapshot_id is not None:
        await request.parts.volumes.snapshot(request.ctx, snapshot_id)
    wanted = Wanted(
        size=int(asked["size"]),
        name=asked.get("display_name") or "",
        description=asked.get("display_description") or "",
        volume_type=asked.get("volume_type") or None,
        zone=asked.get("availability_zone"),
        snapshot_id=snapshot_id,
        metadata={str(key): str(value) for key, value in (asked.get("metadata") or {}).items()},
    )
    try:
        made = await request.parts.volumes.create(request.ctx, f"request/{request.parts.world.uuid()}", wanted)
    except TooLarge as error:
        raise Forbidden(error.message) from None
    except NotFound as error:
        raise Invalid(error.message) from None
    request.headers["Location"] = request.here(f"os-volumes/{made.id}")
    return made


async def delete(request: Request) -> None:
    await request.parts.volumes.get(request.ctx, request.values["id"])
    await request.parts.volumes.delete(request.ctx, request.values["id"])


async def snapshots(request: Request) -> list[Snapshot]:
    return _page(request, await request.parts.volumes.find_snapshots(request.ctx))


async def snapshot(request: Request) -> Snapshot:
    return await request.parts.volumes.snapshot(request.ctx, request.values["id"])


async def create_snapshot(request: Request) -> Snapshot:
    asked = request.body["snapshot"]
    name, description = asked.get("display_name") or "", asked.get("display_description") or ""
    key = f"request/{request.parts.world.uuid()}"
    try:
        return await request.parts.volumes.create_snapshot(request.ctx, key, asked["volume_id"], name, description)
    except TooLarge as error:
        raise Forbidden(error.message) from None
    except NotFound as error:
        raise Invalid(error.message) from None


async def delete_snapshot(request: Request) -> None:
    await request.parts.volumes.snapshot(request.ctx, request.values["id"])
    await request.parts.volumes.delete_snapshot(request.ctx, request.values["id"])


def _page(request: Request, found: list[T]) -> list[T]:
    start = int(request.first("offset") or 0)
    return found[start : start + request.limit()]
