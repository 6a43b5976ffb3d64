"""Guests on two hosts and one network: who reaches whom, before and after they change hosts."""

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from nova_async.compute.plugging.namespaces import NAMESPACES
from nova_async.services.network.port_specs import bridge_name
from tests.lab.cluster import COMPUTE, HOSTS, Cluster

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.rabbitmq,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("qemu"),
]


async def pings(cluster: Cluster, server: str, address: str, *options: str) -> bool:
    printed = await cluster.inside(server, f"ping -c 2 -W 1 {' '.join(options)} {address}; echo done")
    return " 0% packet loss" in printed


async def address_of(cluster: Cluster, server: str) -> str:
    return str(next(iter((await cluster.server(server))["addresses"].values()))[0]["addr"])


async def until(look: Callable[[], Awaitable[bool]], wanted: bool) -> None:
    for _ in range(40):
        if await look() is wanted:
            return
        await asyncio.sleep(0.25)
    raise AssertionError(f"it stays {not wanted}")


async def move(cluster: Cluster, server: str, host: str) -> None:
    await cluster.act(server, **{"os-migrateLive": {"host": host, "block_migration": "auto"}})
    await cluster.reaches(server, "ACTIVE")
    assert await cluster.host_of(server) == host


async def three(cluster: Cluster, test_guest: Path) -> tuple[str, str, str]:
    """One project's guests on each of the hosts, and another's on any; they are up."""
    image, flavor = await cluster.test_image(test_guest), await cluster.flavor("lab.net")
    one, two = [await cluster.boot(image, flavor, host=host, name=name) for host, name in zip(HOSTS, ("one", "two"), strict=True)]
    body = {"name": "foreign", "imageRef": image, "flavorRef": flavor, "networks": "auto"}
    foreign = str((await cluster.ask("POST", f"{COMPUTE}/servers", {"server": body}, admin=False))["server"]["id"])
    for server in (one, two, foreign):
        await cluster.reaches(server, "ACTIVE")
        await cluster.booted(server, 1)
    return one, two, foreign


async def test_guests_of_one_network_reach_each_other_from_host_to_host_as_their_rules_say(cluster: Cluster, test_guest: Path) -> None:
    here, there = HOSTS
    one, two, foreign = await three(cluster, test_guest)
    first, second = await address_of(cluster, one), await address_of(cluster, two)

    assert await pings(cluster, one, second)
    assert await pings(cluster, two, first)
    assert f"Address: {second}" in await cluster.inside(one, "nslookup two.openstacklocal")
    assert not await pings(cluster, foreign, first)
    assert not await pings(cluster, foreign, second)

    rule = await _allow(cluster, await _group(cluster), "icmp")
    await until(lambda: pings(cluster, foreign, first), True)
    await until(lambda: pings(cluster, foreign, second), True)
    await cluster.ask("DELETE", f"/network/v2.0/security-group-rules/{rule}")
    await until(lambda: pings(cluster, foreign, first), False)
    await until(lambda: pings(cluster, foreign, second), False)

    await cluster.inside(two, "ip addr add 10.77.0.250/32 dev eth0")
    assert not await pings(cluster, two, first, "-I 10.77.0.250")
    assert await pings(cluster, two, first)

    await cluster.inside(two, "(sleep 1000 | nc -l -p 9000 > /tmp/heard) > /dev/null 2>&1 < /dev/null & echo")
    await cluster.inside(one, f"(while :; do echo said; sleep 1; done | nc {second} 9000) > /dev/null 2>&1 < /dev/null & echo")
    await until(lambda: _hears(cluster, two), True)
    await move(cluster, one, there)
    assert await pings(cluster, one, second)
    await move(cluster, two, here)
    assert await pings(cluster, one, second)
    assert await pings(cluster, two, first)
    assert not await pings(cluster, foreign, first)
    assert not await pings(cluster, foreign, second)
    await until(lambda: _hears(cluster, two), True)

    for server in (one, two, foreign):
        await cluster.delete(server)
    await cluster.all_is_well()


@pytest.mark.hosts
async def test_networks_of_one_range_lie_side_by_side_on_the_same_hosts(cluster: Cluster, test_guest: Path) -> None:
    """INV-34: guests of one address get their own metadata, and the neighbors of their own network, also where they move to."""
    here, there = HOSTS
    image, flavor = await cluster.test_image(test_guest), await cluster.flavor("lab.net")
    networks = [await _ranged(cluster, "10.55.0.0/24") for _ in range(2)]
    pairs = []
    for network in networks:
        wanted = [{"uuid": network, "fixed_ip": f"10.55.0.{last}"} for last in (9, 10)]
        pairs.append([await cluster.boot(image, flavor, host=h, networks=[w]) for h, w in zip(HOSTS, wanted, strict=True)])
    for server in (*pairs[0], *pairs[1]):
        await cluster.reaches(server, "ACTIVE")
        await cluster.booted(server, 1)

    ways = ["", networks[1]]
    for (one, two), apart in zip(pairs, ways, strict=True):
        await are_neighbors(cluster, one, two, apart)
    await move(cluster, pairs[1][0], there)
    await move(cluster, pairs[0][1], here)
    for (one, two), apart in zip(pairs, ways, strict=True):
        await are_neighbors(cluster, one, two, apart)

    for server in (*pairs[0], *pairs[1]):
        await cluster.delete(server)
    for network in networks:
        await cluster.ask("DELETE", f"/network/v2.0/networks/{network}")
    await cluster.all_is_well()
    left = tuple(bridge_name(network) for network in networks)
    assert not [file.name for file in NAMESPACES.iterdir() if file.name.endswith(left)]


async def are_neighbors(cluster: Cluster, one: str, two: str, apart: str) -> None:
    """Each has its own metadata, and finds the other's card behind the other's address. ``apart``: as for ``Cluster.inside``."""
    for server, other, address in ((one, two, "10.55.0.10"), (two, one, "10.55.0.9")):
        told = await cluster.inside(server, "wget -q -O - http://169.254.169.254/openstack/latest/meta_data.json", apart=apart)
        assert f'"uuid":"{server}"' in told.replace(" ", "")
        [port] = (await cluster.ask("GET", f"/network/v2.0/ports?device_id={other}"))["ports"]
        found = await cluster.inside(server, f"ping -c 3 -W 2 {address}; ip neigh show {address}; echo done", apart=apart)
        assert port["mac_address"] in found
        assert "100% packet loss" not in found


async def _ranged(cluster: Cluster, cidr: str) -> str:
    """The id of a new network with this range."""
    network = (await cluster.ask("POST", "/network/v2.0/networks", {"network": {"name": "ranged"}}))["network"]
    await cluster.ask("POST", "/network/v2.0/subnets", {"subnet": {"network_id": network["id"], "cidr": cidr, "ip_version": 4}})
    return str(network["id"])


@pytest.mark.hosts
async def test_rules_are_in_force_at_once_and_break_no_connection_but_their_own(cluster: Cluster, test_guest: Path) -> None:
    one, two, foreign = await three(cluster, test_guest)
    first, second = await address_of(cluster, one), await address_of(cluster, two)
    group = await _group(cluster)
    rule = await opens_a_connection(cluster, group, foreign, two, second)
    await rules_show_at_once(cluster, group, foreign, first)
    await a_connection_lives_as_long_as_its_rule(cluster, rule, foreign, two, second)
    await is_reached_from_outside_by_a_floating_ip(cluster, group, one)
    for server in (one, two, foreign):
        await cluster.delete(server)
    await cluster.all_is_well()


@pytest.mark.hosts
async def test_a_floating_ip_answers_by_another_host_when_that_of_its_router_is_cut_off(cluster: Cluster, test_guest: Path) -> None:
    image, flavor = await cluster.test_image(test_guest), await cluster.flavor("lab.net")
    gateway = next(host for host in HOSTS if _router_devices(host))
    other = cluster.other(gateway)
    server = await cluster.boot(image, flavor, host=other)
    await cluster.reaches(server, "ACTIVE")
    await cluster.booted(server, 1)
    rule = await _allow(cluster, await _group(cluster), "tcp", port_range_min=80, port_range_max=80)
    floating, address = await _floating(cluster, server)
    await until(lambda: _answers_from(gateway, address), True)
    assert not await _answers_from(other, address)

    cluster.cut(gateway)
    started = time.monotonic()
    async with asyncio.timeout(120):
        while not await _answers_from(other, address):
            await asyncio.sleep(0.5)
    print(f"\na floating IP answers by another host {time.monotonic() - started:.0f} s after its router's was cut off")
    assert _router_devices(gateway)  # nobody could tell it
    cluster.mend(gateway)
    await cluster.service(gateway, "up")
    async with asyncio.timeout(30):
        while _router_devices(gateway):
            await asyncio.sleep(0.2)
    assert await _answers_from(other, address)

    [agent] = (await cluster.ask("GET", f"/network/v2.0/agents?binary=neutron-l3-agent&host={gateway}"))["agents"]
    [router] = (await cluster.ask("GET", "/network/v2.0/routers?name=router"))["routers"]
    await cluster.ask("POST", f"/network/v2.0/agents/{agent['id']}/l3-routers", {"router_id": router["id"]})
    assert (agent["alive"], bool(_router_devices(gateway)), _router_devices(other)) == (True, True, [])
    await until(lambda: _answers_from(gateway, address), True)

    await cluster.ask("DELETE", f"/network/v2.0/floatingips/{floating}")
    await cluster.ask("DELETE", f"/network/v2.0/security-group-rules/{rule}")
    await cluster.delete(server)
    await cluster.all_is_well()


def _router_devices(host: str) -> list[str]:
    """The outer ends of routers' ports there."""
    shown = subprocess.run(["ip", "-n", host, "-brief", "link", "show", "type", "veth"], capture_output=True, text=True, check=True).stdout
    return [line.split("@")[0] for line in shown.splitlines() if line.startswith("nar")]


async def rules_show_at_once(cluster: Cluster, group: str, foreign: str, address: str) -> None:
    """How long after a rule was asked for, and given back, the other project's guest sees it (printed)."""
    ahead = await _ahead(cluster, foreign)
    stamp = "read up rest < /proc/uptime; echo $up"
    await cluster.inside(foreign, _behind(f"ping -i 0.1 {address} | while read line; do {stamp}; done > /tmp/came"))
    asked = time.time()
    rule = await _allow(cluster, group, "icmp")
    lines = await _printed(cluster, foreign, "/tmp/came", 2)  # the first line is ping's own
    came = ahead + float(lines[1]) - asked
    await cluster.inside(foreign, "killall ping")
    await until(lambda: pings(cluster, foreign, address), True)

    await cluster.inside(
        foreign, _behind(f"while ping -c 1 -W 1 {address} > /dev/null; do {stamp}; done > /tmp/went; echo over >> /tmp/went")
    )
    await _printed(cluster, foreign, "/tmp/went", 3)
    asked = time.time()
    await cluster.ask("DELETE", f"/network/v2.0/security-group-rules/{rule}")
    while (lines := await _printed(cluster, foreign, "/tmp/went", 1))[-1] != "over":
        await asyncio.sleep(0.5)
    went = ahead + float(lines[-2]) - asked
    assert not await pings(cluster, foreign, address)
    print(f"\na rule is in force {came:.2f} s after it is asked for, and no more {max(went, 0):.2f} s after it is given back")


async def opens_a_connection(cluster: Cluster, group: str, foreign: str, server: str, address: str) -> str:
    """The rule that lets it in."""
    rule = await _allow(cluster, group, "tcp", port_range_min=9001, port_range_max=9002)
    for number in (9001, 9002):
        await cluster.inside(server, _behind(f"sleep 1000 | nc -l -p {number} > /tmp/said-{number}"))
    await until(lambda: _speaks(cluster, foreign, server, address), True)
    return rule


async def a_connection_lives_as_long_as_its_rule(cluster: Cluster, rule: str, foreign: str, server: str, address: str) -> None:
    """Others that came and went did not break it; without its own, what is open gets no further, and nothing new comes in."""
    assert await _grows(cluster, server, "/tmp/said-9001")
    await cluster.ask("DELETE", f"/network/v2.0/security-group-rules/{rule}")
    await until(lambda: _grows(cluster, server, "/tmp/said-9001"), False)
    new = await cluster.inside(foreign, f"nc -w 3 {address} 9002 < /dev/null && echo in || echo out")
    assert new.endswith("out")
    await cluster.inside(foreign, "killall nc")


async def is_reached_from_outside_by_a_floating_ip(cluster: Cluster, group: str, server: str) -> None:
    """From a host, whose way to it is that of the world outside."""
    floating, address = await _floating(cluster, server)
    assert not await _answers(address)
    rule = await _allow(cluster, group, "tcp", port_range_min=80, port_range_max=80)
    await until(lambda: _answers(address), True)
    await cluster.ask("DELETE", f"/network/v2.0/security-group-rules/{rule}")
    await until(lambda: _answers(address), False)
    await cluster.ask("DELETE", f"/network/v2.0/floatingips/{floating}")


async def _floating(cluster: Cluster, server: str) -> tuple[str, str]:
    """Id and address of a new floating IP that leads to the server."""
    [outside] = (await cluster.ask("GET", "/network/v2.0/networks?router:external=true&name=public"))["networks"]
    [port] = (await cluster.ask("GET", f"/network/v2.0/ports?device_id={server}"))["ports"]
    body = {"floating_network_id": outside["id"], "port_id": port["id"]}
    floating = (await cluster.ask("POST", "/network/v2.0/floatingips", {"floatingip": body}))["floatingip"]
    return str(floating["id"]), str(floating["floating_ip_address"])


async def _answers(address: str) -> bool:
    """Whether any of the hosts, one of which has the router, reaches what listens there."""
    for host in HOSTS:
        if await _answers_from(host, address):
            return True
    return False


async def _answers_from(host: str, address: str) -> bool:
    asking = ["ip", "netns", "exec", host, "curl", "-sf", "-m", "5", f"http://{address}/ticks"]
    return (await asyncio.to_thread(subprocess.run, asking, capture_output=True)).returncode == 0


async def _allow(cluster: Cluster, group: str, protocol: str, **fields: int) -> str:
    """The id of a new rule that lets everybody in."""
    rule = {"security_group_id": group, "direction": "ingress", "protocol": protocol, **fields}
    return str(
        (await cluster.ask("POST", "/network/v2.0/security-group-rules", {"security_group_rule": rule}))["security_group_rule"]["id"]
    )


async def _ahead(cluster: Cluster, server: str) -> float:
    """Our clock less the guest's, which counts from its start; the best of a few tries, so at most half of the fastest answer off."""
    tries = []
    for _ in range(10):
        before = time.time()
        up = float((await cluster.inside(server, "cat /proc/uptime")).split()[0])
        after = time.time()
        tries.append((after - before, (before + after) / 2 - up))
    return min(tries)[1]


async def _printed(cluster: Cluster, server: str, file: str, lines: int) -> list[str]:
    """A file of the guest, once it has so many lines."""
    while len(found := (await cluster.inside(server, f"cat {file}")).split("\n")) < lines:
        await asyncio.sleep(0.2)
    return found


async def _speaks(cluster: Cluster, foreign: str, server: str, address: str) -> bool:
    """Try to open a connection that says something every half second; whether it is open."""
    await cluster.inside(foreign, _behind(f"while :; do echo said; sleep 0.5; done | nc {address} 9001"))
    return await _grows(cluster, server, "/tmp/said-9001")


async def _grows(cluster: Cluster, server: str, file: str) -> bool:
    words = await cluster.inside(server, f"a=$(wc -l < {file}); sleep 3; b=$(wc -l < {file}); echo $a $b")
    before, after = map(int, words.split())
    return after > before


def _behind(command: str) -> str:
    """The command as one that the guest goes on with by itself."""
    return f"({command}) > /dev/null 2>&1 < /dev/null & echo"


async def _hears(cluster: Cluster, server: str) -> bool:
    """Whether the connection that was made at first still brings something."""
    return await _grows(cluster, server, "/tmp/heard")


async def _group(cluster: Cluster) -> str:
    """The id of the administrator's own default group."""
    [server] = [s for s in (await cluster.ask("GET", f"{COMPUTE}/servers/detail"))["servers"] if s["name"] == "one"][:1]
    found = await cluster.ask("GET", f"/network/v2.0/security-groups?name=default&project_id={server['tenant_id']}")
    return str(found["security_groups"][0]["id"])
