"""The addresses of a server by network (/servers/{id}/ips)."""

from typing import Any

from nova_async.api.handlers.server_metadata import server
from nova_async.api.request import Request
from nova_async.api.views.servers import addresses
from nova_async.errors import NotFound


async def index(request: Request) -> dict[str, Any]:
    return addresses(server(request), extended=False)


async def show(request: Request) -> dict[str, Any]:
    label, networks = request.values["id"], addresses(server(request), extended=False)
    if label not in networks:
        raise NotFound("Instance is not a member of specified network")
    return {label: networks[label]}
