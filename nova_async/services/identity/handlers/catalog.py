"""Regions, services and endpoints: where things are."""

from typing import Any

import msgspec
from aiohttp import web

from nova_async.db import Connection, changes, identity_catalog
from nova_async.db import identity as db
from nova_async.errors import Forbidden, Invalid
from nova_async.services.identity import bodies, views
from nova_async.services.identity.call import Call, could_not_find, empty


async def create_region(call: Call) -> web.Response:
    body, extra = await call.inner("region", bodies.RegionBody)
    region_id = call.request.match_info.get("region_id") or body.id or call.new_id()
    if body.id and body.id != region_id:
        raise Invalid("Invalid input: the region's id in the body differs from that in the path.")
    region = identity_catalog.Region(id=region_id, extra=extra, **bodies.said(body, "description", "parent_region_id"))
    async with call.identity.database.transaction() as conn:
        await _existing_region(conn, region.parent_region_id)
        await identity_catalog.region_insert(conn, region)
    return call.one("region", views.region(call.base, region), 201)


async def list_regions(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        found = await identity_catalog.region_list(conn, call.text("parent_region_id"), call.page)
    return call.many("regions", [views.region(call.base, r) for r in found])


async def show_region(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        region = await _region(conn, call.id("region_id"))
    return call.one("region", views.region(call.base, region))


async def update_region(call: Call) -> web.Response:
    body, extra = await call.inner("region", bodies.RegionBody)
    async with call.identity.database.transaction() as conn:
        await changes.alone(conn, "region", call.id("region_id"))
        old = await _region(conn, call.id("region_id"))
        new = msgspec.structs.replace(old, extra={**old.extra, **extra}, **bodies.said(body, "description", "parent_region_id"))
        if new.parent_region_id == new.id:
            raise Invalid("Invalid input: a region cannot be its own parent.")
        await _existing_region(conn, new.parent_region_id)
        await identity_catalog.region_update(conn, new)
    return call.one("region", views.region(call.base, new))


async def delete_region(call: Call) -> web.Response:
    async with call.identity.database.transaction() as conn:
        region = await _region(conn, call.id("region_id"))
        one = db.Page(limit=1)
        if await identity_catalog.region_list(conn, region.id, one) or await identity_catalog.endpoint_list(
            conn, None, None, region.id, one
        ):
            raise Forbidden("The region has child regions or endpoints. Delete those first.")
        await identity_catalog.region_delete(conn, region.id)
    return empty()


async def _region(conn: Connection, region_id: str) -> identity_catalog.Region:
    region = await identity_catalog.region_show(conn, region_id)
    if region is None:
        raise could_not_find("region", region_id)
    return region


async def _existing_region(conn: Connection, region_id: str | None) -> None:
    if region_id is not None:
        await _region(conn, region_id)


# Services


async def create_service(call: Call) -> web.Response:
    body, extra = await call.inner("service", bodies.ServiceBody)
    bodies.complete(body)
    service = identity_catalog.Service(id=call.new_id(), extra=extra, **_service_fields(body))
    async with call.identity.database.transaction() as conn:
        await identity_catalog.service_insert(conn, service)
    return call.one("service", views.service(call.base, service), 201)


async def list_services(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        found = await identity_catalog.service_list(conn, call.text("type"), call.text("name"), call.page)
    return call.many("services", [views.service(call.base, s) for s in found])


async def show_service(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        service = await _service(conn, call.id("service_id"))
    return call.one("service", views.service(call.base, service))


async def update_service(call: Call) -> web.Response:
    body, extra = await call.inner("service", bodies.ServiceBody)
    async with call.identity.database.transaction() as conn:
        await changes.alone(conn, "service", call.id("service_id"))
        old = await _service(conn, call.id("service_id"))
        new = msgspec.structs.replace(old, extra={**old.extra, **extra}, **_service_fields(body))
        await identity_catalog.service_update(conn, new)
    return call.one("service", views.service(call.base, new))


async def delete_service(call: Call) -> web.Response:
    async with call.identity.database.transaction() as conn:
        service = await _service(conn, call.id("service_id"))
        await identity_catalog.service_delete(conn, service.id)
    return empty()


async def _service(conn: Connection, service_id: str) -> identity_catalog.Service:
    service = await identity_catalog.service_show(conn, service_id)
    if service is None:
        raise could_not_find("service", service_id)
    return service


def _service_fields(body: bodies.ServiceBody) -> dict[str, Any]:
    fields = bodies.said(body, "type", "name", "description", "enabled")
    if "name" in fields:
        fields["name"] = fields["name"] or ""
    return fields


# Endpoints


async def create_endpoint(call: Call) -> web.Response:
    body, extra = await call.inner("endpoint", bodies.EndpointBody)
    bodies.complete(body)
    endpoint = identity_catalog.Endpoint(id=call.new_id(), extra=extra, **_endpoint_fields(body))
    async with call.identity.database.transaction() as conn:
        await _check_endpoint(conn, endpoint, legacy_region=body.region is not msgspec.UNSET)
        await identity_catalog.endpoint_insert(conn, endpoint)
    return call.one("endpoint", views.endpoint(call.base, endpoint), 201)


async def list_endpoints(call: Call) -> web.Response:
    region = call.text("region_id") or call.text("region")
    async with call.identity.database.connection() as conn:
        found = await identity_catalog.endpoint_list(conn, call.text("service_id"), call.text("interface"), region, call.page)
    return call.many("endpoints", [views.endpoint(call.base, e) for e in found])


async def show_endpoint(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        endpoint = await _endpoint(conn, call.id("endpoint_id"))
    return call.one("endpoint", views.endpoint(call.base, endpoint))


async def update_endpoint(call: Call) -> web.Response:
    body, extra = await call.inner("endpoint", bodies.EndpointBody)
    async with call.identity.database.transaction() as conn:
        await changes.alone(conn, "endpoint", call.id("endpoint_id"))
        old = await _endpoint(conn, call.id("endpoint_id"))
        new = msgspec.structs.replace(old, extra={**old.extra, **extra}, **_endpoint_fields(body))
        await _check_endpoint(conn, new, legacy_region=body.region is not msgspec.UNSET)
        await identity_catalog.endpoint_update(conn, new)
    return call.one("endpoint", views.endpoint(call.base, new))


async def delete_endpoint(call: Call) -> web.Response:
    async with call.identity.database.transaction() as conn:
        endpoint = await _endpoint(conn, call.id("endpoint_id"))
        await identity_catalog.endpoint_delete(conn, endpoint.id)
    return empty()


async def _endpoint(conn: Connection, endpoint_id: str) -> identity_catalog.Endpoint:
    endpoint = await identity_catalog.endpoint_show(conn, endpoint_id)
    if endpoint is None:
        raise could_not_find("endpoint", endpoint_id)
    return endpoint


def _endpoint_fields(body: bodies.EndpointBody) -> dict[str, Any]:
    fields = bodies.said(body, "service_id", "interface", "url", "enabled", "region_id")
    if body.region is not msgspec.UNSET:
        fields["region_id"] = body.region
    return fields


async def _check_endpoint(conn: Connection, endpoint: identity_catalog.Endpoint, *, legacy_region: bool) -> None:
    """Service and region exist; a region named in the old way is made, as Keystone does."""
    if await identity_catalog.service_show(conn, endpoint.service_id) is None:
        raise Invalid(f"Could not find service: {endpoint.service_id}.")
    if endpoint.region_id is None:
        return
    if legacy_region:
        await identity_catalog.region_ensure(conn, endpoint.region_id)
    elif await identity_catalog.region_show(conn, endpoint.region_id) is None:
        raise Invalid(f"Could not find region: {endpoint.region_id}.")
