"""Subnets without a gateway: leases and metadata come from an address that hosts have for that, and nothing leads out."""

from typing import Any

import msgspec
import pytest

from nova_async.model.guests import FixedIp, PortSpec
from nova_async.services.network import NetworkRequest
from nova_async.services.network.builtin import BuiltinNetworks
from tests.network.test_network_http import CALLERS, Api, api, networks
from tests.network.test_overlapping_ranges import bound
from tests.network.test_plugging import Host, can_make_namespaces, ingress, port, soon
from tests.network.test_router_plugging import world_beyond
from tests.network.test_routers import Told, told
from tests.network.test_tunnels import Elsewhere, elsewhere

__all__ = ["api", "elsewhere", "networks", "told"]
on_hosts = pytest.mark.skipif(not can_make_namespaces(), reason="needs root and the tools of a network host")
RANGE = "10.9.0.0/24"


def alone(number: int, address: str, *rules: dict[str, Any], **other: Any) -> PortSpec:
    """A port in a range without a gateway, which hosts serve by its second address."""
    spec = port(number, address, *rules)
    ip = msgspec.structs.replace(spec.fixed_ips[0], host_address=address.rpartition(".")[0] + ".2")
    return msgspec.structs.replace(spec, fixed_ips=(ip,), gateway=None, **other)


@on_hosts
@pytest.mark.parametrize("apart", [False, True])
async def test_a_guest_gets_its_lease_without_a_router_and_its_metadata(host: Host, apart: bool) -> None:
    guest = await host.boot("a", alone(1, "10.77.0.9", ingress("icmp"), apart=apart))
    other = await host.boot("b", alone(2, "10.77.0.10", ingress("icmp"), apart=apart))

    assert await guest.lease() == ["10.77.0.9", "24", "10.77.0.2", "1450"]
    assert await other.lease() == ["10.77.0.10", "24", "10.77.0.2", "1450"]
    assert await guest.ask("/latest/meta-data/hostname") == "host-a"
    assert await guest.pings("10.77.0.10")
    assert await guest.pings("10.77.0.2")
    assert "default" not in await guest.run("ip", "route")
    assert not await guest.pings("10.77.0.1")


@on_hosts
async def test_hosts_lead_nobody_out_of_a_range_without_a_gateway(host: Host) -> None:
    guest = await host.boot("a", alone(1, "10.77.0.9"))
    await guest.lease()
    await guest.run("ip", "route", "add", "default", "via", "10.77.0.2")

    async with world_beyond():
        assert not await guest.pings("192.0.2.2")


@on_hosts
async def test_routes_of_the_subnet_are_given_and_one_to_everywhere_is_the_router(host: Host) -> None:
    routes = (("10.8.0.0/24", "10.77.0.7"), ("0.0.0.0/0", "10.77.0.8"))
    guest = await host.boot("a", alone(1, "10.77.0.9", routes=routes))

    assert (await guest.lease())[2] == "10.77.0.8"
    told = await guest.run("ip", "route")
    assert "10.8.0.0/24 via 10.77.0.7" in told
    assert "default via 10.77.0.8" in told


@on_hosts
async def test_ranges_with_and_without_a_gateway_lie_in_one_network(host: Host) -> None:
    with_gateway = await host.boot("a", port(1, "10.77.0.9"))
    without = await host.boot("b", alone(2, "10.78.0.9"))
    first, second = port(3, "10.77.0.10"), alone(4, "10.78.0.10").fixed_ips[0]
    both = await host.boot("c", msgspec.structs.replace(first, fixed_ips=(second, *first.fixed_ips)))

    assert await with_gateway.lease() == ["10.77.0.9", "24", "10.77.0.1", "10.77.0.1", "1450"]
    assert await without.lease() == ["10.78.0.9", "24", "10.78.0.2", "1450"]
    assert (await both.lease())[0] in ("10.77.0.10", "10.78.0.10")
    for name, guest in (("a", with_gateway), ("b", without), ("c", both)):
        assert await guest.ask("/latest/meta-data/hostname") == f"host-{name}"


@on_hosts
async def test_each_host_serves_its_own_guests_by_the_same_address(host: Host, elsewhere: Elsewhere) -> None:
    guest = await host.boot("a", alone(1, "10.77.0.9", ingress("icmp")))
    assert (await guest.lease())[0] == "10.77.0.9"

    assert await soon(lambda: elsewhere.pings("10.77.0.9"))
    assert not await elsewhere.pings("10.77.0.2")
    assert await guest.pings("10.77.0.2")


@on_hosts
async def test_without_dhcp_there_is_nobody_to_answer(host: Host) -> None:
    ip = FixedIp(address="10.77.0.9", subnet_id="s", cidr="10.77.0.0/24", dhcp=False)
    await host.boot("a", msgspec.structs.replace(port(1, "10.77.0.9"), fixed_ips=(ip,), gateway=None, dhcp=False))

    assert await host.dhcp_pids() == []


async def subnet_of(api: Api, **other: Any) -> dict[str, Any]:
    network = await api.make("alice", "/v2.0/networks", name="inside")
    return await api.make("alice", "/v2.0/subnets", **{"network_id": network["id"], "cidr": RANGE, "gateway_ip": None} | other)


async def hosts_in(api: Api, subnet: dict[str, Any]) -> list[str]:
    """The addresses by which hosts answer in it."""
    _, body = await api("alice", "GET", f"/v2.0/ports?network_id={subnet['network_id']}&device_owner=network:dhcp")
    return [ip["ip_address"] for port in body["ports"] for ip in port["fixed_ips"] if ip["subnet_id"] == subnet["id"]]


async def change(api: Api, subnet: dict[str, Any], **values: Any) -> None:
    status, body = await api("alice", "PUT", f"/v2.0/subnets/{subnet['id']}", {"subnet": values})
    assert status == 200, body


async def test_hosts_have_an_address_in_a_subnet_for_as_long_as_it_has_dhcp_and_no_gateway(
    api: Api, networks: BuiltinNetworks, told: Told
) -> None:
    routes, pools = [{"destination": "10.8.0.0/24", "nexthop": "10.9.0.7"}], [{"start": "10.9.0.10", "end": "10.9.0.99"}]
    subnet = await subnet_of(api, host_routes=routes, allocation_pools=pools)
    [address] = await hosts_in(api, subnet)
    port = await bound(networks, {"id": subnet["network_id"], "project_id": "alice"})
    assert (port.gateway, port.host_address, port.fixed_ips[0].host_address, port.dhcp) == (None, None, address, True)
    assert port.routes == (("10.8.0.0/24", "10.9.0.7"),)

    await change(api, subnet, gateway_ip="10.9.0.254")
    assert await hosts_in(api, subnet) == []
    await change(api, subnet, gateway_ip=None)
    assert len(await hosts_in(api, subnet)) == 1
    await change(api, subnet, name="inner")
    assert len(await hosts_in(api, subnet)) == 1
    await change(api, subnet, enable_dhcp=False)
    assert await hosts_in(api, subnet) == []
    await change(api, subnet, enable_dhcp=True)
    assert len(await hosts_in(api, subnet)) == 1
    assert len(set(told.servers)) == 1
    assert await hosts_in(api, await subnet_of(api, enable_dhcp=False)) == []
    assert await hosts_in(api, await subnet_of(api, cidr="fd00:9::/64")) == []


async def test_a_port_with_two_addresses_has_the_gateway_of_the_subnet_that_has_one(api: Api, networks: BuiltinNetworks) -> None:
    without = await subnet_of(api)
    outer = await api.make("alice", "/v2.0/subnets", network_id=without["network_id"], cidr="10.10.0.0/24", gateway_ip="10.10.0.1")
    wishes = [{"subnet_id": subnet["id"]} for subnet in (without, outer)]
    made = await api.make("alice", "/v2.0/ports", network_id=without["network_id"], fixed_ips=wishes)

    [port] = await networks.bind(
        CALLERS["alice"],
        instance_id=networks.world.uuid(),
        hostname="web",
        host="h1",
        availability_zone="nova",
        requests=[NetworkRequest(port_id=made["id"])],
        security_groups=[],
    )

    by_range = {ip.cidr: ip.host_address for ip in port.fixed_ips}
    assert (port.gateway, by_range) == ("10.10.0.1", {RANGE: (await hosts_in(api, without))[0], "10.10.0.0/24": None})


async def test_hosts_make_room_for_a_server_that_is_the_gateway(api: Api) -> None:
    subnet = await subnet_of(api, allocation_pools=[{"start": "10.9.0.10", "end": "10.9.0.99"}])
    await api.make("alice", "/v2.0/ports", network_id=subnet["network_id"], fixed_ips=[{"ip_address": "10.9.0.254"}])
    [address] = await hosts_in(api, subnet)

    await change(api, subnet, gateway_ip="10.9.0.254")

    assert await hosts_in(api, subnet) == [address]


async def test_what_hosts_answer_by_goes_with_the_subnet_or_the_network_and_cannot_go_before(api: Api) -> None:
    subnet, other = await subnet_of(api), await subnet_of(api)
    _, body = await api("alice", "GET", f"/v2.0/ports?network_id={subnet['network_id']}")
    [port] = body["ports"]

    assert (await api("alice", "DELETE", f"/v2.0/ports/{port['id']}"))[0] == 409
    assert (await api("alice", "DELETE", f"/v2.0/subnets/{subnet['id']}"))[0] == 204
    assert (await api("alice", "GET", f"/v2.0/ports/{port['id']}"))[0] == 404
    made = await api.make("alice", "/v2.0/ports", network_id=other["network_id"])
    assert (await api("alice", "DELETE", f"/v2.0/networks/{other['network_id']}"))[0] == 409
    assert len(await hosts_in(api, other)) == 1
    assert (await api("alice", "DELETE", f"/v2.0/ports/{made['id']}"))[0] == 204
    assert (await api("alice", "DELETE", f"/v2.0/networks/{other['network_id']}"))[0] == 204


async def test_a_full_subnet_is_changed_without_room_for_hosts(api: Api) -> None:
    pool = [{"start": "10.9.0.10", "end": "10.9.0.10"}]
    subnet = await subnet_of(api, enable_dhcp=False, allocation_pools=pool)
    await api.make("alice", "/v2.0/ports", network_id=subnet["network_id"])

    await change(api, subnet, enable_dhcp=True, name="full")

    assert await hosts_in(api, subnet) == []


async def test_what_hosts_answer_by_does_not_keep_a_network_from_being_set_apart(
    api: Api, networks: BuiltinNetworks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nova_async.services.network.networks.plugs_ports", lambda _: True)
    await subnet_of(api, cidr="10.12.0.0/24")
    subnet = await subnet_of(api)

    await api.make("alice", "/v2.0/subnets", network_id=subnet["network_id"], cidr="10.12.0.0/24", gateway_ip=None)

    assert (await bound(networks, {"id": subnet["network_id"], "project_id": "alice"})).apart
