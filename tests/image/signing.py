"""Those who sign images, with real keys, and who vouches for them."""

import base64
import uuid
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa
from cryptography.x509.oid import NameOID

HASHES = {"SHA-224": hashes.SHA224(), "SHA-256": hashes.SHA256(), "SHA-384": hashes.SHA384(), "SHA-512": hashes.SHA512()}
KEYS = {
    "RSA-PSS": lambda: rsa.generate_private_key(65537, 2048),
    "DSA": lambda: dsa.generate_private_key(2048),
    "ECC_SECP384R1": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ECC_SECP521R1": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ECC_SECP256R1": lambda: ec.generate_private_key(ec.SECP256R1()),
}
PSS = {name: padding.PSS(padding.MGF1(method), padding.PSS.MAX_LENGTH) for name, method in HASHES.items()}


@cache
def key_of(key_type: str, name: str) -> Any:
    """Made once for a name: some take long."""
    return KEYS[key_type]()


class Signer:
    """A certificate with its key; ``issuer``: None for one that signs its own. It is valid from yesterday to tomorrow, if not told."""

    def __init__(
        self,
        name: str,
        issuer: "Signer | None" = None,
        *,
        key_type: str = "ECC_SECP384R1",
        authority: bool = False,
        below: int | None = None,
        days: tuple[int, int] = (-1, 1),
    ) -> None:
        self.id, self.key_type = str(uuid.uuid4()), key_type
        self.key = key_of(key_type, name)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        begins, ends = (datetime.now(UTC) + timedelta(days=count) for count in days)
        by = issuer or self
        usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign"), False)
        builder = x509.CertificateBuilder(by.name, self.name, self.key.public_key(), x509.random_serial_number(), begins, ends)
        builder = builder.add_extension(x509.BasicConstraints(authority, below if authority else None), critical=True)
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=authority, encipher_only=False, decipher_only=False, **usage), critical=True
        )
        self.certificate = builder.sign(by.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def put(self, folder: Path) -> "Signer":
        """The certificate where a cloud of the test's finds it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.id}.pem").write_bytes(self.pem)
        return self

    def signed(self, data: bytes, method: str = "SHA-256", **other: str) -> dict[str, str]:
        """The properties of an image with these bytes; ``other``: those that are to be otherwise."""
        match self.key:
            case rsa.RSAPrivateKey():
                signature = self.key.sign(data, PSS[method], HASHES[method])
            case dsa.DSAPrivateKey():
                signature = self.key.sign(data, HASHES[method])
            case _:
                signature = self.key.sign(data, ec.ECDSA(HASHES[method]))
        return {
            "img_signature": base64.b64encode(signature).decode(),
            "img_signature_hash_method": method,
            "img_signature_key_type": self.key_type,
            "img_signature_certificate_uuid": self.id,
        } | other


def family(*, below: int | None = None, **days: tuple[int, int]) -> tuple[Signer, Signer, Signer]:
    """A root, an authority below it, and a signer below that; ``days``: by these names, of those that are not valid as usual."""
    root = Signer("root", authority=True, below=below, days=days.get("root", (-1, 1)))
    middle = Signer("middle", root, authority=True, days=days.get("middle", (-1, 1)))
    return root, middle, Signer("signer", middle, days=days.get("signer", (-1, 1)))
