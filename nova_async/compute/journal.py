"""What a host remembers of its commands: accepted, in progress, ended how.

A line is appended before a command is acknowledged and when it ended; lines of many commands are written together by one thread.
After a crash the worker does again what was accepted and did not end, and answers a repeated command with its outcome.
"""

import asyncio
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from nova_async.bus.messages import decode, encode
from nova_async.bus.messages.compute import Command, CommandEnded
from nova_async.errors import Invalid

Key = tuple[str, str, int]  # workflow, step, attempt
KEPT = 20_000  # outcomes remembered


class Line(msgspec.Struct, omit_defaults=True):
    """One line of the file: a command that was accepted, or how one ended."""

    host: str
    accepted: str | None = None
    ended: str | None = None


def key_of(message: Command | CommandEnded) -> Key:
    return (message.workflow_id, message.step, message.attempt)


class Journal:
    """Kept in one file for all hosts of this process. Without a path it is forgotten with the process."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._ended: OrderedDict[Key, CommandEnded] = OrderedDict()
        self._open: dict[Key, tuple[str, Command]] = {}
        self._lines: list[bytes] = []
        self._written: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "journal")
        self._descriptor: int | None = None

    async def start(self) -> None:
        """Read what an earlier run left and begin a fresh file with what still matters of it."""
        if self._path is not None:
            lines = await asyncio.get_running_loop().run_in_executor(self._thread, self._reopen, self._path)
            for line in lines:
                self._remember(line)
            self._lines += [_encoded(host, accepted=command) for host, command in self._open.values()]
            await self._flush()

    async def close(self) -> None:
        await self._flush()
        self._thread.shutdown(wait=False)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def unfinished(self, host: str) -> list[Command]:
        """Commands of this host that were accepted and did not end."""
        return [command for where, command in self._open.values() if where == host]

    def ended(self, key: Key) -> CommandEnded | None:
        return self._ended.get(key)

    async def accept(self, host: str, command: Command) -> None:
        """Returns once a crash of this process cannot lose the command."""
        self._open[key_of(command)] = (host, command)
        await self._append(host, accepted=command)

    async def end(self, host: str, outcome: CommandEnded) -> None:
        self._note_end(outcome)
        await self._append(host, ended=outcome)

    def _note_end(self, outcome: CommandEnded) -> None:
        self._open.pop(key_of(outcome), None)
        self._ended[key_of(outcome)] = outcome
        while len(self._ended) > KEPT:
            self._ended.popitem(last=False)

    def _remember(self, line: Line) -> None:
        try:
            if line.accepted and isinstance(command := decode(line.accepted.encode()), Command):
                self._open[key_of(command)] = (line.host, command)
            elif line.ended and isinstance(outcome := decode(line.ended.encode()), CommandEnded):
                self._note_end(outcome)
        except Invalid:
            return  # written by a release that knew other messages; the conductor asks again

    async def _append(self, host: str, *, accepted: Command | None = None, ended: CommandEnded | None = None) -> None:
        if self._path is not None:
            self._lines.append(_encoded(host, accepted=accepted, ended=ended))
            await self._flush()

    async def _flush(self) -> None:
        """Returns once all lines that were there are written; those who come meanwhile share the next write."""
        while self._lines or self._written is not None:
            if self._written is not None:
                behind = bool(self._lines)
                await asyncio.shield(self._written)
                if not behind:
                    return
                continue
            lines, self._lines = self._lines, []
            self._written = asyncio.get_running_loop().create_future()
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._write, b"".join(lines))
            finally:
                self._written.set_result(None)
                self._written = None

    def _write(self, data: bytes) -> None:
        if self._descriptor is not None:
            os.write(self._descriptor, data)

    def _reopen(self, path: Path) -> list[Line]:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = []
        if path.exists():
            for text in path.read_bytes().splitlines():
                try:
                    lines.append(msgspec.json.decode(text, type=Line))
                except msgspec.MsgspecError:
                    continue  # cut off by a crash: it was not acknowledged either
        fresh = path.with_suffix(".new")
        self._descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        for line in lines[-KEPT:]:
            if line.ended:
                os.write(self._descriptor, msgspec.json.encode(line) + b"\n")
        os.replace(fresh, path)
        return lines


def _encoded(host: str, *, accepted: Command | None = None, ended: CommandEnded | None = None) -> bytes:
    line = Line(host, encode(accepted).decode() if accepted else None, encode(ended).decode() if ended else None)
    return msgspec.json.encode(line) + b"\n"
