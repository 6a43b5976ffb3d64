"""``rebuild``: a new root disk for a server that keeps its host, ports and identity."""

from typing import Any, NamedTuple

import msgspec

from nova_async import quota
from nova_async.api.handlers import quota_sets, server_topology
from nova_async.api.handlers.actions import beginning, target
from nova_async.api.handlers.boot_images import bootable, check_fit, trusted_certificates
from nova_async.api.handlers.instances import described, refuse_tpm
from nova_async.api.request import Request
from nova_async.api.schemas import truth
from nova_async.api.versions import V
from nova_async.db import Connection, instances, keypairs
from nova_async.errors import Invalid
from nova_async.model.instances import Instance
from nova_async.policy import servers as policy
from nova_async.services.image import Image, image_ref


class Rebuilt(NamedTuple):
    server: Instance
    password: str | None  # None: not shown


async def rebuild(request: Request) -> Rebuilt:
    """The row says at once what the server shall be; the workflow makes it so."""
    server, asked = target(request), request.body["rebuild"]
    refuse_tpm(server, "rebuild")
    if asked.get("trusted_image_certificates"):
        request.require(policy.REBUILD_TRUSTED_CERTS, project_id=server.project_id, user_id=server.user_id)
    image = await bootable(request, asked["imageRef"], "Cannot find image for rebuild")
    if server.root_volume is None:
        check_fit(request, server.flavor, image)
    else:
        await _check_volume(request, server.root_volume["volume_id"], image)
        if asked.get("trusted_image_certificates"):
            raise Invalid("Image certificate validation is not supported for volume-backed servers.")
    server_topology.check(request, server.flavor, image.properties)
    server_topology.check_same(server.flavor, server.image_properties, image.properties)
    columns = _columns(asked, image)
    if "trusted_image_certificates" in asked:
        columns["trusted_certs"] = trusted_certificates(request, asked["trusted_image_certificates"])
    if server.root_volume is not None:  # it has no image, its volume has
        columns |= {"image_id": None, "system_metadata": {}}
    more: dict[str, Any] = {"reimage": True} if server.root_volume is not None and request.has(V.REBUILD_VOLUME) else {}
    of_key = ("key_name", "key_data") if "key_name" in asked else ()
    more["was"] = {name: getattr(server, name) for name in (*columns, *of_key)}  # its host may refuse the image: then it is that again
    preserve = truth(asked.get("preserve_ephemeral", False))
    async with beginning(request, "rebuild", image_id=image.id, preserve_ephemeral=preserve, **more) as begun:
        await _check_limits(request, begun.conn, server, asked)
        if "key_name" in asked:
            columns |= await _key(begun.conn, server, asked["key_name"])
        await instances.change(begun.conn, server.uuid, **columns)
    request.headers["Location"] = request.here(f"servers/{server.uuid}")
    password = asked.get("adminPass") or request.parts.world.secret(9)
    async with request.parts.database.connection() as conn:
        changed = await instances.get(conn, server.uuid)
    return Rebuilt(changed or server, password if request.parts.config.api.enable_admin_password else None)


async def _check_volume(request: Request, volume_id: str, image: Image) -> None:
    """Raises ``Invalid`` where the image cannot be written over the volume that the server boots from."""
    volume = await request.parts.volumes.get(request.ctx, volume_id)
    if not request.has(V.REBUILD_VOLUME) and volume.image_metadata.get("image_id") != image.id:
        raise Invalid("Unable to rebuild with a different image for a volume-backed server.")
    if volume.size < image.min_disk:
        raise Invalid(f"Image {image.id} needs a volume of {image.min_disk} GiB, and volume {volume.id} has {volume.size} GiB.")


KEPT = {
    "metadata": "metadata",
    "user_data": "user_data",
}


def _columns(asked: dict[str, Any], image: Image) -> dict[str, Any]:
    """What of the server's row changes, beside the key pair."""
    columns: dict[str, Any] = {
        "image_id": image.id,
        "image_properties": image.properties,
        "kernel_id": image.properties.get("kernel_id", ""),
        "ramdisk_id": image.properties.get("ramdisk_id", ""),
        "system_metadata": {"image": msgspec.to_builtins(image_ref(image))},
    }
    columns |= described(asked)
    columns |= {column: asked[key] for key, column in KEPT.items() if key in asked}
    if "personality" in asked:
        columns["injected_files"] = [{"path": f.get("path", ""), "contents": f.get("contents", "")} for f in asked["personality"]]
    return columns


async def _check_limits(request: Request, conn: Connection, server: Instance, asked: dict[str, Any]) -> None:
    limits = await quota_sets.limits(request, conn, server.project_id, request.ctx.user_id)
    quota.check_metadata(limits, len(asked.get("metadata") or ()))
    files = asked.get("personality") or []
    quota.check_injected_files(limits, [(f.get("path", ""), len(f.get("contents", "")) * 3 // 4) for f in files])


async def _key(conn: Connection, server: Instance, name: str | None) -> dict[str, Any]:
    """The columns of another key pair of the server's owner, or of none. Raises ``Invalid``."""
    if name is None:
        return {"key_name": None, "key_data": None}
    key = await keypairs.get(conn, server.user_id, name)
    if key is None:
        raise Invalid("Invalid key_name provided.")
    return {"key_name": key.name, "key_data": {"name": key.name, "type": key.type, "public_key": key.public_key}}
