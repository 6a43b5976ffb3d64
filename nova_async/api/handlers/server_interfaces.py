"""A server's network interfaces, as they are bound."""

from typing import Any

from nova_async.api.handlers.actions import target
from nova_async.api.request import Request
from nova_async.errors import NotFound


async def index(request: Request) -> list[dict[str, Any]]:
    return target(request).ports


async def show(request: Request) -> dict[str, Any]:
    """By the port's id."""
    for port in target(request).ports:
        if port["id"] == request.values["id"]:
            return port
    raise NotFound(f"Port id {request.values['id'][:255]} could not be found.")
