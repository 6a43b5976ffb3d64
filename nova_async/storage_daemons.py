"""Processes that hand out one disk each, which outlive us as guests do: QEMU's ``qemu-storage-daemon`` over NBD, ``tgtd`` over iSCSI.

Each has a folder named after what it serves. The folder says how it is run, so that any process of this machine finds the daemon
again, and starts it again when it has died; a daemon is wanted as long as its folder is there.
"""

import asyncio
import fcntl
import json
import os
import re
import select
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from nova_async import log, tgt
from nova_async.errors import Error, Unavailable, Unsupported, plain
from nova_async.world import World

PROGRAM = "qemu-storage-daemon"
START_SECONDS = 20.0
STEP_SECONDS = 0.02  # between two looks whether it serves
END_SECONDS = 3.0  # for what is under way, before it is killed
LOOK_SECONDS = 5.0  # between two looks at all; a death is seen at once
NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ASK_SECONDS = 20.0
SAID_BYTES = 2**20  # what is kept of what one says; strangers may make it say much
SOCKET = "qmp"
RUN, PID, SAID = "run.json", "pid", "said"  # the files of a folder: how it is run, which process it is, what it said
HELD = "held"  # locked by whoever wants it to stay
P = ParamSpec("P")
T = TypeVar("T")
logger = log.get("storage_daemons")


class StorageDaemons:
    """The daemons of one folder; several processes may share it."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder, self._world = folder.absolute(), world
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="storage-daemons")
        self._watched: dict[str, int] = {}  # file descriptors of processes
        self._died = asyncio.Event()

    async def ensure(self, name: str, arguments: Sequence[str], files: Mapping[str, bytes] = {}, *, anew: bool = False) -> bool:
        """Have it run with these arguments and these files (secrets) in its folder; whether it had to be started.

        ``arguments``: of ``qemu-storage-daemon``, or the name of another of ``PROGRAMS`` and its own. ``anew``: end it first in any case.
        Raises ``Unsupported`` without the program, ``Unavailable`` when it does not start.
        """
        started = await self._run(_ensure, self.folder, _checked(name), list(arguments), dict(files), anew)
        self._watch([name])
        return started

    async def ask(self, name: str, *commands: tuple[str, dict[str, Any]]) -> list[Any]:
        """What a daemon with ``MONITOR`` among its arguments answers to commands of QMP, one after the other.

        Raises ``Unavailable`` when it does not answer, ``Error`` for what it refuses.
        """
        try:
            handle = await self._run(os.open, self.folder / _checked(name), os.O_PATH | os.O_CLOEXEC)
            async with asyncio.timeout(ASK_SECONDS):
                try:  # the name of a socket is short, however long its folder's is
                    reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{handle}/{SOCKET}", limit=2**20)
                finally:
                    os.close(handle)
                try:
                    await reader.readline()  # its greeting
                    return [await _asked(reader, writer, *each) for each in (("qmp_capabilities", {}), *commands)][1:]
                finally:
                    writer.close()
        except (OSError, EOFError, TimeoutError) as error:
            raise Unavailable("A process that hands out a volume does not answer.", detail=plain(error)) from None

    async def again(self, name: str, files: Mapping[str, bytes]) -> None:
        """With other files, and as it is run otherwise. Raises as ``ensure``."""
        await self._run(_again, self.folder, _checked(name), dict(files))
        self._watch([name])

    async def remove(self, name: str) -> bool:
        """End it, and forget it; False, and nothing is done, while somebody holds it. Safe to repeat."""
        self._forget(name)
        removed = await self._run(_remove, self.folder, _checked(name))
        if not removed:
            self._watch([name])
        return removed

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[None]:
        """No process of this machine removes it inside the block. Whoever is killed holds it no more."""
        with await self._run(_hold, self.folder, _checked(name)):
            yield

    async def while_ended(self, name: str, work: Callable[[], Coroutine[Any, Any, None]], *, unless_held: bool = False) -> None:
        """End it if it runs, do ``work`` while nobody starts it, and start it again if it is wanted. Raises as ``ensure`` and ``work``.

        ``unless_held``: raises ``Unavailable``, and nothing is done, while somebody holds it.
        """
        loop = asyncio.get_running_loop()

        def wait() -> None:
            asyncio.run_coroutine_threadsafe(work(), loop).result()

        await self._run(_while_ended, self.folder, _checked(name), wait, unless_held)
        self._watch([name])

    async def names(self) -> set[str]:
        """Of all that are wanted."""
        return await self._run(_names, self.folder)

    async def age(self, name: str) -> float:
        """Seconds since it was first wanted; 0 when it is not."""
        made = await self._run(_made, self.folder / _checked(name))
        return self._world.now().timestamp() - made if made else 0.0

    async def bring_back(self) -> None:
        """Start those that have died; what does not start is tried again at the next look."""
        for name in await self.names():
            await self.revive(name)

    async def revive(self, name: str) -> None:
        """Start it if it has died. What does not start is only logged."""
        try:
            if await self._run(_revive, self.folder, _checked(name)):
                logger.info("storage_daemon.brought_back", name=name)
        except Error as error:
            logger.warning("storage_daemon.down", name=name, error=error.message, detail=error.detail)
        self._watch([name])

    async def next_look(self) -> None:
        """Wait until one has died, or for a while."""
        try:
            async with asyncio.timeout(LOOK_SECONDS * (0.8 + 0.4 * self._world.random.random())):
                await self._died.wait()
        except TimeoutError:
            pass
        self._died.clear()

    def close(self) -> None:
        """The daemons live on."""
        for name in list(self._watched):
            self._forget(name)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _watch(self, names: "set[str] | Sequence[str]") -> None:
        loop = asyncio.get_running_loop()
        for name in names:
            if name not in self._watched and (handle := _handle(self.folder / name)) is not None:
                self._watched[name] = handle
                loop.add_reader(handle, self._ended, name)

    def _ended(self, name: str) -> None:
        self._forget(name)
        self._died.set()

    def _forget(self, name: str) -> None:
        handle = self._watched.pop(name, None)
        if handle is not None:
            asyncio.get_running_loop().remove_reader(handle)
            os.close(handle)

    async def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: function(*args, **kwargs))


def option(text: "str | Path") -> str:
    """A value in QEMU's comma-separated options."""
    return str(text).replace(",", ",,")


# Arguments that let ``ask`` reach a daemon, which runs in its folder.
MONITOR = ["--chardev", f"socket,id=monitor,path={SOCKET},server=on,wait=off", "--monitor", "chardev=monitor"]


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: str, arguments: dict[str, Any]) -> Any:
    writer.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
    await writer.drain()
    while line := await reader.readline():
        told = json.loads(line)
        if "error" in told:
            raise Error("A process that hands out a volume refuses a command.", detail=f"{command}: {told['error'].get('desc')}")
        if "return" in told:  # anything else is an event
            return told["return"]
    raise EOFError


# -- all of this blocks


def _nothing(own: Path) -> None:
    return None


def _always(own: Path) -> bool:
    return True


class Program(NamedTuple):
    """How a daemon is run in its folder.

    ``listener``: who answers there, of one that writes no pid file itself; ``serves``: whether it was told all; ``tell``: tells it.
    """

    package: str  # of Debian's
    pid_option: str
    ends_by: tuple[signal.Signals, ...]
    environment: Mapping[str, str] = {}
    listener: Callable[[Path], int | None] = _nothing
    serves: Callable[[Path], bool] = _always
    tell: Callable[[Path], None] = _nothing


PROGRAMS = {
    PROGRAM: Program("qemu-system-common", "--pidfile", (signal.SIGTERM, signal.SIGKILL)),
    # What it has acknowledged, the kernel has; and it does not listen to SIGTERM.
    tgt.PROGRAM: Program("tgt", "-p", (signal.SIGKILL,), tgt.ENVIRONMENT, tgt.listener, tgt.serves, tgt.tell),
}


def _command(own: Path, arguments: list[str]) -> tuple[list[str], Program]:
    """``arguments`` as ``ensure`` takes them."""
    words = arguments if arguments[0] in PROGRAMS else [PROGRAM, *arguments]
    program = PROGRAMS[words[0]]
    return [words[0], program.pid_option, str(own / PID), *words[1:]], program


def _ensure(folder: Path, name: str, arguments: list[str], files: dict[str, bytes], anew: bool) -> bool:
    with _locked(folder, name) as own:
        wanted = {**files, RUN: json.dumps(arguments).encode()}
        if not anew and all(_holds(own / file, data) for file, data in wanted.items()) and _runs(own, arguments):
            return False
        _end(own)  # before anything is written: what runs is always what the files say, whenever we are killed
        for file, data in wanted.items():
            _write(own / file, data)
        _start(own, arguments)
        return True


def _again(folder: Path, name: str, files: dict[str, bytes]) -> None:
    if (folder / name / RUN).exists():
        _ensure(folder, name, json.loads((folder / name / RUN).read_bytes()), files, anew=False)


def _remove(folder: Path, name: str) -> bool:
    if (folder / name).exists():
        with _locked(folder, name) as own:
            if _is_held(own):
                return False
            _end(own)
            shutil.rmtree(own)
    return True


def _hold(folder: Path, name: str) -> FileIO:
    """It is held until the file is closed."""
    with _locked(folder, name) as own:
        handle = FileIO(os.open(own / HELD, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+")
        fcntl.flock(handle, fcntl.LOCK_SH)
        return handle


def _is_held(own: Path) -> bool:
    try:
        with FileIO(own / HELD, "r+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _while_ended(folder: Path, name: str, work: Callable[[], None], unless_held: bool) -> None:
    with _locked(folder, name) as own:
        if unless_held and _is_held(own):
            raise Unavailable("The volume is being copied.")
        _end(own)
        try:
            work()
        finally:
            if (own / RUN).exists():
                _start(own, json.loads((own / RUN).read_bytes()))
            elif not _is_held(own):
                shutil.rmtree(own)


def _revive(folder: Path, name: str) -> bool:
    """Whether it had to be started."""
    if not (folder / name).exists():
        return False
    with _locked(folder, name) as own:
        try:
            arguments = json.loads((own / RUN).read_bytes())
        except FileNotFoundError:  # whoever began to make it was killed, or removed it meanwhile, or holds it and is about to start it
            if not _is_held(own):
                shutil.rmtree(own)
            return False
        if _runs(own, arguments):
            return False
        _end(own)
        _start(own, arguments)
        return True


def _runs(own: Path, arguments: list[str]) -> bool:
    """And serves what it is to serve."""
    if (own / SAID).exists() and (own / SAID).stat().st_size > SAID_BYTES:
        os.truncate(own / SAID, 0)
    return _pid(own) is not None and _command(own, arguments)[1].serves(own)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if NAME.fullmatch(path.name)} if folder.exists() else set()


def _made(own: Path) -> float | None:
    try:
        return (own / RUN).stat().st_mtime
    except FileNotFoundError:
        return None


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[Path]:
    """The folder of one, made now if need be, which no other process works on inside the block."""
    own = folder / name
    while True:
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        own.mkdir(mode=0o711, exist_ok=True)
        try:
            handle = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink == 0:  # it was removed while we waited
                continue
            yield own
            return
        finally:
            os.close(handle)


def _holds(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() == data


def _write(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
    part.rename(path)


def _start(own: Path, arguments: list[str]) -> None:
    """It serves then. Whoever is told what it serves, and cannot, is ended."""
    (own / PID).unlink(missing_ok=True)
    command, program = _command(own, arguments)
    environment = {**os.environ, **program.environment}
    if (found := shutil.which(command[0], path=environment.get("PATH"))) is None:
        raise Unsupported(f"{command[0]} is not installed; install the package {program.package}.")
    (own / SAID).unlink(missing_ok=True)
    with (own / SAID).open("ab") as said:
        process = subprocess.Popen(
            command, executable=found, cwd=own, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
    _wait(own, process, program)
    try:
        program.tell(own)
    except Unavailable:
        _end(own)
        raise


def _wait(own: Path, process: "subprocess.Popen[bytes]", program: Program) -> None:
    """Until there is its pid file, which says that it answers. Raises ``Unavailable``."""
    handle = os.pidfd_open(process.pid)
    try:
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        for _ in range(int(START_SECONDS / STEP_SECONDS)):
            if ended.poll(STEP_SECONDS * 1000):
                break
            if (pid := program.listener(own)) is not None:
                _write(own / PID, str(pid).encode())
            if _pid(own) is not None:
                return
        else:
            process.kill()
    finally:
        os.close(handle)
    process.wait()
    last = (own / SAID).read_text(errors="replace").strip().splitlines()[-1:]
    raise Unavailable("The way to the volume cannot be opened now.", detail="".join(last)[-400:] or f"no answer in {START_SECONDS} s")


def _end(own: Path) -> None:
    program = _program(own)
    if (pid := program.listener(own)) is not None:  # whoever started it was killed before it could say so
        _write(own / PID, str(pid).encode())
    handle = _handle(own)
    if handle is None:
        return
    try:
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        for number in program.ends_by:
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                return
            if ended.poll(END_SECONDS * 1000):
                return
        raise Unavailable("A process that hands out a volume cannot be ended.")
    finally:
        os.close(handle)


def _program(own: Path) -> Program:
    """What was run in the folder."""
    try:
        return _command(own, json.loads((own / RUN).read_bytes()))[1]
    except FileNotFoundError:
        return PROGRAMS[PROGRAM]


def _handle(own: Path) -> int | None:
    """A file descriptor of its process, if it lives."""
    pid = _pid(own)
    try:
        return os.pidfd_open(pid) if pid is not None else None
    except ProcessLookupError:
        return None


def _pid(own: Path) -> int | None:
    """The process that the pid file names, if it lives and is the one."""
    try:
        pid = int((own / PID).read_text())
        return pid if f"{own / PID}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes() else None
    except (OSError, ValueError):
        return None


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError("not a name of ours")
    return name
