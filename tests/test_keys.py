"""Secrets that only the owner of a key pair can read."""

from base64 import b64decode

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

from nova_async import keys
from nova_async.errors import Invalid

OPENSSH = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH


async def test_the_owner_of_an_rsa_key_reads_the_secret() -> None:
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    told = await keys.encrypted(own.public_key().public_bytes(*OPENSSH).decode() + " me@host", "Sesame")
    assert own.decrypt(b64decode(told), padding.PKCS1v15()) == b"Sesame"


async def test_a_key_that_cannot_encrypt_and_a_secret_that_is_too_long_are_refused() -> None:
    other = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(*OPENSSH).decode()
    with pytest.raises(Invalid):
        await keys.encrypted(other, "Sesame")
    own = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key().public_bytes(*OPENSSH).decode()
    with pytest.raises(Invalid):
        await keys.encrypted(own, "x" * 300)
