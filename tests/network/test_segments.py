"""Which hosts reach a routed network, at a Neutron whose answers these lines play. The real one: tests/openstack."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from nova_async.config import load
from nova_async.errors import Invalid
from nova_async.services.network import NetworkRequest
from nova_async.services.network.remote import RemoteNetworks
from nova_async.world import RealWorld
from tests.network.test_network_remote import ADMIN, Words

ROUTED, PLAIN, EAST, WEST, FLAT, PORT, SERVER = (f"{n}0000000-0000-4000-8000-000000000000" for n in range(1, 8))
AGENTS = {
    "east-bridges": {"interface_mappings": {"phys-east": "eth1"}, "bridge_mappings": {}},
    "east-ovs": {"bridge_mappings": {"phys-east": "br-1"}, "tunnel_types": ["vxlan"]},
    "west-ovn": {"bridge-mappings": "phys-west:br-2,other:br-3"},
    "nowhere": {"tunnel_types": ["vxlan"]},
    "silent": None,
}


class Neutron:
    """Two networks: one with a segment and subnet in the east and in the west, one that is everywhere."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        subnets = [(EAST, ROUTED, "10.1.0.0/24", "seg-east"), (WEST, ROUTED, "10.2.0.0/24", "seg-west"), (FLAT, PLAIN, "10.3.0.0/24", None)]
        self.known: dict[str, list[dict[str, Any]]] = {
            "networks": [
                {"id": id, "name": id, "project_id": "ops", "subnets": [s[0] for s in subnets if s[1] == id]} for id in (ROUTED, PLAIN)
            ],
            "subnets": [{"id": id, "network_id": net, "cidr": cidr, "segment_id": seg} for id, net, cidr, seg in subnets],
            "segments": [
                {"id": "seg-east", "network_id": ROUTED, "network_type": "vlan", "physical_network": "phys-east"},
                {"id": "seg-west", "network_id": ROUTED, "network_type": "flat", "physical_network": "phys-west"},
            ],
            "agents": [{"host": host, "configurations": told} for host, told in AGENTS.items()],
            "ports": [],
            "security_groups": [],
        }

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v2.0/{kind}", self.index)
        return app

    async def index(self, request: web.Request) -> web.Response:
        kind = request.match_info["kind"].replace("-", "_")
        self.asked.append(kind)
        wanted = {name: request.query.getall(name) for name in request.query}
        found = [t for t in self.known[kind] if all(name not in t or str(t[name]) in values for name, values in wanted.items())]
        return web.json_response({kind: found})

    def has_port(self, *subnets: str, **fields: str) -> None:
        fixed = [{"subnet_id": id, "ip_address": "10.1.0.9"} for id in subnets]
        self.known["ports"] = [{"id": PORT, "network_id": ROUTED, "project_id": "ops", "fixed_ips": fixed, "device_id": "", **fields}]


@pytest.fixture
def neutron() -> Neutron:
    return Neutron()


@pytest.fixture
async def networks(neutron: Neutron, world: RealWorld) -> AsyncIterator[RemoteNetworks]:
    async with TestServer(neutron.application()) as server:
        made = RemoteNetworks(str(server.make_url("")), Words(), load(None, {}, compute__driver="fake"), world)
        yield made
        await made.close()


@pytest.mark.parametrize(
    ("requests", "hosts"),
    [
        ([NetworkRequest(network_id=ROUTED)], ["east-bridges", "east-ovs", "west-ovn"]),
        ([NetworkRequest(network_id=ROUTED.upper(), fixed_ip="10.2.0.7")], ["west-ovn"]),
        ([NetworkRequest(network_id=ROUTED), NetworkRequest(network_id=ROUTED, fixed_ip="10.1.0.7")], ["east-bridges", "east-ovs"]),
        ([NetworkRequest(network_id=ROUTED, fixed_ip=f"10.{n}.0.7") for n in (1, 2)], []),
    ],
)
async def test_cards_to_be_are_where_their_addresses_can_be(
    networks: RemoteNetworks, requests: list[NetworkRequest], hosts: list[str]
) -> None:
    assert await networks.reach(ADMIN, instance_id=SERVER, requests=[*requests, NetworkRequest(network_id=PLAIN)]) == {ROUTED: hosts}


async def test_a_port_is_where_its_addresses_are(networks: RemoteNetworks, neutron: Neutron) -> None:
    asked = [NetworkRequest(port_id=PORT)]
    neutron.has_port(EAST)
    assert await networks.reach(ADMIN, instance_id=SERVER, requests=asked) == {ROUTED: ["east-bridges", "east-ovs"]}
    neutron.has_port(device_id=SERVER)
    assert await networks.reach(ADMIN, instance_id=SERVER, requests=[]) == {ROUTED: ["east-bridges", "east-ovs", "west-ovn"]}


async def test_who_has_nothing_routed_is_free(networks: RemoteNetworks, neutron: Neutron) -> None:
    assert await networks.reach(ADMIN, instance_id=SERVER, requests=[NetworkRequest(auto=True)]) == {}
    assert await networks.reach(ADMIN, instance_id=SERVER, requests=[NetworkRequest(network_id=PLAIN)]) == {}
    assert not {"segments", "agents"} & set(neutron.asked), "more was asked than had to be"


async def test_a_port_may_get_its_addresses_with_its_host(networks: RemoteNetworks, neutron: Neutron) -> None:
    asked = [NetworkRequest(port_id=PORT)]
    for word in ("deferred", "none"):
        neutron.has_port(ip_allocation=word)
        assert await networks.check(ADMIN, asked, [], 1) == asked
    neutron.has_port(ip_allocation="immediate")
    with pytest.raises(Invalid, match="requires a FixedIP"):
        await networks.check(ADMIN, asked, [], 1)
