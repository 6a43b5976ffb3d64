"""One party's certificate on its own machine: asked for once, renewed long before it expires, files for those that read files.

=================  ====  =============================================================================
identity.pem       0600  key and chain in one file, so that both are replaced at once (bus)
ca-cert.pem        0644  the root; ca-crl.pem the revoked ones
{server,client}-   0600  ``-key.pem`` and ``-cert.pem`` as QEMU and libvirt look for them
=================  ====  =============================================================================
"""

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
from cryptography import x509 as cryptography_x509
from cryptography.hazmat.primitives.asymmetric import ec

from nova_async import log
from nova_async.certs import IDENTITY, REVOKED, ROOT, files, tokens, x509
from nova_async.certs.identity import trusting
from nova_async.certs.tokens import JoinToken
from nova_async.errors import Error, Forbidden, Invalid, Unavailable, plain
from nova_async.world import World

SECONDS = aiohttp.ClientTimeout(total=20)
LOOK_SECONDS = (1.0, 600.0)  # least and most time between looks at our certificate's age and at the list of revoked ones
AGAIN_SECONDS = 15.0  # after what failed: the authority may be starting just now
ANSWER_LIMIT = 1024 * 1024

logger = log.get("certs")


async def _nothing() -> None:
    return


class Keeper:
    """Keeps ``directory``; ``changed`` is told of new files."""

    def __init__(self, directory: Path, url: str, world: World, changed: Callable[[], Awaitable[None]] = _nothing) -> None:
        self.directory, self.world = directory, world
        self._url = url.rstrip("/")
        self._changed = changed
        self._asked = asyncio.Event()

    async def enrol(self, host: str, token: str) -> None:
        """Make a key, and get the certificate that the token allows.

        Raises ``Invalid`` for a token that is none, ``Forbidden`` when it does not hold or another authority answers,
        ``Unavailable`` without an answer.
        """
        join, key = tokens.parse(token), x509.new_key()
        request = x509.make_request(key, host)
        body = {"host": host, "token": join.id, "request": request.decode(), "proof": join.proof(host, request)}
        root = await self._root(join)
        answer = await self._ask("/enrol", body, await asyncio.to_thread(_believing, root))
        if answer["root"] != root:
            raise Forbidden(f"{self._url} is not the authority that made this join token.")
        await self._keep(key, answer)

    async def _root(self, join: JoinToken) -> str:
        """The root that the token names, from whoever has it: over HTTPS it is what we believe the authority by from here on."""
        text = await self._get("/root.pem", False)
        if x509.fingerprint(x509.read(text)) != join.root:
            raise Forbidden(f"{self._url} is not the authority that made this join token.")
        return text.decode()

    async def check(self, party: str | None = None) -> None:
        """Raises ``Invalid`` when there is no certificate here, or one that is not ours (not the ``party``'s) to use now."""
        certificate, _ = await self._present()
        if party is not None and x509.party_of(certificate) != party:
            raise Invalid(f"The certificate in {self.directory} is of {x509.party_of(certificate)}, not of {party}: enrol this host.")
        if certificate.not_valid_after_utc < self.world.now():
            raise Invalid(f"The certificate in {self.directory} expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M}Z: enrol again.")

    async def run(self) -> None:
        """Look for ever; what fails is tried again."""
        while True:
            again = LOOK_SECONDS[1]
            try:
                await self.look()
            except Error as error:
                logger.warning("certificate.not_kept", directory=str(self.directory), reason=error.message, detail=error.detail)
                again = AGAIN_SECONDS
            await self._rest(min(again, await self._pause()))

    def look_now(self) -> None:
        """Let ``run`` not wait any longer."""
        self._asked.set()

    async def _rest(self, seconds: float) -> None:
        waits = {asyncio.create_task(self.world.sleep(seconds)), asyncio.create_task(self._asked.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        self._asked.clear()

    async def look(self) -> None:
        """Renew when it is time, and fetch who was revoked."""
        if await self.is_due():
            await self.renew()
            await self._changed()
        await self.fetch_revoked()
        await self._changed()

    async def _pause(self) -> float:
        """Seconds: a while, and less when our certificate is due before."""
        least, most = LOOK_SECONDS
        left = (self._due(await self._present()) - self.world.now()).total_seconds()
        return max(least, min(most * self.world.random.uniform(0.8, 1.2), left))

    async def is_due(self) -> bool:
        return self.world.now() >= self._due(await self._present())

    def _due(self, present: tuple[cryptography_x509.Certificate, x509.Key]) -> datetime:
        begin, end = present[0].not_valid_before_utc, present[0].not_valid_after_utc
        return begin + (end - begin) * x509.RENEW_AT

    async def renew(self) -> None:
        """A new key, and a certificate for it. Raises ``Forbidden``, ``Unavailable``."""
        certificate, old = await self._present()
        key = x509.new_key()
        request = x509.make_request(key, x509.party_of(certificate))
        proof = base64.b64encode(old.sign(request, ec.ECDSA(x509.SHA256))).decode()
        tls = await self._trusted()
        answer = await self._ask(
            "/renew", {"certificate": x509.pem(certificate).decode(), "request": request.decode(), "proof": proof}, tls
        )
        known = await asyncio.to_thread((self.directory / ROOT).read_bytes)
        if answer["root"].encode() != known:
            raise Forbidden(f"{self._url} is not the authority of the certificate in {self.directory}.")
        await self._keep(key, answer)
        logger.info("certificate.renewed", party=x509.party_of(certificate))

    async def fetch_revoked(self) -> None:
        text = await self._get("/revoked.pem", await self._trusted())
        await asyncio.to_thread(self._write_revoked, text)

    def _write_revoked(self, text: bytes) -> None:
        """Take the list when the chain of our own certificate signed it. Blocks."""
        issuing = cryptography_x509.load_pem_x509_certificates((self.directory / IDENTITY).read_bytes())[1].public_key()
        assert isinstance(issuing, ec.EllipticCurvePublicKey)
        if not any(each.is_signature_valid(issuing) for each in x509.read_revocations(text)):
            raise Forbidden(f"The list of revoked certificates from {self._url} is not signed by our authority.")
        files.write(self.directory / REVOKED, text)

    async def _present(self) -> tuple[cryptography_x509.Certificate, x509.Key]:
        try:
            text = await asyncio.to_thread((self.directory / IDENTITY).read_bytes)
        except FileNotFoundError:
            raise Invalid(f"There is no certificate in {self.directory}: enrol this host (nova-async enrol).") from None
        return x509.read(text), x509.read_key(text)

    async def _keep(self, key: x509.Key, answer: dict[str, str]) -> None:
        await asyncio.to_thread(write_identity, self.directory, key, answer["certificate"].encode(), answer["root"].encode())

    async def _trusted(self) -> ssl.SSLContext | bool:
        return await asyncio.to_thread(trusting, self.directory / ROOT)

    async def _get(self, path: str, tls: ssl.SSLContext | bool) -> bytes:
        async with aiohttp.ClientSession(timeout=SECONDS) as session:
            try:
                async with session.get(self._url + path, ssl=tls, allow_redirects=False) as response:
                    text = await _bounded(response.content)
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Unavailable(f"{self._url} does not answer.", detail=plain(error)) from None
        if response.status != 200:
            raise Unavailable(f"{self._url} answered {response.status}.")
        return text

    async def _ask(self, path: str, body: dict[str, str], tls: ssl.SSLContext | bool) -> dict[str, str]:
        async with aiohttp.ClientSession(timeout=SECONDS) as session:
            try:
                async with session.post(self._url + path, json=body, ssl=tls, allow_redirects=False) as response:
                    answer: Any = await response.json()
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                raise Unavailable(f"{self._url} does not answer.", detail=plain(error)) from None
        if response.status == 200:
            return {name: str(answer[name]) for name in ("certificate", "root")}
        message = str(answer.get("error", {}).get("message", response.reason))
        raise Unavailable(message) if response.status >= 500 else Forbidden(message)


def _believing(root: str) -> ssl.SSLContext:
    """What the system trusts, and this root. Blocks."""
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=root)
    return context


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    text = bytearray()
    async for part in content.iter_any():
        text += part
        if len(text) > ANSWER_LIMIT:
            raise Unavailable("The certificate authority said more than it should.")
    return bytes(text)


def write_identity(directory: Path, key: x509.Key, chain: bytes, root: bytes) -> None:
    """All files of a certificate. Blocks."""
    files.folder(directory)
    files.write_key(directory / IDENTITY, x509.key_pem(key) + chain)
    files.write(directory / ROOT, root)
    for role in ("server", "client"):
        files.write_key(directory / f"{role}-key.pem", x509.key_pem(key))
        files.write(directory / f"{role}-cert.pem", chain)
