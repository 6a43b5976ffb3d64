"""The passphrases of encrypted volumes: drawn here, sealed in the database, opened where the volume's bytes are handled.

What seals them is one key in a file of the volume service's own. A sealed passphrase is bound to its volume's id.
"""

import asyncio
import contextlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from nova_async.certs import files
from nova_async.errors import Error

FORM = b"\x01"  # how the rest is sealed: a nonce, then ChaCha20-Poly1305
NONCE = 12  # octets
PASSPHRASE = 32  # octets, told in hexadecimal


class Keys:
    """``path``: the file of the sealing key, made (0600) with the first encrypted volume."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def make(self, volume_id: str, *, first: bool) -> bytes:
        """A new passphrase, sealed. Without ``first`` (no volume has one yet) the file must be there: raises ``Error``."""
        return await asyncio.to_thread(self._sealed, volume_id, secrets.token_hex(PASSPHRASE), first)

    async def copy(self, sealed: bytes, volume_id: str, copy_id: str) -> bytes:
        """For a copy of a volume's bytes, which the same passphrase opens."""
        return await asyncio.to_thread(lambda: self._sealed(copy_id, self._opened(sealed, volume_id), False))

    async def open(self, sealed: bytes, volume_id: str) -> str:
        """The passphrase. Raises ``Error`` without the key that sealed it."""
        return await asyncio.to_thread(self._opened, sealed, volume_id)

    def _sealed(self, volume_id: str, passphrase: str, first: bool) -> bytes:
        nonce = os.urandom(NONCE)
        return FORM + nonce + self._cipher(first).encrypt(nonce, passphrase.encode(), volume_id.encode())

    def _opened(self, sealed: bytes, volume_id: str) -> str:
        cipher, nonce, body = self._cipher(False), sealed[1 : 1 + NONCE], sealed[1 + NONCE :]
        try:
            if not sealed.startswith(FORM):
                raise InvalidTag
            return cipher.decrypt(nonce, body, volume_id.encode()).decode()
        except InvalidTag:
            raise Error("The volume's key cannot be opened.", detail=f"{self._path} is not the key that sealed it") from None

    def _cipher(self, first: bool) -> ChaCha20Poly1305:
        if first and not self._path.exists():
            files.folder(self._path.parent)
            _make(self._path)
        try:
            return ChaCha20Poly1305(self._path.read_bytes())
        except (OSError, ValueError) as error:
            raise Error("The keys of encrypted volumes cannot be opened.", detail=f"{self._path}: {error}") from None


def _make(path: Path) -> None:
    """Whoever is first makes it, whole."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    files.write_key(fresh, ChaCha20Poly1305.generate_key())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()
