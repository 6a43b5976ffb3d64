"""A process's own certificate: made, kept, shown over HTTPS, and believed by clients that know the root."""

import asyncio
import ssl
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from nova_async.certs import IDENTITY, ROOT, x509
from nova_async.certs.authority import Authority
from nova_async.certs.http import application
from nova_async.certs.keeper import Keeper
from nova_async.certs.process import Certificates
from nova_async.config import Config
from nova_async.errors import Forbidden, Invalid, Unavailable
from nova_async.world import RealWorld


@pytest.fixture
async def certificates(config: Config, world: RealWorld, authority: Authority) -> Certificates:
    config.api.tls, config.api.public_url = True, "https://localhost:1"
    made = Certificates(config, world)
    await made.make(authority)
    return made


async def served(site: web.Application, tls: ssl.SSLContext | None) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(site)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    return runner, f"{'https' if tls else 'http'}://localhost:{runner.addresses[0][1]}"


@pytest.fixture
async def https(certificates: Certificates, authority: Authority, world: RealWorld):
    """The authority's own site over HTTPS: its address without a path."""
    runner, url = await served(application(authority, world), await certificates.https())
    yield url
    await runner.cleanup()


async def looked(certificates: Certificates) -> None:
    assert certificates.keeper is not None
    await certificates.keeper.look()


def present(directory: Path) -> str:
    return f"{x509.read((directory / IDENTITY).read_bytes()).serial_number:x}"


async def test_the_application_makes_its_certificate_once(certificates: Certificates, authority: Authority, config, world) -> None:
    first = present(config.certificate_dir)
    assert "localhost" in x509.alternatives_of(x509.read((config.certificate_dir / IDENTITY).read_bytes()))
    again = Certificates(config, world)
    await again.make(authority)
    await looked(again)
    assert present(config.certificate_dir) == first
    assert [each.party for each in await authority.valid()] == ["app"]


async def test_it_makes_another_when_it_answers_elsewhere_or_was_revoked(certificates: Certificates, authority, config, world) -> None:
    seen = [present(config.certificate_dir)]
    config.api.public_url = "https://other.example.org"
    moved = Certificates(config, world)
    await moved.make(authority)
    seen.append(present(config.certificate_dir))
    await authority.revoke("app")
    await looked(moved)
    seen.append(present(config.certificate_dir))
    assert len(set(seen)) == 3


async def test_a_host_enrols_and_renews_over_https_without_knowing_the_root_before(authority, https: str, world, tmp_path: Path) -> None:
    keeper = Keeper(tmp_path / "h1", https, world)
    token = await authority.allow_host("h1", [])
    await keeper.enrol("h1", token)
    await keeper.renew()
    await keeper.fetch_revoked()
    assert (keeper.directory / ROOT).read_bytes() == authority.root_pem
    with pytest.raises(Unavailable, match="does not answer"):  # its certificate is for localhost
        await Keeper(keeper.directory, https.replace("localhost", "127.0.0.2"), world).fetch_revoked()


async def test_an_impostor_over_https_is_not_believed(authority, certificates, world, tmp_path: Path, database, accounts) -> None:
    other = await Authority.open(Config(state_dir=str(tmp_path / "other")), world, database, accounts)
    runner, url = await served(application(other, world), await certificates.https())
    with pytest.raises(Forbidden, match="not the authority"):
        await Keeper(tmp_path / "h1", url, world).enrol("h1", await authority.allow_host("h1", []))
    await runner.cleanup()


async def test_no_token_is_taken_over_plain_http_where_there_is_tls(certificates: Certificates) -> None:
    """SEC-050: neither is one led from there to HTTPS, by when it would have been told."""
    heard = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(request.headers["X-Auth-Token"])
        return web.Response()

    site = web.Application()
    site.router.add_get("/{path:.*}", hear)
    runner, url = await served(site, await certificates.https())
    for path in ("/compute/v2.1/servers", "/console/?token=canary", "//x"):
        reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: canary\r\n\r\n".encode())
        async with asyncio.timeout(20):
            assert b"HTTP" not in await reader.read()
        writer.close()
    assert heard == []
    trust = ssl.create_default_context(cafile=str(certificates.config.certificate_dir / ROOT))
    async with aiohttp.ClientSession() as session, session.get(url, ssl=trust, headers={"X-Auth-Token": "ours"}) as response:
        assert (response.status, heard) == (200, ["ours"])
    await runner.cleanup()


async def test_https_goes_on_with_a_renewed_certificate(certificates: Certificates, https: str, config) -> None:
    async def shown() -> str:
        trust = ssl.create_default_context(cafile=str(config.certificate_dir / ROOT))
        async with aiohttp.ClientSession() as session, session.get(f"{https}/root.pem", ssl=trust) as response:
            assert response.status == 200
        reader, writer = await asyncio.open_connection("127.0.0.1", int(https.rpartition(":")[2]), ssl=trust, server_hostname="localhost")
        del reader
        try:
            return str(writer.get_extra_info("ssl_object").getpeercert()["serialNumber"])
        finally:
            writer.transport.abort()

    before = await shown()
    assert certificates.keeper is not None
    await certificates.keeper.renew()
    await looked(certificates)
    assert await shown() != before


async def test_a_certificate_of_the_operators_own_is_used_or_refused_at_the_start(certificates, authority, config, world, tmp_path) -> None:
    config.api.tls_certificate = str(config.certificate_dir / IDENTITY)
    assert await Certificates(config, world).https() is not None
    assert Certificates(config, world).root is None  # its clients know whom to trust
    config.api.tls_certificate = str(tmp_path / "nothing.pem")
    with pytest.raises(Invalid, match=r"api\.tls_certificate"):
        await Certificates(config, world).https()
    config.api.tls_certificate = ""
    with pytest.raises(Invalid, match=r"api\.tls"):
        await Certificates(config, world).https()


async def test_without_tls_nothing_changes(config: Config, world: RealWorld) -> None:
    made = Certificates(config, world)
    await made.find(None, needed=False)
    assert (made.identity, made.keeper, await made.https(), made.root) == (None, None, None, None)
    assert config.public_url.startswith("http://")


async def test_a_process_that_is_told_looks_at_once(certificates: Certificates, authority: Authority, config: Config) -> None:
    assert certificates.keeper is not None
    running = asyncio.create_task(certificates.keeper.run())
    await asyncio.sleep(0.2)
    before = present(config.certificate_dir)
    await authority.revoke("app")
    certificates.look()
    async with asyncio.timeout(10):
        while present(config.certificate_dir) == before:
            await asyncio.sleep(0.05)
    running.cancel()
