"""Limits: how much of a service's resource projects may have, and for which project or domain it is another number."""

from typing import Any

import msgspec

from nova_async.db.database import Connection
from nova_async.db.identity import Page
from nova_async.db.query import Query


class RegisteredLimit(msgspec.Struct, frozen=True, kw_only=True):
    """What holds where no limit says otherwise. A ``region_id`` of None is a service in no region; -1 is without end."""

    id: str
    service_id: str
    region_id: str | None = None
    resource_name: str
    default_limit: int
    description: str | None = None


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """Of one project, or of one domain. What it is a limit of, its registered limit says."""

    id: str
    project_id: str | None = None
    domain_id: str | None = None
    service_id: str
    region_id: str | None = None
    resource_name: str
    resource_limit: int
    description: str | None = None


class LimitFilter(msgspec.Struct, frozen=True, kw_only=True):
    service_id: str | None = None
    region_id: str | None = None
    resource_name: str | None = None
    project_id: str | None = None
    domain_id: str | None = None
    within_domain: str | None = None  # the domain's own, and those of all its projects


_registered_insert: Query[Any] = Query("identity_limits", "registered_insert")
_registered_update: Query[Any] = Query("identity_limits", "registered_update")
_registered_delete: Query[Any] = Query("identity_limits", "registered_delete")
_registered_show = Query("identity_limits", "registered_show", RegisteredLimit)
_registered_lock = Query("identity_limits", "registered_lock", RegisteredLimit)
_registered_find = Query("identity_limits", "registered_find", RegisteredLimit)
_registered_list = Query("identity_limits", "registered_list", RegisteredLimit)
_registered_is_used = Query("identity_limits", "registered_is_used", bool)
_limit_insert: Query[Any] = Query("identity_limits", "limit_insert")
_limit_update: Query[Any] = Query("identity_limits", "limit_update")
_limit_delete: Query[Any] = Query("identity_limits", "limit_delete")
_limit_show = Query("identity_limits", "limit_show", Limit)
_limit_lock = Query("identity_limits", "limit_lock", Limit)
_limit_list = Query("identity_limits", "limit_list", Limit)


async def registered_insert(conn: Connection, r: RegisteredLimit) -> None:
    await _registered_insert.run(conn, r.id, r.service_id, r.region_id, r.resource_name, r.default_limit, r.description)


async def registered_update(conn: Connection, r: RegisteredLimit) -> None:
    await _registered_update.run(conn, r.id, r.service_id, r.region_id, r.resource_name, r.default_limit, r.description)


async def registered_delete(conn: Connection, registered_id: str) -> None:
    await _registered_delete.run(conn, registered_id)


async def registered_show(conn: Connection, registered_id: str) -> RegisteredLimit | None:
    return await _registered_show.maybe(conn, registered_id)


async def registered_lock(conn: Connection, registered_id: str) -> RegisteredLimit | None:
    """No limit can be made in place of its default until the transaction ends."""
    return await _registered_lock.maybe(conn, registered_id)


async def registered_find(conn: Connection, service_id: str, region_id: str | None, resource_name: str) -> RegisteredLimit | None:
    """The one that a limit would be in place of; it stays as it is until the transaction ends."""
    return await _registered_find.maybe(conn, service_id, region_id, resource_name)


async def registered_list(
    conn: Connection, service_id: str | None, region_id: str | None, resource_name: str | None, page: Page
) -> list[RegisteredLimit]:
    return await _registered_list.all(conn, service_id, region_id, resource_name, page.marker, page.limit)


async def registered_is_used(conn: Connection, registered_id: str) -> bool:
    return await _registered_is_used.one(conn, registered_id)


async def limit_insert(conn: Connection, registered_id: str, limit: Limit) -> None:
    values = (limit.id, registered_id, limit.project_id, limit.domain_id, limit.resource_limit, limit.description)
    await _limit_insert.run(conn, *values)


async def limit_update(conn: Connection, limit: Limit) -> None:
    await _limit_update.run(conn, limit.id, limit.resource_limit, limit.description)


async def limit_delete(conn: Connection, limit_id: str) -> None:
    await _limit_delete.run(conn, limit_id)


async def limit_show(conn: Connection, limit_id: str) -> Limit | None:
    return await _limit_show.maybe(conn, limit_id)


async def limit_lock(conn: Connection, limit_id: str) -> Limit | None:
    return await _limit_lock.maybe(conn, limit_id)


async def limit_list(conn: Connection, f: LimitFilter, page: Page) -> list[Limit]:
    filters = (f.service_id, f.region_id, f.resource_name, f.project_id, f.domain_id, f.within_domain)
    return await _limit_list.all(conn, *filters, page.marker, page.limit)
