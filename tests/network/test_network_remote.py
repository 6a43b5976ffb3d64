"""Neutron behind the same interface; ours plays its part. The real one: tests/openstack."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from nova_async.config import load
from nova_async.context import Context
from nova_async.db import Database
from nova_async.errors import Conflict, Forbidden, Invalid, NoCapacity, NotFound, Unsupported
from nova_async.model.access_rules import Visit
from nova_async.services.network import NetworkRequest, NetworkService
from nova_async.services.network.builtin import BuiltinNetworks
from nova_async.services.network.http import application
from nova_async.services.network.neutron_ports import card_of, spec
from nova_async.services.network.remote import RemoteNetworks
from nova_async.world import RealWorld

CALLERS = {
    "alice": Context(request_id="", user_id="alice", project_id="alice", roles=("member", "reader")),
    "bob": Context(request_id="", user_id="bob", project_id="bob", roles=("member", "reader")),
    "admin": Context(request_id="", user_id="admin", project_id="ops", roles=("admin", "member", "reader")),
}
ALICE, BOB, ADMIN = CALLERS["alice"], CALLERS["bob"], CALLERS["admin"]
ABSENT = "00000000-0000-4000-8000-000000000000"


class Words:
    """Where a caller's name is the token; ours is the administrator's."""

    async def validate(self, token: str, visit: Visit | None = None) -> Context:
        return CALLERS[token]

    async def token(self) -> str:
        return "admin"

    def forget(self, token: str) -> None:
        raise AssertionError(token)


@pytest.fixture
async def builtin(database: Database, world: RealWorld) -> BuiltinNetworks:
    return await BuiltinNetworks.open(database, load(None, {}, compute__driver="fake"), world)


@pytest.fixture
async def remote(builtin: BuiltinNetworks, world: RealWorld) -> AsyncIterator[RemoteNetworks]:
    root = web.Application()
    root.add_subapp("/network", application(builtin, Words(), world, builtin.config))
    async with TestServer(root) as server:
        networks = RemoteNetworks(str(server.make_url("/network")), Words(), builtin.config, world)
        yield networks
        await networks.close()


@pytest.fixture(params=["builtin", "remote"])
def networks(request: pytest.FixtureRequest, builtin: BuiltinNetworks, remote: RemoteNetworks) -> NetworkService:
    """Each test of it holds both to the same."""
    return builtin if request.param == "builtin" else remote


async def bind(
    networks: NetworkService, server: str, *requests: NetworkRequest, host: str = "h1", ctx: Context = ALICE, **more: int
) -> list[str]:
    ports = await networks.bind(
        ctx,
        instance_id=server,
        hostname="web",
        host=host,
        availability_zone="",
        requests=list(requests),
        security_groups=["default"],
        **more,
    )
    return [port.id for port in ports]


async def test_a_server_gets_its_cards_once_and_loses_them(networks: NetworkService, world: RealWorld) -> None:
    server, [any_network] = world.uuid(), await networks.check(ALICE, None, ["default"], 2)
    first = NetworkRequest(network_id=any_network.network_id, tag="a")
    second = NetworkRequest(network_id=any_network.network_id, fixed_ip="10.77.0.77")

    made = await bind(networks, server, first, second)

    assert await bind(networks, server, first, second) == made
    ports = await networks.ports(ALICE, instance_id=server)
    assert [port.id for port in ports] == made
    assert [port.tag for port in ports] == ["a", None]
    assert (ports[1].fixed_ips[0].address, ports[1].fixed_ips[0].cidr) == ("10.77.0.77", "10.77.0.0/24")
    assert (ports[0].gateway, ports[0].dhcp, ports[0].mtu, ports[0].network_label) == ("10.77.0.1", True, 1450, "private")
    assert ports[0].project_id == "alice"
    assert not ports[0].plug
    assert await networks.security_groups(ALICE, instance_id=server) == ["default"]

    third = await bind(networks, server, NetworkRequest(network_id=any_network.network_id), first_position=2)
    assert third[:2] == made
    await networks.unbind(ALICE, instance_id=server, port_id=made[0])
    assert [port.id for port in await networks.ports(ALICE, instance_id=server)] == third[1:]
    for _ in range(2):
        await networks.unbind(ALICE, instance_id=server)
    assert await networks.things(ADMIN, "ports", device_id=[server]) == []


async def test_what_the_user_brought_is_set_free(networks: NetworkService, world: RealWorld) -> None:
    server, [any_network] = world.uuid(), await networks.check(ALICE, None, [], 1)
    own = await networks.make(ALICE, "ports", {"network_id": any_network.network_id})
    [request] = await networks.check(ALICE, [NetworkRequest(port_id=own["id"])], [], 1)
    with pytest.raises(Invalid):
        await networks.check(BOB, [NetworkRequest(port_id=own["id"])], [], 1)

    assert await bind(networks, server, request) == [own["id"]]
    with pytest.raises(Conflict):
        await networks.check(ALICE, [request], [], 1)
    await networks.unbind(ALICE, instance_id=server)

    free = await networks.thing(ADMIN, "ports", own["id"])
    assert (free["device_id"], free["device_owner"], free["binding:host_id"]) == ("", "", "")
    await networks.check(ALICE, [request], [], 1)


async def test_a_server_moves_with_its_ports(networks: NetworkService, world: RealWorld) -> None:
    server, [any_network] = world.uuid(), await networks.check(ALICE, None, [], 1)
    [port] = await bind(networks, server, any_network)
    for host in ("h2", "h2", ""):
        [moved] = await networks.move(ALICE, instance_id=server, host=host, availability_zone="east")
        assert moved.id == port
        shown = await networks.thing(ADMIN, "ports", port)
        assert (shown["binding:host_id"], shown["device_owner"]) == (host, "compute:east")


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (NetworkRequest(network_id=ABSENT), Invalid),
        (NetworkRequest(network_id="nonsense"), Invalid),
        (NetworkRequest(port_id=ABSENT), Invalid),
        (NetworkRequest(), Invalid),
    ],
)
async def test_what_cannot_be_given_is_refused_before(networks: NetworkService, request_: NetworkRequest, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await networks.check(ALICE, [request_], [], 1)


async def test_addresses_and_groups_are_looked_at_before(networks: NetworkService, world: RealWorld) -> None:
    [any_network] = await networks.check(ALICE, None, [], 1)
    net = any_network.network_id
    await bind(networks, world.uuid(), NetworkRequest(network_id=net, fixed_ip="10.77.0.9"))
    for address in ("10.77.0.9", "10.77.0.1", "10.78.0.9", "10.77.0.255", "x"):
        with pytest.raises(Invalid):
            await networks.check(ALICE, [NetworkRequest(network_id=net, fixed_ip=address)], [], 1)
    with pytest.raises(Invalid, match="Security group web"):
        await networks.check(ALICE, None, ["web"], 1)


async def test_named_groups_are_refused_where_nothing_would_guard_by_them(networks: NetworkService) -> None:
    bare = await networks.make(ALICE, "networks", {"name": "bare", "port_security_enabled": False})
    await networks.make(ALICE, "subnets", {"network_id": bare["id"], "cidr": "10.9.0.0/24", "ip_version": 4})
    port = await networks.make(ALICE, "ports", {"network_id": bare["id"]})
    await networks.make(ALICE, "security-groups", {"name": "web"})
    for request in (NetworkRequest(network_id=bare["id"]), NetworkRequest(port_id=port["id"])):
        for groups in ([], ["default"]):
            assert await networks.check(ALICE, [request], groups, 1) == [request]
        with pytest.raises(Invalid, match="port_security_enabled"):
            await networks.check(ALICE, [request], ["web"], 1)
    [private] = await networks.things(ALICE, "networks", name=["private"])
    assert await networks.check(ALICE, [NetworkRequest(network_id=private["id"])], ["web"], 1)


async def test_things_of_others_are_not_there(networks: NetworkService) -> None:
    secret = await networks.make(ALICE, "networks", {"name": "secret"})
    group = await networks.make(ALICE, "security-groups", {"name": "web"})
    assert secret["project_id"] == group["project_id"] == "alice"
    for kind, id in (("networks", secret["id"]), ("security-groups", group["id"]), ("networks", ABSENT), ("networks", "x")):
        with pytest.raises(NotFound):
            await networks.thing(BOB, kind, id)
        with pytest.raises(NotFound):
            await networks.remove(BOB, kind, id)
    assert group["id"] not in [g["id"] for g in await networks.things(BOB, "security-groups")]
    [shared] = [n for n in await networks.things(BOB, "networks") if n["shared"]]
    with pytest.raises(Forbidden):
        await networks.change(BOB, "networks", shared["id"], {"name": "mine"})
    assert (await networks.change(ALICE, "security-groups", group["id"], {"name": "db"}))["name"] == "db"
    await networks.remove(ALICE, "security-groups", group["id"])


async def test_a_port_that_no_agent_took_or_that_workers_cannot_plug_is_no_card(world: RealWorld) -> None:
    port = {"id": ABSENT, "network_id": ABSENT, "mac_address": "fa:16:3e:00:00:01"}
    types = ["binding_failed", "ovs"]

    async def answer(request: web.Request) -> web.Response:
        if request.method == "POST":
            return web.json_response({"port": {**port, "binding:vif_type": types.pop(0)}}, status=201)
        kind = request.path.rpartition("/")[2]
        return web.json_response({kind: [{"id": ABSENT, "name": "n", "project_id": "alice"}] if kind == "networks" else []})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    async with TestServer(app) as server:
        networks = RemoteNetworks(str(server.make_url("")), Words(), load(None, {}, compute__driver="fake"), world)
        for kind in (NoCapacity, Unsupported):
            with pytest.raises(kind):
                await bind(networks, world.uuid(), NetworkRequest(network_id=ABSENT))
        await networks.close()


def test_a_bare_port_has_no_more_than_it_says() -> None:
    port = {"id": ABSENT, "network_id": ABSENT, "mac_address": "fa:16:3e:00:00:01", "fixed_ips": []}
    told = spec(port, {}, {}, plug=True)
    assert (told.bridge, told.device, told.wired_by, told.gateway, told.dhcp) == ("brq00000000-00", "tap00000000-00", "agent", None, False)
    assert card_of(port) > 1000
