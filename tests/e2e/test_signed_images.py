"""Signed images as their users and an operator have them: signed by ``openssl`` as docs/signed-images.md says, uploaded, asked for."""

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nova_async.services.image.blank import blank_qcow2
from tests.image.key_manager import KeyManager
from tests.image.signing import Signer, family

from .running import ADMIN, RunningCloud, User, real_cloud, running_cloud

pytestmark = pytest.mark.slow
SERVERS = "/compute/v2.1/servers"
BYTES = blank_qcow2(1)
ROOT, MIDDLE, SIGNER = family()


@pytest.fixture(scope="module")
def cloud() -> Iterator[RunningCloud]:
    """Servers are made of signed images only."""
    with running_cloud(hosts=1, NOVA_ASYNC_IMAGE_VERIFY_SIGNATURES="true") as made:
        for each in (ROOT, MIDDLE, SIGNER):
            each.put(made.state / "image-certificates")
        yield made
        made.is_consistent()
        made.has_a_clean_log()


async def image(user: User, **properties: str) -> str:
    body = {"name": "disk", "disk_format": "qcow2", "container_format": "bare"} | properties
    return str((await user.ask("POST", "/image/v2/images", body))["id"])


async def send(user: User, image_id: str, data: bytes = BYTES) -> Any:
    octets = {"Content-Type": "application/octet-stream"}
    return await user.try_to("PUT", f"/image/v2/images/{image_id}/file", headers=octets, data=data)


async def active(user: User, **properties: str) -> str:
    image_id = await image(user, **properties)
    assert (await send(user, image_id)).status == 204
    return image_id


async def sign(user: User, image_id: str, properties: dict[str, str]) -> None:
    changes = [{"op": "add", "path": f"/{name}", "value": value} for name, value in properties.items()]
    patch = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
    answer = await user.try_to("PATCH", f"/image/v2/images/{image_id}", headers=patch, data=json.dumps(changes))
    assert answer.status == 200, answer


async def fault(user: User, server: str) -> dict[str, Any]:
    """Of a server that could not be made."""
    (found,) = (await user.settled([server])).values()
    assert found is not None
    assert found["status"] == "ERROR"
    await user.ask("DELETE", f"{SERVERS}/{server}")
    await user.until(server, "GONE")
    return dict(found["fault"])


async def test_servers_are_made_of_signed_images_only(cloud: RunningCloud) -> None:
    async with cloud.user() as user:
        signed, unsigned = await active(user, **SIGNER.signed(BYTES)), await active(user)
        server = await user.boot("signed", imageRef=signed)
        await user.until(server, "ACTIVE")
        refused = await fault(user, await user.boot("unsigned", imageRef=unsigned))
        assert refused["code"] == 400
        assert refused["message"].startswith(f"Image {unsigned} may not be used: servers are made of signed images only")
        await user.act(server, "rebuild", {"imageRef": unsigned})
        (after,) = (await user.settled([server])).values()
        assert after is not None
        assert (after["status"], after["image"]["id"]) == ("ACTIVE", signed)
        await user.ask("DELETE", f"{SERVERS}/{server}")


async def test_bytes_that_were_not_signed_are_not_taken(cloud: RunningCloud) -> None:
    async with cloud.user() as user:
        image_id = await image(user, **SIGNER.signed(BYTES))
        refused = await send(user, image_id, BYTES + bytes(512))
        assert (refused.status, "not those that were signed" in refused.text) == (400, True)
        assert (await user.get(f"/image/v2/images/{image_id}"))["status"] == "queued"
        assert (await send(user, image_id)).status == 204


async def test_a_server_says_whom_it_trusts_and_keeps_that(cloud: RunningCloud) -> None:
    async with cloud.user() as user:
        signed = await active(user, **SIGNER.signed(BYTES))
        way = [MIDDLE.id, ROOT.id]
        server = await user.boot("trusting", imageRef=signed, trusted_image_certificates=way)
        assert (await user.until(server, "ACTIVE"))["trusted_image_certificates"] == way
        stranger = await user.boot("stranger", imageRef=signed, trusted_image_certificates=[Signer("lost").id])
        assert "None of the trusted certificates" in (await fault(user, stranger))["message"]
        await user.act(server, "rebuild", {"imageRef": signed, "trusted_image_certificates": [ROOT.id]})
        (after,) = (await user.settled([server])).values()
        assert after is not None
        assert (after["status"], after["trusted_image_certificates"]) == ("ACTIVE", way)
        await user.act(server, "rebuild", {"imageRef": signed, "trusted_image_certificates": None})
        assert (await user.until(server, "ACTIVE"))["trusted_image_certificates"] is None
        await user.ask("DELETE", f"{SERVERS}/{server}")


async def test_a_server_that_boots_from_a_volume_trusts_nobody(cloud: RunningCloud) -> None:
    async with cloud.user() as user:
        signed = await active(user, **SIGNER.signed(BYTES))
        root = {"boot_index": 0, "uuid": signed, "source_type": "image", "destination_type": "volume", "volume_size": 1}
        body = {"name": "volume", "flavorRef": "1", "networks": "none", "block_device_mapping_v2": [root]}
        refused = await user.try_to("POST", SERVERS, {"server": body | {"trusted_image_certificates": [ROOT.id]}})
        assert (refused.status, refused.body["badRequest"]["message"]) == (
            400,
            "Image certificate validation is not supported when booting from volume",
        )
        server = (await user.ask("POST", SERVERS, {"server": body}))["server"]["id"]
        await user.until(server, "ACTIVE")
        again = {"rebuild": {"imageRef": signed, "trusted_image_certificates": [ROOT.id]}}
        refused = await user.try_to("POST", f"{SERVERS}/{server}/action", again)
        assert (refused.status, refused.body["badRequest"]["message"]) == (
            400,
            "Image certificate validation is not supported for volume-backed servers.",
        )
        await user.ask("DELETE", f"{SERVERS}/{server}")


async def test_the_operators_certificates_are_those_of_a_server_that_names_none() -> None:
    defaults = f'["{MIDDLE.id}", "{ROOT.id}"]'
    options = {"VERIFY_SIGNATURES": "true", "VALIDATE_CERTIFICATES": "true", "DEFAULT_TRUSTED_CERTIFICATES": defaults}
    with running_cloud(hosts=1, **{f"NOVA_ASYNC_IMAGE_{name}": value for name, value in options.items()}) as cloud:
        for each in (ROOT, MIDDLE, SIGNER):
            each.put(cloud.state / "image-certificates")
        async with cloud.user() as user:
            server = await user.boot("default", imageRef=await active(user, **SIGNER.signed(BYTES)))
            assert (await user.until(server, "ACTIVE"))["trusted_image_certificates"] == [MIDDLE.id, ROOT.id]
            await user.ask("DELETE", f"{SERVERS}/{server}")


async def test_a_key_manager_is_asked_on_behalf_of_whoever_uploads_and_boots() -> None:
    """It is played: ``make test-openstack`` has a real one."""
    manager = KeyManager({SIGNER.id: SIGNER.pem})
    async with manager.serving() as url:
        options = {"SERVICES_KEY_MANAGER": "barbican", "IMAGE_KEY_MANAGER_URL": url, "IMAGE_VERIFY_SIGNATURES": "true"}
        environment = {f"NOVA_ASYNC_{name}": value for name, value in options.items()}
        with running_cloud(hosts=1, started=False, **environment) as cloud:
            await asyncio.to_thread(cloud.start)
            async with cloud.user() as user, cloud.user(ADMIN) as stranger:
                manager.readers = {user.token}
                signed = await active(user, **SIGNER.signed(BYTES))
                server = await user.boot("one", imageRef=signed)
                await user.until(server, "ACTIVE")
                root = {"boot_index": 0, "uuid": signed, "source_type": "image", "destination_type": "volume", "volume_size": 1}
                volume = await user.boot("two", imageRef="", block_device_mapping_v2=[root])
                await user.until(volume, "ACTIVE")
                assert {token for token, _ in manager.asked} == {user.token}
                refused = await send(stranger, await image(stranger, **SIGNER.signed(BYTES)))
                assert (refused.status, f"no certificate {SIGNER.id} that the caller may use" in refused.text) == (400, True)
                assert manager.asked[-1][0] == stranger.token
                for each in (server, volume):
                    await user.ask("DELETE", f"{SERVERS}/{each}")
            cloud.has_a_clean_log(user.token, stranger.token)


@pytest.mark.libvirt
@pytest.mark.qemu
@pytest.mark.xdist_group("qemu")
@pytest.mark.timeout(600)
async def test_a_host_holds_the_bytes_in_its_cache_against_their_signature(real_guests_can_run: None, test_guest: Path) -> None:
    """The properties come after the upload, as Glance has it: so nobody but the host can tell."""
    data = (test_guest / "test.qcow2").read_bytes()
    with real_cloud(test_guest, "--no-first-guest", NOVA_ASYNC_IMAGE_VERIFY_SIGNATURES="true") as (cloud, _):
        await asyncio.to_thread(cloud.start)
        SIGNER.put(cloud.state / "image-certificates")
        async with cloud.user() as user:
            image_id = await image(user)
            assert (await send(user, image_id, data)).status == 204
            await sign(user, image_id, SIGNER.signed(data[1:]))
            refused = await fault(user, await user.boot("wrong", imageRef=image_id))
            assert "not those that were signed" in refused["message"]
            assert list((cloud.state / "instances").iterdir()) == []
            await sign(user, image_id, SIGNER.signed(data))
            server = await user.boot("right", imageRef=image_id)
            await user.until(server, "ACTIVE", seconds=120)
            await user.ask("DELETE", f"{SERVERS}/{server}")
            await user.until(server, "GONE")
        assert [path.suffix for path in (cloud.state / "image-cache").iterdir()] == [".qcow2"]
        cloud.is_consistent()
        cloud.has_a_clean_log()


def test_the_documented_commands_sign_an_image(cloud: RunningCloud, tmp_path: Path) -> None:
    def openssl(words: str) -> None:
        subprocess.run(["openssl", *words.split()], cwd=tmp_path, check=True, capture_output=True, timeout=60)

    (tmp_path / "disk.qcow2").write_bytes(BYTES)
    curve = "-newkey ec -pkeyopt ec_paramgen_curve:secp384r1"
    openssl(f"req -x509 -nodes {curve} -days 365 -subj /CN=image-signer -keyout signer.key -out signer.pem")
    openssl("dgst -sha256 -sign signer.key -out disk.signature disk.qcow2")
    certificate, signature = cloud.state / "image-certificates" / f"{Signer('any').id}.pem", (tmp_path / "disk.signature").read_bytes()
    shutil.copy(tmp_path / "signer.pem", certificate)
    properties = {
        "img_signature": base64.b64encode(signature).decode(),
        "img_signature_hash_method": "SHA-256",
        "img_signature_key_type": "ECC_SECP384R1",
        "img_signature_certificate_uuid": certificate.stem,
    }
    told = " ".join(f"--property {name}={value}" for name, value in properties.items())
    with cloud.openstack(ADMIN) as openstack:
        openstack.show(f"image create --disk-format qcow2 --file {tmp_path}/disk.qcow2 {told} documented")
        openstack.show("server create --image documented --flavor m1.tiny --nic none --wait documented")
        assert openstack.show("server show documented")["status"] == "ACTIVE"
        openstack("server delete --wait documented")
