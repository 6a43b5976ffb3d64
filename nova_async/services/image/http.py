"""Glance v2 over HTTP, mounted at ``/image``."""

import asyncio
import html
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import ClientError, web

from nova_async import log
from nova_async.config import Config
from nova_async.errors import BadMediaType, Conflict, Error, Invalid, NotFound, plain
from nova_async.services.callers import CallersTokens
from nova_async.services.image import listing, patch, rules, views
from nova_async.services.image.builtin import IDLE_SECONDS, BuiltinImages
from nova_async.services.web import Handler, Tokens, context_of, edge, json_body, json_response
from nova_async.world import World

IMAGE = "/v2/images/{image_id}"
RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
VERSIONS = "image-versions"
logger = log.get("image")


def application(
    images: BuiltinImages, tokens: Tokens, world: World, config: Config, callers: CallersTokens | None = None
) -> web.Application:
    """The application; the caller mounts it with ``add_subapp("/image", ...)``."""
    api = Api(images, config)
    guard = edge(world, tokens, _fault, lambda request: (request.match_info.route.name or "").startswith(VERSIONS), callers)
    app = web.Application(middlewares=[_as_accepted, guard], client_max_size=config.api.max_body_bytes)
    app.add_routes(
        [
            web.get("", api.choices, name=VERSIONS),
            web.get("/", api.choices, name=VERSIONS + "-root"),
            web.get("/versions", api.versions, name=VERSIONS + "-list"),
            web.get("/v2/images", api.index),
            web.post("/v2/images", api.create),
            web.get(IMAGE, api.show),
            web.patch(IMAGE, api.change),
            web.delete(IMAGE, api.delete),
            web.put(IMAGE + "/file", api.upload),
            web.get(IMAGE + "/file", api.download, allow_head=False),
            web.put(IMAGE + "/stage", api.stage),
            web.post(IMAGE + "/import", api.import_),
            web.post(IMAGE + "/actions/deactivate", api.deactivate),
            web.post(IMAGE + "/actions/reactivate", api.reactivate),
            web.put(IMAGE + "/tags/{tag}", api.add_tag),
            web.delete(IMAGE + "/tags/{tag}", api.remove_tag),
            web.get(IMAGE + "/members", api.members),
            web.post(IMAGE + "/members", api.add_member),
            web.get(IMAGE + "/members/{member}", api.show_member),
            web.put(IMAGE + "/members/{member}", api.change_member),
            web.delete(IMAGE + "/members/{member}", api.remove_member),
            web.get(IMAGE + "/tasks", api.image_tasks),
            web.get("/v2/schemas/{name:.+}", api.schema),
            web.get("/v2/info/import", api.import_info),
            web.get("/v2/info/stores", api.stores),
            web.get("/v2/tasks", api.tasks),
            web.get("/v2/metadefs/namespaces", api.namespaces),
        ]
    )
    return app


class Api:
    """The handlers."""

    def __init__(self, images: BuiltinImages, config: Config) -> None:
        self._images = images
        self._base = f"{config.public_url}/image"
        self._max_limit = config.api.max_limit

    async def choices(self, _: web.Request) -> web.StreamResponse:
        return json_response(views.versions(self._base), 300)

    async def versions(self, _: web.Request) -> web.StreamResponse:
        return json_response(views.versions(self._base))

    # Images

    async def index(self, request: web.Request) -> web.StreamResponse:
        asked = listing.parse(request.query, self._max_limit)
        found = await self._images.page(
            context_of(request),
            asked.filters,
            member_status=asked.member_status,
            sort=asked.sort,
            marker=asked.marker,
            limit=asked.limit,
        )
        kept = [(k, v) for k, v in request.query.items() if k != "marker"]
        body = {"images": [views.image(i) for i in found], "first": _link(kept), "schema": "/v2/schemas/images"}
        if found and len(found) == asked.limit:
            body["next"] = _link([*kept, ("marker", found[-1].id)])
        return json_response(body)

    async def create(self, request: web.Request) -> web.StreamResponse:
        body = await json_body(request)
        fields = {name: body.pop(name) for name in (*rules.FIELDS, "id") if name in body}
        fields |= {"name": fields.get("name"), "disk_format": fields.get("disk_format")}
        found = await self._images.create(context_of(request), properties=body, **fields)
        headers = {"Location": f"{self._base}/v2/images/{found.id}", "OpenStack-image-import-methods": ",".join(views.METHODS)}
        return json_response(views.image(found), 201, headers)

    async def show(self, request: web.Request) -> web.StreamResponse:
        return json_response(views.image(await self._images.get(context_of(request), _image_id(request))))

    async def change(self, request: web.Request) -> web.StreamResponse:
        operations = patch.parse(request.content_type, await request.read())
        found = await self._images.change(context_of(request), _image_id(request), patch.edit(operations))
        return json_response(views.image(found))

    async def delete(self, request: web.Request) -> web.StreamResponse:
        await self._images.delete(context_of(request), _image_id(request))
        return web.Response(status=204)

    # Bytes

    async def upload(self, request: web.Request) -> web.StreamResponse:
        return await self._receive(request, stage=False)

    async def stage(self, request: web.Request) -> web.StreamResponse:
        return await self._receive(request, stage=True)

    async def _receive(self, request: web.Request, *, stage: bool) -> web.StreamResponse:
        if request.content_type != "application/octet-stream":
            raise BadMediaType("Image data must be of the type application/octet-stream.")
        size = _announced_size(request)
        await self._images.upload(context_of(request), _image_id(request), _body(request), size=size, stage=stage)
        return web.Response(status=204)

    async def import_(self, request: web.Request) -> web.StreamResponse:
        """Only what was staged is imported: this service fetches nothing on anybody's behalf."""
        body = await json_body(request)
        method, stores = body.get("method"), body.get("stores", [views.STORE])
        name = method.get("name") if isinstance(method, dict) else None
        if name not in views.METHODS:
            raise Invalid(f"Unknown import method: expected one of {', '.join(views.METHODS)}.")
        if stores not in ([], [views.STORE]):
            raise Conflict(f"Unknown store: the one that there is is {views.STORE}.")
        await self._images.import_staged(context_of(request), _image_id(request))
        return web.Response(status=202)

    async def download(self, request: web.Request) -> web.StreamResponse:
        ctx, image_id = context_of(request), _image_id(request)
        found = await self._images.get(ctx, image_id)
        if found.status not in ("active", "deactivated"):
            return web.Response(status=204)
        size = found.size or 0
        start, length = _range(request.headers.get("Range"), size)
        chunks = self._images.download(ctx, image_id, start=start, length=length)
        first = await anext(chunks, b"")  # what is refused is refused before the answer begins
        response = web.StreamResponse(status=200 if length is None else 206)
        response.content_type = "application/octet-stream"
        response.content_length = size if length is None else length
        response.headers["Accept-Ranges"] = "bytes"
        if length is not None:
            response.headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
        elif found.checksum:
            response.headers["Content-MD5"] = found.checksum
        await response.prepare(request)
        async with aclosing(chunks):
            await _send(request, response, first, chunks)
        return response

    # What an image carries

    async def deactivate(self, request: web.Request) -> web.StreamResponse:
        await self._images.set_active(context_of(request), _image_id(request), False)
        return web.Response(status=204)

    async def reactivate(self, request: web.Request) -> web.StreamResponse:
        await self._images.set_active(context_of(request), _image_id(request), True)
        return web.Response(status=204)

    async def add_tag(self, request: web.Request) -> web.StreamResponse:
        operation = patch.Operation("add", "tags", "-", request.match_info["tag"])
        await self._images.change(context_of(request), _image_id(request), patch.edit([operation]))
        return web.Response(status=204)

    async def remove_tag(self, request: web.Request) -> web.StreamResponse:
        tag = request.match_info["tag"]

        def without(fields: Any) -> Any:
            if tag not in fields.tags:
                raise NotFound("The image has no such tag.")
            fields.tags.remove(tag)
            return fields

        await self._images.change(context_of(request), _image_id(request), without)
        return web.Response(status=204)

    async def members(self, request: web.Request) -> web.StreamResponse:
        found = await self._images.members(context_of(request), _image_id(request))
        return json_response({"members": [views.member(m) for m in found], "schema": "/v2/schemas/members"})

    async def add_member(self, request: web.Request) -> web.StreamResponse:
        member = (await json_body(request)).get("member")
        if not isinstance(member, str):
            raise Invalid("The body must be of the form {'member': 'project id'}.")
        return json_response(views.member(await self._images.add_member(context_of(request), _image_id(request), member)))

    async def show_member(self, request: web.Request) -> web.StreamResponse:
        found = await self._images.member(context_of(request), _image_id(request), request.match_info["member"])
        return json_response(views.member(found))

    async def change_member(self, request: web.Request) -> web.StreamResponse:
        status = (await json_body(request)).get("status")
        member = request.match_info["member"]
        found = await self._images.set_member_status(context_of(request), _image_id(request), member, str(status))
        return json_response(views.member(found))

    async def remove_member(self, request: web.Request) -> web.StreamResponse:
        await self._images.remove_member(context_of(request), _image_id(request), request.match_info["member"])
        return web.Response(status=204)

    # About the service

    async def schema(self, request: web.Request) -> web.StreamResponse:
        found = views.SCHEMAS.get(request.match_info["name"])
        if found is None:
            raise NotFound("There is no such schema.")
        return json_response(found)

    async def import_info(self, _: web.Request) -> web.StreamResponse:
        return json_response(views.import_info())

    async def stores(self, _: web.Request) -> web.StreamResponse:
        return json_response(views.stores())

    async def tasks(self, _: web.Request) -> web.StreamResponse:
        return json_response({"tasks": [], "first": "/v2/tasks", "schema": "/v2/schemas/tasks"})

    async def image_tasks(self, request: web.Request) -> web.StreamResponse:
        await self._images.get(context_of(request), _image_id(request))
        return json_response({"tasks": []})

    async def namespaces(self, _: web.Request) -> web.StreamResponse:
        body = {"namespaces": [], "first": "/v2/metadefs/namespaces", "schema": "/v2/schemas/metadefs/namespaces"}
        return json_response(body)


def _image_id(request: web.Request) -> str:
    return request.match_info["image_id"]


def _link(query: list[tuple[str, str]]) -> str:
    """As Glance gives it: below the service's root."""
    return f"/v2/images?{urlencode(query)}" if query else "/v2/images"


def _announced_size(request: web.Request) -> int | None:
    """Bytes, from Content-Length or from the header that Glance's clients send. Raises ``Invalid`` where they disagree."""
    told = request.headers.get("X-OpenStack-Image-Size")
    if told is None:
        return request.content_length
    if not told.isascii() or not told.isdigit() or len(told) > 19:
        raise Invalid("Invalid X-OpenStack-Image-Size: a number of bytes is expected.")
    if request.content_length is not None and request.content_length != int(told):
        raise Invalid("X-OpenStack-Image-Size contradicts Content-Length.")
    return int(told)


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    """Raises ``Invalid`` when the connection is cut."""
    try:
        async for chunk in request.content.iter_any():
            yield chunk
    except (ClientError, OSError, web.HTTPException) as error:
        raise Invalid("The image data ended before their announced end.", detail=plain(error)) from None


async def _send(request: web.Request, response: web.StreamResponse, first: bytes, rest: AsyncIterator[bytes]) -> None:
    """The announced bytes, all of them, or a connection that breaks: an error can no longer be told."""
    missing = (response.content_length or 0) - len(first)
    try:
        await _write(response, first)
        async for chunk in rest:
            missing -= len(chunk)
            await _write(response, chunk)
    except (Error, OSError, TimeoutError) as error:
        missing = -1
        logger.info("download.ended_early", path=request.path, error=plain(error))
    if missing == 0:
        await response.write_eof()
    elif request.transport is not None:
        request.transport.abort()


async def _write(response: web.StreamResponse, chunk: bytes) -> None:
    """A reader that takes nothing for a minute is let go."""
    async with asyncio.timeout(IDLE_SECONDS):
        await response.write(chunk)


def _range(header: str | None, size: int) -> tuple[int, int | None]:
    """Start and length of the one range asked for; length None for all. Raises ``RangeNotSatisfiable``."""
    match = RANGE.fullmatch((header or "").strip())
    if match is None or match.group(0) == "bytes=-":
        return 0, None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(int(last), size - 1) if first and last else size - 1
    if start >= size or end < start:
        raise web.HTTPRequestRangeNotSatisfiable(headers={"Content-Range": f"bytes */{size}"})
    return start, end - start + 1


def _fault(status: int, message: str) -> dict[str, str]:
    title = _title(status)
    return {"message": message, "code": f"{status} {title}", "title": title}


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


@web.middleware
async def _as_accepted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors are HTML, as Glance's are, unless the client names JSON."""
    response = await handler(request)
    accept = request.headers.get("Accept", "*/*")
    if response.status < 400 or not isinstance(response, web.Response) or response.prepared or not _prefers_html(accept):
        return response
    fault = msgspec.json.decode(bytes(response.body or b"{}"), type=dict[str, str])  # type: ignore[arg-type]
    response.text = PAGE.format(**{name: html.escape(text) for name, text in fault.items()})
    response.content_type = "text/html"
    return response


def _prefers_html(accept: str) -> bool:
    return "json" not in accept and ("text/html" in accept or "*/*" in accept)


PAGE = """<html>
 <head>
  <title>{code}</title>
 </head>
 <body>
  <h1>{code}</h1>
  {message}<br /><br />



 </body>
</html>"""
