"""Attachments: how the compute service holds volumes (since 3.27)."""

from typing import Any

from aiohttp import web

from nova_async.db.volumes import AttachmentRow
from nova_async.errors import Invalid, NotFound
from nova_async.services.volume import fields as f
from nova_async.services.volume import versions as v
from nova_async.services.volume import views
from nova_async.services.volume.handlers.base import VERSION, Call, Handlers, Routes, one_key, wants_all
from nova_async.services.volume.paging import Page, paged
from nova_async.services.web import context_of, json_body, json_response

CREATE = {"volume_uuid": f.identifier, "instance_uuid": f.identifier, "connector": f.anything, "mode": f.text}
FILTERS = {
    "id": lambda row: row.id,
    "status": lambda row: row.status,
    "volume_id": lambda row: row.volume_id,
    "instance_id": lambda row: row.instance_id,
}


class AttachmentHandlers(Handlers):
    def routes(self) -> Routes:
        one = "/attachments/{id}"
        found: Routes = [
            ("GET", "/attachments", self.index),
            ("POST", "/attachments", self.create),
            ("GET", "/attachments/detail", self.detail),
            ("GET", one, self.show),
            ("PUT", one, self.update),
            ("DELETE", one, self.delete),
            ("POST", one + "/action", self.action),
        ]
        return [(method, path, _since(v.NEW_ATTACHMENTS, handler)) for method, path, handler in found]

    async def index(self, request: web.Request) -> web.StreamResponse:
        page = await self._page(request)
        return self.answer(request, "attachments", page, [views.attachment_summary(row) for row in page.items])

    async def detail(self, request: web.Request) -> web.StreamResponse:
        page = await self._page(request)
        return self.answer(request, "attachments", page, [views.attachment(row, {}) for row in page.items])

    async def show(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, await self.service.holders.get(context_of(request), _id(request)))

    async def create(self, request: web.Request) -> web.StreamResponse:
        asked = f.read(await json_body(request), "attachment", CREATE, required=("volume_uuid",))
        mode = asked.get("mode") or "rw"
        if mode not in ("rw", "ro"):
            raise Invalid("Invalid input for field/attribute mode: it is rw or ro.")
        ctx, holders = context_of(request), self.service.holders
        row, connector = (
            await holders.reserve(ctx, asked["volume_uuid"], asked.get("instance_uuid"), mode),
            _connector(asked.get("connector")),
        )
        if row.connector and row.connector.get("host") != connector.get("host"):
            row = await holders.reserve_for_move(ctx, row.id)
        if connector:
            row = await holders.connect(ctx, row.id, connector, connector.get("mountpoint"))
        return await self._answer(request, row)

    async def update(self, request: web.Request) -> web.StreamResponse:
        asked = f.read(await json_body(request), "attachment", {"connector": f.anything}, required=("connector",))
        connector = _connector(asked["connector"])
        row = await self.service.holders.connect(context_of(request), _id(request), connector, connector.get("mountpoint"))
        return await self._answer(request, row)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Answers with the attachments that are left of the volume, as Cinder does."""
        ctx, holders = context_of(request), self.service.holders
        row = await holders.get(ctx, _id(request))
        await holders.free(ctx, row.id)
        left = await holders.listing(ctx, all_projects=ctx.is_service, volumes=[row.volume_id])
        return json_response({"attachments": [views.attachment_summary(other) for other in left]})

    async def action(self, request: web.Request) -> web.StreamResponse:
        if one_key(await json_body(request)) != "os-complete" or request[VERSION] < v.COMPLETE_ATTACHMENT:
            raise NotFound("The resource could not be found.")
        await self.service.holders.complete(context_of(request), _id(request))
        return web.Response(status=204)

    async def _page(self, request: web.Request) -> Page:
        found = await self.service.holders.listing(context_of(request), all_projects=wants_all(request))
        return paged(found, request.query, FILTERS, self.config.api.max_limit, lambda row: row.id)

    async def _answer(self, request: web.Request, row: AttachmentRow) -> web.Response:
        """With the way to the volume, which only services see."""
        told = row.connector is not None and "service" in context_of(request).roles
        connection = await self.service.connection(row.id) if told else {}
        flat = connection.get("data", {}) | {"driver_volume_type": connection["driver_volume_type"]} if connection else {}
        return json_response({"attachment": views.attachment(row, flat)})


def _connector(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or len(str(value)) > 4095:
        raise Invalid("Invalid input for field/attribute connector: a small object is expected.")
    return value


def _since(version: int, handler: Call) -> Call:
    async def checked(request: web.Request) -> web.StreamResponse:
        if request[VERSION] < version:
            raise NotFound("The resource could not be found.")
        return await handler(request)

    return checked


def _id(request: web.Request) -> str:
    return request.match_info["id"]
