"""``make bench``: measures a real ``nova-async up`` from outside and prints each figure beside its budget.

Fake driver, 10 hosts, the embedded PostgreSQL; CPU and memory (PSS) are those of the whole process tree. Never part of the tests.
"""

import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import yaml

from tests.bench import consoles, hypervisor

LISTEN = "127.0.0.1:8899"
URL = f"http://{LISTEN}"
ENVIRONMENT = {
    "NOVA_ASYNC_QUOTA_INSTANCES": "-1",
    "NOVA_ASYNC_QUOTA_CORES": "-1",
    "NOVA_ASYNC_QUOTA_RAM": "-1",
    "NOVA_ASYNC_NETWORK_DEFAULT_CIDR": "10.64.0.0/16",
    "NOVA_ASYNC_COMPUTE_CPU_ALLOCATION_RATIO": "1000",
}
COMMAND = [sys.executable, "-m", "nova_async", "up", "--listen", LISTEN]
FAKE = ("--virt", "fake", "--hosts", "10")


def row(what: str, measured: str, budget: str) -> None:
    print(f"{what:<66} {measured:>16}   {budget}", flush=True)


class Cloud:
    """A running all-in-one, and a user of it."""

    listen = LISTEN

    def __init__(self, state: Path) -> None:
        self.state = state
        self.process: asyncio.subprocess.Process
        self.session: aiohttp.ClientSession

    async def start(self, *options: str) -> tuple[float, float]:
        """Seconds until ``ready``, and until the first server is ACTIVE (nan without one)."""
        began = time.monotonic()
        self.process = await asyncio.create_subprocess_exec(
            *COMMAND, "--state-dir", str(self.state), *options, stdout=asyncio.subprocess.PIPE, env=os.environ | ENVIRONMENT
        )
        ready = first = float("nan")
        assert self.process.stdout
        async for line in self.process.stdout:
            if line.startswith(b"ready"):
                ready = time.monotonic() - began
                if "--no-first-guest" in options:
                    break
            if b"is ACTIVE" in line:
                first = time.monotonic() - began
                break
        self.reader = asyncio.create_task(self.process.stdout.read())
        return ready, first

    async def login(self) -> None:
        cloud = yaml.safe_load((self.state / "clouds.yaml").read_text())["clouds"]["nova-async-admin"]["auth"]
        who = {"name": cloud["username"], "domain": {"id": "default"}, "password": cloud["password"]}
        scope = {"project": {"name": cloud["project_name"], "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}}
        self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=200))
        async with self.session.post(f"{URL}/identity/v3/auth/tokens", json=body) as answer:
            self.session.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
        self.session.headers["OpenStack-API-Version"] = "compute 2.104"
        self.image = next((i["id"] for i in (await self.get("/image/v2/images"))["images"]), "")
        self.network = (await self.get("/network/v2.0/networks?name=private"))["networks"][0]["id"]

    async def get(self, path: str) -> Any:
        async with self.session.get(URL + path) as answer:
            answer.raise_for_status()
            return await answer.json(content_type=None)

    async def read(self, path: str) -> bytes:
        """The whole answer, as it came: what the service takes, not what this client's JSON does."""
        async with self.session.get(URL + path) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def boot(self, name: str, *, networks: Any = "none", **fields: Any) -> str:
        body = {"server": {"name": name, "imageRef": self.image, "flavorRef": "1", "networks": networks} | fields}
        async with self.session.post(f"{URL}/compute/v2.1/servers", json=body) as answer:
            if answer.status != 202:
                raise RuntimeError(await answer.text())
            return (await answer.json())["server"]["id"]  # type: ignore[no-any-return]

    async def delete(self, id: str) -> None:
        async with self.session.delete(f"{URL}/compute/v2.1/servers/{id}") as answer:
            answer.raise_for_status()

    async def until_active(self, id: str, pause: float = 0.002) -> None:
        while (await self.get(f"/compute/v2.1/servers/{id}"))["server"]["status"] != "ACTIVE":
            await asyncio.sleep(pause)

    async def until_gone(self, id: str) -> None:
        while True:
            async with self.session.get(f"{URL}/compute/v2.1/servers/{id}") as answer:
                if answer.status == 404:
                    return
            await asyncio.sleep(0.002)

    async def until_all_active(self, count: int) -> None:
        while True:
            page = await self.get("/compute/v2.1/servers?status=BUILD&limit=1")
            if not page["servers"]:
                return
            await asyncio.sleep(0.02)

    async def counters(self) -> dict[str, int]:
        async with self.session.get(f"{URL}/metrics") as answer:
            lines = [line.split() for line in (await answer.text()).splitlines() if not line.startswith("#")]
        return {name: int(value) for name, value in lines}

    def tree(self) -> list[psutil.Process]:
        top = psutil.Process(self.process.pid)
        postmaster = (self.state / "postgres" / "data" / "postmaster.pid").read_text().split()[0]
        server = psutil.Process(int(postmaster))
        found = {p.pid: p for p in [top, *top.children(recursive=True), server, *server.children(recursive=True)]}
        return list(found.values())

    def cpu(self) -> float:
        total = 0.0
        for process in self.tree():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

    def pss(self) -> float:
        return sum(p.memory_full_info().pss for p in self.tree()) / 2**20

    async def stop(self) -> None:
        await self.session.close()
        self.process.send_signal(signal.SIGTERM)
        await self.process.wait()
        self.reader.cancel()


async def timed(work: Callable[[], Awaitable[Any]]) -> float:
    began = time.monotonic()
    await work()
    return time.monotonic() - began


async def at_once(count: int, width: int, work: Callable[[int], Awaitable[Any]]) -> list[float]:
    """Do ``work(i)`` for all i, ``width`` at a time; the seconds of each."""
    turn = asyncio.Semaphore(width)

    async def one(i: int) -> float:
        async with turn:
            return await timed(lambda: work(i))

    return await asyncio.gather(*(one(i) for i in range(count)))


def p(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else values[0]


async def boots(cloud: Cloud, label: str, networks: Any, count: int = 200) -> None:
    """32 requests at once, until all are ACTIVE."""
    counted, cpu, began = await cloud.counters(), cloud.cpu(), time.monotonic()
    accepted = await at_once(count, 32, lambda i: cloud.boot(f"b{i}", networks=networks))
    await cloud.until_all_active(count)
    seconds = time.monotonic() - began
    used, now = cloud.cpu() - cpu, await cloud.counters()
    row(f"servers per second to ACTIVE, 32 at once{label}", f"{count / seconds:.0f}", "90")
    row(f"POST answered, 32 at once (p95){label}", f"{p(accepted, 95) * 1000:.0f} ms", "150 ms")
    row(f"CPU per boot, all processes{label}", f"{used / count * 1000:.1f} ms", "20 ms")
    for name, budget in (("nova_async_sql_statements", "12, then 8"), ("nova_async_bus_messages", "6, then 2")):
        row(f"{name.removeprefix('nova_async_').replace('_', ' ')} per boot{label}", f"{(now[name] - counted[name]) / count:.1f}", budget)


async def one_by_one(cloud: Cloud) -> None:
    posts, actives, deletes = [], [], []
    for i in range(30):
        began = time.monotonic()
        id = await cloud.boot(f"s{i}")
        posts.append(time.monotonic() - began)
        await cloud.until_active(id)
        actives.append(time.monotonic() - began)
        began = time.monotonic()
        await cloud.delete(id)
        await cloud.until_gone(id)
        deletes.append(time.monotonic() - began)
    row("one server, POST answered (p50)", f"{p(posts, 50) * 1000:.1f} ms", "5 ms")
    row("one server, POST to ACTIVE (p50)", f"{p(actives, 50) * 1000:.1f} ms", "20 ms")
    row("DELETE until gone (p50)", f"{p(deletes, 50) * 1000:.1f} ms", "15 ms")


async def reads(cloud: Cloud, where: str = "") -> None:
    id = (await cloud.get("/compute/v2.1/servers?limit=1"))["servers"][0]["id"]
    times = [await timed(lambda: cloud.get(f"/compute/v2.1/servers/{id}")) for _ in range(100)]
    row(f"GET /servers/{{id}} (p50){where}", f"{p(times, 50) * 1000:.2f} ms", "1.2 ms")
    began = time.monotonic()
    await at_once(2000, 16, lambda i: cloud.get(f"/compute/v2.1/servers/{id}"))
    row(f"GET /servers/{{id}} per second, 16 clients{where}", f"{2000 / (time.monotonic() - began):.0f}", "1500")
    for count in (100, 1000):
        path = f"/compute/v2.1/servers/detail?limit={count}"
        shown = len((await cloud.get(path))["servers"])
        if shown != count:
            raise RuntimeError(f"{shown} servers of {count}")
        times = [await timed(partial(cloud.read, path)) for _ in range(9)]
        row(f"GET /servers/detail with {count} servers (p50){where}", f"{p(times, 50) * 1000:.0f} ms", "8 ms" if count == 100 else "60 ms")


async def bench(state: Path) -> None:
    row("what", "measured", "budget")
    cloud = Cloud(state)
    ready, first = await cloud.start(*FAKE)
    row("`up` on an empty state (initdb too) until the API answers", f"{ready:.2f} s", "1.5 s")
    row("`up` until the first server is ACTIVE, fake driver", f"{first:.2f} s", "2.5 s")
    await cloud.login()
    await cloud.stop()
    ready, _ = await cloud.start(*FAKE, "--no-first-guest")
    row("`up` on existing state until the API answers", f"{ready:.2f} s", "1.5 s")
    await cloud.login()
    await asyncio.sleep(20)
    row("memory (PSS) of the idle all-in-one with its PostgreSQL", f"{cloud.pss():.0f} MiB", "160 MiB")
    await one_by_one(cloud)
    await boots(cloud, ", no network", "none")
    await boots(cloud, ", one network", [{"uuid": cloud.network}])
    hundred = await timed(lambda: _hundred(cloud))
    row("one POST for 100 servers until all are ACTIVE", f"{hundred:.2f} s", "1 s")
    await boots(cloud, ", after 500 servers", "none", 500)
    row("memory (PSS) after 1,000 boots", f"{cloud.pss():.0f} MiB", "")
    await reads(cloud)
    await cloud.stop()


async def crowded(state: Path, hosts: int) -> None:
    """Boots and reads among 1,000 servers: flat, however many hosts there are."""
    cloud = Cloud(state)
    await cloud.start("--virt", "fake", "--hosts", str(hosts), "--no-first-guest")
    await cloud.login()
    for _ in range(10):
        await _hundred(cloud)
    where = f", 1,000 servers on {hosts} hosts"
    await boots(cloud, where, "none")
    await reads(cloud, where)
    row(f"memory (PSS){where}", f"{cloud.pss():.0f} MiB", "")
    await cloud.stop()


async def stop_libvirtd(state: Path) -> None:
    if (state / "libvirt").exists():
        from nova_async.virt.libvirt.daemon import stop_private
        from nova_async.world import RealWorld

        await stop_private(state, RealWorld())


async def on_libvirt(state: Path) -> None:
    if not hypervisor.possible():
        row("libvirt's own define + create", "no libvirt, or not root", "")
        return
    cloud = Cloud(state)
    await cloud.start("--virt", "libvirt", "--no-first-guest")
    await cloud.login()
    bare, ours = await hypervisor.measure(cloud)
    await cloud.stop()
    row("libvirt's own define + create (p50)", f"{bare * 1000:.0f} ms", "")
    row("POST to ACTIVE on libvirt (p50)", f"{ours * 1000:.0f} ms", "")
    row("what the control plane adds to libvirt", f"{(ours - bare) * 1000:.0f} ms", "25 ms")


async def operations_on_libvirt() -> None:
    if not hypervisor.possible():
        return
    from tests.bench import operations

    for name, (bare, ours) in (await operations.measure(Path("/nowhere"))).items():
        row(f"{name}: libvirt alone, the driver (p50 of {operations.ROUNDS})", f"{bare * 1000:.0f}, {ours * 1000:.0f} ms", "")


async def consoles_of_one_process() -> None:
    for role, (kib, idle, speed, cpu) in (await consoles.measure()).items():
        of = {"proxy": "the console proxy", "bare": "a bare relay of sockets"}[role]
        row(f"{of}: memory, CPU in a minute of an idle connection ({consoles.IDLE})", f"{kib:.0f} KiB, {idle:.1f} ms", "")
        row(f"{of}: {consoles.BUSY} busy connections, CPU for a GiB", f"{speed:.0f} MiB/s, {cpu:.2f} s", "")
    row(f"the console proxy: memory after {consoles.STRANGERS:,} strangers", f"{await consoles.turned_away():.0f} KiB", "1,024 KiB")


async def _hundred(cloud: Cloud) -> None:
    await cloud.boot("h", min_count=100, max_count=100)
    await cloud.until_all_active(100)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="nova-bench-") as folder:
        os.chmod(folder, 0o755)
        asyncio.run(bench(Path(folder) / "state"))
        for hosts in (100, 1000):
            asyncio.run(crowded(Path(folder) / f"hosts{hosts}", hosts))
        asyncio.run(on_libvirt(Path(folder) / "real"))
        asyncio.run(stop_libvirtd(Path(folder) / "real"))
        asyncio.run(operations_on_libvirt())
        asyncio.run(consoles_of_one_process())
