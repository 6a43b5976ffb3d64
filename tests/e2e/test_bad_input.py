"""Whatever is sent to a running cloud: an answer in the service's own words, never a 5xx, nothing half made, nothing secret in the log."""

import asyncio
import base64
import json
import re
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest

from nova_async.api.routes import ROUTES
from nova_async.api.versions import LATEST
from nova_async.services.identity.http import table as identity_routes
from nova_async.services.image.blank import blank_qcow2

from .running import ADMIN, MEMBER, Answer, RunningCloud, User, running_cloud

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("bad-input")]

CANARY = "c4n4ry-Pa55word-of-a-user"
NOWHERE = "deadbeef-dead-4eef-8ead-beefdeadbeef"
BAD_IDS = ("%00", "..%2F..%2Fetc%2Fpasswd", "-1", "9" * 30, quote("💩\u202e"), "%ff%fe", quote("' OR 1=1; --"), "x" * 1500, NOWHERE)
NOT_JSON = (b"{", b"", b"nonsense", b"\xff\xfe{}", b"[" * 50_000, b'{"a": ' * 20_000, b'{"server": NaN}', b'{"a": "\\ud800"}', b"{} {}")
NOT_OBJECTS = (b"[]", b'"text"', b"7", b"null", b"true")
NETWORK = ("networks", "subnets", "ports", "security-groups", "security-group-rules")
IMAGE = [
    *(("GET", f"/v2/images/{{id}}{below}") for below in ("", "/file", "/members", "/members/{id}", "/tasks")),
    *(("DELETE", f"/v2/images/{{id}}{below}") for below in ("", "/tags/{id}", "/members/{id}")),
    *(("PUT", f"/v2/images/{{id}}{below}") for below in ("/file", "/stage", "/tags/{id}", "/members/{id}")),
    *(("POST", f"/v2/images/{{id}}{below}") for below in ("/import", "/members", "/actions/deactivate", "/actions/reactivate")),
    ("PATCH", "/v2/images/{id}"),
    ("GET", "/v2/schemas/{id}"),
]
# Nova takes any text for a project or a class, Keystone lists what an unknown user has: nothing.
ANYTHING_GOES = (
    "/os-quota-sets",
    "/os-quota-class-sets",
    "/os-simple-tenant-usage/",
    "/versions/",
    "/access_rules",
    "/application_credentials",
)


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    with running_cloud(hosts=2) as made:
        yield made
        made.is_consistent()


@pytest.fixture
async def admin(cloud: RunningCloud) -> AsyncIterator[User]:
    async with unharmed(cloud, ADMIN) as user:
        yield user


@pytest.fixture
async def member(cloud: RunningCloud) -> AsyncIterator[User]:
    async with unharmed(cloud, MEMBER) as user:
        yield user


@asynccontextmanager
async def unharmed(cloud: RunningCloud, name: str) -> AsyncIterator[User]:
    """A user of the cloud; whatever they did, afterwards there is as much in it as before, and their token is in no log."""
    since = len(cloud.log_text())
    async with cloud.user(name) as user, cloud.user(ADMIN) as watcher:
        await user.get("/network/v2.0/security-groups")  # makes the project's default group
        before = await census(watcher)
        yield user
        assert await census(watcher) == before
    cloud.has_a_clean_log(CANARY, user.token, watcher.token, since=since)


async def census(admin: User) -> dict[str, int]:
    """How many there are of everything."""
    paths = {"servers": "/compute/v2.1/servers?all_tenants=1", "flavors": "/compute/v2.1/flavors?is_public=none"}
    paths |= {"keypairs": "/compute/v2.1/os-keypairs", "images": "/image/v2/images"}
    paths |= {name.replace("-", "_"): f"/network/v2.0/{name}" for name in NETWORK}
    paths |= {name: f"/identity/v3/{name}" for name in ("users", "projects", "roles", "groups", "services", "endpoints", "regions")}
    return {name: len((await admin.get(path))[name]) for name, path in paths.items()}


def is_fault(path: str, answer: Answer) -> bool:
    """Whether an answer of 4xx has the form of the service that it comes from."""
    body = answer.body
    if path.startswith("/compute"):
        if body is None:
            return answer.text.startswith(f"{answer.status} ")  # no such path: Nova's routing answers in plain text
        inner = next(iter(body.values()))
        return len(body) == 1 and inner["code"] == answer.status and isinstance(inner["message"], str)
    if path.startswith("/identity"):
        return {"code", "message", "title"} <= body["error"].keys() and body["error"]["code"] == answer.status
    if path.startswith("/network"):
        return body["NeutronError"].keys() == {"type", "message", "detail"}
    return body is not None and body["code"].startswith(f"{answer.status} ") and "message" in body


async def all_refused(
    user: User, requests: Iterable[tuple[str, str, dict[str, Any]]], allowed: Callable[[str], bool] = lambda _: False
) -> None:
    """Send them, some at a time; each must be refused with a 4xx (or answered well, where that is allowed)."""
    turn = asyncio.Semaphore(8)
    wrong: list[str] = []

    async def one(method: str, path: str, options: dict[str, Any]) -> None:
        async with turn:
            answer = await user.try_to(method, path, **options)
        if answer.status < 300 and allowed(path):
            return
        fine = 400 <= answer.status < 500 and (method == "HEAD" or is_fault(path, answer))
        if not fine:
            wrong.append(f"{method} {path[:200]} {str(options)[:300]} -> {answer.status} {answer.text[:300]}")

    await asyncio.gather(*(one(*request) for request in requests))
    assert not wrong, f"{len(wrong)} were not refused well:\n" + "\n".join(wrong[:20])


def version_of(route: Any) -> dict[str, str]:
    """Headers that ask for a version in which the route is served."""
    version = min(route.until, LATEST)
    return {"OpenStack-API-Version": f"compute {version // 1000}.{version % 1000}" if version > 1000 else "compute 2.1"}


def places(server: str) -> list[tuple[str, str, str, dict[str, str]]]:
    """(method, path, template, headers) of everything that takes a body; servers in paths are a real one."""
    found = []
    for route in ROUTES:
        if route.handler is not None and route.body is not None:
            path = re.sub(r"\{[^}]*\}", "nonsense", re.sub(r"/servers/\{[^}]*\}", f"/servers/{server}", route.path))
            found.append((route.method, f"/compute/v2.1{path}", route.path, {}))
    for method, template, *_ in identity_routes():
        if method in ("POST", "PATCH") and "/auth/" not in template:
            found.append((method, "/identity" + re.sub(r"\{[^}]*\}", "nonsense", template), template, {}))
    found += [("POST", f"/network/v2.0/{name}", name, {}) for name in NETWORK]
    found += [("PUT", f"/network/v2.0/{name}/nonsense", name, {}) for name in NETWORK]
    found += [("POST", "/image/v2/images", "", {}), ("POST", "/identity/v3/auth/tokens", "", {})]
    return list({(method, path): (method, path, template, headers) for method, path, template, headers in found}.values())


async def test_bodies_that_are_not_what_they_should_be(cloud: RunningCloud, admin: User) -> None:
    async with a_server(admin) as server:
        requests = []
        for method, path, _, headers in places(server):
            for body in (*NOT_JSON, *NOT_OBJECTS, b"{}", b'{"unknown": {"a": 1}}'):
                if path.startswith("/image") and body == b"{}":
                    continue  # an image may be anything
                requests.append((method, path, {"data": body, "headers": headers | {"Content-Type": "application/json"}}))
        await all_refused(admin, requests)


async def test_ids_that_are_none(cloud: RunningCloud, admin: User) -> None:
    paths = [(r.method, f"/compute/v2.1{r.path}") for r in ROUTES if "{" in r.path and r.handler is not None and r.action is None]
    paths += [(method, f"/identity{path}") for method, path, *_ in identity_routes() if "{" in path and method != "PUT"]
    paths += [(method, f"/network/v2.0/{name}/{{id}}") for name in NETWORK for method in ("GET", "DELETE", "PUT")]
    paths += [(method, f"/image{path}") for method, path in IMAGE]
    requests: list[tuple[str, str, dict[str, Any]]] = []
    for method, path in sorted(set(paths)):
        for bad in BAD_IDS:
            octets = path.endswith(("/file", "/stage"))
            options: dict[str, Any] = {"headers": {"Content-Type": "application/octet-stream"}} if octets else {}
            if method in ("POST", "PUT", "PATCH"):
                options |= {"data": b"x"} if octets else {"body": {}}
            requests.append((method, re.sub(r"\{[^}]*\}", bad, path), options))
    await all_refused(admin, requests, lambda path: any(word in path for word in ANYTHING_GOES))


@pytest.mark.parametrize(
    "query",
    [
        *(
            "limit=-1",
            "limit=abc",
            f"limit={'9' * 40}x",
            "limit=1.5",
            "limit=%00",
            "marker=%00",
            f"marker={NOWHERE}",
            "limit=-99999999999999999999",
        ),
        *(
            "changes-since=yesterday",
            "changes-since=%00",
            "sort_key=password",
            "sort_dir=sideways",
            "ip=((((",
            "name=%5B",
            "name=%00",
            "status=%00",
        ),
        *(
            "limit=1&limit=2&limit=x",
            "flavor=%00",
            "image=%ff",
            "tags=%00",
            "host=%00",
            "all_tenants=maybe",
            "deleted=maybe",
            "vm_state=%00",
        ),
    ],
)
async def test_pages_and_filters_that_make_no_sense(cloud: RunningCloud, member: User, query: str) -> None:
    paths = ["/compute/v2.1/servers", "/compute/v2.1/servers/detail", "/compute/v2.1/flavors", "/compute/v2.1/os-keypairs"]
    paths += ["/image/v2/images", "/network/v2.0/networks", "/network/v2.0/ports", "/identity/v3/projects"]
    strict = query.startswith("limit=") and "&" not in query and "-9999" not in query
    for path in paths:
        answer = await member.try_to("GET", f"{path}?{query}")
        assert answer.status < 500, (path, answer)
        assert answer.status < 300 or is_fault(path, answer), (path, answer)
        if strict and not path.startswith("/identity"):
            assert answer.status == 400, (path, answer)


CREATES: dict[str, tuple[int, dict[str, Any]]] = {
    "an unknown flavor": (400, {"flavorRef": "no-such-flavor"}),
    "a flavor of the wrong type": (400, {"flavorRef": {"a": 1}}),
    "an unknown image": (400, {"imageRef": NOWHERE}),
    "an image that is no id": (400, {"imageRef": "http://example.org/image"}),
    "an image above the root": (400, {"imageRef": "../../etc/passwd"}),
    "no image at all": (400, {"imageRef": ""}),
    "an unknown network": (400, {"networks": [{"uuid": NOWHERE}]}),
    "an unknown port": (400, {"networks": [{"port": NOWHERE}]}),
    "networks of the wrong type": (400, {"networks": "some"}),
    "an address that is none": (400, {"networks": [{"uuid": NOWHERE, "fixed_ip": "300.1.1.1"}]}),
    "an unknown key": (400, {"key_name": "nobody's"}),
    "an unknown security group": (400, {"security_groups": [{"name": "nobody's"}], "networks": "auto"}),
    "an unknown zone": (400, {"availability_zone": "atlantis"}),
    "a host named in the zone": (403, {"availability_zone": "nova:vm-1"}),
    "a host": (403, {"host": "vm-1"}),
    "user data that are not base64": (400, {"user_data": "not base64!"}),
    "user data that are too long": (400, {"user_data": base64.b64encode(b"x" * 70_000).decode()}),
    "more servers than the quota": (403, {"min_count": 11, "max_count": 11}),
    "fewer at most than at least": (400, {"min_count": 3, "max_count": 2}),
    "no servers": (400, {"min_count": 0}),
    "minus one server": (400, {"min_count": -1}),
    "very many servers": (400, {"min_count": 10**9, "max_count": 10**9}),
    "a number of servers that no database holds": (400, {"min_count": 10**30, "max_count": 10**30}),
    "too much metadata": (403, {"metadata": {f"k{i}": "v" for i in range(129)}}),
    "metadata of the wrong type": (400, {"metadata": {"a": {"b": 1}}}),
    "metadata with a NUL": (400, {"metadata": {"a": "b\0c"}}),
    "metadata that are too long": (400, {"metadata": {"a": "b" * 256}}),
    "an empty name": (400, {"name": ""}),
    "a blank name": (400, {"name": "   "}),
    "a long name": (400, {"name": "n" * 256}),
    "a name with a NUL": (400, {"name": "a\0b"}),
    "half a character as a name": (400, {"name": "\ud800"}),
    "a name of the wrong type": (400, {"name": ["a"]}),
    "an unknown field": (400, {"unknown": 1}),
    "injected files": (400, {"personality": [{"path": "/etc/passwd", "contents": "eA=="}]}),
    "a tag with a comma": (400, {"tags": ["a,b"]}),
    "too many tags": (400, {"tags": [f"t{i}" for i in range(51)]}),
    "a disk that is none": (400, {"block_device_mapping_v2": [{"boot_index": 0, "source_type": "nothing"}]}),
    "a volume": (400, {"imageRef": "", "block_device_mapping_v2": [{"boot_index": 0, "uuid": NOWHERE, "source_type": "volume"}]}),
    "a password that is none": (400, {"adminPass": [CANARY]}),
    "a config drive that may be": (400, {"config_drive": "maybe"}),
    "an address of its own that is none": (400, {"accessIPv4": "1.2.3"}),
    "a hostname that is none": (400, {"hostname": "not a hostname!"}),
}


@pytest.mark.parametrize("what", CREATES)
async def test_servers_that_cannot_be(cloud: RunningCloud, member: User, what: str) -> None:
    status, fields = CREATES[what]
    image = (await member.get("/image/v2/images"))["images"][0]["id"]
    server = {"name": "never", "imageRef": image, "flavorRef": "1", "networks": "none", "adminPass": CANARY} | fields
    body = json.dumps({"server": server}).encode()
    answer = await member.try_to("POST", "/compute/v2.1/servers", data=body, headers={"Content-Type": "application/json"})
    assert answer.status == status, answer
    assert is_fault("/compute", answer)
    assert CANARY not in answer.text


NAMED = {
    "/compute/v2.1/flavors": ("flavor", {"ram": 1, "vcpus": 1, "disk": 1}),
    "/compute/v2.1/os-keypairs": (
        "keypair",
        {"type": "ssh", "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDIi0oYBmSGDAyLNoDgBkAhL0uRbSpsMsqVbFHNJIVAJ"},
    ),
    "/network/v2.0/networks": ("network", {}),
    "/network/v2.0/security-groups": ("security_group", {}),
    "/identity/v3/projects": ("project", {"domain_id": "default"}),
    "/identity/v3/users": ("user", {"domain_id": "default", "password": CANARY}),
    "/identity/v3/roles": ("role", {}),
    "/image/v2/images": ("", {}),
}


@pytest.mark.parametrize(
    "name", ["a\0b", "\ud800", "x" * 70_000, 7, ["a"], {"a": 1}], ids=["NUL", "half", "long", "number", "list", "object"]
)
async def test_names_that_cannot_be(cloud: RunningCloud, admin: User, name: Any) -> None:
    requests = []
    for path, (noun, fields) in NAMED.items():
        body = {"name": name} | fields
        data = json.dumps({noun: body} if noun else body).encode()
        requests.append(("POST", path, {"data": data, "headers": {"Content-Type": "application/json"}}))
    await all_refused(admin, requests)


async def test_names_of_all_the_world(cloud: RunningCloud, admin: User) -> None:
    name = "Ünïcødé 💩 סדר 名前 <b>&amp;'\";DROP"
    for path, (noun, fields) in NAMED.items():
        if noun in ("flavor", "keypair"):
            continue  # Nova limits their characters
        body = {"name": name} | fields
        made = await admin.ask("POST", path, {noun: body} if noun else body)
        made = made[noun] if noun else made
        assert made["name"] == name
        await admin.ask("DELETE", f"{path}/{made['id']}")
    server = await admin.boot(name)
    assert (await admin.until(server, "ACTIVE"))["name"] == name
    assert len((await admin.get(f"/compute/v2.1/servers?name={quote(re.escape(name))}"))["servers"]) == 1
    await gone(admin, server)


@pytest.mark.parametrize(
    ("version", "status"),
    [
        *(
            ("compute 2.999", 406),
            ("compute 3.0", 406),
            ("compute 1.1", 406),
            ("compute 2", 400),
            ("compute abc", 400),
            ("compute 2.1.1", 400),
        ),
        *(("compute -2.-1", 400), (f"compute 2.{'9' * 5000}", 400), ("compute 2.01", 400), ("compute \u0662.1", 400)),
    ],
)
async def test_versions_that_are_none(cloud: RunningCloud, member: User, version: str, status: int) -> None:
    for header, value in (("OpenStack-API-Version", version), ("X-OpenStack-Nova-API-Version", version.removeprefix("compute "))):
        headers = {"OpenStack-API-Version": "identity 3.1"} | {header: value}
        answer = await member.try_to("GET", "/compute/v2.1/servers", headers=headers)
        assert answer.status in (status, 400), answer
        assert answer.status >= 400
        assert is_fault("/compute", answer)


@pytest.mark.parametrize("token", ["", "nonsense", "x" * 7000, "gAAAAA" + "B" * 200, "' OR 1=1 --", "\u00ff"])
async def test_tokens_that_are_none(cloud: RunningCloud, member: User, token: str) -> None:
    for path in ("/compute/v2.1/servers", "/image/v2/images", "/network/v2.0/networks", "/identity/v3/projects"):
        for method in ("GET", "POST"):
            answer = await member.try_to(method, path, headers={"X-Auth-Token": token})
            assert answer.status == 401, (path, answer)
            assert is_fault(path, answer)
    assert len(token) < 8 or token not in cloud.log_text()


async def test_logins_that_fail(cloud: RunningCloud, member: User) -> None:
    requests = []
    for who in ({"name": "demo"}, {"id": "x" * 64}, {"name": "no\0body"}, {"name": CANARY[::-1]}, {"name": ["demo"]}, {}):
        for password in (CANARY, "", CANARY * 300, 7, None, "a\0" + CANARY):
            user = {"domain": {"id": "default"}, "password": password} | who
            body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
            requests.append(("POST", "/identity/v3/auth/tokens", {"body": body}))
    for identity in (
        {},
        {"methods": []},
        {"methods": ["token"], "token": {"id": CANARY}},
        {"methods": ["nonsense"]},
        {"methods": "password"},
    ):
        requests.append(("POST", "/identity/v3/auth/tokens", {"body": {"auth": {"identity": identity}}}))
    await all_refused(member, requests)


async def test_a_token_that_was_revoked(cloud: RunningCloud) -> None:
    async with cloud.user() as user:
        await user.ask("DELETE", "/identity/v3/auth/tokens", headers={"X-Subject-Token": user.token})
        for path in ("/compute/v2.1/servers", "/image/v2/images", "/network/v2.0/networks"):
            assert (await user.try_to("GET", path)).status == 401


async def test_what_belongs_to_others_is_not_there(cloud: RunningCloud, admin: User) -> None:
    async with a_server(admin, networks="auto") as server, cloud.user() as stranger:
        requests = []
        for route in ROUTES:
            if route.target == "server" and route.handler is not None and route.serves(LATEST) and route.action is None:
                path = re.sub(r"\{[^}]*\}", "x", re.sub(r"/servers/\{[^}]*\}", f"/servers/{server}", route.path))
                body = {"server": {"name": "mine"}} if path.endswith(server) else {"metadata": {"x": "y"}, "tags": ["x"]}
                requests.append((route.method, f"/compute/v2.1{path}", {"body": body} if route.method in ("POST", "PUT") else {}))
        for action in ("os-start", "os-stop", "pause", "unpause", "suspend", "resume", "lock", "unlock"):
            requests.append(("POST", f"/compute/v2.1/servers/{server}/action", {"body": {action: None}}))
        requests.append(("POST", f"/compute/v2.1/servers/{server}/action", {"body": {"os-getConsoleOutput": {}}}))
        [port] = (await admin.get(f"/network/v2.0/ports?device_id={server}"))["ports"]
        requests += [("GET", f"/network/v2.0/ports/{port['id']}", {}), ("DELETE", f"/network/v2.0/ports/{port['id']}", {})]
        image = await admin.ask("POST", "/image/v2/images", {"name": "private", "visibility": "private"})
        requests += [(method, f"/image/v2/images/{image['id']}", {}) for method in ("GET", "DELETE")]
        await all_refused(stranger, requests)
        for _, path, _ in requests[:3]:
            assert (await stranger.try_to("GET", path)).status == 404
        listed = (await stranger.get("/compute/v2.1/servers?all_tenants=0"))["servers"]
        assert server not in {s["id"] for s in listed}
        assert (await stranger.try_to("GET", "/compute/v2.1/servers?all_tenants=1")).status == 403
        boot = {"server": {"name": "x", "imageRef": image["id"], "flavorRef": "1", "networks": "none"}}
        assert (await stranger.try_to("POST", "/compute/v2.1/servers", boot)).status == 400
        await admin.ask("DELETE", f"/image/v2/images/{image['id']}")


async def test_bodies_that_are_too_long_or_of_another_kind(cloud: RunningCloud, admin: User) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b"[" * 65_536

    json_type = {"Content-Type": "application/json"}
    image = (await admin.get("/image/v2/images"))["images"][0]["id"]
    good = json.dumps({"server": {"name": "never", "imageRef": image, "flavorRef": "1", "networks": "none"}}).encode()
    for path in ("/compute/v2.1/servers", "/compute/v2.1/flavors", "/image/v2/images", "/network/v2.0/networks", "/identity/v3/projects"):
        for data in (b"[" * 3_000_000, chunks()):
            answer = await patiently(admin.try_to("POST", path, data=data, headers=json_type))
            assert answer is None or answer.status in (400, 413), answer
    for kind in ("application/xml", "multipart/form-data", "application/json; charset=klingon"):
        answer = await admin.try_to("POST", "/compute/v2.1/servers", data=good, headers={"Content-Type": kind})
        if answer.status == 202:  # the charset is not looked at
            assert "json" in kind
            await gone(admin, answer.body["server"]["id"])
        else:
            assert answer.status in (400, 415), (kind, answer)


async def patiently(request: Awaitable[Answer]) -> Answer | None:
    """The answer; None where the service hung up on a body that it does not want to read."""
    try:
        return await request
    except OSError:
        return None


def patched(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


GOOD = blank_qcow2(1)
BACKED = patched(patched(GOOD, 8, struct.pack(">QI", 512, 11)), 512, b"/etc/passwd")
DESCRIPTOR = (
    b'# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 20 FLAT "/etc/passwd" 0\n'
)
LYING_IMAGES: dict[str, tuple[str, bytes]] = {
    "SEC-002 a backing file": ("qcow2", BACKED),
    "SEC-003 a virtual size of a pebibyte": ("qcow2", patched(GOOD, 24, struct.pack(">Q", 2**50))),
    "SEC-004 a header over a raw disk": ("raw", patched(b"\0" * 2**20, 0, BACKED[:1024])),
    "SEC-005 a file of the host as an extent": ("vmdk", DESCRIPTOR.ljust(2048, b"\0")),
    "SEC-006 an external data file": ("qcow2", patched(GOOD, 72, struct.pack(">Q", 4))),
    "SEC-006 truncated": ("qcow2", GOOD[:300]),
    "SEC-006 cut in the middle": ("qcow2", GOOD[: len(GOOD) // 2]),
    "SEC-007 qcow2 said to be raw": ("raw", GOOD),
    "SEC-007 text said to be qcow2": ("qcow2", b"#!/bin/sh\nexit\n" * 100),
    "SEC-007 qcow2 said to be vmdk": ("vmdk", GOOD),
    "nothing": ("qcow2", b""),
}


@pytest.mark.parametrize("what", LYING_IMAGES)
async def test_images_that_are_not_what_they_say(cloud: RunningCloud, member: User, what: str) -> None:
    disk_format, data = LYING_IMAGES[what]
    image = await member.ask("POST", "/image/v2/images", {"name": what, "disk_format": disk_format, "container_format": "bare"})
    path = f"/image/v2/images/{image['id']}"
    before = files(cloud)
    answer = await member.try_to("PUT", f"{path}/file", data=data, headers={"Content-Type": "application/octet-stream"})
    assert 400 <= answer.status < 500, answer
    assert is_fault("/image", answer)
    assert "passwd" not in answer.text
    assert (await member.get(path))["status"] in ("queued", "killed")
    assert files(cloud) == before
    boot = {"server": {"name": "x", "imageRef": image["id"], "flavorRef": "1", "networks": "none"}}
    refused = await member.try_to("POST", "/compute/v2.1/servers", boot)
    assert (refused.status, is_fault("/compute", refused)) == (400, True), refused
    await member.ask("DELETE", path)


async def test_an_upload_that_ends_before_its_announced_end(cloud: RunningCloud, member: User) -> None:
    image = await member.ask("POST", "/image/v2/images", {"name": "cut", "disk_format": "qcow2", "container_format": "bare"})
    before = files(cloud)
    head = f"PUT /image/v2/images/{image['id']}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {member.token}\r\n"
    head += f"Content-Type: application/octet-stream\r\nContent-Length: {len(GOOD)}\r\n\r\n"
    await asyncio.to_thread(said, cloud, head.encode() + GOOD[:-1], hang_up=True)
    quiet = 0
    for _ in range(200):  # it may not have begun to read when we look for the first time
        status = (await member.get(f"/image/v2/images/{image['id']}"))["status"]
        quiet = quiet + 1 if (status, files(cloud)) == ("queued", before) else 0
        if quiet == 10:
            break
        await asyncio.sleep(0.05)
    assert quiet == 10, (status, files(cloud) - before)
    await member.ask("DELETE", f"/image/v2/images/{image['id']}")


@pytest.mark.parametrize(
    "bytes_",
    [
        *(b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"GET /compute/v2.1/servers HTTP/9.9\r\n\r\n"),
        b"GET /compute/v2.1/servers HTTP/1.1\r\nHost: x\r\nX-Auth-Token: a\0b\r\n\r\n",
        b"GET /compute/v2.1/servers HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"POST /compute/v2.1/servers HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /compute/v2.1/servers HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64 + b"\r\n\r\n",
        b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ],
    ids=str,
)
async def test_bytes_that_are_no_request(cloud: RunningCloud, member: User, bytes_: bytes) -> None:
    answer = await asyncio.to_thread(said, cloud, bytes_)
    status = answer.split(b" ")[1:2]
    assert not status or status[0].startswith(b"4"), answer
    assert b"root:" not in answer
    assert (await member.try_to("GET", "/compute/v2.1/servers")).status == 200


LIST = "GET /compute/v2.1/servers HTTP/1.1\r\nHost: x\r\n\r\n"
POST = "POST /compute/v2.1/servers HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = {
    "a length beside chunks": POST + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + "Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "a list of lengths": POST + "Content-Length: 0, 5\r\n\r\n",
    "a signed length": POST + "Content-Length: +0\r\n\r\n",
    "a length with underscores": POST + "Content-Length: 1_0\r\n\r\n",
    "a length in digits of another script": POST + "Content-Length: \u0661\r\n\r\n",
    "a space before the colon": POST + "Content-Length : 0\r\n\r\n",
    "a space before the first name": "GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "a folded line": POST + "X-A: 1\r\n Content-Length: 5\r\n\r\n",
    "a name with a NUL": POST + "Content-\0Length: 5\r\n\r\n",
    "a line that ends in CR alone": POST + "X-A: 1\rContent-Length: 5\r\n\r\n",
    "chunks that are not last": POST + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "an odd kind of chunks": POST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a chunk's size with a sign": POST + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "a chunk's size in hexadecimal notation": POST + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "a chunk's size that ends in LF alone": POST + "Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
    "a version in digits of another script": "GET / HTTP/1.\u0661\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("what", SMUGGLED)
async def test_what_a_proxy_may_read_otherwise(cloud: RunningCloud, what: str) -> None:
    """SEC-070: it is refused and the connection closed, so that what follows is nobody's request."""
    answer = await asyncio.to_thread(said, cloud, (SMUGGLED[what] + LIST).encode(), to_the_end=True)
    assert re.findall(rb"HTTP/1\.[01] (\d+)", answer) in ([b"400"], []), answer


def said(cloud: RunningCloud, data: bytes, *, hang_up: bool = False, to_the_end: bool = False) -> bytes:
    """What comes back on a connection of its own, at first or until the other side closes it."""
    host, _, port = cloud.listen.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(data)
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        try:
            return b"".join(iter(lambda: connection.recv(65_536), b"")) if to_the_end else connection.recv(65_536)
        except ConnectionResetError:
            return b""


def files(cloud: RunningCloud) -> set[str]:
    """What the image store holds."""
    return {str(p) for p in (cloud.state / "images").rglob("*") if p.is_file()}


async def gone(user: User, server: str) -> None:
    await user.ask("DELETE", f"/compute/v2.1/servers/{server}")
    await user.until(server, "GONE")


@asynccontextmanager
async def a_server(user: User, **fields: Any) -> AsyncIterator[str]:
    """A server for as long as the block lasts."""
    server = await user.boot("kept", **fields)
    await user.until(server, "ACTIVE")
    yield server
    await gone(user, server)
