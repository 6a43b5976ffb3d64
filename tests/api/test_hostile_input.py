"""What no sensible client would send, to every row of the table: the answer says what is wrong, and it is never our fault.

That each answer has a documented status and the form of a fault is looked at wherever a test asks (``contract``).
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from nova_async.api.route import Route
from nova_async.api.routes import ROUTES
from nova_async.api.schema import Literal, at
from nova_async.api.versions import LATEST, V
from tests.api.bodies import body
from tests.api.conftest import Answer, Api
from tests.api.sample_cases import SERVER, Names, ground

LIVE = [route for route in ROUTES if route.handler is not None and not route.path.startswith("/os-volumes_boot")]
COLLECTIONS = sorted({route.path.split("/")[1] for route in LIVE})
LONG = "x" * 4000
BAD_IDS = [
    *("%00", "a%00b", "%0A", "%0d%0aX-Injected:%201", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "%ff%fe", "-1", "0", "9" * 30, "1e9", "²", "٣"),
    *(quote("' OR 1=1; --"), quote("💩\u202e\u200b"), quote("{server}"), quote("%s%n"), "None", "null", "*", "_", LONG, " ", "%20"),
]
# Any text may be the id of these: nothing is set for it, nothing was used.
ANY_ID = re.compile(r"^/(os-quota-sets|os-quota-class-sets|os-simple-tenant-usage)/|/(metadata|tags|os-extra_specs)/|/os-hypervisors/.*/s")
NO_JSON = [
    *(
        b"{",
        b"nonsense",
        b"\xff\xfe{}",
        b"{} {}",
        b"{'a': 1}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 400 + b"}",
    ),
    *(
        b'{"a": "\\ud800"}',
        b'{"a": "\\u0000"}',
        b'{"\\u0000": 1}',
        b'{"a": 1, "a": 2}',
        b"[" * 20_000,
        b'{"a": ' * 10_000,
        b"\0",
        b"\xef\xbb\xbf{}",
    ),
]
NO_OBJECTS = [b"[]", b'"text"', b"7", b"null", b"true", b"{}", b'{"unknown": {"a": 1}}', b'{"": {}}']
WRONG_TYPES = ["application/xml", "multipart/form-data", "application/x-www-form-urlencoded", "text/html; charset=utf-7", "a/b/c", "\u00ff"]
WRONG_VALUES: list[Any] = [
    {},
    [],
    {"a": {"b": 1}},
    [[]],
    1.5,
    True,
    "",
    " ",
    "\x7f",
    "x" * 70_000,
    -1,
    2**31,
    2**63 - 1,
    "²",
    "٣",
    "\u202e",
    "a\nb",
]
VALUES = [
    *("", "-1", "1.5", "abc", "9" * 40, "²", "٣", "%00", "%0A", "%FF", "-99999999999999999999", "yesterday", "9999-12-31T23:59:59-23:59"),
    *("0001-01-01T00:00:00+23:59", "(((", "[[:x:]]", "a{99999}", "(?<!a)", "\\y", quote("💩\u202e"), "' OR 1=1", "x" * 3000, "asc", "1"),
]
KEYS = ("limit", "marker", "sort_key", "sort_dir", "changes-since", "changes-before", "unknown", "", "a[b]", quote("é"), "%00")
VERSIONS = [
    "2.999",
    "3.0",
    "1.1",
    "2",
    "abc",
    "2.1.1",
    "-2.-1",
    f"2.{'9' * 3000}",
    "2.01",
    "٢.١",
    "2. 1",
    "",
    "compute",
    "2.1, 2.2",
    "latest2",
]


def of(collection: str, *methods: str) -> list[Route]:
    return [route for route in LIVE if route.path.split("/")[1] == collection and route.method in methods]


def version_of(route: Route) -> int:
    return int(min(route.until, LATEST))


@pytest.fixture
async def names(api: Api) -> Names:
    made: Names = {}
    await ground(api, made)
    await SERVER(api, made)
    return made


async def ask(api: Api, route: Route, path: str, sent: Any = None, version: int | None = None, **more: Any) -> Answer:
    answer = await api.ask(route.method, path, "admin", f"2.{version or version_of(route)}", sent, **more)
    assert answer.status < 500 or answer.status == 501, (route.method, path[:300], str(sent)[:300], answer)
    return answer


def concrete(route: Route, names: Names, **replaced: str) -> str:
    """The row's path: a real server where one belongs, and things that are not there."""
    path = re.sub(r"{server_id}|(?<=/servers/){id}", replaced.get("server", names["server"]), route.path)
    return re.sub(r"{\w+}", replaced.get("id", "no-such-thing"), path)


@pytest.mark.parametrize("collection", COLLECTIONS)
async def test_ids_that_are_none(api: Api, names: Names, collection: str) -> None:
    wrong = []
    for route in of(collection, "GET", "PUT", "POST", "DELETE"):
        if "{" not in route.path or (route.action is not None and route.path == "/servers/{id}/action" and route.action != "reboot"):
            continue  # one action will do: the server is looked for before
        sent = body(route, version_of(route)) if route.method in ("POST", "PUT") else None
        for bad in BAD_IDS:
            below = {concrete(route, names, id=bad)} if route.path.count("{") > 1 else set()
            for path in sorted({re.sub(r"{\w+}", bad, route.path)} | below):
                answer = await ask(api, route, path, sent)
                if answer.status < 400 and not ANY_ID.search(route.path):
                    wrong.append((route.method, path, answer))
    assert not wrong


@pytest.mark.parametrize("collection", COLLECTIONS)
async def test_bodies_that_are_none(api: Api, names: Names, collection: str) -> None:
    wrong = []
    for route in of(collection, "POST", "PUT"):
        path, strict = concrete(route, names), route.body is not None and not route.body.optional
        headers = {"Content-Type": "application/json"}
        for sent in NO_JSON:
            answer = await ask(api, route, path, sent, headers=headers)
            if (answer.status, answer.message) != (400, "Malformed request body"):
                wrong.append((route.method, path, sent[:50], answer))
        for sent in NO_OBJECTS:
            answer = await ask(api, route, path, sent, headers=headers)
            if answer.status < 400 and strict:
                wrong.append((route.method, path, sent[:50], answer))
        huge = b'{"a": "' + b"x" * 120_000 + b'"}'
        if (answer := await ask(api, route, path, huge, headers=headers)).status != 413:
            wrong.append((route.method, path, "huge", answer))
        for kind in WRONG_TYPES:
            answer = await ask(api, route, path, b"{}", headers={"Content-Type": kind})
            if answer.status != 415:
                wrong.append((route.method, path, kind, answer))
    assert not wrong


def fields(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Literal]]:
    """Each property at every depth of objects, with its schema."""
    for name, part in schema.get("properties", {}).items() if isinstance(schema, dict) else ():
        yield (*path, name), part
        yield from fields(part, (*path, name))
    for part in (*schema.get("oneOf", ()), *schema.get("anyOf", ())) if isinstance(schema, dict) else ():
        yield from fields(part, path)


def put(whole: Any, path: tuple[str, ...], value: Any) -> Any:
    """A copy of the body with another value at the path; objects on the way are made."""
    if not path:
        return value
    whole = dict(whole) if isinstance(whole, dict) else {}
    return whole | {path[0]: put(whole.get(path[0]), path[1:], value)}


@pytest.mark.parametrize("collection", COLLECTIONS)
async def test_fields_of_the_wrong_kind_are_named(api: Api, names: Names, collection: str) -> None:
    wrong = []
    for route in of(collection, "POST", "PUT"):
        if route.body is None:
            continue
        version = version_of(route)
        literal, whole, path = at(route.body.literal, version), body(route, version), concrete(route, names)
        for place, _ in fields(literal):
            for value in WRONG_VALUES:
                sent = put(whole, place, value)
                if fits(route, sent, version):
                    continue  # that it is no 5xx, though: tests at random, and make fuzz
                answer = await ask(api, route, path, json.dumps(sent).encode())
                if answer.status != (413 if len(json.dumps(sent)) > 114_688 else 400) or not names_a_field(answer.message, place, value):
                    wrong.append((route.method, path, route.action, place, str(value)[:60], answer))
        sent = put(whole, (next(iter(whole), "x"), "no such field"), 1)
        if not fits(route, sent, version):
            answer = await ask(api, route, path, sent)
            if answer.status != 400 or not re.search("no such field|'x'", answer.message):
                wrong.append((route.method, path, "unknown field", answer))
    assert not wrong, f"{len(wrong)}: {wrong[:10]}"


def fits(route: Route, sent: Any, version: int) -> bool:
    try:
        assert route.body is not None
        route.body.check(sent, version)
    except Exception:
        return False
    return True


def names_a_field(message: str, place: tuple[str, ...], value: Any) -> bool:
    """Whether it tells the field, one around it whose schema has several forms, or one within the value; and what was expected."""
    told = re.match(r"Invalid input for field/attribute (.+?)\. Value: .+", message, re.DOTALL)
    known = {*place, *re.findall(r"\w+", json.dumps(value)[:100]), "0"}
    return told[1] in known if told is not None else any(f"'{part}'" in message for part in place)


@pytest.mark.parametrize("collection", COLLECTIONS)
async def test_queries_that_make_no_sense(api: Api, names: Names, collection: str) -> None:
    wrong = []
    for route in of(collection, "GET", "DELETE"):
        path = concrete(route, names)
        for version in sorted({max(int(route.since), int(V.BASE)), version_of(route)}):
            known = [key for key in at(route.query.keys, version) if key not in KEYS]
            for key in (*KEYS, *known):
                for value in VALUES if key in known[:8] or key == "limit" else VALUES[::5]:
                    answer = await ask(api, route, f"{path}?{key}={value}", version=version)
                    if "%00" in key + value and answer.status < 400:
                        wrong.append((route.method, path, key, value, answer))
            for query in ("limit=1&limit=x", "&&&", "=", "limit=1;limit=2", "?" * 100, "&".join(f"k{n}=1" for n in range(500))):
                await ask(api, route, f"{path}?{query}", version=version)
    assert not wrong


async def test_limits_and_markers_that_are_none_are_refused_where_lists_are_paged(api: Api, names: Names) -> None:
    wrong = []
    paged = [r for r in LIVE if r.method == "GET" and {"limit", "marker"} <= set(at(r.query.keys, version_of(r)))]
    paged = [route for route in paged if not route.path.startswith("/images")]  # the image service's own page
    for route in paged:
        for query in ("limit=-1", "limit=abc", "limit=1.5", f"limit={'9' * 40}", "limit=%00", "marker=no-such-marker", "marker=%00"):
            answer = await ask(api, route, f"{concrete(route, names)}?{query}")
            if answer.status != 400 or not answer.message:
                wrong.append((route.path, query, answer))
    assert len(paged) >= 8
    assert not wrong


@pytest.mark.parametrize("header", ["OpenStack-API-Version", "X-OpenStack-Nova-API-Version"])
async def test_versions_that_are_none_are_refused_everywhere(api: Api, names: Names, header: str) -> None:
    wrong = []
    for route in LIVE:
        for text in VERSIONS:
            value = f"compute {text}" if header.startswith("Open") else text
            try:
                answer = await api.ask(route.method, concrete(route, names), "admin", headers={header: value}, body=None)
            except ValueError:
                continue  # no header could hold it
            ignored = header.startswith("Open") and len(value.split()) != 2  # it asks nothing of the compute service: 2.1
            if not ignored and answer.status not in (400, 406) and not (text == "" and not header.startswith("Open")):
                wrong.append((route.method, route.path, value[:40], answer))
    assert not wrong
