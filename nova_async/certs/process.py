"""What one process has of certificates: its own, who keeps it, how it answers over HTTPS and whom it trusts there."""

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nova_async.certs import APPLICATION, IDENTITY, ROOT
from nova_async.config import Config
from nova_async.errors import Invalid
from nova_async.world import World

if TYPE_CHECKING:  # what most processes need late or never takes long to import
    import ssl

    from nova_async.certs.authority import Authority
    from nova_async.certs.identity import Identity
    from nova_async.certs.keeper import Keeper


class Certificates:
    """``identity``: our own in use. The cloud's root is trusted in the whole process (``world.trust``) once it is known."""

    def __init__(self, config: Config, world: World) -> None:
        self.config, self.world = config, world
        self.identity: Identity | None = None
        self.keeper: Keeper | None = None

    async def find(self, party: str | None, *, needed: bool) -> None:
        """Use the certificate that was given to this process; without one nothing happens, unless it is ``needed``.

        Raises ``Invalid`` when it is not the ``party``'s or has expired.
        """
        directory = self.config.certificate_dir
        if not needed and not await asyncio.to_thread((directory / IDENTITY).exists):
            return
        from nova_async.certs.identity import Identity
        from nova_async.certs.keeper import Keeper

        self.identity = Identity(directory)
        self.keeper = Keeper(directory, self.config.certs_url, self.world, self.identity.load)
        await self.keeper.check(party)
        await self._load()

    async def make(self, authority: "Authority") -> None:
        """The application makes its own, unless it was given one."""
        if self.identity is not None:
            return
        from nova_async.certs import x509
        from nova_async.certs.identity import Identity
        from nova_async.certs.own import OwnKeeper

        config = self.config
        urls = [urlsplit(url).hostname or "" for url in (config.public_url, config.console_url)]
        names = [name for name in (*urls, config.own_address, socket.gethostname(), "localhost") if x509.is_alternative(name)]
        self.identity = Identity(config.certificate_dir)
        keeper = OwnKeeper(authority, config.certificate_dir, APPLICATION, names, self.identity.load)
        await keeper.ensure()
        await self._load()
        self.keeper = keeper

    async def _load(self) -> None:
        from nova_async.certs.identity import trusting

        assert self.identity is not None
        await self.identity.load()
        self.world.trust = await asyncio.to_thread(trusting, self.config.certificate_dir / ROOT)

    def look(self) -> None:
        """Take the files as they are, renew what is due, and learn who was revoked, soon."""
        if self.keeper is not None:
            self.keeper.look_now()

    @property
    def root(self) -> Path | None:
        """What clients of the API have to trust, when its certificate is of the cloud's own authority."""
        api = self.config.api
        return self.config.certificate_dir / ROOT if api.tls and not api.tls_certificate else None

    async def https(self) -> "ssl.SSLContext | None":
        """How the API and consoles are answered; None: over HTTP. Raises ``Invalid`` for a certificate that cannot be used."""
        api = self.config.api
        if not api.tls:
            return None
        if not api.tls_certificate:
            if self.identity is None:
                raise Invalid("api.tls: this process has no certificate of the cloud's authority; issue one, or name api.tls_certificate.")
            return self.identity.listening()
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            await asyncio.to_thread(context.load_cert_chain, api.tls_certificate, api.tls_key or None)
        except OSError as error:
            raise Invalid(f"api.tls_certificate: {api.tls_certificate} cannot be used with its key ({error})") from None
        return context
