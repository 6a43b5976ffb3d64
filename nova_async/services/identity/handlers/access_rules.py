"""Access rules: kept for each user, given to application credentials when those are made, and never changed."""

from aiohttp import web

from nova_async.db import Connection
from nova_async.db import identity as db
from nova_async.db import identity_access_rules as rows
from nova_async.errors import Forbidden, Invalid
from nova_async.model.access_rules import AccessRule, is_well_formed
from nova_async.services.identity import bodies, views
from nova_async.services.identity.call import Call, could_not_find, empty

MAX_PER_USER = 1000


async def list_(call: Call) -> web.Response:
    user_id = call.id("user_id")
    async with call.identity.database.connection() as conn:
        found = await rows.rule_list(conn, user_id, call.text("service"), call.text("method"), call.text("path"), call.page)
    return call.many("access_rules", [views.access_rule(call.base, user_id, r) for r in found])


async def show(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        rule = await _rule(conn, call)
    return call.one("access_rule", views.access_rule(call.base, call.id("user_id"), rule))


async def delete(call: Call) -> web.Response:
    """Only one that no credential has: those that are bound stay bound."""
    async with call.identity.database.transaction() as conn:
        await db.user_lock(conn, call.id("user_id"))  # no credential takes it meanwhile
        rule = await _rule(conn, call)
        if await rows.rule_is_used(conn, call.id("user_id"), rule.id):
            raise Forbidden("The access rule is in use by an application credential. Delete that first.")
        await rows.rule_delete(conn, rule.id)
    return empty()


async def rules_for(conn: Connection, call: Call, wanted: list[bodies.AccessRuleBody]) -> list[AccessRule]:
    """The caller's rules that a new credential asks for, each once; those that are new are kept. The caller's row is locked."""
    rules = {}
    for body in wanted:
        rule = await _known(conn, call, body) if body.id else await rows.rule_ensure(conn, call.token.user_id, _new(call, body))
        rules[rule.id] = rule
    if rules and await rows.rule_count(conn, call.token.user_id) > MAX_PER_USER:
        raise Forbidden(f"A user has at most {MAX_PER_USER} access rules. Delete some first.")
    return list(rules.values())


async def _known(conn: Connection, call: Call, body: bodies.AccessRuleBody) -> AccessRule:
    """The rule that is named by its id; what else is said of it must be so."""
    rule = await rows.rule_show(conn, call.token.user_id, body.id or "")
    if rule is None:
        raise Invalid(f"Could not find access rule: {body.id}.")
    if any(said is not None and said != getattr(rule, name) for name, said in _said(body).items()):
        raise Invalid(f"Invalid input: the access rule {body.id} says something else.")
    return rule


def _new(call: Call, body: bodies.AccessRuleBody) -> AccessRule:
    if body.service is None or body.method is None or body.path is None:
        raise Invalid("Invalid input: an access rule has service, method and path, or the id of one that there is.")
    if not is_well_formed(body.path):
        raise Invalid("Invalid input: braces in the path of an access rule hold a name, as in /v2.1/servers/{server_id}.")
    return AccessRule(id=call.new_id(), service=body.service, method=body.method, path=body.path)


def _said(body: bodies.AccessRuleBody) -> dict[str, str | None]:
    return {"service": body.service, "method": body.method, "path": body.path}


async def _rule(conn: Connection, call: Call) -> AccessRule:
    rule = await rows.rule_show(conn, call.id("user_id"), call.id("rule_id"))
    if rule is None:
        raise could_not_find("access rule", call.id("rule_id"))
    return rule
