"""One nftables ruleset for everything plugged here, replaced as a whole in one transaction.

``bridge`` family, where a frame leaves a guest: its MAC and its IP addresses must be the port's own (no conntrack is
needed for that, and some kernels have none there). ``inet`` family, which bridged packets pass through br_netfilter: security groups with
connection tracking by the guest's address, NAT, the way to the metadata proxy, and what guests may ask of the host itself.
The host itself always reaches its own guests.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from nova_async.compute.plugging.records import LocalNetwork
from nova_async.errors import Unavailable
from nova_async.model.guests import PortSpec
from nova_async.model.neighbors import VXLAN_PORT, Surroundings
from nova_async.model.protocols import ICMP, PROTOCOLS, WITH_PORTS

METADATA = "169.254.169.254"
TUNNELS = "nax*"  # VXLAN devices of networks (tunnels.py)
NFT_SECONDS = 20


def ruleset(table: str, networks: Iterable[LocalNetwork], proxy_ports: Mapping[str, int], around: Surroundings = Surroundings()) -> str:
    """The whole ruleset as text for ``nft -f``; without networks it removes our tables. ``proxy_ports``: by bridge."""
    present = sorted(networks, key=lambda n: n.bridge)
    lines = [line for family in ("bridge", "inet") for line in (f"add table {family} {table}", f"delete table {family} {table}")]
    if present:
        lines += [_table("bridge", table, _frames(present)), _table("inet", table, _filtering(present, proxy_ports, around))]
    return "\n".join(lines) + "\n"


async def apply(text: str) -> None:
    """Load a ruleset, all of it or nothing. Raises ``Unavailable``."""
    code, complaint = await _nft("-f", "-", given=text)
    if code != 0:
        raise Unavailable("The host's firewall could not be changed.", detail=complaint[:2000])


async def loaded(table: str) -> bool:
    """Whether our table is still there: a restarted firewall service may have flushed everything."""
    code, _ = await _nft("list", "chain", "inet", table, "forward")
    return code == 0


async def _nft(*words: str, given: str = "") -> tuple[int | None, str]:
    """Exit code and complaint."""
    process = await asyncio.create_subprocess_exec(
        "nft", *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(NFT_SECONDS):
            _, complaint = await process.communicate(given.encode())
    except BaseException:
        if process.returncode is None:
            process.kill()
        raise
    return process.returncode, complaint.decode(errors="replace")


def _table(family: str, name: str, chains: Mapping[str, list[str]]) -> str:
    return "\n".join(
        [f"table {family} {name} {{"]
        + [f"  chain {chain} {{\n" + "".join(f"    {line}\n" for line in lines) + "  }" for chain, lines in chains.items()]
        + ["}"]
    )


def _frames(networks: list[LocalNetwork]) -> dict[str, list[str]]:
    return _anti_spoofing(networks) | {
        "forward": ["type filter hook forward priority -200; policy accept;", f'oifname "{TUNNELS}" jump to_other_hosts'],
        "to_other_hosts": _what_every_host_answers(networks),
        "input": ["type filter hook input priority -200; policy accept;", f'iifname "{TUNNELS}" drop'],
        "output": ["type filter hook output priority -200; policy accept;", f'oifname "{TUNNELS}" drop'],
    }


def _what_every_host_answers(networks: list[LocalNetwork]) -> list[str]:
    """DHCP and gateway are on every host, for its own guests; nobody asks another host for them."""
    gateways = [subnet.gateway for network in networks for subnet in network.subnets]
    asked = [f"ether type arp arp daddr ip {_set(gateways)} drop"] if gateways else []
    return ["ether type ip udp dport 67 drop", *asked]


def _anti_spoofing(networks: list[LocalNetwork]) -> dict[str, list[str]]:
    guarded = [port for network in networks for _, port in network.ports if port.port_security]
    jumps = [_vmap("iifname", {f'"{port.device}"': f"from_{_tag(port)}" for port in guarded})] if guarded else []
    chains = {f"from_{_tag(port)}": _own_addresses_only(port) for port in guarded}
    return {**chains, "prerouting": ["type filter hook prerouting priority -300; policy accept;", *jumps]}


def _own_addresses_only(port: PortSpec) -> list[str]:
    v4 = [ip.address for ip in port.fixed_ips if ip.version == 4]
    v6 = [ip.address for ip in port.fixed_ips if ip.version == 6]
    lines = [
        f"ether saddr != {port.mac} drop",
        f"ether type arp arp saddr ether {port.mac} arp saddr ip {_set(['0.0.0.0', *v4])} return",
        "ether type ip udp sport 67 drop",
        "ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 return",
    ]
    if v4:
        lines.append(f"ether type ip ip saddr {_set(v4)} return")
    if v6:
        lines.append("ether type ip6 icmpv6 type nd-router-advert drop")
        lines.append(f"ether type ip6 ip6 saddr {_set(['::', _link_local(port.mac), *v6])} return")
    return [*lines, "drop"]


def _filtering(networks: list[LocalNetwork], proxy_ports: Mapping[str, int], around: Surroundings) -> dict[str, list[str]]:
    chains: dict[str, list[str]] = {}
    members = _members(networks, around)
    hosts = _by_version(around.hosts)
    for network in networks:
        for _, port in network.ports:
            if port.port_security:
                chains[f"egress_{_tag(port)}"] = [*_rules(port, "egress", members), "drop"]
                chains[f"ingress_{_tag(port)}"] = [*_rules(port, "ingress", members), "drop"]
    for network in networks:
        chains[f"out_{network.bridge}"] = _out_of(network)
        chains[f"into_{network.bridge}"] = _dispatch(network, "daddr", "ingress")
    names = ", ".join(f'"{network.bridge}"' for network in networks)
    redirects = [
        f'iifname "{network.bridge}" ip daddr {METADATA} tcp dport 80 redirect to :{proxy_ports[network.bridge]}'
        for network in networks
        if network.bridge in proxy_ports
    ]
    return {
        **chains,
        "prerouting": ["type nat hook prerouting priority dstnat; policy accept;", *redirects],
        "postrouting": ["type nat hook postrouting priority srcnat; policy accept;", *_masquerading(networks)],
        "forward": [
            "type filter hook forward priority filter; policy accept;",
            *(f"{family} daddr {_set(peers)} udp dport {VXLAN_PORT} drop" for family, peers in hosts),
            f"iifname {{ {names} }} ct state established,related accept",
            f"oifname {{ {names} }} ct state established,related accept",
            f"iifname {{ {names} }} ct state invalid drop",
            _vmap("iifname", {f'"{n.bridge}"': f"out_{n.bridge}" for n in networks}),
            _vmap("oifname", {f'"{n.bridge}"': f"into_{n.bridge}" for n in networks}),
        ],
        "input": [
            "type filter hook input priority filter; policy accept;",
            *(f"{family} saddr != {_set(peers)} udp dport {VXLAN_PORT} drop" for family, peers in hosts),
            f"iifname != {{ {names} }} accept",
            "ct state established,related accept",
            "udp sport 68 udp dport 67 accept",
            "meta l4proto icmp icmp type echo-request accept",
            *_dns(networks),
            *([f"tcp dport {_set(map(str, sorted(set(proxy_ports.values()))))} ct status dnat accept"] if proxy_ports else []),
            "drop",
        ],
    }


def _out_of(network: LocalNetwork) -> list[str]:
    """What guests of a network may send, and never to another network by way of the host."""
    return [f'oifname "nab*" oifname != "{network.bridge}" drop', *_dispatch(network, "saddr", "egress")]


def _dispatch(network: LocalNetwork, end: str, chain: str) -> list[str]:
    """To the chain of the port that has the address."""
    lines = []
    for version, family in ((4, "ip"), (6, "ip6")):
        ports = {
            ip.address: f"{chain}_{_tag(port)}"
            for _, port in network.ports
            if port.port_security
            for ip in port.fixed_ips
            if ip.version == version
        }
        if ports:
            lines.append(_vmap(f"{family} {end}", ports))
    return lines


def _by_version(addresses: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Those of IPv4 under ``ip``, those of IPv6 under ``ip6``, as far as there are any."""
    kinds: dict[str, list[str]] = {}
    for address in addresses:
        kinds.setdefault("ip6" if ":" in address else "ip", []).append(address)
    return sorted(kinds.items())


def _masquerading(networks: list[LocalNetwork]) -> list[str]:
    return [
        f'ip saddr {subnet.cidr} ip daddr != {subnet.cidr} oifname != "{network.bridge}" masquerade'
        for network in networks
        if network.snat
        for subnet in network.subnets
    ]


def _dns(networks: list[LocalNetwork]) -> list[str]:
    """Only where the host is the network's name server."""
    served = ", ".join(f'"{n.bridge}"' for n in networks if n.subnets and not any(port.dns_servers for _, port in n.ports))
    return [f"iifname {{ {served} }} meta l4proto {{ tcp, udp }} th dport 53 accept"] if served else []


def _members(networks: list[LocalNetwork], around: Surroundings) -> dict[tuple[str, int], list[str]]:
    """Addresses by security group and IP version: those plugged here, and what the conductor says of everywhere."""
    members: dict[tuple[str, int], list[str]] = {}
    for group, addresses in around.groups.items():
        for address in addresses:
            members.setdefault((group, 6 if ":" in address else 4), []).append(address)
    for network in networks:
        for _, port in network.ports:
            for group in {rule["group"] for rule in port.security_rules if "group" in rule}:
                for ip in port.fixed_ips:
                    members.setdefault((group, ip.version), []).append(ip.address)
    return members


def _rules(port: PortSpec, direction: str, members: dict[tuple[str, int], list[str]]) -> list[str]:
    """A line per rule that lets something through."""
    lines = (_rule(rule, direction, members) for rule in port.security_rules if rule["direction"] == direction)
    return [line for line in lines if line]


def _rule(rule: dict[str, Any], direction: str, members: dict[tuple[str, int], list[str]]) -> str:
    """Empty for a rule that can match nothing here."""
    version = int(rule["ethertype"][-1])
    family, end = ("ip" if version == 4 else "ip6"), ("saddr" if direction == "ingress" else "daddr")
    parts = [f"meta nfproto ipv{version}"]
    if rule.get("remote_ip_prefix"):
        parts.append(f"{family} {end} {rule['remote_ip_prefix']}")
    if rule.get("remote_group"):
        addresses = members.get((rule["remote_group"], version), [])
        if not addresses:
            return ""
        parts.append(f"{family} {end} {_set(addresses)}")
    return " ".join([*parts, *_transport(rule), "return"])


def _transport(rule: dict[str, Any]) -> list[str]:
    if rule.get("protocol") is None:
        return []
    number = _number(rule["protocol"])
    low, high = rule.get("port_range_min"), rule.get("port_range_max")
    if number in ICMP:
        number, kind = (1, "icmp") if rule["ethertype"] == "IPv4" else (58, "icmpv6")
        return [f"meta l4proto {number}"] + [
            f"{kind} {word} {value}" for word, value in (("type", low), ("code", high)) if value is not None
        ]
    if number in WITH_PORTS and low is not None:
        return [f"meta l4proto {number}", f"th dport {low}-{high}"]
    return [f"meta l4proto {number}"]


def _number(protocol: str) -> int:
    return PROTOCOLS[protocol] if protocol in PROTOCOLS else int(protocol)


def _tag(port: PortSpec) -> str:
    return port.device.replace("-", "_")


def _vmap(key: str, chains: Mapping[str, str]) -> str:
    return f"{key} vmap {{ {', '.join(f'{value} : jump {chain}' for value, chain in chains.items())} }}"


def _set(items: Iterable[str]) -> str:
    return "{ " + ", ".join(dict.fromkeys(items)) + " }"


def _link_local(mac: str) -> str:
    """The address that a guest makes of its MAC (RFC 4291, appendix A)."""
    octets = [int(part, 16) for part in mac.split(":")]
    words = [octets[0] ^ 2, octets[1], octets[2], 0xFF, 0xFE, *octets[3:]]
    return "fe80::" + ":".join(f"{words[n]:02x}{words[n + 1]:02x}" for n in range(0, 8, 2))
