"""One party's certificate on its own machine: asked for once, renewed long before it expires, files for those that read files.

=================  ====  =============================================================================
identity.pem       0600  key and chain in one file, so that both are replaced at once (bus)
ca-cert.pem        0644  the root; ca-crl.pem the revoked ones
{server,client}-   0600  ``-key.pem`` and ``-cert.pem`` as QEMU and libvirt look for them
=================  ====  =============================================================================
"""

import asyncio
import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
from cryptography import x509 as cryptography_x509
from cryptography.hazmat.primitives.asymmetric import ec

from nova_async import log
from nova_async.certs import files, tokens, x509
from nova_async.errors import Error, Forbidden, Invalid, Unavailable
from nova_async.world import World

IDENTITY = "identity.pem"
SECONDS = aiohttp.ClientTimeout(total=20)
LOOK_SECONDS = 600.0  # between looks at our certificate's age and at the list of revoked ones
RENEW_AT = 2 / 3  # of its life
ANSWER_LIMIT = 1024 * 1024

logger = log.get("certs")


class Keeper:
    """Keeps ``directory``."""

    def __init__(self, directory: Path, url: str, world: World) -> None:
        self.directory, self.world = directory, world
        self._url = url.rstrip("/")

    async def enrol(self, host: str, token: str) -> None:
        """Make a key, and get the certificate that the token allows.

        Raises ``Invalid`` for a token that is none, ``Forbidden`` when it does not hold or another authority answers,
        ``Unavailable`` without an answer.
        """
        join, key = tokens.parse(token), x509.new_key()
        request = x509.make_request(key, host)
        body = {"host": host, "token": join.id, "request": request.decode(), "proof": join.proof(host, request)}
        answer = await self._ask("/enrol", body)
        if x509.fingerprint(x509.read(answer["root"].encode())) != join.root:
            raise Forbidden(f"{self._url} is not the authority that made this join token.")
        await self._keep(key, answer)

    async def check(self, party: str | None = None) -> None:
        """Raises ``Invalid`` when there is no certificate here, or one that is not ours (not the ``party``'s) to use now."""
        certificate, _ = await self._present()
        if party is not None and x509.party_of(certificate) != party:
            raise Invalid(f"The certificate in {self.directory} is of {x509.party_of(certificate)}, not of {party}: enrol this host.")
        if certificate.not_valid_after_utc < self.world.now():
            raise Invalid(f"The certificate in {self.directory} expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M}Z: enrol again.")

    async def run(self) -> None:
        """Renew when it is time, and fetch who was revoked; what fails is tried again."""
        while True:
            try:
                if await self.is_due():
                    await self.renew()
                await self.fetch_revoked()
            except Error as error:
                logger.warning("certificate.not_kept", directory=str(self.directory), reason=error.message, detail=error.detail)
            await self.world.sleep(LOOK_SECONDS * self.world.random.uniform(0.8, 1.2))

    async def is_due(self) -> bool:
        certificate, _ = await self._present()
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        return self.world.now() >= certificate.not_valid_before_utc + timedelta(seconds=life.total_seconds() * RENEW_AT)

    async def renew(self) -> None:
        """A new key, and a certificate for it. Raises ``Forbidden``, ``Unavailable``."""
        certificate, old = await self._present()
        key = x509.new_key()
        request = x509.make_request(key, x509.party_of(certificate))
        proof = base64.b64encode(old.sign(request, ec.ECDSA(x509.SHA256))).decode()
        answer = await self._ask("/renew", {"certificate": x509.pem(certificate).decode(), "request": request.decode(), "proof": proof})
        known = await asyncio.to_thread((self.directory / "ca-cert.pem").read_bytes)
        if answer["root"].encode() != known:
            raise Forbidden(f"{self._url} is not the authority of the certificate in {self.directory}.")
        await self._keep(key, answer)
        logger.info("certificate.renewed", party=x509.party_of(certificate))

    async def fetch_revoked(self) -> None:
        async with aiohttp.ClientSession(timeout=SECONDS) as session:
            try:
                async with session.get(f"{self._url}/revoked.pem") as response:
                    text = await response.content.read(ANSWER_LIMIT)
                    if response.status != 200:
                        raise Unavailable(f"{self._url} answered {response.status}.")
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Unavailable(f"{self._url} does not answer.", detail=type(error).__name__) from None
        await asyncio.to_thread(self._write_revoked, text)

    def _write_revoked(self, text: bytes) -> None:
        """Take the list when the chain of our own certificate signed it. Blocks."""
        issuing = cryptography_x509.load_pem_x509_certificates((self.directory / IDENTITY).read_bytes())[1].public_key()
        assert isinstance(issuing, ec.EllipticCurvePublicKey)
        try:
            signed = cryptography_x509.load_pem_x509_crl(text).is_signature_valid(issuing)
        except ValueError:
            signed = False
        if not signed:
            raise Forbidden(f"The list of revoked certificates from {self._url} is not signed by our authority.")
        files.write(self.directory / "ca-crl.pem", text)

    async def _present(self) -> tuple[cryptography_x509.Certificate, x509.Key]:
        try:
            text = await asyncio.to_thread((self.directory / IDENTITY).read_bytes)
        except FileNotFoundError:
            raise Invalid(f"There is no certificate in {self.directory}: enrol this host (nova-async enrol).") from None
        return x509.read(text), x509.read_key(text)

    async def _keep(self, key: x509.Key, answer: dict[str, str]) -> None:
        await asyncio.to_thread(write_identity, self.directory, key, answer["certificate"].encode(), answer["root"].encode())

    async def _ask(self, path: str, body: dict[str, str]) -> dict[str, str]:
        async with aiohttp.ClientSession(timeout=SECONDS) as session:
            try:
                async with session.post(self._url + path, json=body) as response:
                    answer: Any = await response.json()
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise Unavailable(f"{self._url} does not answer.", detail=type(error).__name__) from None
        if response.status == 200:
            return {name: str(answer[name]) for name in ("certificate", "root")}
        message = str(answer.get("error", {}).get("message", response.reason))
        raise Unavailable(message) if response.status >= 500 else Forbidden(message)


def write_identity(directory: Path, key: x509.Key, chain: bytes, root: bytes) -> None:
    """All files of a certificate. Blocks."""
    files.folder(directory)
    files.write_key(directory / IDENTITY, x509.key_pem(key) + chain)
    files.write(directory / "ca-cert.pem", root)
    for role in ("server", "client"):
        files.write_key(directory / f"{role}-key.pem", x509.key_pem(key))
        files.write(directory / f"{role}-cert.pem", chain)
