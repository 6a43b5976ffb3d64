"""One nftables ruleset for everything plugged here, replaced as a whole in one transaction.

``bridge`` family, where a frame leaves a guest: frames.py (no conntrack is needed for that, and some kernels have none there).
``inet`` family, which bridged packets pass through br_netfilter: security groups with connection tracking by the guest's address, NAT,
the way to the metadata proxy, and what guests may ask of the host itself. A rule that is taken away ends what it had allowed: only answers
pass for their connection's sake.
The host itself always reaches its own guests.

Networks that are apart have connections of their own (zones), told by their bridge before anything else is known of a packet: the same
addresses in another network are another's, down to the fragments of packets.
"""

import asyncio
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from nova_async.compute.plugging.frames import OWN_MARK, frames
from nova_async.compute.plugging.namespaces import entering
from nova_async.compute.plugging.records import LocalNetwork
from nova_async.compute.plugging.rules import Members, by_version, link_local, members_of, rules_of, set_of, tag, vmap
from nova_async.errors import Unavailable
from nova_async.model.neighbors import VXLAN_PORT, Surroundings

METADATA = ("ip daddr 169.254.169.254", "ip6 daddr fe80::a9fe:a9fe")
ANSWERS = "ct state { established, related } ct direction reply"  # the other direction must be allowed for as long as it is used
ASKED = "icmpv6 type { 130, 131, 132, 133, 135, 136, 143 } return"  # without them there is no IPv6 (RFC 4890)
TOLD = "icmpv6 type { 130, 131, 132, 134, 135, 136 } return"
BEFORE_FRAGMENTS = -450  # are put together, for which the kernel has -400
NFT_SECONDS = 20


def ruleset(
    table: str,
    networks: Iterable[LocalNetwork],
    proxy_ports: Mapping[str, int],
    around: Surroundings = Surroundings(),
    zones: Mapping[str, int] = MappingProxyType({}),
) -> str:
    """The whole ruleset as text for ``nft -f``; without networks it removes our tables.

    ``proxy_ports`` and ``zones`` (of networks that are apart): by bridge.
    """
    present = sorted(networks, key=lambda n: n.bridge)
    lines = [line for family in ("bridge", "inet") for line in (f"add table {family} {table}", f"delete table {family} {table}")]
    if present:
        members = members_of(present, around)
        lines += [table_text("bridge", table, frames(present, members))]
        filtering = _filtering(present, proxy_ports, members, by_version(around.hosts))
        lines += [table_text("inet", table, {**_zones(zones), **filtering})]
    return "\n".join(lines) + "\n"


async def apply(text: str, namespace: str = "") -> None:
    """Load a ruleset, all of it or nothing; ``namespace``: into that one. Raises ``Unavailable``."""
    code, complaint = await _nft("-f", "-", given=text, namespace=namespace)
    if code != 0:
        raise Unavailable("The host's firewall could not be changed.", detail=complaint[:2000])


async def loaded(table: str, family: str = "inet", namespace: str = "") -> bool:
    """Whether our table is still there: a restarted firewall service may have flushed everything."""
    code, _ = await _nft("list", "chain", family, table, "forward", namespace=namespace)
    return code == 0


async def _nft(*words: str, given: str = "", namespace: str = "") -> tuple[int | None, str]:
    """Exit code and complaint."""
    process = await asyncio.create_subprocess_exec(
        *entering(namespace),
        "nft",
        *words,
        stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(NFT_SECONDS):
            _, complaint = await process.communicate(given.encode() or None)
    except BaseException:
        if process.returncode is None:
            process.kill()
        raise
    return process.returncode, complaint.decode(errors="replace")


def table_text(family: str, name: str, chains: Mapping[str, list[str]]) -> str:
    return "\n".join(
        [f"table {family} {name} {{"]
        + [f"  chain {chain} {{\n" + "".join(f"    {line}\n" for line in lines) + "  }" for chain, lines in chains.items()]
        + ["}"]
    )


def _filtering(
    networks: list[LocalNetwork],
    proxy_ports: Mapping[str, int],
    members: Mapping[str, Members],
    hosts: list[tuple[str, list[str]]],
) -> dict[str, list[str]]:
    chains: dict[str, list[str]] = {}
    for network in networks:
        for _, port in network.ports:
            if port.port_security:
                chains[f"egress_{tag(port)}"] = [ASKED, *rules_of(port, "egress", members), "drop"]
                chains[f"ingress_{tag(port)}"] = [TOLD, *rules_of(port, "ingress", members), "drop"]
    for network in networks:
        chains[f"out_{network.bridge}"] = _out_of(network)
        chains[f"into_{network.bridge}"] = _dispatch(network, "daddr", "ingress")
    names = ", ".join(f'"{network.bridge}"' for network in networks)
    redirects = [
        f'iifname "{network.bridge}" {way} tcp dport 80 redirect to :{proxy_ports[network.bridge]}'
        for network in networks
        for way in METADATA
        if network.bridge in proxy_ports
    ]
    return {
        **chains,
        "prerouting": ["type nat hook prerouting priority dstnat; policy accept;", *redirects],
        "postrouting": ["type nat hook postrouting priority srcnat; policy accept;", *_masquerading(networks)],
        "forward": [
            "type filter hook forward priority filter; policy accept;",
            *(f"{family} daddr {set_of(peers)} udp dport {VXLAN_PORT} drop" for family, peers in hosts),
            *([f"meta mark {OWN_MARK:#x} accept"] if any(network.apart for network in networks) else []),
            f"iifname {{ {names} }} {ANSWERS} accept",
            f"oifname {{ {names} }} {ANSWERS} accept",
            f"iifname {{ {names} }} ct state invalid drop",
            vmap("iifname", {f'"{n.bridge}"': f"out_{n.bridge}" for n in networks}),
            vmap("oifname", {f'"{n.bridge}"': f"into_{n.bridge}" for n in networks}),
        ],
        "input": [
            "type filter hook input priority filter; policy accept;",
            *(f"{family} saddr != {set_of(peers)} udp dport {VXLAN_PORT} drop" for family, peers in hosts),
            f"iifname != {{ {names} }} accept",
            "ct state established,related accept",
            "icmpv6 type { echo-request, nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report } accept",
            "udp sport 546 udp dport 547 accept",
            "udp sport 68 udp dport 67 accept",
            "meta l4proto icmp icmp type echo-request accept",
            *_dns(networks),
            *([f"tcp dport {set_of(map(str, sorted(set(proxy_ports.values()))))} ct status dnat accept"] if proxy_ports else []),
            "drop",
        ],
    }


def _zones(zones: Mapping[str, int]) -> dict[str, list[str]]:
    if not zones:
        return {}
    numbers = ", ".join(f'"{bridge}" : {number}' for bridge, number in sorted(zones.items()))
    return {
        "zones": [f"type filter hook prerouting priority {BEFORE_FRAGMENTS}; policy accept;", f"ct zone set iifname map {{ {numbers} }}"]
    }


def _out_of(network: LocalNetwork) -> list[str]:
    """What guests of a network may send, and never to another network by way of the host; beside a router, nowhere by way of the host."""
    routed = [f'ip saddr {subnet.cidr} oifname != "{network.bridge}" drop' for subnet in network.subnets if subnet.routed]
    return [f'oifname "nab*" oifname != "{network.bridge}" drop', *routed, *_dispatch(network, "saddr", "egress")]


def _dispatch(network: LocalNetwork, end: str, chain: str) -> list[str]:
    """To the chain of the port that has the address; where ports may share one, to the first of them."""
    lines = []
    guarded = [port for _, port in network.ports if port.port_security]
    for version, family in ((4, "ip"), (6, "ip6")):
        own = {ip.address: port for port in guarded for ip in port.fixed_ips if ip.version == version}
        if version == 6:
            own |= {link_local(port.mac): port for port in guarded}
        if own:
            lines.append(vmap(f"{family} {end}", {address: f"{chain}_{tag(port)}" for address, port in own.items()}))
    for port in guarded:
        lines += [f"{family} {end} {set_of(a, join=True)} jump {chain}_{tag(port)}" for family, a in by_version(a for _, a in port.pairs)]
    return lines


def _masquerading(networks: list[LocalNetwork]) -> list[str]:
    """What leaves by the host. What stays on a bridge does not, whichever network's addresses it has."""
    lines = [
        f'ip saddr {subnet.cidr} ip daddr != {subnet.cidr} oifname != "{network.bridge}" masquerade'
        for network in networks
        if network.snat and not network.apart
        for subnet in network.subnets
        if not subnet.routed
    ]
    return ['oifname "nab*" accept', *lines]


def _dns(networks: list[LocalNetwork]) -> list[str]:
    """Only where the host is the network's name server."""
    served = ", ".join(f'"{n.bridge}"' for n in networks if n.subnets and not n.apart and not any(port.dns_servers for _, port in n.ports))
    return [f"iifname {{ {served} }} meta l4proto {{ tcp, udp }} th dport 53 accept"] if served else []
