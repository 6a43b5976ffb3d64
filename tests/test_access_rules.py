"""Access rules of application credentials, at the door of every service."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from nova_async import app
from nova_async.services.identity.bootstrap import Login
from tests.whole import log_to_nowhere, served

__all__ = ["log_to_nowhere", "served"]

# each service: type, a path of its own, one that the rules do not speak of
DOORS = (
    ("compute", "/compute", "/v2.1/servers", "/v2.1/flavors"),
    ("image", "/image", "/v2/images", "/v2/schemas/image"),
    ("network", "/network", "/v2.0/networks", "/v2.0/ports"),
    ("block-storage", "/volume", "/v3/{project_id}/volumes", "/v3/{project_id}/types"),
    ("identity", "/identity", "/v3/auth/projects", "/v3/auth/catalog"),
)
RULES = [{"service": service, "method": "GET", "path": path} for service, _, path, _ in DOORS]


@dataclass
class Cloud:
    session: ClientSession
    server: TestServer
    login: Login
    service: Login
    project: str = ""

    async def ask(self, method: str, path: str, token: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        path = path.format(project_id=self.project)
        headers = {"X-Auth-Token": token, **headers}
        async with self.session.request(method, self.server.make_url(path), headers=headers, json=body) as answer:
            return answer.status, await answer.json() if answer.content_type == "application/json" else await answer.text()

    async def token(self, identity: dict[str, Any], **more: Any) -> tuple[str, Any]:
        body = {"auth": {"identity": identity, **more}}
        async with self.session.post(self.server.make_url("/identity/v3/auth/tokens"), json=body) as answer:
            assert answer.status == 201, await answer.text()
            return answer.headers["X-Subject-Token"], (await answer.json())["token"]

    async def logged_in(self, login: Login) -> tuple[str, Any]:
        user = {"name": login.username, "domain": {"id": "default"}, "password": login.password}
        scope = {"project": {"name": login.project_name, "domain": {"id": "default"}}}
        return await self.token({"methods": ["password"], "password": {"user": user}}, scope=scope)

    async def robot(self, rules: list[dict[str, str]]) -> str:
        """A token of a credential of the member's that has these rules."""
        token, said = await self.logged_in(self.login)
        self.project = said["project"]["id"]
        path = f"/identity/v3/users/{said['user']['id']}/application_credentials"
        status, made = await self.ask("POST", path, token, {"application_credential": {"name": "robot", "access_rules": rules}})
        assert status == 201, made
        credential = {"id": made["application_credential"]["id"], "secret": made["application_credential"]["secret"]}
        return (await self.token({"methods": ["application_credential"], "application_credential": credential}))[0]


@pytest.fixture
async def cloud(served: tuple[app.App, TestServer]) -> AsyncIterator[Cloud]:
    running, server = served
    assert running.secrets is not None
    async with ClientSession() as session:
        yield Cloud(session, server, running.secrets.demo, running.secrets.service)


async def test_every_service_lets_in_what_a_rule_allows_and_nothing_else(cloud: Cloud) -> None:
    robot = await cloud.robot(RULES)
    member, _ = await cloud.logged_in(cloud.login)
    for _, mount, allowed, other in DOORS:
        assert (await cloud.ask("GET", mount + allowed, robot))[0] == 200, mount
        status, body = await cloud.ask("GET", mount + other, robot)
        assert status == 403, (mount, body)
        assert "No access rule of the application credential allows GET " + mount in str(body)
        assert (await cloud.ask("POST", mount + allowed, robot, {}))[0] == 403, mount
        assert (await cloud.ask("GET", mount + other, member))[0] == 200, mount


async def test_what_a_service_asks_on_behalf_of_the_user_is_not_bound(cloud: Cloud) -> None:
    robot = await cloud.robot(RULES)
    member, _ = await cloud.logged_in(cloud.login)
    service, _ = await cloud.logged_in(cloud.service)
    for _, mount, _, other in DOORS:
        assert (await cloud.ask("GET", mount + other, robot, **{"X-Service-Token": service}))[0] == 200, mount
        for no_service in (robot, member, "nonsense"):
            assert (await cloud.ask("GET", mount + other, robot, **{"X-Service-Token": no_service}))[0] == 403, mount


async def test_nobody_gets_around_a_rule_by_writing_the_path_otherwise(cloud: Cloud) -> None:
    robot = await cloud.robot([{"service": "compute", "method": "GET", "path": "/v2.1/servers/*"}])
    paths = ("/v2.1/servers/a/ips", "/v2.1/servers/../flavors", "/v2.1//servers/detail", "/v2/servers/detail", "/v2.1/servers%2Fdetail")
    for path in paths:
        async with cloud.session.get(f"{cloud.server.make_url('/compute')}{path}", headers={"X-Auth-Token": robot}) as answer:
            assert answer.status in (403, 404), path
    assert (await cloud.ask("GET", "/compute/v2.1/servers/detail", robot))[0] == 200
