"""Users, their passwords, and groups."""

import msgspec
from aiohttp import web

from nova_async.db import Connection, changes
from nova_async.db import identity as db
from nova_async.errors import Invalid, Unauthorized
from nova_async.services.identity import bodies, options, views
from nova_async.services.identity.call import Call, could_not_find, empty
from nova_async.services.identity.handlers.projects import default_domain, existing_domain


async def create(call: Call) -> web.Response:
    body, extra = await call.inner("user", bodies.UserBody)
    bodies.complete(body)
    hashed = await call.identity.passwords.hash(body.password) if isinstance(body.password, str) else None
    fields = bodies.said(body, "name", "enabled", "default_project_id", "options")
    fields["options"] = options.merged({}, fields.get("options", {}))
    user = db.User(id=call.new_id(), domain_id=body.domain_id or default_domain(call), password_hash=hashed, extra=extra, **fields)
    async with call.identity.database.transaction() as conn:
        await existing_domain(conn, user.domain_id)
        await db.user_insert(conn, user)
    return call.one("user", views.user(call.base, user), 201)


async def list_(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        found = await db.user_list(conn, call.text("name"), call.text("domain_id"), call.flag("enabled"), call.page)
    return call.many("users", [views.user(call.base, u) for u in found])


async def show(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        user = await db.user_show(conn, call.id("user_id"))
    if user is None:
        raise could_not_find("user", call.id("user_id"))
    return call.one("user", views.user(call.base, user))


async def update(call: Call) -> web.Response:
    """Disabling a user or changing its password ends its tokens."""
    body, extra = await call.inner("user", bodies.UserBody)
    fields = bodies.said(body, "name", "enabled", "default_project_id", "options")
    if body.password is not msgspec.UNSET:
        fields["password_hash"] = await call.identity.passwords.hash(body.password) if body.password is not None else None
    async with call.identity.change() as change:
        old = await _locked(change.conn, call.id("user_id"))
        if body.domain_id is not msgspec.UNSET and body.domain_id != old.domain_id:
            raise Invalid("Invalid input: 'domain_id' cannot be changed.")
        merged = options.merged(old.options, fields.pop("options", {}))
        new = msgspec.structs.replace(old, extra={**old.extra, **extra}, options=merged, **fields)
        await db.user_update(change.conn, new)
        if (old.enabled and not new.enabled) or old.password_hash != new.password_hash:
            await change.revoke(f"user:{new.id}")
    return call.one("user", views.user(call.base, new))


async def delete(call: Call) -> web.Response:
    async with call.identity.change() as change:
        await change.freeze()
        await _locked(change.conn, call.id("user_id"))
        await db.user_delete(change.conn, call.id("user_id"))
        await change.revoke(f"user:{call.id('user_id')}")
    return empty()


async def change_password(call: Call) -> web.Response:
    """Users change their own, knowing the old one; it ends their tokens."""
    body, _ = await call.inner("user", bodies.PasswordBody)
    user_id = call.id("user_id")
    account = f"password\n{user_id}"
    call.identity.patience.check(account, call.address)
    async with call.identity.database.connection() as conn:
        user = await db.user_show(conn, user_id)
    if not await call.identity.passwords.matches(user.password_hash if user else None, body.original_password) or user is None:
        call.identity.patience.failed(account, call.address)
        raise Unauthorized()
    call.identity.patience.succeeded(account, call.address)
    hashed = await call.identity.passwords.hash(body.password)
    async with call.identity.change() as change:
        now = await _locked(change.conn, user_id)
        if now.password_hash != user.password_hash:
            raise Unauthorized()
        if now.options.get("lock_password"):
            raise Invalid("You cannot change your password: it is locked. An administrator can.")
        await db.user_update(change.conn, msgspec.structs.replace(now, password_hash=hashed))
        await change.revoke(f"user:{user_id}")
    return empty()


async def _locked(conn: Connection, user_id: str) -> db.User:
    user = await db.user_lock(conn, user_id)
    if user is None:
        raise could_not_find("user", user_id)
    return user


# Groups


async def create_group(call: Call) -> web.Response:
    body, extra = await call.inner("group", bodies.GroupBody)
    bodies.complete(body)
    fields = bodies.said(body, "name", "description")
    group = db.Group(id=call.new_id(), domain_id=body.domain_id or default_domain(call), extra=extra, **fields)
    async with call.identity.database.transaction() as conn:
        await existing_domain(conn, group.domain_id)
        await db.group_insert(conn, group)
    return call.one("group", views.group(call.base, group), 201)


async def list_groups(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        found = await db.group_list(conn, call.text("name"), call.text("domain_id"), None, call.page)
    return call.many("groups", [views.group(call.base, g) for g in found])


async def groups_of_user(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        if await db.user_show(conn, call.id("user_id")) is None:
            raise could_not_find("user", call.id("user_id"))
        found = await db.group_list(conn, call.text("name"), None, call.id("user_id"), call.page)
    return call.many("groups", [views.group(call.base, g) for g in found])


async def show_group(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        group = await _group(conn, call)
    return call.one("group", views.group(call.base, group))


async def update_group(call: Call) -> web.Response:
    body, extra = await call.inner("group", bodies.GroupBody)
    async with call.identity.database.transaction() as conn:
        await changes.alone(conn, "group", call.id("group_id"))
        old = await _group(conn, call)
        if body.domain_id is not msgspec.UNSET and body.domain_id != old.domain_id:
            raise Invalid("Invalid input: 'domain_id' cannot be changed.")
        new = msgspec.structs.replace(old, extra={**old.extra, **extra}, **bodies.said(body, "name", "description"))
        await db.group_update(conn, new)
    return call.one("group", views.group(call.base, new))


async def delete_group(call: Call) -> web.Response:
    """Its members lose the roles that it had, and so their tokens."""
    async with call.identity.change() as change:
        await change.freeze()
        group = await _group(change.conn, call)
        members = await db.member_list(change.conn, group.id)
        await change.revoke(*(f"user:{u.id}" for u in members))
        await db.group_delete(change.conn, group.id)
    return empty()


async def members(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        group = await _group(conn, call)
        found = await db.member_list(conn, group.id)
    return call.many("users", [views.user(call.base, u) for u in found])


async def add_member(call: Call) -> web.Response:
    async with call.identity.database.transaction() as conn:
        group = await _group(conn, call)
        if await db.user_show(conn, call.id("user_id")) is None:
            raise could_not_find("user", call.id("user_id"))
        await db.member_insert(conn, group.id, call.id("user_id"))
    return empty()


async def is_member(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        found = await db.is_member(conn, call.id("group_id"), call.id("user_id"))
    if not found:
        raise could_not_find("user in group", call.id("user_id"))
    return empty()


async def remove_member(call: Call) -> web.Response:
    async with call.identity.change() as change:
        if not await db.member_delete(change.conn, call.id("group_id"), call.id("user_id")):
            raise could_not_find("user in group", call.id("user_id"))
        await change.revoke(f"user:{call.id('user_id')}")
    return empty()


async def _group(conn: Connection, call: Call) -> db.Group:
    group = await db.group_show(conn, call.id("group_id"))
    if group is None:
        raise could_not_find("group", call.id("group_id"))
    return group
