"""Tokens for this process's own user where the identity service is built in: no password, nothing sent."""

import asyncio

from nova_async.config import Identity
from nova_async.errors import Unauthorized, Unavailable
from nova_async.services.identity.builtin import BuiltinIdentity
from nova_async.services.identity.login import DomainRef, ProjectRef, login_as
from nova_async.services.identity.remote import RENEW_AT

DEFAULT = DomainRef(id="default")


class OwnTokens:
    """A ``services.client.TokenSource``; what ``TokenSource`` is with a real Keystone."""

    def __init__(self, identity: BuiltinIdentity, options: Identity) -> None:
        self._identity, self._options = identity, options
        self._lock = asyncio.Lock()
        self._token = ""
        self._renew_at = float("-inf")

    async def token(self) -> str:
        """A token that is good for a while. Raises ``Unavailable``."""
        async with self._lock:
            now = self._identity.world.monotonic()
            if now >= self._renew_at:
                try:
                    made = await login_as(self._identity, self._options.username, ProjectRef(name=self._options.project, domain=DEFAULT))
                except Unauthorized:
                    raise Unavailable("The user that identity.username names may not use the project of identity.project.") from None
                self._token = self._identity.seal(made)
                self._renew_at = now + (made.expires_at - made.issued_at) * RENEW_AT
            return self._token

    async def token_for(self, project_id: str) -> str:
        """One for another project. Raises ``Unauthorized`` where our user has no role there."""
        return self._identity.seal(await login_as(self._identity, self._options.username, ProjectRef(id=project_id)))

    def forget(self, token: str) -> None:
        """A service refused this token: make another next time."""
        if token == self._token:
            self._renew_at = float("-inf")
