"""One story for every ``VolumeService``: our own, and the client of a remote one against ours over real HTTP.

``tests/openstack`` tells it with a real Cinder.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from nova_async.context import Context
from nova_async.errors import Conflict, Error, Forbidden, NotFound, TooLarge, Unauthorized, Unavailable
from nova_async.services.callers import KEPT_SECONDS, CallersTokens
from nova_async.services.volume import VolumeService
from nova_async.services.volume.records import volume_of
from nova_async.services.volume.remote import RemoteVolumes, root
from nova_async.world import RealWorld, SimulatedWorld
from tests.volume import conformance as stories
from tests.volume.conftest import PEOPLE, SERVER, UNKNOWN, Service

OWN = "compute"  # our own user, an administrator and a service
ANNA = Context(request_id="req-a", user_id="anna", project_id="p-a", roles=("member", "reader"))
BEN = Context(request_id="req-b", user_id="ben", project_id="p-b", roles=("member", "reader"))


class Tokens:
    """Those of our own user, who has a role in no other project."""

    async def token(self) -> str:
        return OWN

    async def token_for(self, project_id: str) -> str:
        raise Unauthorized

    def forget(self, token: str) -> None:
        return None


@pytest.fixture
async def remote(service: Service, world: RealWorld) -> AsyncIterator[RemoteVolumes]:
    callers = CallersTokens(world)
    callers.remember(ANNA.request_id, "anna")
    callers.remember(BEN.request_id, "ben")
    made = RemoteVolumes(f"{service.url}/v3", Tokens(), world, callers)
    yield made
    await made.close()


@pytest.fixture(params=["builtin", "remote"])
def place(request: pytest.FixtureRequest, service: Service, remote: RemoteVolumes) -> stories.Place:
    volumes: VolumeService = service.volumes if request.param == "builtin" else remote

    async def settled() -> None:
        await service.idle()
        await asyncio.sleep(0)

    return stories.Place(volumes, ANNA, BEN, settled, hosts=("one", "two"))


@pytest.mark.parametrize("story", stories.ALL, ids=lambda story: story.__name__)
async def test_volumes_are(story: stories.Story, place: stories.Place) -> None:
    await story(place)


async def test_what_was_made_is_its_callers(remote: RemoteVolumes, service: Service) -> None:
    made = await remote.create(ANNA, "key", stories.Wanted(size=1, name="mine"))
    await service.idle()
    row = await service.volumes.volumes.get(ANNA, made.id)
    assert (row.project_id, row.user_id, row.name) == ("p-a", "anna", "mine")
    shown = await remote.get(ANNA, made.id)
    own = await service.volumes.get(ANNA, made.id)
    assert (shown.id, shown.size, shown.project_id, shown.status) == (own.id, own.size, own.project_id, own.status)
    assert shown.metadata == {}, "the key is nothing of the owner's"


async def test_without_the_callers_token_nothing_is_made(remote: RemoteVolumes) -> None:
    lost = Context(request_id="req-of-another-process", user_id="anna", project_id="p-a", roles=("member",))
    with pytest.raises(Forbidden, match="role in the caller's project"):
        await remote.create(lost, "key", stories.Wanted(size=1))
    assert await remote.find(ANNA) == []


async def test_each_volume_is_made_with_its_own_callers_token_however_many_are_made_at_once(world: RealWorld) -> None:
    """SEC-037, with 300 requests: a service that draws a key for an encrypted volume knows for whom."""
    dice, tokens, turns = random.Random(1), dict[str, str](), asyncio.Semaphore(50)

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(dice.random() / 100)
        if request.method == "GET":
            return web.json_response({"volumes": []})
        asked = (await request.json())["volume"]
        tokens[asked["name"]] = request.headers["X-Auth-Token"]
        return web.json_response({"volume": {"id": UNKNOWN, "status": "creating", "size": 1, "name": asked["name"]}}, status=202)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    callers = CallersTokens(world)
    async with TestServer(app) as server:
        remote = RemoteVolumes(str(server.make_url("/v3")), Tokens(), world, callers)

        async def make(number: int, user: str) -> None:
            async with turns:
                ctx = Context(request_id=f"req-{number}", user_id=user, project_id=f"p-{user}", roles=("member",))
                callers.remember(ctx.request_id, f"token-{number}-{user}")
                made = await remote.create(ctx, f"key-{number}", stories.Wanted(size=1, name=f"{number}-{user}"))
            assert (made.name, made.project_id) == (f"{number}-{user}", f"p-{user}")

        await asyncio.gather(*(make(number, dice.choice(("anna", "ben"))) for number in range(300)))
        await remote.close()
    assert tokens == {name: f"token-{name}" for name in tokens}
    assert len(tokens) == 300


def test_the_token_of_a_request_is_forgotten() -> None:
    """SEC-037"""
    clock = SimulatedWorld()
    callers = CallersTokens(clock)
    callers.remember("req-1", "anna")
    clock.advance(KEPT_SECONDS - 1)
    assert (callers.of("req-1"), callers.of("req-2")) == ("anna", "")
    clock.advance(1)
    assert callers.of("req-1") == ""
    callers.remember("req-2", "ben")
    assert list(callers._known) == ["req-2"]


async def test_quotas_are_the_callers(remote: RemoteVolumes) -> None:
    with pytest.raises(TooLarge):
        await remote.create(ANNA, "too large", stories.Wanted(size=21))


async def test_a_type_of_others_is_none(remote: RemoteVolumes, service: Service) -> None:
    admin = service.client("admin")
    for name, public in (("open", True), ("closed", False)):
        await admin("POST", "/types", 200, {"volume_type": {"name": name, "os-volume-type-access:is_public": public}})
    assert [await remote.has_type(ANNA, name) for name in ("open", "closed", "none")] == [True, False, False]
    assert await remote.has_type(PEOPLE["admin"], "closed")


async def test_where_no_host_was_let_to_a_volume_there_is_no_way(remote: RemoteVolumes, service: Service) -> None:
    volume = await service.client("anna").volume()
    attachment = await remote.reserve(ANNA, volume, SERVER)
    with pytest.raises(Conflict):
        await remote.connection(attachment)


async def test_strange_ids_name_nothing(remote: RemoteVolumes) -> None:
    for id in ("nonsense", "../types", "a" * 300):
        with pytest.raises(NotFound):
            await remote.get(ANNA, id)
        with pytest.raises(Error):
            await remote.tell_snapshot(ANNA, id, "available")


def test_what_cinder_tells_administrators_is_not_the_owners_metadata() -> None:
    told = {"id": UNKNOWN, "status": "in-use", "size": 2, "bootable": "true", "name": None, "multiattach": False, "encrypted": True}
    told |= {"metadata": {"readonly": "True", "attached_mode": "rw", "color": "red"}, "migration_status": "migrating"}
    told |= {"volume_image_metadata": {"min_disk": 0}, "attachments": [{"server_id": SERVER, "device": "/dev/vdb"}]}
    shown = volume_of(told, "p-a")
    assert (shown.metadata, shown.read_only, shown.migrating, shown.encrypted, shown.bootable) == ({"color": "red"}, True, True, True, True)
    assert (shown.name, shown.project_id, shown.image_metadata, shown.holders) == ("", "p-a", {"min_disk": "0"}, {SERVER: "/dev/vdb"})
    with pytest.raises(Unavailable):
        volume_of({"id": UNKNOWN, "status": "available", "size": "large"})


@pytest.mark.parametrize("path", ["", "/", "/v3", "/v3/", "/v3/0123456789abcdef0123456789abcdef"])
def test_an_endpoint_is_the_same_with_or_without_version_and_project(path: str) -> None:
    assert root(f"http://cinder:8776{path}") == "http://cinder:8776"
    assert root(f"http://cinder/volume{path}") == "http://cinder/volume"


async def test_tokens_are_forgotten_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    world = RealWorld()
    now = 1000.0
    monkeypatch.setattr(RealWorld, "monotonic", lambda self: now)
    known = CallersTokens(world)
    known.remember("req-1", "secret")
    assert (known.of("req-1"), known.of("req-2")) == ("secret", "")
    now += 7201.0
    assert known.of("req-1") == ""
    known.remember("req-3", "another")
    assert len(known._known) == 1


class Migrating:
    """It plays Cinder with a volume that it migrates, and what it is told at the end."""

    def __init__(self, status: str | None) -> None:
        self.status = status
        self.told: list[dict[str, Any]] = []

    async def show(self, _: web.Request) -> web.Response:
        if self.status is None:
            return web.json_response({"itemNotFound": {"code": 404, "message": "gone"}}, status=404)
        return web.json_response({"volume": {"id": SERVER, "status": "retyping", "size": 1, "migration_status": self.status}})

    async def act(self, request: web.Request) -> web.Response:
        (told,) = (await request.json()).values()
        self.told.append(told)
        self.status = "error" if told["error"] else "success"
        return web.json_response({"save_volume_id": SERVER})

    async def ended(self, world: RealWorld, *, failed: bool) -> str:
        app = web.Application()
        app.router.add_get(f"/v3/volumes/{SERVER}", self.show)
        app.router.add_post(f"/v3/volumes/{SERVER}/action", self.act)
        async with TestServer(app) as server:
            remote = RemoteVolumes(str(server.make_url("/v3")), Tokens(), world)
            try:
                return await remote.end_migration(PEOPLE["compute"], SERVER, UNKNOWN, failed=failed)
            finally:
                await remote.close()


@pytest.mark.parametrize("failed", [True, False])
async def test_cinder_hears_once_what_came_of_its_migration(world: RealWorld, failed: bool) -> None:
    cinder = Migrating("migrating")
    for _ in range(2):
        assert await cinder.ended(world, failed=failed) == SERVER
    assert cinder.told == [{"new_volume": UNKNOWN, "error": failed}]


async def test_a_migration_that_cinder_gave_up_is_not_ended_again(world: RealWorld) -> None:
    for status in ("error", None):
        cinder = Migrating(status)
        assert [await cinder.ended(world, failed=failed) for failed in (True, False)] == [SERVER, UNKNOWN]
        assert cinder.told == []
    with pytest.raises(Unavailable, match="still ending"):
        await Migrating("completing").ended(world, failed=False)


def test_a_volume_says_what_it_is_to_replace() -> None:
    body = {"id": UNKNOWN, "status": "available", "size": 1}
    shown = [volume_of(body | {"migration_status": status}) for status in (None, "migrating", f"target:{SERVER}")]
    assert [(volume.migrating, volume.replaces) for volume in shown] == [(False, ""), (True, ""), (False, SERVER)]
