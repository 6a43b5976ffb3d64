"""Remote consoles: no host offers any, which is said as Nova says it of a console type that is switched off."""

from nova_async.api.handlers.actions import target
from nova_async.api.handlers.instances import refuse_nowhere
from nova_async.api.request import Request
from nova_async.errors import Invalid, NotFound


async def old(request: Request) -> None:
    (asked,) = request.body.values()
    _unavailable(request, asked["type"])


async def create(request: Request) -> None:
    asked = request.body["remote_console"]
    _unavailable(request, asked["type"])


def _unavailable(request: Request, kind: str) -> None:
    refuse_nowhere(target(request))
    raise Invalid(f"Unavailable console type {kind}.")


async def token(request: Request) -> None:
    raise NotFound("Token not found")
