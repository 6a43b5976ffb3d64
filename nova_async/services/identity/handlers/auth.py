"""Version documents and tokens."""

import msgspec
from aiohttp import web

from nova_async.db import identity as db
from nova_async.db import identity_access_rules, identity_catalog
from nova_async.errors import Forbidden, NotFound, Unauthorized
from nova_async.services.identity import views
from nova_async.services.identity.call import Call, empty
from nova_async.services.identity.login import AuthBody, login
from nova_async.services.identity.tokens import Token
from nova_async.services.web import json_response

VERSION = "v3.14"
VARY = {"Vary": "X-Auth-Token"}
KNOWS_RULES = "OpenStack-Identity-Access-Rules"  # the version of access rules that whoever asks can enforce


async def versions(call: Call) -> web.Response:
    return json_response({"versions": {"values": [_version(call)]}}, 300)


async def version(call: Call) -> web.Response:
    return json_response({"version": _version(call)})


def _version(call: Call) -> views.View:
    return {
        "id": VERSION,
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": f"{call.base}/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}],
    }


async def issue(call: Call) -> web.Response:
    body = await call.read(AuthBody)
    token = await login(call.identity, body.auth, call.address)
    return await _answer(call, token, call.identity.seal(token), 201)


async def show(call: Call) -> web.Response:
    """Who cannot enforce access rules hears of no token that is bound by them."""
    text, token = await _subject(call, allow_expired=bool(call.flag("allow_expired")))
    if token.bound and not _knows_rules(call):
        raise NotFound("Could not find token.")
    return await _answer(call, token, text, 200)


async def revoke(call: Call) -> web.Response:
    _, token = await _subject(call)
    async with call.identity.change() as change:
        await change.revoke(f"token:{token.audit_id}")
    return empty()


async def catalog(call: Call) -> web.Response:
    if not call.token.scope_id:
        raise Forbidden("The token has no scope, and so no catalog. Use one scoped to a project, a domain or the system.")
    async with call.identity.database.connection() as conn:
        rows = await identity_catalog.catalog(conn)
    return json_response({"catalog": views.catalog(rows), "links": {"next": None, "self": f"{call.base}/auth/catalog", "previous": None}})


async def projects(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        found = await db.projects_reached(conn, call.token.user_id)
    return call.many("projects", [views.project(call.base, p) for p in found])


async def domains(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        found = await db.projects_reached(conn, call.token.user_id, is_domain=True)
    return call.many("domains", [views.domain(call.base, p) for p in found])


async def system(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        roles = await db.roles_in_scope(conn, call.token.user_id, None, None)
    links = {"self": f"{call.base}/auth/system"}
    return json_response({"system": [{"all": True}] if roles else [], "links": links})


async def _subject(call: Call, *, allow_expired: bool = False) -> tuple[str, Token]:
    """The token that is asked about: one's own user's, or any for administrators and services."""
    text = call.request.headers.get("X-Subject-Token", "")
    try:
        token = await call.identity.read(text, allow_expired=allow_expired and call.is_service)
    except Unauthorized:
        raise NotFound("Could not find token.") from None
    if token.user_id != call.token.user_id and not call.is_service:
        raise Forbidden("You are not authorized to look at the tokens of other users.")
    return text, token


def _knows_rules(call: Call) -> bool:
    try:
        return float(call.request.headers.get(KNOWS_RULES, "0")) >= 1.0
    except ValueError:
        return False


async def _answer(call: Call, token: Token, text: str, status: int) -> web.Response:
    described = await _describe(call, token)
    response = json_response(views.token(token, described), status, VARY)
    response.headers["X-Subject-Token"] = text
    return response


async def _describe(call: Call, token: Token) -> views.Described:
    place = token.project_id or token.domain_id
    async with call.identity.database.connection() as conn:
        user = await db.user_login(conn, db.Ref(id=token.user_id))
        scope = await db.scope_login(conn, db.Ref(id=place), is_domain=bool(token.domain_id)) if place else None
        if user is None or (place and scope is None):
            raise NotFound("Could not find token.")
        return views.Described(
            user=msgspec.structs.replace(user, password_hash=None),
            scope=scope,
            roles=await db.roles_named(conn, token.roles),
            catalog=None if "nocatalog" in call.request.query or not token.scope_id else await identity_catalog.catalog(conn),
            credential=await db.credential_show(conn, token.credential_id) if token.credential_id else None,
            rules=await identity_access_rules.rules_of_credential(conn, token.credential_id) if token.bound else [],
        )
