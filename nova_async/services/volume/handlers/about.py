"""What is no volume: versions, limits, quotas, zones, messages, extensions, and what this service does not have."""

import re
from operator import itemgetter
from typing import Any

from aiohttp import web

from nova_async.context import Context
from nova_async.db import volume_types
from nova_async.errors import Forbidden, Invalid, NotFound, Unsupported
from nova_async.services.volume import fields as f
from nova_async.services.volume import rules, versions, views
from nova_async.services.volume.handlers.base import Handlers, Routes
from nova_async.services.volume.paging import paged
from nova_async.services.web import context_of, json_body, json_response

# What a client may list and finds empty: collection -> singular.
EMPTY = {
    "backups": "backup",
    "groups": "group",
    "group_snapshots": "group_snapshot",
    "group_types": "group_type",
    "consistencygroups": "consistencygroup",
    "cgsnapshots": "cgsnapshot",
    "clusters": "cluster",
    "default-types": "default_type",
}
PLURALS = {"default-types": "default_types"}
EXTENSIONS = {
    "capabilities": "Capabilities",
    "os-availability-zone": "AvailabilityZones",
    "os-extended-snapshot-attributes": "ExtendedSnapshotAttributes",
    "os-hosts": "Hosts",
    "os-quota-sets": "Quotas",
    "qos-specs": "Qos_specs_manage",
    "os-services": "Services",
    "os-types-extra-specs": "TypesExtraSpecs",
    "os-types-manage": "TypesManage",
    "os-vol-image-meta": "VolumeImageMetadata",
    "os-vol-tenant-attr": "VolumeTenantAttribute",
    "os-volume-actions": "VolumeActions",
    "os-volume-transfer": "VolumeTransfer",
    "os-volume-type-access": "VolumeTypeAccess",
}
MESSAGE_FILTERS = {
    name: itemgetter(name) for name in ("id", "resource_uuid", "resource_type", "event_id", "message_level", "request_id", "created_at")
}
NUMBER = re.compile(r"-?\d{1,9}")


class AboutHandlers(Handlers):
    def routes(self) -> Routes:
        found: Routes = [
            ("GET", "/limits", self.limits),
            ("GET", "/os-quota-sets/{id}", self.quota),
            ("PUT", "/os-quota-sets/{id}", self.set_quota),
            ("DELETE", "/os-quota-sets/{id}", self.reset_quota),
            ("GET", "/os-quota-sets/{id}/defaults", self.default_quota),
            ("GET", "/os-quota-class-sets/{id}", self.quota_class),
            ("PUT", "/os-quota-class-sets/{id}", self.set_quota_class),
            ("GET", "/os-availability-zone", self.zones),
            ("GET", "/messages", self.messages),
            ("GET", "/messages/{id}", self.message),
            ("DELETE", "/messages/{id}", self.delete_message),
            ("GET", "/extensions", self.extensions),
            ("GET", "/resource_filters", self.filters),
        ]
        for path in EMPTY:
            found += [
                ("GET", f"/{path}", self.empty),
                ("GET", f"/{path}/detail", self.empty),
                ("POST", f"/{path}", self.refuse),
                ("GET", f"/{path}/{{id}}", self.absent),
                ("PUT", f"/{path}/{{id}}", self.absent),
                ("DELETE", f"/{path}/{{id}}", self.absent),
            ]
        return found

    async def choices(self, request: web.Request) -> web.StreamResponse:
        return json_response(versions.document(self.base), 300)

    async def version(self, request: web.Request) -> web.StreamResponse:
        return json_response(versions.document(self.base))

    async def limits(self, request: web.Request) -> web.StreamResponse:
        ctx = context_of(request)
        project = request.query.get("project_id") or ctx.project_id
        if project != ctx.project_id:
            rules.admin(ctx, "limits_extension:used_limits")
        limits, used = await self._counted(ctx, project)
        absolute = {
            "maxTotalVolumes": limits["volumes"],
            "maxTotalSnapshots": limits["snapshots"],
            "maxTotalVolumeGigabytes": limits["gigabytes"],
            "maxTotalBackups": limits["backups"],
            "maxTotalBackupGigabytes": limits["backup_gigabytes"],
            "totalVolumesUsed": used["volumes"],
            "totalSnapshotsUsed": used["snapshots"],
            "totalGigabytesUsed": used["gigabytes"],
            "totalBackupsUsed": 0,
            "totalBackupGigabytesUsed": 0,
        }
        return json_response({"limits": {"rate": [], "absolute": absolute}})

    async def quota(self, request: web.Request) -> web.StreamResponse:
        project = self._quota_of(request)
        limits, used = await self._counted(context_of(request), project)
        if request.query.get("usage", "").lower() in f.TRUE:
            detailed = {name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0} for name, limit in limits.items()}
            return json_response({"quota_set": {"id": project, **detailed}})
        return json_response({"quota_set": {"id": project, **limits}})

    async def default_quota(self, request: web.Request) -> web.StreamResponse:
        project = self._quota_of(request)
        async with self.service.database.connection() as conn:
            limits = await self.service.quotas.told(conn, context_of(request), None)
        return json_response({"quota_set": {"id": project, **limits}})

    async def set_quota(self, request: web.Request) -> web.StreamResponse:
        asked = _limits(await json_body(request), "quota_set")
        return json_response({"quota_set": await self.service.quotas.put(context_of(request), request.match_info["id"], asked)})

    async def reset_quota(self, request: web.Request) -> web.StreamResponse:
        await self.service.quotas.reset(context_of(request), request.match_info["id"])
        return web.Response(status=200)

    async def quota_class(self, request: web.Request) -> web.StreamResponse:
        rules.admin(context_of(request), "volume_extension:quota_classes:get")
        async with self.service.database.connection() as conn:
            limits = await self.service.quotas.told(conn, context_of(request), None)
        return json_response({"quota_class_set": {"id": request.match_info["id"], **limits}})

    async def set_quota_class(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["id"] != "default":
            raise Invalid("There is one class of quotas: default.")
        asked = _limits(await json_body(request), "quota_class_set")
        return json_response({"quota_class_set": await self.service.quotas.put(context_of(request), None, asked)})

    async def zones(self, request: web.Request) -> web.StreamResponse:
        zone = {"zoneName": self.service.volumes.zone, "zoneState": {"available": True}}
        return json_response({"availabilityZoneInfo": [zone]})

    async def messages(self, request: web.Request) -> web.StreamResponse:
        async with self.service.database.connection() as conn:
            found = await volume_types.messages(conn, context_of(request).project_id)
        told = [views.message(row, self.base) for row in found]
        page = paged(told, request.query, MESSAGE_FILTERS, self.config.api.max_limit, itemgetter("id"))
        return self.answer(request, "messages", page, page.items)

    async def message(self, request: web.Request) -> web.StreamResponse:
        message_id = rules.well_formed("Message", request.match_info["id"])
        async with self.service.database.connection() as conn:
            found = await volume_types.messages(conn, context_of(request).project_id, message_id)
        if not found:
            raise NotFound(f"Message {message_id} could not be found.")
        return json_response({"message": views.message(found[0], self.base)})

    async def delete_message(self, request: web.Request) -> web.StreamResponse:
        rules.writer(context_of(request))
        message_id = rules.well_formed("Message", request.match_info["id"])
        async with self.service.database.connection() as conn:
            if not await volume_types.delete_message(conn, context_of(request).project_id, message_id):
                raise NotFound(f"Message {message_id} could not be found.")
        return web.Response(status=204)

    async def extensions(self, request: web.Request) -> web.StreamResponse:
        common = {"updated": "2026-01-01T00:00:00Z", "links": []}
        return json_response({"extensions": [{"alias": a, "name": n, "description": n, **common} for a, n in EXTENSIONS.items()]})

    async def filters(self, request: web.Request) -> web.StreamResponse:
        known = {
            "volume": ["name", "status", "metadata", "bootable", "availability_zone", "size", "volume_type", "multiattach"],
            "snapshot": ["name", "status", "volume_id", "metadata", "size"],
            "attachment": ["volume_id", "status", "instance_id"],
            "volume_type": ["is_public", "name", "extra_specs"],
            "message": [*MESSAGE_FILTERS],
        }
        wanted = request.query.get("resource")
        return json_response({"resource_filters": [{"resource": r, "filters": fs} for r, fs in known.items() if wanted in (None, r)]})

    async def empty(self, request: web.Request) -> web.StreamResponse:
        path = _collection(request)
        return json_response({PLURALS.get(path, path): []})

    async def absent(self, request: web.Request) -> web.StreamResponse:
        raise NotFound(f"{EMPTY[_collection(request)].capitalize()} {request.match_info['id'][:255]} could not be found.")

    async def refuse(self, request: web.Request) -> web.StreamResponse:
        raise Unsupported("The built-in volume service does not have this.")

    async def _counted(self, ctx: Context, project: str) -> tuple[dict[str, int], dict[str, int]]:
        """The project's limits, and what it has, under the same names."""
        quotas = self.service.quotas
        async with self.service.database.connection() as conn:
            return await quotas.told(conn, ctx, project), await quotas.used(conn, ctx, project)

    def _quota_of(self, request: web.Request) -> str:
        project, ctx = request.match_info["id"], context_of(request)
        if project != ctx.project_id and not ctx.is_admin:
            raise Forbidden("Policy doesn't allow volume_extension:quotas:show to be performed.")
        return project


def _collection(request: web.Request) -> str:
    return next(part for part in request.path.split("/") if part in EMPTY)


def _limits(body: dict[str, Any], wrapper: str) -> dict[str, int]:
    """Whole numbers of -1 (unlimited) or more; ids are not looked at, and null changes nothing. Raises ``Invalid``."""
    inside = body.get(wrapper)
    if not isinstance(inside, dict):
        raise Invalid(f"Invalid input for field/attribute {wrapper}: an object is expected.")
    found = {}
    for name, value in inside.items():
        if name in ("id", "tenant_id", "class_name") or value is None:
            continue
        if isinstance(value, bool) or not NUMBER.fullmatch(str(value)) or int(value) < -1:
            raise Invalid(f"Invalid input for field/attribute {name}. Value: {str(value)[:40]}. It must be a whole number of -1 or more.")
        found[name] = int(value)
    return found
