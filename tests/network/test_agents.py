"""Hosts as agents, and routers that an administrator gives to another host."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from nova_async.errors import Conflict
from nova_async.services.network.builtin import BuiltinNetworks
from nova_async.services.network.ground import Carrier
from tests.network.test_network_http import Api, api, networks, openstack

__all__ = ["api", "networks"]
MADE, SEEN = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclasses.dataclass
class Desk:
    """``RouterDesk`` of two hosts, one of which is away."""

    networks: BuiltinNetworks

    def carriers(self) -> list[Carrier]:
        return [host("host1", up=True, wires=("flat:lan", "vlan:lan")), host("host2", up=False)]

    async def move(self, router_id: str, host: str) -> None:
        if host == "host2":
            raise Conflict("Host host2 is away.")
        async with self.networks.db.connection() as conn:
            await conn.execute("UPDATE routers SET host = $2 WHERE id = $1", router_id, host)


def host(name: str, *, up: bool, wires: tuple[str, ...] = ()) -> Carrier:
    id = f"00000000-0000-4000-8000-00000000000{name[-1]}"
    return Carrier(id=id, name=name, up=up, created_at=MADE, seen_at=SEEN if up else None, wires=wires)


@pytest.fixture
def desk(networks: BuiltinNetworks) -> Desk:
    networks.router_desk = made = Desk(networks)
    return made


async def agents(api: Api, query: str = "") -> list[dict[str, Any]]:
    status, body = await api("admin", "GET", f"/v2.0/agents{query}")
    assert status == 200, body
    return body["agents"]  # type: ignore[no-any-return]


async def test_each_host_is_three_agents_for_administrators_alone(api: Api, desk: Desk) -> None:
    found = await agents(api)
    assert sorted((agent["host"], agent["agent_type"], agent["alive"]) for agent in found) == [
        (name, kind, up) for name, up in (("host1", True), ("host2", False)) for kind in ("DHCP agent", "L3 agent", "Linux bridge agent")
    ]
    [bridge] = await agents(api, "?host=host1&binary=neutron-linuxbridge-agent")
    assert (bridge["configurations"], bridge["heartbeat_timestamp"]) == ({"physical_networks": ["lan"]}, "2026-01-02 03:04:05")
    assert [agent["host"] for agent in await agents(api, "?agent_type=L3%20agent&alive=false")] == ["host2"]
    assert len(await agents(api, f"?limit=4&marker={found[1]['id']}")) == 4
    assert (await api("admin", "GET", f"/v2.0/agents/{bridge['id']}"))[1] == {"agent": bridge}
    assert (await api("admin", "DELETE", f"/v2.0/agents/{bridge['id']}"))[0] == 501

    assert (await api("alice", "GET", "/v2.0/agents"))[1] == {"agents": []}
    status, body = await api("alice", "GET", f"/v2.0/agents/{bridge['id']}")
    assert (status, body["NeutronError"]["type"]) == (404, "AgentNotFound")


async def test_an_administrator_gives_a_router_to_another_host(api: Api, desk: Desk) -> None:
    router = await api.make("alice", "/v2.0/routers", name="r")
    first, second = await agents(api, "?binary=neutron-l3-agent&sort_key=host")
    path = f"/v2.0/agents/{first['id']}/l3-routers"
    assert (await api("admin", "GET", path))[1] == {"routers": []}

    assert await api("admin", "POST", path, {"router_id": router["id"]}) == (201, {})

    assert [found["id"] for found in (await api("admin", "GET", path))[1]["routers"]] == [router["id"]]
    by_router = f"/v2.0/routers/{router['id']}/l3-agents"
    assert [found["host"] for found in (await api("admin", "GET", by_router))[1]["agents"]] == ["host1"]
    assert (await api("alice", "GET", by_router))[1] == {"agents": []}
    assert (await api("bob", "GET", by_router))[0] == 404

    other = f"/v2.0/agents/{second['id']}/l3-routers"
    assert (await api("admin", "POST", other, {"router_id": router["id"]}))[0] == 409
    for wrong, status in (({}, 400), ({"router_id": "x"}, 400), ({"router_id": first["id"]}, 404)):
        assert (await api("admin", "POST", path, wrong))[0] == status
    assert (await api("alice", "POST", path, {"router_id": router["id"]}))[0] == 404
    assert (await api("admin", "DELETE", f"{path}/{router['id']}"))[0] == 501
    [dhcp] = await agents(api, "?binary=neutron-dhcp-agent&host=host1")
    assert (await api("admin", "POST", f"/v2.0/agents/{dhcp['id']}/l3-routers", {"router_id": router["id"]}))[0] == 409


async def test_the_real_client(api: Api, desk: Desk) -> None:
    [agent, _] = await agents(api, "?binary=neutron-l3-agent&sort_key=host")
    story = f"""\
router create r -f json
network agent add router --l3 {agent["id"]} r
network agent list -f json
network agent list --router r -f json
router list --agent {agent["id"]} -f json
network agent show {agent["id"]} -f json
"""
    router, listed, carrying, carried, shown = await openstack(api, "admin", story)
    assert len(listed) == 6
    assert [found["Host"] for found in carrying] == ["host1"]
    assert [found["ID"] for found in carried] == [router["id"]]
    assert shown["host"] == "host1"
