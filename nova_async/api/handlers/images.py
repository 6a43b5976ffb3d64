"""The proxy to the image service, as the first versions of the API had it; the image service decides who may do what."""

from nova_async import quota
from nova_async.api.handlers import quota_sets
from nova_async.api.render import Page
from nova_async.api.request import Request
from nova_async.errors import Forbidden, Invalid, NotFound
from nova_async.services.image import Image

FILTERS = {  # Nova's word -> Glance's
    "name": "name",
    "status": "status",
    "changes-since": "updated_at",
    "server": "instance_uuid",
    "type": "image_type",
    "minRam": "min_ram",
    "minDisk": "min_disk",
}
PROPERTY = "property-"


async def index(request: Request) -> Page:
    """Those that the caller may see, newest first."""
    limit = _limit(request)
    query = {"limit": str(limit), **_filters(request)}
    if (marker := request.first("marker")) is not None:
        query["marker"] = marker
    found = await request.parts.images.find(request.ctx, query)
    return Page(found, found[-1].id if found and len(found) == limit else None)


async def show(request: Request) -> Image:
    return await _image(request, request.values["id"])


async def delete(request: Request) -> None:
    image = await _image(request, request.values["id"])
    try:
        await request.parts.images.delete(request.ctx, image.id)
    except Forbidden as error:
        raise Forbidden("You are not allowed to delete the image.", detail=error.message) from None


# What is noted on an image


async def metadata(request: Request) -> dict[str, str]:
    return (await _image(request, request.values["image_id"])).properties


async def metadata_item(request: Request) -> dict[str, str]:
    key, items = request.values["id"], await metadata(request)
    if key not in items:
        raise NotFound()
    return {key: items[key]}


async def add_metadata(request: Request) -> dict[str, str]:
    """Add items; those that exist change."""
    image = await _image(request, request.values["image_id"])
    return await _note(request, image, image.properties | request.body["metadata"])


async def replace_metadata(request: Request) -> dict[str, str]:
    image = await _image(request, request.values["image_id"])
    return await _note(request, image, request.body["metadata"])


async def set_metadata_item(request: Request) -> dict[str, str]:
    items: dict[str, str] = request.body["meta"]
    if request.values["id"] not in items:
        raise Invalid("Request body and URI mismatch")
    image = await _image(request, request.values["image_id"])
    await _note(request, image, image.properties | items)
    return items


async def delete_metadata_item(request: Request) -> None:
    image = await _image(request, request.values["image_id"])
    if request.values["id"] not in image.properties:
        raise NotFound("Invalid metadata key")
    kept = {key: value for key, value in image.properties.items() if key != request.values["id"]}
    await request.parts.images.set_properties(request.ctx, image.id, kept)


async def _note(request: Request, image: Image, items: dict[str, str]) -> dict[str, str]:
    async with request.parts.database.connection() as conn:
        limits = await quota_sets.limits(request, conn, request.ctx.project_id, request.ctx.user_id)
    quota.check_metadata(limits, len(items))
    return (await request.parts.images.set_properties(request.ctx, image.id, items)).properties


async def _image(request: Request, image_id: str) -> Image:
    try:
        return await request.parts.images.get(request.ctx, image_id)
    except NotFound as error:
        raise NotFound("Image not found.", detail=error.message) from None


def _filters(request: Request) -> dict[str, str]:
    """In the words of Glance's query; a server may be named by its address."""
    found = {FILTERS[key]: values[0] for key, values in request.query.items() if key in FILTERS}
    found |= {key.removeprefix(PROPERTY): values[0] for key, values in request.query.items() if key.startswith(PROPERTY)}
    if "status" in found:
        found["status"] = found["status"].lower()
    if "instance_uuid" in found:
        found["instance_uuid"] = found["instance_uuid"].rpartition("/")[2]
    if "updated_at" in found:
        found["updated_at"] = f"gte:{found['updated_at']}"
    return found


def _limit(request: Request) -> int:
    """``page_size`` is an older word for it."""
    sizes = [int(text) for key in ("limit", "page_size") if (text := request.first(key)) is not None]
    return min([*sizes, request.parts.config.api.max_limit])
