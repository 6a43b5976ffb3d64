"""Offers of volumes to other projects, at the old path and, from 3.55 on, at the new one."""

from aiohttp import web

from nova_async.errors import NotFound
from nova_async.services.volume import fields as f
from nova_async.services.volume import versions as v
from nova_async.services.volume import views
from nova_async.services.volume.handlers.base import VERSION, Call, Handlers, Routes, wants_all
from nova_async.services.volume.paging import paged
from nova_async.services.web import context_of, json_body, json_response

OLD, NEW = "/os-volume-transfer", "/volume-transfers"
CREATE = {"volume_id": f.identifier, "name": f.text}
FILTERS = {
    "id": lambda row: row.id,
    "name": lambda row: row.name,
    "volume_id": lambda row: row.volume_id,
    "created_at": lambda row: row.created_at,
}


class TransferHandlers(Handlers):
    def routes(self) -> Routes:
        table = [
            ("GET", "", self.index),
            ("POST", "", self.create),
            ("GET", "/detail", self.detail),
            ("GET", "/{id}", self.show),
            ("DELETE", "/{id}", self.delete),
            ("POST", "/{id}/accept", self.accept),
        ]
        return [(method, OLD + path, call) for method, path, call in table] + [
            (method, NEW + path, _since_new(call)) for method, path, call in table
        ]

    async def index(self, request: web.Request) -> web.StreamResponse:
        return await self._listed(request, detail=False)

    async def detail(self, request: web.Request) -> web.StreamResponse:
        return await self._listed(request, detail=True)

    async def create(self, request: web.Request) -> web.StreamResponse:
        readers = CREATE | ({"no_snapshots": f.boolean} if request[VERSION] >= v.TRANSFERS else {})
        asked = f.read(await json_body(request), "transfer", readers, required=("volume_id",))
        row, key = await self.service.transfers.create(
            context_of(request), asked["volume_id"], asked.get("name"), no_snapshots=asked.get("no_snapshots", False)
        )
        return json_response({"transfer": views.transfer(row, self.base, request[VERSION]) | {"auth_key": key}}, 202)

    async def show(self, request: web.Request) -> web.StreamResponse:
        row = await self.service.transfers.get(context_of(request), request.match_info["id"])
        return json_response({"transfer": views.transfer(row, self.base, request[VERSION])})

    async def delete(self, request: web.Request) -> web.StreamResponse:
        await self.service.transfers.delete(context_of(request), request.match_info["id"])
        return web.Response(status=202)

    async def accept(self, request: web.Request) -> web.StreamResponse:
        key = f.read(await json_body(request), "accept", {"auth_key": f.text}, required=("auth_key",))["auth_key"]
        row = await self.service.transfers.accept(context_of(request), request.match_info["id"], key)
        return json_response({"transfer": views.transfer_summary(row, self.base)}, 202)

    async def _listed(self, request: web.Request, *, detail: bool) -> web.StreamResponse:
        found = await self.service.transfers.listing(context_of(request), all_projects=wants_all(request))
        page = paged(found, request.query, FILTERS, self.config.api.max_limit, lambda row: row.id)
        version = request[VERSION]
        shown = [views.transfer(row, self.base, version) if detail else views.transfer_summary(row, self.base) for row in page.items]
        return self.answer(request, "transfers", page, shown)


def _since_new(call: Call) -> Call:
    async def asked(request: web.Request) -> web.StreamResponse:
        if request[VERSION] < v.TRANSFERS:
            raise NotFound("The resource could not be found.")
        return await call(request)

    return asked
