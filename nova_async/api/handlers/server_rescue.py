"""Rescue: a broken server boots from another image, its own disk beside it."""

from nova_async.api.handlers.actions import begin, check_legal, target
from nova_async.api.handlers.boot_images import bootable
from nova_async.api.handlers.instances import refuse_tpm
from nova_async.api.request import Request
from nova_async.api.versions import V
from nova_async.errors import Invalid


async def rescue(request: Request) -> dict[str, str] | None:
    asked = request.body["rescue"] or {}
    image_id = asked.get("rescue_image_ref")
    refuse_tpm(target(request), "rescue")
    await check_legal(request, "rescue")
    if target(request).image_id is None and (image_id is None or not request.has(V.RESCUE_FROM_VOLUME)):
        raise Invalid(f"Instance {target(request).uuid} cannot be rescued: Cannot rescue a volume-backed instance")
    if image_id is not None:
        await bootable(request, image_id)
    await begin(request, "rescue", image_id=image_id)
    if not request.parts.config.api.enable_admin_password:
        return None
    return {"adminPass": asked.get("adminPass") or request.parts.world.secret(9)}
