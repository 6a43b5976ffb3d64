"""Ports and networks that are administratively down: nothing passes, until they are up again."""

import asyncio
from typing import Any

import msgspec
import pytest

from nova_async.compute.plugging.routers import LinuxRouters
from nova_async.db import routers as router_rows
from nova_async.services.network.builtin import BuiltinNetworks
from nova_async.services.network.router_specs import router_spec
from nova_async.world import RealWorld
from tests.network.test_network_http import Api, api, networks
from tests.network.test_plugging import OTHER_NETWORK, Host, can_make_namespaces, ingress, port, soon
from tests.network.test_router_plugging import EVERYTHING, booted, joint, pings, router, routers
from tests.network.test_routers import ALICE, Told, inside, joined, outside, told
from tests.network.test_routers import booted as bound

__all__ = ["api", "networks", "outside", "routers", "told"]
on_hosts = pytest.mark.skipif(not can_make_namespaces(), reason="needs root and the tools of a network host")


@on_hosts
@pytest.mark.parametrize("guarded", [True, False])
async def test_a_running_guest_whose_port_is_down_is_cut_off_until_it_is_up(host: Host, guarded: bool) -> None:
    """Also by a restart of the worker."""
    other = await booted(host, "b", port(2, "10.77.0.10", ingress("icmp")))
    spec = port(1, "10.77.0.9", ingress("icmp"), port_security=guarded)
    guest = await booted(host, "a", spec)
    assert await other.pings("10.77.0.9")

    await host.plugs.plug("a", (msgspec.structs.replace(spec, up=False),))
    for restarted in (False, True):
        if restarted:
            await host.restart()
        reached = await asyncio.gather(other.pings("10.77.0.9"), pings("10.77.0.9"), guest.pings("10.77.0.10"))
        assert reached == [False, False, False]
        assert await guest.ask("/latest/meta-data/hostname") == ""
    await host.plugs.plug("a", (spec,))
    assert await other.pings("10.77.0.9")
    assert await guest.ask("/latest/meta-data/hostname") == "host-a"


@on_hosts
@pytest.mark.xdist_group("router-plugging")
async def test_a_port_of_a_router_that_is_down_leads_nowhere(host: Host, routers: LinuxRouters) -> None:
    inner, other = joint(1, "10.77.0.1", host_address="10.77.0.2"), joint(3, "10.78.0.1", OTHER_NETWORK, host_address="10.78.0.2")
    await routers.put(router(interfaces=(inner, other), gateway=None))
    a = await booted(host, "a", port(1, "10.77.0.9", *EVERYTHING, host_address="10.77.0.2"))
    await booted(host, "b", port(2, "10.78.0.9", *EVERYTHING, network=OTHER_NETWORK, host_address="10.78.0.2"))
    assert await a.pings("10.78.0.9")

    await routers.put(router(interfaces=(inner, msgspec.structs.replace(other, up=False)), gateway=None))
    assert not await a.pings("10.78.0.9")
    assert await a.pings("10.77.0.1")
    await routers.put(router(interfaces=(inner, other), gateway=None))
    assert await soon(lambda: a.pings("10.78.0.9"))


async def set_up(api: Api, kind: str, thing: str, up: bool) -> dict[str, Any]:
    status, body = await api("alice", "PUT", f"/v2.0/{kind}s/{thing}", {kind: {"admin_state_up": up}})
    assert status == 200, body
    found: dict[str, Any] = body[kind]
    return found


@pytest.mark.parametrize("kind", ["port", "network"])
async def test_a_servers_port_that_is_down_says_so_and_its_host_hears_of_it(
    api: Api, networks: BuiltinNetworks, told: Told, world: RealWorld, kind: str
) -> None:
    server = world.uuid()
    port = await bound(networks, await inside(api), server)
    assert port["status"] == "ACTIVE"

    for up, status in ((False, "DOWN"), (True, "ACTIVE")):
        told.servers.clear()
        assert (await set_up(api, kind, port["id"] if kind == "port" else port["network_id"], up))["admin_state_up"] is up
        assert told.servers == [server]
        [spec] = await networks.ports(ALICE, instance_id=server)
        assert spec.up is up
        assert (await api("alice", "GET", f"/v2.0/ports/{port['id']}"))[1]["port"]["status"] == status
        assert [p["id"] for p in (await api("alice", "GET", f"/v2.0/ports?status={status}&device_id={server}"))[1]["ports"]] == [port["id"]]


async def test_a_floating_ip_and_a_router_know_of_ports_that_are_down(
    api: Api, networks: BuiltinNetworks, told: Told, outside: dict[str, Any], world: RealWorld
) -> None:
    subnet, server = await inside(api), world.uuid()
    port, its_router = await bound(networks, subnet, server), await joined(api, outside, subnet)
    floating = await api.make("alice", "/v2.0/floatingips", floating_network_id=outside["id"], port_id=port["id"])
    assert floating["port_details"]["status"] == "ACTIVE"
    told.routers.clear()

    await set_up(api, "network", subnet["network_id"], False)

    assert told.routers == [its_router["id"]]
    async with networks.db.connection() as conn:
        [row] = await router_rows.specs(conn, [its_router["id"]])
    spec = router_spec(row)
    assert [port.up for port in spec.interfaces] == [False]
    assert spec.gateway is not None
    assert spec.gateway.up
    _, body = await api("alice", "GET", f"/v2.0/floatingips/{floating['id']}")
    assert body["floatingip"]["port_details"]["status"] == "DOWN"


async def test_hosts_hear_of_what_concerns_them_only(api: Api, networks: BuiltinNetworks, told: Told, world: RealWorld) -> None:
    subnet, server = await inside(api), world.uuid()
    await bound(networks, subnet, server)
    path = f"/v2.0/networks/{subnet['network_id']}"

    assert (await api("alice", "PUT", path, {"network": {"description": "mine", "admin_state_up": True}}))[0] == 200
    assert told.servers == []
    assert (await api("alice", "PUT", path, {"network": {"mtu": 1400}}))[0] == 200
    assert told.servers == [server]
    assert (await api("alice", "PUT", f"/v2.0/subnets/{subnet['id']}", {"subnet": {"dns_nameservers": ["9.8.7.6"]}}))[0] == 200
    assert told.servers == [server, server]
    [spec] = await networks.ports(ALICE, instance_id=server)
    assert (spec.mtu, spec.dns_servers) == (1400, ("9.8.7.6",))
