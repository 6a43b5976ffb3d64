"""Signed images, as Glance and Nova have them: four properties, and the X.509 certificate of whoever signed the image's bytes.

| property | holds |
|---|---|
| ``img_signature`` | the signature of the bytes, in base64 |
| ``img_signature_hash_method`` | what they were hashed with: one of ``HASHES`` |
| ``img_signature_key_type`` | what signed that hash: one of ``KEY_TYPES`` |
| ``img_signature_certificate_uuid`` | the id of the signer's certificate |

RSA-PSS has MGF1 of the same hash and the longest salt that fits, ECDSA and DSA the form of RFC 3279. Nothing here reads a clock or a file.
"""

import base64
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from nova_async.certs.x509 import is_issued
from nova_async.errors import Invalid
from nova_async.model.guests import Proof

PROPERTIES = SIGNATURE, CERTIFICATE, HASH, KEY_TYPE = (
    "img_signature",
    "img_signature_certificate_uuid",
    "img_signature_hash_method",
    "img_signature_key_type",
)
HASHES = {"SHA-224": hashes.SHA224(), "SHA-256": hashes.SHA256(), "SHA-384": hashes.SHA384(), "SHA-512": hashes.SHA512()}
KEY_TYPES = ("RSA-PSS", "DSA", "ECC_SECP384R1", "ECC_SECP521R1")  # Nova names curves SECT409K1 ... too, which cryptography has no more
Key = rsa.RSAPublicKey | dsa.DSAPublicKey | ec.EllipticCurvePublicKey


class Claim(NamedTuple):
    """What an image's properties say of its bytes, everything else about it being right."""

    signature: bytes
    method: str
    key: Key

    def digest(self) -> Any:
        """An object of ``hashlib`` for the bytes."""
        return hashlib.new(self.method.replace("-", "").lower())

    def check(self, digest: bytes) -> None:
        """Whether the bytes with this digest were signed. Raises ``Invalid``."""
        try:
            _verify(self.key, self.signature, digest, HASHES[self.method])
        except (InvalidSignature, ValueError):
            raise Invalid(
                f"The image's bytes are not those that were signed: {SIGNATURE} does not fit them. Upload what was signed, or sign it anew."
            ) from None

    async def checked(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """All of the bytes; raises ``Invalid`` in the end where they were not signed."""
        digest = self.digest()
        async for chunk in chunks:
            digest.update(chunk)
            yield chunk
        self.check(digest.digest())


def missing(properties: Mapping[str, str]) -> list[str]:
    """Which of the four are not there."""
    return [name for name in PROPERTIES if name not in properties]


def claim(properties: Mapping[str, str], certificate: x509.Certificate, now: datetime) -> Claim:
    """All that can be checked before there are bytes. Raises ``Invalid``, naming what is wrong."""
    if lacking := missing(properties):
        raise Invalid(f"The image is not signed: it lacks {', '.join(lacking)}.")
    method, key_type = properties[HASH], properties[KEY_TYPE]
    if method not in HASHES:
        raise Invalid(f"{HASH} is {method[:40]!r}; use one of {', '.join(HASHES)}.")
    if key_type not in KEY_TYPES:
        raise Invalid(f"{KEY_TYPE} is {key_type[:40]!r}, which is not supported; use one of {', '.join(KEY_TYPES)}.")
    try:
        signature = base64.b64decode("".join(properties[SIGNATURE].split()), validate=True)
    except ValueError:
        raise Invalid(f"{SIGNATURE} is not in base64.") from None
    if not signature:
        raise Invalid(f"{SIGNATURE} is empty.")
    if not is_valid(certificate, now):
        begins, ends = (f"{moment:%Y-%m-%d %H:%M} UTC" for moment in (certificate.not_valid_before_utc, certificate.not_valid_after_utc))
        raise Invalid(f"The certificate {properties[CERTIFICATE]} is valid from {begins} to {ends} only; sign the image with another.")
    return Claim(signature, method, _key(certificate, key_type))


def claim_of(proof: Proof, now: datetime) -> Claim:
    """What a host checks of an image's bytes. Raises ``Invalid`` where nobody who has to vouches for the signer (any more)."""
    certificate = read(proof.certificate.encode())
    if proof.trusted is not None:
        chain(certificate, [read(each.encode()) for each in proof.trusted], now)
    return claim(proof.properties, certificate, now)


def read(data: bytes) -> x509.Certificate:
    """A certificate in PEM or DER. Raises ``Invalid``."""
    try:
        return x509.load_pem_x509_certificate(data) if b"-----BEGIN" in data else x509.load_der_x509_certificate(data)
    except ValueError:
        raise Invalid("It is no X.509 certificate in PEM or DER.") from None


def write(certificate: x509.Certificate) -> str:
    """In PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def chain(certificate: x509.Certificate, trusted: Sequence[x509.Certificate], now: datetime) -> list[x509.Certificate]:
    """Who vouches for a certificate, up to a root; all are trusted, valid now and may sign others. Raises ``Invalid``."""
    usable = [each for each in trusted if is_valid(each, now) and _may_sign(each)]
    above: list[x509.Certificate] = []
    last = certificate
    while not (last in usable and is_issued(last, last)):
        issuer = next((each for each in usable if each not in above and is_issued(last, each)), None)
        if issuer is None:
            raise Invalid(
                f"None of the trusted certificates that are valid and may sign others is of the issuer of {_name(last)}. "
                "Trust all up to the root."
            )
        if (most := _constraints(issuer).path_length) is not None and most < len(above):
            raise Invalid(f"The trusted certificate {_name(issuer)} allows {most} authorities below it, and the way has {len(above)}.")
        above.append(issuer)
        last = issuer
    return above or [certificate]


def is_valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _name(certificate: x509.Certificate) -> str:
    return f"{certificate.subject.rfc4514_string()[:80]!r}"


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        return _constraints(certificate).ca and usage.key_cert_sign
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False


def _constraints(certificate: x509.Certificate) -> x509.BasicConstraints:
    return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value


def _key(certificate: x509.Certificate, key_type: str) -> Key:
    """The certificate's key. Raises ``Invalid`` where it is of another type."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise Invalid(f"The key of the image's certificate is not supported; use one of the type {', '.join(KEY_TYPES)}.") from None
    found = _type_of(key) if isinstance(key, Key) else "unknown"
    if not isinstance(key, Key) or found != key_type:
        raise Invalid(f"{KEY_TYPE} is {key_type}, and the key of the image's certificate is of the type {found}.")
    return key


def _type_of(key: Key) -> str:
    match key:
        case rsa.RSAPublicKey():
            return "RSA-PSS"
        case dsa.DSAPublicKey():
            return "DSA"
        case ec.EllipticCurvePublicKey():
            return f"ECC_{key.curve.name.upper()}"


def _verify(key: Key, signature: bytes, digest: bytes, method: hashes.HashAlgorithm) -> None:
    match key:
        case rsa.RSAPublicKey():
            key.verify(signature, digest, padding.PSS(padding.MGF1(method), padding.PSS.MAX_LENGTH), Prehashed(method))
        case dsa.DSAPublicKey():
            key.verify(signature, digest, Prehashed(method))
        case ec.EllipticCurvePublicKey():
            key.verify(signature, digest, ec.ECDSA(Prehashed(method)))
