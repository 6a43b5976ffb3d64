"""Vendor data that services of the operator's own make for each server."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web

from nova_async.config import Config, load
from nova_async.errors import Invalid, Unavailable
from nova_async.metadata.documents import config_drive_files
from nova_async.metadata.dynamic import ANSWER_BYTES, VendorData, targets
from nova_async.metadata.service import application
from nova_async.world import RealWorld
from tests.metadata.test_metadata_service import ALICES, BOBS, SECRET, Rows, Service, proof


class Vendor:
    """A service that keeps what it is told, and answers by the last word of the path."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.shown: list[str | None] = []  # tokens
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.told.append(await request.json())
        self.shown.append(request.headers.get("X-Auth-Token"))
        match request.path.rpartition("/")[2]:
            case "about":
                return web.json_response({"of": self.told[-1]["instance-id"]})
            case "list":
                return web.json_response([1, 2])
            case "nothing":
                return web.Response()
            case "guarded" if self.shown[-1] != Own.GOOD:
                return web.Response(status=401)
            case "broken":
                return web.Response(text="{")
            case "long":
                return web.Response(body=b'"' + b"x" * ANSWER_BYTES + b'"')
            case "elsewhere":
                return web.Response(status=302, headers={"Location": f"{self.url}/about"})
            case "silent":
                await asyncio.Event().wait()
        return web.Response(status=500, text="{}")


class Own:
    """A ``TokenSource`` whose first token is not taken any more."""

    GOOD = "second"

    def __init__(self) -> None:
        self.tokens = ["first", self.GOOD]

    async def token(self) -> str:
        if not self.tokens:
            raise Unavailable("The identity service is away.")
        return self.tokens[0]

    def forget(self, token: str) -> None:
        self.tokens.remove(token)


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    vendor, app = Vendor(), web.Application()
    app.router.add_post("/{word}", vendor.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    vendor.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield vendor
    await runner.cleanup()


def configured(vendor: Vendor, *words: str, fatal: bool = False, seconds: float = 30.0) -> Config:
    config = load(None, {})
    config.metadata.vendor_data_targets = tuple(f"{word}@{vendor.url}/{word}" for word in words)
    config.metadata.vendor_data_fatal, config.metadata.vendor_data_seconds = fatal, seconds
    return config


async def test_targets_are_told_of_the_server_and_answer_with_any_json(vendor: Vendor, world: RealWorld) -> None:
    server = msgspec.structs.replace(ALICES, user_data=b"#!", image_id="i", hostname="a.novalocal", metadata={"k": "v"})

    complete = await VendorData(configured(vendor, "about", "list", "nothing"), world).told(server)

    assert complete.dynamic == {"about": {"of": ALICES.uuid}, "list": [1, 2], "nothing": {}}
    assert vendor.told[0] == {
        "project-id": "alice",
        "instance-id": ALICES.uuid,
        "image-id": "i",
        "user-data": "IyE=",
        "hostname": "a",
        "metadata": {"k": "v"},
        "boot-roles": "",
    }
    drive = config_drive_files(complete)
    assert msgspec.json.decode(drive["openstack/latest/vendor_data2.json"]) == {"static": {}, **(complete.dynamic or {})}
    assert msgspec.json.decode(drive["openstack/latest/vendor_data.json"]) == {}


@pytest.mark.parametrize("word", ["broken", "long", "elsewhere", "refused"])
async def test_a_target_that_fails_says_nothing_unless_that_is_fatal(vendor: Vendor, world: RealWorld, word: str) -> None:
    complete = await VendorData(configured(vendor, word, "about"), world).told(ALICES)
    assert complete.dynamic == {word: {}, "about": {"of": ALICES.uuid}}
    with pytest.raises(Unavailable, match=f"The vendor data service {word} does not answer"):
        await VendorData(configured(vendor, word, "about", fatal=True), world).told(ALICES)


async def test_one_that_never_answers_is_waited_for_no_longer_than_allowed(vendor: Vendor, world: RealWorld) -> None:
    assert (await VendorData(configured(vendor, "silent", seconds=0.1), world).told(ALICES)).dynamic == {"silent": {}}
    gone = configured(vendor, "about")
    gone.metadata.vendor_data_targets = ("gone@http://127.0.0.1:1/",)
    assert (await VendorData(gone, world).told(ALICES)).dynamic == {"gone": {}}


async def test_targets_are_shown_our_token_where_the_operator_says_so(vendor: Vendor, world: RealWorld) -> None:
    config, own = configured(vendor, "guarded"), Own()
    await VendorData(config, world, own).told(ALICES)
    config.metadata.vendor_data_token = True
    for _ in range(2):
        await VendorData(config, world, own).told(ALICES)
    assert vendor.shown == [None, "first", Own.GOOD]
    own.tokens.clear()
    assert (await VendorData(config, world, own).told(ALICES)).dynamic == {"guarded": {}}
    assert len(vendor.shown) == 3, "without the token nobody is asked"


@pytest.mark.parametrize("target", ["nameless", "@http://x/", "a@ftp://x/", "static@http://x/"])
def test_a_target_without_name_or_address_is_refused_at_the_start(target: str) -> None:
    config = load(None, {})
    config.metadata.vendor_data_targets = (target,)
    with pytest.raises(Invalid, match="vendor_data_targets"):
        targets(config)


async def test_each_guest_reads_its_own_and_targets_are_asked_once_for_it(vendor: Vendor, world: RealWorld) -> None:
    root, config = web.Application(), configured(vendor, "about")
    root.add_subapp("/metadata", application(Rows(), config, world, SECRET, VendorData(config, world)))
    runner = web.AppRunner(root, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with ClientSession() as session:
        service = Service(session, f"http://127.0.0.1:{runner.addresses[0][1]}/metadata", Rows())
        await service("/openstack/latest/meta_data.json", proof(ALICES))
        assert vendor.told == []
        for server in (ALICES, BOBS, ALICES):
            status, text = await service("/openstack/latest/vendor_data2.json", proof(server))
            assert (status, msgspec.json.decode(text)) == (200, {"static": {}, "about": {"of": server.uuid}})
        assert [told["instance-id"] for told in vendor.told] == [ALICES.uuid, BOBS.uuid]
    await runner.cleanup()
