"""An identity service over real HTTP, and clients of it."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from nova_async.config import Config, load
from nova_async.db import Database
from nova_async.services.identity import passwords
from nova_async.services.identity.bootstrap import Secrets
from nova_async.services.identity.builtin import BuiltinIdentity
from nova_async.services.identity.http import application
from nova_async.world import RealWorld

from .client import Client

OpenStack = Callable[..., Awaitable[Any]]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load(environment={}, state_dir=str(tmp_path / "state"), api__listen=f"127.0.0.1:{free_port()}")


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "TIME_COST", 1)
    monkeypatch.setattr(passwords, "MEMORY_KIB", 64)


@pytest.fixture
async def identity(database: Database, config: Config, world: RealWorld) -> AsyncIterator[BuiltinIdentity]:
    service = await BuiltinIdentity.open(database, config, world)
    yield service
    await service.close()


@pytest.fixture
async def secrets(identity: BuiltinIdentity) -> Secrets:
    return await identity.bootstrap()


@pytest.fixture
async def served(identity: BuiltinIdentity, secrets: Secrets, world: RealWorld, config: Config) -> AsyncIterator[str]:
    """The URL of /identity/v3."""
    root = web.Application()
    root.add_subapp("/identity", application(identity, world, config))
    runner = web.AppRunner(root, access_log=None, lingering_time=0.1)
    await runner.setup()
    host, _, port = config.api.listen.partition(":")
    await web.TCPSite(runner, host, int(port)).start()
    yield secrets.auth_url
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.fixture
def anybody(session: aiohttp.ClientSession, served: str) -> Client:
    return Client(session, served)


@pytest.fixture
async def admin(session: aiohttp.ClientSession, served: str, secrets: Secrets) -> Client:
    client = Client(session, served)
    await client.login("admin", secrets.admin.password, "admin")
    return client


@pytest.fixture
async def demo(session: aiohttp.ClientSession, served: str, secrets: Secrets) -> Client:
    client = Client(session, served)
    await client.login("demo", secrets.demo.password, "demo")
    return client


@pytest.fixture
def openstack(served: str, secrets: Secrets) -> OpenStack:
    """The real client, told by the administrator. It gives what it shows; commands with the word ``delete`` show nothing."""
    command = Path(sys.executable).with_name("openstack")
    environment = os.environ | {
        "OS_AUTH_URL": served.removesuffix("/v3"),
        "OS_USERNAME": "admin",
        "OS_PASSWORD": secrets.admin.password,
        "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_IDENTITY_API_VERSION": "3",
    }

    async def told(*words: str) -> Any:
        as_json = () if "delete" in words else ("-f", "json")
        pipe = asyncio.subprocess.PIPE
        run = await asyncio.create_subprocess_exec(command, *words, *as_json, env=environment, stdout=pipe, stderr=pipe)
        out, complaint = await asyncio.wait_for(run.communicate(), 60)
        assert run.returncode == 0, complaint.decode()
        return json.loads(out) if as_json else None

    return told
