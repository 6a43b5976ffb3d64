"""Signed images are verified while they are written, as Glance does it; with certificates of a folder, and of a key manager."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nova_async.context import Context
from nova_async.errors import Invalid, Unavailable
from nova_async.services.callers import CallersTokens
from nova_async.services.image import signatures
from nova_async.services.image.certificates import KeptCertificates
from nova_async.services.key_manager import Barbican
from nova_async.world import RealWorld, SimulatedWorld

from .conftest import OCTETS, QCOW2, Client, Service
from .key_manager import KeyManager
from .signing import Signer

WRONG = QCOW2 + bytes(512)


@pytest.fixture
def signer(service: Service) -> Signer:
    """Whose certificate is in the operator's folder."""
    return Signer("signer").put(service.config.image_certificates_dir)


async def refused(client: Client, service: Service, data: bytes = QCOW2, **properties: str) -> str:
    """Why the upload fails; the image waits for another, and nothing is kept of this one."""
    image_id = await client.image(**properties)
    answer = await client.send(image_id, data, 400)
    shown = await client.show(image_id)
    assert (shown["status"], shown["size"], shown["os_hash_value"], service.files()) == ("queued", None, None, [])
    return str(answer["message"])


async def test_what_was_signed_is_taken(anna: Client, signer: Signer) -> None:
    shown = await anna.show(await anna.active(**signer.signed(QCOW2)))
    assert (shown["status"], shown["img_signature_certificate_uuid"]) == ("active", signer.id)


async def test_other_bytes_are_refused_and_not_kept_and_the_right_ones_may_follow(anna: Client, service: Service, signer: Signer) -> None:
    assert "not those that were signed" in await refused(anna, service, WRONG, **signer.signed(QCOW2))
    image_id = await anna.image(**signer.signed(QCOW2))
    await anna.send(image_id, WRONG, 400)
    await anna.send(image_id, QCOW2)
    assert (await anna.show(image_id))["status"] == "active"


async def test_another_ones_signature_is_refused(anna: Client, service: Service, signer: Signer) -> None:
    forged = Signer("forger").signed(QCOW2) | {"img_signature_certificate_uuid": signer.id}
    assert "not those that were signed" in await refused(anna, service, **forged)


async def test_a_certificate_that_is_not_there_or_none_is_named(anna: Client, service: Service, signer: Signer) -> None:
    lost, folder = Signer("lost"), service.config.image_certificates_dir
    assert f"no certificate {lost.id}" in await refused(anna, service, **lost.signed(QCOW2))
    (folder / f"{lost.id}.pem").write_text("nonsense")
    assert f"The certificate {lost.id} cannot be used. It is no X.509" in await refused(anna, service, **lost.signed(QCOW2))
    odd = signer.signed(QCOW2, img_signature_certificate_uuid="../../etc/passwd")
    assert "is no id of a certificate" in await refused(anna, service, **odd)


async def test_an_expired_certificate_is_refused(anna: Client, service: Service) -> None:
    late = Signer("late", days=(-10, -1)).put(service.config.image_certificates_dir)
    assert f"The certificate {late.id} is valid from" in await refused(anna, service, **late.signed(QCOW2))


async def test_a_key_of_another_type_is_refused(anna: Client, service: Service, signer: Signer) -> None:
    assert "is of the type ECC_SECP384R1" in await refused(anna, service, **signer.signed(QCOW2, img_signature_key_type="RSA-PSS"))


@pytest.mark.parametrize("lacking", signatures.PROPERTIES)
async def test_with_some_of_the_four_properties_an_image_is_an_unsigned_one(anna: Client, signer: Signer, lacking: str) -> None:
    properties = signer.signed(WRONG)
    del properties[lacking]
    assert (await anna.show(await anna.active(**properties)))["status"] == "active"


async def test_the_properties_of_an_image_may_change_afterwards(anna: Client, signer: Signer) -> None:
    image_id = await anna.active(**signer.signed(QCOW2))
    await anna.patch(image_id, 200, {"op": "replace", "path": "/img_signature", "value": "bm8="})
    assert (await anna.show(image_id))["img_signature"] == "bm8="


async def test_staged_bytes_are_verified_when_they_are_imported(anna: Client, service: Service, signer: Signer) -> None:
    image_id = await anna.image(**signer.signed(QCOW2))
    method = {"method": {"name": "glance-direct"}}
    await anna("PUT", f"/v2/images/{image_id}/stage", 204, data=WRONG, headers=OCTETS)
    answer = await anna("POST", f"/v2/images/{image_id}/import", 400, json=method)
    shown = await anna.show(image_id)
    assert "not those that were signed" in answer["message"]
    assert (shown["status"], shown["size"], shown["checksum"], service.files()) == ("queued", None, None, [])
    await anna("PUT", f"/v2/images/{image_id}/stage", 204, data=QCOW2, headers=OCTETS)
    await anna("POST", f"/v2/images/{image_id}/import", 202, json=method)
    assert (await anna.show(image_id))["status"] == "active"
    assert await anna("GET", f"/v2/images/{image_id}/file", 200) == QCOW2


# -- a key manager


class OurToken:
    async def token(self) -> str:
        return "ours"

    def forget(self, token: str) -> None:
        raise AssertionError("it is good")


@asynccontextmanager
async def barbican(manager: KeyManager, callers: CallersTokens) -> AsyncIterator[KeptCertificates]:
    async with manager.serving() as url:
        made = Barbican(f"{url}/v1", OurToken(), RealWorld())
        yield KeptCertificates(made, callers)
        await made.close()


async def test_a_key_manager_is_asked_with_the_callers_token_and_else_with_ours() -> None:
    signer, callers, manager = Signer("signer"), CallersTokens(RealWorld()), KeyManager(readers={"anna's", "ours"})
    manager.secrets[signer.id] = signer.pem
    callers.remember("req-1", "anna's")
    async with barbican(manager, callers) as certificates:
        for request_id in ("req-1", "req-2"):
            assert await certificates.get(Context(request_id=request_id), signer.id) == signer.certificate
    assert manager.asked == [("anna's", "application/octet-stream"), ("ours", "application/octet-stream")]


async def test_what_a_key_manager_does_not_give_is_named() -> None:
    signer, callers, manager = Signer("signer"), CallersTokens(RealWorld()), KeyManager(readers={"anna's", "ours"})
    callers.remember("req-ben", "ben's")
    async with barbican(manager, callers) as certificates:
        for request_id in ("req-ours", "req-ben"):
            with pytest.raises(Invalid, match=f"no certificate {signer.id} that the caller may use"):
                await certificates.get(Context(request_id=request_id), signer.id)
        manager.secrets[signer.id] = b"a passphrase"
        with pytest.raises(Invalid, match=r"It is no X.509 certificate"):
            await certificates.get(Context(request_id="req-ours"), signer.id)
        with pytest.raises(Invalid, match="is no id of a certificate"):
            await certificates.get(Context(request_id="req-ours"), "../../v1/orders")
    assert len(manager.asked) == 3


async def test_a_key_manager_that_is_away_is_not_taken_for_one_without_the_certificate() -> None:
    class Patient(SimulatedWorld):
        async def sleep(self, seconds: float) -> None:
            self.advance(seconds)

    away = Barbican("http://127.0.0.1:1", OurToken(), Patient())
    with pytest.raises(Unavailable, match="The key manager service does not answer"):
        await KeptCertificates(away, CallersTokens(RealWorld())).get(Context(request_id=""), Signer("signer").id)
    await away.close()
