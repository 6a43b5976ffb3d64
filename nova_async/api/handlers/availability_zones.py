"""Availability zones. One is available while a service in it is enabled."""

from nova_async.api.handlers.services import services
from nova_async.api.request import Request
from nova_async.api.views.availability_zones import Zone
from nova_async.db import hosts
from nova_async.model.services import Service


async def index(request: Request) -> list[Zone]:
    """The zones in which servers may be, without their hosts; available ones first."""
    async with request.parts.database.connection() as conn:
        found = await hosts.zones(conn)
    return sorted((Zone(zone.name, zone.available, None) for zone in found), key=lambda zone: not zone.available)


async def detail(request: Request) -> list[Zone]:
    """All zones with their hosts; those of which nothing is enabled without."""
    async with request.parts.database.connection() as conn:
        found = await services(request, conn)
    enabled: dict[str, list[Service]] = {name: [] for name in sorted({s.zone for s in found})}
    for service in found:
        if not service.disabled:
            enabled[service.zone].append(service)
    zones = [Zone(name, bool(inside), inside or None) for name, inside in enabled.items()]
    return sorted(zones, key=lambda zone: not zone.available)
