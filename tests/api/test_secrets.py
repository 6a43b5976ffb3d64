"""SEC-066: whatever fails behind the API, nothing secret of the request comes into a log, a fault or a notification."""

import io
from collections.abc import Awaitable, Callable

import pytest

from nova_async.context import Context
from nova_async.errors import Unauthorized
from nova_async.model.access_rules import Visit
from nova_async.services.volume import Volume
from tests import fuse
from tests.api.conftest import CALLERS, IMAGE, MISSING_PROJECT, VOLUME, Answer, Api
from tests.api.conftest import volume as a_volume
from tests.fuse import FILE, PASSWORD, USER_DATA, output

__all__ = ["output"]
TOKEN = "gAAAAAB-t0k3n-of-the-caller"
PRIVATE_KEY = "PRIVATE KEY"
CANARIES = (TOKEN, PRIVATE_KEY, *fuse.CANARIES)
FAILURES = {"request": fuse.request_with(X_Auth_Token=TOKEN), "bytes": fuse.bytes_with(PASSWORD + USER_DATA)}
Request = Callable[[Api, str], Awaitable[Answer]]


class OneToken:
    async def validate(self, token: str, visit: Visit | None = None) -> Context:
        if token == TOKEN:
            return CALLERS["admin"]
        if token not in CALLERS:
            raise Unauthorized()
        return CALLERS[token]

    async def has_project(self, project_id: str) -> bool:
        return project_id != MISSING_PROJECT


def server(**fields: object) -> dict[str, object]:
    return {"name": "web", "imageRef": IMAGE, "flavorRef": "1", "adminPass": PASSWORD, "user_data": USER_DATA, **fields}


async def create(api: Api, _: str) -> Answer:
    return await api.post("/servers", {"server": server(personality=[{"path": "/etc/motd", "contents": FILE}])}, TOKEN)


async def rebuild(api: Api, id: str) -> Answer:
    asked = {"imageRef": IMAGE, "adminPass": PASSWORD, "user_data": USER_DATA}
    return await api.act(id, "rebuild", asked, TOKEN, "2.57")


async def rescue(api: Api, id: str) -> Answer:
    return await api.act(id, "rescue", {"adminPass": PASSWORD}, TOKEN)


async def make_key_pair(api: Api, _: str) -> Answer:
    return await api.post("/os-keypairs", {"keypair": {"name": f"k{len(api.starter.begun)}"}}, TOKEN, "2.10")


async def open_console(api: Api, id: str) -> Answer:
    return await api.post(f"/servers/{id}/remote-consoles", {"remote_console": {"protocol": "vnc", "type": "novnc"}}, TOKEN, "2.99")


async def attach(api: Api, id: str) -> Answer:
    return await api.post(f"/servers/{id}/os-volume_attachments", {"volumeAttachment": {"volumeId": VOLUME}}, TOKEN)


REQUESTS: dict[str, Request] = {f.__name__: f for f in (create, rebuild, rescue, make_key_pair, open_console, attach)}


async def fresh(api: Api) -> str:
    """A server that anything can be done with."""
    made: Volume = a_volume(VOLUME, bootable=True)
    api.volumes.shelf[VOLUME] = made
    async with api.database.connection() as conn:
        await conn.execute("DELETE FROM keypairs")
        await conn.execute("UPDATE workflows SET state = 'done', task_state = NULL WHERE finished_at IS NULL")
        await conn.execute("UPDATE instances SET deleted = true, vm_state = 'deleted'")
    return await api.server("admin")


async def nothing_told(api: Api, output: io.StringIO, *answers: Answer, canaries: tuple[str, ...] = CANARIES) -> None:
    async with api.database.connection() as conn:
        kept = await conn.fetchval("SELECT coalesce(string_agg(facts::text, ' '), '') FROM notifications")
    texts = {"log": output.getvalue(), "notifications": kept}
    texts |= {f"fault {answer.raw!r}": answer.raw.decode() for answer in answers if answer.status >= 400}
    assert [(where, canary) for where, text in texts.items() for canary in canaries if canary in text] == []


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_that_fails_at_any_call_keeps_its_secrets(api: Api, output: io.StringIO, name: str) -> None:
    ask, own = REQUESTS[name], fuse.Fuse()
    api.held = False  # crashes are documented nowhere
    api.parts.tokens = OneToken()
    for part in (api.images, api.networks, api.volumes, api.bus, api.starter, api.parts.tokens):
        own.wire(part, FAILURES["request"])
    own.wire_database(api.database, fuse.row_of)
    for make in (None, *FAILURES.values()):
        number, blown = 0, []
        while True:
            id = await fresh(api)
            number += 1
            own.set(number, make)
            answer = await ask(api, id)
            own.off()
            await nothing_told(api, output, answer)
            if not own.blown:
                break
            blown.append(own.blown)
        assert answer.status < 300, answer  # nothing failed in the last round: the request is one that does something
        assert len(blown) > 3, blown
        assert "request.crashed" in output.getvalue(), "the failures come into the log"


async def test_a_consoles_token_in_a_path_is_not_logged(api: Api, output: io.StringIO) -> None:
    """SEC-066"""
    api.held = False
    url = (await open_console_of(api, await api.server("admin"))).body["remote_console"]["url"]
    token = url.partition("token%3D")[2] or url.rpartition("token=")[2]
    assert len(token) == 64
    path = f"/os-console-auth-tokens/{token}"
    assert (await api.get(path, "admin", "2.99")).status == 200
    own = fuse.Fuse()
    own.wire_database(api.database, fuse.call_of)
    own.set(1)
    assert (await api.get(path, "admin", "2.99")).status == 500
    own.off()
    api.bus.console_port += 1  # the guest was started anew
    assert (await api.get(path, "admin", "2.99")).status == 404
    assert "/os-console-auth-tokens/***" in output.getvalue()
    await nothing_told(api, output, canaries=(token,))


async def open_console_of(api: Api, id: str) -> Answer:
    asked = {"remote_console": {"protocol": "vnc", "type": "novnc"}}
    return await api.post(f"/servers/{id}/remote-consoles", asked, "admin", "2.99")


@pytest.mark.parametrize("field", ["adminPass", "user_data", "personality"])
async def test_what_is_wrong_with_a_secret_is_said_without_it(api: Api, output: io.StringIO, field: str) -> None:
    """SEC-066"""
    wrong = {"adminPass": PASSWORD + "\x00" * 300, "user_data": "u53r-data is no base64!"}
    wrong |= {"adminPass": {"a": PASSWORD}, "personality": [{"path": "/a", "contents": "f1le-of-the-user!"}]}
    await api.flavor("1")
    answer = await api.post("/servers", {"server": server() | {field: wrong[field]}})
    assert answer.status == 400
    await nothing_told(api, output, answer)
