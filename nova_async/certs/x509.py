"""X.509 as this cloud uses it (RFC 5280): one root, one issuing authority below it, and certificates for one party each.

All keys are on P-256, all signatures ECDSA with SHA-256. Nothing here reads a clock or a file.
"""

import ipaddress
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from nova_async.errors import Forbidden, Invalid

Key = ec.EllipticCurvePrivateKey
ORGANIZATION = "nova-async"
ROOT_DAYS, ISSUING_DAYS = 3650, 1825
RENEW_AT = 2 / 3  # of a certificate's life
SKEW = timedelta(minutes=5)  # how far clocks may differ
PARTY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")  # fits a common name (64) and a DNS name
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
DNS = re.compile(rf"(?=.{{1,253}}\Z){LABEL}(?:\.{LABEL})*")
CRL_DAYS = 7
CRL_END = b"-----END X509 CRL-----"
LONGEST_COMMON_NAME = 64
USER_PRINCIPAL_NAME = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
SHA256 = hashes.SHA256()
USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


class Signer(NamedTuple):
    """An authority: its certificate and its key."""

    certificate: x509.Certificate
    key: Key


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def make_root(now: datetime) -> Signer:
    key = new_key()
    name = _name("nova-async root")
    builder = _authority(name, name, key.public_key(), now, ROOT_DAYS, path_length=1)
    return Signer(builder.sign(key, SHA256), key)


def make_issuing(root: Signer, now: datetime, name: str = "nova-async issuing") -> Signer:
    """An authority that the root vouches for and that can make no further ones."""
    key = new_key()
    builder = _authority(_name(name), root.certificate.subject, key.public_key(), now, ISSUING_DAYS, path_length=0)
    builder = builder.add_extension(_issuer_key(root), critical=False)
    return Signer(builder.sign(root.key, SHA256), key)


def make_request(key: Key, party: str) -> bytes:
    """A signing request in PEM (PKCS #10, RFC 2986) that proves who holds the key; the authority decides on all names."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_name(checked_party(party)))
    return builder.sign(key, SHA256).public_bytes(serialization.Encoding.PEM)


def read_request(text: bytes) -> x509.CertificateSigningRequest:
    """Raises ``Invalid`` for what is no request, is signed by another key, or has a key of another kind."""
    try:
        request = x509.load_pem_x509_csr(text)
        signed = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, InvalidSignature):
        raise Invalid("The signing request cannot be read: a PKCS #10 request in PEM is expected.") from None
    if not signed:
        raise Invalid("The signing request is not signed by its own key.")
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)):
        raise Invalid("The signing request must be for a key on P-256.")
    return request


def sign(
    issuing: Signer, public_key: ec.EllipticCurvePublicKey, party: str, alternatives: Sequence[str], now: datetime, lifetime: timedelta
) -> x509.Certificate:
    """A certificate for ``party``, as client and as server at ``alternatives`` (DNS names and addresses)."""
    builder = (
        _builder(_name(checked_party(party)), issuing.certificate.subject, public_key, now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_issuer_key(issuing), critical=False)
    )
    names = [_alternative(each) for each in dict.fromkeys(alternatives)]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuing.key, SHA256)


def sign_user(users: Signer, public_key: rsa.RSAPublicKey, user_id: str, now: datetime, lifetime: timedelta) -> x509.Certificate:
    """A client certificate of a user of the cloud, as WinRM wants it: its name is ``<user>@localhost``.

    No party's name has a colon: so no broker and no host takes a user for one of the cloud's own.
    """
    ends = min(now + lifetime, users.certificate.not_valid_after_utc)
    return (
        _builder(_name(f"user:{user_id}"[:LONGEST_COMMON_NAME]), users.certificate.subject, public_key, now, ends - now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True, key_encipherment=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(_issuer_key(users), critical=False)
        .add_extension(principal(user_id), critical=False)
        .sign(users.key, SHA256)
    )


def principal(user_id: str) -> x509.SubjectAlternativeName:
    """The name that Windows maps to an account (a user principal name)."""
    return x509.SubjectAlternativeName([x509.OtherName(USER_PRINCIPAL_NAME, _utf8(f"{user_id}@localhost"))])


def sign_revocations(signer: Signer, revoked: Sequence[tuple[int, datetime]], now: datetime) -> bytes:
    """The list of revoked serial numbers in PEM; an empty one from the root lets a peer check the whole chain."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.certificate.subject)
        .last_update(now - SKEW)
        .next_update(now + timedelta(days=CRL_DAYS))
        .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
        .add_extension(_issuer_key(signer), critical=False)
    )
    for serial, since in revoked:
        builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since).build())
    return builder.sign(signer.key, SHA256).public_bytes(serialization.Encoding.PEM)


def is_issued(certificate: x509.Certificate, issuing: x509.Certificate) -> bool:
    """Whether the key of ``issuing`` signed the certificate."""
    try:
        certificate.verify_directly_issued_by(issuing)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def is_late(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether less than a third of its life is left."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= begin + (end - begin) * RENEW_AT


def check_issued(certificate: x509.Certificate, issuing: x509.Certificate, now: datetime) -> None:
    """Raises ``Forbidden`` for a certificate that another authority made, or whose time is not now."""
    if not is_issued(certificate, issuing):
        raise Forbidden("The certificate was not made by this authority.")
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise Forbidden("The certificate has expired; enrol the host again.")


def party_of(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def alternatives_of(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names]


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate, in hexadecimal."""
    return certificate.fingerprint(SHA256).hex()


def read(text: bytes) -> x509.Certificate:
    """The first certificate of a PEM text. Raises ``Invalid``."""
    return read_all(text)[0]


def read_all(text: bytes) -> list[x509.Certificate]:
    """At least one. Raises ``Invalid``."""
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        raise Invalid("The certificate cannot be read: PEM is expected.") from None


def read_revocations(text: bytes) -> list[x509.CertificateRevocationList]:
    """Those of a PEM text that can be read."""
    found = []
    for part in text.split(CRL_END)[:-1]:
        try:
            found.append(x509.load_pem_x509_crl(part + CRL_END))
        except ValueError:
            continue
    return found


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: Key) -> bytes:
    """PKCS #8 without a passphrase: the file's mode protects it."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def read_key(text: bytes) -> Key:
    """Raises ``Invalid``."""
    try:
        key = serialization.load_pem_private_key(text, None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Invalid("The private key cannot be read: an unencrypted key on P-256 in PEM is expected.")
    return key


def checked_party(name: str) -> str:
    """Raises ``Invalid`` for a name that cannot be a party's."""
    if not PARTY.fullmatch(name):
        raise Invalid(f"{name[:80]!r} cannot be the name of a party: use up to 63 letters, digits, '_', '.' and '-'.")
    return name


def is_alternative(name: str) -> bool:
    """Whether a certificate can be good at this name or address."""
    try:
        _alternative(name)
    except Invalid:
        return False
    return True


def check_alternative(name: str) -> None:
    """Raises ``Invalid`` for what is neither an address nor a DNS name."""
    _alternative(name)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION), x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _authority(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, days: int, *, path_length: int
) -> x509.CertificateBuilder:
    return (
        _builder(subject, issuer, key, now, timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _issuer_key(signer: Signer) -> x509.AuthorityKeyIdentifier:
    found = signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)


def _usage(**true: bool) -> x509.KeyUsage:
    return x509.KeyUsage(**(dict.fromkeys(USAGES, False) | true))


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        if not DNS.fullmatch(name):
            raise Invalid(f"{name[:80]!r} is neither an address nor a DNS name.") from None
        return x509.DNSName(name)


def _utf8(text: str) -> bytes:
    """A DER UTF8String."""
    content = text.encode()
    size = len(content)
    if size < 0x80:
        length = bytes([size])
    else:
        octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
        length = bytes([0x80 | len(octets)]) + octets
    return bytes([0x0C]) + length + content
