"""NFS shares that hold volumes as files, mounted where a volume of theirs is first wanted.

A share stays mounted: other guests may have volumes on it, and who mounted it before us may want it still. Its folder is named after it,
as Cinder and Nova name theirs, so that all of them may share one.
"""

import asyncio
import hashlib
import re
from pathlib import Path
from typing import Any

from nova_async import log, processes
from nova_async.errors import Invalid
from nova_async.virt.libvirt.files import FileThreads

MOUNT_SECONDS = 90.0
MOUNTS = Path("/proc/self/mounts")
EXPORT = re.compile(r"[^\s:-][^\s]*:/[^\s]*")  # host:/path
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
OPTIONS = re.compile(r"[A-Za-z0-9_.,=:/-]*")
FORBIDDEN = frozenset({"suid", "dev", "exec"})
SAFE = "nosuid,nodev,noexec"
logger = log.get("virt.shares")


class Shares:
    def __init__(self, folder: Path, files: FileThreads) -> None:
        self._folder, self._files = folder, files
        self._alone = asyncio.Lock()

    async def file(self, data: dict[str, Any]) -> Path:
        """A volume's file. ``data``: as Cinder tells it (export, name, options). Raises ``Invalid``, ``Unavailable``, ``Error``."""
        export, name, options = str(data.get("export")), str(data.get("name")), _options(str(data.get("options") or ""))
        if not EXPORT.fullmatch(export) or not NAME.fullmatch(name):
            raise Invalid("The volume service names no file on an NFS share.", detail=f"{export[:200]!r} {name[:200]!r}")
        folder = self._folder / hashlib.md5(export.encode(), usedforsecurity=False).hexdigest()
        async with self._alone:
            if not await self._files.run(mounted, folder):
                await self._files.run(_make, folder)
                await processes.run("mount", "-t", "nfs", "-o", options, export, str(folder), deadline=MOUNT_SECONDS)
                logger.info("share.mounted", share=export, folder=str(folder))
        return folder / name


def mounted(folder: Path) -> bool:
    """As the kernel lists it: to look at the folder itself would wait for a server that is away."""
    name = re.sub(r"[ \t\n\\]", lambda found: f"\\{ord(found[0]):03o}", str(folder))
    return any(line.split(" ")[1] == name for line in MOUNTS.read_text().splitlines())


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def _options(told: str) -> str:
    """What mount is to hear: ``-o a,b`` as shares files have it, and nothing that makes the share's files more than data."""
    words = [word for part in told.split() if part != "-o" for word in part.removeprefix("-o").split(",") if word]
    if bad := [word for word in words if word in FORBIDDEN or not OPTIONS.fullmatch(word) or word.startswith("-")]:
        raise Invalid("The volume service names options of a mount that this host does not use.", detail=f"{bad[0][:100]!r}")
    return ",".join([*words, SAFE])
