"""Limits, which services that use oslo.limit ask for: registered ones for all, and others for a project or a domain.

They are kept for those services. What nova_async itself allows its projects, its own quotas say.
"""

import msgspec
from aiohttp import web

from nova_async.db import Connection, identity_catalog
from nova_async.db import identity as db
from nova_async.db import identity_limits as rows
from nova_async.errors import Forbidden, Invalid
from nova_async.services.identity import bodies, views
from nova_async.services.identity.call import Call, could_not_find, empty
from nova_async.services.web import json_response

MODEL = {"name": "flat", "description": "Limit enforcement and validation does not take project hierarchy into consideration."}


async def model(call: Call) -> web.Response:
    return json_response({"model": MODEL})


# Registered limits


async def create_registered(call: Call) -> web.Response:
    body = await call.read(bodies.RegisteredLimitsBody)
    made = [rows.RegisteredLimit(id=call.new_id(), **msgspec.structs.asdict(new)) for new in body.registered_limits]
    async with call.identity.database.transaction() as conn:
        for registered in made:
            await _check_place(conn, registered.service_id, registered.region_id)
            await rows.registered_insert(conn, registered)
    return json_response({"registered_limits": [views.registered_limit(call.base, r) for r in made]}, 201)


async def list_registered(call: Call) -> web.Response:
    filters = call.text("service_id"), call.text("region_id"), call.text("resource_name")
    async with call.identity.database.connection() as conn:
        found = await rows.registered_list(conn, *filters, call.page)
    return call.many("registered_limits", [views.registered_limit(call.base, r) for r in found])


async def show_registered(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        registered = await rows.registered_show(conn, call.id("registered_limit_id"))
    if registered is None:
        raise could_not_find("registered limit", call.id("registered_limit_id"))
    return call.one("registered_limit", views.registered_limit(call.base, registered))


async def update_registered(call: Call) -> web.Response:
    body, _ = await call.inner("registered_limit", bodies.RegisteredLimitBody)
    async with call.identity.database.transaction() as conn:
        old = await _unused(conn, call.id("registered_limit_id"))
        new = msgspec.structs.replace(old, **bodies.given(body))
        await _check_place(conn, new.service_id, new.region_id)
        await rows.registered_update(conn, new)
    return call.one("registered_limit", views.registered_limit(call.base, new))


async def delete_registered(call: Call) -> web.Response:
    async with call.identity.database.transaction() as conn:
        registered = await _unused(conn, call.id("registered_limit_id"))
        await rows.registered_delete(conn, registered.id)
    return empty()


async def _unused(conn: Connection, registered_id: str) -> rows.RegisteredLimit:
    """The registered limit, locked. Raises ``Forbidden`` while there are limits of it, which mean what it says now."""
    registered = await rows.registered_lock(conn, registered_id)
    if registered is None:
        raise could_not_find("registered limit", registered_id)
    if await rows.registered_is_used(conn, registered_id):
        raise Forbidden("The registered limit has limits of projects or domains, and stays as it is. Delete those first.")
    return registered


async def _check_place(conn: Connection, service_id: str, region_id: str | None) -> None:
    if await identity_catalog.service_show(conn, service_id) is None:
        raise Invalid(f"Could not find service: {service_id}.")
    if region_id is not None and await identity_catalog.region_show(conn, region_id) is None:
        raise Invalid(f"Could not find region: {region_id}.")


# Limits


async def create(call: Call) -> web.Response:
    body = await call.read(bodies.LimitsBody)
    async with call.identity.database.transaction() as conn:
        made = [await _make(conn, call, new) for new in body.limits]
    return json_response({"limits": [views.limit(call.base, limit) for limit in made]}, 201)


async def list_(call: Call) -> web.Response:
    """Administrators and services see all, others those of the project or domain that their token is for."""
    filters = _filters(call)
    async with call.identity.database.connection() as conn:
        found = await rows.limit_list(conn, filters, call.page) if filters else []
    return call.many("limits", [views.limit(call.base, limit) for limit in found])


async def show(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        limit = await rows.limit_show(conn, call.id("limit_id"))
        if not _sees_all(call) and (limit is None or not await _is_own(conn, call, limit)):
            raise Forbidden("Limits are shown to those whose token is for their project or domain, and to administrators.")
    if limit is None:
        raise could_not_find("limit", call.id("limit_id"))
    return call.one("limit", views.limit(call.base, limit))


async def update(call: Call) -> web.Response:
    body, _ = await call.inner("limit", bodies.LimitBody)
    async with call.identity.database.transaction() as conn:
        limit = msgspec.structs.replace(await _locked(conn, call), **bodies.given(body))
        await rows.limit_update(conn, limit)
    return call.one("limit", views.limit(call.base, limit))


async def delete(call: Call) -> web.Response:
    async with call.identity.database.transaction() as conn:
        limit = await _locked(conn, call)
        await rows.limit_delete(conn, limit.id)
    return empty()


async def _make(conn: Connection, call: Call, new: bodies.NewLimit) -> rows.Limit:
    await _check_place(conn, new.service_id, new.region_id)
    limit = rows.Limit(id=call.new_id(), **(msgspec.structs.asdict(new) | await _owner(conn, new)))
    registered = await rows.registered_find(conn, limit.service_id, limit.region_id, limit.resource_name)
    if registered is None:
        raise Forbidden("Unable to create a limit that has no corresponding registered limit.")
    await rows.limit_insert(conn, registered.id, limit)
    return limit


async def _owner(conn: Connection, new: bodies.NewLimit) -> dict[str, str | None]:
    """Project or domain; a domain may also be named as the project that it is."""
    if (new.project_id is None) == (new.domain_id is None):
        raise Invalid("Invalid input: a limit is of a project or of a domain. Give project_id or domain_id.")
    found = await db.project_show(conn, new.project_id or new.domain_id or "")
    if found is None or (new.domain_id and not found.is_domain):
        raise Invalid(f"Could not find project: {new.project_id}." if new.project_id else f"Could not find domain: {new.domain_id}.")
    return {"project_id": None, "domain_id": found.id} if found.is_domain else {"project_id": found.id, "domain_id": None}


async def _locked(conn: Connection, call: Call) -> rows.Limit:
    limit = await rows.limit_lock(conn, call.id("limit_id"))
    if limit is None:
        raise could_not_find("limit", call.id("limit_id"))
    return limit


def _filters(call: Call) -> rows.LimitFilter | None:
    """What is asked for, of what the caller sees; None where that is nothing."""
    names = ("service_id", "region_id", "resource_name", "project_id", "domain_id")
    asked = rows.LimitFilter(**{name: call.text(name) for name in names})
    if _sees_all(call):
        return asked
    if call.token.domain_id:
        return msgspec.structs.replace(asked, within_domain=call.token.domain_id)
    if not call.token.project_id or asked.project_id not in (None, call.token.project_id):
        return None
    return msgspec.structs.replace(asked, project_id=call.token.project_id)


def _sees_all(call: Call) -> bool:
    return call.reads_all or call.is_service


async def _is_own(conn: Connection, call: Call, limit: rows.Limit) -> bool:
    """Of the project or domain that the token is for, or of a project in that domain."""
    if not call.token.domain_id:
        return limit.project_id is not None and limit.project_id == call.token.project_id
    project = await db.project_show(conn, limit.project_id) if limit.project_id else None
    return call.token.domain_id in (limit.domain_id, project and project.domain_id)
