"""How other hosts reach volumes that are files of this machine: for each attachment a process that hands out one file to one host.

Over NBD (``nbd``) or iSCSI (``iscsi``), as the row says. Rows say which processes there are; ``run`` makes them follow the rows, whoever
died.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from nova_async import log
from nova_async.certs.authority import Authority
from nova_async.config import Config
from nova_async.db import Database
from nova_async.db import volumes as rows
from nova_async.db.volumes import AttachmentRow, ExportRow, VolumeRow
from nova_async.errors import Conflict, Error, NoCapacity, Unavailable, Unsupported
from nova_async.services.volume.iscsi import IscsiServer
from nova_async.services.volume.nbd import NbdServer
from nova_async.services.volume.stores import Store
from nova_async.storage_daemons import LOOK_SECONDS, StorageDaemons
from nova_async.tgt import ADDRESS_TAKEN
from nova_async.world import World

OTHERS_SECONDS = 2 * LOOK_SECONDS  # until another machine has looked at its rows
logger = log.get("volume.exports")


class Server(Protocol):
    """What hands volumes out by one protocol."""

    def peer(self, connector: Mapping[str, Any]) -> tuple[str, str | None]:
        """Of a host, what a row keeps as its ``peer`` and ``party``. Raises ``Invalid`` for one that cannot be let in."""
        ...

    def way(self, row: ExportRow) -> tuple[str, dict[str, Any]]:
        """What the host is told, with secrets: ``driver_volume_type`` and ``data`` in Cinder's words."""
        ...

    async def shown(self, rows: Sequence[ExportRow]) -> Mapping[str, bytes]:
        """The files that all processes of these rows show who they are by."""
        ...

    async def serve(self, row: ExportRow, shown: Mapping[str, bytes]) -> bool:
        """Have the process run as the row says; whether it had to be started. Raises ``Unsupported``, ``Unavailable``."""
        ...

    async def copy(self, row: ExportRow, volume: VolumeRow, target: Path) -> bool:
        """See ``Exports.copy``."""
        ...


class Exports:
    """``exporter``: this machine's name in the rows. ``authority`` None: hosts' certificates are not known here."""

    def __init__(
        self,
        database: Database,
        config: Config,
        world: World,
        store: Store,
        daemons: StorageDaemons,
        exporter: str,
        authority: Authority | None,
    ) -> None:
        self._database, self._world, self._store, self.daemons = database, world, store, daemons
        self.exporter, self._protocol = exporter, config.volume.protocol
        self._address = config.volume.export_address or config.own_address
        self._ports = range(config.volume.export_ports[0], config.volume.export_ports[1] + 1)
        self._servers: dict[str, Server] = {
            "nbd": NbdServer(config, world, store, daemons, authority),
            "iscsi": IscsiServer(store, daemons),
        }

    def way(self, row: ExportRow) -> tuple[str, dict[str, Any]]:
        """What the host is told, with secrets: ``driver_volume_type`` and ``data`` in Cinder's words."""
        return self._servers[row.protocol].way(row)

    async def open(self, attachment: AttachmentRow, volume: VolumeRow) -> ExportRow:
        """The way for the host in the attachment's connector; safe to repeat.

        Raises ``NoCapacity`` when all ports are taken, ``Invalid`` for a host that cannot be let in, ``Unsupported`` where a program is
        missing, ``Unavailable`` while the file's machine does not hand it out.
        """
        assert attachment.connector is not None
        async with self._database.connection() as conn:
            known = await rows.exports(conn, attachments=[attachment.id])
        if known:
            if known[0].exporter == self.exporter:
                await self._serve(known[0])
            return known[0]
        protocol, exporter, address = await self._place(volume)
        peer, party = self._servers[protocol].peer(attachment.connector)
        for port in self._ports:
            row = ExportRow(
                attachment_id=attachment.id,
                volume_id=attachment.volume_id,
                protocol=protocol,
                exporter=exporter,
                address=address,
                port=port,
                peer=peer,
                party=party,
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
            if exporter != self.exporter:
                await self._world.sleep(OTHERS_SECONDS)
                return row
            try:
                await self._serve(row)
            except (Unavailable, Unsupported) as error:
                await self.close(row.attachment_id)
                if ADDRESS_TAKEN not in (error.detail or ""):
                    raise
                continue
            return row
        raise NoCapacity("The volume service can hand out no more volumes to other hosts; see volume.export_ports.")

    async def _place(self, volume: VolumeRow) -> tuple[str, str, str]:
        """Protocol, machine and address of a new way: by QEMU, and where the others are, for a volume that needs that."""
        if await self._store.flat(volume.id):
            return self._protocol, self.exporter, self._address
        async with self._database.connection() as conn:
            found = await rows.exports(conn, volumes=[volume.id])
        return "nbd", *((found[0].exporter, found[0].address) if found else (self.exporter, self._address))

    async def end_unwanted(self, attachment_id: str, volume_id: str) -> None:
        """End the process if its row is gone, and its base (``bases.py``) after the last one of the volume.

        Those on another machine end with that machine's next look.
        """
        names = await self.daemons.names()
        for name, which in ((attachment_id, {"attachments": [attachment_id]}), (volume_id, {"volumes": [volume_id]})):
            if name in names:
                async with self._database.connection() as conn:
                    wanted = await rows.exports(conn, self.exporter, **which)
                if not wanted:
                    await self.daemons.remove(name)

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
            await self._world.sleep(OTHERS_SECONDS)

    async def copy(self, volume: VolumeRow, target: Path) -> bool:
        """Write a volume that a guest of another host has to a file that is there, as it is at this moment, while the guest goes on.

        False when that is not the one way in which anybody has it open here. Raises ``Unavailable``: the copy is to be begun anew.
        """
        async with self._database.connection() as conn:
            found = await rows.exports(conn, volumes=[volume.id])
        if len(found) != 1 or found[0].exporter != self.exporter:
            return False
        return await self._servers[found[0].protocol].copy(found[0], volume, target)

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
        for name in names - wanted.keys() - {row.volume_id for row in wanted.values()}:
            if await self.daemons.remove(name):
                logger.info("volume.export_reaped", name=name)
            else:
                await self.daemons.revive(name)  # somebody copies the volume
        of = {name: [row for row in wanted.values() if row.protocol == name] for name in self._servers}
        shown = {name: await self._servers[name].shown(of[name]) for name in self._servers}
        for row in wanted.values():
            try:
                await self._serve(row, shown[row.protocol])
            except Error as error:
                logger.warning("volume.export_down", attachment=row.attachment_id, error=error.message, detail=error.detail)

    def shut(self) -> None:
        """What is handed out stays so."""
        self.daemons.close()

    async def _serve(self, row: ExportRow, shown: Mapping[str, bytes] | None = None) -> None:
        """Have the process run as the row says. Raises ``Conflict`` when the row has gone since it was read.

        ``shown``: what the server's ``shown`` gave a moment ago.
        """
        server = self._servers[row.protocol]
        if await server.serve(row, await server.shown([row]) if shown is None else shown):
            await self._check_wanted(row)

    async def _check_wanted(self, row: ExportRow) -> None:
        async with self._database.connection() as conn:
            if await rows.exports(conn, attachments=[row.attachment_id]):
                return
        await self.daemons.remove(row.attachment_id)
        raise Conflict("The attachment is gone.")
