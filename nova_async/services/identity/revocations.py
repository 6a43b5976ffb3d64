"""Which tokens have died early: a copy of the database's list in memory, kept fresh."""

import asyncio
from collections.abc import Iterable

from nova_async import log
from nova_async.db import Database, identity_tokens
from nova_async.db import identity as db
from nova_async.errors import Unavailable, plain
from nova_async.services.identity.tokens import Token, subjects
from nova_async.world import World

POLL_SECONDS = 2.0
STALE_SECONDS = 30.0
REFRESH_SECONDS = 5.0
RETRY_SECONDS = 1.0
EXPIRE_EVERY = 300  # polls
logger = log.get("identity")


class Revocations:
    """Revoked subjects, and the keys that sign tokens.

    What this process revokes holds at once; what others revoke, ``POLL_SECONDS`` later. A copy that could not be
    refreshed for ``STALE_SECONDS`` is not trusted.
    """

    def __init__(self, database: Database, world: World) -> None:
        self._database = database
        self._world = world
        self._epochs: dict[str, int] = {}
        self._digest = ""
        self._fresh_at = float("-inf")
        self._failed_at = float("-inf")
        self._refreshing = asyncio.Lock()
        self.keys: dict[int, bytes] = {}

    def learn(self, revoked: Iterable[identity_tokens.Revocation]) -> None:
        """What was just committed."""
        for r in revoked:
            self._epochs[r.subject] = max(r.epoch, self._epochs.get(r.subject, 0))

    def kills(self, token: Token) -> bool:
        epochs = self._epochs
        return any(epochs.get(s, 0) > mark for s, mark in zip(subjects(token), token.marks, strict=False))

    def is_fresh(self) -> bool:
        return self._world.monotonic() - self._fresh_at < STALE_SECONDS

    async def ensure_fresh(self) -> None:
        """Raises ``Unavailable`` when the list is old and the database does not answer.

        Those who waited while one of them asked share the outcome: nobody waits for more than two attempts.
        """
        if self.is_fresh():
            return
        async with self._refreshing:
            if self.is_fresh():
                return
            if self._world.monotonic() - self._failed_at < RETRY_SECONDS:
                raise Unavailable("The database does not answer.")
            await self._refresh()

    async def refresh(self) -> None:
        """Raises ``Unavailable``."""
        async with self._refreshing:
            await self._refresh()

    async def poll(self) -> None:
        """Refresh for ever; a database that is away is asked again, and is logged once."""
        round_, away = 0, False
        while True:
            await self._world.sleep(POLL_SECONDS)
            round_ += 1
            try:
                await self.refresh()
                if round_ % EXPIRE_EVERY == 0:
                    await self._expire()
                away = False
            except (Unavailable, db.Refused) as error:
                if not away:
                    logger.warning("identity.revocations_unread", error=str(error), detail=getattr(error, "detail", None))
                away = True

    async def _refresh(self) -> None:
        started = self._world.monotonic()
        try:
            async with asyncio.timeout(REFRESH_SECONDS), self._database.connection() as conn:
                digest = await identity_tokens.revocations_digest(conn)
                if digest != self._digest or not self.keys:
                    self.learn(await identity_tokens.revocations(conn))
                    self._digest = digest
                self.keys = {k.id: k.secret for k in await identity_tokens.keys(conn)}
        except (Unavailable, TimeoutError, db.Refused) as error:
            self._failed_at = self._world.monotonic()
            raise Unavailable("The database does not answer.", detail=plain(error)) from None
        self._fresh_at = started

    async def _expire(self) -> None:
        """Forget rows whose tokens have all expired, here and in the database."""
        async with self._refreshing, self._database.connection() as conn:
            await identity_tokens.revocations_expire(conn)
            known = dict(self._epochs)
            kept = {r.subject for r in await identity_tokens.revocations(conn)}
            for subject, epoch in known.items():
                if subject not in kept and self._epochs[subject] == epoch:
                    del self._epochs[subject]
