"""Servers put on the shelf, off their host, and back. How they get onto it is in ``server_images``."""

from typing import Any

from nova_async.api.handlers.actions import begin, beginning, target
from nova_async.api.handlers.server_images import shelve
from nova_async.api.request import Request
from nova_async.api.versions import V
from nova_async.db import hosts, instances
from nova_async.errors import Conflict, Invalid
from nova_async.model.instances import Instance
from nova_async.model.states import SHELVED_OFFLOADED
from nova_async.policy import servers as policy

__all__ = ["offload", "shelve", "unshelve"]


async def offload(request: Request) -> None:
    await begin(request, "shelveOffload")


async def unshelve(request: Request) -> None:
    """A server that is off its host may be given a zone (and be pinned to it, or unpinned) or a host."""
    server = target(request)
    asked: dict[str, Any] = (request.body["unshelve"] or {}) if request.has(V.UNSHELVE_ZONE) else {}
    host, zone = asked.get("host"), asked.get("availability_zone")
    if host is not None:
        request.require(policy.UNSHELVE_HOST, project_id=server.project_id, user_id=server.user_id)
    if asked and server.vm_state != SHELVED_OFFLOADED:
        raise Conflict(
            f'Specifying an availability zone or a host when unshelving server "{server.uuid}" with status '
            f'"{server.vm_state}" is not supported. The server status must be SHELVED_OFFLOADED.'
        )
    given = {key: value for key, value in (("availability_zone", zone), ("host", host)) if value is not None}
    async with beginning(request, "unshelve", **given) as begun:
        known = await hosts.all(begun.conn)
        if zone is not None and all(row.availability_zone != zone for row in known):
            raise Invalid("The requested availability zone is not available")
        if host is not None:
            await _check_host(request, server, host, {row.name: row.availability_zone for row in known}, asked)
        if "availability_zone" in asked and (zone is not None or request.has(V.UNSHELVE_HOST)):
            await instances.change(begun.conn, server.uuid, pinned_zone=zone)


async def _check_host(request: Request, server: Instance, host: str, zones: dict[str, str], asked: dict[str, Any]) -> None:
    """Raises ``Invalid`` for an unknown host, ``Conflict`` for one outside of the server's zone."""
    if host not in zones:
        raise Invalid(f"Compute host {host} could not be found.")
    zone = asked.get("availability_zone", server.pinned_zone)
    if zone is not None and zones[host] != zone:
        raise Conflict(f'Host "{host}" is not in the availability zone "{zone}".')
