"""Bridges and taps in the network namespace we run in. All functions block: run them in a thread."""

import contextlib
import fcntl
import hashlib
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from nova_async.compute.plugging.records import LocalNetwork
from nova_async.errors import Conflict, Unavailable
from nova_async.model.guests import PortSpec

# linux/if_tun.h
TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
NUD_NOARP, NTF_MASTER = 0x40, 0x04  # linux/neighbour.h: an entry that does not age, of the bridge
NTF_STICKY = 0x40  # one that stays where it is, whoever else sends from that MAC
SYSCTL = Path("/proc/sys/net")
HAS_IPV6 = (SYSCTL / "ipv6").exists()
METADATA, METADATA6 = "169.254.169.254/32", "fe80::a9fe:a9fe/64"


def prepare_host() -> None:
    """Let the kernel forward, and let bridged packets pass the rules of the inet family."""
    set_sysctl("ipv4/ip_forward", "1")
    for family in ("iptables", "ip6tables"):
        set_sysctl(f"bridge/bridge-nf-call-{family}", "1")


class Links:
    """One netlink socket, opened by the first call and used by one thread only."""

    def __init__(self) -> None:
        self._socket: Any = None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def ensure_network(self, network: LocalNetwork, ports: Iterable[PortSpec]) -> None:
        """Make the bridge with its addresses (none where the network is apart), and the taps of these ports.

        Raises ``Conflict`` where the host uses the range itself.
        """
        index = index_of(network.bridge)
        if index is None:
            index = self._make_bridge(network)
        self.ip.link("set", index=index, mtu=network.mtu, state="up")
        v4, v6 = {subnet.interface for subnet in network.subnets}, {METADATA6, *(subnet.interface for subnet in network.subnets6)}
        set_addresses(self.ip, index, set() if network.apart else v4, socket.AF_INET)
        if HAS_IPV6:
            set_addresses(self.ip, index, set() if network.apart else v6, socket.AF_INET6)
        for port in ports:
            self._ensure_tap(port, index)

    def ensure_external_bridge(self, port: PortSpec, addresses: set[str]) -> None:
        """Make the bridge of an external network whose gateway is this host. Raises ``Conflict`` where the host uses the range itself."""
        index = index_of(port.bridge)
        if index is None:
            self._refuse_foreign(ip.cidr for ip in port.fixed_ips if ip.version == 4)
            index = self._add_bridge(port.bridge, port.network_id)
        self.ip.link("set", index=index, mtu=port.mtu, state="up")
        set_addresses(self.ip, index, addresses, socket.AF_INET)

    def ensure_external(self, bridge: str, port: PortSpec) -> None:
        """Join the pair of a router's gateway to the bridge. Raises ``Unavailable`` where there is no such bridge."""
        index = index_of(bridge)
        if index is None:
            raise Unavailable(f"The host has no bridge {bridge} to the outside.")
        self._ensure_tap(port, index)

    def remove_tap(self, port: PortSpec) -> None:
        self._remove(index_of(port.device))

    def remove(self, name: str) -> None:
        self._remove(index_of(name))

    def ensure_wired(self, ports: Iterable[PortSpec]) -> None:
        """Put the taps of these ports on their bridges, plain ones where there are none yet; who wires them does the rest."""
        for port in ports:
            index = index_of(port.bridge)
            if index is None:
                self.ip.link("add", ifname=port.bridge, kind="bridge", br_stp_state=0, br_forward_delay=0)
                index = socket.if_nametoindex(port.bridge)
                set_sysctl(f"ipv6/conf/{port.bridge}/disable_ipv6", "1")
                self.ip.link("set", index=index, state="up")
            tap = index_of(port.device)
            if tap is None:
                _make_tap(port.device)
                tap = socket.if_nametoindex(port.device)
                set_sysctl(f"ipv6/conf/{port.device}/disable_ipv6", "1")
            self.ip.link("set", index=tap, mtu=port.mtu, master=index, state="up")

    def remove_empty_bridge(self, name: str) -> None:
        """Unless something is on it."""
        index = index_of(name)
        if index is not None and not any(link.get_attr("IFLA_MASTER") == index for link in self.ip.get_links()):
            self._remove(index)

    def remove_bridge(self, name: str) -> None:
        """With every tap that is still on it."""
        index = index_of(name)
        if index is None:
            return
        for link in self.ip.get_links():
            if link.get_attr("IFLA_MASTER") == index:
                self._remove(link["index"])
        self._remove(index)

    @property
    def ip(self) -> Any:
        if self._socket is None:
            self._socket = IPRoute()
        return self._socket

    def _make_bridge(self, network: LocalNetwork) -> int:
        if network.apart:
            return self._add_bridge(network.bridge, network.network_id)
        self._refuse_foreign(subnet.cidr for subnet in network.subnets)
        index = self._add_bridge(network.bridge, network.network_id)
        for name, value in (("accept_ra", "0"), ("accept_dad", "0"), ("disable_ipv6", "0")):
            set_sysctl(f"ipv6/conf/{network.bridge}/{name}", value)
        return index

    def _add_bridge(self, name: str, network_id: str) -> int:
        self.ip.link("add", ifname=name, kind="bridge", br_stp_state=0, br_forward_delay=0, br_mcast_snooping=0)
        index = socket.if_nametoindex(name)
        self.ip.link("set", index=index, address=bridge_mac(network_id))
        set_sysctl(f"ipv6/conf/{name}/disable_ipv6", "1")
        return index

    def _ensure_tap(self, port: PortSpec, bridge: int) -> None:
        """Put the tap on its bridge, up or down; only the port's own MAC is known behind it, so nobody else's frames are flooded to it."""
        index = index_of(port.device)
        if index is None:
            if port.veth:
                self.ip.link("add", ifname=port.device, kind="veth", peer={"ifname": inner_end(port)})
            else:
                _make_tap(port.device)
            index = socket.if_nametoindex(port.device)
            set_sysctl(f"ipv6/conf/{port.device}/disable_ipv6", "1")
        self.ip.link("set", index=index, mtu=port.mtu, master=bridge, state="up" if port.up else "down")
        if port.port_security:
            moving = any(mac != port.mac for mac, _ in port.pairs)  # such a MAC may be behind another port in a moment
            self.ip.brport("set", index=index, learning=int(moving), unicast_flood=0)
        else:
            self.ip.brport("set", index=index, learning=1, unicast_flood=1)
        self.point(index, port)

    def point(self, tap: int, port: PortSpec) -> None:
        """Tell the bridge that the port's MAC is behind its tap."""
        if port.port_security:
            self.ip.fdb("replace", ifindex=tap, lladdr=port.mac, state=NUD_NOARP, flags=NTF_MASTER)

    def _refuse_foreign(self, ranges: Iterable[str]) -> None:
        """A guest network must not swallow addresses that the host reaches by other means."""
        wanted = [ipaddress.ip_network(cidr) for cidr in ranges]
        for address in self.ip.get_addr(family=socket.AF_INET):
            used = ipaddress.ip_network(f"{address.get_attr('IFA_ADDRESS')}/{address['prefixlen']}", strict=False)
            for cidr in wanted:
                if cidr.overlaps(used):
                    raise Conflict(f"The range {cidr} of the network is in use on the host by {used}. Choose another range.")

    def _remove(self, index: int | None) -> None:
        if index is not None:
            with contextlib.suppress(NetlinkError):  # somebody else was quicker
                self.ip.link("del", index=index)


def set_addresses(ip: Any, index: int, wanted: set[str], family: int) -> None:
    """Of an interface, by this netlink socket; link-local ones of the kernel's own making stay."""
    addresses = (f"{a.get_attr('IFA_ADDRESS')}/{a['prefixlen']}" for a in ip.get_addr(index=index, family=family))
    present = {address for address in addresses if not address.startswith("fe80:") or address == METADATA6}
    for verb, interfaces in (("del", present - wanted), ("add", wanted - present)):  # with a first address go the others of its range
        for interface in interfaces:
            address, _, length = interface.partition("/")
            ip.addr(verb, index=index, address=address, prefixlen=int(length))


def inner_end(port: PortSpec) -> str:
    """The end of a veth pair that is inside a router."""
    return f"nri{port.device[3:]}"


def _make_tap(name: str) -> None:
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
        fcntl.ioctl(descriptor, TUNSETPERSIST, 1)
    finally:
        os.close(descriptor)


def bridge_mac(network_id: str) -> str:
    """The same on every host and after every restart, whatever is plugged."""
    digest = hashlib.sha256(network_id.encode()).hexdigest()
    return ":".join(["02", *(digest[n : n + 2] for n in range(0, 10, 2))])


def index_of(name: str) -> int | None:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


def set_sysctl(name: str, value: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        path = SYSCTL / name
        if path.read_text().strip() != value:
            path.write_text(value)
