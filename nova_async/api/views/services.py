"""What a service looks like."""

from typing import Any

from nova_async.api.render import Field, Fields, Many, One, Plain, microseconds
from nova_async.api.request import Request
from nova_async.api.shapes import BOOLEAN, INTEGER, MAYBE_TEXT, MICROSECONDS, TEXT, UUID, closed, nullable, one_of
from nova_async.api.versions import V
from nova_async.model.services import Service


def _status(row: Service, request: Request) -> str:
    return "disabled" if row.disabled else "enabled"


def _state(row: Service, request: Request) -> str:
    return "up" if row.up else "down"


def _seen(row: Service, request: Request) -> str | None:
    return microseconds(row.seen_at)


FIELDS = (
    Field("id", "number", until=V.SERVICE_UUIDS - 1, type=INTEGER),
    Field("id", "id", since=V.SERVICE_UUIDS, type=UUID),
    Field("binary", "binary", type=TEXT),
    Field("host", "host", type=TEXT),
    Field("zone", "zone", type=TEXT),
    Field("status", _status, type=one_of("enabled", "disabled")),
    Field("state", _state, type=one_of("up", "down")),
    Field("updated_at", _seen, type=nullable(MICROSECONDS)),
    Field("disabled_reason", "disabled_reason", type=MAYBE_TEXT),
    Field("forced_down", "forced_down", since=V.SERVICE_FORCED_DOWN, type=BOOLEAN),
)


def _echo(asked: dict[str, Any], request: Request) -> Any:
    return {"service": asked}


LIST = Many("services", Fields(FIELDS))
SHOW = One("service", Fields(FIELDS))
ECHO = {"host": TEXT, "binary": TEXT, "status": TEXT, "disabled_reason": TEXT, "forced_down": BOOLEAN}
UPDATED_BY_NAME = Plain(_echo, closed({"service": closed(ECHO, ("status", "disabled_reason", "forced_down"))}))
