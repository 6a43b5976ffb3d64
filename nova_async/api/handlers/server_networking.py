"""A server's security groups and addresses, changed on its ports in the network service."""

from typing import Any

import msgspec

from nova_async.api.handlers.actions import target
from nova_async.api.handlers.instances import hold, refuse_locked
from nova_async.api.request import Request
from nova_async.bus.messages.compute import RefreshPorts
from nova_async.db import instances
from nova_async.errors import Conflict, Error, Invalid, NotFound
from nova_async.model.instances import Instance

Port = dict[str, Any]


async def add_security_group(request: Request) -> None:
    server, name = target(request), request.body["addSecurityGroup"]["name"]
    group = await _group(request, server, name)
    for port in await _guarded_ports(request, server):
        if group["id"] not in port["security_groups"]:
            await _change(request, port, security_groups=[*port["security_groups"], group["id"]])
    await refresh(request, server)


async def remove_security_group(request: Request) -> None:
    server, name = target(request), request.body["removeSecurityGroup"]["name"]
    group = await _group(request, server, name)
    ports = [port for port in await _guarded_ports(request, server) if group["id"] in port["security_groups"]]
    if not ports:
        raise NotFound(f"Security group {name} not associated with the instance {server.uuid}")
    for port in ports:
        await _change(request, port, security_groups=[kept for kept in port["security_groups"] if kept != group["id"]])
    await refresh(request, server)


async def security_groups(request: Request) -> list[dict[str, Any]]:
    """The groups on the server's ports, in Neutron's fields."""
    ports = await _ports(request, target(request))
    ids = sorted({group for port in ports for group in port["security_groups"]})
    return await request.parts.networks.things(request.ctx, "security-groups", id=ids) if ids else []


async def add_fixed_ip(request: Request) -> None:
    """One more address on the port that the server has in a network."""
    server, network = target(request), str(request.body["addFixedIp"]["networkId"])
    await _refuse_locked(request, server)
    port = next((p for p in await _ports(request, server) if p["network_id"] == network), None)
    if port is None or not port["fixed_ips"]:
        raise NotFound(f"Network {network} is not associated with instance {server.uuid}.")
    more = {"subnet_id": port["fixed_ips"][0]["subnet_id"]}
    try:
        await _change(request, port, fixed_ips=[*port["fixed_ips"], more])
    except Conflict as error:
        raise Invalid("No fixed IP addresses available for network: " + network, detail=error.message) from None
    await refresh(request, server)


async def remove_fixed_ip(request: Request) -> None:
    server, address = target(request), request.body["removeFixedIp"]["address"]
    await _refuse_locked(request, server)
    for port in await _ports(request, server):
        kept = [ip for ip in port["fixed_ips"] if ip["ip_address"] != address]
        if len(kept) < len(port["fixed_ips"]):
            await _change(request, port, fixed_ips=kept)
            await refresh(request, server)
            return
    raise Invalid(f"Fixed IP not found for address {address} on instance {server.uuid}.")


async def inject_network_info(request: Request) -> None:
    """Let the host plug the server's ports anew."""
    server = target(request)
    await _refuse_locked(request, server)
    await refresh(request, server)


async def refresh(request: Request, server: Instance) -> None:
    """Keep what the network service says of the server's ports in its row, and let its host plug them so."""
    ports = await request.parts.networks.ports(request.ctx, instance_id=server.uuid)
    groups = await request.parts.networks.security_groups(request.ctx, instance_id=server.uuid)
    async with request.parts.database.connection() as conn:
        shown = [msgspec.to_builtins(port) for port in ports]
        await instances.change(conn, server.uuid, security_groups=groups, **({"ports": shown} if server.host else {}))
    if server.host:
        await request.parts.bus.cast(f"compute.{server.host}", RefreshPorts(instance_id=server.uuid, ports=tuple(ports)))


async def _group(request: Request, server: Instance, name: str) -> dict[str, Any]:
    """The group of the server's project with this name or id. Raises ``NotFound``, ``Conflict``."""
    groups = await request.parts.networks.things(request.ctx, "security-groups", project_id=[server.project_id])
    matches = [group for group in groups if group["id"] == name] or [group for group in groups if group["name"] == name]
    if not matches:
        raise NotFound(f"Security group {name} not found for project {server.project_id}.")
    if len(matches) > 1:
        raise Conflict(f"Multiple security groups found matching '{name}'. Use an ID to be more specific.")
    return matches[0]


async def _guarded_ports(request: Request, server: Instance) -> list[Port]:
    """Those that security groups can be on. Raises ``NotFound`` for a server without ports."""
    ports = await _ports(request, server)
    if not ports:
        raise NotFound(f"Security group cannot be applied: instance_id {server.uuid} could not be found as device id on any ports")
    guarded = [port for port in ports if port.get("port_security_enabled", True)]
    if not guarded:
        raise Invalid("Network requires port_security_enabled and subnet associated in order to apply security groups.")
    return guarded


async def _ports(request: Request, server: Instance) -> list[Port]:
    return await request.parts.networks.things(request.ctx, "ports", device_id=[server.uuid])


async def _change(request: Request, port: Port, **fields: Any) -> None:
    try:
        await request.parts.networks.change(request.ctx, "ports", port["id"], fields)
    except NotFound as error:
        raise Conflict("A port of the server went away meanwhile; try again.", detail=error.message) from None
    except Error:
        raise


async def _refuse_locked(request: Request, server: Instance) -> None:
    async with request.parts.database.transaction() as conn:
        refuse_locked(request, server, await hold(request, conn, server))
