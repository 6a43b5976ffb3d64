"""Host aggregates. The key ``availability_zone`` of their metadata puts their hosts into a zone.

A host is in one zone, and a host that holds servers stays in the zone that it is in.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nova_async import log
from nova_async.api.request import Request
from nova_async.bus.messages.conductor import HostsChanged
from nova_async.db import Connection, aggregates
from nova_async.db.aggregates import Standing
from nova_async.errors import Conflict, Error, Invalid, NotFound
from nova_async.model.aggregates import ZONE, Aggregate

INTEGER = re.compile(r"-?[0-9]{1,18}")

logger = log.get("api.aggregates")
ADDING, REMOVING = "Cannot add host to aggregate {}. Reason: {}.", "Cannot remove host from aggregate {}. Reason: {}."
UPDATING, UPDATING_METADATA = "Cannot update aggregate {}. Reason: {}.", "Cannot update metadata of aggregate {}. Reason: {}."


async def index(request: Request) -> list[Aggregate]:
    async with request.parts.database.connection() as conn:
        return await aggregates.all(conn)


async def show(request: Request) -> Aggregate:
    async with request.parts.database.connection() as conn:
        return await _found(conn, _id(request))


async def create(request: Request) -> Aggregate:
    asked = request.body["aggregate"]
    name, zone = asked["name"].strip(), asked.get("availability_zone")
    async with request.parts.database.transaction() as conn:
        id = await aggregates.insert(conn, request.parts.world.uuid(), name, {} if zone is None else {ZONE: zone})
        if id is None:
            raise _taken(name)
        made = await _found(conn, id)
        await _told(request, conn, made, "create")
        return made


async def update(request: Request) -> Aggregate:
    id, asked = _id(request), request.body["aggregate"]
    async with _changing(request, id) as (conn, aggregate):
        if "name" in asked and not await aggregates.rename(conn, id, asked["name"].strip()):
            raise _taken(asked["name"].strip())
        if "availability_zone" in asked:
            await _rezone(conn, aggregate, asked["availability_zone"], UPDATING)
            await aggregates.set_metadata(conn, id, {ZONE: asked["availability_zone"]})
        changed = await _changed(conn, id)
        await _told(request, conn, changed, "update_prop", *(["update_metadata"] if "availability_zone" in asked else []))
        return changed


async def delete(request: Request) -> None:
    async with _changing(request, _id(request)) as (conn, aggregate):
        if aggregate.hosts:
            raise Invalid(f"Cannot delete aggregate {aggregate.id}. Reason: Host aggregate is not empty.")
        await aggregates.delete(conn, aggregate.id)
        await _told(request, conn, aggregate, "delete")


async def add_host(request: Request) -> Aggregate:
    id, host = _id(request), request.body["add_host"]["host"]
    async with _changing(request, id, host) as (conn, aggregate):
        here = await _host(conn, host, id)
        if host in aggregate.hosts:
            raise Conflict(f"Aggregate {id} already has host {host}.")
        if aggregate.zone is not None:
            if others := [zone for zone in here.other_zones if zone != aggregate.zone]:
                raise Conflict(ADDING.format(id, f"One or more hosts already in availability zone(s) {others}"))
            _check_servers(here, aggregate.zone, Conflict, ADDING.format(id, "{}"))
        await aggregates.add_host(conn, id, host)
        changed = await _changed(conn, id)
        await _told(request, conn, changed, "add_host")
        return changed


async def remove_host(request: Request) -> Aggregate:
    id, host = _id(request), request.body["remove_host"]["host"]
    async with _changing(request, id, host) as (conn, aggregate):
        if host not in aggregate.hosts:
            raise NotFound(f"Aggregate {id} has no host {host}.")
        for here in await aggregates.standing(conn, [host], id):
            _check_servers(here, min(here.other_zones, default=here.own_zone), Conflict, REMOVING.format(id, "{}"))
        await aggregates.remove_host(conn, id, host)
        await aggregates.set_zones(conn, [host])
        changed = await _found(conn, id)
        await _told(request, conn, changed, "remove_host")
        return changed


async def set_metadata(request: Request) -> Aggregate:
    id, changes = _id(request), request.body["set_metadata"]["metadata"]
    async with _changing(request, id) as (conn, aggregate):
        if ZONE in changes:
            await _rezone(conn, aggregate, changes[ZONE], UPDATING_METADATA)
        await aggregates.set_metadata(conn, id, changes)
        changed = await _changed(conn, id)
        await _told(request, conn, changed, "update_metadata")
        return changed


async def images(request: Request) -> None:
    """Only noted: hosts fetch an image when the first server needs it, and keep it from then on."""
    id, wanted = _id(request), [image["id"] for image in request.body["cache"]]
    if len(set(wanted)) < len(wanted):
        raise Invalid("Duplicate images in request")
    async with request.parts.database.connection() as conn:
        aggregate = await _found(conn, id)
        await _told(request, conn, aggregate, "cache_images")
    logger.info("aggregate.images_wanted", aggregate=id, hosts=len(aggregate.hosts), images=wanted)


async def _told(request: Request, conn: Connection, aggregate: Aggregate, *verbs: str) -> None:
    await request.tell(conn, aggregate, *(f"aggregate.{verb}.{phase}" for verb in verbs for phase in ("start", "end")))


@asynccontextmanager
async def _changing(request: Request, id: int, *hosts: str) -> AsyncIterator[tuple[Connection, Aggregate]]:
    """One change at a time. Afterwards all conductors hear of it. Raises ``NotFound``."""
    async with request.parts.database.transaction() as conn:
        await aggregates.serialize(conn)
        aggregate = await _found(conn, id)
        yield conn, aggregate
    await request.parts.bus.publish("hosts", HostsChanged(hosts=tuple(sorted({*aggregate.hosts, *hosts}))))


async def _changed(conn: Connection, id: int) -> Aggregate:
    aggregate = await _found(conn, id)
    await aggregates.set_zones(conn, aggregate.hosts)
    return aggregate


def _id(request: Request) -> int:
    """An id that no aggregate can have, a negative one, is only not found."""
    text = request.values["id"]
    if not INTEGER.fullmatch(text):
        raise Invalid(f"Invalid input received: id must be an integer, not {text[:255]}.")
    return int(text)


async def _found(conn: Connection, id: int) -> Aggregate:
    aggregate = await aggregates.get(conn, id)
    if aggregate is None:
        raise NotFound(f"Aggregate {id} could not be found.")
    return aggregate


def _taken(name: str) -> Conflict:
    return Conflict(f"Aggregate {name} already exists.")


async def _host(conn: Connection, host: str, but: int) -> Standing:
    found = await aggregates.standing(conn, [host], but)
    if not found:
        raise NotFound(f"Compute host {host} could not be found.")
    return found[0]


async def _rezone(conn: Connection, aggregate: Aggregate, zone: str | None, words: str) -> None:
    """Check that the hosts may move to ``zone``. Raises ``Invalid``."""
    if not zone:
        raise Invalid(words.format(aggregate.id, f"Aggregate {aggregate.name} does not support empty named availability zone"))
    hosts = await aggregates.standing(conn, aggregate.hosts, aggregate.id)
    if others := sorted({other for here in hosts for other in here.other_zones if other != zone}):
        raise Invalid(words.format(aggregate.id, f"One or more hosts already in availability zone(s) {others}"))
    if zone != aggregate.zone:
        for here in hosts:
            if here.servers:
                raise Invalid(words.format(aggregate.id, "One or more hosts contain instances in this zone"))


def _check_servers(here: Standing, zone: str, kind: type[Error], words: str) -> None:
    """A host that holds servers stays in its zone: they would not be where their owners put them."""
    if here.servers and zone != here.availability_zone:
        count: Any = f"{here.servers} server{'s' if here.servers != 1 else ''}"
        raise kind(
            words.format(
                f"the host holds {count} and would move from availability zone {here.availability_zone} to {zone}; "
                "move the servers to other hosts first"
            )
        )
