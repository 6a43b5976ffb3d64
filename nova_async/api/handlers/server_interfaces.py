"""A server's network interfaces: as they are bound, and more or fewer of them."""

from typing import Any

import msgspec

from nova_async.api.handlers.actions import begin, check_legal, target
from nova_async.api.handlers.operations import Outcome, ended
from nova_async.api.request import Request
from nova_async.db import instances
from nova_async.errors import Conflict, Error, Invalid, NotFound, Unavailable
from nova_async.services.network import NetworkRequest

ATTACH_SECONDS = 30.0


async def index(request: Request) -> list[dict[str, Any]]:
    return target(request).ports


async def show(request: Request) -> dict[str, Any]:
    """By the port's id."""
    return _port(target(request).ports, request.values["id"])


async def create(request: Request) -> dict[str, Any]:
    """A new port in a network, or a port that exists; answered when the guest has it."""
    server = target(request)
    await check_legal(request, "attach_interface")
    wish = await _wish(request, request.body.get("interfaceAttachment") or {})
    workflow = await begin(request, "attach_interface", wish=msgspec.to_builtins(wish))
    outcome = await ended(request, workflow, ATTACH_SECONDS)
    if outcome is None:
        raise Unavailable("The interface is still being attached; look at the server's interfaces again later.")
    if outcome.error is not None:
        raise Conflict(f"Failed to attach network adapter device to {server.uuid}", detail=outcome.error)
    return await _attached(request, outcome)


async def delete(request: Request) -> None:
    await check_legal(request, "detach_interface")
    port = _port(target(request).ports, request.values["id"])
    await begin(request, "detach_interface", port_id=port["id"])


async def _wish(request: Request, asked: dict[str, Any]) -> NetworkRequest:
    """Checked by the network service. Raises ``Invalid``, ``NotFound``, ``Conflict``, ``Forbidden``."""
    network, port, addresses = asked.get("net_id"), asked.get("port_id"), asked.get("fixed_ips")
    if network and port:
        raise Invalid("Must not input both network_id and port_id")
    if addresses and not network:
        raise Invalid("Must input network_id when request IP address")
    wishes = None
    if network or port:
        address = addresses[0]["ip_address"] if addresses else None
        wishes = [NetworkRequest(network_id=network, port_id=port, fixed_ip=address, tag=asked.get("tag"))]
    try:
        checked = await request.parts.networks.check(request.ctx, wishes, [], 1)
    except Invalid as error:
        raise _as_nova_says(error) from None
    except Conflict as error:
        raise (error if network else Invalid(error.message)) from None  # as for a port, so where several networks may be meant
    if not checked:
        raise Invalid("No network is available to attach to.")
    return msgspec.structs.replace(checked[0], tag=asked.get("tag"))


def _as_nova_says(error: Invalid) -> Error:
    """What is missing is 404 here, not 400 as for a new server."""
    return NotFound(error.message) if "could not be found" in error.message else error


async def _attached(request: Request, outcome: Outcome) -> dict[str, Any]:
    """The port that the operation bound."""
    bound: dict[str, Any] | None = (outcome.results.get("bind_port") or {}).get("port")
    if bound is not None:
        return bound
    async with request.parts.database.connection() as conn:
        server = await instances.get(conn, target(request).uuid)
    before = {port["id"] for port in target(request).ports}
    new = [port for port in (server.ports if server else ()) if port["id"] not in before]
    if not new:
        raise Conflict("The interface was taken off again meanwhile.")
    return new[0]


def _port(ports: list[dict[str, Any]], port_id: str) -> dict[str, Any]:
    for port in ports:
        if port["id"] == port_id:
            return port
    raise NotFound(f"Port id {port_id[:255]} could not be found.")
