"""What an availability zone looks like. Hosts are told to those who see details."""

from typing import Any, NamedTuple

from nova_async.api.render import Field, Fields, Many, microseconds
from nova_async.api.request import Request
from nova_async.api.shapes import BOOLEAN, MICROSECONDS, TEXT, closed, mapping, nullable
from nova_async.model.services import Service


class Zone(NamedTuple):
    """``services``: those of the zone that are enabled; None where they are not told."""

    name: str
    available: bool
    services: list[Service] | None


def _state(zone: Zone, request: Request) -> dict[str, bool]:
    return {"available": zone.available}


def _hosts(zone: Zone, request: Request) -> dict[str, Any] | None:
    if zone.services is None:
        return None
    told: dict[str, Any] = {}
    for service in zone.services:
        told.setdefault(service.host, {})[service.binary] = {
            "available": service.up,
            "active": not service.disabled,
            "updated_at": microseconds(service.seen_at),
        }
    return told


SERVICE = closed({"available": BOOLEAN, "active": BOOLEAN, "updated_at": nullable(MICROSECONDS)})
FIELDS = (
    Field("zoneName", "name", type=TEXT),
    Field("zoneState", _state, type=closed({"available": BOOLEAN})),
    Field("hosts", _hosts, type=nullable(mapping(mapping(SERVICE)))),  # by host and binary
)

LIST = Many("availabilityZoneInfo", Fields(FIELDS))
