"""SEC-057: what is far too large is refused early, in few words, and leaves nothing in memory."""

import gc
import io
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
import structlog

from nova_async import log
from nova_async.api.routes import ROUTES
from nova_async.api.schema import Literal, at
from nova_async.api.versions import LATEST
from tests.api.conftest import Api

MIB = 2**20
LONG = "x" * 100_000  # what still comes through the limit of a body
LOG_BYTES = ANSWER_BYTES = 4096
UNBOUNDED = ("adminPass",)  # in Nova too: as long as the body may be


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    before, stream = structlog.get_config(), io.StringIO()
    log.configure("debug", "json", stream)
    yield stream
    structlog.configure(**before)


def places(schema: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where a body may have a text."""
    for part in (schema, *(inner for key in ("oneOf", "anyOf") for inner in schema.get(key, ()))):
        kinds = part.get("type", ())
        if "string" in ([kinds] if isinstance(kinds, str) else kinds):
            yield path
        for name, inner in part.get("properties", {}).items():
            yield from places(inner, (*path, name))
        if isinstance(part.get("items"), dict):
            yield from places(part["items"], (*path, 0))


def at_place(path: tuple[str | int, ...], value: Any) -> Any:
    for step in reversed(path):
        value = {step: value} if isinstance(step, str) else [value]
    return value


async def test_no_field_takes_a_text_of_any_length_or_says_it_again(api: Api, output: io.StringIO) -> None:
    server = await api.server()
    tried = 0
    for route in ROUTES:
        if route.body is None or route.handler is None:
            continue
        version = min(route.until, LATEST)
        literal: Literal = at(route.body.literal, version)
        for place in dict.fromkeys(places(literal)):
            path = route.path.replace("{server_id}", server).replace("{id}", server if "/servers/{id}" in route.path else "1")
            before = output.tell()
            answer = await api.ask(route.method, path.replace("{flavor_id}", "1"), "admin", f"2.{version}", at_place(place, LONG))
            if place[-1] not in UNBOUNDED:
                assert 400 <= answer.status < 500 or answer.status == 501, (route.path, place, answer)
            if answer.status >= 400:
                assert len(answer.raw) < ANSWER_BYTES, (route.path, place)
            assert output.tell() - before < LOG_BYTES, (route.path, place)
            tried += 1
    assert tried > 150


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({"server": {"name": "x" * MIB}}, 413, id="a text of a mebibyte"),
        pytest.param({"server": {f"k{n}": 1 for n in range(100_000)}}, 413, id="100,000 keys"),
        pytest.param({"server": {f"k{n}": 1 for n in range(9_000)}}, 400, id="as many keys as a body takes"),
        pytest.param({"server": {"k" * 100_000: 1}}, 400, id="a long key"),
        pytest.param({"server": {"name": "a", "flavorRef": "1", "metadata": {f"k{n}": "" for n in range(8_000)}}}, 400, id="metadata"),
        pytest.param({"server": {"name": "a", "flavorRef": "1", "networks": [{}] * 20_000}}, 400, id="items"),
        pytest.param(b'{"server": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", 400, id="10,000 levels"),
        pytest.param(b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, id="10,000 levels of objects"),
    ],
)
async def test_large_bodies_are_refused_in_few_words(api: Api, output: io.StringIO, body: Any, status: int) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")).encode()
    answer = await api.post("/servers", raw, version="2.1")
    assert answer.status == status, answer
    assert len(answer.raw) < ANSWER_BYTES
    assert output.tell() < LOG_BYTES


async def test_long_addresses_and_headers_are_refused_in_few_words(api: Api, output: io.StringIO) -> None:
    for path, more in (
        (f"/servers/{'x' * 7000}", {}),
        (f"/servers?name={'x' * 7000}", {}),
        ("/servers", {"headers": {"X-OpenStack-Request-ID": "x" * 7000}}),
        ("/servers", {"headers": {"OpenStack-API-Version": "compute " + "9" * 7000}}),
    ):
        before = output.tell()
        answer = await api.get(path, **more)
        assert answer.status < 500
        assert len(answer.raw) < 2 * ANSWER_BYTES
        assert output.tell() - before < LOG_BYTES


async def test_a_body_of_64_mebibytes_is_never_in_memory(api: Api, output: io.StringIO) -> None:
    """Neither as a whole nor what was announced of it; afterwards all is as before."""
    api.held = False

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64 * 16):
            yield b" " * 65_536

    async def ask() -> int:
        """By a connection of its own: the service may cut it."""
        url = api.client.make_url("/compute/v2.1/servers")
        headers = {"X-Auth-Token": "member", "Content-Type": "application/json"}
        async with aiohttp.ClientSession() as session:
            try:
                async with session.post(url, data=pieces(), headers=headers) as answer:
                    return answer.status
            except aiohttp.ClientError:
                return 413

    assert await ask() == 413
    gc.collect()
    tracemalloc.start()
    try:
        assert await ask() == 413
        gc.collect()
        left, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 * MIB
    assert left < MIB
    assert output.tell() < LOG_BYTES
    assert (await api.get("/servers")).status == 200
