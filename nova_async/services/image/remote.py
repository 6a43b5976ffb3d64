"""Glance (or another nova_async's image service) behind ``ImageService``.

We ask with our own credential, which sees more than the caller: whether the caller may see and
change an image is decided here, from the image's owner, visibility and members.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from nova_async import errors
from nova_async.context import Context
from nova_async.services.client import TRANSFER, ServiceClient, TokenSource
from nova_async.services.image import Image, rules
from nova_async.world import World

CHUNK = 2**20
IMAGES = "/v2/images"
OCTETS = {"Content-Type": "application/octet-stream"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
PAGE, MAX_PAGES = 200, 20  # images of one question; questions of one answer
NOT_PROPERTIES = frozenset({"self", "file", "schema", "direct_url", "locations", "stores"})


class RemoteImages:
    """Implements ``ImageService``. ``url`` is the endpoint, with or without ``/v2``, or how to find it."""

    def __init__(self, url: str | Callable[[], Awaitable[str]], token_source: TokenSource, world: World) -> None:
        base = url.rstrip("/").removesuffix("/v2") if isinstance(url, str) else url
        self._client = ServiceClient("image", base, world, token_source)

    async def close(self) -> None:
        await self._client.close()

    async def get(self, ctx: Context, image_id: str) -> Image:
        """Raises ``NotFound`` when there is none that the caller may see, ``Unavailable``."""
        if not rules.UUID.fullmatch(image_id):
            raise rules.no_image(image_id)
        image = parse(await self._json("GET", f"/{image_id}"))
        if not await self._may_see(ctx, image):
            raise rules.no_image(image_id)
        return image

    async def download(self, ctx: Context, image_id: str, *, start: int = 0) -> AsyncIterator[bytes]:
        """The bytes from ``start`` on, in chunks of at most 1 MiB.

        The caller verifies them, and may resume after ``Unavailable`` where it stood. Raises ``Conflict`` where there are none yet.
        """
        image = await self.get(ctx, image_id)
        headers = {"Range": f"bytes={start}-"} if start else {}
        async with self._client.asked("GET", f"{IMAGES}/{image.id}/file", headers=headers, timeout=TRANSFER) as response:
            if response.status == 204:
                raise errors.Conflict(f"Image {image.id} has no data yet; its status is {image.status}.")
            if response.status != (206 if start else 200):
                raise errors.Unavailable("The image service does not resume downloads.")
            async for chunk in response.content.iter_chunked(CHUNK):
                yield chunk

    async def create(self, ctx: Context, name: str, *, disk_format: str, properties: dict[str, str], **fields: Any) -> Image:
        """A queued image that belongs to the caller's project."""
        rules.check_writer(ctx)
        body = {**properties, "container_format": "bare", **fields, "name": name, "disk_format": disk_format}
        return parse(await self._json("POST", "", json={**body, "owner": fields.get("owner") or ctx.project_id}))

    async def upload(self, ctx: Context, image_id: str, data: AsyncIterator[bytes]) -> Image:
        """Fill a queued image; the image service inspects the data."""
        image = await self._changeable(ctx, image_id, "upload data to")
        path = f"{IMAGES}/{image.id}/file"
        async with self._client.asked("PUT", path, data=data, headers=OCTETS, timeout=TRANSFER, repeat=False):
            pass
        return await self.get(ctx, image_id)

    async def delete(self, ctx: Context, image_id: str) -> None:
        image = await self._changeable(ctx, image_id, "delete")
        await self._json("DELETE", f"/{image.id}")

    async def owned(self, ctx: Context, project_id: str, properties: dict[str, str]) -> list[Image]:
        """See ``ImageService.owned``."""
        query = {**properties, "owner": project_id, "visibility": "all", "sort": "created_at:desc", "limit": "1000"}
        found = (await self._json("GET", "", params=query)).get("images") or []
        return [image for body in found if (image := parse(body)).owner == project_id]

    async def find(self, ctx: Context, query: dict[str, str]) -> list[Image]:
        """See ``ImageService.find``. Our credential is shown more than the caller may see, so that a page may take several questions."""
        limit, found = int(query.get("limit", PAGE)), list[Image]()
        query = {"sort": "created_at:desc", "visibility": "all", **query, "limit": str(PAGE)}
        for _ in range(MAX_PAGES):
            page = [parse(body) for body in (await self._json("GET", "", params=query)).get("images") or []]
            found += [image for image in page if await self._may_list(ctx, image)]
            if len(page) < PAGE or len(found) >= limit:
                break
            query["marker"] = page[-1].id
        return found[:limit]

    async def set_properties(self, ctx: Context, image_id: str, properties: dict[str, str]) -> Image:
        """See ``ImageService.set_properties``."""
        image = await self._changeable(ctx, image_id, "modify")
        gone = [{"op": "remove", "path": _pointer(name)} for name in image.properties if name not in properties]
        kept = [{"op": "add", "path": _pointer(k), "value": v} for k, v in properties.items() if image.properties.get(k) != v]
        if gone or kept:
            patch = msgspec.json.encode(gone + kept)
            return parse(await self._json("PATCH", f"/{image.id}", data=patch, headers=PATCH))
        return image

    async def _changeable(self, ctx: Context, image_id: str, what: str) -> Image:
        image = await self.get(ctx, image_id)
        rules.check_writer(ctx)
        if not ctx.is_admin and image.owner != ctx.project_id:
            raise errors.Forbidden(f"You are not permitted to {what} this image.")
        return image

    async def _may_see(self, ctx: Context, image: Image) -> bool:
        if ctx.is_admin or image.visibility in ("public", "community") or (ctx.project_id and image.owner == ctx.project_id):
            return True
        if image.visibility != "shared" or not ctx.project_id:
            return False
        return await self._membership(ctx, image) is not None

    async def _may_list(self, ctx: Context, image: Image) -> bool:
        """Lists are shorter than what may be seen: neither what others gave to all unasked, nor what was not accepted yet."""
        if image.visibility == "public" or (ctx.project_id and image.owner == ctx.project_id):
            return True
        if ctx.is_admin or image.visibility != "shared" or not ctx.project_id:
            return ctx.is_admin and image.visibility != "community"
        return await self._membership(ctx, image) == "accepted"

    async def _membership(self, ctx: Context, image: Image) -> str | None:
        """Whether the caller's project accepted a shared image; None where it is no member."""
        members = (await self._json("GET", f"/{image.id}/members")).get("members") or []
        return next((str(m.get("status")) for m in members if m.get("member_id") == ctx.project_id), None)

    async def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return await self._client.json(method, IMAGES + path, **options)


def _pointer(name: str) -> str:
    """RFC 6901."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def parse(body: dict[str, Any]) -> Image:
    """Glance's JSON as our record; raises ``Unavailable`` where it is none."""
    own = {k: v for k, v in body.items() if k in Image.__struct_fields__ and k != "properties" and v is not None}
    others = {k: v for k, v in body.items() if k not in Image.__struct_fields__ and k not in NOT_PROPERTIES and isinstance(v, str)}
    try:
        return msgspec.convert({"os_hash_algo": None, **own, "properties": others}, Image)
    except msgspec.ValidationError as error:
        raise errors.Unavailable("The image service answered in a form that is not known.", detail=str(error)) from None
