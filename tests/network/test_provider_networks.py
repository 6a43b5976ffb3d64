"""Networks on physical networks of hosts: who can have them, what hosts hear of their ports, and where their servers go."""

from typing import Any

import pytest

from nova_async.context import Context
from nova_async.db import hosts
from nova_async.db import networks as rows
from nova_async.services.network import NetworkRequest
from nova_async.services.network.builtin import BuiltinNetworks
from tests.network.test_network_http import Api, api, networks
from tests.network.test_overlapping_ranges import bound
from tests.scheduler.hosts import decide, request, row, table

__all__ = ["api", "networks"]
LAN = {"provider:network_type": "flat", "provider:physical_network": "lan"}
VLAN = LAN | {"provider:network_type": "vlan", "provider:segmentation_id": 12}
ADMIN = Context(request_id="", project_id="ops", roles=("admin", "member", "reader"))


@pytest.fixture(autouse=True)
def plugged(networks: BuiltinNetworks) -> None:
    """Hosts make devices for ports."""
    networks.plug = True


async def have_host(networks: BuiltinNetworks, name: str, *wires: str) -> None:
    async with networks.db.transaction() as conn:
        ids = {"id": networks.world.uuid(), "service_id": networks.world.uuid()}
        await hosts.put(conn, **ids, name=name, address="", zone="nova", facts={"wires": wires}, traits=[], inventory={})


async def made(api: Api, cidr: str = "192.0.2.0/24", **fields: Any) -> dict[str, Any]:
    network = await api.make("admin", "/v2.0/networks", **fields)
    await api.make("admin", "/v2.0/subnets", network_id=network["id"], ip_version=4, cidr=cidr)
    return network


async def test_a_network_that_no_host_could_have_is_not_made(api: Api, networks: BuiltinNetworks) -> None:
    async def told(fields: dict[str, Any]) -> str:
        status, body = await api("admin", "POST", "/v2.0/networks", {"network": fields})
        assert status == 400
        return str(body["NeutronError"]["message"])

    assert "no host has lan for flat networks" in await told(LAN)
    await have_host(networks, "one", "flat:lan")
    assert "no host of physical network lan has a kernel that makes VLANs (802.1Q)" in await told(VLAN)
    await made(api, **LAN)
    await have_host(networks, "two", "flat:lan", "vlan:lan")
    await made(api, **VLAN)


async def test_hosts_hear_what_their_ports_are_on(api: Api, networks: BuiltinNetworks) -> None:
    await have_host(networks, "one", "flat:lan", "vlan:lan")
    flat, tagged, plain = await made(api, **LAN), await made(api, **VLAN), await made(api, "10.9.0.0/24")
    ports = [await bound(networks, network) for network in (flat, tagged, plain)]
    assert [(p.wires, p.vlan, p.apart) for p in ports] == [("flat:lan", None, True), ("vlan:lan", 12, True), ("", None, False)]
    assert [p.gateway for p in ports] == ["192.0.2.1", "192.0.2.1", "10.9.0.1"]
    assert [p.host_address in (None, p.gateway) for p in ports] == [False, False, True]
    async with networks.db.connection() as conn:
        told = await rows.neighbors(conn, [p.network_id for p in ports], "other")
    assert [neighbor.network_id for neighbor in told if not neighbor.wired] == [plain["id"]], "hosts make no tunnels where there are wires"


async def test_servers_go_where_the_wires_are(api: Api, networks: BuiltinNetworks) -> None:
    await have_host(networks, "one", "flat:lan")
    network = await made(api, **LAN)
    port = await api.make("admin", "/v2.0/ports", network_id=network["id"])
    given = await networks.check(ADMIN, [NetworkRequest(network_id=network["id"]), NetworkRequest(port_id=port["id"])], [], 1)
    assert [card.wires for card in given] == ["flat:lan", "flat:lan"]
    networks.plug = False
    assert [card.wires for card in await networks.check(ADMIN, given, [], 1)] == ["", ""], "where no host has devices, nobody needs wires"

    able, other = row("able", facts={"wires": ["flat:lan", "vlan:lan"]}), row("other", facts={"wires": ["flat:wan"]})
    asked = request(wires=frozenset({"flat:lan", "vlan:lan"}))
    decision = decide(table(able, other, row("older")), asked)
    assert [candidate.host for candidate in decision.candidates] == ["able"]
    reason = "it has no physical network lan for flat networks; it has no physical network lan for vlan networks"
    assert {host: refusal.reason for host, refusal in decision.refusals.items()} == {"other": reason, "older": reason}
