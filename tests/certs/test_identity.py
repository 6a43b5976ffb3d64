"""Connections between parties: who is let in, who is not and what the log says, and certificates that change meanwhile."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from nova_async.certs import x509
from nova_async.certs.authority import Authority
from nova_async.certs.identity import Identity
from nova_async.certs.keeper import Keeper, write_identity
from nova_async.errors import Forbidden
from nova_async.world import RealWorld


class Hosts:
    """Enrols hosts, each with a directory of its own."""

    def __init__(self, authority: Authority, url: str, world: RealWorld, folder: Path) -> None:
        self.authority, self.url, self.world, self.folder = authority, url, world, folder

    def keeper(self, host: str) -> Keeper:
        return Keeper(self.folder / host, self.url, self.world)

    async def enrol(self, host: str) -> Identity:
        keeper = self.keeper(host)
        await keeper.enrol(host, await self.authority.allow_host(host, []))
        await keeper.fetch_revoked()
        return await Identity.open(keeper.directory)

    async def falsified(self, like: Identity, *, seconds: int, stranger: bool) -> Identity:
        """A certificate of the same party: of another authority, or whose life ends in ``seconds``."""
        root, issuing = self.authority.root, self.authority.issuing
        if stranger:
            issuing = x509.make_issuing(x509.make_root(self.world.now()), self.world.now())
        key = x509.new_key()
        made = x509.sign(issuing, key.public_key(), like.party, [], self.world.now(), timedelta(seconds=seconds))
        folder = self.folder / "falsified"
        write_identity(folder, key, x509.pem(made) + x509.pem(issuing.certificate), x509.pem(root.certificate))
        return await Identity.open(folder)


@pytest.fixture
def hosts(authority: Authority, url: str, world: RealWorld, tmp_path: Path) -> Hosts:
    return Hosts(authority, url, world, tmp_path)


@asynccontextmanager
async def echoing(identity: Identity, *parties: str) -> AsyncIterator[int]:
    """The port of a server that says back what ``parties`` say to it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        await writer.drain()
        writer.close()

    server = await identity.listen("127.0.0.1", 0, serve, parties, limit=2**16)
    yield server.port
    server.close()


async def said(identity: Identity, port: int, party: str) -> bytes:
    reader, writer = await identity.connect("127.0.0.1", port, party, limit=2**16)
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
    writer.write(b"hello")
    try:
        return await reader.read(100)
    finally:
        writer.transport.abort()


async def test_two_hosts_know_each_other(hosts: Hosts) -> None:
    one, two = await hosts.enrol("h1"), await hosts.enrol("h2")
    assert (one.party, two.party) == ("compute.h1", "compute.h2")
    async with echoing(two, "compute.h1") as port:
        assert await asyncio.gather(*(said(one, port, "compute.h2") for _ in range(50))) == [b"hello"] * 50


async def test_another_host_is_refused_on_either_side(hosts: Hosts, capsys) -> None:
    one, two, three = [await hosts.enrol(f"h{i}") for i in (1, 2, 3)]
    async with echoing(two, "compute.h1") as port:
        with pytest.raises(Forbidden, match=r"is of compute\.h2, not of compute\.h3"):
            await said(one, port, "compute.h3")
        assert await fails(three, port)
    assert "tls.refused" in (text := capsys.readouterr().out)
    assert "party=compute.h3" in text


async def test_a_revoked_certificate_is_refused_once_the_list_is_known(hosts: Hosts, capsys) -> None:
    one, two = await hosts.enrol("h1"), await hosts.enrol("h2")
    async with echoing(two, "compute.h1") as port:
        assert await said(one, port, "compute.h2") == b"hello"
        await hosts.authority.revoke("compute.h1")
        await hosts.keeper("h2").fetch_revoked()
        await two.load()
        assert await fails(one, port)
        assert "certificate revoked" in capsys.readouterr().out
        await hosts.authority.revoke("compute.h2")
        await hosts.keeper("h1").fetch_revoked()
        await one.load()
        with pytest.raises(Forbidden, match="certificate revoked"):
            await said(one, port, "compute.h2")


@pytest.mark.parametrize(
    ("seconds", "stranger", "reason"), [(-1, False, "certificate has expired"), (60, True, "unable to get local issuer certificate")]
)
async def test_a_certificate_that_does_not_hold_is_refused_and_the_log_says_why(
    hosts: Hosts, capsys, seconds: int, stranger: bool, reason: str
) -> None:
    one, two = await hosts.enrol("h1"), await hosts.enrol("h2")
    false = await hosts.falsified(one, seconds=seconds, stranger=stranger)
    async with echoing(two, "compute.h1") as port:
        assert await fails(false, port)
    assert reason in capsys.readouterr().out
    async with echoing(false, "compute.h2") as port:
        with pytest.raises(Forbidden, match=reason):
            await said(two, port, "compute.h1")


async def test_who_speaks_no_tls_or_shows_no_certificate_is_refused(hosts: Hosts, capsys) -> None:
    two = await hosts.enrol("h2")
    async with echoing(two, "compute.h1") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert b"hello" not in await reader.read(100)
        writer.close()
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=bare)
        with contextlib.suppress(OSError):
            assert await reader.read(100) == b""
        writer.transport.abort()
    text = capsys.readouterr().out
    assert "http request" in text
    assert "peer did not return a certificate" in text


async def test_a_renewal_is_shown_to_new_connections_and_open_ones_stay(hosts: Hosts) -> None:
    one, two = await hosts.enrol("h1"), await hosts.enrol("h2")
    async with echoing(two, "compute.h1") as port:
        reader, writer = await one.connect("127.0.0.1", port, "compute.h2", limit=2**16)
        before = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        await hosts.keeper("h2").renew()
        await two.load()
        other = (await one.connect("127.0.0.1", port, "compute.h2", limit=2**16))[1]
        assert other.get_extra_info("ssl_object").getpeercert(binary_form=True) != before
        writer.write(b"still here")
        assert await reader.read(100) == b"still here"
        other.close()
        writer.close()


async def fails(identity: Identity, port: int) -> bool:
    """Our certificate is not taken, which we are told."""
    with pytest.raises(Forbidden, match=r"compute\.h2 does not take this host's certificate"):
        await said(identity, port, "compute.h2")
    return True
