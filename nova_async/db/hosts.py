"""Hosts, their inventories, and the application's own processes."""

from datetime import datetime
from typing import Any

import msgspec

from nova_async.db import Connection, Query, aggregates
from nova_async.errors import Conflict
from nova_async.model.hosts import HostRow


class Process(msgspec.Struct, kw_only=True):
    """A process of the application, as os-services lists it."""

    id: str
    number: int
    binary_name: str  # nova-scheduler, nova-conductor
    host: str
    disabled: bool
    disabled_reason: str | None = None
    seen_at: datetime
    up: bool


class Guest(msgspec.Struct):
    """A server and the name of its host; ``number`` is what its domain is named after."""

    host: str
    uuid: str
    number: int


class Worker(msgspec.Struct):
    """A host as a service: without what it has."""

    number: int
    name: str
    service_id: str
    availability_zone: str
    disabled: bool
    disabled_reason: str | None
    forced_down: bool
    updated_at: datetime


class Zone(msgspec.Struct):
    name: str
    available: bool


class Totals(msgspec.Struct):
    """Sums over all enabled hosts. Memory in MiB, disks in GiB."""

    count: int
    vcpus: int
    vcpus_used: int
    memory_mb: int
    memory_mb_used: int
    local_gb: int
    local_gb_used: int
    disk_available_least: int
    running_vms: int


class ProjectUse(msgspec.Struct):
    """What a project's servers on a host add up to, by their flavors."""

    project_id: str
    vcpus: int
    memory_mb: int
    disk_gb: int


class Identity(msgspec.Struct):
    id: str
    name: str


PROCESS_SECONDS = 75.0  # a process not heard of for so long is down

ALL = Query("hosts", "all", HostRow)
WITH_ROOM = Query[str]("hosts", "with_room", str)
IDENTITY = Query("hosts", "identity", Identity)
PUT = Query[Any]("hosts", "put")
PUT_INVENTORY = Query[Any]("hosts", "put_inventory")
SET_SERVICE = Query[Any]("hosts", "set_service")
DELETE = Query[Any]("hosts", "delete")
COUNT_FAILED_BUILD = Query[int]("hosts", "count_failed_build", int)
PROCESSES = Query("hosts", "processes", Process)
PUT_PROCESS = Query[Any]("hosts", "put_process")
SET_PROCESS = Query[Any]("hosts", "set_process")
DELETE_PROCESS = Query[Any]("hosts", "delete_process")
SERVERS = Query("hosts", "servers", Guest)
OF_SERVICE = Query[str]("hosts", "of_service", str)
LEAVE_AGGREGATES = Query[Any]("hosts", "leave_aggregates")
SERVICES = Query("hosts", "services", Worker)
ZONES = Query("hosts", "zones", Zone)
HYPERVISORS = Query("hosts", "hypervisors", HostRow)
TOTALS = Query("hosts", "totals", Totals)
USED_BY_PROJECTS = Query("hosts", "used_by_projects", ProjectUse)


async def all(conn: Connection, names: list[str] | None = None) -> list[HostRow]:
    return await ALL.all(conn, names)


async def with_room(conn: Connection, resources: dict[str, int]) -> list[str]:
    """The names of the hosts that have room for all of it now."""
    return await WITH_ROOM.all(conn, list(resources), list(resources.values()))


async def put(
    conn: Connection,
    *,
    id: str,
    name: str,
    service_id: str,
    address: str,
    zone: str,
    facts: dict[str, Any],
    traits: list[str],
    inventory: dict[str, tuple[int, int, float]],
) -> None:
    """Take over what a host says of itself. ``inventory``: resource class -> (total, reserved, allocation ratio).

    ``zone`` is where the host is unless an aggregate says otherwise.

    Raises ``Conflict`` when name and identity do not belong together: the host was renamed or re-imaged (INV-12).
    """
    for known in await IDENTITY.all(conn, name, id):
        if known.id != id:
            raise Conflict(f"The host name {name} belongs to the host with the id {known.id}; this host says that its id is {id}.")
        if known.name != name:
            raise Conflict(f"This host was known as {known.name} and says now that it is {name}: set compute.host to {known.name}.")
    await PUT.run(conn, id, name, service_id, address, zone, facts, traits)
    classes = list(inventory)
    totals, reserved, ratios = zip(*inventory.values(), strict=True) if classes else ((), (), ())
    await aggregates.set_zones(conn, [name])
    await PUT_INVENTORY.run(conn, id, classes, list(totals), list(reserved), [float(r) for r in ratios])


async def set_service(
    conn: Connection, service_id: str, *, disabled: bool | None = None, reason: str | None = None, forced_down: bool | None = None
) -> None:
    await SET_SERVICE.run(conn, service_id, disabled, reason, forced_down)


async def delete(conn: Connection, service_id: str) -> bool:
    """False when it still holds servers or does not exist."""
    return await DELETE.run(conn, service_id) > 0


async def count_failed_build(conn: Connection, host_id: str, failed: bool) -> int:
    return await COUNT_FAILED_BUILD.maybe(conn, host_id, failed) or 0


async def processes(conn: Connection) -> list[Process]:
    """Whether one is up is decided by the database's clock."""
    return await PROCESSES.all(conn, PROCESS_SECONDS)


async def put_process(conn: Connection, id: str, binary_name: str, host: str) -> None:
    await PUT_PROCESS.run(conn, id, binary_name, host)


async def set_process(conn: Connection, id: str, disabled: bool, reason: str | None) -> None:
    await SET_PROCESS.run(conn, id, disabled, reason)


async def delete_process(conn: Connection, id: str) -> bool:
    return await DELETE_PROCESS.run(conn, id) > 0


async def servers(conn: Connection, names: list[str]) -> list[Guest]:
    """The servers on these hosts."""
    return await SERVERS.all(conn, names)


async def of_service(conn: Connection, service: str) -> HostRow | None:
    """The host whose worker this service is. ``service``: its UUID, or its number."""
    name = await OF_SERVICE.maybe(conn, service)
    return next(iter(await all(conn, [name])), None) if name else None


async def leave_aggregates(conn: Connection, name: str) -> None:
    """Take a host that is to be forgotten out of its aggregates."""
    await LEAVE_AGGREGATES.run(conn, name)


async def services(conn: Connection, host: str | None = None) -> list[Worker]:
    """The workers, of one host or of all, oldest first."""
    return await SERVICES.all(conn, host)


async def zones(conn: Connection) -> list[Zone]:
    return await ZONES.all(conn)


async def hypervisors(conn: Connection, *, after: int = 0, part: str | None = None, limit: int | None = None) -> list[HostRow]:
    """Oldest first: those with numbers above ``after``, with ``part`` in the hypervisor's name, at most ``limit``."""
    return await HYPERVISORS.all(conn, after, part, None, limit)


async def hypervisor(conn: Connection, id: str) -> HostRow | None:
    """``id``: its UUID, or its number."""
    return next(iter(await HYPERVISORS.all(conn, 0, None, id, 1)), None)


async def totals(conn: Connection) -> Totals:
    return await TOTALS.one(conn)


async def used_by_projects(conn: Connection, name: str) -> list[ProjectUse]:
    return await USED_BY_PROJECTS.all(conn, name)
