"""Snapshots of volumes."""

import re
from typing import Any

from aiohttp import web

from nova_async.db.volumes import SnapshotRow
from nova_async.errors import Invalid
from nova_async.services.volume import fields as f
from nova_async.services.volume import rules, views
from nova_async.services.volume import versions as v
from nova_async.services.volume.handlers.base import VERSION, Handlers, Routes, one_key, wants_all
from nova_async.services.volume.handlers.metadata import MetadataHandlers
from nova_async.services.volume.paging import Page, paged
from nova_async.services.web import context_of, json_body, json_response

CREATE = {
    "volume_id": f.identifier,
    "name": f.text,
    "display_name": f.text,
    "description": f.text,
    "display_description": f.text,
    "metadata": f.metadata,
    "force": f.boolean,
}
UPDATE = {"name": f.text, "display_name": f.text, "description": f.text, "display_description": f.text}
FILTERS = {
    "id": lambda row: row.id,
    "name": lambda row: row.name,
    "display_name": lambda row: row.name,
    "status": lambda row: row.status,
    "volume_id": lambda row: row.volume_id,
    "size": lambda row: row.size,
    "metadata": lambda row: row.metadata,
    "created_at": lambda row: row.created_at,
    "project_id": lambda row: row.project_id,
}


class SnapshotHandlers(Handlers):
    def routes(self) -> Routes:
        one = "/snapshots/{id}"
        return [
            ("GET", "/snapshots", self.index),
            ("POST", "/snapshots", self.create),
            ("GET", "/snapshots/detail", self.index),
            ("GET", one, self.show),
            ("PUT", one, self.update),
            ("DELETE", one, self.delete),
            *MetadataHandlers("Snapshot", self.service.snapshots).routes(one),
            ("POST", one + "/action", self.action),
        ]

    async def index(self, request: web.Request) -> web.StreamResponse:
        name = request.query.get("name") or request.query.get("display_name")
        found = await self.service.snapshots.listing(context_of(request), all_projects=wants_all(request), names=[name] if name else None)
        page: Page = paged(found, request.query, FILTERS, self.config.api.max_limit, lambda row: row.id)
        if request.path.endswith("/detail"):
            shown = [views.snapshot(row, request[VERSION]) for row in page.items]
        else:
            shown = [views.snapshot_summary(row, request[VERSION]) for row in page.items]
        return self.answer(request, "snapshots", page, shown)

    async def create(self, request: web.Request) -> web.StreamResponse:
        asked = f.read(await json_body(request), "snapshot", CREATE)
        if "volume_id" not in asked:
            raise Invalid("Invalid input for field/attribute snapshot: 'volume_id' is a required property")
        in_use = request[VERSION] >= v.SNAPSHOT_IN_USE
        if in_use and asked.get("force") is False:
            raise Invalid(
                f"Invalid value 'False' for force: since 3.{v.SNAPSHOT_IN_USE} volumes in use have snapshots without being forced."
            )
        row = await self.service.snapshots.create(
            context_of(request),
            str(asked["volume_id"]),  # null names no volume
            asked.get("name", asked.get("display_name")),
            asked.get("description", asked.get("display_description")),
            asked.get("metadata") or {},
            force=in_use or bool(asked.get("force")),
        )
        return json_response({"snapshot": views.snapshot_summary(row, request[VERSION])}, 202)

    async def show(self, request: web.Request) -> web.StreamResponse:
        return json_response({"snapshot": views.snapshot(await self._get(request), request[VERSION])})

    async def update(self, request: web.Request) -> web.StreamResponse:
        asked = f.read(await json_body(request), "snapshot", UPDATE)
        columns = {name.removeprefix("display_"): value for name, value in asked.items()}
        row = await self.service.snapshots.change(context_of(request), _id(request), **columns)
        return json_response({"snapshot": views.snapshot_summary(row, request[VERSION])})

    async def delete(self, request: web.Request) -> web.StreamResponse:
        await self.service.snapshots.delete(context_of(request), _id(request))
        return web.Response(status=202)

    async def action(self, request: web.Request) -> web.StreamResponse:
        body, ctx = await json_body(request), context_of(request)
        match one_key(body):
            case "os-reset_status":
                status = f.read(body, "os-reset_status", {"status": f.text}, required=("status",))["status"]
                await self.service.snapshots.set_status(ctx, _id(request), status)
            case "os-update_snapshot_status":
                rules.writer(ctx)
                told = f.read(body, "os-update_snapshot_status", {"status": f.text, "progress": _percent}, required=("status",))
                await self.service.snapshots.follow(ctx, _id(request), told["status"], told.get("progress"))
            case "os-force_delete":
                rules.admin(ctx, "volume_extension:snapshot_admin_actions:force_delete")
                await self.service.snapshots.delete(ctx, _id(request), force=True)
            case name:
                raise Invalid(f"There is no such action: {name[:100]}.")
        return web.Response(status=202)

    async def _get(self, request: web.Request) -> SnapshotRow:
        return await self.service.snapshots.get(context_of(request), _id(request))


def _percent(name: str, value: Any) -> str | None:
    if value is not None and not re.fullmatch(r"(100|[0-9]{1,2})%", str(value)):
        raise Invalid(f"Invalid input for field/attribute {name}. Value: {str(value)[:40]}. A percentage is expected, such as 80%.")
    return value if value is None else str(value)


def _id(request: web.Request) -> str:
    return request.match_info["id"]
