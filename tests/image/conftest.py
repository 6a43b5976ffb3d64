"""A small image service over real HTTP, and clients of three kinds: administrator, member of project a, member of b."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from nova_async.config import Config, load
from nova_async.context import Context
from nova_async.db import Database
from nova_async.errors import Unauthorized
from nova_async.model.access_rules import Visit
from nova_async.services.image.blank import blank_qcow2
from nova_async.services.image.builtin import BuiltinImages
from nova_async.services.image.http import application
from nova_async.world import RealWorld

PEOPLE = {
    "admin": Context(request_id="", user_id="root", project_id="p-admin", roles=("admin", "member", "reader")),
    "a": Context(request_id="", user_id="anna", project_id="p-a", roles=("member", "reader")),
    "b": Context(request_id="", user_id="ben", project_id="p-b", roles=("member", "reader")),
    "reader": Context(request_id="", user_id="rosa", project_id="p-a", roles=("reader",)),
}
OCTETS = {"Content-Type": "application/octet-stream"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
QCOW2 = blank_qcow2(1)


class KnownTokens:
    """The token is the name."""

    async def validate(self, token: str, visit: Visit | None = None) -> Context:
        if token not in PEOPLE:
            raise Unauthorized()
        return PEOPLE[token]


class Client:
    """Asks the service as one of ``PEOPLE``."""

    def __init__(self, session: aiohttp.ClientSession, base: str, token: str) -> None:
        self._session, self._base, self._token = session, base, token

    async def __call__(self, method: str, path: str, status: int | None = None, *, headers: dict[str, str] | None = None, **kw: Any) -> Any:
        """The JSON body, the bytes, or None; a status other than the expected one fails the test."""
        headers = {"X-Auth-Token": self._token, "Accept": "application/json"} | (headers or {})
        async with self._session.request(method, self._base + path, headers=headers, **kw) as response:
            body = await response.read()
            assert status is None or response.status == status, (response.status, body)
            if response.content_type == "application/json":
                return await response.json()
            return body or None

    async def image(self, **fields: Any) -> str:
        """The id of a new queued image."""
        fields = {"name": "disk", "disk_format": "qcow2", "container_format": "bare"} | fields
        return str((await self("POST", "/v2/images", 201, json=fields))["id"])

    async def send(self, image_id: str, data: Any, status: int = 204, **headers: str) -> Any:
        return await self("PUT", f"/v2/images/{image_id}/file", status, data=data, headers=OCTETS | headers)

    async def active(self, data: bytes = QCOW2, **fields: Any) -> str:
        image_id = await self.image(**fields)
        await self.send(image_id, data)
        return image_id

    async def show(self, image_id: str) -> Any:
        return await self("GET", f"/v2/images/{image_id}", 200)

    async def patch(self, image_id: str, status: int, *operations: dict[str, Any]) -> Any:
        return await self("PATCH", f"/v2/images/{image_id}", status, json=list(operations), headers=PATCH)


class Service:
    """The running service."""

    def __init__(self, images: BuiltinImages, config: Config, url: str, session: aiohttp.ClientSession) -> None:
        self.images, self.config, self.url = images, config, url
        self.store = config.state / "images"
        self._session = session

    def client(self, token: str) -> Client:
        return Client(self._session, self.url, token)

    def files(self) -> list[Path]:
        """Every file of the store, whole or not."""
        return sorted(p for p in self.store.rglob("*") if p.is_file())

    async def openstack(self, *arguments: str, token: str = "admin", status: int = 0) -> str:
        """What the ``openstack`` command prints."""
        command = Path(sys.executable).parent / "openstack"
        process = await asyncio.create_subprocess_exec(
            str(command),
            f"--os-auth-url={self.config.public_url}/identity/v3",
            "--os-identity-api-version=3",
            f"--os-username={token}",
            "--os-password=x",
            "--os-user-domain-id=default",
            f"--os-project-id={PEOPLE[token].project_id}",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == status, (out, err)
        return out.decode() + (err.decode() if status else "")


class Login:
    """As much of Keystone as a client needs to find the image service: the token is the user's name."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def version(self, _: web.Request) -> web.Response:
        links = [{"rel": "self", "href": f"{self._url}/identity/v3/"}]
        return web.json_response({"version": {"id": "v3.14", "status": "stable", "links": links}})

    async def token(self, request: web.Request) -> web.Response:
        name = (await request.json())["auth"]["identity"]["password"]["user"]["name"]
        endpoint = {"id": "e", "interface": "public", "region": "R", "region_id": "R", "url": f"{self._url}/image"}
        token = {
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "methods": ["password"],
            "user": {"id": name, "name": name, "domain": {"id": "default", "name": "Default"}},
            "project": {"id": PEOPLE[name].project_id, "name": name, "domain": {"id": "default", "name": "Default"}},
            "roles": [{"id": role, "name": role} for role in PEOPLE[name].roles],
            "catalog": [{"id": "s", "type": "image", "name": "glance", "endpoints": [endpoint]}],
        }
        return web.json_response({"token": token}, status=201, headers={"X-Subject-Token": name})


@pytest.fixture
def config(tmp_path: Path) -> Config:
    limits = {"image__max_size_bytes": 2**24, "image__max_virtual_size_bytes": 2**30}
    return load(environment={}, state_dir=str(tmp_path / "state"), api__listen=f"127.0.0.1:{unused_port()}", **limits)


@pytest.fixture
async def service(database: Database, config: Config, world: RealWorld) -> AsyncIterator[Service]:
    images = await BuiltinImages.open(database, config, world)
    root = web.Application()
    root.add_subapp("/image", application(images, KnownTokens(), world, config))
    login = Login(config.public_url)
    root.add_routes([web.get("/identity/v3", login.version), web.post("/identity/v3/auth/tokens", login.token)])
    host, _, port = config.api.listen.partition(":")
    async with TestServer(root, host=host, port=int(port)), aiohttp.ClientSession() as session:
        yield Service(images, config, f"{config.public_url}/image", session)
    await images.close()


@pytest.fixture
def admin(service: Service) -> Client:
    return service.client("admin")


@pytest.fixture
def anna(service: Service) -> Client:
    """A member of project a."""
    return service.client("a")


@pytest.fixture
def ben(service: Service) -> Client:
    """A member of project b."""
    return service.client("b")
