"""Where volumes are: services, hosts, pools and capabilities. All of it is the administrator's."""

from typing import Any

from aiohttp import web

from nova_async.db.volume_services import ProjectUsage, ServiceRow
from nova_async.errors import Invalid, NotFound
from nova_async.services.volume import fields as f
from nova_async.services.volume import rules, views
from nova_async.services.volume.backend import SCHEDULER, VOLUME
from nova_async.services.volume.handlers.base import Handlers, Routes
from nova_async.services.web import context_of, json_body, json_response

ACTIONS = ("freeze", "thaw", "enable", "disable", "disable-log-reason")
TOTAL = "(total)"
REASONS = 255  # characters


class BackendHandlers(Handlers):
    def routes(self) -> Routes:
        return [
            ("GET", "/os-services", self.services),
            ("PUT", "/os-services/{action}", self.act),
            ("GET", "/os-hosts", self.hosts),
            ("GET", "/os-hosts/{host}", self.host),
            ("GET", "/scheduler-stats/get_pools", self.pools),
            ("GET", "/capabilities/{host}", self.capabilities),
        ]

    async def services(self, request: web.Request) -> web.StreamResponse:
        known = await self.service.backend.services(context_of(request))
        found = [self._service(name, host, known.get(name)) for name, host in self.service.backend.hosts.items()]
        if binary := request.query.get("binary"):
            found = [service for service in found if service["binary"] == binary]
        if host := request.query.get("host"):  # with its back end, or all of the host
            found = [service for service in found if host in (service["host"], service["host"].partition("@")[0])]
        return json_response({"services": found})

    async def act(self, request: web.Request) -> web.StreamResponse:
        action, body, ctx = request.match_info["action"], await json_body(request), context_of(request)
        if action not in ACTIONS:
            raise NotFound(f"There is no such action on services: {action[:100]}.")
        host, name, backend = _text(body, "host"), body.get("binary") or body.get("service") or "", self.service.backend
        match action:
            case "freeze" | "thaw":
                await backend.freeze(ctx, host, frozen=action == "freeze")
                return web.Response(status=202)
            case _:
                disabled = action != "enable"
                reason = _text(body, "disabled_reason") if action == "disable-log-reason" else None
                await backend.switch(ctx, host, str(name), disabled=disabled, reason=reason)
        told = {"host": host, "service": name, "binary": name, "disabled": disabled, "status": "disabled" if disabled else "enabled"}
        return json_response(told | ({} if action == "disable" else {"disabled_reason": reason}))

    async def hosts(self, request: web.Request) -> web.StreamResponse:
        known = await self.service.backend.services(context_of(request), "volume_extension:hosts")
        told = [self._service(name, host, known.get(name)) for name, host in self.service.backend.hosts.items()]
        shown = [
            {
                "host_name": service["host"],
                "service": service["binary"],
                "zone": service["zone"],
                "service-status": "available",
                "service-state": service["status"],
                "last-update": service["updated_at"],
            }
            for service in told
            if request.query.get("zone") in (None, service["zone"])
        ]
        return json_response({"hosts": shown})

    async def host(self, request: web.Request) -> web.StreamResponse:
        host = request.match_info["host"]
        each = await self.service.backend.usage(context_of(request), host)
        numbers = [(row.volumes, row.gigabytes, row.snapshots, row.snapshot_gigabytes) for row in each]
        total = ProjectUsage(TOTAL, *(sum(column) for column in zip((0,) * 4, *numbers, strict=True)))
        return json_response({"host": [{"resource": _usage(host, row)} for row in (total, *each)]})

    async def pools(self, request: web.Request) -> web.StreamResponse:
        rules.admin(context_of(request), "scheduler_extension:scheduler_stats:get_pools")
        total, free = await self.service.store.space()
        room = {"total_capacity_gb": total, "free_capacity_gb": free, "reserved_percentage": 0}
        detail = request.query.get("detail", "").lower() in f.TRUE
        pool = {"name": self.service.backend.pool} | ({"capabilities": self.service.backend.capabilities | room} if detail else {})
        return json_response({"pools": [pool]})

    async def capabilities(self, request: web.Request) -> web.StreamResponse:
        rules.admin(context_of(request), "volume_extension:capabilities")
        backend, host = self.service.backend, request.match_info["host"]
        if host not in (backend.hosts[VOLUME], backend.pool):
            raise NotFound(f"There is no back end {host[:255]}.")
        told = {name: backend.capabilities[name] for name in ("vendor_name", "volume_backend_name", "driver_version", "storage_protocol")}
        empty: dict[str, Any] = {
            "pool_name": None,
            "description": None,
            "visibility": None,
            "display_name": None,
            "replication_targets": [],
        }
        return json_response({"namespace": f"OS::Storage::Capabilities::{host}", "properties": {}} | empty | told)

    def _service(self, name: str, host: str, said: ServiceRow | None) -> dict[str, Any]:
        disabled = said is not None and said.disabled
        return {
            "binary": name,
            "host": host,
            "zone": self.service.volumes.zone,
            "status": "disabled" if disabled else "enabled",
            "state": "up",
            "updated_at": views.moment(self.service.world.now()),
            "disabled_reason": said.reason if said is not None and disabled else None,
            **({} if name == SCHEDULER else {"backend_state": "up"}),
        }


def _usage(host: str, row: ProjectUsage) -> dict[str, str]:
    return {
        "host": host,
        "project": row.project_id,
        "volume_count": str(row.volumes),
        "total_volume_gb": str(row.gigabytes),
        "snapshot_count": str(row.snapshots),
        "total_snapshot_gb": str(row.snapshot_gigabytes),
    }


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 1 <= len(value.strip()) <= REASONS:
        raise Invalid(
            f"Invalid input for field/attribute {name}. Value: {str(value)[:64]}. A text of 1 to {REASONS} characters is expected."
        )
    return value.strip()
