"""Guests as the fake hypervisor keeps them, and the file where they outlive its process."""

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from nova_async.model.power import PowerState
from nova_async.model.topology import Fit


class FakeGuest(msgspec.Struct, kw_only=True):
    """A guest as the fake hypervisor keeps it."""

    instance_id: str
    name: str
    hostname: str
    generation: int
    vcpus: int
    memory_mib: int
    disk_gib: int
    power_state: PowerState = PowerState.RUNNING
    saved: bool = False
    rescued: bool = False
    incoming: bool = False  # a live migration to here is under way
    moved: bool = False  # it has left
    fit: Fit | None = None
    notes: list[str] = msgspec.field(default_factory=lambda: ["boot"])
    volumes: list[str] = msgspec.field(default_factory=list)  # ids, in the order in which they came
    overlays: dict[str, list[str]] = msgspec.field(default_factory=dict)  # volume -> files laid over its own, the newest last


class Journal:
    """The state file: one line per change, rewritten when it is opened. A write returns once the line is in the file.

    Lines that arrive while one write is under way go out together in the next, so that the cost does
    not grow with the number of guests started at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="fake-journal")
        self._lines: deque[bytes] = deque()
        self._writing: asyncio.Lock = asyncio.Lock()

    async def open(self) -> dict[str, FakeGuest]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    async def write(self, line: bytes) -> None:
        self._lines.append(line)
        async with self._writing:
            if not self._lines:
                return
            text = b"".join(line + b"\n" for line in self._lines)
            self._lines.clear()
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._append, text))

    async def close(self) -> None:
        self._thread.shutdown(wait=False)

    def _append(self, text: bytes) -> None:
        with self._path.open("ab", buffering=0) as file:
            file.write(text)

    def _load(self) -> dict[str, FakeGuest]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        guests: dict[str, FakeGuest] = {}
        for line in self._path.read_bytes().splitlines() if self._path.exists() else ():
            try:
                _apply(line, guests)
            except msgspec.DecodeError:
                continue  # the last line of a process that was killed while it wrote
        fresh = self._path.with_suffix(".new")
        fresh.write_bytes(b"".join(msgspec.json.encode(guest) + b"\n" for guest in guests.values()))
        fresh.replace(self._path)
        return guests


def _apply(line: bytes, guests: dict[str, FakeGuest]) -> None:
    if line.startswith(b'{"gone"'):
        guests.pop(msgspec.json.decode(line)["gone"], None)
    else:
        guest = msgspec.json.decode(line, type=FakeGuest)
        guests[guest.instance_id] = guest
