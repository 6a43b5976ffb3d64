"""Availability zones. One is available while a service in it is enabled."""

from nova_async.api.handlers.services import services
from nova_async.api.request import Request
from nova_async.api.views.availability_zones import Zone
from nova_async.model.services import INTERNAL_ZONE, Service


async def index(request: Request) -> list[Zone]:
    """The zones in which servers may be, without their hosts."""
    return [Zone(name, bool(enabled), None) for name, enabled in (await _zones(request)).items() if name != INTERNAL_ZONE]


async def detail(request: Request) -> list[Zone]:
    """All zones with their hosts; those of which nothing is enabled without."""
    return [Zone(name, bool(enabled), enabled or None) for name, enabled in (await _zones(request)).items()]


async def _zones(request: Request) -> dict[str, list[Service]]:
    """Zone to the enabled services in it; available zones first."""
    async with request.parts.database.connection() as conn:
        found = await services(request, conn)
    zones: dict[str, list[Service]] = {name: [] for name in sorted({s.zone for s in found})}
    for service in found:
        if not service.disabled:
            zones[service.zone].append(service)
    return dict(sorted(zones.items(), key=lambda zone: not zone[1]))
