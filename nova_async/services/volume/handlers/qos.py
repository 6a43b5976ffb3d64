"""QoS specs of volume types. All of it is the administrator's."""

from typing import Any

from aiohttp import web

from nova_async.db.volume_qos import QosRow
from nova_async.errors import Invalid
from nova_async.services.volume import fields as f
from nova_async.services.volume.handlers.base import Handlers, Routes
from nova_async.services.volume.paging import paged
from nova_async.services.web import context_of, json_body, json_response

FILTERS = {"id": lambda row: row.id, "name": lambda row: row.name, "consumer": lambda row: row.consumer}


class QosHandlers(Handlers):
    def routes(self) -> Routes:
        one = "/qos-specs/{id}"
        return [
            ("GET", "/qos-specs", self.index),
            ("POST", "/qos-specs", self.create),
            ("GET", one, self.show),
            ("PUT", one, self.update),
            ("DELETE", one, self.delete),
            ("PUT", one + "/delete_keys", self.delete_keys),
            ("GET", one + "/associations", self.associations),
            ("GET", one + "/associate", self.associate),
            ("GET", one + "/disassociate", self.disassociate),
            ("GET", one + "/disassociate_all", self.disassociate_all),
        ]

    async def index(self, request: web.Request) -> web.StreamResponse:
        found = await self.service.qos.listing(context_of(request))
        page = paged(found, request.query, FILTERS, self.config.api.max_limit, lambda row: row.id)
        return self.answer(request, "qos_specs", page, [_view(row) for row in page.items])

    async def create(self, request: web.Request) -> web.StreamResponse:
        asked = _texts(await json_body(request))
        name = asked.pop("name", "").strip()
        if not name:
            raise Invalid("Invalid input for field/attribute qos_specs: 'name' is a required property")
        row = await self.service.qos.create(context_of(request), name, asked.pop("consumer", "back-end"), asked)
        return self._answer(row)

    async def show(self, request: web.Request) -> web.StreamResponse:
        return self._answer(await self.service.qos.get(context_of(request), _id(request)))

    async def update(self, request: web.Request) -> web.StreamResponse:
        asked = _texts(await json_body(request))
        await self.service.qos.change(context_of(request), _id(request), asked)
        return json_response({"qos_specs": asked})

    async def delete(self, request: web.Request) -> web.StreamResponse:
        await self.service.qos.delete(context_of(request), _id(request), force=request.query.get("force", "").lower() in f.TRUE)
        return web.Response(status=202)

    async def delete_keys(self, request: web.Request) -> web.StreamResponse:
        keys = (await json_body(request)).get("keys")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise Invalid("Invalid input for field/attribute keys: a list of texts is expected.")
        await self.service.qos.remove_keys(context_of(request), _id(request), keys)
        return web.Response(status=202)

    async def associations(self, request: web.Request) -> web.StreamResponse:
        found = await self.service.qos.types(context_of(request), _id(request))
        told = [{"association_type": "volume_type", "id": kind.id, "name": kind.name} for kind in found]
        return json_response({"qos_associations": told})

    async def associate(self, request: web.Request) -> web.StreamResponse:
        await self.service.qos.associate(context_of(request), _id(request), _type(request))
        return web.Response(status=202)

    async def disassociate(self, request: web.Request) -> web.StreamResponse:
        await self.service.qos.disassociate(context_of(request), _id(request), _type(request))
        return web.Response(status=202)

    async def disassociate_all(self, request: web.Request) -> web.StreamResponse:
        await self.service.qos.disassociate(context_of(request), _id(request), None)
        return web.Response(status=202)

    def _answer(self, row: QosRow) -> web.Response:
        links = [{"rel": rel, "href": f"{base}/qos-specs/{row.id}"} for rel, base in (("self", f"{self.base}/v3"), ("bookmark", self.base))]
        return json_response({"qos_specs": _view(row), "links": links})


def _view(row: QosRow) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "consumer": row.consumer, "specs": row.specs}


def _texts(body: dict[str, Any]) -> dict[str, str]:
    asked = body.get("qos_specs")
    if not isinstance(asked, dict) or not asked:
        raise Invalid("Invalid input for field/attribute qos_specs: an object of texts is expected.")
    return f.metadata("qos_specs", asked)


def _type(request: web.Request) -> str:
    kind = request.query.get("vol_type_id", "")
    if not kind:
        raise Invalid("Volume Type id must not be None.")
    return kind


def _id(request: web.Request) -> str:
    return request.match_info["id"]
