"""Tunnels to other hosts: one host is real, the other is played by the kernel in a namespace of its own."""

import asyncio
import contextlib
import errno
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from nova_async.compute.plugging import LinuxBridgePlugs, tunnels
from nova_async.errors import Unavailable
from nova_async.model.guests import PortSpec
from nova_async.model.neighbors import Neighbor, Segment, Surroundings
from nova_async.world import RealWorld
from tests.network.test_plugging import NETWORK, SECRET, Guest, Host, can_make_namespaces, ingress, port, run, soon

TUNNEL = f"nax{NETWORK.replace('-', '')[:11]}"
pytestmark = pytest.mark.skipif(not can_make_namespaces(), reason="needs root and the tools of a network host")


class Elsewhere:
    """Another host with one guest: its end of the tunnels, in a namespace of its own, and what the conductor says of it."""

    def __init__(self, vni: int, spec: PortSpec) -> None:
        self.vni, self.spec = vni, spec
        self.told = Surroundings({NETWORK: Segment(vni, (Neighbor(spec.mac, "10.99.0.2", (spec.fixed_ips[0].address,)),))})
        self.asked: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    async def ask(self, networks: tuple[str, ...], groups: tuple[str, ...]) -> Surroundings:
        self.asked.append((networks, groups))
        return self.told if NETWORK in networks else Surroundings()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        holder = await asyncio.create_subprocess_exec("unshare", "--net", "sleep", "300")
        self.pid = str(holder.pid)
        try:
            while os.readlink(f"/proc/{self.pid}/ns/net") == os.readlink("/proc/thread-self/ns/net"):
                await asyncio.sleep(0.02)
            await run("ip", "link", "add", "under", "type", "veth", "peer", "name", "eth0", "netns", self.pid)
            await run("ip", "addr", "add", "10.99.0.1/24", "dev", "under")
            await run("ip", "link", "set", "under", "up")
            address = f"{self.spec.fixed_ips[0].address}/24"
            for command in (
                "link set lo up",
                "addr add 10.99.0.2/24 dev eth0",
                "link set eth0 up",
                f"link add vx address {self.spec.mac} type vxlan id {self.vni} local 10.99.0.2 remote 10.99.0.1 dstport 4789",
                f"addr add {address} dev vx",
                "link set vx mtu 1450 up",
            ):
                await self.run("ip", *command.split())
            yield
        finally:
            holder.kill()
            await holder.wait()

    async def run(self, *command: str, check: bool = True) -> str:
        return await run("nsenter", "-t", self.pid, "-n", *command, check=check)

    async def pings(self, address: str) -> bool:
        return " 0% packet loss" in await self.run("busybox", "ping", "-c1", "-W1", address, check=False)


@pytest.fixture
async def elsewhere(host: Host) -> AsyncIterator[Elsewhere]:
    other = Elsewhere(7777, port(9, "10.77.0.99", ingress("icmp")))
    async with other.running():
        await host.plugs.close()
        host.plugs = LinuxBridgePlugs(RealWorld(), host.folder / "state", host.metadata_url, SECRET, address="10.99.0.1", ask=other.ask)
        await host.plugs.start()
        yield other


async def test_a_guest_reaches_its_network_on_other_hosts_and_its_rules_hold_there(host: Host, elsewhere: Elsewhere) -> None:
    guest = await host.boot("a", port(1, "10.77.0.9", ingress("tcp", 8022)))
    await guest.lease()

    assert await soon(lambda: guest.pings("10.77.0.99"))
    assert not await elsewhere.pings("10.77.0.9")
    await host.plugs.plug("a", (port(1, "10.77.0.9", ingress("icmp")),))
    assert await elsewhere.pings("10.77.0.9")
    assert ((NETWORK,), ()) in elsewhere.asked


async def test_a_guest_elsewhere_that_nothing_guards_is_reached_under_whatever_mac_it_takes(host: Host, elsewhere: Elsewhere) -> None:
    guest = await host.boot("a", port(1, "10.77.0.9", ingress("icmp")))
    await guest.lease()
    assert await soon(lambda: guest.pings("10.77.0.99"))

    await elsewhere.run("ip", "link", "set", "vx", "address", "00:00:00:00:00:01")
    assert await soon(lambda: isnt(guest.pings("10.77.0.99")))
    bare = Neighbor(elsewhere.spec.mac, "10.99.0.2", ("10.77.0.99",), guarded=False)
    elsewhere.told = Surroundings({NETWORK: Segment(7777, (bare,))})
    host.plugs.look_around()

    async def finds() -> bool:
        await guest.run("ip", "neigh", "flush", "all")
        return await guest.pings("10.77.0.99")

    assert await soon(finds)


async def test_a_host_goes_on_following_its_surroundings_after_the_kernel_refused(
    host: Host, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = await host.boot("a", port(1, "10.77.0.9", ingress("icmp")))
    await guest.lease()
    assert await soon(lambda: guest.pings("10.77.0.99"))
    ensure, refusals = host.plugs._tunnels.ensure, iter((errno.EBUSY, errno.ENODEV))

    def refused_at_first(*words: Any) -> None:
        if code := next(refusals, None):
            raise NetlinkError(code)
        ensure(*words)

    monkeypatch.setattr(host.plugs._tunnels, "ensure", refused_at_first)
    told, elsewhere.told = elsewhere.told, Surroundings()
    host.plugs.look_around()
    assert await soon(lambda: isnt(guest.pings("10.77.0.99")))
    elsewhere.told = told
    host.plugs.look_around()
    assert await soon(lambda: guest.pings("10.77.0.99"))
    assert next(refusals, None) is None


def test_an_entry_that_the_kernel_forgot_meanwhile_is_as_good_as_deleted() -> None:
    def refusing(code: int) -> Callable[..., None]:
        def change(*_: object, **__: object) -> None:
            raise NetlinkError(code)

        return change

    tunnels._delete(refusing(errno.ENOENT), dst="10.0.0.1")
    with pytest.raises(NetlinkError):
        tunnels._delete(refusing(errno.EPERM), dst="10.0.0.1")


async def test_members_of_a_group_on_other_hosts_are_let_in_as_they_come_and_go(host: Host, elsewhere: Elsewhere) -> None:
    guest = await host.boot("a", port(1, "10.77.0.9", {"group": "g", "direction": "ingress", "ethertype": "IPv4", "remote_group": "h"}))
    await guest.lease()
    assert await soon(lambda: guest.pings("10.77.0.99"))
    assert not await elsewhere.pings("10.77.0.9")

    elsewhere.told = Surroundings(elsewhere.told.segments, {"h": ("10.77.0.99",)})
    host.plugs.look_around()
    assert await soon(lambda: elsewhere.pings("10.77.0.9"))
    elsewhere.told = Surroundings(elsewhere.told.segments)
    host.plugs.look_around()

    assert await soon(lambda: isnt(elsewhere.pings("10.77.0.9")))
    assert ((NETWORK,), ("h",)) in elsewhere.asked


async def isnt(answer: Awaitable[bool]) -> bool:
    return not await answer


async def test_hosts_answer_dhcp_and_as_gateway_to_their_own_guests_alone(host: Host, elsewhere: Elsewhere) -> None:
    guest = await host.boot("a", port(1, "10.77.0.9", ingress("icmp")))
    await guest.lease()
    assert await soon(lambda: elsewhere.pings("10.77.0.9"))

    lease = await elsewhere.run("busybox", "udhcpc", "-i", "vx", "-f", "-q", "-n", "-t", "2", "-T", "1", "-s", "/bin/true", check=False)

    assert "no lease" in lease
    assert not await elsewhere.pings("10.77.0.1")


async def test_a_stranger_beside_the_hosts_sends_nothing_into_their_networks(host: Host, elsewhere: Elsewhere) -> None:
    guest = await host.boot("a", port(1, "10.77.0.9", ingress("icmp")))
    await guest.lease()
    assert await soon(lambda: elsewhere.pings("10.77.0.9"))

    for command in ("addr add 10.99.0.66/24 dev eth0", "link del vx"):
        await elsewhere.run("ip", *command.split())
    mac = elsewhere.spec.mac
    await elsewhere.run(*f"ip link add vx address {mac} type vxlan id 7777 local 10.99.0.66 remote 10.99.0.1 dstport 4789".split())
    await elsewhere.run(*["ip", "addr", "add", "10.77.0.99/24", "dev", "vx"])
    await elsewhere.run(*["ip", "link", "set", "vx", "up"])
    before = await received()
    await elsewhere.pings("10.77.0.9")

    assert await received() == before


async def received() -> int:
    """Frames that have come out of the tunnel."""
    [link] = json.loads(await run("ip", "-j", "-s", "link", "show", TUNNEL))
    return int(link["stats64"]["rx"]["packets"])


async def test_a_guest_finds_one_on_another_host_by_its_name(host: Host, elsewhere: Elsewhere) -> None:
    guest = await host.boot("a", port(1, "10.77.0.9", dns_domain="example.org."))
    await guest.lease()
    elsewhere.told = Surroundings(names={NETWORK: {"10.77.0.99": "web"}})
    host.plugs.look_around()

    async def knows(name: str, address: str) -> bool:
        return f"Address: {address}" in await guest.run("busybox", "nslookup", name, "10.77.0.1", check=False)

    assert await soon(lambda: knows("web.example.org", "10.77.0.99"))
    elsewhere.told = Surroundings()
    host.plugs.look_around()
    assert await soon(lambda: isnt(knows("web.example.org", "10.77.0.99")))


async def test_a_guest_that_comes_from_another_host_is_reached_there_until_it_is_here(host: Host, elsewhere: Elsewhere) -> None:
    await host.plugs.plug("b", (elsewhere.spec,))
    guest = await host.boot("a", port(1, "10.77.0.9", ingress("icmp")))
    await guest.lease()
    assert await soon(lambda: guest.pings("10.77.0.99"))

    elsewhere.told = Surroundings()
    host.plugs.look_around()
    arrived = await Guest.boot(elsewhere.spec, host.folder)
    host.guests.append(arrived)
    await arrived.lease()

    assert await soon(lambda: arrived.pings("10.77.0.9"))
    assert "nax" not in await run("ip", "-br", "link")


async def test_a_restarted_worker_keeps_its_tunnels_while_no_conductor_answers(host: Host, elsewhere: Elsewhere) -> None:
    guest = await host.boot("a", port(1, "10.77.0.9", ingress("icmp")))
    await guest.lease()
    assert await soon(lambda: guest.pings("10.77.0.99"))

    async def silence(networks: tuple[str, ...], groups: tuple[str, ...]) -> Surroundings:
        raise Unavailable("Nobody answers.")

    await host.plugs.close()
    await run("ip", "link", "del", TUNNEL)
    host.plugs = LinuxBridgePlugs(RealWorld(), host.folder / "state", host.metadata_url, SECRET, address="10.99.0.1", ask=silence)
    await host.plugs.start()

    assert await guest.pings("10.77.0.99")
