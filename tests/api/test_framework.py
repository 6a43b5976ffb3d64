"""What every request passes: tokens, paths, bodies, limits, faults; hostile input is 400 at worst."""

import asyncio
import gzip
import json

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from nova_async.api import body as bodies
from nova_async.api.route import Route, Tree
from nova_async.api.routes import ROUTES
from nova_async.api.schema import Query, Schema, first, integer, since, until
from nova_async.config import Config, load
from nova_async.errors import Invalid
from tests.api.conftest import IMAGE, OTHER_PROJECT, PROJECT

FLAVOR = {"name": "x", "ram": 1, "vcpus": 1, "disk": 1}


# Callers and paths


async def test_without_a_good_token_nobody_gets_in(api) -> None:
    for caller in (None, "unknown"):
        answer = await api.get("/servers", caller)
        assert answer.status == 401
        assert answer.body["error"]["title"] == "Unauthorized"
        assert answer.headers["WWW-Authenticate"].startswith("Keystone uri=")


async def test_paths_work_with_the_callers_project_and_no_other(api) -> None:
    assert (await api.get(f"/{PROJECT}/flavors")).status == 200
    answer = await api.get(f"/{OTHER_PROJECT}/flavors")
    assert answer.body == {
        "badRequest": {
            "code": 400,
            "message": f"Malformed request URL: URL's project_id '{OTHER_PROJECT}' doesn't match Context's project_id '{PROJECT}'",
        }
    }
    assert (await api.get("/project/flavors")).status == 404


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("PATCH", "/servers"), ("HEAD", "/servers"), ("GET", "/servers//x")])
async def test_what_is_not_routed_is_404_in_plain_text(api, method, path) -> None:
    answer = await api.ask(method, path)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "OpenStack-API-Version" not in answer.headers


async def test_a_route_outside_its_versions_is_404_with_version_headers(api) -> None:
    answer = await api.put("/flavors/1", {"flavor": {"description": "x"}}, "admin", "2.54")
    assert answer.body == {"itemNotFound": {"code": 404, "message": "The resource could not be found."}}
    assert answer.headers["OpenStack-API-Version"] == "compute 2.54"


@pytest.mark.parametrize("route", [r for r in ROUTES if r.beyond == 410], ids=lambda r: f"{r.method} {r.path} {r.action or ''}")
async def test_what_was_removed_is_gone(api, route: Route) -> None:
    path = route.path
    for name in ("{id}", "{server_id}", "{domain_id}"):
        path = path.replace(name, IMAGE)
    body = {route.action: None} if route.action else ({} if route.method in ("POST", "PUT") else None)
    answer = await api.ask(route.method, path, "admin", "2.104", body)
    assert answer.body == {
        "computeFault": {"code": 410, "message": "This resource is no longer available. No forwarding address is given."}
    }


async def test_links_lead_where_the_caller_came_from_or_where_the_configuration_says(api) -> None:
    await api.flavor("1")

    async def link(host: str) -> str:
        return (await api.get("/flavors/1", headers={"Host": host})).body["flavor"]["links"][0]["href"]

    assert await link("cloud.example:8774") == "http://cloud.example:8774/compute/v2.1/flavors/1"
    assert await link("[::1]:8774") == "http://[::1]:8774/compute/v2.1/flavors/1"
    assert await link('x"><script>') == "http://127.0.0.1:8774/compute/v2.1/flavors/1"
    document = await api.get("/openapi.json", caller=None, headers={"Host": "cloud.example"})
    assert document.body["servers"][0]["url"] == "http://cloud.example/compute/v2.1"


class TestBehindAProxy:
    @pytest.fixture
    def config(self) -> Config:
        return load(None, {}, api__public_url="https://cloud.example/")

    async def test_the_configured_address_wins(self, api) -> None:
        await api.flavor("1")
        flavor = (await api.get("/flavors/1", headers={"Host": "elsewhere"})).body["flavor"]
        assert flavor["links"][0]["href"] == "https://cloud.example/compute/v2.1/flavors/1"


async def test_an_outer_request_id_is_kept(api) -> None:
    outer = "req-" + IMAGE
    await api.flavor("1")
    body = {"server": {"name": "a", "imageRef": IMAGE, "flavorRef": "1"}}
    await api.post("/servers", body, headers={"X-OpenStack-Request-ID": outer})
    await api.post("/servers", body, headers={"X-OpenStack-Request-ID": "req-\u00e9 nonsense"})
    async with api.database.connection() as conn:
        contexts = [row["context"] for row in await conn.fetch("SELECT context FROM workflows ORDER BY created_at")]
    assert [c["global_request_id"] for c in contexts] == [outer, None]
    assert all(c["request_id"].startswith("req-") for c in contexts)


# Bodies


@pytest.mark.parametrize("kind", ["text/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_other_media_types_are_415(api, kind) -> None:
    """SEC-058: XML is not read at all."""
    answer = await api.post("/flavors", {"flavor": FLAVOR}, "admin", headers={"Content-Type": kind})
    assert answer.body == {"badMediaType": {"code": 415, "message": "Unsupported Content-Type"}}


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "text/plain", "application/vnd.openstack.compute+json"])
async def test_these_media_types_pass(api, kind) -> None:
    assert (await api.post("/flavors", {"flavor": FLAVOR}, "admin", headers={"Content-Type": kind})).status == 200


async def test_a_body_beyond_the_limit_is_413(api) -> None:
    """SEC-057"""
    limit = api.parts.config.api.max_body_bytes
    answer = await api.post("/flavors", b" " * (limit + 1), "admin")
    assert answer.status == 413
    assert answer.body["overLimit"]["code"] == 413

    async def drops():
        for _ in range(20):
            yield b" " * 10_000

    chunked = await api.ask("POST", "/flavors", "admin", headers={"Content-Type": "application/json"}, data=drops())
    assert chunked.status == 413
    assert (await api.get("/flavors")).status == 200


class Unreadable:
    """What arrives cannot be unpacked."""

    async def readany(self) -> bytes:
        raise web.RequestPayloadError("Can not decode content-encoding: gzip")


async def test_a_body_that_cannot_be_unpacked_is_the_callers_error() -> None:
    """SEC-071. Here, since a caller that sends all at once may see no more than the connection's end."""
    with pytest.raises(Invalid, match="not encoded as its headers say"):
        await bodies.read(make_mocked_request("POST", "/", headers={"Content-Length": "8"}, payload=Unreadable()), 100)


async def test_a_body_that_grows_beyond_the_limit_as_it_is_unpacked_is_413(api) -> None:
    """SEC-071"""
    limit = api.parts.config.api.max_body_bytes
    packed = gzip.compress(b" " * (limit + 1))
    assert len(packed) < limit
    assert (await api.post("/flavors", packed, "admin", headers={"Content-Encoding": "gzip"})).status == 413
    assert (await api.get("/flavors")).status == 200


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="half"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"flavor": {"name": "a", "name": "b", "ram": 1, "vcpus": 1, "disk": 1}}', id="a key twice"),
        pytest.param(b'{"flavor": {"name": "\xff", "ram": 1, "vcpus": 1, "disk": 1}}', id="not UTF-8"),
        pytest.param(b'{"flavor": {"name": "a\\u0000", "ram": 1, "vcpus": 1, "disk": 1}}', id="NUL"),
        pytest.param(b'{"flavor": {"name": "\\ud800", "ram": 1, "vcpus": 1, "disk": 1}}', id="half a surrogate pair"),
        pytest.param(b'{"flavor": {"name": "a", "ram": 1' + b"0" * 5000 + b', "vcpus": 1, "disk": 1}}', id="huge integer"),
        pytest.param(b'{"flavor": {"name": "a", "ram": 99999999999999999999, "vcpus": 1, "disk": 1}}', id="beyond 64 bits"),
        pytest.param(b'{"flavor": {"name": "a", "ram": NaN, "vcpus": 1, "disk": 1}}', id="NaN"),
        pytest.param(b'{"flavor": {"name": "a", "ram": 1, "vcpus": 1, "disk": 1, "rxtx_factor": 1e999}}', id="infinite"),
        pytest.param(b"[" * 50_000 + b"]" * 50_000, id="deep list"),
        pytest.param(b'{"flavor": ' * 9_000 + b"1" + b"}" * 9_000, id="deep object"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
    ],
)
async def test_doubtful_json_is_refused(api, raw) -> None:
    answer = await api.post("/flavors", raw, "admin")
    assert answer.body == {"badRequest": {"code": 400, "message": "Malformed request body"}}


@pytest.mark.parametrize("number", [2**31, 2**62, -1, 1.5, "1.5", "", " 1", "1" * 400, True, None, [], {}])
async def test_numbers_out_of_place_are_refused(api, number) -> None:
    answer = await api.post("/flavors", {"flavor": FLAVOR | {"ram": number}}, "admin")
    assert answer.status == 400
    assert "field/attribute ram" in answer.message


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "a\n", "a\u200b", "x" * 256, 1, None])
async def test_names_out_of_place_are_refused(api, name) -> None:
    answer = await api.post("/flavors", {"flavor": FLAVOR | {"name": name}}, "admin")
    assert answer.status == 400
    assert "field/attribute name" in answer.message


async def test_escapes_that_only_look_like_nul_pass(api) -> None:
    answer = await api.post("/flavors", b'{"flavor": {"name": "a\\\\u0000\\u00e9", "ram": 1, "vcpus": 1, "disk": 1}}', "admin")
    assert answer.status == 200
    assert answer.body["flavor"]["name"] == "a\\u0000é"


@pytest.mark.parametrize(
    "path", ["/flavors/%00", "/flavors/%FF", "/servers/%252e%252e", "/flavors/" + "a" * 5000, "/flavors/a%2Fb", "/flavors/'", "/flavors/"]
)
async def test_odd_paths_are_404(api, path) -> None:
    assert (await api.get(path)).status == 404


@pytest.mark.parametrize(
    "query", ["?limit=" + "9" * 400, "?limit=%D9%A1", "?marker=%00", "?%00=1", "?sort_key=%FF", "?limit=1;2", "?minRam=" + "9" * 400]
)
async def test_odd_queries_are_no_crash(api, query) -> None:
    assert (await api.get("/flavors" + query)).status in (200, 400)


# Trouble inside


async def test_a_database_that_is_away_is_503_with_a_time_to_retry(api) -> None:
    await api.database.close()
    answer = await api.get("/flavors")
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.body == {"serviceUnavailable": {"code": 503, "message": "The database does not answer."}}


async def test_an_unforeseen_exception_says_nothing_of_itself(api) -> None:
    """SEC-067"""

    async def crash(*_: object) -> None:
        raise RuntimeError("the inside, and a s3cr3t")

    api.parts.images.get = crash
    await api.flavor("1")
    api.held = False  # a crash is documented nowhere
    answer = await api.post("/servers", {"server": {"name": "a", "imageRef": IMAGE, "flavorRef": "1"}})
    assert answer.status == 500
    assert answer.body["computeFault"]["code"] == 500
    assert b"s3cr3t" not in answer.raw
    assert answer.headers["x-openstack-request-id"].startswith("req-")


async def test_a_request_has_a_deadline(api) -> None:
    async def sleep(*_: object) -> None:
        await asyncio.sleep(60)

    api.parts.images.get = sleep
    api.parts.config.api.request_seconds = 0.2
    answer = await api.post("/servers", {"server": {"name": "a", "imageRef": IMAGE, "flavorRef": "1"}})
    assert answer.status == 503


# The pieces


def test_no_two_rows_serve_the_same_request() -> None:
    seen: dict[tuple[str, str, str | None], list[Route]] = {}
    for route in ROUTES:
        seen.setdefault((route.method, route.path, route.action), []).append(route)
    for key, rows in seen.items():
        for i, one in enumerate(rows):
            assert not any(one.since <= other.until and other.since <= one.until for other in rows[i + 1 :]), key


def test_every_row_is_found_under_its_path() -> None:
    tree = Tree(ROUTES)
    for route in ROUTES:
        found = tree.find(route.method, route.path.replace("{", "x-").replace("}", ""))
        assert found is not None
        assert route in found.rows


def test_literals_beat_parameters_and_give_way_where_they_lead_nowhere() -> None:
    async def nothing(_: object) -> None: ...

    tree = Tree((Route("GET", "/a/detail", nothing), Route("GET", "/a/{id}", nothing), Route("GET", "/a/{id}/b", nothing)))
    assert tree.find("GET", "/a/detail").rows[0].path == "/a/detail"
    assert tree.find("GET", "/a/detail/b").values == {"id": "detail"}
    assert tree.find("GET", "/a/x%2Fy").values == {"id": "x/y"}
    assert tree.find("GET", "/abc123/a/x").project_id == "abc123"
    assert tree.find("POST", "/a/x") is None


def test_ranges_in_a_schema_come_and_go() -> None:
    schema = Schema(
        {
            "type": "object",
            "properties": {"a": since(5, {"type": "integer"}), "b": first(until(4, {"type": "string"}), since(5, {"type": "null"}))},
            "required": [since(7, "a")],
            "additionalProperties": False,
        }
    )
    schema.check({"b": "x"}, 4)
    schema.check({"a": 1, "b": None}, 6)
    for body, version in (({"a": 1}, 4), ({"b": "x"}, 5), ({}, 7)):
        with pytest.raises(Invalid):
            schema.check(body, version)
    schema.check({"a": 1, "c": 2}, 7, relaxed=True)


def test_integers_may_be_digits() -> None:
    schema = Schema({"type": "object", "properties": {"n": integer(1, 10)}})
    for good in (1, 10, "1", "10", "007"):
        schema.check({"n": good}, 1)
    for bad in (0, 11, "0", "11", "x", "-1", "", 1.0):
        with pytest.raises(Invalid):
            schema.check({"n": bad}, 1)


def test_unknown_query_keys_are_dropped_and_later_refused() -> None:
    query = Query({"a": {"type": "string"}, "b": since(3, {"type": "string"})}, strict_since=5, single=frozenset({"a"}))
    assert query.check({"a": ["1"], "b": ["2"], "c": ["3"]}, 2) == {"a": ["1"]}
    assert query.check({"a": ["1"], "b": ["2", "3"]}, 3) == {"a": ["1"], "b": ["2", "3"]}
    for bad in ({"c": ["3"]}, {"a": ["1", "2"]}):
        with pytest.raises(Invalid):
            query.check(bad, 5)


def test_json_that_is_read_is_what_was_sent() -> None:
    from nova_async.api.body import parse

    document = {"a": [1, -1, 1.5, True, None, "é\n", {"b": {}}], "c": 2**63 - 1}
    assert parse(json.dumps(document).encode()) == document


async def test_an_id_with_a_newline_is_not_found_in_the_services_own_words(api) -> None:
    for path in ("/flavors/a%0Ab", "/flavors/a%00b", "/os-keypairs/%0a"):
        answer = await api.get(path)
        assert (answer.status, answer.body["itemNotFound"]["code"]) == (404, 404)
        assert answer.headers["x-openstack-request-id"].startswith("req-")
