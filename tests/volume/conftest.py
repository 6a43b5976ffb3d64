"""A small volume service over real HTTP with real files, and clients of several kinds."""

import asyncio
import os
import random
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from nova_async.certs.authority import Authority
from nova_async.certs.broker import NoAccounts
from nova_async.config import Config, load
from nova_async.context import Context
from nova_async.db import Database
from nova_async.errors import Unauthorized
from nova_async.model.access_rules import Visit
from nova_async.services.image.blank import blank_qcow2
from nova_async.services.image.builtin import BuiltinImages
from nova_async.services.volume.builtin import BuiltinVolumes
from nova_async.services.volume.http import application
from nova_async.world import RealWorld

PEOPLE = {
    "admin": Context(request_id="", user_id="root", project_id="p-admin", roles=("admin", "member", "reader")),
    "anna": Context(request_id="", user_id="anna", project_id="p-a", roles=("member", "reader")),
    "ben": Context(request_id="", user_id="ben", project_id="p-b", roles=("member", "reader")),
    "rosa": Context(request_id="", user_id="rosa", project_id="p-a", roles=("reader",)),
    "compute": Context(request_id="", user_id="compute", project_id="p-s", roles=("admin", "service", "member", "reader")),
    "nova": Context(request_id="", user_id="nova", project_id="p-s", roles=("service", "member")),
}
SERVER = "11111111-2222-4333-8444-555555555555"
UNKNOWN = "99999999-2222-4333-8444-555555555555"
GIB = 2**30
BOTH = pytest.mark.parametrize("file_format", ["raw", "qcow2"], indirect=True)
EXPORT_PORTS = 17_000 + 100 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])  # apart from those of clouds and of other workers


class KnownTokens:
    """The token is the name."""

    async def validate(self, token: str, visit: Visit | None = None) -> Context:
        if token not in PEOPLE:
            raise Unauthorized()
        return PEOPLE[token]


class Client:
    """Asks the service as one of ``PEOPLE``; paths start after the project."""

    def __init__(self, service: "Service", token: str) -> None:
        self.service, self.token = service, token

    async def __call__(self, method: str, path: str, status: int, body: Any = None, *, version: str = "3.70") -> Any:
        """The JSON body or None; a status other than the expected one fails the test."""
        headers = {"X-Auth-Token": self.token, "OpenStack-API-Version": f"volume {version}"}
        url = f"{self.service.url}/v3/{PEOPLE[self.token].project_id}{path}"
        async with self.service.session.request(method, url, headers=headers, json=body) as response:
            text = await response.text()
            assert response.status == status, (response.status, text)
            return msgspec.json.decode(text) if text else None

    async def refused(self, method: str, path: str, status: int, body: Any = None, **more: Any) -> str:
        """The message of a refusal."""
        (fault,) = (await self(method, path, status, body, **more)).values()
        assert fault["code"] == status
        return str(fault["message"])

    async def volume(self, size: int = 1, **fields: Any) -> str:
        """The id of a volume that is ready."""
        made = (await self("POST", "/volumes", 202, {"volume": {"size": size} | fields}))["volume"]
        await self.service.idle()
        assert (await self.show(made["id"]))["status"] == "available"
        return str(made["id"])

    async def snapshot(self, volume: str, **fields: Any) -> str:
        made = (await self("POST", "/snapshots", 202, {"snapshot": {"volume_id": volume} | fields}))["snapshot"]
        await self.service.idle()
        return str(made["id"])

    async def show(self, volume: str) -> Any:
        return (await self("GET", f"/volumes/{volume}", 200))["volume"]

    async def act(self, volume: str, action: str, argument: Any = None, status: int = 202) -> Any:
        return await self("POST", f"/volumes/{volume}/action", status, {action: argument})


class Service:
    def __init__(self, volumes: BuiltinVolumes, images: BuiltinImages, url: str, session: aiohttp.ClientSession) -> None:
        self.volumes, self.images, self.url, self.session = volumes, images, url, session

    def client(self, token: str) -> Client:
        return Client(self, token)

    async def idle(self) -> None:
        async with asyncio.timeout(120):
            await self.volumes.jobs.idle()

    def path(self, volume: str) -> Path:
        return self.volumes.store.path(volume)

    async def holds(self, volume: str, octets: int, offset: int = 0) -> bytes:
        """What a guest reads there, whoever has it open."""
        path, copy = self.path(volume), self.volumes.store.folder.parent / f"read-{volume}"
        if path.suffix:
            await command("qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", str(path), str(copy))
        with (copy if path.suffix else path).open("rb") as file:
            file.seek(offset)
            found = file.read(octets)
        copy.unlink(missing_ok=True)
        return found

    async def write(self, volume: str, data: bytes) -> None:
        """At its beginning, while nobody has it."""
        await self.volumes.exports.look()  # of a copy there may be a process left that has it open
        path, source = self.path(volume), self.volumes.store.folder.parent / f"write-{volume}"
        source.write_bytes(data)
        await command("qemu-io", "-f", path.suffix[1:] or "raw", "-c", f"write -q -s {source} 0 {len(data)}", str(path))
        source.unlink()

    def files(self) -> list[str]:
        return sorted(p.name for p in self.volumes.store.folder.rglob("*") if p.is_file())

    async def image(self, data: bytes, disk_format: str = "raw", **fields: Any) -> str:
        """An active image that everybody may use."""
        ctx, more = PEOPLE["admin"], {"container_format": "bare", "properties": {"hw_disk_bus": "scsi"}, "visibility": "public"}
        image = await self.images.create(ctx, "disk", disk_format=disk_format, **more | fields)

        async def chunks() -> AsyncIterator[bytes]:
            yield data

        await self.images.upload(ctx, image.id, chunks())
        return image.id


async def command(*words: str) -> str:
    """What it printed; a failure fails the test."""
    done = await asyncio.to_thread(subprocess.run, words, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def noise(octets: int) -> bytes:
    return random.Random(7).randbytes(octets)


@pytest.fixture
def file_format(request: pytest.FixtureRequest) -> str:
    """Of volumes; a test may choose it (``BOTH``)."""
    return str(getattr(request, "param", "raw"))


@pytest.fixture
def config(tmp_path: Path, file_format: str) -> Config:
    limits: dict[str, Any] = {"volume__quota_volumes": 5, "volume__quota_gigabytes": 20, "volume__quota_snapshots": 2}
    limits |= {"volume__export_ports": [EXPORT_PORTS, EXPORT_PORTS + 99], "volume__file_format": file_format}
    return load(environment={}, state_dir=str(tmp_path / "state"), api__listen=f"127.0.0.1:{unused_port()}", **limits)


@pytest.fixture
async def service(database: Database, config: Config, world: RealWorld) -> AsyncIterator[Service]:
    images = await BuiltinImages.open(database, config, world)
    authority = await Authority.open(config, world, database, NoAccounts())
    volumes = await BuiltinVolumes.open(database, config, world, images, authority)
    working = asyncio.create_task(volumes.run())
    root = web.Application()
    root.add_subapp("/volume", application(volumes, KnownTokens(), world, config))
    host, _, port = config.api.listen.partition(":")
    async with TestServer(root, host=host, port=int(port)), aiohttp.ClientSession() as session:
        yield Service(volumes, images, f"{config.public_url}/volume", session)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    for name in sorted(await volumes.exports.daemons.names(), key=lambda name: volumes.store.path(name).exists()):
        await volumes.exports.daemons.remove(name)  # bases last: what waits for one is slow to end
    await volumes.close()
    await images.close()


@pytest.fixture
def anna(service: Service) -> Client:
    return service.client("anna")


@pytest.fixture
def admin(service: Service) -> Client:
    return service.client("admin")


QCOW2 = blank_qcow2(1)
