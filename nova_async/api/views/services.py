"""What a service looks like."""

from typing import Any

from nova_async.api.render import Field, Fields, Many, One, Plain, microseconds
from nova_async.api.request import Request
from nova_async.api.versions import V
from nova_async.model.services import Service

TEXT = {"type": "string"}


def _status(row: Service, request: Request) -> str:
    return "disabled" if row.disabled else "enabled"


def _state(row: Service, request: Request) -> str:
    return "up" if row.up else "down"


def _seen(row: Service, request: Request) -> str | None:
    return microseconds(row.seen_at)


FIELDS = (
    Field("id", "number", until=V.SERVICE_UUIDS - 1, type={"type": "integer"}),
    Field("id", "id", since=V.SERVICE_UUIDS, type={"type": "string", "format": "uuid"}),
    Field("binary", "binary", type=TEXT),
    Field("host", "host", type=TEXT),
    Field("zone", "zone", type=TEXT),
    Field("status", _status, type=TEXT),
    Field("state", _state, type=TEXT),
    Field("updated_at", _seen, type=TEXT),
    Field("disabled_reason", "disabled_reason", type={"type": ["string", "null"]}),
    Field("forced_down", "forced_down", since=V.SERVICE_FORCED_DOWN, type={"type": "boolean"}),
)


def _echo(asked: dict[str, Any], request: Request) -> Any:
    return {"service": asked}


LIST = Many("services", Fields(FIELDS))
SHOW = One("service", Fields(FIELDS))
UPDATED_BY_NAME = Plain(_echo, {"type": "object", "properties": {"service": {"type": "object"}}, "required": ["service"]})
