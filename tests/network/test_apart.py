"""Networks of the same addresses side by side on one host: what is of one is nothing to the others."""

import asyncio
import sys
from typing import Any

import msgspec
import pytest

from nova_async.compute.plugging.apart import outer_end
from nova_async.compute.plugging.links import bridge_mac, index_of
from nova_async.compute.plugging.namespaces import NAMESPACES
from nova_async.compute.plugging.records import LocalNetwork
from nova_async.compute.plugging.routers import LinuxRouters
from nova_async.compute.plugging.rules import members_of
from nova_async.errors import Conflict
from nova_async.model.guests import PortSpec
from nova_async.model.neighbors import Surroundings
from nova_async.model.routers import FloatingIp, RouterSpec
from tests.network.test_plugging import NETWORK, OTHER_NETWORK, Guest, Host, can_make_namespaces, ingress, other_than, port, run, soon
from tests.network.test_router_plugging import OTHER_ROUTER, OUTSIDE, fetches, joint, router, routers, world_beyond
from tests.network.test_tunnels import Elsewhere, elsewhere

__all__ = ["elsewhere", "routers"]
pytestmark = [
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and the tools of a network host"),
    pytest.mark.xdist_group("router-plugging"),
]
THIRD_NETWORK = "8e3f1c1e-6d7c-4a08-b50b-6dd1b1f6b222"
PLAIN, APART, ALSO_APART = (NETWORK, False), (OTHER_NETWORK, True), (THIRD_NETWORK, True)  # and whether it is apart
HEAR = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", int(sys.argv[1]))); s.settimeout(float(sys.argv[2]))
print("up", flush=True)
try: print(s.recv(64).decode())
except TimeoutError: print("nothing")
"""
SAY = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", int(sys.argv[1])))
s.sendto(b"word", (sys.argv[2], int(sys.argv[3])))
"""


def theirs(number: int, address: str, *rules: dict[str, Any], network: str = OTHER_NETWORK, **other: Any) -> PortSpec:
    """A port of a network that is apart."""
    return port(number, address, *rules, network=network, apart=True, **other)


async def hears(guest: Guest, number: int, speaker: Guest, by: int, seconds: float) -> bool:
    """Whether a datagram from the one's port arrives at the other's."""
    ear = await asyncio.create_subprocess_exec(
        *("nsenter", "-t", str(guest.process.pid), "-n", sys.executable, "-c", HEAR, str(number), str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert ear.stdout is not None
    assert await asyncio.wait_for(ear.stdout.readline(), 20) == b"up\n"
    await speaker.run(sys.executable, "-c", SAY, str(by), guest.spec.fixed_ips[0].address, str(number))
    heard = await asyncio.wait_for(ear.stdout.readline(), 20)
    await ear.wait()
    return heard == b"word\n"


async def test_guests_of_one_address_in_two_networks_get_their_own_leases_and_metadata(host: Host) -> None:
    """INV-34"""
    a, b = await host.boot("a", port(1, "10.77.0.9")), await host.boot("b", theirs(2, "10.77.0.9"))
    c = await host.boot("c", theirs(3, "10.77.0.9", network=THIRD_NETWORK, dns_servers=("9.9.9.9",)))

    assert await a.lease() == await b.lease() == ["10.77.0.9", "24", "10.77.0.1", "10.77.0.1", "1450"]
    assert await c.lease() == ["10.77.0.9", "24", "10.77.0.1", "9.9.9.9", "1450"]
    for name, guest in (("a", a), ("b", b), ("c", c)):
        assert await guest.ask("/latest/meta-data/hostname") == f"host-{name}"
        assert await guest.ask("/latest/meta-data/hostname", "-H", "X-Instance-ID: a", "-H", "X-Forwarded-For: 1.2.3.4") == f"host-{name}"
        assert await guest.pings("10.77.0.1")
    await host.plugs.unplug("b")
    assert await a.ask("/latest/meta-data/hostname") == "host-a"
    assert await c.ask("/latest/meta-data/hostname") == "host-c"


async def test_guests_of_two_networks_get_their_own_metadata_by_ipv6(host: Host) -> None:
    """INV-34"""
    a = await host.boot("a", port(1, "10.77.0.9"))
    b = await host.boot("b", msgspec.structs.replace(theirs(2, "10.77.0.9"), mac=a.spec.mac))

    assert await soon(lambda: answers(a, "a", "[fe80::a9fe:a9fe%25eth0]"))
    assert await soon(lambda: answers(b, "b", "[fe80::a9fe:a9fe%25eth0]"))


async def test_guests_of_other_networks_with_addresses_of_the_range_are_out_of_reach(host: Host) -> None:
    everything = ingress("tcp"), ingress("icmp")
    a = await host.boot("a", port(1, "10.77.0.9", *everything))
    b, c = [await host.boot(name, theirs(n, f"10.77.0.{n}", *everything)) for n, name in ((12, "b"), (13, "c"))]
    for guest in (a, b, c):
        await guest.lease()

    assert await b.pings("10.77.0.13")
    assert not await a.pings("10.77.0.13")
    assert not await b.pings("10.77.0.9")


@pytest.mark.parametrize(("first", "second"), [(PLAIN, APART), (APART, PLAIN), (APART, ALSO_APART)])
async def test_what_is_established_in_one_network_opens_no_other(host: Host, first: tuple[str, bool], second: tuple[str, bool]) -> None:
    """SEC-078: the answer to a question that was asked in the one network is none in the other."""
    guests = []
    for number, (network, apart) in enumerate((first, second)):
        for server, address in ((f"asks{number}", "10.77.0.9"), (f"told{number}", "10.77.0.10")):
            rules = (ingress("udp", 6000),) if server == "told0" else ()
            guests.append(await host.boot(server, port(len(guests) + 1, address, *rules, network=network, apart=apart)))
    for guest in guests:
        await guest.lease()
    asks, told, other_asks, other_told = guests

    assert await hears(told, 6000, asks, 5000, 10)
    assert await hears(asks, 5000, told, 6000, 10)
    assert not await hears(other_asks, 5000, other_told, 6000, 1)
    assert not await hears(other_told, 6000, other_asks, 5000, 1)
    await host.plugs.plug("told1", (msgspec.structs.replace(other_told.spec, security_rules=told.spec.security_rules),))
    assert await hears(other_told, 6000, other_asks, 5000, 10)
    assert await hears(other_asks, 5000, other_told, 6000, 10)


async def test_security_groups_hold_in_a_network_that_is_apart(host: Host) -> None:
    a, b = await host.boot("a", theirs(1, "10.77.0.9")), await host.boot("b", theirs(2, "10.77.0.10", ingress("tcp", 8022)))
    await a.lease()
    await b.lease()

    async with b.serving(8022), b.serving(8023):
        assert await a.reaches("10.77.0.10", 8022)
        assert not await a.reaches("10.77.0.10", 8023)
        await host.plugs.plug("b", (theirs(2, "10.77.0.10", ingress("tcp", 8023)),))
        assert await a.reaches("10.77.0.10", 8023)
    assert not await b.pings("10.77.0.9")


async def test_a_members_address_opens_nothing_to_who_has_it_in_another_network(host: Host) -> None:
    """SEC-078"""
    friends = {"group": "g", "direction": "ingress", "ethertype": "IPv4", "remote_group": "g"}
    other = {"group": "h", "direction": "egress", "ethertype": "IPv4"}
    await host.boot("a", port(1, "10.77.0.9", friends))
    b, member = await host.boot("b", theirs(2, "10.77.0.10", friends)), await host.boot("c", theirs(3, "10.77.0.11", friends))
    stranger = await host.boot("d", msgspec.structs.replace(theirs(4, "10.77.0.9"), security_rules=(other,)))
    for guest in (b, member, stranger):
        await guest.lease()

    assert await member.pings("10.77.0.10")
    assert not await stranger.pings("10.77.0.10")
    await host.plugs.plug("d", (theirs(4, "10.77.0.9"),))
    assert await stranger.pings("10.77.0.10")


MINE, THEIRS = port(1, "10.77.0.9"), theirs(2, "10.77.0.10")


@pytest.mark.parametrize(
    ("told", "mine", "others"),
    [
        (Surroundings(), ["10.77.0.9"], ["10.77.0.10"]),
        (Surroundings(groups={"g": ("10.77.0.9", "10.77.0.10", "10.78.0.9")}), ["10.77.0.9", "10.77.0.10", "10.78.0.9"], None),
        (
            Surroundings(groups={"g": ("10.77.0.9", "10.77.0.10")}, strangers={OTHER_NETWORK: {"g": ("10.77.0.9",)}}),
            ["10.77.0.9", "10.77.0.10"],
            ["10.77.0.10"],
        ),
        (
            Surroundings(groups={"g": ("10.77.0.9",)}, strangers={NETWORK: {"g": ("10.77.0.9",)}}),
            ["10.77.0.9"],
            ["10.77.0.9", "10.77.0.10"],
        ),
    ],
)
def test_whose_a_members_address_is_says_the_conductor_or_else_where_it_is_plugged(
    told: Surroundings, mine: list[str], others: list[str] | None
) -> None:
    here = [LocalNetwork(p.bridge, p.network_id, ((p.id, p),)) for p in (MINE, THEIRS)]

    found = members_of(here, told)

    assert found[MINE.bridge] == {("g", 4): mine}
    assert found[THEIRS.bridge] == {("g", 4): others or mine}


async def test_no_rule_of_a_guests_keeps_it_from_its_lease_and_its_metadata(host: Host) -> None:
    guest = await host.boot("a", msgspec.structs.replace(theirs(1, "10.77.0.9"), security_rules=()))

    assert (await guest.lease())[0] == "10.77.0.9"
    assert await guest.ask("/latest/meta-data/hostname") == "host-a"


async def test_the_bridge_of_a_network_that_is_apart_is_no_way_into_the_host(host: Host) -> None:
    """SEC-078: neither to the host itself nor to its other networks, whatever a guest knows."""
    await host.boot("a", port(1, "10.77.0.9", ingress("tcp"), ingress("icmp")))
    guest = await host.boot("b", theirs(2, "10.77.0.10", port_security=False))
    await guest.lease()
    await run("ip", "addr", "add", "10.66.0.1/32", "dev", "lo")
    listener = await asyncio.start_server(lambda r, w: w.close(), "0.0.0.0", 8000)
    for address in ("10.77.0.1", "10.66.0.1", "10.77.0.9"):
        await guest.run("ip", "neigh", "replace", address, "lladdr", bridge_mac(OTHER_NETWORK), "dev", "eth0")
        await guest.run("ip", "route", "replace", f"{address}/32", "dev", "eth0")
        assert "timed out" in await guest.run("curl", "-sv", "-m", "1", f"http://{address}:8000/", check=False)
        assert not await guest.pings(address)
        await guest.run("ip", "neigh", "del", address, "dev", "eth0")
    listener.close()

    assert await guest.pings("10.77.0.1")
    assert "lladdr 06:" in await guest.run("ip", "neigh", "show", "10.77.0.1")
    assert not await guest.pings("10.66.0.1")
    assert "lladdr" not in await guest.run("ip", "neigh", "show", "10.66.0.1")


async def test_a_network_that_is_apart_has_no_way_out_of_the_host(host: Host) -> None:
    a, b = await host.boot("a", port(1, "10.77.0.9")), await host.boot("b", theirs(2, "10.77.0.10"))
    await a.lease()
    await b.lease()

    async with world_beyond():
        assert await a.pings("192.0.2.2")
        assert not await b.pings("192.0.2.2")


async def test_routers_of_two_projects_with_one_range_lead_each_to_its_own(host: Host, routers: LinuxRouters) -> None:
    await routers.put(router(("198.51.100.20", "10.77.0.9")))
    await routers.put(their_router())
    rules = ingress("tcp"), ingress("icmp")
    a = await host.boot("a", port(1, "10.77.0.9", *rules, host_address="10.77.0.2"))
    b = await host.boot("b", theirs(2, "10.77.0.9", *rules, host_address="10.77.0.2"))
    for guest in (a, b):
        assert await guest.lease() == ["10.77.0.9", "24", "10.77.0.1", "10.77.0.2", "1450"]

    async with world_beyond() as beyond:
        assert await a.pings("192.0.2.2")
        assert await b.pings("192.0.2.2")
        async with b.serving(8080):
            assert await fetches("198.51.100.30", 8080, *beyond)
            assert not await fetches("198.51.100.20", 8080, *beyond)
            assert await a.reaches("198.51.100.30", 8080)
    await b.run("ip", "route", "replace", "169.254.169.254/32", "via", "10.77.0.1")
    assert await b.ask("/latest/meta-data/hostname") == "host-b"
    assert await a.ask("/latest/meta-data/hostname") == "host-a"


async def test_a_router_leads_out_beside_a_network_of_its_range_that_the_host_leads_out(host: Host, routers: LinuxRouters) -> None:
    await routers.put(their_router())
    a, b = await host.boot("a", port(1, "10.77.0.9")), await host.boot("b", theirs(2, "10.77.0.9", host_address="10.77.0.2"))
    await a.lease()
    await b.lease()

    async with world_beyond():
        assert await a.pings("192.0.2.2")
        assert await b.pings("192.0.2.2")


async def test_a_range_that_the_host_uses_itself_is_free_to_a_network_that_is_apart(host: Host) -> None:
    await run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0")
    await run("ip", "addr", "add", "10.77.0.50/16", "dev", "up0")
    with pytest.raises(Conflict, match="Choose another range"):
        await host.plugs.plug("b", (port(2, "10.77.0.9"),))
    await host.plugs.unplug("b")

    guest = await host.boot("a", theirs(1, "10.77.0.9"))

    assert (await guest.lease())[0] == "10.77.0.9"
    await run("ip", "link", "del", "up0")


async def test_a_restarted_worker_finds_networks_that_are_apart_again(host: Host) -> None:
    a, b = await host.boot("a", theirs(1, "10.77.0.9")), await host.boot("b", theirs(2, "10.77.0.10", ingress("udp", 6000)))
    await a.lease()
    await b.lease()
    pids, rules = await host.dhcp_pids(), await run("nft", "list", "ruleset")
    assert await hears(b, 6000, a, 5000, 10)

    await host.plugs.close()
    assert await a.pings("10.77.0.1")
    await host.restart()

    assert await host.dhcp_pids() == pids != []
    assert await run("nft", "list", "ruleset") == rules
    assert await hears(a, 5000, b, 6000, 10)
    assert await a.ask("/latest/meta-data/hostname") == "host-a"
    assert await b.ask("/latest/meta-data/hostname") == "host-b"


@pytest.mark.parametrize(
    "damage",
    [
        "ip netns delete {namespace}",
        "ip link del {outer}",
        "ip link set {outer} nomaster down",
        "ip -n {namespace} addr flush dev {inner}",
        "ip -n {namespace} link set {inner} down",
        "truncate -s 0 {folder}/zone",
    ],
)
async def test_whatever_a_worker_left_half_done_the_next_makes_whole(host: Host, damage: str) -> None:
    guest = await host.boot("a", theirs(1, "10.77.0.9", ingress("icmp")))
    await guest.lease()
    bridge, rules = guest.spec.bridge, await run("nft", "list", "ruleset")
    [namespace] = own_namespaces(host)
    await host.plugs.close()
    names = {"outer": outer_end(bridge), "inner": host.plugs._end(bridge).interface, "namespace": namespace}
    await run(*damage.format(**names, folder=host.folder / "state/plugging/networks" / bridge).split())

    await host.restart()

    assert await run("nft", "list", "ruleset") == rules
    assert own_namespaces(host) == [namespace]
    assert len(await host.dhcp_pids()) == 1
    assert (await guest.lease())[0] == "10.77.0.9"
    assert await answers(guest, "a")


async def test_the_hosts_end_comes_back_when_somebody_deleted_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova_async.compute.plugging.plugs.WATCH_SECONDS", 0.1)
    await host.restart()
    guest = await host.boot("a", theirs(1, "10.77.0.9"))
    await guest.lease()
    [pid] = await host.dhcp_pids()

    await run("ip", "netns", "delete", own_namespaces(host)[0])

    assert len(await other_than(pid, host)) == 1
    assert await soon(lambda: guest.pings("10.77.0.1"))
    assert (await guest.lease())[0] == "10.77.0.9"
    assert await soon(lambda: answers(guest, "a"))


async def test_nothing_is_left_of_networks_that_are_apart(host: Host) -> None:
    guest = await host.boot("a", theirs(1, "10.77.0.9"))
    await host.plugs.plug("b", (theirs(2, "10.77.0.9", network=THIRD_NETWORK),))
    await guest.lease()
    await guest.end()
    assert len(own_namespaces(host)) == 2
    await host.plugs.unplug("a")
    assert len(own_namespaces(host)) == 1
    await host.plugs.close()
    host.plugs.records.remove("b")

    await host.restart()

    assert own_namespaces(host) == []
    assert await host.traces() == ""


async def test_an_address_passes_to_the_next_server_of_its_network_at_once(host: Host) -> None:
    await host.boot("b", theirs(2, "10.77.0.10"))
    first = await host.boot("a", theirs(1, "10.77.0.9"))
    await first.lease()
    await first.end()
    await host.plugs.unplug("a")

    second = await host.boot("c", theirs(3, "10.77.0.9"))

    assert (await second.lease())[0] == "10.77.0.9"
    assert await second.ask("/latest/meta-data/hostname") == "host-c"


async def test_hosts_keep_their_ends_of_a_network_that_is_apart_to_themselves(host: Host, elsewhere: Elsewhere) -> None:
    """Each has the same address in it."""
    guest = await host.boot("a", port(1, "10.77.0.9", ingress("icmp"), apart=True))
    assert (await guest.lease())[0] == "10.77.0.9"

    assert await soon(lambda: guest.pings("10.77.0.99"))
    assert await elsewhere.pings("10.77.0.9")
    assert not await elsewhere.pings("10.77.0.1")
    assert await guest.pings("10.77.0.1")


async def test_a_network_that_becomes_apart_is_served_from_there(host: Host) -> None:
    """A port that was bound in the moment before may not know yet."""
    a = await host.boot("a", port(1, "10.77.0.9"))
    await a.lease()
    assert index_of(outer_end(a.spec.bridge)) is None

    b = await host.boot("b", port(2, "10.77.0.10", apart=True))

    assert (await b.lease())[0] == "10.77.0.10"
    for name, guest in (("a", a), ("b", b)):
        await guest.run("ip", "neigh", "flush", "all")
        assert await guest.ask("/latest/meta-data/hostname") == f"host-{name}"
    assert "10.77.0.1" not in await run("ip", "addr", "show", a.spec.bridge)


def their_router() -> RouterSpec:
    """Its floating IP 198.51.100.30 leads to 10.77.0.9."""
    inner = joint(3, "10.77.0.1", OTHER_NETWORK, host_address="10.77.0.2", apart=True)
    floating = FloatingIp(id="f", address="198.51.100.30", fixed_address="10.77.0.9")
    return RouterSpec(id=OTHER_ROUTER, interfaces=(inner,), gateway=joint(4, "198.51.100.11", OUTSIDE), floating_ips=(floating,))


def own_namespaces(host: Host) -> list[str]:
    return sorted(path.name for path in NAMESPACES.iterdir() if path.name.startswith(f"nova-async-{host.plugs._mark}-"))


async def answers(guest: Guest, name: str, at: str = "169.254.169.254") -> bool:
    """Whether the metadata service takes the guest for this server."""
    told = await guest.run("curl", "-s", "-m", "5", f"http://{at}/latest/meta-data/hostname", check=False)
    return told == f"host-{name}"
