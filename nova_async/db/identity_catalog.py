"""What the identity service tells of other services: regions, services, endpoints."""

from typing import Any

import msgspec

from nova_async.db.database import Connection
from nova_async.db.identity import Extra, Page
from nova_async.db.query import Query


class Region(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    description: str = ""
    parent_region_id: str | None = None
    extra: Extra = {}


class Service(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    type: str
    name: str = ""
    description: str | None = None
    enabled: bool = True
    extra: Extra = {}


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    service_id: str
    region_id: str | None = None
    interface: str
    url: str
    enabled: bool = True
    extra: Extra = {}


class CatalogRow(msgspec.Struct, frozen=True, kw_only=True):
    service_id: str
    type: str
    name: str
    endpoint_id: str | None
    interface: str | None
    region_id: str | None
    url: str | None


_region_insert: Query[Any] = Query("identity_catalog", "region_insert")
_region_update: Query[Any] = Query("identity_catalog", "region_update")
_region_delete: Query[Any] = Query("identity_catalog", "region_delete")
_region_show = Query("identity_catalog", "region_show", Region)
_region_list = Query("identity_catalog", "region_list", Region)
_region_ensure: Query[Any] = Query("identity_catalog", "region_ensure")
_service_insert: Query[Any] = Query("identity_catalog", "service_insert")
_service_update: Query[Any] = Query("identity_catalog", "service_update")
_service_delete: Query[Any] = Query("identity_catalog", "service_delete")
_service_show = Query("identity_catalog", "service_show", Service)
_service_list = Query("identity_catalog", "service_list", Service)
_service_ensure: Query[Any] = Query("identity_catalog", "service_ensure")
_endpoint_insert: Query[Any] = Query("identity_catalog", "endpoint_insert")
_endpoint_update: Query[Any] = Query("identity_catalog", "endpoint_update")
_endpoint_delete: Query[Any] = Query("identity_catalog", "endpoint_delete")
_endpoint_show = Query("identity_catalog", "endpoint_show", Endpoint)
_endpoint_list = Query("identity_catalog", "endpoint_list", Endpoint)
_endpoint_ensure: Query[Any] = Query("identity_catalog", "endpoint_ensure")
_catalog = Query("identity_catalog", "catalog", CatalogRow)


async def region_insert(conn: Connection, r: Region) -> None:
    await _region_insert.run(conn, r.id, r.description, r.parent_region_id, r.extra)


async def region_update(conn: Connection, r: Region) -> None:
    await _region_update.run(conn, r.id, r.description, r.parent_region_id, r.extra)


async def region_delete(conn: Connection, region_id: str) -> bool:
    return await _region_delete.run(conn, region_id) > 0


async def region_show(conn: Connection, region_id: str) -> Region | None:
    return await _region_show.maybe(conn, region_id)


async def region_list(conn: Connection, parent: str | None, page: Page) -> list[Region]:
    return await _region_list.all(conn, parent, page.marker, page.limit)


async def region_ensure(conn: Connection, region_id: str) -> None:
    await _region_ensure.run(conn, region_id)


async def service_insert(conn: Connection, s: Service) -> None:
    await _service_insert.run(conn, s.id, s.type, s.name, s.description, s.enabled, s.extra)


async def service_update(conn: Connection, s: Service) -> None:
    await _service_update.run(conn, s.id, s.type, s.name, s.description, s.enabled, s.extra)


async def service_delete(conn: Connection, service_id: str) -> bool:
    return await _service_delete.run(conn, service_id) > 0


async def service_show(conn: Connection, service_id: str) -> Service | None:
    return await _service_show.maybe(conn, service_id)


async def service_list(conn: Connection, type_: str | None, name: str | None, page: Page) -> list[Service]:
    return await _service_list.all(conn, type_, name, page.marker, page.limit)


async def service_ensure(conn: Connection, service_id: str, type_: str, name: str) -> None:
    await _service_ensure.run(conn, service_id, type_, name)


async def endpoint_insert(conn: Connection, e: Endpoint) -> None:
    await _endpoint_insert.run(conn, e.id, e.service_id, e.region_id, e.interface, e.url, e.enabled, e.extra)


async def endpoint_update(conn: Connection, e: Endpoint) -> None:
    await _endpoint_update.run(conn, e.id, e.service_id, e.region_id, e.interface, e.url, e.enabled, e.extra)


async def endpoint_delete(conn: Connection, endpoint_id: str) -> bool:
    return await _endpoint_delete.run(conn, endpoint_id) > 0


async def endpoint_show(conn: Connection, endpoint_id: str) -> Endpoint | None:
    return await _endpoint_show.maybe(conn, endpoint_id)


async def endpoint_list(conn: Connection, service: str | None, interface: str | None, region: str | None, page: Page) -> list[Endpoint]:
    return await _endpoint_list.all(conn, service, interface, region, page.marker, page.limit)


async def endpoint_ensure(conn: Connection, e: Endpoint) -> None:
    await _endpoint_ensure.run(conn, e.id, e.service_id, e.region_id, e.interface, e.url)


async def catalog(conn: Connection) -> list[CatalogRow]:
    return await _catalog.all(conn)
