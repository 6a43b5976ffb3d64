"""Images made of servers: snapshots, backups, and what a shelved server waits in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nova_async import log, quota
from nova_async.api.handlers import quota_sets
from nova_async.api.handlers.actions import begin, check_legal, target
from nova_async.api.handlers.instances import refuse_tpm
from nova_async.api.request import Request
from nova_async.api.versions import V
from nova_async.errors import Error, Invalid
from nova_async.policy import servers as policy
from nova_async.services.image import Image

# Of the image that the server was made from; they say nothing of the new one (Nova's default list and signatures).
NOT_INHERITED = ("cache_in_nova", "bittorrent", "img_signature", "cinder_encryption_key", "image_type", "backup_type", "instance_uuid")
LONGEST_NAME = 255
logger = log.get("api")


async def create_image(request: Request) -> dict[str, str] | None:
    asked, server = request.body["createImage"], target(request)
    more: dict[str, Any] = {}
    if server.root_volume is not None:
        more = {"of_volumes": True}
        request.require(policy.CREATE_IMAGE_VOLUME_BACKED, project_id=server.project_id, user_id=server.user_id)
    async with _image(request, "createImage", asked["name"], asked.get("metadata") or {}, image_type="snapshot") as image:
        await begin(request, "createImage", locks=False, image_id=image.id, **more)
    return _answer(request, image)


async def create_backup(request: Request) -> dict[str, str] | None:
    """Without a place to look: the oldest beyond ``rotation`` are deleted when the new one is there."""
    asked = request.body["createBackup"]
    if target(request).root_volume is not None:
        raise Invalid("Backup is not supported for volume-backed instances.")
    rotation, kind = int(asked["rotation"]), asked["backup_type"]
    properties = asked.get("metadata") or {}
    async with _image(request, "createBackup", asked["name"], properties, image_type="backup", backup_type=kind) as image:
        await begin(request, "createBackup", locks=False, image_id=image.id, rotation=rotation, backup_type=kind)
    return _answer(request, image) if rotation else None


async def shelve(request: Request) -> None:
    """A server that boots from a volume is kept by that: it needs no image, and leaves its host at once."""
    refuse_tpm(target(request), "shelve")
    if target(request).root_volume is not None:
        await begin(request, "shelve", image_id=None)
        return
    name = f"{target(request).display_name}-shelved"
    async with _image(request, "shelve", name, {}, locks=True, image_type="snapshot") as image:
        await begin(request, "shelve", image_id=image.id)


@asynccontextmanager
async def _image(
    request: Request, action: str, name: str, metadata: dict[str, str], *, locks: bool = False, **kinds: str
) -> AsyncIterator[Image]:
    """A queued image for what the block begins; deleted again when the block raises."""
    server = target(request)
    await check_legal(request, action, locks=locks)
    if metadata and not request.has(V.NO_IMAGE_METADATA):
        async with request.parts.database.connection() as conn:
            limits = await quota_sets.limits(request, conn, server.project_id, request.ctx.user_id)
            quota.check_metadata(limits, len(metadata))
    inherited = {
        key: str(value) for key, value in server.image_properties.items() if value is not None and not key.startswith(NOT_INHERITED)
    }
    properties = inherited | {"instance_uuid": server.uuid, "base_image_ref": server.image_id or "", "user_id": server.user_id}
    image = await request.parts.images.create(
        request.ctx,
        name[:LONGEST_NAME],
        disk_format="raw" if server.root_volume else "qcow2",  # of no bytes; else what hosts send, whatever the server was made from
        container_format="bare",
        properties=properties | kinds | {key: str(value) for key, value in metadata.items()},
        visibility="private",
        min_disk=int((server.root_volume or {}).get("size") or server.flavor.get("root_gb") or 0),
    )
    try:
        yield image
    except BaseException:
        await _forget(request, image)
        raise


async def _forget(request: Request, image: Image) -> None:
    try:
        await request.parts.images.delete(request.ctx, image.id)
    except Error as error:
        logger.warning("image.left", image=image.id, error=error.message)


def _answer(request: Request, image: Image) -> dict[str, Any] | None:
    """The image's address in a header, or its id in a body since 2.45."""
    if request.has(V.IMAGE_ID_IN_BODY):
        return {"image_id": image.id}
    request.headers["Location"] = f"{request.root.removesuffix('/compute')}/image/v2/images/{image.id}"
    return None
