"""Secrets at rest: sealed in rows with a key that lies in a file, so that the database alone does not tell them."""

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


class KeyFile:
    """The key is read anew each time. What is sealed is bound to its owner, an id. All of this blocks.

    ``path``: made (0600) with the first secret. ``what``: of the secrets, in the plural, for messages.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what

    def seal(self, secret: str, owner: str, *, first: bool) -> bytes:
        """Without ``first`` (nothing is sealed yet) the file must be there: raises ``Error``."""
        nonce = os.urandom(NONCE)
        return FORM + nonce + self._cipher(first).encrypt(nonce, secret.encode(), owner.encode())

    def open(self, sealed: bytes, owner: str) -> str:
        """The secret. Raises ``Error`` without the key that sealed it."""
        cipher, nonce, body = self._cipher(False), sealed[1 : 1 + NONCE], sealed[1 + NONCE :]
        try:
            if not sealed.startswith(FORM):
                raise InvalidTag
            return cipher.decrypt(nonce, body, owner.encode()).decode()
        except InvalidTag:
            raise Error(f"{self._what} cannot be opened.", detail=f"{self._path} is not the key that sealed them") from None

    def _cipher(self, first: bool) -> ChaCha20Poly1305:
        if first and not self._path.exists():
            files.folder(self._path.parent)
            _make(self._path)
        try:
            return ChaCha20Poly1305(self._path.read_bytes())
        except (OSError, ValueError) as error:
            raise Error(f"{self._what} cannot be opened.", detail=f"{self._path}: {error}") from None


def _make(path: Path) -> None:
    """Whoever is first makes it, whole."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    files.write_key(fresh, ChaCha20Poly1305.generate_key())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()
