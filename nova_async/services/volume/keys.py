"""The passphrases of encrypted volumes: drawn here, sealed in the database, opened where the volume's bytes are handled.

What seals them is one key in a file of the volume service's own. A sealed passphrase is bound to its volume's id.
"""

import asyncio
import secrets
from pathlib import Path

from nova_async.key_file import KeyFile

PASSPHRASE = 32  # octets, told in hexadecimal


class Keys:
    """``path``: the file of the sealing key, made (0600) with the first encrypted volume."""

    def __init__(self, path: Path) -> None:
        self._file = KeyFile(path, "The keys of encrypted volumes")

    async def make(self, volume_id: str, *, first: bool) -> bytes:
        """A new passphrase, sealed. Without ``first`` (no volume has one yet) the file must be there: raises ``Error``."""
        return await asyncio.to_thread(self._file.seal, secrets.token_hex(PASSPHRASE), volume_id, first=first)

    async def copy(self, sealed: bytes, volume_id: str, copy_id: str) -> bytes:
        """For a copy of a volume's bytes, which the same passphrase opens."""
        return await asyncio.to_thread(lambda: self._file.seal(self._file.open(sealed, volume_id), copy_id, first=False))

    async def open(self, sealed: bytes, volume_id: str) -> str:
        """The passphrase. Raises ``Error`` without the key that sealed it."""
        return await asyncio.to_thread(self._file.open, sealed, volume_id)
