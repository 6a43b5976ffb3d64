"""The cluster of ``make lab``: RabbitMQ, PostgreSQL, two ``serve``, two hosts with a libvirtd each; processes are killed in the middle."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nova_async.cli.client import Client
from nova_async.cli.clouds import client_of
from nova_async.errors import Error

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.rabbitmq,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("qemu"),
]
SETTLE_SECONDS = 60


async def ask(user: Client, method: str, path: str, body: Any = None) -> Any:
    """As any client behind a balancer: a connection that broke is made again, when asking twice does no harm."""
    for _ in range(50):
        try:
            return await user.ask(method, path, body)
        except (Error, OSError, TimeoutError) as error:
            if method != "GET" and isinstance(error, Error):
                raise
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "aiohttp":
                raise
        await asyncio.sleep(0.2)
    raise AssertionError(f"{method} {path} was never answered")


async def blank_image(lab: Path) -> str:
    async with client_of(lab / "clouds.yaml", "nova-async-admin") as admin:
        known = (await admin.ask("GET", "/image/v2/images?name=blank"))["images"]
        if known:
            return str(known[0]["id"])
        body = {"name": "blank", "disk_format": "raw", "container_format": "bare", "visibility": "public"}
        image = (await admin.ask("POST", "/image/v2/images", body))["id"]
        await admin.upload(f"/image/v2/images/{image}/file", bytes(2**20))
        return str(image)


async def boot(user: Client, image: str, name: str) -> str:
    server = {"name": name, "imageRef": image, "flavorRef": "42", "networks": "auto"}
    return str((await ask(user, "POST", "/compute/v2.1/servers", {"server": server}))["server"]["id"])


async def until(user: Client, holds: Any) -> list[dict[str, Any]]:
    """Poll the user's servers until ``holds(servers)``."""
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            servers = (await ask(user, "GET", "/compute/v2.1/servers/detail"))["servers"]
            if holds(servers):
                return list(servers)
            await asyncio.sleep(0.3)


def kill_serve(lab: Path, port: int) -> None:
    os.kill(int((lab / f"serve-{port}.pid").read_text()), signal.SIGKILL)


def all_active(servers: list[dict[str, Any]]) -> bool:
    return all(s["status"] == "ACTIVE" and s["OS-EXT-STS:task_state"] is None for s in servers)


def violations(lab: Path) -> str:
    """What ``nova-async admin check`` finds, with the configuration of one of the servers."""
    command = [sys.executable, "-m", "nova_async", "admin", "--config", str(lab / "serve-8781.toml"), "check"]
    return subprocess.run(command, capture_output=True, text=True).stdout


def domains(lab: Path) -> set[str]:
    """Names of all domains on both hosts."""
    found: set[str] = set()
    for socket in lab.glob("labhost*/libvirt/run/libvirt-sock"):
        command = ["virsh", "-c", f"qemu+unix:///system?socket={socket}", "list", "--all", "--name"]
        found |= set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    return found


async def test_servers_spread_over_hosts_that_have_no_database(lab: Path, user: Client) -> None:
    image = await blank_image(lab)
    ids = [await boot(user, image, f"a{i}") for i in range(4)]
    servers = await until(user, all_active)
    assert {s["id"] for s in servers} == set(ids)
    assert len({s["hostId"] for s in servers}) == 2
    worker = tomllib.loads((lab / "labhost1.toml").read_text())
    assert "database" not in worker
    for server in ids:
        await ask(user, "DELETE", f"/compute/v2.1/servers/{server}")
    await until(user, lambda rows: not rows)
    assert domains(lab) == set()


@pytest.mark.parametrize("port", [8781, 8782])
async def test_a_killed_serve_loses_nothing(lab: Path, user: Client, port: int) -> None:
    image = await blank_image(lab)
    old = {s["id"] for s in (await ask(user, "GET", "/compute/v2.1/servers"))["servers"]}
    new = {await boot(user, image, f"b{port}-{i}") for i in range(4)}
    for server in old:
        await ask(user, "DELETE", f"/compute/v2.1/servers/{server}")
    await asyncio.sleep(0.3)
    kill_serve(lab, port)
    servers = await until(user, lambda rows: {s["id"] for s in rows} == new and all_active(rows))
    assert len(servers) == 4
    assert "all is well" in violations(lab)
    assert len(domains(lab)) == 4


async def test_a_killed_worker_takes_up_its_commands_and_its_guests(lab: Path, user: Client) -> None:
    image = await blank_image(lab)
    before = domains(lab)
    new = {await boot(user, image, f"c{i}") for i in range(4)}
    await asyncio.sleep(0.5)
    os.kill(int((lab / "labhost1.pid").read_text()), signal.SIGKILL)
    servers = await until(user, lambda rows: new <= {s["id"] for s in rows} and all_active(rows))
    assert "all is well" in violations(lab)
    assert len(domains(lab)) == len(servers) == len(before) + 4
    for server in servers:
        await ask(user, "DELETE", f"/compute/v2.1/servers/{server['id']}")
    await until(user, lambda rows: not rows)
    assert domains(lab) == set()


async def test_no_secret_is_in_the_logs(lab: Path) -> None:
    secrets = json.loads((lab / "app" / "secrets.json").read_text())["identity"].values()
    for path in lab.glob("*.log"):
        text = path.read_text()
        assert not [s for s in secrets if s in text], path
        assert "Traceback" not in text, path


async def test_a_running_server_goes_to_the_other_host_and_back(lab: Path, user: Client) -> None:
    server = await boot(user, await blank_image(lab), "live")
    await until(user, lambda rows: server in {s["id"] for s in rows} and all_active(rows))
    async with client_of(lab / "clouds.yaml", "nova-async-admin") as admin:
        path = f"/compute/v2.1/servers/{server}"

        async def host() -> str:
            return str((await ask(admin, "GET", path))["server"]["OS-EXT-SRV-ATTR:host"])

        seen = [await host()]
        for _ in range(2):
            await ask(admin, "POST", f"{path}/action", {"os-migrateLive": {"host": None, "block_migration": "auto"}})
            await until(user, all_active)
            seen.append(await host())
        moves = (await ask(admin, "GET", f"/compute/v2.1/os-migrations?instance_uuid={server}"))["migrations"]
    assert seen[0] == seen[2] != seen[1]
    assert [(m["status"], m["migration_type"]) for m in moves] == [("completed", "live-migration")] * 2
    assert "all is well" in violations(lab)
    await ask(user, "DELETE", path)
    await until(user, lambda rows: server not in {s["id"] for s in rows})
