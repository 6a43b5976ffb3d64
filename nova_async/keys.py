"""Keys of guests: fingerprints as Nova prints them, and new key pairs for those who ask the service to make one.

Arithmetic of large numbers blocks, so that everything here runs in two threads of its own. Keys are drawn from the
operating system's randomness: they must not be repeatable.
"""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from hashlib import md5
from typing import NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nova_async.certs import x509 as certs
from nova_async.errors import Invalid
from nova_async.model.keypairs import SSH

RSA = "ssh-rsa "  # how such a public key begins
LONGEST = 16_384  # characters of a public key with its comment; RSA of 16,384 bits takes 2,800
BITS = 2048
LIFETIME = timedelta(days=3650)

T = TypeVar("T")
Vouch = Callable[[rsa.RSAPublicKey, str, datetime, timedelta], list[x509.Certificate]]  # the user's certificate, and those above it
threads = ThreadPoolExecutor(2, thread_name_prefix="keys")


class Made(NamedTuple):
    """A new pair; ``private_key`` is told to the caller once and not kept."""

    private_key: str
    public_key: str
    fingerprint: str


async def fingerprint(key_type: str, public_key: str) -> str:
    """MD5 of an SSH key, SHA-1 of a certificate, in pairs of digits. Raises ``Invalid`` for what is neither.

    An SSH key is one line: what followed it would be a line of its own in the guest's ``authorized_keys``.
    """
    if len(public_key) > LONGEST:
        raise Invalid(f"Keypair data is invalid: a public key has no more than {LONGEST} characters.")
    if key_type == SSH and len(public_key.strip().splitlines()) > 1:
        raise Invalid("Keypair data is invalid: an SSH public key is a single line.")
    return await _in_thread(lambda: _of_ssh(public_key) if key_type == SSH else _of_certificate(public_key))


async def encrypted(public_key: str, secret: str) -> str:
    """``secret`` for the owner of an RSA key, as ``nova get-password`` reads it: PKCS #1 version 1.5, in base64. Raises ``Invalid``."""
    return await _in_thread(lambda: _encrypted(public_key, secret))


async def make(key_type: str, user_id: str, now: datetime, vouch: Vouch | None = None) -> Made:
    """RSA of 2048 bits: for SSH in PEM, or as a client certificate for WinRM with a PKCS #12 file without a password, in base64.

    ``vouch`` has an authority sign the certificate, which else is signed by its own key.
    """
    return await _in_thread(lambda: _make_ssh() if key_type == SSH else _make_certificate(user_id, now, vouch))


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def _encrypted(public_key: str, secret: str) -> str:
    try:
        key = serialization.load_ssh_public_key(public_key.encode())
        assert isinstance(key, rsa.RSAPublicKey)
        return b64encode(key.encrypt(secret.encode(), padding.PKCS1v15())).decode()
    except (ValueError, AssertionError, UnsupportedAlgorithm):
        raise Invalid("The password cannot be encrypted with the server's key: it is too long, or the key is not RSA.") from None


def _of_ssh(public_key: str) -> str:
    try:
        serialization.load_ssh_public_key(public_key.encode())
        return _pairs(md5(b64decode(public_key.split(" ")[1]), usedforsecurity=False).hexdigest())
    except Exception:
        raise Invalid("Keypair data is invalid: failed to generate fingerprint") from None


def _of_certificate(text: str) -> str:
    try:
        return _pairs(x509.load_pem_x509_certificate(text.encode()).fingerprint(hashes.SHA1()).hex())
    except Exception:
        raise Invalid("Keypair data is invalid: failed to generate X509 fingerprint.") from None


def _pairs(digits: str) -> str:
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))


def _make_ssh() -> Made:
    key = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    text = f"{public.decode()} Generated-by-Nova"
    return Made(private.decode(), text, _of_ssh(text))


def _make_certificate(user_id: str, now: datetime, vouch: Vouch | None) -> Made:
    key = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
    certificate, *above = vouch(key.public_key(), user_id, now, LIFETIME) if vouch else [_self_signed(key, user_id, now)]
    bundle = pkcs12.serialize_key_and_certificates(None, key, certificate, above or None, serialization.NoEncryption())
    public = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return Made(b64encode(bundle).decode(), public, _of_certificate(public))


def _self_signed(key: rsa.RSAPrivateKey, user_id: str, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user_id[: certs.LONGEST_COMMON_NAME])])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(certs.principal(user_id), critical=False)
        .sign(key, hashes.SHA256())
    )
