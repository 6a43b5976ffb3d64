"""The lab as its tests see it: users of the public API, and a hand on every process and every disk of its hosts."""

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from nova_async.cli.client import Client
from nova_async.cli.clouds import client_of
from nova_async.compute.plugging.apart import namespace_name
from nova_async.errors import Error, Unavailable
from nova_async.services.network.port_specs import bridge_name
from nova_async.virt import testguest
from tests.lab import hosts

COMPUTE = "/compute/v2.1"
SETTLE_SECONDS = 150.0
HOSTS = ("labhost1", "labhost2")


class Cluster:
    """``member`` and ``admin`` are logged in."""

    def __init__(self, state: Path, member: Client, admin: Client) -> None:
        self.state, self.member, self.admin = state, member, admin

    # -- asking

    async def ask(self, method: str, path: str, body: Any = None, *, admin: bool = True) -> Any:
        """As any client behind a balancer: what got no answer is asked again when that does no harm."""
        client = self.admin if admin else self.member
        end = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < end:
            try:
                return await client.ask(method, path, body)
            except Error:
                if method != "GET":
                    raise
            except Exception as error:
                if type(error).__module__.partition(".")[0] != "aiohttp":
                    raise
            await asyncio.sleep(0.3)
        raise AssertionError(f"{method} {path} was never answered")

    async def act(self, server: str, **action: Any) -> Any:
        return await self.ask("POST", f"{COMPUTE}/servers/{server}/action", action)

    async def server(self, server: str) -> dict[str, Any]:
        return (await self.ask("GET", f"{COMPUTE}/servers/{server}"))["server"]  # type: ignore[no-any-return]

    async def host_of(self, server: str) -> str:
        return str((await self.server(server))["OS-EXT-SRV-ATTR:host"])

    async def reaches(self, server: str, status: str, seconds: float = SETTLE_SECONDS) -> dict[str, Any]:
        """Wait until the server has this status and nothing is done to it."""
        end = time.monotonic() + seconds
        while True:
            found = await self.server(server)
            if found["status"] == status and found["OS-EXT-STS:task_state"] is None:
                return found
            assert found["status"] != "ERROR", found.get("fault")
            seen = (found["status"], found["OS-EXT-STS:task_state"], found.get("fault"))
            assert time.monotonic() < end, f"{seen} instead of {status} after {seconds} s"
            await asyncio.sleep(0.3)

    async def settles(self, server: str, seconds: float = SETTLE_SECONDS) -> dict[str, Any]:
        """Wait until nothing is done to the server, whatever its status."""
        end = time.monotonic() + seconds
        while True:
            found = await self.server(server)
            if found["OS-EXT-STS:task_state"] is None and not await self.is_busy(server):
                return found
            assert time.monotonic() < end, (found["status"], found["OS-EXT-STS:task_state"])
            await asyncio.sleep(0.3)

    async def actions(self, server: str) -> list[str]:
        """What was done with it, newest first."""
        return [a["action"] for a in (await self.ask("GET", f"{COMPUTE}/servers/{server}/os-instance-actions"))["instanceActions"]]

    async def is_busy(self, server: str) -> bool:
        """Whether an operation is open, as the actions of the server tell it."""
        actions = (await self.ask("GET", f"{COMPUTE}/servers/{server}/os-instance-actions"))["instanceActions"]
        newest = await self.ask("GET", f"{COMPUTE}/servers/{server}/os-instance-actions/{actions[0]['request_id']}")
        return any(event["finish_time"] is None for event in newest["instanceAction"]["events"])

    async def gone(self, server: str, seconds: float = SETTLE_SECONDS) -> None:
        end = time.monotonic() + seconds
        while server in {s["id"] for s in (await self.ask("GET", f"{COMPUTE}/servers?all_tenants=1"))["servers"]}:
            assert time.monotonic() < end, f"{server} is still there after {seconds} s"
            await asyncio.sleep(0.3)

    async def delete(self, server: str) -> None:
        await self.ask("DELETE", f"{COMPUTE}/servers/{server}")
        await self.gone(server)

    # -- making

    async def flavor(self, name: str, *, ram: int = 128, vcpus: int = 1, disk: int = 1, ephemeral: int = 0, swap: int = 0) -> str:
        """The id of a flavor of this name, made when there is none."""
        if name not in {f["id"] for f in (await self.ask("GET", f"{COMPUTE}/flavors"))["flavors"]}:
            body = {"name": name, "id": name, "ram": ram, "vcpus": vcpus, "disk": disk, "swap": swap}
            await self.ask("POST", f"{COMPUTE}/flavors", {"flavor": body | {"OS-FLV-EXT-DATA:ephemeral": ephemeral}})
        return name

    async def image(self, name: str, data: bytes, disk_format: str = "qcow2", **properties: str) -> str:
        """The id of a public image of this name."""
        known = (await self.ask("GET", f"/image/v2/images?name={name}"))["images"]
        if known:
            return str(known[0]["id"])
        container = disk_format if disk_format in ("aki", "ari") else "bare"
        body = {"name": name, "disk_format": disk_format, "container_format": container, "visibility": "public", **properties}
        made = str((await self.ask("POST", "/image/v2/images", body))["id"])
        await self.admin.upload(f"/image/v2/images/{made}/file", data)
        return made

    async def test_image(self, folder: Path) -> str:
        """The test guest, booted from its kernel directly."""
        kernel = await self.image("kernel", (folder / testguest.KERNEL).read_bytes(), "aki")
        ramdisk = await self.image("ramdisk", (folder / testguest.RAMDISK).read_bytes(), "ari")
        data = (folder / testguest.IMAGE).read_bytes()
        return await self.image("testguest", data, kernel_id=kernel, ramdisk_id=ramdisk)

    async def boot(self, image: str, flavor: str, **fields: Any) -> str:
        server = {"name": "one", "imageRef": image, "flavorRef": flavor, "networks": "auto", **fields}
        return str((await self.ask("POST", f"{COMPUTE}/servers", {"server": server}))["server"]["id"])

    # -- the guest itself

    async def printed(self, server: str, text: str, seconds: float = SETTLE_SECONDS) -> str:
        """Its whole console, once that shows the text."""
        end = time.monotonic() + seconds
        while True:
            shown = str((await self.act(server, **{"os-getConsoleOutput": {}}))["output"]).replace("\r", "")
            if text in shown:
                return shown
            assert time.monotonic() < end, f"{text!r} did not appear in:\n{shown[-2000:]}"
            await asyncio.sleep(0.5)

    async def booted(self, server: str, boots: int) -> str:
        """What the test guest printed in its present boot, the ``boots``-th of this disk, once it is up."""
        said = f"boots={boots}\n"
        shown = await self.printed(server, said)
        while "TESTGUEST ready" not in (last := shown[shown.rindex("TESTGUEST init") :]) or said not in last:
            await asyncio.sleep(0.5)
            shown = await self.printed(server, said)
        return last

    async def inside(self, server: str, command: str, seconds: float = 60.0, *, apart: str = "") -> str:
        """What a command prints that the test guest runs; asked over HTTP from the host's own network.

        ``apart``: a network in which the host is in a namespace of its own, which its worker sees.
        """
        row = await self.server(server)
        address = next(iter(row["addresses"].values()))[0]["addr"]
        words = "".join(f"%{octet:02x}" for octet in command.encode())
        url, end = f"http://{address}/cgi-bin/sh?{words}", time.monotonic() + seconds
        while True:
            asking = [*self._into(row["OS-EXT-SRV-ATTR:host"], apart), "curl", "-sf", "-m", "20", url]
            done = await asyncio.to_thread(subprocess.run, asking, capture_output=True, text=True)
            if done.returncode == 0:
                return done.stdout.strip()
            assert time.monotonic() < end, f"{url}: {done.returncode} {done.stderr}"
            await asyncio.sleep(0.5)

    def _into(self, host: str, network: str) -> list[str]:
        """How to run something where the host is itself, or where it is in a network that is apart."""
        if not network:
            return ["ip", "netns", "exec", host]
        mark = hashlib.sha256(str(self.state / host / "plugging").encode()).hexdigest()[:8]
        worker = (self.state / f"{host}.pid").read_text()
        return ["nsenter", "-t", worker, "-m", "ip", "netns", "exec", namespace_name(bridge_name(network), mark)]

    # -- the hosts

    def virsh(self, host: str, *words: str) -> str:
        command = ["virsh", "-c", f"qemu+unix:///system?socket={self.state}/{host}/libvirt/run/libvirt-sock", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.stdout if done.returncode == 0 else ""

    def domains(self, host: str, *, running: bool = False) -> list[str]:
        """Ids of the servers that have a domain there."""
        return self.virsh(host, "list", "--uuid", *(() if running else ("--all",))).split()

    def executes(self, host: str, server: str) -> bool:
        """Whether its processors run there; those of a guest that is on its way here do not yet."""
        return server in self.virsh(host, "list", "--uuid", "--state-running").split()

    def folder(self, host: str, server: str) -> Path:
        return self.state / host / "instances" / server

    def is_on(self, server: str) -> dict[str, bool]:
        """The hosts where anything of the server is, and whether it runs there."""
        return {
            host: server in self.domains(host, running=True)
            for host in HOSTS
            if server in self.domains(host) or self.folder(host, server).exists()
        }

    async def until_is_on(self, server: str, places: dict[str, bool], seconds: float = 90.0) -> None:
        end = time.monotonic() + seconds
        while (found := await asyncio.to_thread(self.is_on, server)) != places:
            assert time.monotonic() < end, f"{server} is on {found} instead of {places}"
            await asyncio.sleep(0.5)

    async def filters(self, host: str, server: str) -> dict[str, str]:
        """The packet filter's chains for the server's ports on this host."""
        ports = (await self.ask("GET", f"{COMPUTE}/servers/{server}/os-interface"))["interfaceAttachments"]
        devices = tuple(f"tap{port['port_id'][:11]}".replace("-", "_") for port in ports)
        listing = ["ip", "netns", "exec", host, "nft", "list", "ruleset"]
        rules = (await asyncio.to_thread(subprocess.run, listing, capture_output=True, text=True, check=True)).stdout
        chains = (block.partition(" {") for block in rules.split("chain ")[1:])
        return {name: body.partition("}\n\n")[0].strip(" }\n\t") for name, _, body in chains if name.endswith(devices)}

    def other(self, host: str) -> str:
        return next(name for name in HOSTS if name != host)

    async def all_is_well(self, seconds: float = 60.0) -> None:
        """No invariant is violated, soon."""
        command = [str(Path(".venv/bin/python").absolute()), "-m", "nova_async", "admin"]
        command += ["--config", str(self.state / "serve-8781.toml"), "check"]
        end = time.monotonic() + seconds
        while True:
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
            if "all is well" in done.stdout:
                return
            assert time.monotonic() < end, done.stdout + done.stderr
            await asyncio.sleep(2)

    # -- breaking

    def kill(self, part: str) -> None:
        """SIGKILL to a part: ``serve``, ``<host>`` (its worker), ``<host>/libvirtd``. It is started again."""
        if part == "serve":
            for path in self.state.glob("serve-*.pid"):
                _kill(path)
        elif "/" in part:
            _kill(self.state / part.partition("/")[0] / "libvirt/run/libvirtd.pid")
        else:
            _kill(self.state / f"{part}.pid")

    def kill_guest(self, server: str) -> None:
        subprocess.run(["pkill", "-KILL", "-f", f"qemu-system.*uuid {server}"])

    def goes_down(self, host: str) -> None:
        """All of a machine ends at once, as without power; and it is another boot when its worker is started again."""
        (self.state / host / "boot").write_text("the one before")
        self.kill(host)
        self.kill(f"{host}/libvirtd")
        for server in self.folder(host, "").iterdir():
            self.kill_guest(server.name)

    def cut(self, host: str) -> None:
        """Nothing goes from or to the host any more; what runs there runs on."""
        hosts.link(HOSTS.index(host) + 1, up=False)

    def mend(self, host: str) -> None:
        hosts.link(HOSTS.index(host) + 1, up=True)

    async def service(self, host: str, state: str, seconds: float = 120.0) -> None:
        """Wait until the host's service is ``up`` or ``down``."""
        end = time.monotonic() + seconds
        while True:
            told = (await self.ask("GET", f"{COMPUTE}/os-services?binary=nova-compute"))["services"]
            if {s["host"]: s["state"] for s in told}.get(host) == state:
                return
            assert time.monotonic() < end, told
            await asyncio.sleep(0.5)


@asynccontextmanager
async def cluster_of(state: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        member, admin = [await _logged_in(stack, state, cloud) for cloud in ("nova-async", "nova-async-admin")]
        yield Cluster(state, member, admin)


async def _logged_in(stack: AsyncExitStack, state: Path, cloud: str) -> Client:
    """Where an earlier test has killed it, once the application is there again."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return await stack.enter_async_context(client_of(state / "clouds.yaml", cloud))
        except Unavailable:
            assert time.monotonic() < end, "the application did not come back"
        await asyncio.sleep(0.5)


@asynccontextmanager
async def no_twins(cluster: Cluster, server: str) -> AsyncIterator[None]:
    """Fails when the server runs on two hosts at any moment inside the block (INV-10)."""

    async def watch() -> None:
        while True:
            running = [host for host in HOSTS if await asyncio.to_thread(cluster.executes, host, server)]
            if len(running) > 1:  # or it has just gone from the first to the second
                running = [host for host in running if await asyncio.to_thread(cluster.executes, host, server)]
            assert len(running) < 2, f"{server} runs on {running}"
            await asyncio.sleep(0.2)

    watching = asyncio.create_task(watch())
    try:
        yield
        assert not watching.done(), watching.exception()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _kill(path: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.kill(int(path.read_text()), signal.SIGKILL)
