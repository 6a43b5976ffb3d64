"""Consoles of guests. QEMU offers them on sockets of the file system; here each is had at a port of the host while it is wanted.

So no guest listens on a network by itself, and the port of a guest that was started anew is another one. On a host that is enrolled
the port speaks TLS, whatever the console does: the host shows its certificate, and takes nobody but the application and its consoles.
"""

import asyncio
from pathlib import Path

from nova_async.certs import APPLICATION, CONSOLE
from nova_async.certs.identity import Identity, TlsServer
from nova_async.errors import Unavailable
from nova_async.model.consoles import SERIAL
from nova_async.virt.libvirt.pipes import CHUNK, both_ways

CONNECT_SECONDS = 5.0
CONNECTIONS = 16  # to one console at a time


class ConsolePorts:
    """A port for each console that was asked for, on ``address``."""

    def __init__(self, address: str, identity: Identity | None) -> None:
        self.address = address
        self._identity = identity
        self._offers: dict[tuple[str, str], Offer] = {}
        self._lock = asyncio.Lock()

    async def offer(self, instance_id: str, protocol: str, run: int, path: Path) -> int:
        """The port that leads to the socket ``path``; ``run`` tells one start of the guest from another."""
        async with self._lock:
            offer = self._offers.get((instance_id, protocol))
            if offer is None or offer.run != run:
                if offer is not None:
                    offer.close()
                offer = Offer(run, path, self._identity, alone=protocol == SERIAL)
                await offer.open(self.address)
                self._offers[instance_id, protocol] = offer
        return offer.port

    def cut(self, instance_id: str) -> None:
        """Of a guest that ended: everybody is disconnected, the ports are gone."""
        for key in [key for key in self._offers if key[0] == instance_id]:
            self._offers.pop(key).close()

    def close(self) -> None:
        for offer in self._offers.values():
            offer.close()
        self._offers.clear()


class Offer:
    """A listener, and whoever is connected to it; ``alone``: QEMU serves one at a time, which is whoever came last."""

    def __init__(self, run: int, path: Path, identity: Identity | None, *, alone: bool) -> None:
        self.run, self._alone = run, alone
        self._identity = identity
        self.port = 0
        self._path = path
        self._server: asyncio.Server | TlsServer
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self, address: str) -> None:
        try:
            if self._identity is not None:
                self._server = await self._identity.listen(address, 0, self._serve, (APPLICATION, CONSOLE), limit=CHUNK)
                self.port = self._server.port
            else:
                self._server = await asyncio.start_server(self._serve, address, 0, limit=CHUNK)
                self.port = self._server.sockets[0].getsockname()[1]
        except OSError as error:
            raise Unavailable(f"The host cannot offer consoles at {address}; see compute.console_address.", detail=str(error)) from None

    def close(self) -> None:
        self._server.close()
        self._disconnect()

    def _disconnect(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._alone:
            self._disconnect()
        if len(self._writers) >= 2 * CONNECTIONS:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                inner_reader, inner = await asyncio.open_unix_connection(str(self._path), limit=CHUNK)
        except (OSError, TimeoutError):
            self._writers.discard(writer)
            writer.transport.abort()
            return
        self._writers.add(inner)
        try:
            await both_ways((reader, writer), (inner_reader, inner))
        finally:
            self._writers -= {writer, inner}
