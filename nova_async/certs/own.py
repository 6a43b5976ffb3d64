"""The certificate of a process that has the authority itself: made and renewed without asking anybody."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from nova_async.certs import IDENTITY, x509
from nova_async.certs.authority import Authority
from nova_async.certs.keeper import Keeper, write_identity


class OwnKeeper(Keeper):
    """Keeps ``directory`` for ``party``, with a certificate that is good at the ``names``. Processes may share the directory."""

    def __init__(
        self, authority: Authority, directory: Path, party: str, names: Sequence[str], changed: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(directory, "", authority.world, changed)
        self.authority, self.party, self.names = authority, party, list(dict.fromkeys(names))

    async def ensure(self) -> None:
        """Have a certificate and the list of revoked ones before anything uses them."""
        if await self.is_due():
            await self.renew()
        await self.fetch_revoked()

    async def is_due(self) -> bool:
        """Also when there is none, another authority's, one of other names, or one that was revoked."""
        if not (self.directory / IDENTITY).exists():
            return True
        certificate, _ = await self._present()
        if (x509.party_of(certificate), x509.alternatives_of(certificate)) != (self.party, self.names):
            return True
        return not await self.authority.holds(certificate) or await super().is_due()

    async def renew(self) -> None:
        key, made = await self.authority.issue(self.party, self.names)
        await asyncio.to_thread(write_identity, self.directory, key, made.chain, made.root)

    async def fetch_revoked(self) -> None:
        await asyncio.to_thread(self._write_revoked, await self.authority.revocations())
