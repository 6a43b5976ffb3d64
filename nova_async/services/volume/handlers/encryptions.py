"""What volume types say of encryption. Policies are Cinder's: all of it is the administrator's."""

from typing import Any

from aiohttp import web

from nova_async.db.volume_types import EncryptionRow
from nova_async.errors import Invalid, NotFound
from nova_async.services.volume import fields as f
from nova_async.services.volume import views
from nova_async.services.volume.handlers.base import Handlers, Routes
from nova_async.services.web import context_of, json_body, json_response

FIELDS = {"provider": f.text, "control_location": f.text, "cipher": f.text, "key_size": f.integer(0)}
LOCATIONS = ("front-end", "back-end")


class EncryptionHandlers(Handlers):
    def routes(self) -> Routes:
        one = "/types/{id}/encryption"
        return [
            ("GET", one, self.show),
            ("POST", one, self.create),
            ("GET", one + "/{key}", self.item),
            ("PUT", one + "/{key}", self.update),
            ("DELETE", one + "/{key}", self.delete),
        ]

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Nothing in particular of a type without encryption."""
        row = await self.service.encryptions.get(context_of(request), _type(request))
        return json_response(views.encryption(row) if row else {})

    async def item(self, request: web.Request) -> web.StreamResponse:
        row = await self.service.encryptions.get(context_of(request), _type(request))
        shown, key = views.encryption(row) if row else {}, request.match_info["key"]
        if key not in shown:
            raise NotFound(f"Volume type encryption for type {_type(request)[:255]} does not exist.")
        return json_response({key: shown[key]})

    async def create(self, request: web.Request) -> web.StreamResponse:
        asked = _asked(await json_body(request), required=("provider", "control_location"))
        return self._answer(
            await self.service.encryptions.create(context_of(request), _type(request), {"cipher": None, "key_size": None} | asked)
        )

    async def update(self, request: web.Request) -> web.StreamResponse:
        """Cinder takes no notice of the encryption's id; a type has one."""
        asked = _asked(await json_body(request))
        await self.service.encryptions.change(context_of(request), _type(request), asked)
        return json_response({"encryption": asked})

    async def delete(self, request: web.Request) -> web.StreamResponse:
        await self.service.encryptions.delete(context_of(request), _type(request))
        return web.Response(status=202)

    def _answer(self, row: EncryptionRow) -> web.Response:
        told = ("volume_type_id", "encryption_id", *FIELDS)
        return json_response({"encryption": {key: value for key, value in views.encryption(row).items() if key in told}})


def _asked(body: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    asked = f.read(body, "encryption", FIELDS, required=required)
    for name in ("provider", "control_location"):
        if asked.get(name, "") is None:
            raise Invalid(f"Invalid input for field/attribute {name}. Value: None. None is not of type 'string'")
    if asked.get("control_location", LOCATIONS[0]) not in LOCATIONS:
        raise Invalid(f"Invalid input for field/attribute control_location: it is one of {', '.join(LOCATIONS)}.")
    return asked


def _type(request: web.Request) -> str:
    return request.match_info["id"]
