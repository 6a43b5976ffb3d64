"""How other hosts reach volumes that are files of this machine: for each attachment a process that hands out one file over NBD.

It talks TLS alone, and to one host alone: to the one whose certificate of the cloud's authority names it, or, where that host has
none, to whoever holds the attachment's secret. Rows say which there are; ``run`` makes the processes follow the rows, whoever died.
"""

import asyncio
import datetime
import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec

from nova_async import log
from nova_async.certs import IDENTITY, REVOKED, files, x509
from nova_async.certs.authority import Authority
from nova_async.config import Config
from nova_async.db import Database
from nova_async.db import volumes as rows
from nova_async.db.volumes import AttachmentRow, ExportRow, VolumeRow
from nova_async.errors import Conflict, Error, NoCapacity, Unavailable
from nova_async.services.volume import copies
from nova_async.services.volume.store import GIB, VolumeStore
from nova_async.storage_daemons import LOOK_SECONDS, MONITOR, StorageDaemons, option
from nova_async.world import World

PARTY = "volumes"  # in our certificate
CONNECTIONS = 16  # at once to one export: its host's own, and strangers that have not got through TLS
RENEW_AT = 2 / 3  # of our certificate's life
REVOKED_FRESH = datetime.timedelta(days=x509.CRL_DAYS / 2)  # how old the list of revoked certificates may get
ADDRESS_TAKEN = "Address already in use"
logger = log.get("volume.exports")


class Exports:
    """``exporter``: this machine's name in the rows. ``authority`` None: hosts' certificates are not known here."""

    def __init__(
        self, database: Database, config: Config, world: World, store: VolumeStore, exporter: str, authority: Authority | None
    ) -> None:
        self._database, self._world, self._store, self._authority = database, world, store, authority
        self.exporter = exporter
        self._address = config.volume.export_address or config.own_address
        self._ports = range(config.volume.export_ports[0], config.volume.export_ports[1] + 1)
        self.daemons = StorageDaemons(config.state / "exports", world)
        self._own = config.state / "exports" / "own"

    async def open(self, attachment: AttachmentRow, volume: VolumeRow) -> ExportRow:
        """The way for the host in the attachment's connector; safe to repeat.

        Raises ``NoCapacity`` when all ports are taken, ``Unavailable`` while the file's machine does not hand it out.
        """
        assert attachment.connector is not None
        async with self._database.connection() as conn:
            known = await rows.exports(conn, attachments=[attachment.id])
        if known:
            if known[0].exporter == self.exporter:
                await self._serve(known[0])
            return known[0]
        peer = str(attachment.connector.get("host", ""))
        party = attachment.connector.get("party") if self._authority else None
        for port in self._ports:
            row = ExportRow(
                attachment_id=attachment.id,
                volume_id=attachment.volume_id,
                exporter=self.exporter,
                address=self._address,
                port=port,
                peer=peer,
                party=str(party) if party else None,
                size=volume.size,
                secret=attachment.secret,
                mode=attachment.mode,
                moving=attachment.moving,
                volume_size=volume.size,
                encrypted=volume.encrypted,
            )
            async with self._database.connection() as conn:
                if not await rows.insert_export(conn, row):
                    if known := await rows.exports(conn, attachments=[attachment.id]):
                        return known[0]  # somebody else was asked at the same time
                    continue
            try:
                await self._serve(row)
            except Unavailable as error:
                await self.close(row.attachment_id)
                if ADDRESS_TAKEN not in (error.detail or ""):
                    raise
                continue
            return row
        raise NoCapacity("The volume service can hand out no more volumes to other hosts; see volume.export_ports.")

    async def end_unwanted(self, attachment_id: str) -> None:
        """End the process if its row is gone. One on another machine ends with that machine's next look."""
        if attachment_id in await self.daemons.names():
            async with self._database.connection() as conn:
                wanted = await rows.exports(conn, attachments=[attachment_id])
            if not wanted:
                await self.daemons.remove(attachment_id)

    async def close(self, attachment_id: str) -> None:
        """Safe to repeat."""
        async with self._database.connection() as conn:
            await rows.delete_export(conn, attachment_id)
        await self.daemons.remove(attachment_id)

    async def grown(self, volume_id: str) -> None:
        """Show the new size of a volume, whose file has grown, to all hosts."""
        async with self._database.connection() as conn:
            found = await rows.exports(conn, volumes=[volume_id])
            for row in found:
                await rows.resize_export(conn, row.attachment_id, row.volume_size)
        for row in found:
            if row.exporter == self.exporter:
                await self._serve(msgspec.structs.replace(row, size=row.volume_size))
        if any(row.exporter != self.exporter for row in found):
            await self._world.sleep(2 * LOOK_SECONDS)  # their machine has looked at its rows by then

    async def copy(self, volume: VolumeRow, target: Path) -> bool:
        """Write a volume that a guest of another host has to a file that is there, as it is at this moment, while the guest goes on.

        False when that is not the one way in which anybody has it open here. Raises ``Unavailable``: the copy is to be begun anew.
        """
        async with self._database.connection() as conn:
            found = await rows.exports(conn, volumes=[volume.id])
        if len(volume.attachments) != 1 or len(found) != 1 or found[0].exporter != self.exporter:
            return False
        await copies.copy(self.daemons, found[0].attachment_id, "disk", target, self._world)
        return True

    async def run(self) -> None:
        """Make the processes of this machine follow the rows until cancelled."""
        while True:
            try:
                await self.look()
            except Error as error:
                logger.warning("volume.exports_not_looked_at", error=error.message, detail=error.detail)
            await self.daemons.next_look()

    async def look(self) -> None:
        """Processes are listed first, so that none is ended whose row is only being made."""
        names = await self.daemons.names()
        async with self._database.connection() as conn:
            wanted = {row.attachment_id: row for row in await rows.exports(conn, self.exporter)}
        for name in names - wanted.keys():
            logger.info("volume.export_reaped", attachment=name)
            await self.daemons.remove(name)
        shown = await self._certificate() if any(row.party for row in wanted.values()) else None
        for row in wanted.values():
            try:
                await self._serve(row, shown)
            except Error as error:
                logger.warning("volume.export_down", attachment=row.attachment_id, error=error.message, detail=error.detail)

    def shut(self) -> None:
        """What is handed out stays so."""
        self.daemons.close()

    async def _serve(self, row: ExportRow, certificate: dict[str, bytes] | None = None) -> None:
        """Have the process run as the row says. Raises ``Conflict`` when the row has gone since it was read.

        ``certificate``: what ``_certificate`` gave a moment ago.
        """
        folder = option(self.daemons.folder / row.attachment_id)
        if row.party:
            shown = certificate or await self._certificate()
            name = option(f"O={x509.ORGANIZATION},CN={row.party}")
            arguments = ["--object", f"tls-creds-x509,id=tls,endpoint=server,dir={folder},verify-peer=yes"]
            arguments += ["--object", f"authz-simple,id=peer,identity={name}"]
            allowed = ",tls-authz=peer"
        else:
            shown = {"keys.psk": f"{row.attachment_id}:{shared_key(row.secret)}\n".encode()}
            arguments, allowed = ["--object", f"tls-creds-psk,id=tls,endpoint=server,dir={folder}"], ""
        path, fixed = option(self._store.path(row.volume_id)), row.mode == "ro"
        locking = "off" if row.moving else "auto"  # the host that the server moves from has the file open still
        size = row.size * GIB + (await self._store.header(row.volume_id) if row.encrypted else 0)
        disk = f"driver=raw,node-name=disk,size={size},discard=unmap,file.driver=file,file.filename={path}"
        disk += f",file.discard=unmap,file.locking={locking},read-only={'on' if fixed else 'off'}"
        where = f"addr.type=inet,addr.host={option(row.address)},addr.port={row.port}"
        arguments += [*MONITOR, "--blockdev", disk]
        arguments += ["--nbd-server", f"{where},tls-creds=tls,max-connections={CONNECTIONS}{allowed}"]
        arguments += ["--export", f"type=nbd,id=export,node-name=disk,name={row.attachment_id},writable={'off' if fixed else 'on'}"]
        if await self.daemons.ensure(row.attachment_id, arguments, shown):
            await self._check_wanted(row)

    async def _check_wanted(self, row: ExportRow) -> None:
        async with self._database.connection() as conn:
            if await rows.exports(conn, attachments=[row.attachment_id]):
                return
        await self.daemons.remove(row.attachment_id)
        raise Conflict("The attachment is gone.")

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
