"""Each client of another service meets servers that are not who they should be (SEC-069, SEC-072)."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientTimeout, web

from nova_async.bus.amqp.link import Link
from nova_async.bus.connect import with_certificate
from nova_async.certs.identity import trusting
from nova_async.certs.keeper import Keeper
from nova_async.config import Config, load
from nova_async.db import Database
from nova_async.errors import Error, Unavailable
from nova_async.services.client import ServiceClient
from nova_async.transport import in_the_clear, is_verified
from nova_async.world import RealWorld
from tests.certs.parties import Parties

FAULTS = ("another name", "expired", "another authority", "no TLS")


@pytest.fixture
def parties(tmp_path: Path, world: RealWorld) -> Parties:
    return Parties(tmp_path / "ours", world)


@pytest.fixture
def bad(parties: Parties, tmp_path: Path, world: RealWorld):
    """The TLS of a server that has this fault."""

    def made(fault: str) -> ssl.SSLContext | None:
        issuer = Parties(tmp_path / "theirs", world) if fault == "another authority" else parties
        name = "elsewhere.example.org" if fault == "another name" else "localhost"
        directory = issuer.write("server", (name,), seconds=-1 if fault == "expired" else 3600)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "identity.pem")
        return None if fault == "no TLS" else context

    return made


@asynccontextmanager
async def listening(tls: ssl.SSLContext | None, heard: list[bytes], first: int = 0) -> AsyncIterator[int]:
    """A server that notes what it is told. ``first``: octets that come in the clear and are answered by S (PostgreSQL's way to TLS)."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if first:
                await reader.readexactly(first)
                writer.write(b"S" if tls else b"N")
                if tls:
                    await writer.start_tls(tls)
            while data := await reader.read(4096):
                heard.append(data)
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=None if first else tls) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_service_is_told_no_token(parties: Parties, bad, world: RealWorld, fault: str) -> None:
    class Tokens:
        async def token(self) -> str:
            return "canary"

        def forget(self, token: str) -> None:
            raise AssertionError("it was never shown")

    world.trust = trusting(parties.write("us") / "ca-cert.pem")
    heard: list[bytes] = []
    async with listening(bad(fault), heard) as port:
        client = ServiceClient("image", f"https://localhost:{port}", world, Tokens())
        with pytest.raises(Unavailable):
            await client.json("POST", "/v2/images")
        await client.close()
    assert not [data for data in heard if b"canary" in data]


async def test_a_service_that_is_who_it_should_be_is_believed(parties: Parties, world: RealWorld) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"well": True})

    app = web.Application()
    app.router.add_get("/", answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(parties.write("server", ("localhost",)) / "identity.pem")
    world.trust = trusting(parties.write("us") / "ca-cert.pem")
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    client = ServiceClient("image", f"https://localhost:{runner.addresses[0][1]}", world)
    assert await client.json("GET", "/") == {"well": True}
    await client.close()
    await runner.cleanup()


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_authority_is_not_asked(parties: Parties, bad, world: RealWorld, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setattr("nova_async.certs.keeper.SECONDS", ClientTimeout(total=2))  # one without TLS waits for us, as we do for it
    heard: list[bytes] = []
    async with listening(bad(fault), heard) as port:
        keeper = Keeper(parties.write("compute.h1"), f"https://localhost:{port}", world)
        answers = await asyncio.gather(keeper.renew(), keeper.fetch_revoked(), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    assert not [data for data in heard if b"HTTP" in data]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_broker_is_told_nothing(parties: Parties, bad, world: RealWorld, fault: str) -> None:
    heard: list[bytes] = []
    async with listening(bad(fault), heard) as port:
        link = Link(with_certificate(f"amqps://user:canary@localhost:{port}/", parties.write("compute.h1")), world, "test")
        with pytest.raises(Error):
            await link.first(2.0)
        await link.close()
    assert not [data for data in heard if b"canary" in data or b"AMQP" in data]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_database_over_a_network_is_told_nothing(parties: Parties, bad, monkeypatch, fault: str) -> None:
    monkeypatch.setattr("nova_async.transport.is_here", lambda host: False)
    heard: list[bytes] = []
    root = parties.write("us") / "ca-cert.pem"
    async with listening(bad(fault), heard, first=8) as port:
        with pytest.raises(Unavailable):
            await Database.connect(f"postgresql://user:canary@localhost:{port}/name?sslrootcert={root}", size=1)
    assert not [data for data in heard if b"user" in data]


def test_what_the_operator_leaves_in_the_clear_is_named() -> None:
    config = load(
        None,
        {},
        bus__url="amqp://guest:guest@mq.example.org/",
        database__url="postgresql://db.example.org/nova?sslmode=prefer",
        image__url="http://glance.example.org:9292",
        identity__url="https://keystone.example.org",
        metadata__url="http://127.0.0.1:8774/metadata",
    )
    assert in_the_clear(config) == ["bus.url", "image.url", "database.url"]
    assert in_the_clear(Config()) == []


@pytest.mark.parametrize(
    ("url", "verified"),
    [
        ("postgresql:///nova?host=/run/postgresql", True),
        ("postgresql://u:p@127.0.0.1:5432/nova", True),
        ("postgresql://u:p@db.example.org/nova", True),
        ("postgresql://u:p@db.example.org/nova?sslmode=verify-full", True),
        ("postgresql://u:p@db.example.org/nova?sslmode=require", False),
        ("postgresql:///nova?host=db.example.org&sslmode=disable", False),
    ],
)
def test_databases_that_somebody_else_could_pass_for(url: str, verified: bool) -> None:
    assert is_verified(url) is verified
