"""The host's side of volumes that another machine hands out: for each a process between that machine and the guest.

To the other machine it talks NBD over TLS, to QEMU over a socket in the file system. It waits where QEMU would fail: when the other
machine restarts, what the guest reads and writes meanwhile is done later. It shows the host's present certificate, or
the attachment's secret where the host has none; QEMU itself would keep the certificate that it was started with until that expires.
"""

import os
from pathlib import Path
from typing import Any

from nova_async import log
from nova_async.certs import IDENTITY, ROOT, x509
from nova_async.errors import Error, Unavailable
from nova_async.storage_daemons import StorageDaemons, option
from nova_async.virt.libvirt.files import FileThreads
from nova_async.world import World

WAIT_SECONDS = 900  # for the other machine; then the guest stands still until that is back
QEMU_CONNECTIONS = 4
GUEST, SOCKET, CERTIFICATE = "guest", "socket", "client-cert.pem"
YOUNG_SECONDS = 120.0  # the disk may only be about to be plugged
logger = log.get("virt.bridges")


class Bridges:
    """``certificates``: the folder of the host's own certificate, if it has one."""

    def __init__(self, folder: Path, world: World, files: FileThreads, certificates: Path | None) -> None:
        self._daemons = StorageDaemons(folder, world)
        self._files, self._certificates = files, certificates
        self.owner = (os.geteuid(), os.getegid())  # as whom QEMU runs, and so who must have the sockets

    async def open(self, instance_id: str, attachment_id: str, data: dict[str, Any], *, anew: bool = False) -> Path:
        """The socket at which QEMU finds the volume. Safe to repeat; ``anew``: so that it shows the volume's new size.

        ``data``: as the volume service told it (address, port, name, and a key where no certificate counts). Raises ``Unavailable``.
        """
        own = self._daemons.folder / attachment_id
        if key := data.get("key"):
            tls = f"tls-creds-psk,id=tls,endpoint=client,dir={option(own)},username={data['name']}"
            shown = {"keys.psk": f"{data['name']}:{key}\n".encode()}
        else:
            tls = f"tls-creds-x509,id=tls,endpoint=client,dir={option(own)},verify-peer=yes"
            shown = await self._certificate()
        fixed = data.get("access_mode") == "ro"
        disk = f"driver=nbd,node-name=disk,server.type=inet,server.host={option(data['address'])},server.port={int(data['port'])}"
        disk += f",export={option(data['name'])},tls-creds=tls,reconnect-delay={WAIT_SECONDS},discard=unmap"
        arguments = ["--object", tls, "--blockdev", f"{disk},read-only={'on' if fixed else 'off'}"]
        arguments += ["--nbd-server", f"addr.type=unix,addr.path={option(own / SOCKET)},max-connections={QEMU_CONNECTIONS}"]
        arguments += ["--export", f"type=nbd,id=export,node-name=disk,name={data['name']},writable={'off' if fixed else 'on'}"]
        await self._daemons.ensure(attachment_id, arguments, shown | {GUEST: instance_id.encode()}, anew=anew)
        await self._files.run(_give, own / SOCKET, self.owner)
        return own / SOCKET

    async def close(self, attachment_id: str) -> None:
        """Safe to repeat; one that there is not is no error."""
        if attachment_id in await self._daemons.names():
            await self._daemons.remove(attachment_id)

    async def close_all(self, instance_id: str) -> None:
        """Those of a guest that is gone."""
        for name in await self._daemons.names():
            if await self.guest_of(name) == instance_id:
                await self._daemons.remove(name)

    async def guest_of(self, attachment_id: str) -> str:
        return await self._files.run(_text, self._daemons.folder / attachment_id / GUEST)

    async def unused(self, used: set[str]) -> list[str]:
        """Those that are none of ``used``, and old enough not to be part of an operation that is only beginning."""
        others = (await self._daemons.names()) - used
        return [name for name in others if await self._daemons.age(name) > YOUNG_SECONDS]

    async def keep(self) -> None:
        """Bring back those that died, with the certificate that the host has now."""
        await self._daemons.bring_back()
        names = await self._daemons.names()
        shown = await self._certificate() if names and self._certificates is not None else {}
        for name in names:
            try:
                if shown:
                    await self._renew(name, shown)
                await self._files.run(_give, self._daemons.folder / name / SOCKET, self.owner)
            except Error as error:
                logger.warning("bridge.not_renewed", attachment=name, error=error.message, detail=error.detail)

    async def next_look(self) -> None:
        """Wait until one has died, or for a while."""
        await self._daemons.next_look()

    def shut(self) -> None:
        """The processes live on, as the guests do."""
        self._daemons.close()

    async def _renew(self, name: str, shown: dict[str, bytes]) -> None:
        kept = await self._files.run(_text, self._daemons.folder / name / CERTIFICATE)
        if kept and kept.encode() != shown[CERTIFICATE]:
            await self._daemons.again(name, shown)

    async def _certificate(self) -> dict[str, bytes]:
        """As QEMU reads it."""
        if self._certificates is None:
            raise Unavailable("The volume is handed out to the host's certificate, and the host has none: enrol it.")
        return await self._files.run(_certificate, self._certificates)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _give(socket: Path, owner: tuple[int, int]) -> None:
    try:
        found = socket.stat()
        if (found.st_uid, found.st_gid) != owner:
            os.chown(socket, *owner)
    except FileNotFoundError:
        return


def _certificate(folder: Path) -> dict[str, bytes]:
    """QEMU wants all authorities in one file."""
    identity, root = (folder / IDENTITY).read_bytes(), (folder / ROOT).read_bytes()
    own, *issuing = (x509.pem(each) for each in x509.read_all(identity))
    above = b"".join(issuing)
    return {"client-key.pem": x509.key_pem(x509.read_key(identity)), CERTIFICATE: own + above, "ca-cert.pem": root + above}
