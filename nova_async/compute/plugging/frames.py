"""The ``bridge`` family of the firewall: what frames a guest may send, and which of those for many it is given.

Whatever the security groups say, a guarded port sends from its own MAC and addresses only (those of its allowed address pairs are its
own), tells nobody of other addresses (ARP, ND), and is neither a DHCP server nor an IPv6 router.
"""

import ipaddress
from collections.abc import Mapping

from nova_async.compute.plugging.apart import OUTER_ENDS, outer_end
from nova_async.compute.plugging.records import LocalNetwork
from nova_async.compute.plugging.rules import Members, link_local, rules_of, set_of, tag, vmap
from nova_async.compute.plugging.tunnels import tunnel_name
from nova_async.compute.plugging.uplinks import UPLINKS, uplink_name
from nova_async.model.guests import PortSpec

TUNNELS = "nax*"  # VXLAN devices of networks (tunnels.py)
OWN_MARK = 0x6E6F7661  # of frames between the host and guests of a network that is apart, for the ``inet`` family
BOTH_WAYS = (("iifname", "oifname"), ("oifname", "iifname"))
FOR_MANY = "ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00"
WITHOUT_RULES = (
    "{ mld-listener-query, mld-listener-report, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, mld2-listener-report }"
)


def frames(networks: list[LocalNetwork], members: Mapping[str, Members]) -> dict[str, list[str]]:
    """Chains by name."""
    guarded = [port for network in networks for _, port in network.ports if port.port_security]
    sent = [vmap("iifname", {f'"{port.device}"': f"from_{tag(port)}" for port in guarded})] if guarded else []
    given = [f"{FOR_MANY} " + vmap("oifname", {f'"{port.device}"': f"many_{tag(port)}" for port in guarded})] if guarded else []
    return {
        **{f"from_{tag(port)}": _own_addresses_only(port) for port in guarded},
        **{f"many_{tag(port)}": _for_many(port, members) for port in guarded},
        "to_other_hosts": _what_every_host_answers(networks),
        "prerouting": ["type filter hook prerouting priority -300; policy accept;", *sent],
        "forward": [
            "type filter hook forward priority -200; policy accept;",
            f'oifname "{TUNNELS}" jump to_other_hosts',
            *_hosts_own(networks),
            *_on_wires(networks),
            *given,
        ],
        "input": ["type filter hook input priority -200; policy accept;", f'iifname "{TUNNELS}" drop', *_nothing_for_bridges(networks)],
        "output": ["type filter hook output priority -200; policy accept;", f'oifname "{TUNNELS}" drop'],
    }


def _own_addresses_only(port: PortSpec) -> list[str]:
    own: dict[str, list[str]] = {port.mac: [ip.address for ip in port.fixed_ips]}
    for mac, address in port.pairs:
        own.setdefault(mac, []).append(address)
    lines = [
        f"ether saddr != {set_of(own)} drop",
        "ether type ip udp sport 67 drop",
        "ether type ip6 udp sport 547 drop",
        "ether type ip6 icmpv6 type { nd-router-advert, nd-redirect } drop",
        "ether type ip ip saddr 0.0.0.0 udp sport 68 udp dport 67 return",
    ]
    for mac, addresses in own.items():
        lines += _from(mac, [a for a in addresses if ":" not in a], [a for a in addresses if ":" in a])
    return [*lines, "drop"]


def _from(mac: str, v4: list[str], v6: list[str]) -> list[str]:
    """What a card with this MAC may say."""
    local = link_local(mac)
    lines = [f"ether saddr {mac} ether type arp arp saddr ether {mac} arp saddr ip {set_of(['0.0.0.0', *v4], join=True)} return"]
    if v4:
        lines.append(f"ether saddr {mac} ether type ip ip saddr {set_of(v4, join=True)} return")
    claims = " ".join(f"@th,64,{n.prefixlen} != {hex(int(n.network_address) >> (128 - n.prefixlen))}" for n in _ranges([local, *v6]))
    lines += [f"ether saddr {mac} ether type ip6 icmpv6 type nd-neighbor-advert {claims} drop"]
    return [*lines, f"ether saddr {mac} ether type ip6 ip6 saddr {set_of(['::', local, *v6], join=True)} return"]


def _ranges(addresses: list[str]) -> list[ipaddress.IPv6Network]:
    return list(ipaddress.collapse_addresses(ipaddress.IPv6Network(address) for address in addresses))


def _for_many(port: PortSpec, members: Mapping[str, Members]) -> list[str]:
    """Broadcasts and multicasts are let in by the port's rules, without a connection; questions for addresses always."""
    return [
        "ether type arp return",
        f"meta protocol ip6 icmpv6 type {WITHOUT_RULES} return",
        "meta protocol ip meta l4proto igmp return",
        *rules_of(port, "ingress", members),
        "drop",
    ]


def _hosts_own(networks: list[LocalNetwork]) -> list[str]:
    """To and from the host's end of a network that is apart, as to and from the bridge of another: nothing of other hosts, and no rules."""
    if not any(network.apart for network in networks):
        return []
    return [
        *(f'{one} "{OUTER_ENDS}" {other} "{outside}" drop' for outside in (TUNNELS, UPLINKS) for one, other in BOTH_WAYS),
        *(f'{way} "{OUTER_ENDS}" meta mark set {OWN_MARK:#x} accept' for way in ("iifname", "oifname")),
    ]


def _on_wires(networks: list[LocalNetwork]) -> list[str]:
    """A flat network is what has no tag: the VLANs of the same wires are others'.

    Guests of a provider network that hosts serve have their leases from their own host, and ask nobody outside for its address.
    """
    flat = [f'"{uplink_name(network.bridge)}"' for network in networks if network.wires.startswith("flat:")]
    lines = [f"{way} {set_of(flat)} ether type {{ 8021q, 8021ad }} drop" for way in ("iifname", "oifname") if flat]
    for network in networks:
        if network.wires and network.subnets:
            outside = uplink_name(network.bridge)
            lines += [
                f'oifname "{outside}" ether type ip udp dport 67 drop',
                f'iifname "{outside}" ether type ip udp sport 67 drop',
                f'oifname "{outside}" ether type arp arp daddr ip {set_of([subnet.host for subnet in network.subnets])} drop',
            ]
    return lines


def _nothing_for_bridges(networks: list[LocalNetwork]) -> list[str]:
    """The bridge of a network that is apart is nobody, and no way into the host."""
    apart = [network for network in networks if network.apart]
    devices = [f'"{name}"' for n in apart for name in (outer_end(n.bridge), uplink_name(n.bridge), *(port.device for _, port in n.ports))]
    return [f"iifname {set_of(devices)} drop"] if devices else []


def _what_every_host_answers(networks: list[LocalNetwork]) -> list[str]:
    """DHCP and the address of the host are on every host, for its own guests; nobody asks another host for them."""
    own = {network.bridge: [subnet.host for subnet in network.subnets] for network in networks}
    return [
        "ether type ip udp dport 67 drop",
        "ether type ip6 udp dport 547 drop",
        "ether type ip6 icmpv6 type nd-router-solicit drop",
        *(f'oifname "{tunnel_name(bridge)}" ether type arp arp daddr ip {set_of(hosts)} drop' for bridge, hosts in own.items() if hosts),
    ]
