"""The host's own end of a network that is apart: in a namespace of its own, for its addresses may be those of other networks, too.

A veth pair joins it to the network's bridge, which has no addresses itself. In it are what the host serves guests by: its addresses in
the network and that of the metadata service. Nothing there forwards. All functions block: run them in a thread of their own.
"""

import hashlib
import socket
from pathlib import Path

from pyroute2 import IPRoute

from nova_async.compute.plugging import namespaces
from nova_async.compute.plugging.links import (
    HAS_IPV6,
    METADATA,
    METADATA6,
    NTF_MASTER,
    NTF_STICKY,
    NUD_NOARP,
    Links,
    bridge_mac,
    index_of,
    set_addresses,
    set_sysctl,
)
from nova_async.compute.plugging.records import End, LocalNetwork

OUTER_ENDS = "nah*"
SETTINGS = {"ipv4/ip_forward": "0", "ipv4/conf/all/arp_announce": "2", "ipv6/conf/default/accept_ra": "0",
            "ipv6/conf/default/accept_dad": "0"}  # fmt: skip
ZONES = 2**16 - 1  # of connection tracking; 0 is everybody's


def end_of(network: LocalNetwork, mark: str) -> End:
    """``mark``: by which hosts that share a machine tell their namespaces apart."""
    return End(f"nai{_part(network.bridge)}", namespace_name(network.bridge, mark)) if network.apart else End(network.bridge)


def namespace_name(bridge: str, mark: str) -> str:
    return f"nova-async-{mark}-net-{bridge}"


def outer_end(bridge: str) -> str:
    """The end of the pair that is on the bridge."""
    return f"nah{_part(bridge)}"


def stands(end: End) -> bool:
    """Whether it is there; what is inside a namespace that somebody deleted is not."""
    try:
        with namespaces.inside(end.namespace):
            return index_of(end.interface) is not None
    except OSError:
        return False


def ensure(links: Links, end: End, network: LocalNetwork) -> bool:
    """Make it what it should be; says whether it is a new one, where whatever served the network has to begin anew.

    Raises ``Unavailable``.
    """
    fresh = not stands(end)
    namespaces.make(end.namespace, SETTINGS)
    mac = host_mac(network.network_id)
    if fresh:
        _join(links, end, network.bridge, mac)
    outer = socket.if_nametoindex(outer_end(network.bridge))
    links.ip.link("set", index=outer, mtu=network.mtu, master=socket.if_nametoindex(network.bridge), state="up")
    links.ip.brport("set", index=outer, learning=0, unicast_flood=0)
    links.ip.fdb("replace", ifindex=outer, lladdr=mac, state=NUD_NOARP, flags=NTF_MASTER | NTF_STICKY)  # other hosts have it, too
    with namespaces.inside(end.namespace), IPRoute() as ip:
        index = socket.if_nametoindex(end.interface)
        ip.link("set", index=socket.if_nametoindex("lo"), state="up")
        ip.link("set", index=index, mtu=network.mtu, state="up")
        set_addresses(ip, index, {METADATA, *(subnet.interface for subnet in network.subnets)}, socket.AF_INET)
        if HAS_IPV6:
            set_addresses(ip, index, {METADATA6, *(subnet.interface for subnet in network.subnets6)}, socket.AF_INET6)
    return fresh


def zone(folder: Path) -> int:
    """The number of a network's connections among the host's; no other network has it.

    It is kept in the network's folder, which is named after its bridge, since what is established goes by it.
    """
    known = {file.parent: file.read_text() for file in folder.parent.glob("*/zone")}
    if known.get(folder):
        return int(known[folder])
    first, taken = int.from_bytes(hashlib.sha256(folder.name.encode()).digest()[:2]), set(known.values())
    number = next(n for n in (1 + (first + step) % ZONES for step in range(ZONES)) if str(n) not in taken)
    (folder / "zone").write_text(str(number))
    return number


def _join(links: Links, end: End, bridge: str, mac: str) -> None:
    """A new pair, one end of it in the namespace."""
    outer = outer_end(bridge)
    links.remove(outer)
    links.ip.link("add", ifname=outer, kind="veth", peer={"ifname": end.interface, "address": mac})
    set_sysctl(f"ipv6/conf/{outer}/disable_ipv6", "1")
    with namespaces.opened(end.namespace) as target:
        links.ip.link("set", index=socket.if_nametoindex(end.interface), net_ns_fd=target)


def host_mac(network_id: str) -> str:
    """The same on every host, like that of the bridge, and another one."""
    return f"06{bridge_mac(network_id)[2:]}"


def _part(bridge: str) -> str:
    return bridge.removeprefix("nab")
