"""Join tokens: leave for one host to ask for its certificate, once.

A token is ``<id>.<seed>.<fingerprint of the root>``. The seed is an Ed25519 private key of which the authority keeps the public half:
the host signs its request with it, so that the secret never travels, and knows the authority by the fingerprint.
"""

import base64
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from nova_async.errors import Invalid


class JoinToken(NamedTuple):
    id: str
    key: Ed25519PrivateKey
    root: str  # SHA-256 of the root certificate, in hexadecimal

    @property
    def text(self) -> str:
        return f"{self.id}.{_text(self.key.private_bytes_raw())}.{self.root}"

    def proof(self, host: str, request: bytes) -> str:
        return _text(self.key.sign(_signed(host, request)))


def new(id: str, root: str) -> JoinToken:
    return JoinToken(id, Ed25519PrivateKey.generate(), root)


def parse(text: str) -> JoinToken:
    """Raises ``Invalid``."""
    try:
        id, seed, root = text.strip().split(".")
        return JoinToken(id, Ed25519PrivateKey.from_private_bytes(_octets(seed)), root)
    except ValueError:
        raise Invalid("This is no join token; `nova-async admin enrol-host HOST` prints one.") from None


def is_proven(public_key: bytes, host: str, request: bytes, proof: str) -> bool:
    """Whether the request was signed by who was given the token."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(_octets(proof), _signed(host, request))
    except (ValueError, InvalidSignature):
        return False
    return True


def _signed(host: str, request: bytes) -> bytes:
    return b"nova-async join 1\0" + host.encode() + b"\0" + request


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _octets(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
