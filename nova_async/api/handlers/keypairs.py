"""Key pairs (os-keypairs). They belong to users, not to projects; administrators work on those of others."""

from nova_async import keys
from nova_async.api.handlers import quota_sets
from nova_async.api.render import Page
from nova_async.api.request import MARKER_MISSING, Request
from nova_async.api.versions import V
from nova_async.db import Connection, keypairs
from nova_async.errors import Conflict, Invalid, NotFound, QuotaExceeded
from nova_async.keys import Made
from nova_async.model.keypairs import SSH, KeyPair
from nova_async.policy import keypairs as policy
from nova_async.quota import UNLIMITED


async def index(request: Request) -> Page:
    user = _owner(request, policy.INDEX)
    limit = request.limit() if request.has(V.PAGED_KEYPAIRS) else None
    marker = request.first("marker")
    async with request.parts.database.connection() as conn:
        if marker is not None and await keypairs.get(conn, user, marker) is None:
            raise Invalid(MARKER_MISSING.format(marker))
        rows = await keypairs.of_user(conn, user, after=marker, limit=limit)
    return Page(rows, rows[-1].name if rows and len(rows) == limit else None)


async def show(request: Request) -> KeyPair:
    user, name = _owner(request, policy.SHOW), request.values["id"]
    async with request.parts.database.connection() as conn:
        row = await keypairs.get(conn, user, name)
    if row is None:
        raise missing(user, name)
    return row


async def create(request: Request) -> tuple[KeyPair, Made | None]:
    """Import a public key, or before 2.92 make a pair and tell the private half once."""
    asked = request.body["keypair"]
    user = asked.get("user_id") or request.ctx.user_id
    request.require(policy.CREATE, user_id=user)
    name, key_type = asked["name"].strip(), asked.get("type", SSH)
    made = None
    if "public_key" in asked:
        public_key = asked["public_key"]
        fingerprint = await keys.fingerprint(key_type, public_key)
    else:
        async with request.parts.database.transaction() as conn:
            await _check(request, conn, user, name)
        made = await keys.make(key_type, user, request.parts.world.now(), request.parts.vouch)
        public_key, fingerprint = made.public_key, made.fingerprint
    async with request.parts.database.transaction() as conn:
        await _check(request, conn, user, name)
        row = await keypairs.insert(conn, user, name, key_type, public_key, fingerprint)
        verb = "create" if made else "import"
        await request.tell(conn, row, f"keypair.{verb}.start", f"keypair.{verb}.end")
        return row, made


async def delete(request: Request) -> None:
    """Servers keep the public key that they were made with."""
    user, name = _owner(request, policy.DELETE), request.values["id"]
    async with request.parts.database.transaction() as conn:
        row = await keypairs.get(conn, user, name)
        if row is None or not await keypairs.delete(conn, user, name):
            raise missing(user, name)
        await request.tell(conn, row, "keypair.delete.start", "keypair.delete.end")


def missing(user_id: str, name: str) -> NotFound:
    return NotFound(f"Keypair {name} not found for user {user_id}")


def _owner(request: Request, name: str) -> str:
    """The user that the query names, or the caller; raises ``Forbidden`` where the caller may not do ``name`` for them."""
    user = request.first("user_id") or request.ctx.user_id
    request.require(name, user_id=user)
    return user


async def _check(request: Request, conn: Connection, user: str, name: str) -> None:
    """Room under the quota, and the name free. Holds until the transaction ends."""
    limit = (await quota_sets.limits(request, conn, request.ctx.project_id, user))["key_pairs"]
    used = await keypairs.count(conn, user)
    if limit != UNLIMITED and used >= limit:
        raise QuotaExceeded("Quota exceeded, too many key pairs.")
    if await keypairs.get(conn, user, name) is not None:
        raise Conflict(f"Key pair '{name}' already exists.")
