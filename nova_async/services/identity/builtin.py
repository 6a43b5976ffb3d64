"""The built-in identity service: knows tokens, and changes what they may."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nova_async.config import Config
from nova_async.context import Context
from nova_async.db import Connection, Database, identity_access_rules, identity_tokens
from nova_async.db import identity as db
from nova_async.errors import Unauthorized
from nova_async.key_file import KeyFile
from nova_async.model.access_rules import AccessRule, Visit
from nova_async.services import access_rules
from nova_async.services.identity.bootstrap import Secrets, bootstrap, ensure_key
from nova_async.services.identity.passwords import Passwords, Patience
from nova_async.services.identity.revocations import Revocations
from nova_async.services.identity.tokens import Token, key_of, seal, unseal
from nova_async.world import World

ALLOW_EXPIRED_SECONDS = 48 * 3600.0  # Keystone's [token] allow_expired_window
KEEP_REVOCATIONS_SECONDS = 86_400.0  # and at least twice the life of a token
UNKNOWN_KEY_PAUSE = 1.0
KNOWN_CREDENTIALS = 1000  # whose access rules are remembered


class Change:
    """A transaction that may also end tokens; they are dead in this process the moment it commits."""

    def __init__(self, conn: Connection, keep_seconds: float) -> None:
        self.conn = conn
        self.revoked: list[identity_tokens.Revocation] = []
        self._keep_seconds = keep_seconds

    async def freeze(self) -> None:
        """Before a role ends for many: whoever comes to hold it meanwhile would be missed.

        Also before anything goes that users, groups and roles hang on: those deletions would wait for each other in a
        circle. The first thing in a change.
        """
        await db.assignments_lock(self.conn)

    async def revoke(self, *subjects: str) -> None:
        if subjects:
            self.revoked += await identity_tokens.revoke(self.conn, sorted(set(subjects)), self._keep_seconds)


class BuiltinIdentity:
    """Tokens are checked from memory; the database is asked only to make or change something, and for access rules once.

    Satisfies ``services.web.Identity``. One object per process; ``close`` it.
    """

    def __init__(self, database: Database, config: Config, world: World) -> None:
        self.database = database
        self.config = config
        self.world = world
        self.passwords = Passwords()
        self.patience = Patience(world)
        self.blobs = KeyFile(config.state / "credentials.key", "Credentials")  # what users keep here
        self._revocations = Revocations(database, world)
        self._poller: asyncio.Task[None] | None = None
        self._key_asked_at = float("-inf")
        self._rules: OrderedDict[str, list[AccessRule]] = OrderedDict()  # by credential

    @classmethod
    async def open(cls, db: Database, config: Config, world: World) -> "BuiltinIdentity":
        """Read the keys (making the first) and the list of dead tokens. Raises ``Unavailable``."""
        self = cls(db, config, world)
        await ensure_key(db)
        await self._revocations.refresh()
        self._poller = asyncio.create_task(self._revocations.poll(), name="identity.revocations")
        return self

    async def bootstrap(self) -> Secrets:
        """Make domain, projects, users, roles and catalog where they are missing; safe to repeat and to race."""
        return await bootstrap(self.database, self.config, self.world, self.passwords)

    async def close(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait([self._poller], timeout=5)
        self.passwords.close()

    async def validate(self, token: str, visit: Visit | None = None) -> Context:
        """The caller behind a token, as services other than identity see it. Raises ``Unauthorized``, ``Forbidden`` or ``Unavailable``.

        The roles of a domain-scoped token are for identity alone: such a token has none elsewhere.
        """
        said = await self.read(token)
        if said.bound:
            await access_rules.check(await self._rules_of(said.credential_id), visit, self)
        return context(said)

    async def has_project(self, project_id: str) -> bool:
        """Whether there is such a project."""
        async with self.database.connection() as conn:
            return await db.project_show(conn, project_id) is not None

    async def read(self, token: str, *, allow_expired: bool = False) -> Token:
        """What a live token says. Raises ``Unauthorized`` or ``Unavailable``.

        ``allow_expired``: also one that ended in the last two days (long operations that services finish for a user).
        """
        await self._revocations.ensure_fresh()
        claimed = key_of(token)
        if claimed is not None and claimed not in self._revocations.keys:
            await self._ask_for_keys()
        said = unseal(token, self._revocations.keys)
        grace = ALLOW_EXPIRED_SECONDS if allow_expired else 0.0
        if said.expires_at + grace <= self.world.now().timestamp() or self._revocations.kills(said):
            raise Unauthorized()
        return said

    def seal(self, token: Token) -> str:
        key_id = max(self._revocations.keys)
        return seal(token, key_id, self._revocations.keys[key_id])

    @asynccontextmanager
    async def change(self) -> AsyncIterator[Change]:
        """A transaction in which tokens can be revoked together with what made them valid."""
        keep = max(KEEP_REVOCATIONS_SECONDS, 2.0 * self.config.identity.token_seconds)
        async with self.database.transaction() as conn:
            change = Change(conn, keep)
            yield change
        self._revocations.learn(change.revoked)

    async def _rules_of(self, credential_id: str) -> list[AccessRule]:
        """They stay as they are while there is the credential, and its tokens end with it."""
        if credential_id not in self._rules:
            async with self.database.connection() as conn:
                self._rules[credential_id] = await identity_access_rules.rules_of_credential(conn, credential_id)
        self._rules.move_to_end(credential_id)
        while len(self._rules) > KNOWN_CREDENTIALS:
            self._rules.popitem(last=False)
        return self._rules[credential_id]

    async def _ask_for_keys(self) -> None:
        """Another process may have made a newer key; ask at most once a second."""
        if self.world.monotonic() - self._key_asked_at >= UNKNOWN_KEY_PAUSE:
            self._key_asked_at = self.world.monotonic()
            await self._revocations.refresh()


def context(token: Token) -> Context:
    return Context(
        request_id="",
        user_id=token.user_id,
        project_id=token.project_id,
        user_domain_id=token.user_domain_id,
        project_domain_id=token.project_domain_id or "default",
        roles=() if token.domain_id else token.roles,
        system_scope=token.system,
        domain_id=token.domain_id,
    )
