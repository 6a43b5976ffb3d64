"""File work in threads of its own, so that a slow disk holds up neither the event loop nor libvirt."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar

from nova_async.errors import Error, Invalid, NoCapacity

T = TypeVar("T")

THREADS = 4
CHUNK = 2**20
IDENTIFIER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class FileThreads:
    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="virt-files")

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Raises ``NoCapacity`` when the disk is full, ``Error`` when it fails otherwise."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        except OSError as error:
            if error.errno in (28, 122):  # ENOSPC, EDQUOT
                raise NoCapacity("The host's disk is full.", detail=str(error)) from None
            raise Error("The host could not read or write its files.", detail=str(error)) from None

    async def chunks(self, path: Path) -> AsyncIterator[bytes]:
        """A file's content in pieces of 1 MiB."""
        file: BinaryIO = await self.run(lambda: path.open("rb"))
        try:
            while data := await self.run(file.read, CHUNK):
                yield data
        finally:
            file.close()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def named(folder: Path, instance_id: str) -> Path:
    """A server's own folder. Raises ``Invalid`` when the id could lead elsewhere."""
    if not IDENTIFIER.fullmatch(instance_id):
        raise Invalid(f"{instance_id!r} is not the id of a server.")
    return folder / instance_id


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it, following no links. Succeeds when there is none."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        if folder.exists():
            remove_tree(folder)  # something in it went away by itself
