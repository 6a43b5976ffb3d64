"""Records on disk: one file for each thing, written before anything is made."""

import os
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from nova_async import log

T = TypeVar("T", bound=msgspec.Struct)
logger = log.get("plugging")


class Files(Generic[T]):
    """The files of one kind under ``folder``, by name. Small and local: read once at start. All methods block."""

    def __init__(self, folder: Path, kind: type[T]) -> None:
        self.folder, self.kind = folder, kind

    def load(self) -> dict[str, T]:
        """A file that cannot be read is set aside: one bad record must not keep a worker from starting."""
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # dnsmasq keeps open files there
        self.folder.mkdir(exist_ok=True)
        found: dict[str, T] = {}
        for file in sorted(self.folder.glob("*.json")):
            try:
                found[file.stem] = msgspec.json.decode(file.read_bytes(), type=self.kind)
            except msgspec.MsgspecError as error:
                logger.error("record.unreadable", file=file.name, error=str(error))
                self.set_aside(file.stem)
        return found

    def set_aside(self, name: str) -> None:
        """Where an operator finds it, and nobody reads it again."""
        self._file(name).rename(self._file(name).with_suffix(".unreadable"))

    def put(self, name: str, thing: T) -> None:
        fresh = self._file(name).with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(thing))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._file(name))

    def remove(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"
