"""Certificates of an authority without a database, for tests of those who use them."""

from datetime import timedelta
from pathlib import Path

from nova_async.certs import REVOKED, x509
from nova_async.certs.authority import load_or_make
from nova_async.certs.identity import Identity
from nova_async.certs.keeper import write_identity
from nova_async.world import RealWorld


class Parties:
    """An authority in ``folder``, and a directory for each party beside it."""

    def __init__(self, folder: Path, world: RealWorld) -> None:
        self.folder, self.world = folder, world
        folder.mkdir(parents=True, exist_ok=True)
        self.root, self.issuing, *_ = load_or_make(folder / "authority", world)

    def write(self, party: str, names: tuple[str, ...] = (), *, seconds: float = 3600) -> Path:
        """The directory of a fresh certificate."""
        key = x509.new_key()
        made = x509.sign(self.issuing, key.public_key(), party, names, self.world.now(), timedelta(seconds=seconds))
        directory = self.folder / party
        write_identity(directory, key, x509.pem(made) + x509.pem(self.issuing.certificate), x509.pem(self.root.certificate))
        return directory

    async def identity(self, party: str, names: tuple[str, ...] = (), *, seconds: float = 3600) -> Identity:
        return await Identity.open(self.write(party, names, seconds=seconds))

    def revoke(self, party: str, at: str) -> None:
        """Put the certificate of ``party`` on the list that ``at`` has."""
        serial = x509.read((self.folder / party / "identity.pem").read_bytes()).serial_number
        now = self.world.now()
        lists = x509.sign_revocations(self.issuing, [(serial, now)], now) + x509.sign_revocations(self.root, [], now)
        (self.folder / at / REVOKED).write_bytes(lists)
