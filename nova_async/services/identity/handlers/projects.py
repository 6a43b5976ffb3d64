"""Domains, projects and their tags. A domain is a project that holds projects and users."""

from typing import Any

import msgspec
from aiohttp import web

from nova_async.db import Connection
from nova_async.db import identity as db
from nova_async.errors import Forbidden, Invalid
from nova_async.services.identity import bodies, options, views
from nova_async.services.identity.builtin import Change
from nova_async.services.identity.call import Call, could_not_find, empty
from nova_async.services.web import json_response

DEFAULT_DOMAIN = "default"
MAX_DEPTH = 5  # Keystone's max_project_tree_depth
MAX_TAGS = 80


# Projects


async def create(call: Call) -> web.Response:
    body, extra = await call.inner("project", bodies.ProjectBody)
    bodies.complete(body)
    fields = _new_fields(body)
    async with call.identity.database.transaction() as conn:
        place = {"is_domain": True} if body.is_domain is True else await _place(conn, call, body)
        project = db.Project(id=call.new_id(), extra=extra, **place, **fields)
        await db.project_insert(conn, project)
    return call.one("project", views.project(call.base, project), 201)


async def list_(call: Call) -> web.Response:
    """Administrators see all; others those in which they have a role."""
    if not call.reads_all:
        raise Forbidden("Only administrators list all projects. List yours with GET /v3/auth/projects.")
    async with call.identity.database.connection() as conn:
        found = await db.project_list(conn, _filter(call), call.page)
    return call.many("projects", [views.project(call.base, p) for p in found])


async def show(call: Call) -> web.Response:
    project_id = call.id("project_id")
    async with call.identity.database.connection() as conn:
        project = await _visible(conn, call, project_id)
        view = views.project(call.base, project)
        view |= await _family(conn, call, project_id)
    return call.one("project", view)


async def update(call: Call) -> web.Response:
    body, extra = await call.inner("project", bodies.ProjectBody)
    async with call.identity.change() as change:
        project = await _locked(change.conn, call.id("project_id"), "project")
        for name in ("domain_id", "parent_id", "is_domain"):
            wanted = getattr(body, name)
            if wanted is not msgspec.UNSET and wanted != views.project("", project)[name]:
                raise Invalid(f"Invalid input: '{name}' cannot be changed.")
        project = await _update(change, project, bodies.said(body, "name", "description", "enabled", "tags", "options"), extra)
    return call.one("project", views.project(call.base, project))


async def delete(call: Call) -> web.Response:
    await _delete(call, call.id("project_id"), "project")
    return empty()


async def of_user(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        if await db.user_show(conn, call.id("user_id")) is None:
            raise could_not_find("user", call.id("user_id"))
        found = await db.projects_reached(conn, call.id("user_id"))
    return call.many("projects", [views.project(call.base, p) for p in found])


# Domains


async def create_domain(call: Call) -> web.Response:
    body, extra = await call.inner("domain", bodies.DomainBody)
    bodies.complete(body)
    explicit = extra.pop("explicit_domain_id", None)
    if explicit is not None and (not isinstance(explicit, str) or not explicit.isalnum() or len(explicit) != 32):
        raise Invalid("Invalid input: 'explicit_domain_id' must be 32 hexadecimal digits.")
    fields = _new_fields(body)
    domain = db.Project(id=explicit or call.new_id(), is_domain=True, extra=extra, **fields)
    async with call.identity.database.transaction() as conn:
        await db.project_insert(conn, domain)
    return call.one("domain", views.domain(call.base, domain), 201)


async def list_domains(call: Call) -> web.Response:
    filters = msgspec.structs.replace(_filter(call), is_domain=True, domain_id=None)
    async with call.identity.database.connection() as conn:
        found = await db.project_list(conn, filters, call.page)
    return call.many("domains", [views.domain(call.base, p) for p in found])


async def show_domain(call: Call) -> web.Response:
    domain_id = call.id("domain_id")
    if not call.reads_all and domain_id not in (call.token.domain_id, call.token.user_domain_id, call.token.project_domain_id):
        raise Forbidden()
    async with call.identity.database.connection() as conn:
        domain = await db.project_show(conn, domain_id)
    if domain is None or not domain.is_domain:
        raise could_not_find("domain", domain_id)
    return call.one("domain", views.domain(call.base, domain))


async def update_domain(call: Call) -> web.Response:
    body, extra = await call.inner("domain", bodies.DomainBody)
    async with call.identity.change() as change:
        domain = await _locked(change.conn, call.id("domain_id"), "domain")
        domain = await _update(change, domain, bodies.said(body, "name", "description", "enabled", "tags", "options"), extra)
    return call.one("domain", views.domain(call.base, domain))


async def delete_domain(call: Call) -> web.Response:
    await _delete(call, call.id("domain_id"), "domain")
    return empty()


# Tags


async def tags(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        project = await _visible(conn, call, call.id("project_id"))
    return _tags(call, project)


async def has_tag(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        project = await _visible(conn, call, call.id("project_id"))
    if call.id("tag") not in project.tags:
        raise could_not_find("project tag", call.id("tag"))
    return empty()


async def replace_tags(call: Call) -> web.Response:
    body = await call.read(bodies.TagsBody)
    return _tags(call, await _retag(call, lambda _: body.tags))


async def add_tag(call: Call) -> web.Response:
    tag = call.id("tag")
    if not 1 <= len(tag) <= 255 or "," in tag or "/" in tag:
        raise Invalid("Invalid input: a tag has 1 to 255 characters, none of them a comma or a slash.")
    await _retag(call, lambda old: [*old, tag])
    return empty(201)


async def remove_tag(call: Call) -> web.Response:
    tag = call.id("tag")

    def without(old: list[str]) -> list[str]:
        if tag not in old:
            raise could_not_find("project tag", tag)
        return [t for t in old if t != tag]

    await _retag(call, without)
    return empty()


async def clear_tags(call: Call) -> web.Response:
    await _retag(call, lambda _: [])
    return empty()


async def _retag(call: Call, change: Any) -> db.Project:
    async with call.identity.database.transaction() as conn:
        project = await _locked(conn, call.id("project_id"), "project")
        options.require_mutable("project", project.id, project.options, {"tags": None})
        wanted = sorted(set(change(project.tags)))
        if len(wanted) > MAX_TAGS:
            raise Invalid(f"Invalid input: a project has at most {MAX_TAGS} tags.")
        project = msgspec.structs.replace(project, tags=wanted)
        await db.project_update(conn, project)
    return project


def _tags(call: Call, project: db.Project) -> web.Response:
    links = {"next": None, "self": f"{call.base}/projects/{project.id}/tags", "previous": None}
    return json_response({"tags": project.tags, "links": links})


# What both kinds share


def _new_fields(body: bodies.ProjectBody | bodies.DomainBody) -> dict[str, Any]:
    fields = bodies.said(body, "name", "description", "enabled", "tags", "options")
    return fields | {"options": options.merged({}, fields.get("options", {}))}


async def _visible(conn: Connection, call: Call, project_id: str) -> db.Project:
    project = await db.project_show(conn, project_id)
    if not call.reads_all and not call.is_service and project_id != call.token.project_id:
        reached = {p.id for p in await db.projects_reached(conn, call.token.user_id)}
        if project_id not in reached:
            raise Forbidden()
    if project is None:
        raise could_not_find("project", project_id)
    return project


async def _locked(conn: Connection, id_: str, what: str) -> db.Project:
    found = await db.project_lock(conn, id_)
    if found is None or (what == "domain" and not found.is_domain):
        raise could_not_find(what, id_)
    return found


async def _place(conn: Connection, call: Call, body: bodies.ProjectBody) -> dict[str, Any]:
    """Domain and parent of a new project, agreed with each other."""
    domain_id = body.domain_id or None
    parent = await db.project_show(conn, body.parent_id) if body.parent_id else None
    if body.parent_id and parent is None:
        raise could_not_find("project", str(body.parent_id))
    if parent is None:
        wanted = domain_id or default_domain(call)
        await existing_domain(conn, wanted)
        return {"domain_id": wanted, "parent_id": None}
    above = parent.domain_id or parent.id
    if domain_id and domain_id != above:
        raise Invalid("Invalid input: the parent project is in another domain.")
    if not parent.enabled:
        raise Invalid("Invalid input: the parent project is disabled.")
    if not parent.is_domain and len(await db.project_ancestry(conn, parent.id)) >= MAX_DEPTH:
        raise Forbidden(f"Projects may be nested {MAX_DEPTH} deep.")
    return {"domain_id": above, "parent_id": None if parent.is_domain else parent.id}


def default_domain(call: Call) -> str:
    """The domain of what a caller creates without naming one."""
    return call.token.domain_id or call.token.project_domain_id or DEFAULT_DOMAIN


async def existing_domain(conn: Connection, domain_id: str) -> None:
    domain = await db.project_show(conn, domain_id)
    if domain is None or not domain.is_domain:
        raise could_not_find("domain", domain_id)


async def _update(change: Change, old: db.Project, fields: dict[str, Any], extra: dict[str, Any]) -> db.Project:
    options.require_mutable("domain" if old.is_domain else "project", old.id, old.options, {**fields, **extra})
    merged = options.merged(old.options, fields.pop("options", {}))
    new = msgspec.structs.replace(old, extra={**old.extra, **extra}, options=merged, **fields)
    if old.id == DEFAULT_DOMAIN and not new.enabled:
        raise Forbidden("The default domain cannot be disabled: nobody could log in any more.")
    await db.project_update(change.conn, new)
    if old.enabled and not new.enabled:
        await change.revoke(f"project:{new.id}")
    return new


async def _delete(call: Call, id_: str, what: str) -> None:
    async with call.identity.change() as change:
        await change.freeze()
        found = await _locked(change.conn, id_, what)
        if found.is_domain and (found.enabled or found.id == DEFAULT_DOMAIN):
            raise Forbidden("Cannot delete a domain that is enabled, please disable it first.")
        options.require_mutable(what, found.id, found.options)
        await db.project_delete(change.conn, id_)
        await change.revoke(f"project:{id_}")


def _filter(call: Call) -> db.ProjectFilter:
    return db.ProjectFilter(
        name=call.text("name"),
        domain_id=call.text("domain_id"),
        enabled=call.flag("enabled"),
        parent_id=call.text("parent_id"),
        is_domain=bool(call.flag("is_domain")),
        tags=call.words("tags"),
        tags_any=call.words("tags-any"),
        not_tags=call.words("not-tags"),
        not_tags_any=call.words("not-tags-any"),
    )


async def _family(conn: Connection, call: Call, project_id: str) -> dict[str, Any]:
    """Those above and below, in the form that was asked for."""
    query = call.request.query
    family: dict[str, Any] = {}
    if "parents_as_list" in query or "parents_as_ids" in query:
        above = (await db.project_ancestry(conn, project_id))[1:]
        if "parents_as_list" in query:
            family["parents"] = [{"project": views.project(call.base, p)} for p in above]
        else:
            nested: dict[str, Any] | None = None
            for p in reversed(above):
                nested = {p.id: nested}
            family["parents"] = nested
    if "subtree_as_list" in query or "subtree_as_ids" in query:
        below = await db.project_below(conn, project_id)
        as_list = "subtree_as_list" in query
        family["subtree"] = [{"project": views.project(call.base, p)} for p in below] if as_list else _nest(below, project_id)
    return family


def _nest(below: list[db.Project], parent_id: str) -> dict[str, Any] | None:
    return {p.id: _nest(below, p.id) for p in below if p.parent_id == parent_id} or None
