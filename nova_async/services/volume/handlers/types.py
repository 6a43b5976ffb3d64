"""Volume types, their extra specs, and who may use those that are not public."""

from typing import Any

from aiohttp import web

from nova_async.db.volume_types import TypeRow
from nova_async.errors import Conflict, Invalid, NotFound
from nova_async.services.volume import fields as f
from nova_async.services.volume import rules, views
from nova_async.services.volume.handlers.base import Handlers, Routes, one_key
from nova_async.services.volume.paging import paged
from nova_async.services.web import context_of, json_body, json_response

CREATE = {
    "name": f.text,
    "description": f.text,
    "os-volume-type-access:is_public": f.boolean,
    "is_public": f.boolean,
    "extra_specs": f.metadata,
}
CHANGES = {name: CREATE[name] for name in CREATE if name != "extra_specs"}
FILTERS = {"name": lambda row: row.name, "id": lambda row: row.id, "extra_specs": lambda row: row.extra_specs}


class TypeHandlers(Handlers):
    def routes(self) -> Routes:
        one = "/types/{id}"
        return [
            ("GET", "/types", self.index),
            ("POST", "/types", self.create),
            ("GET", one, self.show),
            ("PUT", one, self.update),
            ("DELETE", one, self.delete),
            ("GET", one + "/extra_specs", self.specs),
            ("POST", one + "/extra_specs", self.add_specs),
            ("GET", one + "/extra_specs/{key}", self.spec),
            ("PUT", one + "/extra_specs/{key}", self.set_spec),
            ("DELETE", one + "/extra_specs/{key}", self.remove_spec),
            ("GET", one + "/os-volume-type-access", self.access),
            ("POST", one + "/action", self.action),
        ]

    async def index(self, request: web.Request) -> web.StreamResponse:
        found = await self.service.types.listing(context_of(request))
        public = request.query.get("is_public", "True").lower()
        if public != "none" or not context_of(request).is_admin:
            wanted = public in f.TRUE or not context_of(request).is_admin
            found = [row for row in found if row.is_public == wanted or (wanted and context_of(request).project_id in row.projects)]
        page = paged(found, request.query, FILTERS, self.config.api.max_limit, lambda row: row.id)
        return self.answer(request, "volume_types", page, [self._view(request, row) for row in page.items])

    async def create(self, request: web.Request) -> web.StreamResponse:
        asked = f.read(await json_body(request), "volume_type", CREATE, required=("name",))
        if not asked["name"]:
            raise Invalid("Invalid input for field/attribute name: a type must have one.")
        row = await self.service.types.create(
            context_of(request),
            {
                "name": asked["name"],
                "description": asked.get("description"),
                "is_public": asked.get("os-volume-type-access:is_public", asked.get("is_public", True)),
                "extra_specs": asked.get("extra_specs") or {},
            },
        )
        shown = self._view(request, row)
        del shown["qos_specs_id"]  # Cinder does not tell it of a type that is new
        return json_response({"volume_type": shown})

    async def show(self, request: web.Request) -> web.StreamResponse:
        return self._answer(request, await self._get(request))

    async def update(self, request: web.Request) -> web.StreamResponse:
        """``openstack volume type set --public`` gives the word that Cinder takes for a new type alone."""
        asked = f.read(await json_body(request), "volume_type", CHANGES)
        if "os-volume-type-access:is_public" in asked:
            asked["is_public"] = asked.pop("os-volume-type-access:is_public")
        if not {k: value for k, value in asked.items() if value is not None} or asked.get("name") == "":
            raise Invalid("Specify volume type name, description, is_public or a combination thereof.")
        columns = {name: value for name, value in asked.items() if value is not None or name == "description"}
        shown = self._view(request, await self.service.types.change(context_of(request), _id(request), **columns))
        told = {key: value for key, value in shown.items() if key not in ("os-volume-type-access:is_public", "qos_specs_id")}
        return json_response({"volume_type": told})  # as Cinder tells it of a type that was changed

    async def delete(self, request: web.Request) -> web.StreamResponse:
        try:
            await self.service.types.delete(context_of(request), _id(request))
        except Conflict as error:
            raise Invalid(f"Volume Type deletion is not allowed with existing volumes with the type. {error.message}") from None
        return web.Response(status=202)

    async def specs(self, request: web.Request) -> web.StreamResponse:
        return json_response({"extra_specs": self._view(request, await self._get(request))["extra_specs"]})

    async def add_specs(self, request: web.Request) -> web.StreamResponse:
        asked = (await json_body(request)).get("extra_specs")
        if asked is None:
            raise Invalid("Invalid input for field/attribute extra_specs: an object of texts is expected.")
        more = f.metadata("extra_specs", asked)
        await self.service.types.change(context_of(request), _id(request), extra_specs=lambda old: old | more)
        return json_response({"extra_specs": more})

    async def spec(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        return json_response({key: _spec(self._view(request, await self._get(request))["extra_specs"], key)})

    async def set_spec(self, request: web.Request) -> web.StreamResponse:
        key, more = request.match_info["key"], f.metadata("extra_specs", await json_body(request))
        if set(more) != {key}:
            raise Invalid("Request body and URI mismatch")
        await self.service.types.change(context_of(request), _id(request), extra_specs=lambda old: old | more)
        return json_response(more)

    async def remove_spec(self, request: web.Request) -> web.StreamResponse:
        rules.admin(context_of(request), "volume_extension:types_extra_specs:delete")
        key = request.match_info["key"]
        _spec((await self._get(request)).extra_specs, key)
        await self.service.types.change(
            context_of(request), _id(request), extra_specs=lambda old: {k: value for k, value in old.items() if k != key}
        )
        return web.Response(status=202)

    async def access(self, request: web.Request) -> web.StreamResponse:
        rules.admin(context_of(request), "volume_extension:volume_type_access")
        row = await self._get(request)
        if row.is_public:
            raise NotFound("Access list not available for public volume types.")
        return json_response({"volume_type_access": [{"volume_type_id": row.id, "project_id": project} for project in row.projects]})

    async def action(self, request: web.Request) -> web.StreamResponse:
        body, ctx = await json_body(request), context_of(request)
        name = one_key(body)
        if name not in ("addProjectAccess", "removeProjectAccess"):
            raise Invalid(f"There is no such action: {name[:100]}.")
        project = f.read(body, name, {"project": f.text}, required=("project",))["project"]
        if (await self._get(request)).is_public:
            raise Conflict("Project access cannot be changed for public volume types.")

        def changed(old: list[str]) -> list[str]:
            if name == "addProjectAccess" and project in old:
                raise Conflict(f"Volume type access for {_id(request)} / {project} combination already exists.")
            if name == "removeProjectAccess" and project not in old:
                raise NotFound(f"Volume type access not found for {_id(request)} / {project} combination.")
            return [*old, project] if name == "addProjectAccess" else [p for p in old if p != project]

        await self.service.types.change(ctx, _id(request), projects=changed)
        return web.Response(status=202)

    async def _get(self, request: web.Request) -> TypeRow:
        return await self.service.types.get(context_of(request), _id(request))

    def _view(self, request: web.Request, row: TypeRow) -> dict[str, Any]:
        return views.volume_type(row, everything=context_of(request).is_admin)

    def _answer(self, request: web.Request, row: TypeRow) -> web.Response:
        return json_response({"volume_type": self._view(request, row)})


def _spec(specs: dict[str, str], key: str) -> str:
    if key not in specs:
        raise NotFound(f"Volume Type has no extra spec with key {key[:255]}.")
    return specs[key]


def _id(request: web.Request) -> str:
    return request.match_info["id"]
