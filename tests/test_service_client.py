"""The client of all remote services: what it repeats, when it gives up, and what it takes along."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientTimeout, web
from aiohttp.test_utils import TestServer, unused_port

from nova_async import log
from nova_async.errors import Conflict, NotFound, Unavailable, Unsupported
from nova_async.services import breaker, client
from nova_async.services.client import ServiceClient
from nova_async.world import RealWorld, SimulatedWorld

Answer = Callable[[], web.StreamResponse]


class Leaping(SimulatedWorld):
    """Who sleeps wakes at once, so many seconds later."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(self.seconds)


class Tokens:
    """Counts up each time one is refused."""

    def __init__(self) -> None:
        self.number = 1

    async def token(self) -> str:
        return f"t{self.number}"

    def forget(self, token: str) -> None:
        assert token == f"t{self.number}"
        self.number += 1


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.001)


@asynccontextmanager
async def service(
    *answers: Answer, world: RealWorld | SimulatedWorld | None = None
) -> AsyncIterator[tuple[ServiceClient, list[web.Request]]]:
    """A client of a server that gives each answer once and the last for ever; and the requests that came."""
    left, asked = list(answers), list[web.Request]()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        return (left.pop(0) if len(left) > 1 else left[0])()

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    async with TestServer(app) as server:
        made = ServiceClient("tested", str(server.make_url("")).rstrip("/"), world or RealWorld(), Tokens())
        yield made, asked
        await made.close()


def status(code: int, body: object = None) -> Answer:
    return lambda: web.json_response(body, status=code)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
async def test_what_may_be_repeated_is(code: int) -> None:
    async with service(status(code), status(code), status(200, {"a": 1})) as (remote, asked):
        assert await remote.json("GET", "/x") == {"a": 1}
    assert len(asked) == 3


async def test_what_makes_something_is_not_repeated_unless_told() -> None:
    async with service(status(503)) as (remote, asked):
        with pytest.raises(Unavailable):
            await remote.json("POST", "/x")
        assert len(asked) == 1
        with pytest.raises(Unavailable):
            await remote.json("POST", "/x", repeat=True)
        assert len(asked) == 1 + client.TRIES


async def test_nothing_sent_is_nothing_made() -> None:
    """A connection that was refused carried no request: also what makes something is tried again."""
    world = Leaping()
    remote = ServiceClient("tested", f"http://127.0.0.1:{unused_port()}", world)
    with pytest.raises(Unavailable):
        await remote.json("POST", "/x")
    await remote.close()
    assert len(world.slept) == client.TRIES - 1


@pytest.mark.parametrize(
    ("code", "body", "kind", "words"),
    [
        (404, {"message": "no such image"}, NotFound, "no such image"),
        (409, {"NeutronError": {"type": "InUse", "message": "port in use", "detail": ""}}, Conflict, "port in use"),
        (501, {"badRequest": {"message": "not here", "code": 501}}, Unsupported, "not here"),
        (418, {"error": {"message": "secret"}}, Unavailable, "The tested service does not answer as it should."),
        (302, None, Unavailable, "The tested service does not answer as it should."),
    ],
)
async def test_a_refusal_is_told_in_its_own_words(code: int, body: object, kind: type[Exception], words: str) -> None:
    async with service(status(code, body)) as (remote, asked):
        with pytest.raises(kind, match=words):
            await remote.json("GET", "/x")
    assert len(asked) == 1


async def test_an_own_token_that_is_refused_is_renewed_once() -> None:
    async with service(status(401), status(200, {})) as (remote, asked):
        await remote.json("POST", "/x", json={"a": 1})
    assert [request.headers["X-Auth-Token"] for request in asked] == ["t1", "t2"]
    async with service(status(401)) as (remote, asked):
        with pytest.raises(Unavailable):
            await remote.json("GET", "/x")
    assert len(asked) == 2


async def test_the_request_id_goes_along() -> None:
    async with service(status(200, {})) as (remote, asked):
        with log.bound(request_id="req-1"):
            await remote.json("GET", "/x")
        await remote.json("GET", "/x")
    assert [request.headers.get("X-Openstack-Request-Id") for request in asked] == ["req-1", None]


async def test_an_answer_that_is_none_does_not_bring_our_token_into_the_log() -> None:
    """SEC-066: aiohttp's error for it holds the request, headers and all."""

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 nonsense\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(nonsense, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        remote = ServiceClient("tested", f"http://127.0.0.1:{port}", RealWorld(), Tokens(), as_service=True)
        with pytest.raises(Unavailable) as refused:
            await remote.json("POST", "/x", caller="gAAAAAB-t0k3n-of-a-user")
        await remote.close()
    assert refused.value.detail is not None
    assert "ClientResponseError" in refused.value.detail
    assert "t0k3n" not in refused.value.detail
    assert "'t1'" not in refused.value.detail


async def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_BYTES", 1000)
    async with service(lambda: web.Response(body=b'{"a": "' + b"x" * 2000 + b'"}')) as (remote, _):
        with pytest.raises(Unavailable):
            await remote.json("GET", "/x")


async def test_a_deadline_holds_for_all_tries_together() -> None:
    async with service(status(503), world=Leaping(5.0)) as (remote, asked):
        with pytest.raises(Unavailable):
            await remote.json("GET", "/x", timeout=ClientTimeout(total=4))
    assert len(asked) == 2


async def test_a_service_that_is_away_is_left_alone_and_tried_again() -> None:
    world = Leaping()
    async with service(*[status(503)] * breaker.BREAK_AFTER, status(200, {"a": 1}), world=world) as (remote, asked):
        for _ in range(breaker.BREAK_AFTER // client.TRIES + 3):
            with pytest.raises(Unavailable):
                await remote.json("GET", "/x")
        assert len(asked) == breaker.BREAK_AFTER
        world.advance(breaker.FIRST_REST)
        assert await remote.json("GET", "/x") == {"a": 1}
        assert await remote.json("GET", "/x") == {"a": 1}


def test_one_question_tries_a_service_that_was_away_and_rests_grow() -> None:
    world = SimulatedWorld()
    own = breaker.Breaker(world)
    for _ in range(breaker.BREAK_AFTER):
        assert own.closed()
        own.failed()
    rests = []
    for _ in range(8):
        rested = 0.0
        while not own.closed():
            world.advance(0.1)
            rested += 0.1
        assert not own.closed()
        own.failed()
        rests.append(rested)
    assert rests[:5] == sorted(rests[:5])
    assert breaker.FIRST_REST * 0.7 < rests[0] < breaker.FIRST_REST * 1.2
    assert rests[-1] < breaker.LONGEST_REST * 1.1
