"""Encrypted volumes by iSCSI that nobody has formatted yet: Cinder leaves that to the first host which has them.

A volume that begins with zeros becomes LUKS, as Nova formats it; one that begins as LUKS is left as it is. All else is refused: it is
somebody's data. Passwords and passphrases go to QEMU's tools by a pipe and a socket, where no list of processes shows them.
"""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nova_async import log, processes
from nova_async.errors import Conflict, Error, Unavailable
from nova_async.qemu_img import LUKS_MILLISECONDS, LUKS_TRIES, UNMEASURED, Luks
from nova_async.storage_daemons import MONITOR, StorageDaemons, option
from nova_async.world import World

HEAD_BYTES = 4096  # before the first key of a LUKS volume: its header, which is written last
HEADER_BYTES = 4 * 2**20  # more than header and keys take
BEGINS = b"LUKS\xba\xbe\x00\x01"
NODE = "volume"
DUMPED = re.compile(rb"^[0-9a-f]+:  ((?:[0-9a-f]{2} ){1,16})", re.MULTILINE)  # a line of what qemu-io has read
READ_SECONDS, FORMAT_SECONDS, LOOK_SECONDS = 30.0, 100.0, 0.1
logger = log.get("virt.blanks")


class Target:
    """Where such a volume is, as Cinder's ``data`` says, to a host of this initiator's name."""

    def __init__(self, data: Mapping[str, Any], initiator: str) -> None:
        self._password = str(data["auth_password"]) if data.get("auth_method") else ""
        self._options: dict[str, Any] = {
            "driver": "iscsi",
            "transport": "tcp",
            "portal": str(data["target_portal"]),
            "target": str(data["target_iqn"]),
            "lun": int(data["target_lun"]),
            "initiator-name": initiator,
        }
        if self._password:
            self._options |= {"user": str(data["auth_username"]), "password-secret": "login"}

    def opened(self) -> list[tuple[str, dict[str, Any]]]:
        """Commands of QMP that open it."""
        node = ("blockdev-add", {"node-name": NODE, **self._options})
        return [("object-add", {"qom-type": "secret", "id": "login", "data": self._password}), node] if self._password else [node]

    async def head(self) -> bytes:
        """How it begins. Raises ``Unavailable``, also for whom the target does not let in."""
        words = ",".join(f"{name}={option(str(value))}" for name, value in self._options.items())
        login = ("--object", "secret,id=login,file=/dev/stdin") if self._password else ()
        command = ("qemu-io", "-r", *login, "--image-opts", "-c", f"read -v 0 {HEAD_BYTES}", words)
        try:
            dumped = await processes.run(*command, deadline=READ_SECONDS, told=self._password.encode())
        except Error as error:
            raise Unavailable("The volume's target does not let this host read it.", detail=error.detail) from None
        head = b"".join(bytes.fromhex(line.decode()) for line in DUMPED.findall(dumped))
        if len(head) != HEAD_BYTES:
            raise Unavailable("The volume's target does not let this host read it.", detail=dumped[-200:].decode(errors="replace"))
        return head


class Blanks:
    """``folder`` holds what is being formatted, and nothing at other times."""

    def __init__(self, folder: Path, world: World) -> None:
        self._daemons, self._world = StorageDaemons(folder, world), world

    async def open(self) -> None:
        """What a process before us was killed at is done anew when it is asked for."""
        for name in await self._daemons.names():
            await self._daemons.remove(name)

    def close(self) -> None:
        self._daemons.close()

    async def format(self, volume_id: str, place: Target, luks: Luks) -> None:
        """Safe to repeat. Raises ``Conflict`` for a volume that holds something else, ``Unavailable``, ``Error``."""
        head = await place.head()
        if head.startswith(BEGINS):
            return
        if head.strip(b"\0"):
            raise Conflict(f"Volume {volume_id} is to be encrypted, and holds what is not LUKS; it is not formatted over that.")
        try:
            await self._daemons.ensure(volume_id, MONITOR, anew=True)
            async with asyncio.timeout(FORMAT_SECONDS):
                await self._write(volume_id, place, luks)
        except TimeoutError:
            raise Unavailable(f"Volume {volume_id} could not be formatted within {FORMAT_SECONDS:.0f} s.") from None
        finally:
            await self._daemons.remove(volume_id)
        logger.info("volume.formatted", volume=volume_id)

    async def _write(self, name: str, place: Target, luks: Luks) -> None:
        key = ("object-add", {"qom-type": "secret", "id": "key", "data": luks.passphrase})
        *_, nodes = await self._daemons.ask(name, key, *place.opened(), ("query-named-block-nodes", {}))
        (size,) = [node["image"]["virtual-size"] for node in nodes if node["node-name"] == NODE]
        how = {
            "driver": "luks",
            "file": NODE,
            "size": size - HEADER_BYTES,
            "key-secret": "key",
            "cipher-alg": f"aes-{luks.bits}",
            "cipher-mode": "xts",
            "ivgen-alg": "plain64",
            "hash-alg": "sha256",
            "iter-time": LUKS_MILLISECONDS,
        }
        for left in reversed(range(LUKS_TRIES)):
            await self._daemons.ask(name, ("blockdev-create", {"job-id": "format", "options": how}))
            if not (failure := await self._outcome(name)):
                return
            if not left or UNMEASURED not in failure:
                raise Error("The volume could not be formatted.", detail=failure)

    async def _outcome(self, name: str) -> str:
        """Of the job, which is forgotten then: what went wrong, or nothing."""
        while True:
            ((job,),) = await self._daemons.ask(name, ("query-jobs", {}))
            if job["status"] == "concluded":
                await self._daemons.ask(name, ("job-dismiss", {"id": "format"}))
                return str(job.get("error", ""))
            await self._world.sleep(LOOK_SECONDS)
