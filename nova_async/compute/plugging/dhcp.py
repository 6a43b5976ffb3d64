"""One dnsmasq per network, as a daemon of its own: it outlives us and is found again by its pid file.

It leases addresses, and knows the names of the network's ports on all hosts.
"""

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from nova_async import log
from nova_async.compute.plugging.namespaces import entering, inside
from nova_async.compute.plugging.records import End, LocalNetwork, Subnet
from nova_async.errors import Unavailable
from nova_async.model.guests import PortSpec
from nova_async.model.names import LONGEST, assigned
from nova_async.world import World

START_TRIES = 15
START_SECONDS = 10
STOP_SECONDS = 3
LEASE = "86400"
EVERYWHERE = "0.0.0.0/0"
RA_SECONDS = 60
RANGE_OF_MODE = {"slaac": "ra-only", "dhcpv6-stateless": "ra-stateless", "dhcpv6-stateful": "static"}  # in dnsmasq's words
logger = log.get("dhcp")


class Dnsmasq:
    """The server of one network, at the host's own end of it; its files are in ``folder``."""

    def __init__(self, end: End, folder: Path, world: World) -> None:
        self.end, self.folder, self.world = end, folder, world

    async def ensure(self, network: LocalNetwork, elsewhere: Mapping[str, str]) -> None:
        """Run with what the network has now: changed lists are read again, a changed configuration restarts it.

        ``elsewhere``: names of ports on other hosts by address (``Surroundings.names``).
        """
        if not network.subnets6 and (not network.subnets or not any(port.dhcp for _, port in network.ports)):
            await self.stop()
            return
        changed = await asyncio.to_thread(self._write, network, elsewhere)
        pid = await asyncio.to_thread(self.pid)
        if pid is not None and not changed["dnsmasq.conf"]:
            if changed["hosts"] or changed["names"]:
                _signal(pid, signal.SIGHUP)
            return
        await self.stop()
        await self._start()

    def pid(self) -> int | None:
        """Of the running server; a number that now belongs to another program is not ours. Blocks."""
        try:
            pid = int((self.folder / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if str(self.folder / "dnsmasq.conf").encode() in command else None

    async def stop(self) -> None:
        """Ask it to end, then insist."""
        for order in (signal.SIGTERM, signal.SIGKILL):
            pid = await asyncio.to_thread(self.pid)
            if pid is None:
                return
            _signal(pid, order)
            for _ in range(int(STOP_SECONDS / 0.02)):
                if await asyncio.to_thread(self.pid) is None:
                    return
                await self.world.sleep(0.02)

    def release(self, port: PortSpec, subnets: tuple[Subnet, ...]) -> None:
        """Say in the guest's name that it needs its addresses no more, so that they can be leased to the next. Blocks."""
        for ip in port.fixed_ips:
            server = next((s.host for s in subnets if s.cidr == ip.cidr), None)
            if server is not None and self.pid() is not None:
                with contextlib.suppress(OSError):  # the host's end is gone, and with it whoever would hear
                    _send_release(self.end, server, ip.address, port.mac)

    async def _start(self) -> None:
        """Tried again for a while: an address may still be another's, or not yet ours, for a moment after links change."""
        for left in reversed(range(START_TRIES)):
            complaint = await self._started()
            if complaint is None:
                logger.info("dhcp.started", bridge=self.folder.name)
                return
            if left == 0:
                raise Unavailable("The network's DHCP server could not be started.", detail=complaint)
            logger.warning("dhcp.not_started", bridge=self.folder.name, tries_left=left, complaint=complaint[-300:])
            await self.world.sleep(0.2)

    async def _started(self) -> str | None:
        """None, or why not."""
        await asyncio.to_thread((self.folder / "pid").unlink, missing_ok=True)
        process = await asyncio.create_subprocess_exec(
            *entering(self.end.namespace),
            "dnsmasq",
            f"--conf-file={self.folder / 'dnsmasq.conf'}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                complaint = await process.stderr.read(2000) if process.stderr else b""
                code = await process.wait()
        except BaseException:
            if process.returncode is None:
                process.kill()
            raise
        return complaint.decode(errors="replace") if code != 0 else None

    def _write(self, network: LocalNetwork, elsewhere: Mapping[str, str]) -> dict[str, bool]:
        """Write the files that differ; says which. Blocks."""
        self.folder.mkdir(parents=True, exist_ok=True)
        texts = {"dnsmasq.conf": self._configuration(network), "hosts": hosts(network), "names": names(network, elsewhere)}
        texts["answered"] = answered(texts["names"])
        changed = {}
        for name, text in texts.items():
            path = self.folder / name
            changed[name] = not path.exists() or path.read_text() != text
            if changed[name]:
                path.with_suffix(".new").write_text(text)
                path.with_suffix(".new").rename(path)
        return changed

    def _configuration(self, network: LocalNetwork) -> str:
        servers = name_servers(network)
        lines = [
            f"interface={self.end.interface}",
            "except-interface=lo",
            "bind-interfaces",
            f"pid-file={self.folder / 'pid'}",
            f"dhcp-leasefile={self.folder / 'leases'}",
            f"dhcp-hostsfile={self.folder / 'hosts'}",
            "dhcp-authoritative",
            "dhcp-ignore-names",  # what guests call themselves: names are what ports have
            "no-hosts",
            f"addn-hosts={self.folder / 'names'}",
            f"servers-file={self.folder / 'answered'}",
            "domain-needed",
            *([f"domain={domain}"] if (domain := network.dns_domain.strip(".")) else []),
            "no-ping",
            "user=root",
            "log-facility=/dev/null",
            f"port={0 if servers else 53}",
            f"dhcp-option-force=26,{network.mtu}",
        ]
        for number, subnet in enumerate(network.subnets):
            tag, cidr, routes = f"s{number}", ipaddress.IPv4Network(subnet.cidr), _routes(network, subnet)
            static, out = ",".join(f"{to},{via}" for to, via in routes), dict(routes).get(EVERYWHERE)
            lines += [
                f"dhcp-range=set:{tag},{cidr.network_address},static,{cidr.netmask},{LEASE}",
                f"dhcp-option=tag:{tag},option:router{f',{out}' if out else ''}",  # without a value: none, or it would be the host
                f"dhcp-option=tag:{tag},121,{static}",
                f"dhcp-option=tag:{tag},249,{static}",
                f"dhcp-option=tag:{tag},option:dns-server,{','.join(servers) or subnet.host}",
            ]
        return "\n".join([*lines, *_ipv6(network, self.end.interface)]) + "\n"


def _ipv6(network: LocalNetwork, interface: str) -> list[str]:
    """Advertisements and DHCPv6. The host is no IPv6 router: its advertisements have no lifetime as one (RFC 4861, 4.2)."""
    lines = []
    if any(subnet.ra_mode for subnet in network.subnets6):
        lines += ["enable-ra", f"ra-param={interface},mtu:{network.mtu},{RA_SECONDS},0"]
    for number, subnet in enumerate(network.subnets6):
        tag, cidr = f"six{number}", ipaddress.IPv6Network(subnet.cidr)
        mode = RANGE_OF_MODE[subnet.ra_mode or subnet.address_mode or "slaac"]
        lines.append(f"dhcp-range=set:{tag},{cidr.network_address},{mode},{cidr.prefixlen},{LEASE}")
        servers = name_servers(network, 6)
        if servers:
            lines.append(f"dhcp-option=tag:{tag},option6:dns-server,{','.join(f'[{server}]' for server in servers)}")
    return lines


def hosts(network: LocalNetwork) -> str:
    """A line per address: who gets it."""
    ranges = {subnet.cidr for subnet in network.subnets}
    leased = [(port, ip) for _, port in network.ports if port.dhcp for ip in port.fixed_ips if ip.dhcp and ip.cidr in ranges]
    lines = {f"{port.mac},{ip.address}" for port, ip in leased}
    stateful = {subnet.cidr for subnet in network.subnets6 if subnet.address_mode == "dhcpv6-stateful"}
    lines |= {f"{port.mac},[{ip.address}]" for _, port in network.ports for ip in port.fixed_ips if ip.cidr in stateful}
    return "".join(f"{line}\n" for line in sorted(lines))


def names(network: LocalNetwork, elsewhere: Mapping[str, str]) -> str:
    """A line per address (hosts(5)): its full name, and the host name alone unless it has dots, as names of somebody elsewhere have.

    Names that come from outside are checked here once more. In a domain so long that DNS cannot tell a name in it, there is none.
    """
    own = {ip.address: port.dns_name for _, port in network.ports for ip in port.fixed_ips}
    lines = []
    for address, name in sorted({**elsewhere, **own}.items()):
        host, full = assigned(address, name, network.dns_domain)
        if len(full) <= LONGEST:
            lines.append(f"{address} {full.rstrip('.')}{'' if '.' in host else f' {host}'}\n")
    return "".join(lines)


def answered(listed: str) -> str:
    """Whom to ask for each full name that ``names`` listed (``server=`` of dnsmasq): nobody else, even for addresses that it has not.

    A name without a dot would be a whole domain: of those nobody else is asked in any case (``domain-needed``).
    """
    known = sorted({line.split()[1] for line in listed.splitlines()})
    return "".join(f"server=/{name}/\n" for name in known if "." in name)


def name_servers(network: LocalNetwork, version: int = 4) -> list[str]:
    """Name servers of the network by IP version; none of IPv4 means that the host answers for it."""
    servers = dict.fromkeys(server for _, port in network.ports for server in port.dns_servers)
    return [server for server in servers if ipaddress.ip_address(server).version == version]


def _routes(network: LocalNetwork, subnet: Subnet) -> list[tuple[str, str]]:
    """To the metadata service, the user's own, and to everywhere else; without a gateway only the user's own lead there."""
    own = {route: None for _, port in network.ports if _is_first(subnet, port) for route in port.routes if ":" not in route[0]}
    return [("169.254.169.254/32", subnet.host), *own, *([(EVERYWHERE, subnet.gateway)] if subnet.gateway else [])]


def _is_first(subnet: Subnet, port: PortSpec) -> bool:
    """Whether the port's routes are this subnet's."""
    if subnet.gateway or port.gateway:
        return port.gateway == subnet.gateway
    return next((ip.cidr for ip in port.fixed_ips if ip.version == 4), "") == subnet.cidr


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _send_release(end: End, server: str, client: str, mac: str) -> None:
    """A DHCPRELEASE (RFC 2131, section 4.4.6) from this host."""
    message = struct.pack(
        "!BBBBIHH4s4s4s4s16s64s128sI",
        *(1, 1, 6, 0, 0x6E6F7661, 0, 0),
        socket.inet_aton(client),
        *(bytes(4), bytes(4), bytes(4)),
        bytes.fromhex(mac.replace(":", "")),
        *(b"", b"", 0x63825363),
    )
    message += bytes([53, 1, 7, 54, 4]) + socket.inet_aton(server) + bytes([255])
    with inside(end.namespace), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, end.interface.encode())
        sender.sendto(message, (server, 67))
