"""Inside the namespaces of routers: their interfaces, addresses and routes. All functions block: run them in a thread of their own."""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

from pyroute2 import IPRoute

from nova_async.compute.plugging.links import inner_end
from nova_async.compute.plugging.namespaces import inside, opened
from nova_async.errors import Unavailable
from nova_async.model.guests import PortSpec
from nova_async.model.routers import RouterSpec

STATIC = 4  # linux/rtnetlink.h, RTPROT_STATIC: a route that somebody set
METADATA = "169.254.169.254"
METADATA_TABLES = range(1000, 2000)  # a routing table for each interface by which guests may still ask their router for metadata
SETTINGS = {"ipv4/ip_forward": "1", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/all/arp_ignore": "1", "ipv4/conf/all/arp_announce": "2",
            "ipv6/conf/all/forwarding": "1"}  # fmt: skip


def move_in(namespace: str, ports: Iterable[PortSpec]) -> None:
    """Bring the inner ends that are still outside into the namespace."""
    with opened(namespace) as target, IPRoute() as ip:
        for port in ports:
            for index in ip.link_lookup(ifname=inner_end(port)):
                ip.link("set", index=index, net_ns_fd=target)


def set_up(namespace: str, router: RouterSpec) -> None:
    """Bring interfaces, addresses and routes to what the router says, and tell its neighbours where its addresses are."""
    ports = [*router.interfaces, *([router.gateway] if router.gateway else [])]
    with inside(namespace), IPRoute() as ip:
        ip.link("set", index=1, state="up")
        for port in ports:
            wanted = {f"{a.address}/{ipaddress.ip_network(a.cidr).prefixlen}" for a in port.fixed_ips}
            if port is router.gateway:
                wanted |= {f"{f.address}/32" for f in router.floating_ips}
            index = _interface(ip, port)
            fresh = _set_addresses(ip, index, wanted)
            ip.link("set", index=index, state="up")
            _announce(inner_end(port), port.mac, (a for a in fresh if ":" not in a))
        _set_routes(ip, _routes(router))
        _set_metadata_ways(ip, router.interfaces)


def announce(namespace: str, router: RouterSpec) -> None:
    """Tell all neighbours where the router's addresses are, whether they are new or not."""
    with inside(namespace):
        for port in (*router.interfaces, *([router.gateway] if router.gateway else [])):
            floating = [f.address for f in router.floating_ips] if port is router.gateway else []
            _announce(inner_end(port), port.mac, [*(a.address for a in port.fixed_ips if a.version == 4), *floating])


def _interface(ip: Any, port: PortSpec) -> int:
    found = ip.link_lookup(ifname=inner_end(port))
    if not found:
        raise Unavailable("A router's interface is missing on its host.", detail=inner_end(port))
    link = ip.get_links(found[0])[0]
    if link.get_attr("IFLA_ADDRESS") != port.mac or link.get_attr("IFLA_MTU") != port.mtu:
        ip.link("set", index=found[0], address=port.mac, mtu=port.mtu)
    return int(found[0])


def _set_addresses(ip: Any, index: int, wanted: set[str]) -> list[str]:
    """Returns the addresses that were not there before."""
    present = {
        f"{a.get_attr('IFA_ADDRESS')}/{a['prefixlen']}" for a in ip.get_addr(index=index) if a["scope"] == 0  # not link-local
    }  # fmt: skip
    for verb, interfaces in (("del", present - wanted), ("add", wanted - present)):
        for interface in sorted(interfaces):
            address, _, length = interface.partition("/")
            ip.addr(verb, index=index, address=address, prefixlen=int(length))
    return [interface.partition("/")[0] for interface in sorted(wanted - present)]


def _routes(router: RouterSpec) -> set[tuple[str, str]]:
    """Destination (empty: everything) and next hop."""
    outer = {("", router.gateway.gateway)} if router.gateway and router.gateway.gateway else set()
    return outer | {(destination, hop) for destination, hop in router.routes}


def _set_routes(ip: Any, wanted: set[tuple[str, str]]) -> None:
    """Raises ``Unavailable`` for a next hop that is no neighbour."""
    present = {(_destination(r), r.get_attr("RTA_GATEWAY")) for r in ip.get_routes(table=254) if r["proto"] == STATIC}
    for verb, routes in (("del", present - wanted), ("add", wanted - present)):
        for destination, hop in sorted(routes):
            version = socket.AF_INET6 if ":" in hop else socket.AF_INET
            try:
                ip.route(verb, family=version, gateway=hop, proto=STATIC, **({"dst": destination} if destination else {"dst": "default"}))
            except Exception as error:
                raise Unavailable(
                    "A router's route could not be set.", detail=f"{verb} {destination or 'default'} via {hop}: {error}"
                ) from None


def _destination(route: Any) -> str:
    return f"{route.get_attr('RTA_DST')}/{route['dst_len']}" if route.get_attr("RTA_DST") else ""


def _set_metadata_ways(ip: Any, interfaces: Iterable[PortSpec]) -> None:
    """Guests whose lease is older than the router ask it for metadata: from each network to the host's own address in it."""
    for rule in ip.get_rules(family=socket.AF_INET):
        if rule.get_attr("FRA_PRIORITY") in METADATA_TABLES:
            ip.rule("del", family=socket.AF_INET, priority=rule.get_attr("FRA_PRIORITY"))
    served = [port for port in interfaces if port.host_address]
    for table, port in zip(METADATA_TABLES, served, strict=False):
        index = ip.link_lookup(ifname=inner_end(port))[0]
        ip.route("replace", dst=f"{METADATA}/32", gateway=port.host_address, oif=index, table=table)
        ip.rule("add", family=socket.AF_INET, priority=table, iifname=inner_end(port), dst=METADATA, dst_len=32, table=table)


def _announce(interface: str, mac: str, addresses: Iterable[str]) -> None:
    """Gratuitous ARP (RFC 5227, section 3), so that neighbours forget who had the address before."""
    own = bytes.fromhex(mac.replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        for address in addresses:
            ip = socket.inet_aton(address)
            for operation in (b"\0\1", b"\0\2"):  # request and reply: some heed only one of them
                sender.send(b"\xff" * 6 + own + bytes.fromhex("0806000108000604") + operation + own + ip + b"\xff" * 6 + ip)
