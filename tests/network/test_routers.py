"""Routers and floating IPs as their users see them."""

import asyncio
from typing import Any

import pytest

from nova_async.context import Context
from nova_async.services.network import NetworkRequest
from nova_async.services.network.builtin import BuiltinNetworks
from nova_async.services.network.collection import Collection
from nova_async.services.network.networks import Networks, Subnets
from nova_async.services.network.ports import Ports
from nova_async.world import RealWorld
from tests.network.test_network_http import Api, api, networks

__all__ = ["api", "networks"]
ALICE = Context(request_id="req-1", project_id="alice", roles=("member",))


class Told:
    """What the service told hosts of."""

    def __init__(self, service: BuiltinNetworks) -> None:
        self.routers: list[str] = []
        self.servers: list[str] = []
        service.on_router_change, service.on_change = self._routers, self._servers

    async def _routers(self, ids: list[str]) -> None:
        self.routers += ids

    async def _servers(self, ids: list[str]) -> None:
        self.servers += ids


@pytest.fixture
def told(networks: BuiltinNetworks) -> Told:
    return Told(networks)


@pytest.fixture
async def outside(api: Api) -> dict[str, Any]:
    """An external network with room for ten."""
    network = await api.make("admin", "/v2.0/networks", name="outside", **{"router:external": True})
    pools = [{"start": "203.0.113.10", "end": "203.0.113.19"}]
    await api.make("admin", "/v2.0/subnets", network_id=network["id"], cidr="203.0.113.0/24", ip_version=4, allocation_pools=pools)
    return network


async def inside(api: Api, who: str = "alice", cidr: str = "10.5.0.0/24") -> dict[str, Any]:
    """A subnet in a network of its own."""
    network = await api.make(who, "/v2.0/networks", name="inside")
    return await api.make(who, "/v2.0/subnets", network_id=network["id"], cidr=cidr, ip_version=4)


async def joined(api: Api, outside: dict[str, Any], subnet: dict[str, Any], who: str = "alice") -> dict[str, Any]:
    """A router from the subnet to the outside."""
    router = await api.make(who, "/v2.0/routers", name="r", external_gateway_info={"network_id": outside["id"]})
    status, body = await api(who, "PUT", f"/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    assert status == 200, body
    return router


async def booted(networks: BuiltinNetworks, subnet: dict[str, Any], server: str) -> dict[str, Any]:
    """The port of a server that was made for it."""
    request = NetworkRequest(network_id=subnet["network_id"])
    await networks.bind(
        ALICE, instance_id=server, hostname="web", host="h1", availability_zone="nova", requests=[request], security_groups=[]
    )
    [port] = await networks.things(ALICE, "ports", device_id=[server])
    return port


async def test_a_router_from_its_making_to_its_end(api: Api, told: Told, outside: dict[str, Any]) -> None:
    router = await api.make("alice", "/v2.0/routers", name="r", description="mine")
    assert (router["status"], router["external_gateway_info"], router["routes"]) == ("ACTIVE", None, [])
    path = f"/v2.0/routers/{router['id']}"

    _, body = await api("alice", "PUT", path, {"router": {"name": "r2", "external_gateway_info": {"network_id": outside["id"]}}})
    info = body["router"]["external_gateway_info"]
    assert (info["network_id"], info["enable_snat"], body["router"]["name"]) == (outside["id"], True, "r2")
    assert info["external_fixed_ips"][0]["ip_address"].startswith("203.0.113.1")
    _, again = await api("alice", "PUT", path, {"router": {"external_gateway_info": {"network_id": outside["id"]}}})
    assert again["router"]["external_gateway_info"] == info
    assert (await api("bob", "GET", path))[0] == 404
    assert (await api("looker", "PUT", path, {"router": {"name": "x"}}))[0] == 403
    assert [r["id"] for r in (await api("alice", "GET", "/v2.0/routers?name=r2"))[1]["routers"]] == [router["id"]]
    _, body = await api("alice", "PUT", path, {"router": {"external_gateway_info": {}}})
    assert body["router"]["external_gateway_info"] is None
    assert (await api("alice", "DELETE", path))[0] == 204
    assert (await api("alice", "GET", path))[0] == 404
    assert set(told.routers) == {router["id"]}


async def test_an_interface_has_the_gateways_address_and_hosts_get_another(
    api: Api, networks: BuiltinNetworks, told: Told, outside: dict[str, Any], world: RealWorld
) -> None:
    subnet, server = await inside(api), world.uuid()
    port = await booted(networks, subnet, server)
    router = await joined(api, outside, subnet)

    _, body = await api("alice", "GET", f"/v2.0/ports?device_id={router['id']}")
    [interface] = body["ports"]
    assert (interface["device_owner"], interface["status"]) == ("network:router_interface", "ACTIVE")
    assert interface["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "10.5.0.1"}]
    assert told.servers == [server]
    _, body = await api("alice", "GET", f"/v2.0/ports?network_id={subnet['network_id']}&device_owner=network:dhcp")
    [hosts] = body["ports"]
    assert (await api("alice", "DELETE", f"/v2.0/ports/{hosts['id']}"))[0] == 409
    status, body = await api("alice", "DELETE", f"/v2.0/ports/{interface['id']}")
    assert (status, body["NeutronError"]["type"]) == (409, "Conflict")
    assert "network:router_interface" in body["NeutronError"]["message"]
    assert (await api("alice", "DELETE", f"/v2.0/routers/{router['id']}"))[0] == 409
    assert (await api("alice", "DELETE", f"/v2.0/subnets/{subnet['id']}"))[0] == 409

    await networks.unbind(ALICE, instance_id=server)
    assert port["id"] not in str(await networks.things(ALICE, "ports"))
    status, body = await api("alice", "PUT", f"/v2.0/routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]})
    assert (status, body["port_id"], body["subnet_ids"]) == (200, interface["id"], [subnet["id"]])
    _, body = await api("admin", "GET", f"/v2.0/ports?network_id={subnet['network_id']}")
    assert body["ports"] == []
    assert (await api("alice", "DELETE", f"/v2.0/networks/{subnet['network_id']}"))[0] == 204


async def test_what_a_router_cannot_be_joined_to(api: Api, outside: dict[str, Any]) -> None:
    subnet = await inside(api)
    router = await joined(api, outside, subnet)
    add = f"/v2.0/routers/{router['id']}/add_router_interface"
    no_gateway = await api.make(
        "alice", "/v2.0/subnets", network_id=subnet["network_id"], cidr="10.6.0.0/24", ip_version=4, gateway_ip=None
    )
    overlapping = await inside(api, cidr="10.5.0.0/25")
    bobs = await inside(api, "bob", "10.8.0.0/24")

    for body, status in (
        ({}, 400),
        ({"subnet_id": subnet["id"], "port_id": subnet["id"]}, 400),
        ({"subnet_id": "nonsense"}, 400),
        ({"subnet_id": subnet["id"]}, 400),
        ({"subnet_id": no_gateway["id"]}, 400),
        ({"subnet_id": overlapping["id"]}, 400),
        ({"subnet_id": bobs["id"]}, 404),
    ):
        assert (await api("alice", "PUT", add, body))[0] == status, body
    status, body = await api("alice", "PUT", f"/v2.0/routers/{router['id']}", {"router": {"external_gateway_info": {"enable_snat": False}}})
    assert status == 403
    info = {"network_id": subnet["network_id"]}
    status, body = await api("alice", "PUT", f"/v2.0/routers/{router['id']}", {"router": {"external_gateway_info": info}})
    assert (status, "is not an external network" in body["NeutronError"]["message"]) == (400, True)


async def test_a_port_of_ones_own_becomes_an_interface(api: Api, outside: dict[str, Any]) -> None:
    subnet = await inside(api)
    port = await api.make("alice", "/v2.0/ports", network_id=subnet["network_id"], fixed_ips=[{"ip_address": "10.5.0.77"}])
    router = await api.make("alice", "/v2.0/routers", name="r")
    path = f"/v2.0/routers/{router['id']}"

    status, body = await api("alice", "PUT", f"{path}/add_router_interface", {"port_id": port["id"]})

    assert (status, body["port_id"]) == (200, port["id"])
    assert (await api("alice", "PUT", f"{path}/add_router_interface", {"port_id": port["id"]}))[0] == 409
    _, body = await api("admin", "GET", f"/v2.0/ports?network_id={subnet['network_id']}")
    assert [p["device_owner"] for p in body["ports"]] == ["network:router_interface"]
    assert (await api("alice", "PUT", f"{path}/remove_router_interface", {"port_id": port["id"]}))[0] == 200
    assert (await api("alice", "PUT", f"{path}/remove_router_interface", {"port_id": port["id"]}))[0] == 404


async def test_routes_lead_to_neighbours(api: Api, outside: dict[str, Any]) -> None:
    subnet = await inside(api)
    router = await joined(api, outside, subnet)
    path = f"/v2.0/routers/{router['id']}"
    one, two = ({"destination": f"192.168.{n}.0/24", "nexthop": "10.5.0.9"} for n in (1, 2))

    assert (await api("alice", "PUT", path, {"router": {"routes": [one]}}))[1]["router"]["routes"] == [one]
    _, body = await api("alice", "PUT", f"{path}/add_extraroutes", {"router": {"routes": [one, two]}})
    assert body["router"]["routes"] == [one, two]
    status, _ = await api("alice", "PUT", f"{path}/remove_router_interface", {"subnet_id": subnet["id"]})
    assert status == 409
    for wrong in ("10.7.0.1", "10.5.0.1", "fe80::1"):
        body = {"router": {"routes": [{"destination": "192.168.3.0/24", "nexthop": wrong}]}}
        assert (await api("alice", "PUT", path, body))[0] == 400
    _, body = await api("alice", "PUT", f"{path}/remove_extraroutes", {"router": {"routes": [one]}})
    assert body["router"]["routes"] == [two]


async def test_a_floating_ip_leads_to_a_server_until_the_server_goes(
    api: Api, networks: BuiltinNetworks, told: Told, outside: dict[str, Any], world: RealWorld
) -> None:
    subnet, server = await inside(api), world.uuid()
    router, port = await joined(api, outside, subnet), await booted(networks, subnet, server)
    address = await api.make("alice", "/v2.0/floatingips", floating_network_id=outside["id"])
    assert (address["port_id"], address["fixed_ip_address"], address["router_id"], address["status"]) == (None, None, None, "DOWN")
    path = f"/v2.0/floatingips/{address['id']}"
    told.routers, told.servers = [], []

    _, body = await api("alice", "PUT", path, {"floatingip": {"port_id": port["id"]}})

    fixed = port["fixed_ips"][0]["ip_address"]
    floating = body["floatingip"]
    assert (floating["port_id"], floating["fixed_ip_address"], floating["router_id"]) == (port["id"], fixed, router["id"])
    assert floating["port_details"]["device_id"] == server
    assert (told.routers, told.servers) == ([router["id"]], [server])
    by_address = (await api("alice", "GET", f"/v2.0/floatingips?floating_ip_address={address['floating_ip_address']}"))[1]
    assert [f["id"] for f in by_address["floatingips"]] == [address["id"]]
    assert (await api("bob", "GET", path))[0] == 404
    remove = f"/v2.0/routers/{router['id']}/remove_router_interface"
    assert (await api("alice", "PUT", remove, {"subnet_id": subnet["id"]}))[0] == 409
    assert (await api("alice", "PUT", f"/v2.0/routers/{router['id']}", {"router": {"external_gateway_info": None}}))[0] == 409
    status, body = await api("alice", "POST", "/v2.0/floatingips", {
        "floatingip": {"floating_network_id": outside["id"], "port_id": port["id"]}
    })  # fmt: skip
    assert (status, "already" in body["NeutronError"]["message"]) == (409, True)

    await networks.unbind(ALICE, instance_id=server)

    assert told.routers[-1] == router["id"]
    _, body = await api("alice", "GET", path)
    assert (body["floatingip"]["port_id"], body["floatingip"]["router_id"]) == (None, None)
    assert (await api("alice", "DELETE", path))[0] == 204
    assert (await api("alice", "GET", path))[0] == 404


async def test_where_a_floating_ip_cannot_lead(api: Api, outside: dict[str, Any]) -> None:
    subnet = await inside(api)
    port = await api.make("alice", "/v2.0/ports", network_id=subnet["network_id"], fixed_ips=[{"ip_address": "10.5.0.40"}])
    bare = await api.make("alice", "/v2.0/ports", network_id=subnet["network_id"], fixed_ips=[])
    both = [{"ip_address": "10.5.0.50"}, {"ip_address": "10.5.0.51"}]
    two = await api.make("alice", "/v2.0/ports", network_id=subnet["network_id"], fixed_ips=both)
    base = {"floating_network_id": outside["id"]}

    for fields, status in (
        ({}, 400),
        ({"floating_network_id": subnet["network_id"]}, 400),
        ({**base, "port_id": port["id"]}, 404),  # no router
        ({**base, "port_id": subnet["id"]}, 404),
        ({**base, "port_id": bare["id"]}, 400),
        ({**base, "port_id": two["id"]}, 400),
        ({**base, "fixed_ip_address": "10.5.0.50"}, 400),
        ({**base, "floating_ip_address": "203.0.113.12"}, 403),
        ({**base, "port_id": port["id"], "fixed_ip_address": "10.5.0.250"}, 400),
        ({**base, "something": 1}, 400),
    ):
        assert (await api("alice", "POST", "/v2.0/floatingips", {"floatingip": fields}))[0] == status, fields
    _, body = await api("admin", "GET", f"/v2.0/ports?network_id={outside['id']}")
    assert body["ports"] == []
    await joined(api, outside, subnet)
    made = await api.make("alice", "/v2.0/floatingips", **base, port_id=two["id"], fixed_ip_address="10.5.0.51")
    assert made["fixed_ip_address"] == "10.5.0.51"
    assert (await api("alice", "PUT", f"/v2.0/ports/{two['id']}", {"port": {"fixed_ips": both[:1]}}))[0] == 200
    assert (await api("alice", "GET", f"/v2.0/floatingips/{made['id']}"))[1]["floatingip"]["port_id"] is None


async def test_an_external_network_is_used_up(api: Api, outside: dict[str, Any]) -> None:
    taken = [await api.make("alice", "/v2.0/floatingips", floating_network_id=outside["id"]) for _ in range(10)]

    status, body = await api("alice", "POST", "/v2.0/floatingips", {"floatingip": {"floating_network_id": outside["id"]}})

    assert (status, len({f["floating_ip_address"] for f in taken})) == (409, 10)
    assert "No more IP addresses" in body["NeutronError"]["message"]
    assert (await api("admin", "DELETE", f"/v2.0/networks/{outside['id']}"))[0] == 204
    assert (await api("alice", "GET", "/v2.0/floatingips"))[1] == {"floatingips": []}


async def test_nobody_makes_a_port_pass_for_one_of_the_services(api: Api) -> None:
    shared = (await api("alice", "GET", "/v2.0/networks?shared=true"))[1]["networks"][0]

    status, _ = await api("alice", "POST", "/v2.0/ports", {"port": {"network_id": shared["id"], "device_owner": "network:dhcp"}})

    assert status == 403


async def test_a_project_is_given_a_network_with_a_way_out(api: Api, networks: BuiltinNetworks) -> None:
    path = "/v2.0/auto-allocated-topology"
    assert (await api("alice", "GET", f"{path}/alice"))[0] == 404
    outside = await api.make("admin", "/v2.0/networks", name="outside", is_default=True, **{"router:external": True})
    await api.make("admin", "/v2.0/subnets", network_id=outside["id"], cidr="203.0.113.0/24", ip_version=4)
    assert (await api("alice", "GET", f"{path}/bob"))[0] == 403
    assert (await api("alice", "GET", f"{path}/null?fields=dry-run"))[1]["auto_allocated_topology"]["id"] == "dry-run=pass"
    assert (await api("alice", "DELETE", f"{path}/alice"))[0] == 404

    _, body = await api("alice", "GET", f"{path}/None")

    made = body["auto_allocated_topology"]
    assert (made["tenant_id"], (await api("alice", "GET", f"{path}/alice"))[1]) == ("alice", body)
    [network] = (await api("alice", "GET", f"/v2.0/networks?id={made['id']}"))[1]["networks"]
    [router] = (await api("alice", "GET", "/v2.0/routers"))[1]["routers"]
    assert (network["name"], router["external_gateway_info"]["network_id"]) == ("auto_allocated_network", outside["id"])
    [subnet] = (await api("alice", "GET", f"/v2.0/subnets?network_id={made['id']}"))[1]["subnets"]
    assert subnet["cidr"] == "10.100.0.0/26"
    assert (await networks.auto(ALICE))[0].network_id == made["id"]
    _, body = await api("bob", "GET", f"{path}/bob")
    [theirs] = (await api("bob", "GET", f"/v2.0/subnets?network_id={body['auto_allocated_topology']['id']}"))[1]["subnets"]
    assert theirs["cidr"] == "10.100.0.64/26"
    assert (await api("alice", "DELETE", f"{path}/alice"))[0] == 204
    assert (await api("alice", "GET", "/v2.0/routers"))[1]["routers"] == []
    assert (await api("alice", "GET", f"/v2.0/networks/{made['id']}"))[0] == 404


async def test_floating_ips_that_lead_nowhere_go_with_their_network(api: Api) -> None:
    outside = await api.make("admin", "/v2.0/networks", name="outside", **{"router:external": True})
    await api.make("admin", "/v2.0/subnets", network_id=outside["id"], cidr="203.0.113.0/24", ip_version=4)
    floating = await api.make("alice", "/v2.0/floatingips", floating_network_id=outside["id"])

    assert (await api("admin", "DELETE", f"/v2.0/networks/{outside['id']}"))[0] == 204

    assert (await api("alice", "GET", f"/v2.0/floatingips/{floating['id']}"))[0] == 404


async def test_what_is_said_of_a_floating_ip_at_once_is_all_kept(api: Api, outside: dict[str, Any]) -> None:
    subnet = await inside(api)
    await joined(api, outside, subnet)
    ports = [(await api.make("alice", "/v2.0/ports", network_id=subnet["network_id"]))["id"] for _ in range(2)]
    floating = await api.make("alice", "/v2.0/floatingips", floating_network_id=outside["id"], port_id=ports[0])
    path = f"/v2.0/floatingips/{floating['id']}"

    for port, text in ((ports[1], "one"), (ports[0], "two"), (ports[1], "three")):
        changes = [{"port_id": port}, {"description": text}] * 4
        answers = await asyncio.gather(*(api("alice", "PUT", path, {"floatingip": change}) for change in changes))
        assert {status for status, _ in answers} == {200}
        shown = (await api("alice", "GET", path))[1]["floatingip"]
        assert (shown["port_id"], shown["description"]) == (port, text)


async def test_a_port_is_of_one_router_also_where_many_take_it_at_once(api: Api) -> None:
    subnet = await inside(api)
    port = await api.make("alice", "/v2.0/ports", network_id=subnet["network_id"])
    routers = [(await api.make("alice", "/v2.0/routers", name="r"))["id"] for _ in range(6)]
    port_path = f"/v2.0/ports/{port['id']}"

    changes = [api("alice", "PUT", port_path, {"port": {"name": f"n{n}"}}) for n in range(6)]
    taken = [api("alice", "PUT", f"/v2.0/routers/{id}/add_router_interface", {"port_id": port["id"]}) for id in routers]
    answers = await asyncio.gather(*changes, *taken)

    assert [status for status, _ in answers[:6]] == [200] * 6
    assert sorted(status for status, _ in answers[6:]) == [200] + [409] * 5
    shown = (await api("alice", "GET", port_path))[1]["port"]
    assert (shown["device_id"] in routers, shown["device_owner"]) == (True, "network:router_interface")


@pytest.mark.parametrize(("kind", "first", "second"), [
    (Ports, {"device_id": "a-server", "device_owner": "compute:nova"}, {"name": "new"}),
    (Networks, {"mtu": 1300}, {"name": "new"}),
    (Subnets, {"enable_dhcp": False}, {"name": "new"}),
])  # fmt: skip
async def test_a_change_does_not_undo_another_that_was_made_meanwhile(
    api: Api, networks: BuiltinNetworks, kind: type[Collection[Any]], first: dict[str, Any], second: dict[str, Any]
) -> None:
    subnet = await inside(api)
    port = await api.make("alice", "/v2.0/ports", network_id=subnet["network_id"])
    things = kind(networks)
    old = await things.get(ALICE, {"port": port["id"], "network": subnet["network_id"], "subnet": subnet["id"]}[things.name])

    await things.update(ALICE, old, {things.name: first})
    view = things.view(await things.update(ALICE, old, {things.name: second}), ALICE)

    assert {name: view[name] for name in first | second} == first | second
