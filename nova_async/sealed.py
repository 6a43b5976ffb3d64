"""Secrets on their way through rows and queues: sealed for one host, which alone can read them."""

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from nova_async.errors import Conflict, Invalid

PURPOSE = b"nova-async sealed secret 1"


class SealingKey:
    """A host's key, made anew with each run of its worker: what was sealed for an earlier run stays sealed."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()

    @property
    def public(self) -> str:
        """What the host tells everybody."""
        return base64.b64encode(self._private.public_key().public_bytes_raw()).decode()

    def open(self, sealed: str) -> str:
        """Raises ``Conflict`` for what was sealed for somebody else, or for an earlier run."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            theirs, nonce, body = raw[:32], raw[32:44], raw[44:]
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(theirs))
            return ChaCha20Poly1305(_key(shared, theirs)).decrypt(nonce, body, None).decode()
        except (ValueError, InvalidTag):
            raise Conflict("The secret was not sealed for this run of the host; send it again.") from None


def seal(public: str, secret: str) -> str:
    """``secret`` for the host with this public key. Raises ``Invalid`` when it is no key."""
    try:
        theirs = X25519PublicKey.from_public_bytes(base64.b64decode(public, validate=True))
    except ValueError:
        raise Invalid("The host's sealing key cannot be read.") from None
    own = X25519PrivateKey.generate()
    ours = own.public_key().public_bytes_raw()
    nonce = os.urandom(12)
    body = ChaCha20Poly1305(_key(own.exchange(theirs), ours)).encrypt(nonce, secret.encode(), None)
    return base64.b64encode(ours + nonce + body).decode()


def _key(shared: bytes, salt: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=PURPOSE).derive(shared)
