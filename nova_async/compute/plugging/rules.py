"""Security groups in the words of nft, and what else both families of the firewall are made of."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from nova_async.compute.plugging.records import LocalNetwork
from nova_async.model.guests import PortSpec
from nova_async.model.neighbors import Surroundings
from nova_async.model.protocols import ICMP, PROTOCOLS, WITH_PORTS

Members = dict[tuple[str, int], list[str]]  # addresses by security group and IP version


def members_of(networks: list[LocalNetwork], around: Surroundings) -> dict[str, Members]:
    """By bridge, for whoever is in the network: members that are plugged here, and what the conductor says of everywhere.

    A member's address is another's in a network that has it in its range, unless the member is there.
    """
    told = {(group, address): None for group, addresses in around.groups.items() for address in addresses}
    here = {network.bridge: _members_in(network) for network in networks}
    everywhere = dict(told)
    for members in here.values():
        everywhere |= members
    found = dict.fromkeys(here, _by_group(everywhere))
    for network in networks:
        strangers = {(g, a) for g, addresses in around.strangers.get(network.network_id, {}).items() for a in addresses}
        strangers |= {member for member in _strangers_here(network, networks, here) if member not in told}
        if strangers:
            found[network.bridge] = _by_group(m for m in everywhere if m not in strangers or m in here[network.bridge])
    return found


def _members_in(network: LocalNetwork) -> dict[tuple[str, str], None]:
    """Group and address of each."""
    return {
        (group, address): None
        for _, port in network.ports
        for group in sorted({rule["group"] for rule in port.security_rules if "group" in rule})
        for address in port.addresses
    }


def _strangers_here(
    network: LocalNetwork, networks: list[LocalNetwork], here: Mapping[str, Iterable[tuple[str, str]]]
) -> set[tuple[str, str]]:
    """Members that are plugged here, in other networks, with addresses of this one's ranges."""
    ranges = {ipaddress.ip_network(ip.cidr) for _, port in network.ports for ip in port.fixed_ips}
    others = [other for other in networks if other.bridge != network.bridge and (other.apart or network.apart)]
    return {(group, address) for other in others for group, address in here[other.bridge] if _touches(address, ranges)}


def _touches(address: str, ranges: Iterable["ipaddress.IPv4Network | ipaddress.IPv6Network"]) -> bool:
    """Of an address, or a range."""
    own = ipaddress.ip_network(address, strict=False)
    return any(own.version == cidr.version and own.overlaps(cidr) for cidr in ranges)


def _by_group(members: Iterable[tuple[str, str]]) -> Members:
    found: Members = {}
    for group, address in members:
        found.setdefault((group, 6 if ":" in address else 4), []).append(address)
    return found


def rules_of(port: PortSpec, direction: str, members: Mapping[str, Members]) -> list[str]:
    """A line per rule that lets something through. ``members``: by bridge."""
    lines = (_rule(rule, direction, members[port.bridge]) for rule in port.security_rules if rule["direction"] == direction)
    return [line for line in lines if line]


def _rule(rule: dict[str, Any], direction: str, members: Members) -> str:
    """Empty for a rule that can match nothing here."""
    version = int(rule["ethertype"][-1])
    family, end = ("ip" if version == 4 else "ip6"), ("saddr" if direction == "ingress" else "daddr")
    parts = [f"meta protocol {family}"]
    if rule.get("remote_ip_prefix"):
        parts.append(f"{family} {end} {rule['remote_ip_prefix']}")
    if rule.get("remote_group"):
        addresses = members.get((rule["remote_group"], version), [])
        if not addresses:
            return ""
        parts.append(f"{family} {end} {set_of(addresses, join=True)}")
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


def tag(port: PortSpec) -> str:
    return port.device.replace("-", "_")


def vmap(key: str, chains: Mapping[str, str]) -> str:
    return f"{key} vmap {{ {', '.join(f'{value} : jump {chain}' for value, chain in chains.items())} }}"


def set_of(items: Iterable[str], *, join: bool = False) -> str:
    """``join`` for addresses and ranges of one IP version: nft takes none that overlap."""
    if join:  # mypy sees networks of either version
        joined = ipaddress.collapse_addresses(ipaddress.ip_network(item) for item in items)  # type: ignore[type-var]
        items = [str(n.network_address) if n.num_addresses == 1 else str(n) for n in joined]
    return "{ " + ", ".join(dict.fromkeys(items)) + " }"


def link_local(mac: str) -> str:
    """The address that a guest makes of its MAC (RFC 4291, appendix A)."""
    octets = [int(part, 16) for part in mac.split(":")]
    words = [octets[0] ^ 2, octets[1], octets[2], 0xFF, 0xFE, *octets[3:]]
    return "fe80::" + ":".join(f"{words[n]:02x}{words[n + 1]:02x}" for n in range(0, 8, 2))


def by_version(addresses: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Those of IPv4 under ``ip``, those of IPv6 under ``ip6``, as far as there are any."""
    kinds: dict[str, list[str]] = {}
    for address in addresses:
        kinds.setdefault("ip6" if ":" in address else "ip", []).append(address)
    return sorted(kinds.items())
