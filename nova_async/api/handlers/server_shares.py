"""Shares of a server (since 2.97). They need a shared file system service, and hosts that pass its shares on to guests.

No host tells the trait of the latter, so that Nova's check of the host refuses every share, and no server has one.
"""

from nova_async.api.handlers.actions import target
from nova_async.api.handlers.instances import illegal
from nova_async.api.request import Request
from nova_async.errors import Conflict, NotFound
from nova_async.model import states


async def index(request: Request) -> dict[str, list[str]]:
    return {"shares": []}


async def create(request: Request) -> None:
    _refuse_state(request, "create share", states.STOPPED)
    raise Conflict("Feature not supported because either compute or instance are not configured correctly.")


async def show(request: Request) -> None:
    raise _missing(request)


async def delete(request: Request) -> None:
    _refuse_state(request, "delete share", states.STOPPED, states.ERROR)
    raise _missing(request)


def _missing(request: Request) -> NotFound:
    return NotFound(f"Share {request.values['id'][:255]} could not be found.")


def _refuse_state(request: Request, action: str, *allowed: str) -> None:
    server = target(request)
    if server.vm_state not in allowed:
        raise illegal(server, action, "vm_state", server.vm_state)
