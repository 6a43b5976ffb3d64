"""What opens Cinder's encrypted volumes, from a stand-in for Cinder and one for Barbican; ``tests/openstack`` asks the real ones."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from nova_async.errors import Forbidden, Unauthorized, Unsupported
from nova_async.services.key_manager import Barbican
from nova_async.services.volume.remote import RemoteVolumes
from nova_async.world import RealWorld
from tests.image.key_manager import KeyManager

ATTACHMENT, VOLUME, KEY_ID = (f"{digit * 8}-2222-4333-8444-555555555555" for digit in "123")
KEY, PASSPHRASE = bytes(range(32)), "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
LUKS = {"provider": "luks", "control_location": "front-end", "cipher": "aes-xts-plain64", "key_size": 256, "encryption_key_id": KEY_ID}


@dataclass
class OneVolume:
    """It plays Cinder, whose one volume is attached."""

    encryption: dict[str, Any] = field(default_factory=lambda: dict(LUKS))
    connection: dict[str, Any] = field(default_factory=lambda: {"driver_volume_type": "nfs", "encrypted": True, "format": "raw"})

    async def attachment(self, _: web.Request) -> web.Response:
        told = {"id": ATTACHMENT, "volume_id": VOLUME, "status": "attached", "connection_info": self.connection}
        return web.json_response({"attachment": told})

    async def volume(self, _: web.Request) -> web.Response:
        return web.json_response({"volume": {"id": VOLUME, "os-vol-tenant-attr:tenant_id": "p-a"}})

    async def how(self, _: web.Request) -> web.Response:
        return web.json_response(self.encryption)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get(f"/v3/attachments/{ATTACHMENT}", self.attachment)
        app.router.add_get(f"/v3/volumes/{VOLUME}", self.volume)
        app.router.add_get(f"/v3/volumes/{VOLUME}/encryption", self.how)
        async with TestServer(app) as server:
            yield str(server.make_url("/v3"))


class Tokens:
    """Our user's, who has a role in some projects."""

    def __init__(self, *projects: str) -> None:
        self.projects = projects

    async def token(self) -> str:
        return "ours"

    async def token_for(self, project_id: str) -> str:
        if project_id not in self.projects:
            raise Unauthorized
        return f"ours in {project_id}"

    def forget(self, token: str) -> None:
        return None


async def told(cinder: OneVolume, manager: KeyManager | None, tokens: Tokens) -> dict[str, Any]:
    """The data of the connection that a host hears."""
    async with cinder.serving() as cinder_url, (manager or KeyManager()).serving() as url:
        barbican = Barbican(url, tokens, RealWorld())
        volumes = RemoteVolumes(cinder_url, tokens, RealWorld(), barbican=barbican if manager else None)
        try:
            data: dict[str, Any] = (await volumes.connection(ATTACHMENT))["data"]
            return data
        finally:
            await volumes.close()
            await barbican.close()


async def test_a_host_hears_the_key_in_hexadecimal() -> None:
    manager = KeyManager({KEY_ID: KEY}, readers={"ours in p-a"})
    assert await told(OneVolume(), manager, Tokens("p-a")) == {"encrypted": True, "format": "qcow2", "passphrase": PASSPHRASE}, "as it is"
    assert manager.asked == [("ours in p-a", "application/octet-stream")]


async def test_a_secret_that_lets_our_user_read_it_needs_no_role_in_its_project() -> None:
    manager = KeyManager({KEY_ID: KEY}, readers={"ours"})
    assert (await told(OneVolume(), manager, Tokens()))["passphrase"] == PASSPHRASE


@pytest.mark.parametrize("manager", [KeyManager({KEY_ID: KEY}), KeyManager(readers={"ours in p-a"})], ids=["forbidden", "gone"])
async def test_a_key_that_is_not_given_is_named_with_what_is_missing(manager: KeyManager) -> None:
    with pytest.raises(Forbidden, match=f"the key of volume {VOLUME}: the user of nova_async needs a role in its project"):
        await told(OneVolume(), manager, Tokens("p-a"))


@pytest.mark.parametrize(
    ("encryption", "words"),
    [
        (LUKS | {"provider": "luks2"}, "luks2 at the front-end"),
        (LUKS | {"provider": "plain"}, "plain at the front-end"),
        (LUKS | {"control_location": "back-end"}, "luks at the back-end"),
        ({}, "None at the None"),
    ],
)
async def test_what_hosts_cannot_open_is_refused_and_its_key_not_asked_for(encryption: dict[str, Any], words: str) -> None:
    manager = KeyManager({KEY_ID: KEY}, readers={"ours"})
    with pytest.raises(Unsupported, match=words):
        await told(OneVolume(encryption), manager, Tokens())
    assert manager.asked == []


@pytest.mark.parametrize(("size", "bits"), [(128, 128), (256, 256), (512, 256), (None, 256)])
async def test_a_host_hears_how_to_format_what_cinder_leaves_to_it(size: int | None, bits: int) -> None:
    cinder = OneVolume(LUKS | {"key_size": size}, {"driver_volume_type": "iscsi", "encrypted": True})
    data = await told(cinder, KeyManager({KEY_ID: KEY}, readers={"ours"}), Tokens())
    assert data == {"encrypted": True, "passphrase": PASSPHRASE, "blank_bits": bits}


async def test_without_a_key_manager_no_encrypted_volume_is_opened() -> None:
    with pytest.raises(Unsupported, match=r"services\.key_manager names none"):
        await told(OneVolume(), None, Tokens())


async def test_other_volumes_have_no_key() -> None:
    manager = KeyManager()
    assert await told(OneVolume(connection={"driver_volume_type": "nfs", "encrypted": False}), manager, Tokens()) == {"encrypted": False}
    assert manager.asked == []
