"""Where the token of a request does not go: into no message, no row, no log line, and to no address but those of the services."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from nova_async.api.app import Parts, application
from nova_async.bus import local
from nova_async.bus.messages import Message
from nova_async.context import Context
from nova_async.db import Database
from nova_async.errors import Unauthorized
from nova_async.model.access_rules import Visit
from nova_async.services.callers import CallersTokens
from tests.cloud import USER, Cloud, cloud

BEARER = "gAAAAA-bearer-of-the-caller"
PASSWORD = "a-password-of-the-callers"


class Tokens:
    async def validate(self, token: str, visit: Visit | None = None) -> Context:
        if token != BEARER:
            raise Unauthorized
        return msgspec.structs.replace(USER, roles=("admin", "manager", "member", "reader"))

    async def has_project(self, project_id: str) -> bool:
        return True


@pytest.fixture
async def frames(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All that goes over the bus: commands, questions, answers, news, notifications."""
    seen: list[bytes] = []
    sealed = local.sealed

    def noted(message: Message) -> bytes:
        seen.append(sealed(message))
        return seen[-1]

    monkeypatch.setattr(local, "sealed", noted)
    return seen


@pytest.fixture
async def made(database: Database, tmp_path: Path, frames: list[bytes]) -> AsyncIterator[Cloud]:
    async with cloud(database, tmp_path, notifications__enabled=True) as one:
        yield one


async def test_the_token_of_a_request_goes_nowhere_with_what_it_began(made: Cloud, frames: list[bytes]) -> None:
    """SEC-079: a server is made, changed in every way that there is, and deleted by somebody whose token is known by its sight."""
    conductor = made.conductor
    services = (made.images, made.networks, made.volumes)
    callers = CallersTokens(made.world)
    parts = Parts(made.config, made.world, made.database, made.bus, conductor.engine, Tokens(), *services, conductor.table, callers=callers)
    outer = web.Application()
    outer.add_subapp("/compute", application(parts))
    said: list[str] = []
    async with TestClient(TestServer(outer)) as client:

        async def ask(method: str, path: str, body: Any = None) -> Any:
            headers = {"X-Auth-Token": BEARER, "OpenStack-API-Version": "compute latest"}
            async with client.request(method, f"/compute/v2.1{path}", json=body, headers=headers) as response:
                said.append(f"{response.headers}{await response.text()}")
                assert response.status < 300, said[-1]
                await made.settle()
                return await response.json() if response.content_type == "application/json" and response.status != 204 else {}

        with capture_logs() as events:
            volume = await made.volume()
            flavors = {one["name"]: one["id"] for one in (await ask("GET", "/flavors"))["flavors"]}
            body = {"name": "s", "imageRef": made.image_id, "flavorRef": flavors["m1.tiny"], "networks": "auto"}
            server = (await ask("POST", "/servers", {"server": body}))["server"]["id"]
            one = f"/servers/{server}"
            for action in (
                {"os-stop": None}, {"os-start": None}, {"reboot": {"type": "HARD"}}, {"pause": None}, {"unpause": None},
                {"changePassword": {"adminPass": PASSWORD}}, {"resize": {"flavorRef": flavors["m1.small"]}}, {"confirmResize": None},
                {"createImage": {"name": "copy"}}, {"rebuild": {"imageRef": made.image_id}}, {"lock": None}, {"unlock": None},
                {"migrate": None}, {"revertResize": None}, {"rescue": {}}, {"unrescue": None}, {"shelve": None}, {"unshelve": None},
            ):  # fmt: skip
                await ask("POST", f"{one}/action", action)
            await ask("POST", f"{one}/os-volume_attachments", {"volumeAttachment": {"volumeId": volume}})
            await ask("DELETE", f"{one}/os-volume_attachments/{volume}")
            await ask("POST", f"{one}/remote-consoles", {"remote_console": {"protocol": "vnc", "type": "novnc"}})
            async with made.database.connection() as conn:
                tables = await conn.fetch("SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('api', 'cell')")
                rows = [str(await conn.fetchval(f"SELECT string_agg(t::text, ' ') FROM {name} t")) for (name,) in tables]
            await ask("DELETE", one)
    assert len([frame for frame in frames if server.encode() in frame]) > 50
    assert [row for row in rows if server in row]
    for secret in (BEARER, PASSWORD):
        assert [frame for frame in frames if secret.encode() in frame] == []
        assert [row[:200] for row in rows if secret in row] == []
        assert [event for event in events if secret in repr(event)] == []
        assert [text for text in said if secret in text] == []
