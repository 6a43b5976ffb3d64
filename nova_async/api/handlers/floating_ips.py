"""Floating IPs as the first versions of the API had them: a proxy to the network service.

A network service without routers answers 404 for them, so that nobody has any.
"""

from typing import Any

from nova_async.api.handlers.actions import target
from nova_async.api.handlers.server_networking import refresh
from nova_async.api.request import Request
from nova_async.db import instances
from nova_async.errors import Conflict, Error, Forbidden, Invalid, NotFound, QuotaExceeded, Unavailable
from nova_async.model.instances import Instance

Address = dict[str, Any]  # a floating IP in Neutron's fields; when it is told of, with ``pool`` and ``instance_id``
Network = dict[str, Any]
EXTERNAL = "router:external"
DEFAULT_POOL = "nova"


async def index(request: Request) -> list[Address]:
    return await _told(request, await _found(request, tenant_id=[request.ctx.project_id]))


async def show(request: Request) -> Address:
    return (await _told(request, [await _address(request)]))[0]


async def create(request: Request) -> Address:
    """One more address from a pool: an external network, by name or id."""
    wanted = (request.body or {}).get("pool")
    pool = await _pool(request, wanted)
    where = f" in pool {wanted}" if wanted else ""
    try:
        made = await request.parts.networks.make(request.ctx, "floatingips", {"floating_network_id": pool["id"]})
    except QuotaExceeded as error:
        raise Forbidden(f"IP allocation over quota{where}.", detail=error.message) from None
    except (Conflict, NotFound) as error:
        text = f"No more floating IPs{where}." if wanted else "No more floating IPs available."
        raise NotFound(text, detail=error.message) from None
    return (await _told(request, [made]))[0]


async def delete(request: Request) -> None:
    """The server that had it loses it."""
    address = await _address(request)
    holder = await _holder(request, address)
    await request.parts.networks.remove(request.ctx, "floatingips", address["id"])
    if holder is not None:
        await refresh(request, holder)


async def add_to_server(request: Request) -> None:
    """To one of the server's fixed addresses; without one named, to its first of IPv4. A server that had it loses it."""
    server, asked = target(request), request.body["addFloatingIp"]
    fixed = _fixed_address(server, asked)
    address = await _by_address(request, asked["address"], "floating IP not found")
    holder = await _holder(request, address)
    try:
        await request.parts.networks.change(
            request.ctx, "floatingips", address["id"], {"port_id": _port_with(server, fixed), "fixed_ip_address": fixed}
        )
    except (Forbidden, Unavailable):
        raise
    except Conflict as error:
        raise Invalid(f"Floating IP {asked['address']} association has failed.", detail=error.message) from None
    except Error as error:
        raise Invalid(
            f"Unable to associate floating IP {asked['address']} to fixed IP {fixed} for instance {server.uuid}. Error: {error.message}"
        ) from None
    for changed in (server, holder):
        if changed is not None:
            await refresh(request, changed)


async def remove_from_server(request: Request) -> None:
    server, text = target(request), request.body["removeFloatingIp"]["address"]
    address = await _by_address(request, text, f"Floating IP not found for address {text}.")
    holder = await _holder(request, address)
    if holder is None or holder.uuid != server.uuid:
        raise Conflict(f"Floating IP {text} is not associated with instance {server.uuid}.")
    await request.parts.networks.change(request.ctx, "floatingips", address["id"], {"port_id": None})
    await refresh(request, server)


# What the network service knows


async def _found(request: Request, **filters: list[str]) -> list[Address]:
    try:
        return await request.parts.networks.things(request.ctx, "floatingips", **filters)
    except NotFound:
        return []


async def _address(request: Request) -> Address:
    """The one in the path. Raises ``NotFound``."""
    id = request.values["id"]
    try:
        return await request.parts.networks.thing(request.ctx, "floatingips", id)
    except NotFound:
        raise NotFound(f"Floating IP not found for ID {id[:255]}") from None


async def _by_address(request: Request, text: str, missing: str) -> Address:
    """Raises ``NotFound`` with the text ``missing``; ``Conflict`` where several networks have the address."""
    found = await _found(request, floating_ip_address=[text])
    if not found:
        raise NotFound(missing)
    if len(found) > 1:
        raise Conflict(f"Multiple floating IPs are found for address {text}.")
    return found[0]


async def _pool(request: Request, wanted: str | None) -> Network:
    """The external network of this name or id; of those that are not named, the one called nova, or the only one."""
    pools = await request.parts.networks.things(request.ctx, "networks", **{EXTERNAL: ["True"]})
    named = [pool for pool in pools if pool["id"] == wanted] or [pool for pool in pools if pool["name"] == (wanted or DEFAULT_POOL)]
    if wanted is None and not named:
        named = pools
    if len(named) > 1:
        raise Invalid(f"Multiple floating IP pools matches found for name '{wanted or DEFAULT_POOL}'; give its id.")
    if not named:
        raise NotFound("Floating IP pool not found.")
    return named[0]


async def _holder(request: Request, address: Address) -> Instance | None:
    """The live server on whose port it is."""
    if not address["port_id"]:
        return None
    for port in await request.parts.networks.things(request.ctx, "ports", id=[address["port_id"]]):
        if port["device_id"]:
            async with request.parts.database.connection() as conn:
                return await instances.get(conn, port["device_id"])
    return None


async def _told(request: Request, addresses: list[Address]) -> list[Address]:
    """With the name of the pool and the server that has it."""
    if not addresses:
        return []
    pools = await _named(request, "networks", [address["floating_network_id"] for address in addresses])
    ports = await _named(request, "ports", [address["port_id"] for address in addresses if address["port_id"]])
    return [
        {
            **address,
            "pool": pools.get(address["floating_network_id"], {}).get("name") or address["floating_network_id"],
            "instance_id": ports.get(address["port_id"], {}).get("device_id") or None,
        }
        for address in addresses
    ]


async def _named(request: Request, kind: str, ids: list[str]) -> dict[str, dict[str, Any]]:
    found = await request.parts.networks.things(request.ctx, kind, id=sorted(set(ids))) if ids else []
    return {thing["id"]: thing for thing in found}


# The server's side


def _fixed_address(server: Instance, asked: dict[str, Any]) -> str:
    """Raises ``Invalid`` for a server that has no such address."""
    fixed = [ip for port in server.ports for ip in port.get("fixed_ips", ())]
    if not server.ports:
        raise Invalid("Instance network is not ready yet")
    if not fixed:
        raise Invalid("No fixed IPs associated to instance")
    if "fixed_address" in asked:
        if asked["fixed_address"] not in {ip["address"] for ip in fixed}:
            raise Invalid("Specified fixed address not assigned to instance")
        return str(asked["fixed_address"])
    first = next((ip["address"] for ip in fixed if ip.get("version", 4) == 4), None)
    if first is None:
        raise Invalid(
            f"Unable to associate floating IP {asked['address']} to any fixed IPs for instance {server.uuid}. "
            "Instance has no fixed IPv4 addresses to associate."
        )
    return str(first)


def _port_with(server: Instance, fixed: str) -> str:
    return next(str(port["id"]) for port in server.ports if any(ip["address"] == fixed for ip in port.get("fixed_ips", ())))
