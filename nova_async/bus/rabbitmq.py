"""A private RabbitMQ node, run from Debian's binaries on its own ports: for tests and for trying things out.

Source: ``/usr/lib/rabbitmq/bin/rabbitmq-server`` reads the ``RABBITMQ_*`` environment
(https://www.rabbitmq.com/configure.html). Ports are below 32768, since a node's distribution port
that collides with an ephemeral one keeps it from starting.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from nova_async.errors import Unavailable
from nova_async.world import World

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
CONTROL = SERVER.with_name("rabbitmqctl")
START_SECONDS = 60.0
STOP_SECONDS = 20.0
TLS = """\
listeners.ssl.default = {tls_port}
ssl_options.cacertfile = {directory}/ca-cert.pem
ssl_options.certfile = {directory}/server-cert.pem
ssl_options.keyfile = {directory}/server-key.pem
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_options.depth = 2
ssl_cert_login_from = common_name
auth_mechanisms.1 = EXTERNAL
auth_mechanisms.2 = PLAIN
management.tcp.ip = 127.0.0.1
management.tcp.port = {management_port}
"""
PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
READY, NOT_LISTENING = b"Server startup complete", b"eaddrinuse"  # what the node logs; it says the first also after the second
PORT_TRIES = 3


def installed() -> bool:
    return SERVER.exists()


class RabbitServer:
    """One node with its files under ``directory``; the same ports and data from start to start.

    Belongs to no event loop: it may be started in one and stopped in another. With ``certificate``, a directory as
    ``certs.keeper`` describes, it also answers on ``tls_port``, to who has a certificate of the same authority and an account of that
    name; accounts are made on ``management_port``. No other node of this machine gets its ports as long as it lives, running or not.
    """

    def __init__(self, directory: Path, world: World, *, certificate: Path | None = None) -> None:
        self._directory = directory.absolute()
        self._world = world
        self._certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None
        self._console, self._log = self._directory / "console.log", self._directory / "node.log"
        self._logged_before = 0
        self._ports_are_known = False
        self._take_ports()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def management_url(self) -> str:
        return f"http://guest:guest@127.0.0.1:{self.management_port}"

    async def start(self) -> str:
        """Returns the AMQP URL once the node answers on all its ports, which are others when one was taken. Raises ``Unavailable``."""
        for _ in range(1 if self._ports_are_known else PORT_TRIES):
            self._process = await asyncio.to_thread(self._spawn)
            if await self._is_ready():
                self._ports_are_known = True
                return self.url
            await self.kill()
            await self._stop_port_mapper()
            if not self._ports_are_known:
                self._take_ports()
        raise Unavailable(f"RabbitMQ did not start; see {self._console} and {self._log}.")

    async def stop(self) -> None:
        """Let the node shut down, then remove its port mapper too."""
        await self._end(signal.SIGTERM)
        await self._stop_port_mapper()

    async def kill(self) -> None:
        """Pull the plug (SIGKILL); ``start`` brings it back with what it had on disk."""
        await self._end(signal.SIGKILL)
        deadline = self._world.monotonic() + STOP_SECONDS
        while await self._answers() and self._world.monotonic() < deadline:
            await self._world.sleep(0.02)

    async def control(self, *arguments: str) -> str:
        """Run ``rabbitmqctl`` on this node and return what it prints. Raises ``Unavailable`` when it fails."""
        ran = await asyncio.to_thread(self._run_control, arguments)
        if ran.returncode != 0:
            raise Unavailable("rabbitmqctl failed.", detail=f"{ran.stdout}{ran.stderr}")
        return ran.stdout

    async def _is_ready(self) -> bool:
        """False when the node has ended, does not come up in time or found one of its ports taken."""
        deadline = self._world.monotonic() + START_SECONDS
        while self._world.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                return False
            said = await asyncio.to_thread(self._logged)
            if NOT_LISTENING in said:
                return False
            if READY in said and await self._answers():
                return True
            await self._world.sleep(0.1)
        return False

    def _logged(self) -> bytes:
        """What the node has logged since it was started."""
        if not self._log.exists():
            return b""
        with open(self._log, "rb") as log:
            log.seek(self._logged_before)
            return log.read()

    async def _answers(self) -> bool:
        """Whether somebody speaks AMQP at our port."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(PROTOCOL_HEADER)
            async with asyncio.timeout(2):
                return bool(await reader.read(1))
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()

    def _take_ports(self) -> None:
        self._claims = [_claim_port(self._world) for _ in range(5)]
        self.port, self._dist_port, self._epmd_port, self.tls_port, self.management_port = (each.port for each in self._claims)

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        _signal_group(process.pid, how)
        deadline = self._world.monotonic() + STOP_SECONDS
        while process.poll() is None:
            if self._world.monotonic() > deadline:
                _signal_group(process.pid, signal.SIGKILL)
            await self._world.sleep(0.05)

    async def _stop_port_mapper(self) -> None:
        """The node starts epmd as a daemon of its own, on a port that is ours alone."""
        epmd = shutil.which("epmd")
        if epmd is not None:
            command = [epmd, "-kill"]
            await asyncio.to_thread(
                subprocess.run, command, env=self._environment(), capture_output=True, check=False, timeout=STOP_SECONDS
            )

    def _run_control(self, arguments: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
        command = [str(CONTROL), *arguments]
        return subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False, timeout=START_SECONDS)

    def _spawn(self) -> "subprocess.Popen[bytes]":
        self._write_files()
        self._logged_before = self._log.stat().st_size if self._log.exists() else 0
        with open(self._console, "ab") as console:
            return subprocess.Popen(
                [SERVER],
                cwd=self._directory,  # where a node that dies writes its dumps
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def _write_files(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        plugins, settings = "[].\n", "loopback_users = none\n"
        if self._certificate is not None:
            plugins = "[rabbitmq_auth_mechanism_ssl, rabbitmq_management].\n"
            settings += TLS.format(directory=self._certificate, tls_port=self.tls_port, management_port=self.management_port)
        (self._directory / "plugins").write_text(plugins)
        (self._directory / "rabbitmq.conf").write_text(settings)

    def _environment(self) -> dict[str, str]:
        directory = self._directory
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"nova{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": str(directory / "db"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_LOGS": str(self._log),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
        }


def _signal_group(pid: int, how: signal.Signals) -> None:
    """The server is a shell script that waits for the node: both are in the group that we made."""
    try:
        os.killpg(pid, how)
    except ProcessLookupError:
        pass


@dataclass(frozen=True)
class _Claim:
    port: int
    holder: socket.socket


def _claim_port(world: World) -> _Claim:
    """A port nobody listens on now, and no other node takes as long as the claim is held.

    The node binds it seconds later; until then, and while the node is down, a name in the abstract namespace of Unix sockets stands for
    it (unix(7): names of one network namespace, as ports are, and gone with their socket).
    """
    while True:
        port = world.random.randint(20_000, 32_000)
        holder = socket.socket(socket.AF_UNIX)
        try:
            holder.bind(f"\0nova-async-port-{port}")
            with socket.socket() as candidate:
                candidate.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
        else:
            return _Claim(port, holder)
