"""The authority: its own keys in files of one machine, what it made in the database."""

import asyncio
import fcntl
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import Certificate

from nova_async import log
from nova_async.certs import WORKER, files, tokens, x509
from nova_async.certs.x509 import Signer
from nova_async.config import Config
from nova_async.db import Connection, Database, certificates
from nova_async.db.certificates import Issued
from nova_async.errors import Forbidden, NotFound
from nova_async.world import World

KEPT = timedelta(days=90)  # how long expired certificates stay in the books
REFUSED = "The join token is unknown, used, over or for another host; `nova-async admin enrol-host HOST` prints a new one."

logger = log.get("certs")


class Accounts(Protocol):
    """Who may use the message broker."""

    async def allow(self, party: str) -> None:
        """Raises ``Unavailable``."""
        ...

    async def remove(self, party: str) -> None:
        """Also cut the party's connections. Raises ``Unavailable``."""
        ...


class Made(NamedTuple):
    """A certificate with its issuer's, in PEM, and the root."""

    chain: bytes
    root: bytes


class Authority:
    """Signs, renews and revokes. Processes of one machine may share the directory; without it there is no authority."""

    def __init__(self, config: Config, world: World, database: Database, signers: "Signers", accounts: Accounts) -> None:
        self.world, self.database, self.accounts = world, database, accounts
        self.root, self.issuing, self.former, self.users = signers
        self._lifetime = timedelta(hours=config.certs.certificate_hours)
        self._token_seconds = config.certs.join_token_seconds

    @classmethod
    async def open(cls, config: Config, world: World, database: Database, accounts: Accounts) -> Self:
        """Make root and issuing authority at the first time, and another issuing one when its time comes to an end."""
        return cls(config, world, database, await asyncio.to_thread(load_or_make, config.authority_dir, world), accounts)

    @property
    def root_pem(self) -> bytes:
        return x509.pem(self.root.certificate)

    async def allow_host(self, host: str, alternatives: Sequence[str]) -> str:
        """A join token for the host, which can be used once; its certificate will be good for these names and addresses.

        Raises ``Invalid`` for names that cannot be in a certificate.
        """
        x509.checked_party(WORKER + x509.checked_party(host))
        for name in alternatives:
            x509.check_alternative(name)
        token = tokens.new(self.world.uuid(), x509.fingerprint(self.root.certificate))
        now = self.world.now()
        expires = now + timedelta(seconds=self._token_seconds)
        public_key = token.key.public_key().public_bytes_raw()
        async with self.database.connection() as conn:
            await certificates.allow(conn, token.id, host, alternatives, public_key, expires, now)
        logger.info("certificate.host_allowed", host=host, token=token.id)
        return token.text

    async def enrol(self, host: str, token: str, request: bytes, proof: str) -> Made:
        """The host's first certificate. Raises ``Invalid``, and ``Forbidden`` when the token does not hold."""
        key = x509.read_request(request).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        async with self.database.transaction() as conn:
            leave = await certificates.leave(conn, token, self.world.now())
            if leave is None or leave.host != host or not tokens.is_proven(leave.public_key, host, request, proof):
                logger.warning("certificate.enrolment_refused", host=host, token=token[:36])
                raise Forbidden(REFUSED)
            await certificates.used(conn, token)
            made = await self._make(conn, key, WORKER + host, leave.alternatives)
            await self.accounts.allow(WORKER + host)
        logger.info("certificate.host_enrolled", host=host)
        return made

    async def renew(self, certificate: bytes, request: bytes, proof: bytes) -> Made:
        """A further certificate for who holds a good one: ``proof`` is the request signed by its key.

        Raises ``Invalid``, and ``Forbidden`` when the certificate has expired, was revoked or is not ours.
        """
        present = x509.read(certificate)
        key = x509.read_request(request).public_key()
        old = present.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        try:
            self._check_issued(present)
            assert isinstance(old, ec.EllipticCurvePublicKey)
            old.verify(proof, request, ec.ECDSA(x509.SHA256))
        except (InvalidSignature, Forbidden) as error:
            logger.warning("certificate.renewal_refused", serial=f"{present.serial_number:x}", reason=str(error) or "bad signature")
            raise Forbidden(str(error) or "The request is not signed by the key of the certificate.") from None
        party = x509.party_of(present)
        async with self.database.transaction() as conn:
            if not await certificates.holds(conn, f"{present.serial_number:x}"):
                logger.warning("certificate.renewal_refused", party=party, serial=f"{present.serial_number:x}", reason="revoked")
                raise Forbidden("The certificate was revoked; enrol the host again.")
            made = await self._make(conn, key, party, x509.alternatives_of(present))
        logger.info("certificate.renewed", party=party)
        return made

    async def issue(self, party: str, alternatives: Sequence[str], *, broker: bool = False) -> tuple[x509.Key, Made]:
        """A new key and certificate for a service of this machine, which with ``broker`` may use the broker too.

        Raises ``Invalid``, and ``Unavailable`` when the broker does not answer.
        """
        key = x509.new_key()
        async with self.database.transaction() as conn:
            made = await self._make(conn, key.public_key(), party, alternatives)
            if broker:
                await self.accounts.allow(party)
        logger.info("certificate.issued", party=party)
        return key, made

    async def revoke(self, party_or_serial: str) -> list[Issued]:
        """All certificates of a party, or one; a party without a good one loses the broker. Raises ``NotFound``."""
        now = self.world.now()
        async with self.database.transaction() as conn:
            gone = await certificates.revoke(conn, party_or_serial, now)
            if not gone:
                raise NotFound(f"No valid certificate is of {party_or_serial[:80]}.")
            for party in {each.party for each in gone}:
                if not [each for each in await certificates.valid(conn, now, party) if each.revoked_at is None]:
                    await self.accounts.remove(party)
        for each in gone:
            logger.warning("certificate.revoked", party=each.party, serial=each.serial)
        return gone

    async def holds(self, certificate: Certificate) -> bool:
        """Whether the certificate is of this authority, good now and not revoked."""
        try:
            self._check_issued(certificate)
        except Forbidden:
            return False
        async with self.database.connection() as conn:
            return await certificates.holds(conn, f"{certificate.serial_number:x}")

    async def valid(self) -> list[Issued]:
        """All certificates whose time is not over."""
        async with self.database.connection() as conn:
            return await certificates.valid(conn, self.world.now())

    async def revocations(self) -> bytes:
        """The lists of revoked certificates of both authorities, in PEM."""
        now = self.world.now()
        async with self.database.connection() as conn:
            gone = await certificates.revoked(conn, now)
        listed = [(int(each.serial, 16), each.revoked_at) for each in gone if each.revoked_at]
        return b"".join(x509.sign_revocations(issuing, listed, now) for issuing in (self.issuing, *self.former)) + (
            x509.sign_revocations(self.root, [], now)
        )

    def vouch(self, public_key: rsa.RSAPublicKey, user_id: str, now: datetime, lifetime: timedelta) -> list[Certificate]:
        """A certificate for a user of the cloud, and those above it."""
        return [x509.sign_user(self.users, public_key, user_id, now, lifetime), self.users.certificate, self.root.certificate]

    def _check_issued(self, certificate: Certificate) -> None:
        """Raises ``Forbidden`` for one that is not of this authority, or not good now."""
        issuers = [each.certificate for each in (self.issuing, *self.former) if each.certificate.subject == certificate.issuer]
        made = next((each for each in issuers if x509.is_issued(certificate, each)), self.issuing.certificate)
        x509.check_issued(certificate, made, self.world.now())

    async def _make(self, conn: Connection, key: ec.EllipticCurvePublicKey, party: str, alternatives: Sequence[str]) -> Made:
        now = self.world.now()
        certificate = x509.sign(self.issuing, key, party, alternatives, now, self._lifetime)
        await certificates.forget(conn, now - KEPT)
        await certificates.insert(conn, f"{certificate.serial_number:x}", party, alternatives, now, certificate.not_valid_after_utc)
        return Made(x509.pem(certificate) + x509.pem(self.issuing.certificate), self.root_pem)


class Signers(NamedTuple):
    """``former`` issuing authorities made certificates that may still be good; ``users`` vouches for key pairs of the API."""

    root: Signer
    issuing: Signer
    former: list[Signer]
    users: Signer


def load_or_make(directory: Path, world: World, *, anew: bool = False) -> Signers:
    """All of the authority, made where there is none, and an issuing one in the last third of its life or when it shall be another.

    Blocks; safe for several processes.
    """
    files.folder(directory)
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        now = world.now()
        root = _load(directory, "root") or _save(directory, "root", x509.make_root(now))
        issuing = _load(directory, "issuing")
        if issuing is not None and (anew or x509.is_late(issuing.certificate, now)):
            _save(directory, f"issuing-{issuing.certificate.serial_number:x}", issuing)
            issuing = None
        issuing = issuing or _save(directory, "issuing", x509.make_issuing(root, now))
        former = [_load(directory, path.stem) for path in sorted(directory.glob("issuing-*.pem"))]
        users = _load(directory, "users")
        if users is None or x509.is_late(users.certificate, now):
            users = _save(directory, "users", x509.make_issuing(root, now, "nova-async users"))
    return Signers(root, issuing, [each for each in former if each and each.certificate.not_valid_after_utc > now], users)


def _load(directory: Path, name: str) -> Signer | None:
    path = directory / f"{name}.pem"
    return Signer(x509.read(path.read_bytes()), x509.read_key((directory / f"{name}.key").read_bytes())) if path.exists() else None


def _save(directory: Path, name: str, made: Signer) -> Signer:
    files.write_key(directory / f"{name}.key", x509.key_pem(made.key))
    files.write(directory / f"{name}.pem", x509.pem(made.certificate))
    return made
