"""Real bridges, DHCP, firewall and metadata proxy in a network namespace of the test's own."""

import asyncio
import contextlib
import ctypes
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web
from blockbuster import blockbuster_ctx

from nova_async.compute.plugging import LinuxBridgePlugs, dhcp
from nova_async.compute.plugging.records import Plugged
from nova_async.config import load
from nova_async.errors import Conflict, Invalid, NotFound
from nova_async.metadata.documents import InstanceMetadata
from nova_async.metadata.dynamic import VendorData
from nova_async.metadata.service import application
from nova_async.model.guests import FixedIp, PortSpec
from nova_async.world import RealWorld

SECRET = "between-us"
CLONE_NEWNET = 0x40000000
TOOLS = ("dnsmasq", "nft", "ip", "busybox", "curl", "nsenter")
NETWORK = "5e3f1c1e-6d7c-4a08-b50b-6dd1b1f6b222"
OTHER_NETWORK = "6e3f1c1e-6d7c-4a08-b50b-6dd1b1f6b222"
LEASE_SCRIPT = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr flush dev $interface
ip addr add $ip/$mask dev $interface
set -- $staticroutes
while [ $# -ge 2 ]; do ip route replace $1 via $2; shift 2; done
echo "$ip $mask $router $dns $mtu"
"""
OPEN = {"group": "g", "direction": "egress", "ethertype": "IPv4"}


def can_make_namespaces() -> bool:
    return os.geteuid() == 0 and Path("/dev/net/tun").exists() and all(shutil.which(tool) for tool in TOOLS)


pytestmark = pytest.mark.skipif(not can_make_namespaces(), reason="needs root and the tools of a network host")


@pytest.fixture
def namespace() -> Iterator[None]:
    """This thread, and all that it starts, in a network namespace that ends with the test."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    if libc.unshare(CLONE_NEWNET) != 0:
        os.close(home)
        pytest.skip("may not make a network namespace")
    yield
    libc.setns(home, CLONE_NEWNET)
    os.close(home)


def port(number: int, address: str, *rules: dict[str, Any], network: str = NETWORK, **other: Any) -> PortSpec:
    cidr = address.rpartition(".")[0] + ".0/24"
    port_id = f"{number:08x}-9a1c-4f12-8c39-7d8b37d8a111"
    return PortSpec(
        id=port_id,
        network_id=network,
        mac=f"fa:16:3e:00:00:{number:02x}",
        bridge=f"nab{network.replace('-', '')[:11]}",
        device=f"tap{port_id[:11]}",
        mtu=1450,
        fixed_ips=(FixedIp(address=address, subnet_id="s", cidr=cidr),),
        gateway=cidr.replace(".0/24", ".1"),
        project_id="alice",
        security_rules=(OPEN, *rules),
        **other,
    )


def ingress(protocol: str, number: int | None = None, **other: Any) -> dict[str, Any]:
    ports = {"port_range_min": number, "port_range_max": number} if number else {}
    return {"group": "g", "direction": "ingress", "ethertype": "IPv4", "protocol": protocol, **ports, **other}


class Names:
    """A ``MetadataSource`` that knows servers a, b and c."""

    async def get(self, instance_id: str, project_id: str) -> InstanceMetadata:
        if instance_id not in ("a", "b", "c") or project_id != "alice":
            raise NotFound()
        return InstanceMetadata(uuid=instance_id, number=1, project_id=project_id, name=instance_id, hostname=f"host-{instance_id}")

    async def set_password(self, instance_id: str, text: str) -> None:
        raise Conflict()


async def run(*command: str | Path, check: bool = True) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert not check or process.returncode == 0, out.decode()
    return out.decode()


class Guest:
    """A running stand-in for a server behind a port."""

    def __init__(self, process: asyncio.subprocess.Process, spec: PortSpec, folder: Path) -> None:
        self.process, self.spec, self.folder = process, spec, folder

    @classmethod
    async def boot(cls, spec: PortSpec, folder: Path, within: tuple[str, ...] = ()) -> "Guest":
        """``within``: the words that begin it in another host's namespace."""
        process = await asyncio.create_subprocess_exec(
            *(*within, sys.executable, Path(__file__).with_name("guest.py"), spec.device, spec.mac),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"ready\n"
        return cls(process, spec, folder)

    async def run(self, *command: str | Path, check: bool = True) -> str:
        return await run("nsenter", "-t", str(self.process.pid), "-n", *command, check=check)

    async def lease(self, *options: str) -> list[str]:
        """What DHCP gives: address, mask, router, DNS server, MTU."""
        script = self.folder / "lease"
        script.write_text(LEASE_SCRIPT)
        script.chmod(0o755)
        often = ("-t", "5", "-T", "1")
        out = await self.run("busybox", "udhcpc", "-i", "eth0", "-fqn", *often, "-O", "staticroutes", "-O", "mtu", "-s", script, *options)
        return next(line for line in out.splitlines() if line.startswith("10.")).split()

    async def ask(self, path: str, *options: str) -> str:
        return await self.run("curl", "-s", "-m", "5", *options, f"http://169.254.169.254{path}", check=False)

    async def pings(self, address: str) -> bool:
        return " 0% packet loss" in await self.run("busybox", "ping", "-c1", "-W1", address, check=False)

    async def reaches(self, address: str, number: int) -> bool:
        text = await self.run("curl", "-s", "-m", "1", f"http://{address}:{number}/", check=False)
        return "hello" in text

    @contextlib.asynccontextmanager
    async def serving(self, number: int) -> AsyncIterator[None]:
        """A web server in the guest."""
        code = (
            "import http.server as h\n"
            "class A(h.BaseHTTPRequestHandler):\n"
            "  def do_GET(s): s.send_response(200); s.end_headers(); s.wfile.write(b'hello')\n"
            "  def log_message(s,*a): pass\n"
            f"w=h.HTTPServer(('0.0.0.0',{number}),A); print('up',flush=True); w.serve_forever()"
        )
        process = await asyncio.create_subprocess_exec(
            *("nsenter", "-t", str(self.process.pid), "-n", sys.executable, "-c", code), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"up\n"
        yield
        process.kill()
        await process.wait()

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


class Host:
    """The plugs of one host, its metadata service, and the guests it runs."""

    def __init__(self, folder: Path, metadata_url: str) -> None:
        self.folder, self.metadata_url = folder, metadata_url
        self.guests: list[Guest] = []
        self.plugs = LinuxBridgePlugs(RealWorld(), folder / "state", metadata_url, SECRET)

    async def boot(self, server: str, spec: PortSpec) -> Guest:
        await self.plugs.plug(server, (spec,))
        guest = await Guest.boot(spec, self.folder)
        self.guests.append(guest)
        return guest

    async def restart(self) -> None:
        await self.plugs.close()
        self.plugs = LinuxBridgePlugs(RealWorld(), self.folder / "state", self.metadata_url, SECRET)
        await self.plugs.start()

    async def dhcp_pids(self) -> list[str]:
        return (await run("pgrep", "-f", str(self.folder), check=False)).split()

    async def traces(self) -> str:
        """Whatever plugging could leave behind."""
        links = [line.split()[0] for line in (await run("ip", "-br", "link")).splitlines()]
        files = [path for path in (self.folder / "state").rglob("*") if path.is_file()]
        rules = await run("nft", "list", "ruleset")
        return " ".join([*(name for name in links if name != "lo"), *map(str, files), *await self.dhcp_pids(), rules]).strip()


@pytest.fixture
async def host(namespace: None, tmp_path: Path, world: RealWorld) -> AsyncIterator[Host]:
    await run("ip", "link", "set", "lo", "up")
    root = web.Application()
    root.add_subapp("/metadata", application(Names(), load(None, {}), world, SECRET, VendorData(load(None, {}), world)))
    runner = web.AppRunner(root, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    machine = Host(tmp_path, f"http://127.0.0.1:{runner.addresses[0][1]}/metadata")
    await machine.plugs.start()
    yield machine
    for guest in machine.guests:
        await guest.end()
    for server in await machine.plugs.plugged():
        await machine.plugs.unplug(server)
    await machine.plugs.close()
    await runner.cleanup()


async def test_a_guest_gets_its_lease_and_reads_its_own_metadata(host: Host) -> None:
    guest = await host.boot("a", port(1, "10.77.0.9"))

    assert await guest.lease() == ["10.77.0.9", "24", "10.77.0.1", "10.77.0.1", "1450"]
    assert await guest.ask("/latest/meta-data/hostname") == "host-a"
    assert '"uuid":"a"' in await guest.ask("/openstack/latest/meta_data.json")
    assert await guest.pings("10.77.0.1")


async def test_guests_find_each_other_by_the_names_of_their_ports_and_by_no_others(host: Host) -> None:
    """Not by what a guest calls itself when it asks for its address."""
    asker = await host.boot("a", port(1, "10.77.0.9", dns_domain="example.org."))
    await host.plugs.plug("b", (port(2, "10.77.0.10", dns_name="web", dns_domain="example.org."),))

    async def look_up(name: str) -> str:
        return await asker.run("busybox", "nslookup", name, "10.77.0.1", check=False)

    await asker.lease("-x", "hostname:bank")
    assert "Address: 10.77.0.10" in await look_up("web.example.org")
    assert "Address: 10.77.0.9" in await look_up("host-10-77-0-9.example.org")
    assert "web.example.org" in await look_up("10.77.0.10")
    assert "10.77.0.9" not in await look_up("bank.example.org")
    for known in ("web.example.org", "web"):
        told = await asker.run("busybox", "nslookup", "-type=aaaa", known, "10.77.0.1", check=False)
        assert "can't find" not in told, "a port without an address of IPv6 is there all the same"

    taken = {"10.77.0.10": "www.example.com", "10.77.0.11": "www.example.net.", "10.77.0.12": ".".join(["a" * 62] * 4)}
    for server, number, (address, name) in zip("bcd", (2, 3, 4), taken.items(), strict=True):
        await host.plugs.plug(server, (port(number, address, dns_name=name, dns_domain="example.org."),))
    assert await soon(lambda: said(look_up("host-10-77-0-12.example.org"), "Address: 10.77.0.12"))
    assert "Address: 10.77.0.11" in await look_up("host-10-77-0-11.example.org")
    assert "Address: 10.77.0.10" in await look_up("www.example.com.example.org")
    for elsewhere in ("www.example.com", "www.example.net", "www"):
        assert "10.77.0.1" not in (await look_up(elsewhere)).partition(elsewhere)[2], "a port is called as somebody elsewhere is"

    await host.plugs.plug("b", (port(2, "10.77.0.10", dns_name="shop\n10.77.0.9 web", dns_domain="example.org."),))
    assert await soon(lambda: said(look_up("host-10-77-0-10.example.org"), "Address: 10.77.0.10"))
    assert "Address" not in (await look_up("web.example.org")).partition("web")[2]


def test_what_is_known_by_its_full_name_is_asked_for_nowhere_else() -> None:
    assert dhcp.answered("10.77.0.9 web.example.org web\nfd00::9 web.example.org web\n10.77.0.10 com com\n") == "server=/web.example.org/\n"


async def said(answer: Awaitable[str], text: str) -> bool:
    return text in await answer


async def soon(check: Callable[[], Awaitable[bool]]) -> bool:
    """Whether it becomes true in a while."""
    for _ in range(50):
        if await check():
            return True
        await asyncio.sleep(0.1)
    return False


async def test_what_a_guest_claims_to_be_does_not_matter(host: Host) -> None:
    await host.plugs.plug("a", (port(1, "10.77.0.9"),))
    guest = await host.boot("b", port(2, "10.77.0.10"))
    await guest.lease()

    text = await guest.ask("/latest/meta-data/hostname", "-H", "X-Instance-ID: a", "-H", "X-Forwarded-For: 10.77.0.9")

    assert text == "host-b"


async def test_a_guest_cannot_use_addresses_that_are_not_its_own(host: Host) -> None:
    """SEC-078"""
    guest = await host.boot("a", port(1, "10.77.0.9"))
    await guest.lease()
    assert await guest.pings("10.77.0.1")

    await guest.run("ip", "addr", "add", "10.77.0.200/24", "dev", "eth0")
    stolen = await guest.run("busybox", "ping", "-c1", "-W1", "-I", "10.77.0.200", "10.77.0.1", check=False)
    await guest.run("ip", "link", "set", "eth0", "address", "fa:16:3e:99:99:99")

    assert "100% packet loss" in stolen
    assert not await guest.pings("10.77.0.1")


LISTEN = """
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(("eth0", 0)); s.settimeout(0.2)
print("up", flush=True); seen = set(); end = time.monotonic() + 2
while time.monotonic() < end:
    try: frame = s.recv(2048)
    except TimeoutError: continue
    kind = frame[12:14].hex()
    if kind == "0800": seen.add("ip " + socket.inet_ntoa(frame[26:30]) + " " + socket.inet_ntoa(frame[30:34]))
    if kind == "0806": seen.add("arp " + socket.inet_ntoa(frame[28:32]))
print(";".join(sorted(seen)))
"""
CLAIM = """
import socket, sys
mac, ip = bytes.fromhex(sys.argv[1].replace(":", "")), socket.inet_aton(sys.argv[2])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0))
s.send(b"\\xff" * 6 + mac + bytes.fromhex("08060001080006040001") + mac + ip + bytes(6) + ip)
"""


async def test_a_guest_hears_no_conversation_of_others_and_cannot_claim_their_addresses(host: Host) -> None:
    """SEC-078"""
    a, b, c = [await host.boot(name, port(n, f"10.77.0.{n}", ingress("icmp"))) for n, name in ((11, "a"), (12, "b"), (13, "c"))]
    for guest in (a, b, c):
        await guest.lease()
    ear = await asyncio.create_subprocess_exec(
        *("nsenter", "-t", str(c.process.pid), "-n", sys.executable, "-c", LISTEN), stdout=asyncio.subprocess.PIPE
    )
    assert ear.stdout is not None
    await asyncio.wait_for(ear.stdout.readline(), 20)

    assert await a.pings("10.77.0.12")
    assert await a.pings("10.77.0.13")
    await a.run(sys.executable, "-c", CLAIM, a.spec.mac, "10.77.0.11")
    await a.run(sys.executable, "-c", CLAIM, a.spec.mac, "10.77.0.98")
    await a.run(sys.executable, "-c", CLAIM, b.spec.mac, "10.77.0.99")
    heard = (await asyncio.wait_for(ear.stdout.readline(), 20)).decode().strip().split(";")
    await ear.wait()

    assert "ip 10.77.0.11 10.77.0.13" in heard
    assert "arp 10.77.0.11" in heard
    assert not {"arp 10.77.0.98", "arp 10.77.0.99"} & set(heard)
    assert "ip 10.77.0.11 10.77.0.12" not in heard
    assert "ip 10.77.0.12 10.77.0.11" not in heard


async def test_security_groups_let_in_what_their_rules_say_and_change_at_once(host: Host) -> None:
    one, two = port(1, "10.77.0.9"), port(2, "10.77.0.10", ingress("tcp", 8022))
    a, b = await host.boot("a", one), await host.boot("b", two)
    await a.lease()
    await b.lease()

    async with b.serving(8022), b.serving(8023):
        assert await a.reaches("10.77.0.10", 8022)
        assert not await a.reaches("10.77.0.10", 8023)
        assert not await a.pings("10.77.0.10")
        await host.plugs.plug("b", (port(2, "10.77.0.10", ingress("tcp", 8022), ingress("tcp", 8023), ingress("icmp")),))
        assert await a.reaches("10.77.0.10", 8023)
        assert await a.pings("10.77.0.10")
    assert not await b.pings("10.77.0.9")


async def test_members_of_a_group_reach_each_other_where_a_rule_says_so(host: Host) -> None:
    friends = {"group": "g", "direction": "ingress", "ethertype": "IPv4", "remote_group": "g"}
    a, b = await host.boot("a", port(1, "10.77.0.9", friends)), await host.boot("b", port(2, "10.77.0.10", friends))
    await a.lease()
    await b.lease()

    assert await a.pings("10.77.0.10")
    assert await b.pings("10.77.0.9")


async def test_the_host_reaches_guests_and_guests_reach_only_metadata_and_dhcp_there(host: Host) -> None:
    """SEC-078"""
    guest = await host.boot("a", port(1, "10.77.0.9"))
    await guest.lease()

    async with guest.serving(80), ClientSession() as session, session.get("http://10.77.0.9/") as answer:
        assert await answer.text() == "hello"
    listener = await asyncio.start_server(lambda r, w: w.close(), "0.0.0.0", 8000)
    refused = await guest.run("curl", "-sv", "-m", "1", "http://10.77.0.1:8000/", check=False)
    direct = await guest.run("curl", "-sv", "-m", "1", f"http://10.77.0.1:{host.plugs.proxy.ports[guest.spec.bridge]}/", check=False)
    listener.close()
    assert "timed out" in refused
    assert "timed out" in direct


async def test_networks_do_not_reach_each_other_through_the_host(host: Host) -> None:
    everything = ingress("tcp"), ingress("icmp")
    a = await host.boot("a", port(1, "10.77.0.9", *everything))
    b = await host.boot("b", port(2, "10.78.0.9", *everything, network=OTHER_NETWORK))
    await a.lease()
    await b.lease()

    assert not await a.pings("10.78.0.9")
    assert await b.ask("/latest/meta-data/hostname") == "host-b"


async def test_guests_reach_the_world_behind_the_hosts_address(host: Host, tmp_path: Path) -> None:
    outside = await asyncio.create_subprocess_exec("unshare", "-n", "sleep", "60")
    try:
        await asyncio.sleep(0.2)
        await run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", str(outside.pid))
        await run("ip", "addr", "add", "192.0.2.1/24", "dev", "up0")
        await run("ip", "link", "set", "up0", "up")
        enter = ("nsenter", "-t", str(outside.pid), "-n")
        await run(*enter, "ip", "addr", "add", "192.0.2.2/24", "dev", "down0")
        await run(*enter, "ip", "link", "set", "down0", "up")
        guest = await host.boot("a", port(1, "10.77.0.9"))
        await guest.lease()

        assert await guest.pings("192.0.2.2")
    finally:
        outside.kill()
        await outside.wait()
        await run("ip", "link", "del", "up0", check=False)


async def test_nothing_is_left_after_the_last_unplug(host: Host) -> None:
    before = await host.traces()
    guest = await host.boot("a", port(1, "10.77.0.9"))
    await host.plugs.plug("b", (port(2, "10.77.0.10"), port(3, "10.78.0.9", network=OTHER_NETWORK)))
    await guest.lease()
    await guest.end()

    await host.plugs.unplug("a")
    assert await host.plugs.plugged() == ["b"]
    await host.plugs.unplug("b")
    await host.plugs.unplug("b")

    assert await host.traces() == before == ""


async def test_an_address_passes_to_the_next_server_at_once(host: Host) -> None:
    await host.plugs.plug("b", (port(2, "10.77.0.10"),))
    first = await host.boot("a", port(1, "10.77.0.9"))
    await first.lease()
    await first.end()
    await host.plugs.unplug("a")

    second = await host.boot("c", port(3, "10.77.0.9"))

    assert (await second.lease())[0] == "10.77.0.9"
    assert await second.ask("/latest/meta-data/hostname") == "host-c"


async def test_a_restarted_worker_finds_everything_again(host: Host) -> None:
    guest = await host.boot("a", port(1, "10.77.0.9"))
    await guest.lease()
    pids = await host.dhcp_pids()

    await host.plugs.close()
    assert await guest.pings("10.77.0.1")
    await host.restart()

    assert await host.dhcp_pids() == pids != []
    assert await host.plugs.plugged() == ["a"]
    assert await guest.ask("/latest/meta-data/hostname") == "host-a"
    await host.plugs.plug("a", (guest.spec,))
    await host.plugs.unplug("a")
    assert await host.plugs.plugged() == []


async def test_a_dead_dhcp_server_comes_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova_async.compute.plugging.plugs.WATCH_SECONDS", 0.1)
    await host.restart()
    await host.plugs.plug("a", (port(1, "10.77.0.9"),))
    [pid] = await host.dhcp_pids()

    os.kill(int(pid), 9)
    assert len(await other_than(pid, host)) == 1


async def test_flushed_rules_come_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nova_async.compute.plugging.plugs.WATCH_SECONDS", 0.1)
    await host.restart()
    await host.plugs.plug("a", (port(1, "10.77.0.9"),))
    before = await run("nft", "list", "ruleset")

    await run("nft", "flush", "ruleset")
    for _ in range(100):
        if await run("nft", "list", "ruleset") == before:
            break
        await asyncio.sleep(0.05)

    assert await run("nft", "list", "ruleset") == before != ""


async def other_than(pid: str, host: Host) -> list[str]:
    """The DHCP servers once another one runs."""
    for _ in range(100):
        pids = await host.dhcp_pids()
        if pids != [pid] and len(pids) == 1:  # while it starts there are more of it
            break
        await asyncio.sleep(0.05)
    return await host.dhcp_pids()


async def test_many_servers_are_plugged_at_once(host: Host) -> None:
    await asyncio.gather(*(host.plugs.plug(f"s{n}", (port(n, f"10.77.0.{n}"),)) for n in range(2, 34)))

    assert len(await host.plugs.plugged()) == 32
    rules = await run("nft", "list", "ruleset")
    assert all(f"10.77.0.{n} : jump" in rules for n in range(2, 34))
    await asyncio.gather(*(host.plugs.unplug(f"s{n}") for n in range(2, 34)))
    assert await host.traces() == ""


async def test_a_range_that_the_host_uses_itself_is_refused_and_leaves_nothing(host: Host) -> None:
    await run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0")
    await run("ip", "addr", "add", "10.77.0.50/16", "dev", "up0")

    with pytest.raises(Conflict, match="Choose another range"):
        await host.plugs.plug("a", (port(1, "10.77.0.9"),))
    await host.plugs.unplug("a")

    await run("ip", "link", "del", "up0")
    assert await host.traces() == ""


async def test_an_unreadable_record_does_not_keep_the_worker_from_starting(host: Host) -> None:
    """SEC-065"""
    await host.plugs.plug("a", (port(1, "10.77.0.9"),))
    (host.folder / "state/plugging/servers/b.json").write_text("{")

    await host.restart()

    assert await host.plugs.plugged() == ["a"]


UNSOUND: list[dict[str, Any]] = [
    {"security_rules": (ingress("tcp", 22, remote_ip_prefix="everywhere"),)},
    {"security_rules": (ingress("nonsense"),)},
    {"security_rules": ({"direction": "ingress"},)},
    {"mac": "fa:16:3e"},
    {"device": "tap1; add table ip x"},
    {"gateway": "10.77.0.0/24"},
    {"fixed_ips": (FixedIp(address="10.77.0.9", subnet_id="s", cidr="10.77.0.9/24"),)},
    {"routes": (("10.0.0.0/8", "nowhere"),)},
    {"pairs": (("fa:16:3e:00:00:01", "any"),)},
]


async def test_ports_that_make_no_sense_keep_no_others_from_the_network(host: Host) -> None:
    """SEC-065: they are refused, and records of them are set aside at the next start."""
    await host.plugs.plug("a", (port(1, "10.77.0.9"),))
    for number, change in enumerate(UNSOUND):
        wrong = msgspec.structs.replace(port(2 + number, f"10.77.0.{10 + number}"), **change)
        with pytest.raises(Invalid, match=f"Port {wrong.id} cannot be plugged"):
            await host.plugs.plug("wrong", (wrong,))
        record = msgspec.json.encode(Plugged(f"wrong{number}", (wrong,)))
        (host.folder / f"state/plugging/servers/wrong{number}.json").write_bytes(record)

    await host.restart()

    assert await host.plugs.plugged() == ["a"]
    await host.plugs.plug("b", (port(99, "10.77.0.99"),))
    assert await host.plugs.plugged() == ["a", "b"]


async def test_ports_that_are_rows_only_have_no_devices(host: Host) -> None:
    await host.plugs.plug("a", (port(1, "10.77.0.9", plug=False),))

    assert await host.traces() == ""
    assert await host.plugs.plugged() == []


@pytest.mark.parametrize("apart", [False, True])
async def test_the_loop_is_never_blocked(host: Host, apart: bool) -> None:
    with blockbuster_ctx("nova_async.compute.plugging"):
        await host.plugs.plug("a", (port(1, "10.77.0.9", apart=apart),))
        await host.plugs.plug("b", (port(2, "10.77.0.10", apart=apart),))
        await host.restart()
        await host.plugs.unplug("a")
        await host.plugs.unplug("b")

    assert await host.plugs.plugged() == []
