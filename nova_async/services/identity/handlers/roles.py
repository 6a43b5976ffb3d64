"""Roles, which imply which, and who has them where."""

from typing import Any

import msgspec
from aiohttp import web

from nova_async.db import Connection
from nova_async.db import identity as db
from nova_async.errors import Forbidden, Invalid
from nova_async.services.identity import bodies, options, views
from nova_async.services.identity.builtin import Change
from nova_async.services.identity.call import MAX_LIST, Call, could_not_find, empty
from nova_async.services.identity.handlers.projects import existing_domain
from nova_async.services.web import json_response


async def create(call: Call) -> web.Response:
    body, extra = await call.inner("role", bodies.RoleBody)
    bodies.complete(body)
    fields = bodies.said(body, "name", "domain_id", "description", "options")
    role = db.Role(id=call.new_id(), extra=extra, **fields | {"options": options.merged({}, fields.get("options", {}))})
    async with call.identity.database.transaction() as conn:
        if role.domain_id is not None:
            await existing_domain(conn, role.domain_id)
        await db.role_insert(conn, role)
    return call.one("role", views.role(call.base, role), 201)


async def list_(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        found = await db.role_list(conn, call.text("name"), call.text("domain_id"), call.page)
    return call.many("roles", [views.role(call.base, r) for r in found])


async def show(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        role = await _role(conn, call.id("role_id"))
    return call.one("role", views.role(call.base, role))


async def update(call: Call) -> web.Response:
    """A new name holds for new tokens."""
    body, extra = await call.inner("role", bodies.RoleBody)
    async with call.identity.change() as change:
        await change.freeze()
        old = await _role(change.conn, call.id("role_id"))
        if body.domain_id is not msgspec.UNSET and body.domain_id != old.domain_id:
            raise Invalid("Invalid input: 'domain_id' cannot be changed.")
        fields = bodies.said(body, "name", "description", "options")
        options.require_mutable("role", old.id, old.options, {**fields, **extra})
        merged = options.merged(old.options, fields.pop("options", {}))
        new = msgspec.structs.replace(old, extra={**old.extra, **extra}, options=merged, **fields)
        await db.role_update(change.conn, new)
        if new.name != old.name:
            await _revoke_holders(change, new.id)
    return call.one("role", views.role(call.base, new))


async def delete(call: Call) -> web.Response:
    async with call.identity.change() as change:
        await change.freeze()
        role = await _role(change.conn, call.id("role_id"))
        options.require_mutable("role", role.id, role.options)
        await _revoke_holders(change, role.id)
        await db.role_delete(change.conn, role.id)
    return empty()


async def _role(conn: Connection, role_id: str) -> db.Role:
    role = await db.role_show(conn, role_id)
    if role is None:
        raise could_not_find("role", role_id)
    return role


async def _revoke_holders(change: Change, role_id: str) -> None:
    await change.revoke(*(f"user:{user_id}" for user_id in await db.role_holders(change.conn, role_id)))


# Implied roles


async def imply(call: Call) -> web.Response:
    async with call.identity.database.transaction() as conn:
        prior, implied = await _pair(conn, call)
        if implied.name == "admin" and implied.domain_id is None:
            raise Forbidden("The role admin cannot be implied by another.")
        if prior.domain_id is None and implied.domain_id is not None:
            raise Forbidden("A role of no domain cannot imply a role of a domain.")
        if await db.implies(conn, implied.id, prior.id):
            raise Invalid("The roles would imply each other in a circle.")
        await db.implied_insert(conn, prior.id, implied.id)
    return json_response({"role_inference": {"prior_role": _short(call, prior), "implies": _short(call, implied)}}, 201)


async def implied(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        prior, implied = await _rule(conn, call)
    return json_response({"role_inference": {"prior_role": _short(call, prior), "implies": _short(call, implied)}})


async def has_implied(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        await _rule(conn, call)
    return empty()


async def unimply(call: Call) -> web.Response:
    async with call.identity.change() as change:
        await change.freeze()
        prior, implied = await _rule(change.conn, call)
        await _revoke_holders(change, prior.id)
        await db.implied_delete(change.conn, prior.id, implied.id)
    return empty()


async def implied_by(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        prior = await _role(conn, call.id("prior_id"))
        rules = await db.implied_list(conn, prior.id)
    return json_response({"role_inference": {"prior_role": _short(call, prior), "implies": [_implied(call, r) for r in rules]}})


async def inferences(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        rules = await db.implied_list(conn)
    by_prior: dict[str, dict[str, Any]] = {}
    for r in rules:
        links = {"self": f"{call.base}/roles/{r.prior_id}"}
        entry = by_prior.setdefault(r.prior_id, {"prior_role": {"id": r.prior_id, "name": r.prior_name, "links": links}, "implies": []})
        entry["implies"].append(_implied(call, r))
    return json_response({"role_inferences": list(by_prior.values()), "links": {"self": f"{call.base}/role_inferences"}})


async def _pair(conn: Connection, call: Call) -> tuple[db.Role, db.Role]:
    return await _role(conn, call.id("prior_id")), await _role(conn, call.id("implied_id"))


async def _rule(conn: Connection, call: Call) -> tuple[db.Role, db.Role]:
    prior, implied = await _pair(conn, call)
    if implied.id not in {r.implied_id for r in await db.implied_list(conn, prior.id)}:
        raise could_not_find("implied role", implied.id)
    return prior, implied


def _short(call: Call, role: db.Role) -> dict[str, Any]:
    return {"id": role.id, "name": role.name, "links": {"self": f"{call.base}/roles/{role.id}"}}


def _implied(call: Call, rule: db.Implication) -> dict[str, Any]:
    return {"id": rule.implied_id, "name": rule.implied_name, "links": {"self": f"{call.base}/roles/{rule.implied_id}"}}


# Grants: /{projects,domains,system}/../{users,groups}/../roles/..


async def grant(call: Call) -> web.Response:
    async with call.identity.database.transaction() as conn:
        await db.grant_insert(conn, await _grant(conn, call))
    return empty()


async def has_grant(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        wanted = await _grant(conn, call)
        if wanted.role_id not in {r.id for r in await db.grant_roles(conn, wanted)}:
            raise could_not_find("role assignment with role", wanted.role_id)
    return empty()


async def grants(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        found = await db.grant_roles(conn, await _grant(conn, call))
    return call.many("roles", [views.role(call.base, r) for r in found])


async def ungrant(call: Call) -> web.Response:
    """Ends the tokens that hold the role: the user's for that target, or all of a group's members."""
    async with call.identity.change() as change:
        await change.freeze()
        gone = await _grant(change.conn, call)
        if not await db.grant_delete(change.conn, gone):
            raise could_not_find("role assignment with role", gone.role_id)
        await change.revoke(*await _touched(change.conn, gone))
    return empty()


async def _touched(conn: Connection, grant: db.Grant) -> list[str]:
    if grant.group_id is not None:
        return [f"user:{u.id}" for u in await db.member_list(conn, grant.group_id)]
    if grant.inherited:
        return [f"user:{grant.user_id}"]
    return [f"grant:{grant.user_id}@{grant.project_id or grant.domain_id or 'system'}"]


async def _grant(conn: Connection, call: Call) -> db.Grant:
    """What the path speaks of; each part must exist."""
    ids = call.request.match_info
    user_id, group_id, project_id, domain_id = (ids.get(k) for k in ("user_id", "group_id", "project_id", "domain_id"))
    if user_id is not None and await db.user_show(conn, user_id) is None:
        raise could_not_find("user", user_id)
    if group_id is not None and await db.group_show(conn, group_id) is None:
        raise could_not_find("group", group_id)
    if project_id is not None and await db.project_show(conn, project_id) is None:
        raise could_not_find("project", project_id)
    if domain_id is not None:
        await existing_domain(conn, domain_id)
    role_id = ids.get("role_id", "")
    if role_id:
        await _role(conn, role_id)
    inherited = "OS-INHERIT" in call.request.path
    return db.Grant(user_id=user_id, group_id=group_id, project_id=project_id, domain_id=domain_id, role_id=role_id, inherited=inherited)


# Assignments


async def assignments(call: Call) -> web.Response:
    """Administrators see all; others may ask for their own (``user.id``)."""
    if not call.reads_all and call.text("user.id") != call.token.user_id:
        raise Forbidden("Only administrators list the role assignments of others. Ask with user.id for your own.")
    async with call.identity.database.connection() as conn:
        filters = await _assignment_filter(conn, call)
        find = db.assignment_effective if call.flag("effective") else db.assignment_list
        found = await find(conn, filters)
        names = await db.names(conn, _ids(found)) if call.flag("include_names") else None
    links = {"next": None, "self": call.identity.config.public_url + call.request.path_qs, "previous": None}
    return json_response({"role_assignments": [_assignment(call, g, names) for g in found], "links": links})


async def _assignment_filter(conn: Connection, call: Call) -> db.AssignmentFilter:
    project_id, group_id = call.text("scope.project.id"), call.text("group.id")
    if call.flag("effective") and group_id:
        raise Invalid("Combining effective and group filter will always result in an empty list.")
    if sum(call.text(k) is not None for k in ("scope.project.id", "scope.domain.id", "scope.system")) > 1:
        raise Invalid("Specify at most one of scope.project.id, scope.domain.id and scope.system.")
    projects = [project_id] if project_id else None
    if project_id and call.flag("include_subtree"):
        projects = [project_id, *(p.id for p in await db.project_below(conn, project_id))]
    return db.AssignmentFilter(
        user_id=call.text("user.id"),
        group_id=group_id,
        project_ids=projects,
        domain_id=call.text("scope.domain.id"),
        system=True if call.text("scope.system") else None,
        role_id=call.text("role.id"),
        inherited=True if call.text("scope.OS-INHERIT:inherited_to") else None,
        limit=MAX_LIST,
    )


def _ids(found: list[db.Grant]) -> set[str]:
    return {i for g in found for i in (g.user_id, g.group_id, g.project_id, g.domain_id, g.role_id) if i}


def _assignment(call: Call, g: db.Grant, names: dict[str, db.Named] | None) -> dict[str, Any]:
    kind, actor = ("user", g.user_id) if g.user_id else ("group", g.group_id)
    scope: dict[str, Any] = {"system": {"all": True}}
    path = "system"
    if g.project_id:
        scope, path = {"project": _named(g.project_id, names)}, f"projects/{g.project_id}"
    elif g.domain_id:
        scope, path = {"domain": _named(g.domain_id, names)}, f"domains/{g.domain_id}"
    path = f"{path}/{kind}s/{actor}/roles/{g.role_id}"
    if g.inherited:
        scope["OS-INHERIT:inherited_to"] = "projects"
        path = f"OS-INHERIT/{path}/inherited_to_projects"
    view = {"role": _named(g.role_id, names), kind: _named(actor or "", names), "scope": scope}
    return {**view, "links": {"assignment": f"{call.base}/{path}"}}


def _named(id_: str, names: dict[str, db.Named] | None) -> dict[str, Any]:
    named = names.get(id_) if names is not None else None
    if named is None:
        return {"id": id_}
    home = {"domain": {"id": named.domain_id, "name": named.domain_name}} if named.domain_id else {}
    return {"id": id_, "name": named.name, **home}
