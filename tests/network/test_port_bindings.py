"""Ports of a server that moves, at a Neutron with bindings for several hosts, which these lines play. The real one: tests/openstack."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from nova_async.config import load
from nova_async.errors import NoCapacity, Unsupported
from nova_async.services.network.neutron_ports import CARD
from nova_async.services.network.remote import RemoteNetworks
from nova_async.world import RealWorld
from tests.network.test_network_remote import ADMIN, Words

PORT, NETWORK, SERVER = (f"{n}0000000-0000-4000-8000-000000000000" for n in (1, 2, 3))
PROFILE = {CARD: {"position": 0, "tag": "a", "brought": False}}
FULL, STRANGE = "full", "strange"  # hosts: no agent takes the port; another kind of agent does


class Neutron:
    """One port and its bindings, by host. ``extended``: whether it knows of more than one."""

    def __init__(self) -> None:
        self.extended = True
        self.bindings: dict[str, dict[str, Any]] = {"one": {"host": "one", "status": "ACTIVE", "vif_type": "bridge", "profile": PROFILE}}
        self.put: list[dict[str, Any]] = []

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v2.0/ports", self.ports)
        app.router.add_put("/v2.0/ports/{port}", self.change)
        app.router.add_get("/v2.0/{others}", self.nothing)
        app.router.add_get("/v2.0/ports/{port}/bindings", self.index)
        app.router.add_post("/v2.0/ports/{port}/bindings", self.create)
        app.router.add_delete("/v2.0/ports/{port}/bindings/{host}", self.delete)
        app.router.add_put("/v2.0/ports/{port}/bindings/{host}/activate", self.activate)
        return app

    def port(self) -> dict[str, Any]:
        active = next(b for b in self.bindings.values() if b["status"] == "ACTIVE")
        told = {"id": PORT, "network_id": NETWORK, "mac_address": "fa:16:3e:00:00:01", "device_id": SERVER, "device_owner": "compute:nova"}
        return told | {"binding:host_id": active["host"], "binding:profile": active["profile"], "binding:vif_type": active["vif_type"]}

    async def ports(self, request: web.Request) -> web.Response:
        return web.json_response({"ports": [self.port()]})

    async def nothing(self, request: web.Request) -> web.Response:
        return web.json_response({request.match_info["others"]: []})

    async def change(self, request: web.Request) -> web.Response:
        asked = (await request.json())["port"]
        self.put.append(asked)
        if host := asked.get("binding:host_id"):
            self.bindings = {host: {"host": host, "status": "ACTIVE", "vif_type": "bridge", "profile": self.port()["binding:profile"]}}
        return web.json_response({"port": self.port()})

    async def index(self, request: web.Request) -> web.Response:
        self._check()
        return web.json_response({"bindings": list(self.bindings.values())})

    async def create(self, request: web.Request) -> web.Response:
        self._check()
        asked = (await request.json())["binding"]
        if asked["host"] in self.bindings:
            raise web.HTTPConflict
        if asked["host"] == FULL:
            raise web.HTTPInternalServerError
        made = {**asked, "status": "INACTIVE", "vif_type": "ovs" if asked["host"] == STRANGE else "bridge"}
        self.bindings[asked["host"]] = made
        return web.json_response({"binding": made}, status=201)

    async def delete(self, request: web.Request) -> web.Response:
        self._check()
        if self.bindings.pop(request.match_info["host"], None) is None:
            raise web.HTTPNotFound
        return web.Response(status=204)

    async def activate(self, request: web.Request) -> web.Response:
        self._check()
        for host, binding in self.bindings.items():
            binding["status"] = "ACTIVE" if host == request.match_info["host"] else "INACTIVE"
        return web.json_response(self.bindings[request.match_info["host"]])

    def _check(self) -> None:
        if not self.extended:
            raise web.HTTPNotFound


@pytest.fixture
def neutron() -> Neutron:
    return Neutron()


@pytest.fixture
async def networks(neutron: Neutron, world: RealWorld) -> AsyncIterator[RemoteNetworks]:
    async with TestServer(neutron.application()) as server:
        made = RemoteNetworks(str(server.make_url("")), Words(), load(None, {}, compute__driver="fake"), world)
        yield made
        await made.close()


async def test_a_second_host_is_asked_before_and_has_the_port_afterwards(networks: RemoteNetworks, neutron: Neutron) -> None:
    for _ in range(2):
        await networks.join(ADMIN, instance_id=SERVER, host="two")
    assert {host: binding["status"] for host, binding in neutron.bindings.items()} == {"one": "ACTIVE", "two": "INACTIVE"}
    for _ in range(2):
        [port] = await networks.move(ADMIN, instance_id=SERVER, host="two", availability_zone="nova")
    assert (list(neutron.bindings), port.tag) == (["two"], "a"), "the card's place went along"
    assert neutron.put == [], "it changed hosts by its bindings alone"


async def test_what_was_interrupted_is_settled(networks: RemoteNetworks, neutron: Neutron) -> None:
    await networks.join(ADMIN, instance_id=SERVER, host="two")
    neutron.bindings["one"]["status"], neutron.bindings["two"]["status"] = "INACTIVE", "ACTIVE"
    await networks.move(ADMIN, instance_id=SERVER, host="two", availability_zone="nova")
    assert list(neutron.bindings) == ["two"]


async def test_who_does_not_come_leaves_nothing(networks: RemoteNetworks, neutron: Neutron) -> None:
    await networks.join(ADMIN, instance_id=SERVER, host="two")
    for host in ("two", "two", "one"):
        await networks.part(ADMIN, instance_id=SERVER, host=host)
    assert list(neutron.bindings) == ["one"]


@pytest.mark.parametrize(("host", "kind"), [(FULL, NoCapacity), (STRANGE, Unsupported)])
async def test_a_host_that_cannot_have_the_port_is_known_before(
    networks: RemoteNetworks, neutron: Neutron, host: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=PORT):
        await networks.join(ADMIN, instance_id=SERVER, host=host)
    await networks.part(ADMIN, instance_id=SERVER, host=host)
    assert list(neutron.bindings) == ["one"]


async def test_a_neutron_of_one_binding_each_is_told_in_one_go(networks: RemoteNetworks, neutron: Neutron) -> None:
    neutron.extended = False
    await networks.join(ADMIN, instance_id=SERVER, host="two")
    await networks.part(ADMIN, instance_id=SERVER, host="three")
    await networks.move(ADMIN, instance_id=SERVER, host="two", availability_zone="nova")
    assert (list(neutron.bindings), len(neutron.put)) == (["two"], 1)
