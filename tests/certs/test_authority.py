"""Enrolment, renewal and revocation, over HTTP as hosts do them; chains are judged by OpenSSL."""

import asyncio
import base64
import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from nova_async.certs import IDENTITY, tokens, x509
from nova_async.certs.authority import Authority, load_or_make
from nova_async.certs.keeper import Keeper
from nova_async.errors import Error, Forbidden, Invalid, NotFound, Unavailable
from nova_async.world import RealWorld, SimulatedWorld


def openssl(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True)


def verified(directory: Path, *more: str) -> bool:
    own = directory / "server-cert.pem"
    command = ["verify", "-CAfile", directory / "ca-cert.pem", "-untrusted", own, "-x509_strict", *more, own]
    return openssl(*map(str, command)).returncode == 0


async def test_a_host_gets_a_certificate_that_leads_to_the_root(authority: Authority, keeper: Keeper, accounts) -> None:
    await keeper.enrol("host1", await authority.allow_host("host1", ["host1", "192.0.2.7", "2001:db8::7"]))
    await keeper.check("compute.host1")
    assert verified(keeper.directory)
    assert verified(keeper.directory, "-purpose", "sslserver", "-verify_ip", "192.0.2.7", "-verify_hostname", "host1")
    assert verified(keeper.directory, "-purpose", "sslclient")
    assert not verified(keeper.directory, "-verify_ip", "192.0.2.8")
    assert accounts.allowed == {"compute.host1"}


async def test_keys_are_readable_by_their_owner_alone(authority: Authority, keeper: Keeper, config) -> None:
    await keeper.enrol("host1", await authority.allow_host("host1", []))
    for folder in (keeper.directory, config.authority_dir):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for path in folder.iterdir():
            assert ("PRIVATE KEY" not in path.read_text()) or stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert b"PRIVATE" not in (keeper.directory / "ca-cert.pem").read_bytes()


async def test_two_processes_have_one_authority(authority: Authority, config, world, database, accounts) -> None:
    others = await asyncio.gather(*(Authority.open(config, world, database, accounts) for _ in range(3)))
    assert {other.root_pem for other in others} == {authority.root_pem}


async def test_a_join_token_is_good_once_for_its_host_and_for_a_time(authority: Authority, keeper: Keeper, config, world, database) -> None:
    token = await authority.allow_host("host1", [])
    with pytest.raises(Forbidden, match="join token"):
        await keeper.enrol("host2", token)
    await keeper.enrol("host1", token)  # the refusal did not use it up
    with pytest.raises(Forbidden, match="join token"):
        await keeper.enrol("host1", token)
    config.certs.join_token_seconds = -1
    late = await Authority.open(config, world, database, authority.accounts)
    with pytest.raises(Forbidden, match="join token"):
        await keeper.enrol("host1", await late.allow_host("host1", []))


async def test_of_two_who_use_a_token_at_once_one_is_served(authority: Authority, keeper: Keeper, url: str, world, tmp_path: Path) -> None:
    token = await authority.allow_host("host1", [])
    other = Keeper(tmp_path / "thief", url, world)
    ended = await asyncio.gather(keeper.enrol("host1", token), other.enrol("host1", token), return_exceptions=True)
    assert sorted(type(e).__name__ for e in ended) == ["Forbidden", "NoneType"]


async def test_the_token_does_not_travel_and_is_bound_to_the_request(authority: Authority) -> None:
    join = tokens.parse(await authority.allow_host("host1", []))
    mine, theirs = (x509.make_request(x509.new_key(), "host1") for _ in range(2))
    proof = join.proof("host1", mine)
    with pytest.raises(Forbidden):
        await authority.enrol("host1", join.id, theirs, proof)  # who listens cannot put a key of his own in its place
    for false in ("", "!!", base64.urlsafe_b64encode(bytes(64)).decode()):
        with pytest.raises(Forbidden):
            await authority.enrol("host1", join.id, mine, false)
    await authority.enrol("host1", join.id, mine, proof)


async def test_another_authority_is_not_believed(authority: Authority, keeper: Keeper) -> None:
    join = tokens.parse(await authority.allow_host("host1", []))
    with pytest.raises(Forbidden, match="not the authority"):
        await keeper.enrol("host1", join._replace(root="00" * 32).text)
    assert not (keeper.directory / IDENTITY).exists()


async def test_a_renewed_certificate_has_another_key_and_the_same_names(authority: Authority, keeper: Keeper) -> None:
    await keeper.enrol("host1", await authority.allow_host("host1", ["192.0.2.7"]))
    before = (keeper.directory / IDENTITY).read_bytes()
    assert not await keeper.is_due()
    await keeper.renew()
    after = (keeper.directory / IDENTITY).read_bytes()
    assert x509.key_pem(x509.read_key(before)) != x509.key_pem(x509.read_key(after))
    assert x509.alternatives_of(x509.read(after)) == ["192.0.2.7"]
    assert verified(keeper.directory, "-verify_ip", "192.0.2.7")


async def test_it_is_renewed_after_two_thirds_of_its_life_and_not_after_its_end(authority, keeper, url, config) -> None:
    await keeper.enrol("host1", await authority.allow_host("host1", []))
    for part, due in ((0.6, False), (0.7, True)):
        later = SimulatedWorld(start=datetime.now(UTC) + timedelta(hours=config.certs.certificate_hours * part))
        assert await Keeper(keeper.directory, url, later).is_due() is due
    authority.world = SimulatedWorld(start=datetime.now(UTC) + timedelta(hours=config.certs.certificate_hours + 1))
    with pytest.raises(Forbidden, match="expired"):
        await keeper.renew()
    with pytest.raises(Invalid, match="expired"):
        await Keeper(keeper.directory, url, authority.world).check("compute.host1")


async def test_a_host_does_not_start_with_the_certificate_of_another(authority: Authority, keeper: Keeper, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="enrol this host"):
        await keeper.check("compute.host1")
    await keeper.enrol("host1", await authority.allow_host("host1", []))
    with pytest.raises(Invalid, match=r"is of compute\.host1, not of compute\.host2"):
        await keeper.check("compute.host2")


async def test_a_revoked_certificate_is_on_the_list_and_not_renewed(authority: Authority, keeper: Keeper, accounts) -> None:
    await keeper.enrol("host1", await authority.allow_host("host1", []))
    await keeper.fetch_revoked()
    check = ["-crl_check_all", "-CRLfile", str(keeper.directory / "ca-crl.pem")]
    assert verified(keeper.directory, *check)
    [gone] = await authority.revoke("compute.host1")
    await keeper.fetch_revoked()
    assert not verified(keeper.directory, *check)
    with pytest.raises(Forbidden, match="revoked"):
        await keeper.renew()
    assert accounts.removed == ["compute.host1"]
    with pytest.raises(NotFound):
        await authority.revoke(gone.serial)


async def test_the_broker_keeps_a_party_that_has_another_certificate(authority: Authority, keeper: Keeper, accounts) -> None:
    await keeper.enrol("host1", await authority.allow_host("host1", []))
    first = (await authority.valid())[0].serial
    await keeper.renew()
    await authority.revoke(first)
    assert accounts.removed == []
    await authority.revoke("compute.host1")
    assert accounts.removed == ["compute.host1"]


async def test_a_broker_that_is_away_keeps_all_as_it_was(authority: Authority, keeper: Keeper, accounts, monkeypatch) -> None:
    async def away(party: str) -> None:
        raise Unavailable("away")

    token = await authority.allow_host("host1", [])
    monkeypatch.setattr(accounts, "allow", away)
    with pytest.raises(Unavailable):
        await keeper.enrol("host1", token)
    assert await authority.valid() == []
    monkeypatch.undo()
    await keeper.enrol("host1", token)
    monkeypatch.setattr(accounts, "remove", away)
    with pytest.raises(Unavailable):
        await authority.revoke("compute.host1")
    assert [each.revoked_at for each in await authority.valid()] == [None]


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 64, "../x", "é", "x;y"])
async def test_names_that_cannot_be_in_a_certificate(authority: Authority, name: str) -> None:
    with pytest.raises(Invalid):
        await authority.allow_host(name, [])
    with pytest.raises(Invalid):
        await authority.allow_host("host1", [name])


async def test_requests_that_are_none(authority: Authority, url: str) -> None:
    join = tokens.parse(await authority.allow_host("host1", []))
    good = x509.make_request(x509.new_key(), "host1")
    wrong_kind = _rsa_request()
    async with aiohttp.ClientSession() as session:
        for request in ("", "x", good.decode()[:-200], good.decode().replace("M", "N", 3), wrong_kind):
            body = {"host": "host1", "token": join.id, "request": request, "proof": join.proof("host1", request.encode())}
            async with session.post(f"{url}/enrol", json=body) as response:
                assert response.status == 400, await response.text()
        for body in ({}, {"host": 1}, {"host": "h\0", "token": "t", "request": "r", "proof": "p"}, {"certificate": "x", "more": 1}):
            for path in ("/enrol", "/renew"):
                async with session.post(url + path, json=body) as response:
                    assert response.status == 400
                    assert (await response.json())["error"]["message"]
        async with session.post(f"{url}/enrol", data=b"x" * 100_000) as response:
            assert response.status == 413


async def test_the_root_is_served_to_everybody(authority: Authority, url: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/root.pem") as response:
        text = await response.text()
    assert text.encode() == authority.root_pem
    ssl.create_default_context(cadata=text)


async def test_a_list_that_somebody_else_signed_is_not_taken(authority: Authority, keeper: Keeper, monkeypatch) -> None:
    await keeper.enrol("host1", await authority.allow_host("host1", []))
    stranger = x509.make_root(datetime.now(UTC))

    async def forged() -> bytes:
        return x509.sign_revocations(stranger, [], datetime.now(UTC))

    monkeypatch.setattr(authority, "revocations", forged)
    with pytest.raises(Error, match="not signed"):
        await keeper.fetch_revoked()
    assert not (keeper.directory / "ca-crl.pem").exists()


async def test_no_secret_is_in_the_log(authority: Authority, keeper: Keeper, capsys) -> None:
    token = await authority.allow_host("host1", [])
    await keeper.enrol("host1", token)
    await keeper.renew()
    said = capsys.readouterr()
    assert token.split(".")[1] not in said.out + said.err
    assert "PRIVATE KEY" not in said.out + said.err


def test_no_two_certificates_have_one_serial_number() -> None:
    issuing = x509.make_issuing(x509.make_root(RealWorld().now()), RealWorld().now())
    made = [
        x509.sign(issuing, x509.new_key().public_key(), "compute.h", [], RealWorld().now(), timedelta(hours=1)).serial_number
        for _ in range(2)
    ]
    assert made[0] != made[1]


def _rsa_request() -> str:
    from cryptography import x509 as plain
    from cryptography.hazmat.primitives import hashes, serialization

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return (
        plain.CertificateSigningRequestBuilder()
        .subject_name(plain.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )


async def test_an_issuing_authority_that_grows_old_is_replaced_and_what_it_made_stays_good(
    authority: Authority, keeper: Keeper, config, world, database, accounts, tmp_path: Path
) -> None:
    await keeper.enrol("host1", await authority.allow_host("host1", []))
    old = authority.issuing.certificate
    late = SimulatedWorld(start=datetime.now(UTC) + timedelta(days=x509.ISSUING_DAYS * 0.7))
    load_or_make(config.authority_dir, late)
    again = await Authority.open(config, world, database, accounts)
    assert again.issuing.certificate != old
    assert [each.certificate for each in again.former] == [old]
    authority.issuing, authority.former = again.issuing, again.former
    before = keeper.directory / "old-list.pem"
    await keeper.fetch_revoked()  # the list of the authority that made ours is among them
    before.write_bytes((keeper.directory / "ca-crl.pem").read_bytes())
    assert verified(keeper.directory, "-crl_check_all", "-CRLfile", str(before))
    await keeper.renew()
    assert x509.is_issued(x509.read((keeper.directory / IDENTITY).read_bytes()), again.issuing.certificate)


async def test_a_service_gets_an_account_at_the_broker_when_it_shall_use_it(authority: Authority, accounts, monkeypatch) -> None:
    await authority.issue("rabbitmq", [])
    assert accounts.allowed == set()
    await authority.issue("app", [], broker=True)
    assert accounts.allowed == {"app"}


async def test_an_authority_that_was_away_is_asked_again_soon(authority: Authority, keeper: Keeper, url: str, monkeypatch) -> None:
    await keeper.enrol("host1", await authority.allow_host("host1", []))
    monkeypatch.setattr("nova_async.certs.keeper.AGAIN_SECONDS", 0.1)
    keeper._url = "http://127.0.0.1:1"
    running = asyncio.create_task(keeper.run())
    await asyncio.sleep(0.3)
    assert not (keeper.directory / "ca-crl.pem").exists()
    keeper._url = url
    async with asyncio.timeout(10):
        while not (keeper.directory / "ca-crl.pem").exists():
            await asyncio.sleep(0.05)
    running.cancel()
