"""Provider networks: guests on a bridge of the operator's. What lies beyond it is a namespace of its own, with the gateway in it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from nova_async.compute.plugging import LinuxBridgePlugs
from nova_async.compute.plugging.apart import host_mac
from nova_async.errors import Conflict, Unavailable
from nova_async.model.guests import PortSpec
from nova_async.world import RealWorld
from tests.network.test_plugging import NETWORK, SECRET, Host, can_make_namespaces, ingress, port, run
from tests.network.test_tunnels import soon

pytestmark = pytest.mark.skipif(not can_make_namespaces(), reason="needs root and the tools of a network host")
LAN = {"lan": "br-lan", "plain": "under", "away": "br-away"}
HEARD = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(("eth0", 0))
print("up", flush=True)
while True: print(s.recv(2048).hex(), flush=True)
"""

SAY = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0)); s.send(bytes.fromhex(sys.argv[1]).ljust(60, b" "))
"""
TAGGED, UNTAGGED = bytes.fromhex("8100000c88b5") + b"with a tag", bytes.fromhex("88b5") + b"without a tag"


class Beyond:
    """What is on the wires: the gateway 10.77.0.1, which hears every frame."""

    def __init__(self, pid: str) -> None:
        self.pid = pid
        self.frames: list[bytes] = []

    async def run(self, *command: str, check: bool = True) -> str:
        return await run("nsenter", "-t", self.pid, "-n", *command, check=check)

    async def pings(self, address: str) -> bool:
        return " 0% packet loss" in await self.run("busybox", "ping", "-c1", "-W1", address, check=False)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        listener = await asyncio.create_subprocess_exec(
            *("nsenter", "-t", self.pid, "-n", "python3", "-c", HEARD), stdout=asyncio.subprocess.PIPE
        )
        assert listener.stdout is not None
        assert await asyncio.wait_for(listener.stdout.readline(), 20) == b"up\n"
        yield
        listener.kill()
        text, _ = await listener.communicate()
        self.frames += [bytes.fromhex(line.decode()) for line in text.split()]


@pytest.fixture
async def beyond(host: Host) -> AsyncIterator[Beyond]:
    holder = await asyncio.create_subprocess_exec("unshare", "--net", "sleep", "300")
    pid = str(holder.pid)
    while os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/thread-self/ns/net"):
        await asyncio.sleep(0.02)
    await run("ip", "link", "add", "br-lan", "type", "bridge")
    await run("ip", "link", "set", "br-lan", "up")
    await run("ip", "link", "add", "under", "type", "veth", "peer", "name", "eth0", "netns", pid)
    await run("ip", "link", "set", "under", "master", "br-lan", "up")
    for command in ("link set lo up", "addr add 10.77.0.1/24 dev eth0", "link set eth0 up"):
        await run("nsenter", "-t", pid, "-n", "ip", *command.split())
    await host.plugs.close()
    host.plugs = LinuxBridgePlugs(RealWorld(), host.folder / "state", host.metadata_url, SECRET, physical_networks=LAN)
    await host.plugs.start()
    yield Beyond(pid)
    holder.kill()
    await holder.wait()


def wired(number: int, address: str, *rules: dict[str, Any], **other: Any) -> PortSpec:
    fields = {"wires": "flat:lan", "apart": True, "host_address": "10.77.0.2"} | other
    return msgspec.structs.replace(port(number, address, *rules), **fields)


async def test_a_guest_is_on_the_wires_and_served_by_its_host(host: Host, beyond: Beyond) -> None:
    guest = await host.boot("a", wired(1, "10.77.0.9", ingress("tcp", 8022)))
    assert (await guest.lease())[:3] == ["10.77.0.9", "24", "10.77.0.1"]
    assert await guest.ask("/latest/meta-data/hostname") == "host-a"
    assert await guest.pings("10.77.0.1")
    assert not await beyond.pings("10.77.0.9")
    await host.plugs.plug("a", (wired(1, "10.77.0.9", ingress("icmp")),))
    assert await beyond.pings("10.77.0.9")


async def test_the_operators_bridge_keeps_its_mac(host: Host, beyond: Beyond) -> None:
    async def mac() -> str:
        return (await run("ip", "-o", "link", "show", "br-lan")).partition("link/ether ")[2].split()[0]

    before = await mac()
    await host.plugs.plug("a", (wired(1, "10.77.0.9"),))
    assert await mac() == before
    await host.plugs.unplug("a")
    assert await mac() == before


async def test_what_hosts_answer_by_is_not_on_the_wires(host: Host, beyond: Beyond) -> None:
    guest = await host.boot("a", wired(1, "10.77.0.9"))
    async with beyond.listening():
        await guest.lease()
        assert await guest.ask("/latest/meta-data/hostname") == "host-a"
        assert await guest.pings("10.77.0.2")
        assert await guest.pings("10.77.0.1")
        assert not await beyond.pings("10.77.0.2")
    of_guest = [frame for frame in beyond.frames if frame[6:12].hex(":") == guest.spec.mac]
    strangers = {frame[6:12].hex(":") for frame in beyond.frames if frame[6:8] in (b"\x02\x4d", b"\x06\x4d")}
    assert of_guest, "what the guest says to the gateway is there"
    assert not [f for f in of_guest if f[12:14] == b"\x08\x00" and f[23] == 17 and f[36:38] == (67).to_bytes(2)], "its DHCP is not"
    assert not [f for f in beyond.frames if f[12:14] == b"\x08\x06" and f[38:42] == bytes((10, 77, 0, 2)) and f in of_guest]
    assert not strangers


async def test_a_guest_pretends_to_be_nobody_else_on_the_wires(host: Host, beyond: Beyond) -> None:
    guest = await host.boot("a", wired(1, "10.77.0.9"))
    await guest.lease()
    await guest.run("ip", "addr", "add", "10.77.0.200/24", "dev", "eth0")
    async with beyond.listening():
        assert await guest.pings("10.77.0.1")
        await guest.run("busybox", "ping", "-c1", "-W1", "-I", "10.77.0.200", "10.77.0.1", check=False)
    senders = {frame[26:30] for frame in beyond.frames if frame[12:14] == b"\x08\x00" and frame[6:12].hex(":") == guest.spec.mac}
    assert senders == {bytes((10, 77, 0, 9))}


async def test_without_dhcp_the_wires_serve_it_themselves(host: Host, beyond: Beyond) -> None:
    guest = await host.boot("a", wired(1, "10.77.0.9", host_address=None, dhcp=False))
    async with beyond.listening():
        await guest.run("busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "1", "-T", "1", check=False)
    assert [f for f in beyond.frames if f[12:14] == b"\x08\x00" and f[23] == 17 and f[36:38] == (67).to_bytes(2)]


async def test_the_way_out_comes_back_and_goes_with_the_last_port(host: Host, beyond: Beyond, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova_async.compute.plugging.plugs.WATCH_SECONDS", 0.1)
    await host.plugs.close()
    host.plugs = LinuxBridgePlugs(RealWorld(), host.folder / "state", host.metadata_url, SECRET, physical_networks=LAN)
    await host.plugs.start()
    guest = await host.boot("a", wired(1, "10.77.0.9"))
    await guest.lease()
    [uplink] = [line.partition("@")[0] for line in (await run("ip", "-br", "link")).splitlines() if line.startswith("nau")]
    await run("ip", "link", "del", uplink)
    async with asyncio.timeout(20):
        while not await guest.pings("10.77.0.1"):
            await asyncio.sleep(0.1)
    await host.plugs.unplug("a")
    left = await run("ip", "-br", "link")
    assert [name in left for name in ("br-lan", "under", "nau", "nao", "nab")] == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("wires", "kind", "told"),
    [
        ("flat:plain", Conflict, "under is no bridge"),
        ("flat:wan", Conflict, "no physical network wan"),
        ("flat:away", Unavailable, "no device br-away"),
    ],
)
async def test_what_a_host_has_not_is_refused_by_name(host: Host, beyond: Beyond, wires: str, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        await host.plugs.plug("a", (wired(1, "10.77.0.9", wires=wires),))
    await host.plugs.unplug("a")
    assert "nab" not in await run("ip", "-br", "link")


async def test_vlans_are_had_where_the_kernel_makes_them(host: Host, beyond: Beyond) -> None:
    """Where it does, test_vlans.py has more to say."""
    known = await host.plugs.wires()
    assert {"flat:lan"} == {wires for wires in known if wires.startswith("flat:")}
    if "vlan:lan" in known:
        pytest.skip("this kernel makes VLANs, and has nothing to refuse")
    with pytest.raises(Conflict, match=r"kernel makes no VLANs \(802.1Q\)"):
        await host.plugs.plug("a", (wired(1, "10.77.0.9", wires="vlan:lan", vlan=12),))


@pytest.mark.parametrize("way", ["out", "in"])
async def test_what_has_a_tag_is_no_part_of_a_flat_network(host: Host, beyond: Beyond, way: str) -> None:
    """Nobody gets into the VLANs of the same wires, or hears of them, not even from a port that nothing guards."""
    guest = await host.boot("a", wired(1, "10.77.0.9", port_security=False))
    await guest.lease()
    assert await guest.pings("10.77.0.1")
    inside = Beyond(str(guest.process.pid))
    sender, hearer = (inside, beyond) if way == "out" else (beyond, inside)
    async with hearer.listening():
        for text in (TAGGED, UNTAGGED):
            await sender.run("python3", "-c", SAY, (b"\xff" * 6 + bytes.fromhex("fa163e000077") + text).hex())
        await sender.pings("10.77.0.1" if way == "out" else "10.77.0.9")
    heard = b" ".join(hearer.frames)
    assert (b"without a tag" in heard, b"with a tag" in heard) == (True, False)


async def test_the_way_out_is_made_anew_with_the_operators_bridge(host: Host, beyond: Beyond, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova_async.compute.plugging.plugs.WATCH_SECONDS", 0.1)
    guest = await host.boot("a", wired(1, "10.77.0.9"))
    await guest.lease()
    assert await guest.pings("10.77.0.1")
    await run("ip", "link", "del", "br-lan")
    await run("ip", "link", "add", "br-lan", "type", "bridge")
    await run("ip", "link", "set", "under", "master", "br-lan")
    await run("ip", "link", "set", "br-lan", "up")
    assert await soon(lambda: guest.pings("10.77.0.1"))


async def test_a_guest_keeps_its_own_host_whoever_sends_from_the_same_mac(host: Host, beyond: Beyond) -> None:
    """The ends of all hosts have one; what another lets out before its rules are there must not lead guests to it."""
    guest = await host.boot("a", wired(1, "10.77.0.9"))
    await guest.lease()
    mac = bytes.fromhex(host_mac(NETWORK).replace(":", ""))
    await beyond.run("python3", "-c", SAY, (b"\xff" * 6 + mac + UNTAGGED).hex())
    assert await guest.pings("10.77.0.1")
    assert await guest.ask("/latest/meta-data/hostname") == "host-a"
