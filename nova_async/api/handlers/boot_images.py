"""Images that servers boot from: whether they can, and whether a flavor has room for them."""

from typing import Any

from nova_async.api.request import Request
from nova_async.errors import Forbidden, Invalid, NotFound
from nova_async.policy import servers as policy
from nova_async.services.image import Image

GIB = 2**30


async def bootable(request: Request, image_id: str, missing: str = "Can not find requested image") -> Image:
    """The image, ready to be used. Raises ``Invalid`` in Nova's words."""
    try:
        image = await request.parts.images.get(request.ctx, image_id)
    except NotFound:
        raise Invalid(missing) from None
    if image.status != "active":
        raise Invalid(f"Image {image.id} is not active.")
    if image.properties.get("cinder_encryption_key_id"):
        raise Invalid(f"Image {image.id} is unacceptable: Direct booting of an image uploaded from an encrypted volume is unsupported.")
    return image


def trusted_certificates(request: Request, asked: list[str] | None) -> list[str] | None:
    """Those that the image's must lead to: the caller's, else the operator's; None where nobody asks who signed it."""
    options = request.parts.config.image
    return asked or (list(options.default_trusted_certificates) if options.validate_certificates else None) or None


def check_fit(request: Request, flavor: dict[str, Any], image: Image) -> None:
    """Whether the image fits the flavor. Raises ``Invalid``, ``Forbidden``."""
    if flavor["memory_mb"] < image.min_ram:
        raise Invalid("Flavor's memory is too small for requested image.")
    disk, size = flavor["root_gb"] * GIB, image.size or 0
    if disk == 0:
        if not request.may(policy.CREATE_ZERO_DISK):
            raise Forbidden("Only volume-backed servers are allowed for flavors with zero disk.")
        return
    if size > disk:
        raise Invalid(f"Flavor's disk is too small for requested image. Flavor disk is {disk} bytes, image is {size} bytes.")
    if image.min_disk * GIB > disk:
        raise Invalid(
            "Flavor's disk is smaller than the minimum size specified in image metadata. "
            f"Flavor disk is {disk} bytes, minimum size is {image.min_disk * GIB} bytes."
        )
    option = image.properties.get("img_config_drive", "optional")
    if option not in ("optional", "mandatory"):
        raise Invalid(f"Image's config drive option '{option}' is invalid")
