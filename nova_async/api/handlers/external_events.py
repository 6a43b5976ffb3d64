"""Events of other services (os-server-external-events): what a server's network, volumes or power became outside of us.

An event is accepted for a server that is on a host, and what it means is done soon after. Nothing here waits for events: a
port is plugged, and a volume attached, when the host says so.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from nova_async import log
from nova_async.api.request import Request
from nova_async.api.schemas import external_events as names
from nova_async.bus.messages.compute import GuestList, ListGuests
from nova_async.bus.messages.conductor import PortsChanged, PowerChanged
from nova_async.context import service_context
from nova_async.db import instances
from nova_async.errors import Conflict, Error
from nova_async.model.instances import Instance
from nova_async.model.states import LEGAL

logger = log.get("api.events")
LOOK_SECONDS = 5.0
TAGGED = frozenset({names.VOLUME_EXTENDED, names.POWER_UPDATE, names.ACCELERATOR_BOUND})
POWER = {"POWER_ON": "start", "POWER_OFF": "stop"}  # tag -> the action that is noted
Event = dict[str, Any]


async def create(request: Request) -> dict[str, Any]:
    """200 when all are accepted, else 207; each event has a code of its own."""
    events: list[Event] = request.body["events"]
    async with request.parts.database.connection() as conn:
        servers = await instances.by_ids(conn, sorted({_key(e) for e in events}))
    accepted = []
    for event in events:
        code = _code(event, servers.get(_key(event)))
        event |= {"code": code, "status": "completed" if code == 200 else "failed"}
        if code == 200:
            accepted.append((event, servers[_key(event)]))
        else:
            request.status = 207
    for event, server in accepted:
        logger.info("event.accepted", name=event["name"], tag=event.get("tag"), server=server.uuid)
        await MEANING[event["name"]](request, server, event.get("tag"))
    return {"events": events}


def _key(event: Event) -> str:
    """A UUID may be written in several ways."""
    text = event["server_uuid"].strip("{}").replace("-", "").lower()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _code(event: Event, server: Instance | None) -> int:
    if server is None or server.deleted:
        return 404
    if event["name"] in TAGGED and event.get("tag") is None:
        return 400
    return 200 if server.host else 422


async def _ports_changed(request: Request, server: Instance, tag: str | None) -> None:
    await request.parts.bus.cast("conductor", PortsChanged(instances=(server.uuid,)))


async def _port_deleted(request: Request, server: Instance, tag: str | None) -> None:
    """The guest loses its card, as soon as nothing else is being done with it."""
    known = any(port["id"] == tag for port in server.ports)
    if known and server.vm_state in LEGAL["detach_interface"]:
        ctx = service_context(request.ctx.request_id, server.project_id, server.user_id)
        try:
            async with request.parts.database.transaction() as conn:
                workflow = await request.parts.starter.begin(conn, ctx, "detach_interface", server.uuid, port_id=tag)
            request.parts.starter.go([workflow])
            return
        except Conflict:
            logger.info("event.while_busy", server=server.uuid)
    await _ports_changed(request, server, tag)


async def _volume_extended(request: Request, server: Instance, tag: str | None) -> None:
    """The guest that has the volume is told its new size."""
    async with request.parts.database.transaction() as conn:
        if any(device.get("volume_id") == tag for device in server.volumes):
            try:
                workflow = await request.parts.starter.begin(conn, request.ctx, "extend_volume", server.uuid, volume_id=tag)
            except Conflict:
                logger.info("event.while_busy", server=server.uuid)
                return
            request.parts.starter.go([workflow])
            return
        await request.parts.starter.record(conn, request.ctx, "extend_volume", server.uuid, f"Volume {tag}")


async def _power_update(request: Request, server: Instance, tag: str | None) -> None:
    """The hypervisor is asked what the guest is now; the conductor writes it down, and notes the action."""
    if tag not in POWER:
        logger.warning("event.unknown_power_state", tag=tag, server=server.uuid)
        return
    try:
        answer = await request.parts.bus.call(f"compute.{server.host}", ListGuests(), timeout=LOOK_SECONDS)
    except Error as error:  # the conductor compares hosts with rows from time to time
        logger.warning("event.host_silent", server=server.uuid, host=server.host, error=error.message)
        return
    for guest in answer.guests if isinstance(answer, GuestList) else ():
        if guest.instance_id == server.uuid:
            told = PowerChanged(host=server.host or "", instance_id=server.uuid, generation=guest.generation, power_state=guest.power_state)
            await request.parts.bus.cast("conductor", told)


async def _nobody_waits(request: Request, server: Instance, tag: str | None) -> None:
    """What begins such work elsewhere looks for its end itself."""


MEANING: dict[str, Callable[[Request, Instance, str | None], Awaitable[None]]] = {
    names.NETWORK_CHANGED: _ports_changed,
    names.VIF_PLUGGED: _ports_changed,
    names.VIF_UNPLUGGED: _ports_changed,
    names.VIF_DELETED: _port_deleted,
    names.VOLUME_EXTENDED: _volume_extended,
    names.POWER_UPDATE: _power_update,
    names.ACCELERATOR_BOUND: _nobody_waits,
    names.VOLUME_REIMAGED: _nobody_waits,
}
