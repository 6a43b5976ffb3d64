"""Nothing that a caller sends makes the service fail: wrong bodies are 4xx, never 5xx."""

import itertools
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from nova_async.services.identity.http import Who, table

from .client import Client

NASTY: tuple[Any, ...] = (None, 0, -1, 1e308, True, "", "\0", "a\0b", "x" * 70_000, "\ud83d", [], [None], {}, {"id": 1}, {"name": ["x"]})
CLAIMS = (("X-Roles", "admin"), ("X-Role", "admin"), ("X-User-Id", "x"), ("X-Is-Admin-Project", "True"), ("X-Identity-Status", "Confirmed"))
AUTH = {
    "auth": {"identity": {"methods": ["password"], "password": {"user": {"id": "x", "password": "y"}}}, "scope": {"project": {"id": "z"}}}
}
BODIES: dict[str, dict[str, Any]] = {
    "/auth/tokens": AUTH,
    "/users": {"user": {"name": "n", "password": "p", "domain_id": "default", "enabled": True, "default_project_id": "x", "options": {}}},
    "/projects": {
        "project": {"name": "n", "domain_id": "default", "parent_id": "default", "tags": ["t"], "is_domain": False, "description": "d"}
    },
    "/domains": {"domain": {"name": "n", "enabled": True, "explicit_domain_id": "0" * 32}},
    "/groups": {"group": {"name": "n", "domain_id": "default", "description": "d"}},
    "/roles": {"role": {"name": "n", "domain_id": None, "options": {"immutable": False}}},
    "/regions": {"region": {"id": "r", "description": "d", "parent_region_id": "RegionOne"}},
    "/services": {"service": {"type": "t", "name": "n", "enabled": True}},
    "/endpoints": {"endpoint": {"service_id": "x", "url": "http://x", "interface": "public", "region_id": "RegionOne"}},
    "/registered_limits": {"registered_limits": [{"service_id": "x", "region_id": "RegionOne", "resource_name": "n", "default_limit": 1}]},
    "/credentials": {"credential": {"user_id": "x", "project_id": "y", "type": "cert", "blob": "b"}},
    "/limits": {"limits": [{"service_id": "x", "project_id": "y", "resource_name": "n", "resource_limit": 1, "description": "d"}]},
}


@pytest.mark.parametrize("path", BODIES)
async def test_any_part_of_a_body_may_be_nonsense(admin: Client, path: str) -> None:
    for nonsense, place in itertools.product(NASTY, _places(BODIES[path])):
        body = _with(BODIES[path], place, nonsense)
        answer = await admin.ask("POST", path, body)
        assert answer.status < 500, (place, nonsense)
        if answer.status >= 400:
            assert answer.body["error"]["code"] == answer.status
            assert set(answer.body["error"]) == {"code", "title", "message"}


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b"\xff\xfe", 400),
        (b'{"auth":' * 50_000, 413),
        (b'{"a":' * 10_000, 400),
        (b'{"auth": {"identity": {"methods": ["password\\u0000"]}}}', 400),
        (b'{"auth": {"identity": {"methods": []}}}', 400),
        (b'{"auth": {"identity": {"methods": ["password"]}}}', 400),
        (b'{"auth": {"identity": {"methods": ["saml2"]}}}', 401),
        (b" " * 2_000_000, 413),
    ],
)
async def test_a_body_that_is_no_login_is_refused(session: aiohttp.ClientSession, anybody: Client, octets: bytes, status: int) -> None:
    async with session.post(anybody.url + "/auth/tokens", data=octets, headers={"Content-Type": "application/json"}) as got:
        assert got.status == status


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/endpoints", {"endpoint": BODIES["/endpoints"]["endpoint"] | {"interface": "x" * 70_000}}),
        ("/auth/tokens", {"auth": AUTH["auth"] | {"scope": "x" * 70_000}}),
    ],
)
async def test_a_refusal_does_not_repeat_all_that_it_refuses(admin: Client, path: str, body: dict[str, Any]) -> None:
    answer = await admin.ask("POST", path, body)

    assert answer.status == 400
    assert len(answer.body["error"]["message"]) <= 2000


@pytest.mark.parametrize("value", ["1" * 30, "-" + "9" * 400, "1e400", "[" * 50_000 + "]" * 50_000, '{"a":' * 15_000 + "1" + "}" * 15_000])
async def test_json_that_no_column_can_hold_is_refused_or_kept(session: aiohttp.ClientSession, admin: Client, value: str) -> None:
    body = '{"user": {"name": "odd", "more": ' + value + "}}"
    headers = {"X-Auth-Token": admin.token}

    async with session.post(admin.url + "/users", data=body, headers=headers) as got:
        assert got.status in (201, 400)
    async with session.get(admin.url + "/users", headers=headers) as got:
        assert got.status == 200


async def test_a_body_without_a_length_is_bounded_too(session: aiohttp.ClientSession, anybody: Client) -> None:
    async def endless() -> Any:
        for _ in range(200):
            yield b" " * 10_000

    async with session.post(anybody.url + "/auth/tokens", data=endless()) as got:
        assert got.status == 413


@pytest.mark.parametrize(
    "path", ["/users?name=%00", "/users/%00", "/users?limit=-1", "/users?limit=%D9%A3", "/projects?tags=%00", "/users?marker=%00"]
)
async def test_a_url_that_no_database_can_hold_is_refused(admin: Client, path: str) -> None:
    assert (await admin.ask("GET", path)).status == 400


async def test_every_route_but_the_open_ones_wants_a_token(session: aiohttp.ClientSession, anybody: Client, demo: Client) -> None:
    for method, path, _, who in table():
        url = anybody.url.removesuffix("/v3") + path
        if who is Who.ALL:
            continue
        for headers in ({}, {"X-Auth-Token": "nonsense"}, {"X-Roles": "admin", "X-User-Id": "x", "X-Identity-Status": "Confirmed"}):
            async with session.request(method, url.replace("{", "").replace("}", ""), headers=headers) as got:
                assert got.status == 401, (method, path)
                assert "WWW-Authenticate" in got.headers


@pytest.mark.parametrize("spelling", [str, str.lower, lambda name: name.replace("-", "_")], ids=["as it is", "lower", "underscores"])
async def test_every_administrators_route_refuses_others(
    session: aiohttp.ClientSession, demo: Client, spelling: Callable[[str], str]
) -> None:
    """SEC-039: whatever else they say of themselves beside their token."""
    claims = [(spelling(name), value) for name, value in CLAIMS for _ in range(2)]
    seen = 0
    for method, path, _, who in table():
        if who not in (Who.ADMIN, Who.READER, Who.SELF):
            continue
        url = demo.url.removesuffix("/v3") + path.replace("{", "").replace("}", "")
        async with session.request(method, url, headers=[("X-Auth-Token", demo.token), *claims], json={}) as got:
            assert got.status == 403, (method, path)
            seen += 1
    assert seen > 80


def _places(body: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [at, *(place for key, value in inside for place in _places(value, (*at, key)))]


def _with(body: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    copy = dict(body) if isinstance(body, dict) else list(body)
    copy[place[0]] = _with(body[place[0]], place[1:], value)
    return copy
