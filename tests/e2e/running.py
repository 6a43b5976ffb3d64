"""A whole cloud as its users have it: ``nova-async up`` as a process of its own, reached by HTTP and by real commands."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Any

import aiohttp
import msgspec
import yaml

from nova_async.db.embedded import EmbeddedPostgres
from nova_async.world import RealWorld

BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).parents[2]
READY_SECONDS = 60
STOP_SECONDS = 30
MEMBER, ADMIN = "nova-async", "nova-async-admin"
MARK = "---told---"
NOBODY = 65534
UNLIMITED = {f"NOVA_ASYNC_QUOTA_{name}": "-1" for name in ("INSTANCES", "CORES", "RAM")}


class Answer(msgspec.Struct):
    """What came back; ``body`` is the decoded JSON, or None."""

    status: int
    text: str
    body: Any
    headers: dict[str, str]


class User:
    """Somebody who logged in. Give it a path below the cloud's address: ``/compute/v2.1/servers``."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str, project: str) -> None:
        self.session, self.url, self.token, self.project = session, url, token, project

    async def try_to(self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, **options: Any) -> Answer:
        """Whatever the answer is."""
        headers = {"X-Auth-Token": self.token, "OpenStack-API-Version": "compute 2.104", "Accept": "application/json"} | (headers or {})
        if body is not None:
            options["json"] = body
        async with self.session.request(method, self.url + path, headers=headers, **options) as response:
            text = await response.text(errors="replace")
            return Answer(response.status, text, _decoded(text), dict(response.headers))

    async def ask(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The body of a good answer; any other fails the test."""
        answer = await self.try_to(method, path, body, **options)
        assert answer.status < 300, (method, path, body, answer)
        return answer.body

    async def get(self, path: str) -> Any:
        return await self.ask("GET", path)

    async def boot(self, name: str, **fields: Any) -> str:
        """The id of an accepted server; without a network unless told."""
        images = (await self.get("/image/v2/images"))["images"]
        server = {"name": name, "imageRef": images[0]["id"], "flavorRef": "1", "networks": "none"} | fields
        return str((await self.ask("POST", "/compute/v2.1/servers", {"server": server}))["server"]["id"])

    async def act(self, server: str, action: str, argument: Any = None) -> Any:
        return await self.ask("POST", f"/compute/v2.1/servers/{server}/action", {action: argument})

    async def server(self, server: str) -> dict[str, Any] | None:
        """The server, or None when it is gone."""
        answer = await self.try_to("GET", f"/compute/v2.1/servers/{server}")
        assert answer.status in (200, 404), answer
        return answer.body["server"] if answer.status == 200 else None  # type: ignore[no-any-return]

    async def until(self, server: str, status: str, seconds: float = 30.0) -> dict[str, Any]:
        """Wait until the server has this status and no operation is open on it; ``GONE`` until it is not there."""
        end = time.monotonic() + seconds
        while True:
            found = await self.server(server)
            if found is None and status == "GONE":
                return {}
            assert found is not None, f"{server} is gone"
            if found["status"] == status and found["OS-EXT-STS:task_state"] is None:
                return found
            assert found["status"] != "ERROR" or status == "GONE", found.get("fault")
            assert time.monotonic() < end, f"{found['status']} ({found['OS-EXT-STS:task_state']}) instead of {status} after {seconds} s"
            await asyncio.sleep(0.05)

    async def settled(self, servers: list[str], seconds: float = 30.0) -> dict[str, dict[str, Any] | None]:
        """Wait until no operation is open on any of these."""
        end = time.monotonic() + seconds
        while True:
            found = {server: await self.server(server) for server in servers}
            open_ = {s: (row["status"], row["OS-EXT-STS:task_state"]) for s, row in found.items() if row and _unsettled(row)}
            if not open_:
                return found
            assert time.monotonic() < end, f"after {seconds} s still {open_}"
            await asyncio.sleep(0.1)


class OpenStack:
    """The ``openstack`` command in its batch form: one start, many commands. Its words cannot hold blanks."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self.process, self.errors = process, errors
        self.seen = 0
        self.told: list[str] = []

    def __call__(self, command: str, *, refused: str = "", complains: str = "") -> str:
        """What the command prints. It must not complain, or (``refused``, or ``complains`` though it does it) in these words."""
        self.told.append(command)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n!echo {MARK}\n".encode())
        self.process.stdin.flush()
        printed = b""
        while not printed.endswith(f"{MARK}\n".encode()):
            line = self.process.stdout.readline()
            assert line, f"the client ended: {self._complaint()}"
            printed += line
        complaint = self._complaint()
        words = refused or complains
        assert (words in complaint) if words else not complaint, f"{command}: {complaint or 'was not refused'}"
        return printed.decode().removesuffix(f"{MARK}\n").strip()

    def show(self, command: str, *, complains: str = "") -> Any:
        """The same, of a command that can print JSON."""
        return json.loads(self(f"{command} -f json", complains=complains))

    def reaches(self, server: str, status: str) -> bool:
        """Whether the server soon has this status, and nothing is being done with it."""
        for _ in range(100):
            shown = self.show(f"server show -c status -c OS-EXT-STS:task_state {server}")
            if (shown["status"], shown["OS-EXT-STS:task_state"]) == (status, None):
                return True
        return False

    def _complaint(self) -> str:
        text = os.pread(self.errors.fileno(), 100_000, self.seen)
        self.seen += len(text)
        return text.decode(errors="replace").strip()


class RunningCloud:
    """One ``nova-async up``. ``prefix`` is put before the command (another network namespace, say)."""

    def __init__(self, state: Path, *options: str, listen: str = "", prefix: tuple[str, ...] = (), **environment: str) -> None:
        self.state = state
        self.listen = listen or f"127.0.0.1:{free_port()}"
        self.options, self.prefix, self.environment = options, prefix, environment
        self.url = f"http://{self.listen}"
        self.log = state / "nova-async.log"
        self.output = state.with_suffix(".out")
        self.process: subprocess.Popen[bytes] | None = None

    # -- the process

    def start(self, **environment: str) -> None:
        """Start it, and return once it says ``ready``."""
        self.launch(**environment)
        self.wait_for("ready ", READY_SECONDS)

    def launch(self, **environment: str) -> None:
        """Start it; ``environment`` holds for this run only."""
        command = [*self.prefix, str(BIN / "nova-async"), "up", "--state-dir", str(self.state), "--listen", self.listen, *self.options]
        own = {name: value for name, value in os.environ.items() if not name.startswith(("NOVA_ASYNC_", "OS_"))}
        self.output.write_bytes(b"")
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=own | self.environment | environment,
                cwd="/",
            )

    def wait_for(self, text: str, seconds: float) -> str:
        """The first line of its output that has the text."""
        end = time.monotonic() + seconds
        while True:
            ended = self.process is None or self.process.poll() is not None
            for line in self.output.read_text(errors="replace").splitlines():
                if text in line:
                    return line
            assert not ended, f"it ended: {self.output.read_text()}\n{self.log_text()[-3000:]}"
            assert time.monotonic() < end, f"no {text!r} in {self.output.read_text()}"
            time.sleep(0.02)

    def kill9(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def died(self, seconds: float = 20.0) -> None:
        """Wait until it has killed itself at a fault point."""
        assert self.process is not None
        assert self.process.wait(seconds) == -signal.SIGKILL

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)

    def restart(self) -> None:
        assert self.stop() == 0
        self.start()

    def remove(self) -> None:
        """End what runs and remove the state."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill9()
        if (self.state / "postgres").exists():
            with ThreadPoolExecutor(1) as thread:  # a loop of its own, whatever loop the test has
                thread.submit(lambda: asyncio.run(EmbeddedPostgres(self.state / "postgres", RealWorld()).clear())).result(timeout=60)
        shutil.rmtree(self.state, ignore_errors=True)
        self.output.unlink(missing_ok=True)

    # -- what it leaves to read

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def clouds(self) -> dict[str, Any]:
        return yaml.safe_load((self.state / "clouds.yaml").read_text())["clouds"]  # type: ignore[no-any-return]

    def passwords(self) -> list[str]:
        return [cloud["auth"]["password"] for cloud in self.clouds().values()]

    # -- its users

    @asynccontextmanager
    async def user(self, cloud: str = MEMBER) -> AsyncIterator[User]:
        """Log in over HTTP."""
        login = self.clouds()[cloud]["auth"]
        who = {"name": login["username"], "domain": {"id": login["user_domain_id"]}, "password": login["password"]}
        scope = {"project": {"name": login["project_name"], "domain": {"id": login["project_domain_id"]}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            response = await session.post(f"{self.url}/identity/v3/auth/tokens", json=body)
            assert response.status == 201, await response.text()
            token = (await response.json())["token"]
            yield User(session, self.url, response.headers["X-Subject-Token"], token["project"]["id"])

    @contextmanager
    def openstack(self, cloud: str = MEMBER, version: str = "2.104") -> Iterator["OpenStack"]:
        """The real client, started once and told command after command. Without a version it takes for each the newest that both know.

        Programs in ``bin`` beside the state come before the system's.
        """
        environment = {"OS_CLIENT_CONFIG_FILE": str(self.state / "clouds.yaml"), "OS_CLOUD": cloud}
        environment |= {"OS_COMPUTE_API_VERSION": version} if version else {}
        path = f"{self.state.parent / 'bin'}:{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"
        environment |= {"PATH": path, "HOME": str(self.state.parent), "PYTHONUNBUFFERED": "1"}
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [str(BIN / "openstack")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                cwd=self.state.parent,
            )
            try:
                yield OpenStack(process, errors)
                process.communicate(timeout=20)
            finally:
                process.kill()
                process.communicate()

    def admin(self, *words: str) -> tuple[int, str]:
        """Status and output of ``nova-async admin``."""
        return self.told("admin", *words)

    def told(self, command: str, *words: str) -> tuple[int, str]:
        """Status and output of a command that looks at a running cloud."""
        command_line = [*self.prefix, str(BIN / "nova-async"), command, "--state-dir", str(self.state), *words]
        done = subprocess.run(command_line, capture_output=True, text=True, timeout=60, cwd="/")
        return done.returncode, (done.stdout + done.stderr).strip()

    def is_consistent(self) -> None:
        """No invariant is violated, as the operator's command sees it."""
        assert self.admin("check") == (0, "all is well")

    def has_a_clean_log(self, *secrets: str, since: int = 0) -> None:
        """No crash was logged, nor any secret of ours or of the test's; ``since``: so many characters were there before."""
        text = self.log_text()[since:]
        crash = text.find("Traceback")
        assert crash < 0, text[max(0, crash - 300) :][:2500]
        assert [s for s in (*self.passwords(), *secrets) if s in text] == []


def open_to_others(folder: Path) -> list[str]:
    """What another user can read, write or list below the folder, found by trying."""
    program = "import os, sys; [print(p) for p in sys.stdin.read().split(chr(0)) if os.access(p, os.R_OK) or os.access(p, os.W_OK)]"
    paths = "\0".join(str(path) for path in [folder, *folder.rglob("*")] if not path.is_symlink())
    done = subprocess.run(
        ["/usr/bin/python3", "-c", program],
        input=paths,
        capture_output=True,
        text=True,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        check=True,
    )
    return done.stdout.splitlines()


@contextmanager
def running_cloud(*options: str, hosts: int = 3, started: bool = True, **environment: str) -> Iterator[RunningCloud]:
    """A fresh cloud with the fake driver and no first guest, removed afterwards; ``environment`` holds for every run of it."""
    with state_folder() as state:
        cloud = RunningCloud(state, "--virt", "fake", "--hosts", str(hosts), "--no-first-guest", *options, **environment)
        try:
            if started:
                cloud.start()
            yield cloud
        finally:
            cloud.remove()


@contextmanager
def state_folder() -> Iterator[Path]:
    """A short path that other accounts can pass through: there will be sockets in it, and PostgreSQL's account."""
    folder = Path(tempfile.mkdtemp(prefix="nova-e2e-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder / "state"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class RealHost:
    """A network namespace with nothing in it but a way to us: a machine for one all-in-one with real guests."""

    def __init__(self) -> None:
        number = os.getpid() % 2**14
        network = f"10.98.{number >> 6}.{(number & 63) * 4}".rpartition(".")
        self.name, self.ours = f"nae{number}", f"{network[0]}.{int(network[2]) + 1}"
        self.address = f"{network[0]}.{int(network[2]) + 2}"
        self.inside = ("ip", "netns", "exec", self.name)

    def make(self) -> None:
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "addr", "add", f"{self.ours}/30", "dev", self.name)
        run("ip", "link", "set", self.name, "up")
        run("ip", "-n", self.name, "addr", "add", f"{self.address}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            run("ip", "-n", self.name, "link", "set", device, "up")

    def remove(self) -> None:
        """Whatever still runs there ends: libvirtd, guests, DHCP servers."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.processes(""):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            end = time.monotonic() + 5
            while self.processes("") and time.monotonic() < end:
                time.sleep(0.1)
        with contextlib.suppress(subprocess.CalledProcessError):  # it was not made
            run("ip", "link", "del", self.name)  # at once: the kernel takes a namespace apart later, and its links with it
        run("ip", "netns", "del", self.name)

    def processes(self, program: str) -> list[int]:
        """Those in the namespace whose program's name has this in it."""
        found = []
        for pid in run("ip", "netns", "pids", self.name).split():
            try:
                name = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
            except OSError:
                continue
            if name and program in Path(name).name:
                found.append(int(pid))
        return found

    def links(self) -> list[str]:
        """Network devices that the namespace was not born with."""
        names = [line.split()[0].partition("@")[0] for line in run("ip", "-n", self.name, "-br", "link").splitlines()]
        return [name for name in names if name not in ("lo", "eth0")]

    def rules(self) -> str:
        return run(*self.inside, "nft", "list", "ruleset")


@contextmanager
def real_cloud(test_guest: Path, *options: str, **environment: str) -> Iterator[tuple[RunningCloud, RealHost]]:
    """A cloud with real guests, in a network namespace; not started yet. Nothing is left of it afterwards."""
    host = RealHost()
    try:
        host.make()
        with state_folder() as state:
            shutil.copytree(test_guest, state / "testguest", ignore=shutil.ignore_patterns(".*", "lock"))
            cloud = RunningCloud(state, *options, listen=f"{host.address}:8774", prefix=host.inside, **environment)
            try:
                yield cloud, host
            finally:
                cloud.remove()
    finally:
        host.remove()


def run(*command: str) -> str:
    """What a command prints; it must succeed."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(holds: Callable[[], Any], seconds: float, what: str) -> Any:
    """Look again and again; the first truthy result (awaited if need be)."""
    end = time.monotonic() + seconds
    while True:
        found = holds()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        await asyncio.sleep(0.1)


def _unsettled(row: dict[str, Any]) -> bool:
    return row["OS-EXT-STS:task_state"] is not None or row["status"] not in ("ACTIVE", "ERROR", "SHUTOFF", "PAUSED", "SUSPENDED")


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
