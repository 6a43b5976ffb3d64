"""What opens an encrypted volume of Cinder's: its key, which a key manager made for the volume's project and Cinder knows by its id alone.

It is read each time that a host asks for its way to the volume, and kept nowhere: a host needs it again after a restart, and the server's
next host, when nobody is there in whose name that could be. So it is read as our user with a role in the volume's project; where our user
has none there, as itself, whom the secret's access control list may name.
"""

from typing import Protocol

from nova_async import errors
from nova_async.qemu_img import Luks
from nova_async.services import client
from nova_async.services.key_manager import Barbican
from nova_async.services.volume.records import BITS, LUKS, MOST_BITS, Ask, Thing


class TokenSource(client.TokenSource, Protocol):
    async def token_for(self, project_id: str) -> str:
        """A token of our own for another project. Raises ``Unauthorized`` where our user has no role there, ``Unavailable``."""
        ...


class RemoteKeys:
    def __init__(self, ask: Ask, tokens: TokenSource, barbican: Barbican | None) -> None:
        self._ask, self._tokens, self._barbican = ask, tokens, barbican

    async def luks(self, volume_id: str) -> Luks:
        """With the key in hexadecimal, as Nova and Cinder have it. Raises ``Unsupported``, ``Forbidden``, ``NotFound``, ``Unavailable``."""
        how = await self._ask("GET", f"/volumes/{volume_id}/encryption")
        provider, place = how.get("provider"), how.get("control_location")
        if provider not in LUKS or place != "front-end":
            raise errors.Unsupported(
                f"Hosts of this cloud cannot open volume {volume_id}, encrypted by {provider} at the {place}: "
                "they know luks at the front-end."
            )
        if self._barbican is None:
            raise errors.Unsupported("Encrypted volumes need a key manager: services.key_manager names none.")
        volume = (await self._ask("GET", f"/volumes/{volume_id}"))["volume"]
        caller = await self._reader(volume)
        try:
            key = await self._barbican.payload(str(how.get("encryption_key_id")), caller)
        except (errors.NotFound, errors.Invalid, errors.Forbidden, errors.Unauthorized) as error:
            raise errors.Forbidden(
                f"The key manager does not give hosts of this cloud the key of volume {volume_id}: the user of nova_async needs a role in "
                "its project that may read secrets.",
                detail=errors.plain(error),
            ) from None
        return Luks(key.hex(), BITS.get(how.get("key_size"), MOST_BITS))

    async def _reader(self, volume: Thing) -> str:
        """Our token for the volume's project; empty where we have none."""
        try:
            return await self._tokens.token_for(str(volume.get("os-vol-tenant-attr:tenant_id") or ""))
        except errors.Unauthorized:
            return ""
