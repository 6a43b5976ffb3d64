"""Ranges of several networks that overlap: whose network hosts keep apart, and what is refused."""

import asyncio
from typing import Any

import pytest

from nova_async.context import Context
from nova_async.db import networks as rows
from nova_async.db import routers as router_rows
from nova_async.model.guests import PortSpec
from nova_async.services.network import NetworkRequest
from nova_async.services.network.builtin import BuiltinNetworks
from nova_async.services.network.router_specs import router_spec
from tests.network.test_network_http import Api, api, networks

__all__ = ["api", "networks"]


@pytest.fixture(autouse=True)
def plugged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts make devices for ports."""
    monkeypatch.setattr("nova_async.services.network.networks.plugs_ports", lambda _: True)


async def made(api: Api, who: str, cidr: str, status: int = 201, **network: Any) -> dict[str, Any]:
    """A network with this subnet, or without it where that is refused."""
    found = await api.make(who, "/v2.0/networks", **network)
    await ranged(api, who, found, cidr, status)
    return found


async def ranged(api: Api, who: str, network: dict[str, Any], cidr: str, status: int) -> None:
    answered, body = await api(who, "POST", "/v2.0/subnets", {"subnet": {"network_id": network["id"], "cidr": cidr}})
    assert answered == status, body
    if status == 400:
        assert "overlaps with another subnet" in body["NeutronError"]["message"]


async def bound(networks: BuiltinNetworks, network: dict[str, Any], address: str | None = None) -> PortSpec:
    """The port of a new server in it, as its host hears of it."""
    [port] = await networks.bind(
        Context(request_id="", project_id=network["project_id"]),
        instance_id=networks.world.uuid(),
        hostname="web",
        host="h1",
        availability_zone="nova",
        requests=[NetworkRequest(network_id=network["id"], fixed_ip=address)],
        security_groups=[],
    )
    return port


async def apart(networks: BuiltinNetworks, *made: dict[str, Any]) -> list[bool]:
    return [(await bound(networks, network)).apart for network in made]


@pytest.mark.parametrize("cidr", ["10.9.0.0/24", "10.9.0.128/25", "10.0.0.0/8", "10.77.0.0/24"])
async def test_whoever_comes_second_is_kept_apart(api: Api, networks: BuiltinNetworks, cidr: str) -> None:
    first, other = await made(api, "alice", "10.9.0.0/24"), await made(api, "alice", "10.8.0.0/24")
    second, third = await made(api, "bob", cidr), await made(api, "bob", cidr)
    six, seven = await made(api, "alice", "fd00:9::/64"), await made(api, "alice", "fd00:9::/64")

    assert await apart(networks, first, other, six) == [False, False, False]
    assert await apart(networks, second, third, seven) == [True, True, True]


async def test_of_networks_that_are_given_one_range_at_once_one_is_not_apart(api: Api, networks: BuiltinNetworks) -> None:
    made_at_once = await asyncio.gather(*(made(api, who, "10.9.0.0/24") for who in ("alice", "bob") * 3))

    assert sorted(await apart(networks, *made_at_once)) == [False, True, True, True, True, True]


async def test_a_network_stays_apart_when_the_others_are_gone(api: Api, networks: BuiltinNetworks) -> None:
    first, second = await made(api, "alice", "10.9.0.0/24"), await made(api, "bob", "10.9.0.0/24")
    assert (await api("alice", "DELETE", f"/v2.0/networks/{first['id']}"))[0] == 204
    await ranged(api, "bob", second, "10.10.0.0/24", 201)

    assert await apart(networks, second) == [True]
    assert await apart(networks, await made(api, "alice", "10.9.0.0/24")) == [True]


async def test_a_network_with_ports_stays_in_its_place(api: Api, networks: BuiltinNetworks) -> None:
    """Hosts may be its gateway already: what would move it is refused, and the next range is not."""
    first, second, third = [await made(api, who, f"10.{n}.0.0/24") for n, who in ((9, "alice"), (10, "bob"), (11, "bob"))]
    assert await apart(networks, second) == [False]

    await ranged(api, "bob", second, "10.9.0.0/24", 400)
    await ranged(api, "bob", second, "10.12.0.0/24", 201)
    await ranged(api, "bob", third, "10.9.0.0/24", 201)

    assert await apart(networks, first, second, third) == [False, False, True]


async def test_two_ranges_of_one_network_do_not_overlap(api: Api) -> None:
    await made(api, "alice", "10.9.0.0/24")
    network = await made(api, "bob", "10.9.0.0/24")

    await ranged(api, "bob", network, "10.9.0.128/25", 400)


async def test_the_ranges_of_external_networks_are_nobody_elses_on_hosts(api: Api, networks: BuiltinNetworks) -> None:
    plain, later = await made(api, "alice", "10.9.0.0/24"), await made(api, "bob", "10.9.0.0/24")
    external = {"router:external": True}
    await made(api, "admin", "10.9.0.0/25", 400, **external)
    assert (await api("alice", "DELETE", f"/v2.0/networks/{plain['id']}"))[0] == 204
    await made(api, "admin", "10.9.0.0/25", 201, **external)
    await made(api, "admin", "10.9.0.0/24", 400, **external)

    behind = await made(api, "alice", "10.9.0.0/24")

    assert await apart(networks, later, behind) == [True, True]
    status, body = await api("admin", "PUT", f"/v2.0/networks/{behind['id']}", {"network": external})
    assert (status, "overlap" in body["NeutronError"]["message"]) == (409, True)


async def test_routers_of_two_projects_may_have_one_range_inside_and_none_may_have_it_twice(api: Api, networks: BuiltinNetworks) -> None:
    found = []
    for who in ("alice", "bob"):
        network, router = await made(api, who, "10.9.0.0/24"), await api.make(who, "/v2.0/routers")
        subnet = (await api(who, "GET", f"/v2.0/networks/{network['id']}"))[1]["network"]["subnets"][0]
        assert (await api(who, "PUT", f"/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet}))[0] == 200
        found.append(router)
    again = await made(api, "bob", "10.9.0.0/24")
    subnet = (await api("bob", "GET", f"/v2.0/networks/{again['id']}"))[1]["network"]["subnets"][0]

    assert (await api("bob", "PUT", f"/v2.0/routers/{found[1]['id']}/add_router_interface", {"subnet_id": subnet}))[0] == 400
    async with networks.db.connection() as conn:
        specs = {row.id: router_spec(row) for row in await router_rows.specs(conn, [router["id"] for router in found])}
    assert [[port.apart for port in specs[router["id"]].interfaces] for router in found] == [[False], [True]]


async def test_hosts_hear_whose_addresses_are_not_those_of_a_groups_members(api: Api, networks: BuiltinNetworks) -> None:
    """SEC-078"""
    first, second = await made(api, "alice", "10.9.0.0/24"), await made(api, "alice", "10.9.0.0/24")
    beside, other = await made(api, "alice", "10.10.0.0/24"), await made(api, "bob", "10.9.0.0/24")
    [group] = {rule["group"] for rule in (await bound(networks, first, "10.9.0.9")).security_rules}
    for network, address in ((second, "10.9.0.10"), (beside, "10.10.0.11"), (other, "10.9.0.12")):
        await bound(networks, network, address)

    async def strangers() -> dict[str, list[str]]:
        async with networks.db.connection() as conn:
            return {
                row.network_id: row.addresses for row in await rows.strangers(conn, [group], [n["id"] for n in (first, second, beside)])
            }

    assert await strangers() == {first["id"]: ["10.9.0.10"], second["id"]: ["10.9.0.9"]}
    await bound(networks, second, "10.9.0.9")
    assert await strangers() == {first["id"]: ["10.9.0.10"]}
    port = await api.make("alice", "/v2.0/ports", network_id=beside["id"], allowed_address_pairs=[{"ip_address": "10.9.0.128/25"}])
    assert port["security_groups"] == [group]
    assert await strangers() == {first["id"]: ["10.9.0.10"], second["id"]: ["10.9.0.128/25"]}


async def test_nobody_takes_all_ranges_of_automatic_networks(api: Api, networks: BuiltinNetworks) -> None:
    await made(api, "admin", "203.0.113.0/24", **{"router:external": True, "is_default": True})
    await made(api, "bob", networks.config.network.auto_cidr)

    status, body = await api("alice", "GET", "/v2.0/auto-allocated-topology/alice")

    assert status == 200, body
    network = (await api("alice", "GET", f"/v2.0/networks/{body['auto_allocated_topology']['id']}"))[1]["network"]
    assert await apart(networks, network) == [True]


async def test_where_hosts_make_no_devices_ranges_are_free(api: Api, networks: BuiltinNetworks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova_async.services.network.networks.plugs_ports", lambda _: False)
    first, second = await made(api, "alice", "10.9.0.0/24"), await made(api, "bob", "10.10.0.0/24")
    await apart(networks, first, second)

    await ranged(api, "bob", second, "10.9.0.0/24", 201)
    await made(api, "admin", "10.9.0.0/24", 201, **{"router:external": True})
