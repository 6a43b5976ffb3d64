"""Volumes, and what is done to them."""

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from nova_async.db.volumes import VolumeRow
from nova_async.errors import Invalid, NotFound, Unsupported
from nova_async.services.volume import fields as f
from nova_async.services.volume import rules, views
from nova_async.services.volume import versions as v
from nova_async.services.volume.attachments import HAD
from nova_async.services.volume.handlers.base import VERSION, Handlers, Routes, one_key, wants_all
from nova_async.services.volume.handlers.metadata import MetadataHandlers, item
from nova_async.services.volume.paging import Page, paged
from nova_async.services.volume.volumes import Asked
from nova_async.services.web import context_of, json_body, json_response


def _no_group(name: str, value: Any) -> None:
    """There are no groups of volumes. Raises ``NotFound``."""
    if value is not None:
        raise NotFound(f"Group {str(value)[:64]} could not be found.")


CREATE = {
    "size": f.integer(1),
    "name": f.text,
    "display_name": f.text,
    "description": f.text,
    "display_description": f.text,
    "volume_type": f.text,
    "availability_zone": f.text,
    "metadata": f.metadata,
    "imageRef": f.identifier,
    "image_id": f.identifier,
    "snapshot_id": f.identifier,
    "source_volid": f.identifier,
    "multiattach": f.boolean,
    "consistencygroup_id": _no_group,
    "group_id": _no_group,
    "backup_id": f.identifier,
    "user_id": f.ignored,
    "project_id": f.ignored,
    "attach_status": f.ignored,
    "status": f.ignored,
    "source_replica": f.ignored,
}
UPDATE = {"name": f.text, "display_name": f.text, "description": f.text, "display_description": f.text, "metadata": f.metadata}
UPLOAD = {
    "image_name": f.text,
    "disk_format": f.text,
    "container_format": f.text,
    "force": f.boolean,
    "visibility": f.text,
    "protected": f.boolean,
}
FILTERS = {
    "id": lambda row: row.id,
    "name": lambda row: row.name,
    "status": lambda row: row.status,
    "size": lambda row: row.size,
    "bootable": lambda row: row.bootable,
    "availability_zone": lambda row: row.availability_zone,
    "metadata": lambda row: row.metadata,
    "volume_type": lambda row: row.type_name,
    "created_at": lambda row: row.created_at,
    "updated_at": lambda row: row.updated_at,
    "project_id": lambda row: row.project_id,
    "user_id": lambda row: row.user_id,
    "multiattach": lambda row: row.multiattach,
}

Action = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


class VolumeHandlers(Handlers):
    def routes(self) -> Routes:
        one = "/volumes/{id}"
        return [
            ("GET", "/volumes", self.index),
            ("POST", "/volumes", self.create),
            ("GET", "/volumes/detail", self.detail),
            ("GET", "/volumes/summary", self.summary),
            ("GET", one, self.show),
            ("PUT", one, self.update),
            ("DELETE", one, self.delete),
            *MetadataHandlers("Volume", self.service.volumes).routes(one),
            ("GET", one + "/encryption", self.encryption),
            ("GET", one + "/encryption/{key}", self.encryption_item),
            ("POST", one + "/action", self.action),
        ]

    async def index(self, request: web.Request) -> web.StreamResponse:
        page = await self._page(request)
        return self.answer(request, "volumes", page, [views.volume_summary(row, self.base) for row in page.items])

    async def detail(self, request: web.Request) -> web.StreamResponse:
        page = await self._page(request)
        return self.answer(request, "volumes", page, [self._view(request, row) for row in page.items])

    async def summary(self, request: web.Request) -> web.StreamResponse:
        found = await self.service.volumes.listing(context_of(request), all_projects=wants_all(request))
        metadata: dict[str, list[str]] = {}
        for row in found:
            for key, value in row.metadata.items():
                metadata.setdefault(key, []).append(value)
        total = {"total_size": sum(row.size for row in found), "total_count": len(found)}
        return json_response({"volume-summary": total | {"metadata": {k: sorted(set(values)) for k, values in metadata.items()}}})

    async def create(self, request: web.Request) -> web.StreamResponse:
        asked = f.read(await json_body(request), "volume", CREATE)
        if asked.get("backup_id"):
            raise NotFound(f"Backup {asked['backup_id']} could not be found.")
        row = await self.service.volumes.create(
            context_of(request),
            Asked(
                size=asked.get("size"),
                name=asked.get("name", asked.get("display_name")),
                description=asked.get("description", asked.get("display_description")),
                volume_type=asked.get("volume_type") or None,
                zone=asked.get("availability_zone"),
                metadata=asked.get("metadata") or {},
                image_id=asked.get("imageRef") or asked.get("image_id"),
                snapshot_id=asked.get("snapshot_id"),
                source_volume_id=asked.get("source_volid"),
                multiattach=asked.get("multiattach"),
            ),
        )
        return json_response({"volume": views.volume(row, self.base, request[VERSION])}, 202)

    async def show(self, request: web.Request) -> web.StreamResponse:
        return json_response({"volume": self._view(request, await self._get(request))})

    async def update(self, request: web.Request) -> web.StreamResponse:
        asked = f.read(await json_body(request), "volume", UPDATE)
        columns = {name.removeprefix("display_"): value for name, value in asked.items()}
        row = await self.service.volumes.change(context_of(request), _id(request), **columns)
        return json_response({"volume": views.volume(row, self.base, request[VERSION])})

    async def delete(self, request: web.Request) -> web.StreamResponse:
        cascade = request.query.get("cascade", "").lower() in f.TRUE
        force = request.query.get("force", "").lower() in f.TRUE
        if force:
            rules.admin(context_of(request), "volume:force_delete")
        await self.service.volumes.delete(context_of(request), _id(request), cascade=cascade, force=force)
        return web.Response(status=202)

    async def encryption(self, request: web.Request) -> web.StreamResponse:
        return json_response(await self._encryption(request))

    async def encryption_item(self, request: web.Request) -> web.StreamResponse:
        shown, key = await self._encryption(request), request.match_info["key"]
        if key not in shown:
            raise NotFound(f"The volume's encryption has no {key[:255]}.")
        return json_response(shown[key])

    async def _encryption(self, request: web.Request) -> dict[str, Any]:
        """A key has its volume's id."""
        row = await self._get(request)
        kind = await self.service.encryptions.of(row.type_id) if row.encrypted else None
        return views.encryption_of_volume(row, kind)

    # -- actions

    async def action(self, request: web.Request) -> web.StreamResponse:
        body = await json_body(request)
        name = one_key(body)
        handler = self._actions().get(name)
        if handler is None:
            if name in NOT_HERE:
                raise Unsupported(f"The built-in volume service does not have {name}.")
            raise Invalid(f"There is no such action: {name[:100]}.")
        return await handler(request, body)

    def _actions(self) -> dict[str, Action]:
        return {
            "os-attach": self._attach,
            "os-detach": self._detach,
            "os-force_detach": self._force_detach,
            "os-reserve": self._reserve,
            "os-unreserve": self._unreserve,
            "os-begin_detaching": self._begin_detaching,
            "os-roll_detaching": self._roll_detaching,
            "os-initialize_connection": self._initialize,
            "os-terminate_connection": self._terminate,
            "os-extend": self._extend,
            "os-set_bootable": self._set_bootable,
            "os-update_readonly_flag": self._set_read_only,
            "os-reset_status": self._reset_status,
            "os-force_delete": self._force_delete,
            "os-retype": self._retype,
            "os-volume_upload_image": self._upload,
            "os-reimage": self._reimage,
            "os-set_image_metadata": self._set_image_metadata,
            "os-unset_image_metadata": self._unset_image_metadata,
            "os-show_image_metadata": self._show_image_metadata,
        }

    async def _attach(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        """By hand: a server, or a host, is said to have it."""
        readers = {"instance_uuid": f.identifier, "mountpoint": f.text, "mode": f.text, "host_name": f.text}
        asked = f.read(body, "os-attach", readers)
        if bool(asked.get("instance_uuid")) == bool(asked.get("host_name")):
            raise Invalid("Invalid request to attach volume: name either a server (instance_uuid) or a host (host_name).")
        ctx, holders = context_of(request), self.service.holders
        await self._unreserved(request)
        row = await holders.reserve(ctx, _id(request), asked.get("instance_uuid"), asked.get("mode") or "rw")
        connector = {"host": asked["host_name"]} if asked.get("host_name") else None
        await holders.connect(ctx, row.id, connector, asked.get("mountpoint"))
        await holders.complete(ctx, row.id)
        return web.Response(status=202)

    async def _detach(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        """What a server has is taken from it by the compute service; this is for what was attached by hand."""
        asked = f.read({"os-detach": body["os-detach"] or {}}, "os-detach", {"attachment_id": f.identifier})
        await self.service.holders.take_off(context_of(request), _id(request), asked.get("attachment_id"), DETACHABLE)
        return web.Response(status=202)

    async def _force_detach(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        """Of a volume that failed, too."""
        asked = f.read(body, "os-force_detach", {"attachment_id": f.identifier, "connector": f.ignored})
        ctx = context_of(request)
        await self._get(request)
        rules.admin(ctx, "volume_extension:volume_admin_actions:force_detach")
        await self.service.holders.take_off(ctx, _id(request), asked.get("attachment_id"), (*DETACHABLE, "error", "attaching", "reserved"))
        return web.Response(status=202)

    async def _unreserved(self, request: web.Request) -> None:
        row = await self._get(request)
        if row.status in ("reserved", "attaching") and not row.attachments:
            await self.service.volumes.switch(context_of(request), row.id, ("reserved", "attaching"), "available", "attach")

    async def _reserve(self, request: web.Request, _: Any) -> web.StreamResponse:
        return await self._switched(request, ("available",), "attaching", "reserve")

    async def _unreserve(self, request: web.Request, _: Any) -> web.StreamResponse:
        if (await self._get(request)).attachments:
            return web.Response(status=202)
        return await self._switched(request, ("attaching", "reserved", "available"), "available", "unreserve")

    async def _begin_detaching(self, request: web.Request, _: Any) -> web.StreamResponse:
        return await self._switched(request, ("in-use",), "detaching", "detach")

    async def _roll_detaching(self, request: web.Request, _: Any) -> web.StreamResponse:
        return await self._switched(request, ("detaching", "in-use"), "in-use", "roll its detachment back")

    async def _switched(self, request: web.Request, wanted: tuple[str, ...], status: str, what: str) -> web.StreamResponse:
        await self.service.volumes.switch(context_of(request), _id(request), wanted, status, what)
        return web.Response(status=202)

    async def _initialize(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        """How a host reaches the volume, for services only."""
        ctx = context_of(request)
        if not ctx.is_service:
            rules.admin(ctx, "volume_extension:volume_actions:initialize_connection")
        connector = f.read(body, "os-initialize_connection", {"connector": f.anything}, required=("connector",))["connector"]
        if not isinstance(connector, dict):
            raise Invalid("Invalid input for field/attribute connector: an object is expected.")
        row = await self.service.holders.reserve(ctx, _id(request), None)
        row = await self.service.holders.connect(ctx, row.id, connector, None)
        return json_response({"connection_info": await self.service.connection(row.id)})

    async def _terminate(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        for held in (await self._get(request)).attachments:
            if held["instance_id"] is None:
                await self.service.holders.free(context_of(request), held["id"])
        return web.Response(status=202)

    async def _extend(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        size = f.read(body, "os-extend", {"new_size": f.integer(1)}, required=("new_size",))["new_size"]
        await self.service.volumes.extend(context_of(request), _id(request), size)
        return web.Response(status=202)

    async def _set_bootable(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        bootable = f.read(body, "os-set_bootable", {"bootable": f.boolean}, required=("bootable",))["bootable"]
        await self.service.volumes.change(context_of(request), _id(request), bootable=bootable)
        return web.Response(status=200)

    async def _set_read_only(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        readonly = f.read(body, "os-update_readonly_flag", {"readonly": f.boolean}, required=("readonly",))["readonly"]
        rules.in_status(await self._get(request), ("available",), "update its readonly flag")
        await self.service.volumes.change(context_of(request), _id(request), read_only=readonly)
        return web.Response(status=202)

    async def _reset_status(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        """Whether a volume is attached, its attachments say, and none migrates: of these only what is so can be said."""
        rules.admin(context_of(request), "volume_extension:volume_admin_actions:reset_status")
        asked = f.read(body, "os-reset_status", dict.fromkeys(("status", "attach_status", "migration_status"), f.text))
        if not any(asked.values()):
            raise Invalid("Must specify 'status', 'attach_status' or 'migration_status' for update.")
        attached = any(each["status"] in HAD for each in (await self._get(request)).attachments)
        for name, fact in (("attach_status", "attached" if attached else "detached"), ("migration_status", "none")):
            if asked.get(name) not in (None, "", fact):
                raise Invalid(f"Invalid input for field/attribute {name}. Value: {asked[name][:40]}. It is {fact}, which nobody sets.")
        if asked.get("status"):
            await self.service.volumes.set_status(context_of(request), _id(request), asked["status"])
        return web.Response(status=202)

    async def _force_delete(self, request: web.Request, _: Any) -> web.StreamResponse:
        rules.admin(context_of(request), "volume_extension:volume_admin_actions:force_delete")
        await self.service.volumes.delete(context_of(request), _id(request), force=True)
        return web.Response(status=202)

    async def _retype(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        asked = f.read(body, "os-retype", {"new_type": f.text, "migration_policy": f.text}, required=("new_type",))
        await self.service.volumes.retype(context_of(request), _id(request), asked["new_type"])
        return web.Response(status=202)

    async def _upload(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        asked = f.read(body, "os-volume_upload_image", UPLOAD, required=("image_name",))
        row, image = await self.service.volumes.upload(
            context_of(request),
            _id(request),
            asked["image_name"],
            asked.get("disk_format") or "raw",
            force=bool(asked.get("force")),
            visibility=asked.get("visibility"),
            protected=asked.get("protected"),
        )
        told = {
            "id": row.id,
            "updated_at": views.moment(row.updated_at),
            "status": row.status,
            "display_description": row.description,
            "size": row.size,
            "volume_type": row.type_name,
            "image_id": image.id,
            "container_format": "bare",
            "disk_format": image.disk_format,
            "image_name": image.name,
            "visibility": image.visibility,
            "protected": image.protected,
        }
        return json_response({"os-volume_upload_image": told}, 202)

    async def _reimage(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if request[VERSION] < v.REIMAGE:
            raise NotFound("The resource could not be found.")
        readers = {"image_id": f.identifier, "reimage_reserved": f.boolean}
        asked = f.read(body, "os-reimage", readers, required=("image_id",))
        wanted = ("available", "error") + (("reserved",) if asked.get("reimage_reserved") else ())
        rules.in_status(await self._get(request), wanted, "write an image over it")
        await self.service.volumes.reimage(context_of(request), _id(request), asked["image_id"])
        return web.Response(status=202)

    async def _set_image_metadata(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        more = f.read(body, "os-set_image_metadata", {"metadata": f.metadata}, required=("metadata",))["metadata"]
        row = await self.service.volumes.change(context_of(request), _id(request), image_metadata=lambda old: old | more)
        return json_response({"metadata": row.image_metadata})

    async def _unset_image_metadata(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        key = f.read(body, "os-unset_image_metadata", {"key": f.text}, required=("key",))["key"]
        item("Volume", (await self._get(request)).image_metadata, key)
        await self.service.volumes.change(
            context_of(request), _id(request), image_metadata=lambda old: {k: value for k, value in old.items() if k != key}
        )
        return web.Response(status=200)

    async def _show_image_metadata(self, request: web.Request, _: Any) -> web.StreamResponse:
        return json_response({"metadata": (await self._get(request)).image_metadata})

    # -- parts

    async def _get(self, request: web.Request) -> VolumeRow:
        return await self.service.volumes.get(context_of(request), _id(request))

    async def _page(self, request: web.Request) -> Page:
        name = request.query.get("name") or request.query.get("display_name")
        found = await self.service.volumes.listing(context_of(request), all_projects=wants_all(request), names=[name] if name else None)
        return paged(found, request.query, FILTERS, self.config.api.max_limit, lambda row: row.id)

    def _view(self, request: web.Request, row: VolumeRow) -> dict[str, Any]:
        pool = self.service.backend.pool if context_of(request).is_admin else None
        return views.volume_in_full(row, self.base, request[VERSION], pool)


DETACHABLE = ("available", "in-use", "detaching")
NOT_HERE = frozenset(
    {"os-migrate_volume", "os-migrate_volume_completion", "os-promote-replica", "os-unmanage", "os-extend_volume_completion"}
)


def _id(request: web.Request) -> str:
    return request.match_info["id"]
