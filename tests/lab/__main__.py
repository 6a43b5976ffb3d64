"""``make lab HOSTS=2`` and ``make lab-down``: a cluster on one machine, every part its own process.

RabbitMQ, PostgreSQL, two ``nova-async serve`` behind a balancer, one process for consoles alone, and per host a network namespace with
a worker and its own libvirtd. Hosts are enrolled with certificates of the cloud's own authority, by which the broker, the consoles'
proxies and the other hosts know them; the API is answered over HTTPS. A supervisor keeps all parts: what dies is started again, as
systemd would.
"""

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from nova_async import log
from nova_async.bus.rabbitmq import RabbitServer
from nova_async.db.embedded import EmbeddedPostgres
from nova_async.world import RealWorld
from tests.lab import hosts
from tests.lab.ports import forward

STATE = Path(os.environ.get("LAB_STATE", "/var/tmp/nova-async-lab"))  # short: sockets live below it
URL = f"https://{hosts.OURS}:8774"
SERVES = (8781, 8782)
AMQPS_PORT, CONSOLE_PORT = 5671, 6080
READY_SECONDS = 240
NOVA = [sys.executable, "-m", "nova_async"]

APP = """\
state_dir = "{state}/app"
[api]
listen = "{ours}:{port}"
public_url = "{url}"
tls = true
[database]
url = "{database}"
[bus]
url = "{bus}"
management_url = "{management}"
[metadata]
shared_secret = "{secret}"
[console]
public_url = "https://{ours}:{console}"
[network]
router_failover_seconds = 15
"""
CONSOLE = """\
state_dir = "{state}/console"
[api]
public_url = "{url}"
tls = true
[database]
url = "{database}"
[bus]
url = "amqps://{ours}:{amqps}/"
tls = true
[console]
listen = "{ours}:{console}"
"""
WORKER = """\
state_dir = "{state}/{host}"
[compute]
host = "{host}"
driver = "{driver}"
consoles = ["{consoles}"]
resume_guests_on_boot = true
[bus]
url = "amqps://{ours}:{amqps}/"
tls = true
[api]
public_url = "{url}"
listen = "{address}:0"
[identity]
url = "{url}/identity"
password = "{password}"
[image]
url = "{url}/image"
[volume]
url = "{url}/volume"
[metadata]
url = "{url}/metadata"
shared_secret = "{secret}"
"""


class Lab:
    """The supervisor's side."""

    def __init__(self, count: int, driver: str, consoles: str) -> None:
        self.count, self.driver, self.consoles, self.world = count, driver, consoles, RealWorld()
        self.stopping = asyncio.Event()
        self.secret = secrets.token_urlsafe(24)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        postgres = EmbeddedPostgres(STATE / "postgres", self.world)
        rabbit = RabbitServer(STATE / "rabbitmq", self.world, certificate=STATE / "broker")
        tasks: list[asyncio.Task[None]] = []
        try:
            database = await postgres.start()
            serves = {f"serve-{p}": self._serve(p, database, rabbit) for p in SERVES}
            await self._admin("migrate")
            await self._admin("certificate", "issue", "rabbitmq", "--name", hosts.OURS, "--directory", str(STATE / "broker"))
            await rabbit.start()
            amqp = await forward((hosts.OURS, AMQPS_PORT), [("127.0.0.1", rabbit.tls_port)])
            front = await forward((hosts.OURS, 8774), [(hosts.OURS, p) for p in SERVES])
            tasks += [asyncio.create_task(self._keep(name, command)) for name, command in serves.items()]
            certs = str(STATE / "console" / "certs")
            await self._admin("certificate", "issue", "console", "--broker", "--name", hosts.OURS, "--directory", certs)
            tasks.append(asyncio.create_task(self._keep("console", self._console(database))))
            password = await self._service_password()
            workers = {hosts.name(i): self._worker(i, password) for i in range(1, self.count + 1)}
            await asyncio.gather(*(self._enrol(i) for i in range(1, self.count + 1)))
            tasks += [asyncio.create_task(self._keep(name, command)) for name, command in workers.items()]
            async with amqp, front:
                await self.stopping.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await rabbit.stop()
            await postgres.stop()

    def _serve(self, port: int, database: str, rabbit: RabbitServer) -> list[str]:
        path = STATE / f"serve-{port}.toml"
        fields = {"state": STATE, "ours": hosts.OURS, "port": port, "url": URL, "database": database, "secret": self.secret}
        path.write_text(APP.format(**fields, console=CONSOLE_PORT, bus=rabbit.url, management=rabbit.management_url))
        return [*NOVA, "serve", "--config", str(path)]

    def _console(self, database: str) -> list[str]:
        path = STATE / "console.toml"
        fields = {"state": STATE, "ours": hosts.OURS, "url": URL, "database": database, "amqps": AMQPS_PORT, "console": CONSOLE_PORT}
        path.write_text(CONSOLE.format(**fields))
        return [*NOVA, "serve", "--config", str(path), "--only", "console"]

    async def _admin(self, *arguments: str) -> str:
        return await self._command(*NOVA, "admin", "--config", str(STATE / f"serve-{SERVES[0]}.toml"), *arguments)

    async def _enrol(self, i: int) -> None:
        """Bring a join token to a host, which asks until the application answers."""
        token = await self._admin("enrol-host", hosts.name(i), "--name", hosts.address(i))
        command = [*NOVA, "enrol", "--config", str(STATE / f"{hosts.name(i)}.toml"), token.strip()]
        for _ in range(30):
            try:
                await self._command("ip", "netns", "exec", hosts.name(i), *command)
                return
            except ChildProcessError:
                await asyncio.sleep(1)

    async def _command(self, *command: str) -> str:
        """What it prints. Raises ``ChildProcessError``."""
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        out, _ = await process.communicate()
        if process.returncode:
            raise ChildProcessError(f"{command[2]} ended with {process.returncode}")
        return out.decode()

    def _worker(self, i: int, password: str) -> list[str]:
        host = hosts.name(i)
        path = STATE / f"{host}.toml"
        fields = {"state": STATE, "host": host, "ours": hosts.OURS, "amqps": AMQPS_PORT, "url": URL, "address": hosts.address(i)}
        kinds = '", "'.join(self.consoles.split(","))
        path.write_text(WORKER.format(**fields, driver=self.driver, consoles=kinds, password=password, secret=self.secret))
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host]  # servers do not migrate between hosts of one name
        return ["ip", "netns", "exec", host, *named, *NOVA, "compute", "--config", str(path)]

    async def _service_password(self) -> str:
        """What the application made for the workers' user at its first start."""
        path = STATE / "app" / "secrets.json"
        while True:
            if path.exists() and (password := json.loads(path.read_text()).get("identity", {}).get("nova")):
                return str(password)
            await asyncio.sleep(0.1)

    async def _keep(self, name: str, command: list[str]) -> None:
        """Run a part, and run it again when it ends."""
        while True:
            with (STATE / f"{name}.log").open("ab") as out:
                process = await asyncio.create_subprocess_exec(*command, stdout=out, stderr=out)
            (STATE / f"{name}.pid").write_text(str(process.pid))
            try:
                await process.wait()
            except asyncio.CancelledError:
                process.send_signal(signal.SIGTERM)
                await process.wait()
                raise
            await asyncio.sleep(1)


def up(count: int, driver: str, consoles: str) -> None:
    if os.geteuid() != 0:
        sys.exit("The lab makes network namespaces: run it as root.")
    STATE.mkdir(parents=True, exist_ok=True, mode=0o755)
    if _supervisor():
        sys.exit("A lab is up already: make lab-down first.")
    hosts.make(count)
    command = [sys.executable, "-m", "tests.lab", "supervise", "--hosts", str(count), "--driver", driver, "--consoles", consoles]
    with (STATE / "supervisor.log").open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    (STATE / "supervisor.pid").write_text(str(process.pid))
    clouds = asyncio.run(_until_ready(count, process))
    print(f"use it:  export OS_CLIENT_CONFIG_FILE={clouds}")
    print("         openstack --os-cloud nova-async server list      (and --os-cloud nova-async-admin)")
    print(f"logs and pid files: {STATE}")
    print(f"ready {URL}")


async def _until_ready(count: int, process: "subprocess.Popen[bytes]") -> Path:
    """Wait until every host is in service, by the public API, and consoles are had."""
    from nova_async.cli.client import Client
    from nova_async.cli.clouds import write_clouds
    from nova_async.errors import Error
    from nova_async.services.identity.bootstrap import Login, Secrets

    end = time.monotonic() + READY_SECONDS
    while True:
        await asyncio.sleep(0.3)
        if process.poll() is not None or time.monotonic() > end:
            sys.exit(f"The lab did not come up; see {STATE}/*.log")
        path, root = STATE / "app" / "secrets.json", STATE / "app" / "certs" / "ca-cert.pem"
        known = json.loads(path.read_text()).get("identity", {}) if path.exists() else {}
        if "admin" not in known:
            continue
        try:
            async with Client(URL, "admin", known["admin"], "admin", root=root) as admin:
                services = (await admin.ask("GET", "/compute/v2.1/os-services?binary=nova-compute"))["services"]
        except Error:
            continue
        if sum(s["state"] == "up" for s in services) >= count and listens(hosts.OURS, CONSOLE_PORT):
            logins = {n: Login(username=n, password=known[n], project_name=n) for n in ("admin", "demo")}
            service = Login(username="nova", password="", project_name="service")
            found = Secrets(auth_url=f"{URL}/identity/v3", region="RegionOne", admin=logins["admin"], demo=logins["demo"], service=service)
            return write_clouds(STATE, found, root)


def listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


def down(*, keep: bool) -> None:
    """Stop all parts, end the guests, remove namespaces and (unless ``keep``) all files."""
    if pid := _supervisor():
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 60
        while _supervisor() and time.monotonic() < end:
            time.sleep(0.1)
        if pid := _supervisor():
            os.kill(pid, signal.SIGKILL)
    hosts.remove()
    for path in STATE.glob("app/exports/*/pid"):  # what hands out volumes outlives the application, as it should
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(path.read_text()), signal.SIGKILL)
    for path in STATE.glob("labhost*/plugging/networks/*/pid"):  # DHCP servers of networks that are apart are in namespaces of their own
        with contextlib.suppress(OSError, ValueError):
            pid = int(path.read_text())
            if str(path.parent) in Path(f"/proc/{pid}/cmdline").read_text():
                os.kill(pid, signal.SIGKILL)
    if not keep:
        shutil.rmtree(STATE, ignore_errors=True)
    print("the lab is down")


def _supervisor() -> int | None:
    try:
        pid = int((STATE / "supervisor.pid").read_text())
        return pid if b"tests.lab" in Path(f"/proc/{pid}/cmdline").read_bytes() else None
    except (OSError, ValueError):
        return None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.lab")
    parser.add_argument("command", choices=["up", "down", "supervise"])
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--driver", default="libvirt", choices=["libvirt", "fake", "test"])
    parser.add_argument("--consoles", default="vnc,serial", metavar="vnc,spice,serial", help="which of them guests are given")
    parser.add_argument("--keep", action="store_true", help="leave the files")
    told = parser.parse_args()
    log.configure()
    if told.command == "up":
        up(told.hosts, told.driver, told.consoles)
    elif told.command == "down":
        down(keep=told.keep)
    else:
        asyncio.run(Lab(told.hosts, told.driver, told.consoles).run())


if __name__ == "__main__":
    main()
