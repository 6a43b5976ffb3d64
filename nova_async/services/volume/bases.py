"""Volumes that are qcow2 files: for each one that is handed out or copied a process of QEMU's, its base, which alone has the file open.

Two processes that both write to such a file, each with its own idea of where things are in it, destroy it. So what hands a volume out
to a host, and what copies it, talks NBD to the volume's base over a socket in the base's folder, which opens for our own user. A base is
wanted while a row says that its volume is handed out, or somebody holds it.

A guest does not learn of the death of a base, and QEMU keeps in memory where it has put what was written: so each write is on the
disk, with all that leads to it, before it is answered (``writethrough``).
"""

import json
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from nova_async import qemu_img
from nova_async.errors import Error, Unavailable
from nova_async.storage_daemons import StorageDaemons

SOCKET = "socket"
WAIT_SECONDS = 900  # for a base that has died, as hosts wait for what hands the volume out
COPY_SECONDS = 60  # the same for a copy, which may be one of somebody who was killed
OPEN_SECONDS = 10  # for one that is only being started
IN_USE = "Is another process using the image"  # QEMU, of a file that somebody else has locked


class Bases:
    """``daemons``: those that hand volumes out. A base is one more, named by its volume."""

    def __init__(self, daemons: StorageDaemons) -> None:
        self._daemons = daemons

    async def node(self, volume: str, file: Path, wait: int = WAIT_SECONDS) -> str:
        """Options of QEMU's ``raw`` driver by which another daemon opens the volume, whose base runs now. Raises ``Unavailable``.

        ``wait``: seconds, for a base that dies.
        """
        opened = {"driver": "file", "filename": str(file), "discard": "unmap", "locking": "on"}
        disk = {"driver": "qcow2", "node-name": "disk", "discard": "unmap", "backing": None, "file": opened}
        arguments = ["--blockdev", json.dumps(disk), "--nbd-server", f"addr.type=unix,addr.path={SOCKET}"]
        arguments += ["--export", f"type=nbd,id=export,node-name=disk,name={volume},writable=on,writethrough=on"]
        await self._daemons.ensure(volume, arguments)
        where = f"file.server.type=unix,file.server.path=../{volume}/{SOCKET},file.export={volume}"  # the name of a socket is short
        return f"file.driver=nbd,{where},file.discard=unmap,file.reconnect-delay={wait},file.open-timeout={OPEN_SECONDS}"

    async def copy(self, volume: str, file: Path, target: Path, target_format: str) -> None:
        """As it is read, to a new file, while guests may use it, or begin to."""
        async with self._daemons.held(volume):
            node = await self.node(volume, file, COPY_SECONDS)
            await qemu_img.convert_out_of(f"driver=raw,{node}", target, target_format, self._daemons.folder / volume)

    async def grow(self, volume: str, file: Path, size: int) -> None:
        """Let it show ``size`` bytes. A guest that has it waits for the moment in which the base is not there."""
        try:
            await self._daemons.while_ended(volume, partial(qemu_img.resize, file, size))
        except Error as error:
            if IN_USE in (error.detail or ""):
                raise Unavailable("Another machine has the volume open.", detail=error.detail) from None
            raise

    async def replace(self, volume: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """``work`` puts another file in the place of its own. Nobody goes on with the one that was there.

        Raises ``Unavailable`` while somebody copies that one.
        """
        await self._daemons.while_ended(volume, work, unless_held=True)

    async def end(self, volume: str) -> None:
        """Unless somebody copies it, who reads what he has begun to read."""
        await self._daemons.remove(volume)
