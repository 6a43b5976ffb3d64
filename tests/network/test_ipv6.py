"""IPv6 on a real bridge: addresses that guests make or are given, rules, spoofing, and the way to the metadata service."""

import asyncio
import sys
from typing import Any

import msgspec
import pytest

from nova_async.model.guests import FixedIp, PortSpec
from tests.network.test_plugging import CLAIM, OPEN, Guest, Host, can_make_namespaces, ingress, port

pytestmark = pytest.mark.skipif(not can_make_namespaces(), reason="needs root and the tools of a network host")
OPEN6 = OPEN | {"ethertype": "IPv6"}
PING6 = {"group": "g", "direction": "ingress", "ethertype": "IPv6", "protocol": "icmpv6"}


def port6(number: int, *rules: dict[str, Any], mode: str = "slaac", **other: Any) -> PortSpec:
    """With the address that follows from its MAC, beside one of IPv4."""
    made = port(number, f"10.77.0.{number}", OPEN6, *rules, **other)
    address = f"fd77::f816:3eff:fe00:{number:x}" if mode != "dhcpv6-stateful" else f"fd77::{number:x}"
    six = FixedIp(address=address, subnet_id="six", cidr="fd77::/64", version=6, ra_mode=mode, address_mode=mode)
    return msgspec.structs.replace(made, fixed_ips=(*made.fixed_ips, six))


async def has(guest: Guest, address: str) -> bool:
    """Whether the guest comes to have the address by itself."""
    for _ in range(80):
        if f"{address}/" in await guest.run("ip", "-6", "addr", "show", "dev", "eth0", "-tentative"):
            return True
        await asyncio.sleep(0.1)
    return False


async def pings6(guest: Guest, address: str, *options: str) -> bool:
    return " 0% packet loss" in await guest.run("busybox", "ping", "-6", "-c1", "-W1", *options, address, check=False)


@pytest.mark.parametrize("apart", [False, True])
async def test_guests_make_the_address_that_their_port_has_and_reach_each_other_as_rules_say(host: Host, apart: bool) -> None:
    a, b = await host.boot("a", port6(1, apart=apart)), await host.boot("b", port6(2, PING6, apart=apart))
    first, second = (guest.spec.fixed_ips[1].address for guest in (a, b))
    assert await has(a, first)
    assert await has(b, second)

    assert await pings6(a, second)
    assert not await pings6(b, first)
    link_local = "fe80::f816:3eff:fe00:1%eth0"
    assert not await pings6(b, link_local)
    await host.plugs.plug("a", (port6(1, PING6, apart=apart),))
    assert await pings6(b, first)
    assert await pings6(b, link_local)

    mtu = await a.run("cat", "/proc/sys/net/ipv6/conf/eth0/mtu")
    assert mtu.strip() == "1450"
    assert "default" not in await a.run("ip", "-6", "route")


async def test_a_guest_uses_no_other_ipv6_address_and_is_no_router(host: Host) -> None:
    """SEC-078"""
    a, b = await host.boot("a", port6(1, PING6)), await host.boot("b", port6(2, PING6))
    assert await has(a, a.spec.fixed_ips[1].address)
    assert await has(b, b.spec.fixed_ips[1].address)

    await a.run("ip", "addr", "add", "fd77::bad/64", "dev", "eth0", "nodad")

    assert not await pings6(a, b.spec.fixed_ips[1].address, "-I", "fd77::bad")
    assert not await pings6(b, "fd77::bad")
    assert await pings6(b, a.spec.fixed_ips[1].address)


async def test_metadata_is_read_over_ipv6_by_its_own_guest(host: Host) -> None:
    a = await host.boot("a", port6(1))
    b = await host.boot("b", port6(2))
    assert await has(a, a.spec.fixed_ips[1].address)
    assert await has(b, b.spec.fixed_ips[1].address)

    asking = ("curl", "-s", "-m", "5", "http://[fe80::a9fe:a9fe%25eth0]/latest/meta-data/hostname")

    assert await a.run(*asking) == "host-a"
    assert await b.run(*asking) == "host-b"


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("mode", ["dhcpv6-stateless", "dhcpv6-stateful"])
async def test_the_network_says_how_addresses_are_to_be_had(host: Host, mode: str, apart: bool) -> None:
    guest = await host.boot("a", port6(1, mode=mode, apart=apart))

    assert await has(guest, guest.spec.fixed_ips[1].address) is (mode == "dhcpv6-stateless")
    hosts = (host.folder / "state/plugging/networks" / guest.spec.bridge / "hosts").read_text()
    assert ("[fd77::1]" in hosts) is (mode == "dhcpv6-stateful")
    assert len(await host.dhcp_pids()) == 1


async def test_an_allowed_address_pair_is_the_ports_own(host: Host) -> None:
    shared = {"pairs": (("fa:16:3e:00:00:01", "10.77.0.200"), ("00:00:5e:00:01:07", "10.77.0.201"))}
    a = await host.boot("a", port(1, "10.77.0.9", ingress("icmp"), **shared))
    b = await host.boot("b", port(2, "10.77.0.10", ingress("icmp")))
    await a.lease()
    await b.lease()

    for address in ("10.77.0.200", "10.77.0.202"):
        await a.run("ip", "addr", "add", f"{address}/24", "dev", "eth0")
    assert await b.pings("10.77.0.200")
    assert not await b.pings("10.77.0.202")

    for command in (
        "ip link add v0 link eth0 address 00:00:5e:00:01:07 type macvlan mode bridge",
        "ip addr add 10.77.0.201/32 dev v0",
        "ip link set v0 up",
        "ip route add 10.77.0.10/32 dev v0 src 10.77.0.201",
        "sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.v0.rp_filter=0",
    ):
        await a.run(*command.split())
    await a.run(sys.executable, "-c", CLAIM.replace('"eth0"', '"v0"'), "00:00:5e:00:01:07", "10.77.0.201")
    assert await b.pings("10.77.0.201")


STREAM = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3); s.settimeout(1)
print("up", flush=True)
for line in sys.stdin:
    try: s.sendall(b"x"); print(len(s.recv(1)), flush=True)
    except OSError: print(0, flush=True)
"""
ECHO = """
import socket, sys
l = socket.create_server(("0.0.0.0", int(sys.argv[1]))); print("up", flush=True); c, _ = l.accept()
while data := c.recv(10): c.sendall(data)
"""


async def test_a_connection_lives_as_long_as_a_rule_allows_it(host: Host) -> None:
    a, b = await host.boot("a", port(1, "10.77.0.9")), await host.boot("b", port(2, "10.77.0.10", ingress("tcp", 8022)))
    await a.lease()
    await b.lease()
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    server = await asyncio.create_subprocess_exec("nsenter", "-t", str(b.process.pid), "-n", sys.executable, "-c", ECHO, "8022", **pipes)
    assert server.stdout is not None
    assert await server.stdout.readline() == b"up\n"
    client = await asyncio.create_subprocess_exec(
        *("nsenter", "-t", str(a.process.pid), "-n", sys.executable, "-c", STREAM, "10.77.0.10", "8022"), **pipes
    )

    async def echoed() -> bytes:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"\n")
        return await asyncio.wait_for(client.stdout.readline(), 20)

    assert client.stdout is not None
    assert await client.stdout.readline() == b"up\n"
    assert await echoed() == b"1\n"
    await host.plugs.plug("b", (port(2, "10.77.0.10", ingress("icmp"), ingress("tcp", 8022)),))
    assert await echoed() == b"1\n"
    await host.plugs.plug("b", (port(2, "10.77.0.10", ingress("icmp")),))
    assert await echoed() == b"0\n"

    for process in (server, client):
        process.kill()
        await process.wait()


async def test_a_broadcast_reaches_those_whose_rules_let_it_in(host: Host) -> None:
    a = await host.boot("a", port(1, "10.77.0.9"))
    b = await host.boot("b", port(2, "10.77.0.10"))
    c = await host.boot("c", port(3, "10.77.0.11", ingress("udp", 5353)))
    for guest in (a, b, c):
        await guest.lease()
    listen = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 5353)); s.settimeout(2)\n"
        "print('up', flush=True)\n"
        "try: print(len(s.recv(9)))\nexcept TimeoutError: print('nothing')"
    )
    ears = [
        await asyncio.create_subprocess_exec(
            *("nsenter", "-t", str(guest.process.pid), "-n", sys.executable, "-c", listen), stdout=asyncio.subprocess.PIPE
        )
        for guest in (b, c)
    ]
    for ear in ears:
        assert ear.stdout is not None
        assert await asyncio.wait_for(ear.stdout.readline(), 20) == b"up\n"

    say = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\n"
    await a.run(sys.executable, "-c", say + "s.sendto(b'all', ('10.77.0.255', 5353))")

    heard = [(await ear.communicate())[0].strip() for ear in ears]
    assert heard == [b"nothing", b"3"]
