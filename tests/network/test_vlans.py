"""VLANs of the operator's on two hosts, where the kernel makes any; ``make test-kernel`` brings one that does.

Between the hosts is a cable. Here it ends in a bridge of the operator's, there in a card.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from nova_async.compute.plugging import LinuxBridgePlugs
from nova_async.compute.plugging.uplinks import uplink_name
from nova_async.errors import Conflict, Unavailable
from nova_async.model.guests import PortSpec
from nova_async.world import RealWorld
from tests.network.test_plugging import OTHER_NETWORK, SECRET, Guest, Host, can_make_namespaces, ingress, run
from tests.network.test_tunnels import soon
from tests.network.test_uplinks import wired

pytestmark = [
    *(pytest.mark.kernel, pytest.mark.timeout(1200)),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and the tools of a network host"),
]
LAN = {"lan": "br-lan"}
OTHER_BRIDGE = f"nab{OTHER_NETWORK.replace('-', '')[:11]}"
SECONDS = 120
# What passes a device: each frame with the VLAN that the kernel took out of it, or 0.
HEARD = """
import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind((sys.argv[1], 0)); s.setsockopt(263, 8, 1)
print("up", flush=True)
while True:
    frame, told, *_ = s.recvmsg(2048, 256)
    status, _, _, _, _, tag, _ = struct.unpack("IIIHHHH", told[0][2])
    print(tag & 0xfff if status & 0x10 else 0, frame.hex(), flush=True)
"""
PING = b"\x08\x00", 23, 1  # IPv4, and where it says that it is ICMP


class Frame(NamedTuple):
    vlan: int
    octets: bytes

    @property
    def is_ping(self) -> bool:
        kind, place, protocol = PING
        return self.octets[12:14] == kind and self.octets[place] == protocol


class Other:
    """The other host, whose worker is a process of its own in a namespace of its own."""

    def __init__(self, pid: str, folder: Path) -> None:
        self.folder, self.within = folder, ("nsenter", "-t", pid, "-n")
        self.guests: list[Guest] = []

    async def begin(self) -> None:
        """Its worker, also in place of one that was killed."""
        words = (*self.within, sys.executable, "-m", "tests.network.other_host", str(self.folder / "other"), "eth0")
        self.process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        await self._said(b"ready\n")

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def plug(self, server: str, *ports: PortSpec) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(msgspec.json.encode((server, ports)) + b"\n")
        await self._said(b"done\n")

    async def boot(self, server: str, spec: PortSpec) -> Guest:
        await self.plug(server, spec)
        guest = await Guest.boot(spec, self.folder, self.within)
        self.guests.append(guest)
        return guest

    async def devices(self) -> str:
        return await run(*self.within, "ip", "-br", "link")

    async def _said(self, line: bytes) -> None:
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS):
            while (told := await self.process.stdout.readline()) != line:
                assert told, "the worker has died"


@pytest.fixture
async def other(host: Host, tmp_path: Path) -> AsyncIterator[Other]:
    """Beside ``host``, which is told of its physical network here."""
    holder = await asyncio.create_subprocess_exec("unshare", "--net", "sleep", "3000")
    pid = str(holder.pid)
    while os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/thread-self/ns/net"):
        await asyncio.sleep(0.02)
    await run("ip", "link", "add", "under", "type", "veth", "peer", "name", "eth0", "netns", pid)
    await make_bridge()
    for device in ("lo", "eth0"):
        await run("nsenter", "-t", pid, "-n", "ip", "link", "set", device, "up")
    await anew(host)
    if "vlan:lan" not in await host.plugs.wires():
        holder.kill()
        pytest.skip("this kernel makes no VLANs, 802.1Q (make test-kernel)")
    made = Other(pid, tmp_path)
    await made.begin()
    yield made
    for guest in made.guests:
        await guest.end()
    await made.kill()
    holder.kill()
    await holder.wait()


async def make_bridge() -> None:
    """The operator's, with the cable in it."""
    await run("ip", "link", "add", "br-lan", "type", "bridge")
    await run("ip", "link", "set", "under", "master", "br-lan", "up")
    await run("ip", "link", "set", "br-lan", "up")


async def anew(host: Host, devices: dict[str, str] = LAN) -> None:
    """Its worker begins again."""
    await host.plugs.close()
    host.plugs = LinuxBridgePlugs(RealWorld(), host.folder / "state", host.metadata_url, SECRET, physical_networks=devices)
    await host.plugs.start()


def tagged(number: int, address: str, vlan: int = 12, **more: Any) -> PortSpec:
    return wired(number, address, ingress("icmp"), **{"wires": "vlan:lan", "vlan": vlan} | more)


def of_13(number: int, address: str) -> PortSpec:
    return msgspec.structs.replace(
        tagged(number, address, 13), network_id=OTHER_NETWORK, bridge=f"nab{OTHER_NETWORK.replace('-', '')[:11]}"
    )


@contextlib.asynccontextmanager
async def listening(device: str) -> AsyncIterator[list[Frame]]:
    """What passed, once the block has ended."""
    listener = await asyncio.create_subprocess_exec(sys.executable, "-c", HEARD, device, stdout=asyncio.subprocess.PIPE)
    assert listener.stdout is not None
    assert await asyncio.wait_for(listener.stdout.readline(), SECONDS) == b"up\n"
    heard = list[Frame]()
    yield heard
    listener.kill()
    text, _ = await listener.communicate()
    heard += [Frame(int(vlan), bytes.fromhex(frame)) for vlan, frame in (line.split() for line in text.decode().splitlines())]


async def knows(guest: Guest, name: str) -> bool:
    """From the metadata service, which may be slow where processors are emulated."""
    return await guest.ask("/latest/meta-data/hostname") == name


async def test_guests_of_a_vlan_reach_each_other_on_two_hosts_and_nobody_else(host: Host, other: Other) -> None:
    one, two = await host.boot("a", tagged(1, "10.77.0.9")), await other.boot("b", tagged(2, "10.77.0.10"))
    stranger, neighbor = await other.boot("c", of_13(3, "10.77.0.11")), await host.boot("d", of_13(4, "10.77.0.12"))
    for guest in (one, two, stranger, neighbor):
        assert (await guest.lease())[0] == guest.spec.fixed_ips[0].address
    assert await soon(lambda: knows(one, "host-a"))
    async with listening("under") as heard:
        assert await one.pings("10.77.0.10")
        assert await two.pings("10.77.0.9")
        assert await neighbor.pings("10.77.0.11")
        for address in ("10.77.0.11", "10.77.0.12"):
            assert not await one.pings(address)
    assert {frame.vlan for frame in heard if one.spec.mac in (frame.octets[:6].hex(":"), frame.octets[6:12].hex(":"))} == {12}
    assert {frame.vlan for frame in heard if frame.is_ping} == {12, 13}


async def test_a_flat_network_of_the_same_wires_is_another_one(host: Host, other: Other) -> None:
    """Its guests get into no VLAN by tags of their own, nor do a VLAN's into others."""
    flat = msgspec.structs.replace(of_13(4, "10.77.0.12"), wires="flat:lan", vlan=None, port_security=False)
    one, two, free = (
        await other.boot("b", tagged(2, "10.77.0.10")),
        await host.boot("a", tagged(1, "10.77.0.9")),
        await host.boot("d", flat),
    )
    for guest in (one, two, free):
        await guest.lease()
    await run(*other.within, "ip", "addr", "add", "10.77.0.1/24", "dev", "eth0")
    assert await free.pings("10.77.0.1")
    assert not await free.pings("10.77.0.10")
    await free.run("ip", "link", "add", "link", "eth0", "name", "tag", "type", "vlan", "id", "12")
    await free.run("ip", "addr", "flush", "dev", "eth0")
    await free.run("ip", "addr", "add", "10.77.0.12/24", "dev", "tag")
    await free.run("ip", "link", "set", "tag", "up")
    assert await two.pings("10.77.0.10")
    assert not await free.pings("10.77.0.10")
    await host.plugs.plug("a", (msgspec.structs.replace(two.spec, port_security=False),))
    await two.run("ip", "link", "add", "link", "eth0", "name", "tag", "type", "vlan", "id", "13")
    await two.run("ip", "link", "set", "tag", "up")
    await two.run("ip", "addr", "add", "10.78.0.9/24", "dev", "tag")
    async with listening("under") as heard:
        assert not await two.pings("10.78.0.10")
        assert await two.pings("10.77.0.10")
    assert {frame.vlan for frame in heard if frame.octets[6:12].hex(":") == two.spec.mac} == {12}


async def test_a_vlan_goes_with_its_last_port(host: Host, other: Other) -> None:
    for server, number in (("a", 1), ("b", 2)):
        await host.plugs.plug(server, (tagged(number, f"10.77.0.{number + 8}"),))
        await other.plug(server, tagged(number + 2, f"10.77.0.{number + 10}"))
    assert [devices.count("nau") for devices in (await run("ip", "-br", "link"), await other.devices())] == [1, 1]
    await host.plugs.unplug("a")
    await other.plug("a")
    assert ["nau" in devices for devices in (await run("ip", "-br", "link"), await other.devices())] == [True, True]
    await host.plugs.unplug("b")
    await other.plug("b")
    for devices in (await run("ip", "-br", "link"), await other.devices()):
        assert [name in devices for name in ("nau", "nab", "nah")] == [False, False, False]
    assert [name in await run("ip", "-br", "link") for name in ("br-lan", "under")] == [True, True]
    assert "eth0" in await other.devices()


async def test_after_a_crash_there_is_what_there_should_be(host: Host, other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova_async.compute.plugging.plugs.WATCH_SECONDS", 0.1)
    one, two = await host.boot("a", tagged(1, "10.77.0.9")), await other.boot("b", tagged(2, "10.77.0.10"))
    await other.plug("c", of_13(3, "10.77.0.11"))
    for guest in (one, two):
        await guest.lease()
    await other.kill()
    assert await one.pings("10.77.0.10"), "guests need no worker"
    [record] = [path for path in (other.folder / "other").rglob("*") if path.is_file() and b'"c"' in path.read_bytes()]
    record.unlink()
    for line in (await other.devices()).splitlines():
        if line.startswith("nau") and not line.startswith(uplink_name(OTHER_BRIDGE)):
            await run(*other.within, "ip", "link", "del", line.partition("@")[0])
    assert not await one.pings("10.77.0.10")
    await other.begin()
    assert await one.pings("10.77.0.10")
    assert (await other.devices()).count("nau") == 1, "what no record speaks of is gone"

    await run("ip", "link", "del", "br-lan")
    await make_bridge()
    assert await soon(lambda: one.pings("10.77.0.10")), "the operator's bridge was made anew"


async def test_a_vlan_follows_the_device_that_the_operator_names(host: Host, other: Other) -> None:
    one, two = await host.boot("a", tagged(1, "10.77.0.9")), await other.boot("b", tagged(2, "10.77.0.10"))
    for guest in (one, two):
        await guest.lease()
    assert await one.pings("10.77.0.10")
    await run("ip", "link", "set", "under", "nomaster")
    assert not await one.pings("10.77.0.10")
    await anew(host, {"lan": "under"})
    assert await one.pings("10.77.0.10")


async def test_a_vlan_that_the_host_cannot_have_now_is_refused_by_name(host: Host, other: Other) -> None:
    await run("ip", "link", "add", "link", "br-lan", "name", "br-lan.12", "type", "vlan", "id", "12")
    with pytest.raises(Conflict, match="another device for VLAN 12 of br-lan already"):
        await host.plugs.plug("a", (tagged(1, "10.77.0.9"),))
    await run("ip", "link", "del", "br-lan.12")
    await run("ip", "link", "set", "br-lan", "down")
    with pytest.raises(Unavailable, match="device br-lan is down"):
        await host.plugs.plug("a", (tagged(1, "10.77.0.9"),))
    await run("ip", "link", "set", "br-lan", "up")
    await host.plugs.plug("a", (tagged(1, "10.77.0.9"),))
    assert "nau" in await run("ip", "-br", "link")
