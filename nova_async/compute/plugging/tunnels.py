"""VXLAN (RFC 7348) between hosts, without multicast and without learning: who is where, the conductor says.

A network with ports on other hosts has a VXLAN device on its bridge. Each known MAC goes to its host alone; broadcasts go to the
hosts that have ports of the network, and questions for addresses (ARP, ND) that are known are answered here: those of ports that have one
MAC, while others answer for themselves. All functions block: run them in a thread.
"""

import errno
import ipaddress
import socket
from collections.abc import Callable, Iterable
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from nova_async.compute.plugging.links import NTF_MASTER, NUD_NOARP, Links, index_of, set_sysctl
from nova_async.compute.plugging.records import LocalNetwork
from nova_async.model.guests import PortSpec
from nova_async.model.neighbors import VXLAN_PORT, Segment

EVERYBODY = "00:00:00:00:00:00"
NTF_SELF, NUD_PERMANENT = 0x02, 0x80  # linux/neighbour.h
Entries = set[tuple[str, str]]


def tunnel_name(bridge: str) -> str:
    """Of the VXLAN device of a network."""
    return f"nax{bridge.removeprefix('nab')}"


class Tunnels:
    """``address``: where other hosts reach this one."""

    def __init__(self, links: Links, address: str) -> None:
        self._links, self.address = links, address

    def ensure(self, network: LocalNetwork, segment: Segment | None) -> None:
        """Make the network reach exactly these neighbors."""
        bridge, name = index_of(network.bridge), tunnel_name(network.bridge)
        index = index_of(name)
        if segment is None or not segment.neighbors or bridge is None:
            if index is not None:
                self._links.remove(name)
                self._take_home(network.ports)
            if bridge is not None:
                self._set_neighbors(bridge, set())
            return
        if index is not None and self._vni(index) != segment.vni:
            self._links.remove(name)
            index = None
        if index is None:
            index = self._make(name, segment.vni)
        self._ip.link("set", index=index, mtu=network.mtu, master=bridge, state="up")
        open_ends = 0 if segment.guarded else 1
        self._ip.brport("set", index=index, learning=open_ends, unicast_flood=open_ends, neigh_suppress=1)
        self._set_routes(index, segment)
        self._take_home(port for port in network.ports if port[1].mac not in {n.mac for n in segment.neighbors})
        self._set_neighbors(bridge, {(address, n.mac) for n in segment.neighbors if n.guarded for address in n.addresses})

    @property
    def _ip(self) -> Any:
        return self._links.ip

    def _make(self, name: str, vni: int) -> int:
        version = ipaddress.ip_address(self.address).version
        own = {"vxlan_local" if version == 4 else "vxlan_local6": self.address}
        self._ip.link("add", ifname=name, kind="vxlan", vxlan_id=vni, vxlan_port=VXLAN_PORT, vxlan_learning=False, **own)
        set_sysctl(f"ipv6/conf/{name}/disable_ipv6", "1")
        return socket.if_nametoindex(name)

    def _vni(self, index: int) -> int | None:
        [link] = self._ip.get_links(index)
        kind = link.get_attr("IFLA_LINKINFO")
        data = kind.get_attr("IFLA_INFO_DATA") if kind else None
        return data.get_attr("IFLA_VXLAN_ID") if data else None

    def _set_routes(self, index: int, segment: Segment) -> None:
        """Which host each MAC is sent to. A MAC that has moved is forgotten first, since a second entry is no replacement."""
        wanted: Entries = {(n.mac, n.at) for n in segment.neighbors} | {(EVERYBODY, host) for host in segment.hosts}
        present, behind = self._present(index)
        for mac, host in present - wanted:
            _delete(self._ip.fdb, ifindex=index, lladdr=mac, dst=host, flags=NTF_SELF)
        for mac, host in wanted - present:
            self._ip.fdb("append", ifindex=index, lladdr=mac, dst=host, flags=NTF_SELF, state=NUD_PERMANENT)
        macs = {n.mac for n in segment.neighbors}
        for mac in behind - macs:
            _delete(self._ip.fdb, ifindex=index, lladdr=mac, flags=NTF_MASTER)
        for mac in macs - behind:
            self._ip.fdb("replace", ifindex=index, lladdr=mac, state=NUD_NOARP, flags=NTF_MASTER)

    def _present(self, index: int) -> tuple[Entries, set[str]]:
        """Entries of the device (MAC, host), and the MACs that the bridge was told are behind it."""
        own: Entries = set()
        behind = set()
        for entry in self._ip.fdb("dump", ifindex=index):
            if entry["ifindex"] != index:
                continue
            mac, host = entry.get_attr("NDA_LLADDR"), entry.get_attr("NDA_DST")
            if host is not None:
                own.add((mac, host))
            elif entry["state"] & NUD_NOARP:
                behind.add(mac)
        return own, behind

    def _take_home(self, ports: Iterable[tuple[str, PortSpec]]) -> None:
        """Ports that are here: their MACs are behind their own taps."""
        for _, port in ports:
            index = index_of(port.device)
            if index is not None:
                self._links.point(index, port)

    def _set_neighbors(self, bridge: int, wanted: Entries) -> None:
        """Addresses that the bridge answers for in place of their owners, and what the host itself knows of them.

        Those of groups are the kernel's own.
        """
        present = {
            (entry.get_attr("NDA_DST"), entry.get_attr("NDA_LLADDR"))
            for family in (socket.AF_INET, socket.AF_INET6)
            for entry in self._ip.get_neighbours(family=family, ifindex=bridge)
            if entry["state"] & NUD_NOARP and not ipaddress.ip_address(entry.get_attr("NDA_DST")).is_multicast
        }
        for address, mac in present - wanted:
            _delete(self._ip.neigh, dst=address, lladdr=mac, ifindex=bridge, family=_family(address))
        for address, mac in wanted - present:
            self._ip.neigh("replace", dst=address, lladdr=mac, ifindex=bridge, state=NUD_NOARP, family=_family(address))


def _delete(change: Callable[..., Any], **entry: Any) -> None:
    """An entry that is gone already is as good as deleted: the kernel forgets by itself."""
    try:
        change("del", **entry)
    except NetlinkError as error:
        if error.code != errno.ENOENT:
            raise


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
