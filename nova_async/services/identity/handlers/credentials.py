"""Application credentials: what a program uses in place of its user's password."""

from datetime import UTC, datetime

from aiohttp import web

from nova_async.db import Connection, identity_access_rules
from nova_async.db import identity as db
from nova_async.errors import Forbidden, Invalid
from nova_async.services.identity import bodies, views
from nova_async.services.identity.call import Call, could_not_find, empty
from nova_async.services.identity.handlers.access_rules import rules_for

MAX_PER_USER = 100
RESTRICTED = "The application credential in use is restricted: it cannot make, change or delete credentials."


async def create(call: Call) -> web.Response:
    """The answer is the only one that ever shows the secret."""
    body, _ = await call.inner("application_credential", bodies.CredentialBody)
    await _only_own(call)
    if not call.token.project_id:
        raise Forbidden("An application credential belongs to a project. Use a token scoped to one.")
    secret = body.secret or call.identity.world.secret(64)
    hashed = await call.identity.passwords.hash(secret)
    async with call.identity.database.transaction() as conn:
        await db.user_lock(conn, call.token.user_id)  # those who ask at once are counted one after the other
        if await db.credential_count(conn, call.token.user_id) >= MAX_PER_USER:
            raise Forbidden(f"A user has at most {MAX_PER_USER} application credentials. Delete some first.")
        rules = await rules_for(conn, call, body.access_rules or [])
        credential = db.Credential(
            id=call.new_id(),
            user_id=call.token.user_id,
            project_id=call.token.project_id,
            name=body.name,
            secret_hash=hashed,
            description=body.description,
            roles=await _roles(conn, call, body.roles),
            unrestricted=body.unrestricted,
            expires_at=_expiry(call, body.expires_at),
            access_rules=[r.id for r in rules],
        )
        await db.credential_insert(conn, credential)
        view = await _view(conn, call, credential)
    return call.one("application_credential", {**view, "secret": secret}, 201)


async def list_(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        found = await db.credential_list(conn, call.id("user_id"), call.text("name"))
        shown = [await _view(conn, call, c) for c in found]
    return call.many("application_credentials", shown)


async def show(call: Call) -> web.Response:
    async with call.identity.database.connection() as conn:
        view = await _view(conn, call, await _credential(conn, call))
    return call.one("application_credential", view)


async def delete(call: Call) -> web.Response:
    if not call.is_admin or call.token.credential_id:
        await _only_own(call)
    async with call.identity.change() as change:
        credential = await _credential(change.conn, call)
        await db.credential_delete(change.conn, credential.id)
        await change.revoke(f"credential:{credential.id}")
    return empty()


async def _only_own(call: Call) -> None:
    """Nobody makes credentials in another's name, nor with a restricted credential."""
    if call.id("user_id") != call.token.user_id:
        raise Forbidden("Application credentials are made and deleted by the user whom they belong to.")
    await check_unrestricted(call)


async def check_unrestricted(call: Call) -> None:
    """Raises ``Forbidden`` where a restricted application credential is used."""
    if await is_restricted(call):
        raise Forbidden(RESTRICTED)


async def is_restricted(call: Call) -> bool:
    """Whether a restricted application credential is used."""
    if not call.token.credential_id:
        return False
    async with call.identity.database.connection() as conn:
        used = await db.credential_show(conn, call.token.credential_id)
    return used is None or not used.unrestricted


async def _credential(conn: Connection, call: Call) -> db.Credential:
    found = await db.credential_show(conn, call.id("credential_id"))
    if found is None or found.user_id != call.id("user_id"):
        raise could_not_find("application credential", call.id("credential_id"))
    return found


async def _roles(conn: Connection, call: Call, wanted: list[bodies.RoleRef] | None) -> list[str]:
    """Ids of the roles asked for, or of all that the user has. None beyond those of the credential in use, if one is."""
    held = await db.roles_in_scope(conn, call.token.user_id, call.token.project_id, None)
    if call.token.credential_id:
        held = [r for r in held if r.name in call.token.roles]
    if not wanted:
        return [r.id for r in held]
    ids = []
    for ref in wanted:
        match = next((r.id for r in held if ref.id == r.id or (ref.id is None and ref.name == r.name)), None)
        if match is None:
            raise Invalid("Invalid application credential: a role was asked for that the user does not have in this project.")
        ids.append(match)
    return sorted(set(ids))


def _expiry(call: Call, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid("Invalid input: expires_at is a time as in 2030-01-01T00:00:00.000000Z.") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment <= call.identity.world.now():
        raise Invalid("Invalid input: expires_at is in the past.")
    return moment


async def _view(conn: Connection, call: Call, credential: db.Credential) -> views.View:
    roles = [await db.role_show(conn, role_id) for role_id in credential.roles]
    shown = [{"id": r.id, "name": r.name, "domain_id": r.domain_id} for r in roles if r]
    rules = await identity_access_rules.rules_of_credential(conn, credential.id) if credential.access_rules else []
    return views.credential(call.base, credential, shown, rules)
