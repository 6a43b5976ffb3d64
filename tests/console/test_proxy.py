"""From a browser to a guest: what passes, what is refused, and what ends a session."""

import asyncio
import contextlib
import gc
import struct
import tracemalloc
from types import SimpleNamespace

import pytest
from aiohttp import WSMsgType
from multidict import CIMultiDict

from nova_async.config import load
from nova_async.console.proxy import MESSAGE_BYTES, origins
from nova_async.console.tokens import ANEW, ENDED, UNHEARD, UNKNOWN
from nova_async.db import console_tokens
from nova_async.errors import Forbidden, Unavailable

from .conftest import ORIGIN, Consoles, closing, proxied, until

LOOK_ALIKES = [
    "null",
    "https://consoles.example",
    "http://consoles.example:81",
    "http://consoles.example.evil.test",
    "http://evil.consoles.example",
    "http://consoles.exampl",
    "HTTP://CONSOLES.EXAMPLE",
    "http://consoles.example/",
    "http://user@consoles.example",
    "consoles.example",
    "",
]


async def test_what_is_typed_reaches_the_guest_and_its_answer_comes_back(consoles: Consoles) -> None:
    socket = await consoles.serial(await consoles.boot())
    assert socket.protocol == "binary"
    await socket.send_bytes(b"root\r")
    assert await until(socket, b"login: ") == b"root" + b"\r\n" * 2 + b"one login: "
    await socket.send_str("caf\u00e9")
    assert await until(socket, b"\xa9") == "caf\u00e9".encode()
    await socket.close()


async def test_a_program_without_a_sub_protocol_or_an_origin_is_served(consoles: Consoles) -> None:
    token = await consoles.token(await consoles.boot())
    socket = await consoles.connect(token, None, protocols=())
    await until(socket, b"login: ")
    assert socket.protocol is None
    await socket.close()


async def test_a_screen_asks_the_browser_for_no_password_and_shows_itself(consoles: Consoles) -> None:
    socket = await consoles.connect(await consoles.token(await consoles.boot(), "novnc"))
    assert await until(socket, b"\n") == b"RFB 003.008\n"
    await socket.send_bytes(b"RFB 003.")
    await socket.send_bytes(b"008\n")
    assert await until(socket, b"\x01") == b"\x01\x01"
    await socket.send_bytes(b"\x01\x01")  # the choice, and already the first word to the guest
    assert (
        await until(socket, b"one")
        == bytes(4) + struct.pack(">HHBBBBHHHBBBxxxI", 400, 240, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0, 3) + b"one"
    )
    await socket.send_bytes(struct.pack(">BBHHHH", 3, 0, 0, 0, 400, 240))
    async with asyncio.timeout(20):
        seen = 0
        while seen < 16 + 400 * 240 * 4:
            seen += len((await socket.receive()).data)
    await socket.close()


@pytest.mark.parametrize("words", [b"RFB 003.003\n", b"GET / HTTP/1"])
async def test_a_viewer_of_another_version_is_sent_away(consoles: Consoles, words: bytes) -> None:
    socket = await consoles.connect(await consoles.token(await consoles.boot(), "novnc"))
    await until(socket, b"\n")
    await socket.send_bytes(words)
    assert (await closing(socket)).data == 1002


async def test_a_screens_viewer_that_speaks_in_text_is_sent_away(consoles: Consoles) -> None:
    socket = await consoles.connect(await consoles.token(await consoles.boot(), "novnc"))
    await socket.send_str("RFB 003.008\n")
    assert (await closing(socket)).data == 1002


async def test_a_spice_viewer_is_linked_through(consoles: Consoles) -> None:
    socket = await consoles.connect(await consoles.token(await consoles.boot(), "spice-html5"))
    await socket.send_bytes(struct.pack("<4sIIIIBBIIIII", b"REDQ", 2, 2, 26, 0, 1, 0, 1, 1, 18, 11, 9))
    assert (await until(socket, b"REDQ")).startswith(b"REDQ")
    await socket.close()


async def test_a_frame_that_is_too_large_ends_its_session_and_no_other(consoles: Consoles) -> None:
    socket, beside = await consoles.serial(await consoles.boot()), await consoles.serial(await consoles.boot())
    await socket.send_bytes(bytes(MESSAGE_BYTES + 1))
    assert (await closing(socket)).data == 1009
    await beside.send_bytes(b"x")
    await until(beside, b"x")
    await beside.close()


# Refusals


async def test_an_unknown_token_is_refused_without_a_word(consoles: Consoles) -> None:
    assert await consoles.refusal("0" * 64) == 404
    assert await consoles.refusal("bad" + "0" * 61) == 404
    for query in ("", "?token=", "?tok=x"):
        async with consoles.client.get(f"/console/{query}", headers={"Upgrade": "websocket", "Connection": "Upgrade"}) as answer:
            assert (answer.status, await answer.read()) == (400, b"")
    async with consoles.client.get("/console/?token=" + "0" * 64) as answer:
        assert answer.status == 400


@pytest.mark.parametrize("origin", LOOK_ALIKES)
async def test_a_page_of_another_site_is_refused(consoles: Consoles, origin: str) -> None:
    """SEC-044"""
    token = await consoles.token(await consoles.boot())
    assert await consoles.refusal(token, origin) == 403
    assert await consoles.refusal(token, origin, headers={"Host": origin.rpartition("/")[2] or "x"}) == 403


async def test_a_missing_origin_is_refused_where_that_is_configured_and_further_sites_are_let_in(hosts) -> None:
    """SEC-044"""
    async with proxied(hosts, console__require_origin=True, console__origins=("https://horizon.example",)) as consoles:
        token = await consoles.token(await consoles.boot())
        assert await consoles.refusal(token, None) == 403
        assert await consoles.refusal(token, "https://horizon.example:443") == 403
        await (await consoles.connect(token, "https://horizon.example")).close()


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Consoles.example:443/console", "https://consoles.example"),
        ("http://consoles.example:80", "http://consoles.example"),
        ("https://consoles.example:6080/", "https://consoles.example:6080"),
        ("http://[2001:db8::7]:8774/console", "http://[2001:db8::7]:8774"),
    ],
)
def test_our_own_origin_is_written_as_browsers_write_it(url: str, origin: str) -> None:
    assert origins(load(None, {}, console__public_url=url)) == {origin}


async def test_the_list_of_sites_does_not_learn_from_requests(consoles: Consoles) -> None:
    """SEC-045"""
    before = consoles.proxy.origins
    for number in range(300):
        headers = {"Host": f"host{number}.test", "Upgrade": "websocket", "Connection": "Upgrade", "Origin": f"http://host{number}.test"}
        async with consoles.client.get("/console/?token=x", headers=headers) as answer:
            assert answer.status == 403
    assert isinstance(before, frozenset)
    assert consoles.proxy.origins is before
    assert await consoles.refusal("x", "http://host7.test", headers={"Host": "host7.test"}) == 403
    tracemalloc.start()
    for number in range(10_000):  # make bench: 100,000 over the network
        said = {"Host": f"host{number}.test", "Upgrade": "websocket", "Origin": f"http://host{number}.test"}
        with pytest.raises(Forbidden):
            consoles.proxy._check(SimpleNamespace(headers=CIMultiDict(said), query={"token": "x"}))  # type: ignore[arg-type]
    assert tracemalloc.get_traced_memory()[0] < 2**20
    tracemalloc.stop()
    assert consoles.proxy.origins is before


async def test_a_page_is_told_what_became_of_its_token_and_who_has_none_learns_nothing(consoles: Consoles) -> None:
    server, cloud = await consoles.boot(), consoles.cloud
    token = await consoles.token(server)
    assert await consoles.why(token) == (200, "")
    assert await consoles.why("0" * 64) == await consoles.why("x") == await consoles.why("x" * 5_000) == (200, UNKNOWN)
    for origin in ("http://evil.test", None if consoles.proxy.config.console.require_origin else "null"):
        assert await consoles.why(token, origin) == (403, "Consoles are not opened from this site; see console.origins.")
    async with cloud.database.connection() as conn:
        await conn.execute("UPDATE console_tokens SET expires_at = now()")
        assert await consoles.why(token) == (200, ENDED["over"])
        await conn.execute("UPDATE console_tokens SET expires_at = now() + interval '1 hour', port = port + 1")
        assert await consoles.why(token) == (200, ANEW)
        await conn.execute("UPDATE instances SET generation = generation + 1 WHERE uuid = $1", server)
        assert await consoles.why(token) == (200, ENDED["moved"])
        await conn.execute("UPDATE instances SET generation = generation - 1 WHERE uuid = $1", server)
    for verb, words in (("stop", ENDED["stopped"]), ("delete", ENDED["deleted"])):
        await cloud.begin(verb, server)
        await cloud.settle()
        assert await consoles.refusal(token) == 404
        assert await consoles.why(token) == (200, words)


async def test_a_page_is_told_that_there_is_no_room_or_that_a_host_is_silent(hosts, monkeypatch) -> None:
    async with proxied(hosts, console__max_sessions=2, console__max_sessions_of_server=1) as consoles:
        server, other = await consoles.boot(), await consoles.boot()
        screen = await consoles.screen(server)
        token = await consoles.token(server)
        assert await consoles.why(token) == (429, "Too many consoles of this server are open.")
        beside = await consoles.screen(other)
        assert await consoles.why(token) == (429, "Too many consoles are open.")
        for socket in (screen, beside):
            await socket.close()
        await hosts.until(lambda: not consoles.proxy.sessions.live)

        async def silent(*_):
            raise Unavailable("nobody")

        monkeypatch.setattr(consoles.tokens, "_ask", silent)
        assert await consoles.why(token) == (200, UNHEARD)


async def test_another_sub_protocol_is_refused(consoles: Consoles) -> None:
    token = await consoles.token(await consoles.boot())
    assert await consoles.refusal(token, protocols=("base64",)) == 400
    await (await consoles.connect(token, protocols=("base64", "binary"))).close()


async def test_each_token_leads_to_its_own_server(consoles: Consoles) -> None:
    """SEC-043"""
    servers = [await consoles.boot() for _ in range(4)]
    addresses = {}
    for server in servers:
        grant = await consoles.tokens.find(await consoles.token(server, "novnc"))
        assert grant.instance_id == server
        addresses[server] = grant.port
    assert len(set(addresses.values())) == len(servers)


async def test_a_port_that_another_guest_has_by_now_is_not_carried(consoles: Consoles) -> None:
    """SEC-043"""
    mine, other = await consoles.boot(), await consoles.boot()
    token = await consoles.token(mine)
    foreign = await consoles.tokens.find(await consoles.token(other))
    async with consoles.cloud.database.connection() as conn:
        await conn.execute("UPDATE console_tokens SET port = $2 WHERE instance_id = $1", mine, foreign.port)
    assert await consoles.refusal(token) == 404


@pytest.mark.parametrize("end", ["stop", "delete", "reboot", "rebuild", "suspend"])
async def test_what_ends_a_guest_ends_its_sessions_and_tokens(consoles: Consoles, end: str) -> None:
    """SEC-043"""
    server, other = await consoles.boot(), await consoles.boot()
    socket, token, beside = await consoles.serial(server), await consoles.token(server), await consoles.serial(other)
    options = {"reboot": {"type": "HARD"}, "rebuild": {"image_id": consoles.cloud.image_id}}.get(end, {})
    await consoles.cloud.begin(end, server, **options)
    assert (await closing(socket)).type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
    await consoles.cloud.settle()
    assert await consoles.refusal(token) == 404
    await beside.send_bytes(b"x")
    await until(beside, b"x")
    await beside.close()


async def test_a_server_that_moved_takes_its_console_along_but_no_token(consoles: Consoles) -> None:
    """SEC-043"""
    server = await consoles.boot()
    socket, token = await consoles.serial(server), await consoles.token(server)
    before = (await consoles.cloud.server(server)).host
    await consoles.cloud.begin("live-migration", server, host=None, block=None, force=False)
    await closing(socket)
    await consoles.cloud.settle()
    assert (await consoles.cloud.server(server)).host != before
    assert await consoles.refusal(token) == 404
    await (await consoles.serial(server)).close()


async def test_a_session_ends_with_the_placement_even_if_the_old_guest_lives_on(consoles: Consoles) -> None:
    """SEC-043: as after an evacuation from a host that was not dead."""
    server = await consoles.boot()
    socket = await consoles.serial(server)
    async with consoles.cloud.database.connection() as conn:
        was = await conn.fetchval("UPDATE instances SET generation = generation + 7 WHERE uuid = $1 RETURNING generation - 7", server)
    ended = await closing(socket)
    assert (ended.type, ended.extra) == (WSMsgType.CLOSE, "The server was stopped, moved or deleted.")
    async with consoles.cloud.database.connection() as conn:
        await conn.execute("UPDATE instances SET generation = $2 WHERE uuid = $1", server, was)


async def test_a_database_that_is_away_ends_no_session(consoles: Consoles, monkeypatch) -> None:
    socket = await consoles.serial(await consoles.boot())
    asked = asyncio.Event()

    async def away(*_):
        asked.set()
        raise Unavailable()

    monkeypatch.setattr(console_tokens, "holding", away)
    async with asyncio.timeout(20):
        await asked.wait()
    await socket.send_bytes(b"x")
    await until(socket, b"x")
    await socket.close()


async def test_sessions_are_limited_for_each_server_user_and_process_and_free_again_when_they_end(hosts) -> None:
    """SEC-048"""
    async with proxied(hosts, console__max_sessions=6, console__max_sessions_of_user=4, console__max_sessions_of_server=3) as consoles:
        first, second = await consoles.boot(), await consoles.boot()
        open_ = [await consoles.screen(first, "a") for _ in range(3)]
        assert await consoles.refusal(await consoles.token(first, user="b")) == 429
        open_ += [await consoles.screen(second, "a")]
        assert await consoles.refusal(await consoles.token(second, user="a")) == 429
        open_ += [await consoles.screen(second, "b") for _ in range(2)]
        assert await consoles.refusal("x") == 429
        for socket in open_:
            await socket.close()
        await hosts.until(lambda: not consoles.proxy.sessions.live)
        await (await consoles.serial(first, "a")).close()


async def test_sessions_that_have_ended_leave_nothing_behind(consoles: Consoles) -> None:
    """SEC-048"""
    url = consoles.client.make_url(f"/console/?token={await consoles.token(await consoles.boot(), 'novnc')}")

    async def sessions(count: int) -> None:
        for _ in range(count):
            async with consoles.client.session.ws_connect(url, headers={"Origin": ORIGIN}) as socket:
                await until(socket, b"RFB 003.008\n")

    async def many(count: int) -> None:
        await asyncio.gather(*(sessions(count) for _ in range(10)))
        await consoles.cloud.until(lambda: not consoles.proxy.sessions.live)
        gc.collect()

    await many(2)
    tracemalloc.start()
    await many(2)
    before = tracemalloc.get_traced_memory()[0]
    await many(100)  # 1,000 sessions
    assert tracemalloc.get_traced_memory()[0] - before < 2**18
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("option", "words"),
    [("idle_seconds", "Nothing has happened for long."), ("session_seconds", "The session has lasted as long as it may.")],
)
async def test_sessions_end_when_they_are_idle_or_old(hosts, monkeypatch, option: str, words: str) -> None:
    """SEC-048"""
    monkeypatch.setattr("nova_async.console.proxy.WATCH_SECONDS", 0.1)
    async with proxied(hosts, **{f"console__{option}": 0.3}) as consoles:
        socket = await consoles.serial(await consoles.boot())
        ended = await closing(socket)
        assert (ended.type, ended.extra) == (WSMsgType.CLOSE, words)


async def test_a_serial_line_goes_to_whoever_opens_it_last_and_a_screen_to_all(consoles: Consoles) -> None:
    server, other = await consoles.boot(), await consoles.boot()
    first, beside, screens = await consoles.serial(server), await consoles.serial(other), [await consoles.screen(server) for _ in range(2)]
    second = await consoles.serial(server)
    assert (await closing(first)).extra == "You have opened this console once more, elsewhere."
    third = await consoles.serial(server, "colleague")
    assert (await closing(second)).extra == "Somebody else has opened this console: the user colleague."
    for socket in (third, beside):
        await socket.send_bytes(b"x")
        await until(socket, b"x")
        await socket.close()
    for screen in screens:
        await screen.send_bytes(b"RFB 003.008\n")
        await until(screen, b"\x01\x01")
        await screen.close()


async def test_a_spice_screen_goes_to_whoever_opens_it_last_with_all_channels_of_theirs(consoles: Consoles) -> None:
    server = await consoles.boot()
    mine, theirs = await consoles.token(server, "spice-html5"), await consoles.token(server, "spice-html5", "colleague")
    link = struct.Struct("<4sIIIIBBIIIII")

    async def channel(token: str, connection: int, kind: int):
        socket = await consoles.connect(token)
        words = link.pack(b"REDQ", 2, 2, 26, connection, kind, 0, 1, 1, 18, 11, 9)
        await socket.send_bytes(words[:7])
        await socket.send_bytes(words[7:])
        assert (await until(socket, b"REDQ")).startswith(b"REDQ")
        return socket

    channels = [await channel(mine, 0, 1), await channel(mine, 7, 2), await channel(mine, 7, 3)]
    later = await channel(theirs, 0, 1)
    for socket in channels:
        assert (await closing(socket)).extra == "Somebody else has opened this console: the user colleague."
    more = await channel(theirs, 8, 2)
    assert len(consoles.proxy.sessions.live) == 2
    for socket in (later, more):
        await socket.close()


async def test_a_spice_viewer_that_is_silent_is_left(consoles: Consoles, monkeypatch) -> None:
    monkeypatch.setattr("nova_async.console.proxy.GREETING_SECONDS", 0.3)
    socket = await consoles.connect(await consoles.token(await consoles.boot(), "spice-html5"))
    assert (await closing(socket)).extra == "The greeting took too long."


async def test_a_viewer_that_does_not_read_holds_up_the_guest_and_nobody_else(consoles: Consoles) -> None:
    """Nothing piles up in the proxy: what the viewer does not take, the guest cannot send."""
    flood = Flood()
    server = await consoles.boot()
    token = await consoles.token(server)
    async with await asyncio.start_server(flood.serve, "127.0.0.1", 0) as listener:
        await point(consoles, server, listener)
        slow = await consoles.connect(token)
        previous = -1
        async with asyncio.timeout(20):
            while flood.sent != previous:
                previous = flood.sent
                await asyncio.sleep(0.5)
        assert 0 < flood.sent < 64 * 2**20
        quick = await consoles.serial(await consoles.boot())
        await quick.close()
        slow._response.close()  # type: ignore[union-attr]
        await consoles.cloud.until(lambda: not consoles.proxy.sessions.live)


class Flood:
    """A console that never ends."""

    def __init__(self) -> None:
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(bytes(65536))
                await writer.drain()
                self.sent += 65536
        writer.close()


async def point(consoles: Consoles, server: str, listener: asyncio.Server) -> None:
    """Let a server's tokens lead to another address, and its host agree."""
    port = listener.sockets[0].getsockname()[1]
    async with consoles.cloud.database.connection() as conn:
        await conn.execute("UPDATE console_tokens SET port = $2 WHERE instance_id = $1", server, port)
    host = (await consoles.cloud.server(server)).host
    fakes = consoles.cloud.drivers[host]._consoles._offers
    for key, offer in fakes.items():
        if key[0] == server:
            offer.port = port


async def test_a_hostile_hypervisor_is_left_and_costs_nothing(consoles: Consoles) -> None:
    """SEC-049"""
    server, beside = await consoles.boot(), await consoles.serial(await consoles.boot())
    for words in (
        b"RFB 003.008\n" + bytes(1) + b"\xff\xff\xff\xff" + b"x" * 100_000,  # a reason of 4 GiB
        b"RFB 003.008\n" + b"\x02\x63\x64",  # unknown kinds of security
        b"RFB 003.003\n" + b"\x00\x00\x00\x01",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"RFB 003.008\n\x01\x01" + b"\x00\x00\x00\x01\xff\xff\xff\xff" + b"y" * 100_000,
        b"RFB",
    ):
        token = await consoles.token(server, "novnc")

        async def say(reader, writer, words=words):
            writer.write(words)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
                if words == b"RFB":
                    writer.close()
                await reader.read(2**20)
                await asyncio.sleep(0.1)
            writer.close()

        async with await asyncio.start_server(say, "127.0.0.1", 0) as listener:
            await point(consoles, server, listener)
            assert await consoles.refusal(token) == 503, words
        await beside.send_bytes(b"x")
        await until(beside, b"x")
    await beside.close()


async def test_a_hypervisor_that_speaks_byte_by_byte_for_ever_is_left(consoles: Consoles, monkeypatch) -> None:
    """SEC-049"""
    monkeypatch.setattr("nova_async.console.proxy.GREETING_SECONDS", 0.3)
    server = await consoles.boot()
    token = await consoles.token(server, "novnc")

    async def drip(reader, writer):
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"R")
                await writer.drain()
                await asyncio.sleep(0.05)

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as listener:
        await point(consoles, server, listener)
        assert await consoles.refusal(token) == 503


async def test_a_viewer_that_is_silent_is_left(consoles: Consoles, monkeypatch) -> None:
    monkeypatch.setattr("nova_async.console.proxy.GREETING_SECONDS", 0.3)
    socket = await consoles.connect(await consoles.token(await consoles.boot(), "novnc"))
    assert (await closing(socket)).extra == "The greeting took too long."


async def test_tokens_are_never_logged(consoles: Consoles, capfd) -> None:
    """SEC-047"""
    server = await consoles.boot()
    tokens = [await consoles.token(server, kind) for kind in ("serial", "novnc", "spice-html5")]
    for token in tokens:
        await (await consoles.connect(token)).close()
        await consoles.refusal(token, "http://evil.test")
    await consoles.cloud.begin("stop", server)
    await consoles.cloud.settle()
    for token in tokens:
        assert await consoles.refusal(token) == 404
    said = "".join(capfd.readouterr())
    assert "console.opened" in said
    assert "console.refused" in said
    assert [token for token in tokens if token in said] == []
