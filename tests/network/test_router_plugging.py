"""Real routers in network namespaces: floating IPs, NAT, and what must not pass."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from nova_async.compute.plugging.links import index_of
from nova_async.compute.plugging.namespaces import NAMESPACES
from nova_async.compute.plugging.routers import LinuxRouters
from nova_async.model.guests import FixedIp, PortSpec
from nova_async.model.routers import FloatingIp, RouterSpec
from tests.network.test_plugging import NETWORK, OTHER_NETWORK, Guest, Host, can_make_namespaces, ingress, port, run

pytestmark = [
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and the tools of a network host"),
    pytest.mark.xdist_group("router-plugging"),  # which look for what is left of routers of one id
]
OUTSIDE, HOST_SIDE = "7e3f1c1e-6d7c-4a08-b50b-6dd1b1f6b222", "198.51.100.1"
ROUTER, OTHER_ROUTER = "aaaaaaaa-1111-4111-8111-111111111111", "bbbbbbbb-1111-4111-8111-111111111111"
EVERYTHING = ingress("tcp"), ingress("icmp")


def joint(number: int, address: str, network: str = NETWORK, **other: Any) -> PortSpec:
    """A router's port."""
    cidr, port_id = address.rpartition(".")[0] + ".0/24", f"{number:08x}-2222-4f12-8c39-7d8b37d8a111"
    fields: dict[str, Any] = {
        "id": port_id,
        "network_id": network,
        "mac": f"fa:16:3e:ff:00:{number:02x}",
        "bridge": f"{'nae' if network == OUTSIDE else 'nab'}{network.replace('-', '')[:11]}",
        "device": f"nar{port_id[:11]}",
        "mtu": 1450,
        "fixed_ips": (FixedIp(address=address, subnet_id="s", cidr=cidr),),
        "gateway": cidr.replace(".0/24", ".1"),
        "dhcp": False,
        "port_security": False,
        "veth": True,
    }
    return PortSpec(**fields | other)


def router(*floating: tuple[str, str], id: str = ROUTER, **other: Any) -> RouterSpec:
    fields: dict[str, Any] = {
        "interfaces": (joint(1, "10.77.0.1", host_address="10.77.0.2"),),
        "gateway": joint(2, "198.51.100.10", OUTSIDE),
        "floating_ips": tuple(FloatingIp(id=str(n), address=a, fixed_address=f) for n, (a, f) in enumerate(floating)),
    }
    return RouterSpec(id=id, **fields | other)


def behind(number: int, address: str, *rules: dict[str, Any], **other: Any) -> PortSpec:
    """A server's port in the router's network."""
    return port(number, address, *rules, host_address="10.77.0.2", **other)


@pytest.fixture
async def routers(host: Host) -> AsyncIterator[LinuxRouters]:
    made = LinuxRouters(host.plugs, host.folder / "state")
    await made.start()
    yield made
    for id in list(made.routers):
        await made.remove(id)
    await made.close()


async def apart() -> tuple[asyncio.subprocess.Process, tuple[str, ...]]:
    """A process in a new network namespace, which ends with it, and how to run there."""
    process = await asyncio.create_subprocess_exec("unshare", "-n", "sleep", "120")
    own = os.readlink("/proc/thread-self/ns/net")
    async with asyncio.timeout(20):
        while os.readlink(f"/proc/{process.pid}/ns/net") == own:
            await asyncio.sleep(0.05)
    return process, ("nsenter", "-t", str(process.pid), "-n")


@contextlib.asynccontextmanager
async def world_beyond() -> AsyncIterator[tuple[str, ...]]:
    """A machine that this host reaches, 192.0.2.2, and that knows no way back but to the host's own address; how to run there."""
    there, enter = await apart()
    await run("ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", str(there.pid))
    await run("ip", "addr", "add", "192.0.2.1/24", "dev", "up0")
    await run("ip", "link", "set", "up0", "up")
    await run(*enter, "ip", "addr", "add", "192.0.2.2/24", "dev", "down0")
    await run(*enter, "ip", "link", "set", "down0", "up")
    await run(*enter, "ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.1")
    try:
        yield enter
    finally:
        there.kill()
        await there.wait()
        await run("ip", "link", "del", "up0", check=False)


async def pings(address: str, *enter: str) -> bool:
    return " 0% packet loss" in await run(*enter, "busybox", "ping", "-c1", "-W1", address, check=False)


async def fetches(address: str, number: int, *enter: str) -> bool:
    return "hello" in await run(*enter, "curl", "-s", "-m", "2", f"http://{address}:{number}/", check=False)


async def booted(host: Host, server: str, spec: PortSpec) -> Guest:
    guest = await host.boot(server, spec)
    await guest.lease()
    return guest


async def test_a_guest_has_the_router_for_its_gateway_and_its_metadata_from_the_host(host: Host, routers: LinuxRouters) -> None:
    await routers.put(router())
    guest = await host.boot("a", behind(1, "10.77.0.9"))

    assert await guest.lease() == ["10.77.0.9", "24", "10.77.0.1", "10.77.0.2", "1450"]
    assert await guest.ask("/latest/meta-data/hostname") == "host-a"
    assert await guest.pings("10.77.0.1")
    assert "fa:16:3e:ff:00:01" in await guest.run("ip", "neigh", "show", "10.77.0.1")
    assert await guest.pings(HOST_SIDE)
    async with world_beyond():
        assert await guest.pings("192.0.2.2")
    await guest.run("ip", "route", "replace", "default", "via", "10.77.0.2")
    async with world_beyond():
        assert not await guest.pings("192.0.2.2")


async def test_a_floating_ip_reaches_its_guest_until_it_is_taken_away(host: Host, routers: LinuxRouters) -> None:
    guest = await booted(host, "a", behind(1, "10.77.0.9", *EVERYTHING))
    floating = ("198.51.100.20", "10.77.0.9")
    async with world_beyond() as beyond, guest.serving(8080):
        await routers.put(router(floating))
        assert await fetches("198.51.100.20", 8080)
        assert await fetches("198.51.100.20", 8080, *beyond)
        assert await pings("198.51.100.20", *beyond)
        assert not await fetches("198.51.100.10", 8080, *beyond)
        stream = await held(guest, beyond)
        await routers.put(router(floating, ("198.51.100.21", "10.77.0.250")))
        assert await stream.echoes()

        await routers.put(router())

        assert not await fetches("198.51.100.20", 8080, *beyond)
        assert not await pings("198.51.100.20")
        assert not await stream.echoes()
        await stream.end()


async def test_what_a_guest_sends_comes_from_its_floating_ip_or_from_the_router(host: Host, routers: LinuxRouters) -> None:
    await routers.put(router(("198.51.100.20", "10.77.0.9")))
    a, b = await booted(host, "a", behind(1, "10.77.0.9")), await booted(host, "b", behind(2, "10.77.0.10"))

    assert await seen_from(a, "198.51.100.98") == "198.51.100.20"
    assert await seen_from(b, "198.51.100.99") == "198.51.100.10"


async def test_guests_of_two_projects_meet_by_floating_ips_alone(host: Host, routers: LinuxRouters) -> None:
    theirs = joint(3, "10.78.0.1", OTHER_NETWORK, host_address="10.78.0.2")
    await routers.put(router(("198.51.100.20", "10.77.0.9")))
    await routers.put(
        router(("198.51.100.30", "10.78.0.9"), id=OTHER_ROUTER, interfaces=(theirs,), gateway=joint(4, "198.51.100.11", OUTSIDE))
    )
    a = await booted(host, "a", behind(1, "10.77.0.9", *EVERYTHING))
    c = await booted(host, "c", behind(4, "10.77.0.11", *EVERYTHING))
    b = await host.boot("b", msgspec.structs.replace(port(2, "10.78.0.9", *EVERYTHING, network=OTHER_NETWORK), host_address="10.78.0.2"))
    await b.lease()

    async with b.serving(8080):
        assert not await a.reaches("10.78.0.9", 8080)
        assert not await a.pings("10.78.0.9")
        assert await a.reaches("198.51.100.30", 8080)
        assert await c.reaches("198.51.100.30", 8080)
        await run("ip", "route", "replace", "10.78.0.0/24", "via", "198.51.100.11", "dev", joint(2, "198.51.100.10", OUTSIDE).bridge)
        assert not await fetches("10.78.0.9", 8080)
    async with a.serving(8081):
        assert await c.reaches("198.51.100.20", 8081)
        assert await b.reaches("198.51.100.20", 8081)


async def test_guests_reach_nothing_of_the_host_by_way_of_their_router(host: Host, routers: LinuxRouters) -> None:
    await routers.put(router())
    guest = await booted(host, "a", behind(1, "10.77.0.9"))
    listener = await asyncio.start_server(lambda r, w: w.close(), "0.0.0.0", 8000)

    refused = await guest.run("curl", "-sv", "-m", "1", f"http://{HOST_SIDE}:8000/", check=False)

    listener.close()
    assert "timed out" in refused


async def test_a_router_between_two_networks_of_one_project(host: Host, routers: LinuxRouters) -> None:
    both = (joint(1, "10.77.0.1", host_address="10.77.0.2"), joint(3, "10.78.0.1", OTHER_NETWORK, host_address="10.78.0.2"))
    await routers.put(router(interfaces=both, gateway=None))
    a = await booted(host, "a", behind(1, "10.77.0.9", *EVERYTHING))
    b = await host.boot("b", port(2, "10.78.0.9", *EVERYTHING, network=OTHER_NETWORK, host_address="10.78.0.2"))
    await b.lease()

    assert await a.pings("10.78.0.9")
    assert await a.pings("10.77.0.1")
    await routers.put(router(interfaces=both, gateway=None, enabled=False))
    assert not await a.pings("10.78.0.9")
    assert not await a.pings("10.77.0.1")


async def test_a_router_that_is_down_answers_at_no_floating_ip(host: Host, routers: LinuxRouters) -> None:
    await routers.put(router(("198.51.100.20", "10.77.0.9")))
    await booted(host, "a", behind(1, "10.77.0.9", *EVERYTHING))
    assert await pings("198.51.100.20")

    await routers.put(router(("198.51.100.20", "10.77.0.9"), enabled=False))

    assert not await pings("198.51.100.20")
    assert not await pings("198.51.100.10")


async def test_a_router_that_comes_later_and_goes_again_is_taken_over_by_leases_that_run(host: Host, routers: LinuxRouters) -> None:
    guest = await booted(host, "a", port(1, "10.77.0.9", *EVERYTHING))
    assert await guest.pings("10.77.0.1")

    await routers.put(router(("198.51.100.20", "10.77.0.9")))

    async with guest.serving(8080):
        assert await fetches("198.51.100.20", 8080)
    assert await guest.ask("/latest/meta-data/hostname") == "host-a"
    await routers.remove(ROUTER)
    await guest.run("ip", "neigh", "flush", "all")
    assert await guest.pings("10.77.0.1")


async def test_a_restarted_worker_keeps_routers_and_connections(host: Host, routers: LinuxRouters) -> None:
    """Whatever moment it died in: half of the work is done, or none."""
    guest = await booted(host, "a", behind(1, "10.77.0.9", *EVERYTHING))
    spec = router(("198.51.100.20", "10.77.0.9"))
    async with world_beyond() as beyond:
        await routers.put(spec)
        stream = await held(guest, beyond)

        again = await restarted(host, routers)

        assert await again.known() == {ROUTER: spec.digest}
        assert await stream.echoes()
        await stream.end()
        await lost(again, spec)
        assert await again.known() == {ROUTER: ""}
        more = await restarted(host, again)
        assert await more.known() == {ROUTER: ""}  # by now it may be another host's
        assert not await pings("198.51.100.20", *beyond)
        await more.put(spec)
        assert await more.known() == {ROUTER: spec.digest}
        assert await pings("198.51.100.20", *beyond)
        await more.remove(ROUTER)
        await more.close()


async def test_nothing_is_left_of_a_router(host: Host, routers: LinuxRouters) -> None:
    await routers.put(router(("198.51.100.20", "10.77.0.9")))
    await routers.put(router(gateway=joint(5, "198.51.100.12", OUTSIDE)))
    await routers.remove(ROUTER)
    await routers.remove(ROUTER)

    assert await host.traces() == ""
    assert [name for name in NAMESPACES.iterdir() if ROUTER in name.name] == []


async def restarted(host: Host, routers: LinuxRouters) -> LinuxRouters:
    await routers.close()
    await host.restart()
    again = LinuxRouters(host.plugs, host.folder / "state")
    await again.start()
    routers.routers = {}
    return again


async def lost(routers: LinuxRouters, spec: RouterSpec) -> None:
    """As after a reboot of the host: the kernel takes the other ends of the veth pairs down a moment later."""
    await run("ip", "netns", "delete", routers._namespace(spec.id))
    while any(index_of(port.device) for port in (*spec.interfaces, spec.gateway) if port is not None):
        await asyncio.sleep(0.01)


async def seen_from(guest: Guest, by: str) -> str:
    """The address that a listener in the external network sees the guest come from. It has the host's bridge to itself for the time."""
    bridge = joint(2, "198.51.100.10", OUTSIDE).bridge
    there, enter = await apart()
    try:
        await run("ip", "link", "add", "ext0", "type", "veth", "peer", "name", "in0", "netns", str(there.pid))
        await run("ip", "link", "set", "ext0", "master", bridge, "up")
        await run(*enter, "ip", "addr", "add", f"{by}/24", "dev", "in0")
        await run(*enter, "ip", "link", "set", "in0", "up")
        tell = "import socket; s=socket.create_server(('0.0.0.0',9000)); print('up',flush=True); c,a=s.accept(); c.send(a[0].encode())"
        server = await asyncio.create_subprocess_exec(*enter, "python3", "-c", tell, stdout=asyncio.subprocess.PIPE)
        assert server.stdout is not None
        await asyncio.wait_for(server.stdout.readline(), 10)
        ask = f"import socket; print(socket.create_connection(('{by}',9000),3).recv(64).decode())"
        return (await guest.run("python3", "-c", ask)).strip()
    finally:
        there.kill()
        await there.wait()
        await run("ip", "link", "del", "ext0", check=False)


class Stream:
    """A TCP connection from outside to a guest, by which bytes come back."""

    def __init__(self, client: asyncio.subprocess.Process, server: asyncio.subprocess.Process) -> None:
        self.client, self.server = client, server

    async def echoes(self) -> bool:
        assert self.client.stdin is not None
        assert self.client.stdout is not None
        self.client.stdin.write(b"x\n")
        try:
            return await asyncio.wait_for(self.client.stdout.readline(), 2) == b"x\n"
        except TimeoutError:
            return False

    async def end(self) -> None:
        for process in (self.client, self.server):
            with contextlib.suppress(ProcessLookupError):  # it ends with the other
                process.kill()
            await process.wait()


async def held(guest: Guest, beyond: tuple[str, ...]) -> Stream:
    """Its address is 198.51.100.20, port 7007."""
    pipe = asyncio.subprocess.PIPE
    code = (
        "import socket; s=socket.create_server(('0.0.0.0',7007)); print('up',flush=True); c,_=s.accept()\nwhile d:=c.recv(64): c.sendall(d)"
    )
    server = await asyncio.create_subprocess_exec("nsenter", "-t", str(guest.process.pid), "-n", "python3", "-c", code, stdout=pipe)
    assert server.stdout is not None
    await asyncio.wait_for(server.stdout.readline(), 10)
    code = (
        "import socket,sys; s=socket.create_connection(('198.51.100.20',7007),5); s.settimeout(None); f=s.makefile('rb')\n"
        "for line in sys.stdin.buffer: s.sendall(line); sys.stdout.buffer.write(f.readline()); sys.stdout.flush()"
    )
    client = await asyncio.create_subprocess_exec(*beyond, "python3", "-c", code, stdin=pipe, stdout=pipe)
    stream = Stream(client, server)
    assert await stream.echoes()
    return stream
