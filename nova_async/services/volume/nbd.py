"""A volume's file over NBD, to one host: to the one whose certificate of the cloud's authority names it, or, where that host has
none, to whoever holds the attachment's secret. It talks TLS alone.
"""

import asyncio
import datetime
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nova_async.certs import IDENTITY, REVOKED, files, x509
from nova_async.certs.authority import Authority
from nova_async.config import Config
from nova_async.db.volumes import ExportRow, VolumeRow
from nova_async.services.volume import copies
from nova_async.services.volume.stores import Store
from nova_async.storage_daemons import MONITOR, StorageDaemons, option
from nova_async.world import World

PARTY = "volumes"  # in our certificate
CONNECTIONS = 16  # at once to one export: its host's own, and strangers that have not got through TLS
RENEW_AT = 2 / 3  # of our certificate's life
REVOKED_FRESH = datetime.timedelta(days=x509.CRL_DAYS / 2)  # how old the list of revoked certificates may get


class NbdServer:
    """``exports.Server`` by QEMU's ``qemu-storage-daemon``. ``authority`` None: hosts' certificates are not known here."""

    def __init__(self, config: Config, world: World, store: Store, daemons: StorageDaemons, authority: Authority | None) -> None:
        self._world, self._store, self._daemons, self._authority = world, store, daemons, authority
        self._address = config.volume.export_address or config.own_address
        self._own = config.state / "exports" / "own"

    def peer(self, connector: Mapping[str, Any]) -> tuple[str, str | None]:
        party = connector.get("party") if self._authority else None
        return str(connector.get("host", "")), str(party) if party else None

    def way(self, row: ExportRow) -> tuple[str, dict[str, Any]]:
        key = {} if row.party else {"key": shared_key(row.secret)}
        return "nbd", {"address": row.address, "port": row.port, "name": row.attachment_id, **key}

    async def shown(self, rows: Sequence[ExportRow]) -> Mapping[str, bytes]:
        return await self._certificate() if any(row.party for row in rows) else {}

    async def serve(self, row: ExportRow, shown: Mapping[str, bytes]) -> bool:
        folder = option(self._daemons.folder / row.attachment_id)
        if row.party:
            name = option(f"O={x509.ORGANIZATION},CN={row.party}")
            arguments = ["--object", f"tls-creds-x509,id=tls,endpoint=server,dir={folder},verify-peer=yes"]
            arguments += ["--object", f"authz-simple,id=peer,identity={name}"]
            allowed = ",tls-authz=peer"
        else:
            shown = {"keys.psk": f"{row.attachment_id}:{shared_key(row.secret)}\n".encode()}
            arguments, allowed = ["--object", f"tls-creds-psk,id=tls,endpoint=server,dir={folder}"], ""
        fixed, shared = row.mode == "ro", row.moving  # the host that the server moves from has it open still
        disk = f"driver=raw,node-name=disk,discard=unmap,read-only={'on' if fixed else 'off'}"
        disk += "," + await self._store.node(row.volume_id, row.size, encrypted=row.encrypted, shared=shared)
        where = f"addr.type=inet,addr.host={option(row.address)},addr.port={row.port}"
        arguments += [*MONITOR, "--blockdev", disk]
        arguments += ["--nbd-server", f"{where},tls-creds=tls,max-connections={CONNECTIONS}{allowed}"]
        arguments += ["--export", f"type=nbd,id=export,node-name=disk,name={row.attachment_id},writable={'off' if fixed else 'on'}"]
        return await self._daemons.ensure(row.attachment_id, arguments, shown)

    async def copy(self, row: ExportRow, volume: VolumeRow, target: Path) -> bool:
        if len(volume.attachments) != 1:
            return False
        await copies.copy(self._daemons, row.attachment_id, "disk", target, self._world)
        return True

    async def _certificate(self) -> dict[str, bytes]:
        """Our certificate, the authority's, and who was revoked, as QEMU reads them. All processes of this machine share them."""
        assert self._authority is not None
        now, kept = self._world.now(), await asyncio.to_thread(_read, self._own)
        if kept is None or now >= kept.due:
            key, made = await self._authority.issue(PARTY, [self._address])
            await asyncio.to_thread(_write, self._own, IDENTITY, x509.key_pem(key) + made.chain)
        revoked = {int(each.serial, 16) for each in await self._authority.valid() if each.revoked_at}
        if kept is None or not revoked <= kept.revoked or now - kept.told > REVOKED_FRESH:
            await asyncio.to_thread(_write, self._own, REVOKED, await self._authority.revocations())
        kept = await asyncio.to_thread(_read, self._own)
        assert kept is not None
        issuing = b"".join(x509.pem(each.certificate) for each in (self._authority.issuing, *self._authority.former))
        authorities = self._authority.root_pem + issuing  # QEMU wants all that it is to believe in one file
        return {"server-key.pem": kept.key, "server-cert.pem": kept.chain, "ca-cert.pem": authorities, REVOKED: kept.list}


class Kept(NamedTuple):
    """What a machine has to show who it is, in PEM; ``due``: when it wants a new certificate; ``told``: how old the list is."""

    key: bytes
    chain: bytes
    list: bytes
    due: datetime.datetime
    revoked: set[int]  # serial numbers
    told: datetime.datetime


def _read(folder: Path) -> Kept | None:
    """None when there is nothing. Blocks."""
    try:
        identity, listed = (folder / IDENTITY).read_bytes(), (folder / REVOKED).read_bytes()
    except FileNotFoundError:
        return None
    chain, lists = x509.read_all(identity), x509.read_revocations(listed)
    certificate = chain[0]
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return Kept(
        key=x509.key_pem(x509.read_key(identity)),
        chain=b"".join(x509.pem(each) for each in chain),
        list=listed,
        due=certificate.not_valid_before_utc + life * RENEW_AT,
        revoked={revoked.serial_number for each in lists for revoked in each},
        told=lists[0].last_update_utc,
    )


def _write(folder: Path, name: str, data: bytes) -> None:
    files.folder(folder)
    files.write_key(folder / name, data)


def shared_key(secret: str | None) -> str:
    """What both sides of an export know that no certificate opens, in hexadecimal."""
    return hashlib.sha256(f"nova-async volume export 1 {secret or ''}".encode()).hexdigest()
