"""Rules of routers: inside each its NAT, and on the host the way between an external network of its own and the world."""

from collections.abc import Iterable, Mapping

import msgspec

from nova_async.compute.plugging.firewall import table_text
from nova_async.compute.plugging.links import inner_end
from nova_async.model.routers import FloatingIp, RouterSpec

TABLE = "nova_async_router"


class External(msgspec.Struct, frozen=True, order=True):
    """A range that is behind a bridge of this host, which is its gateway."""

    bridge: str
    cidr: str
    address: str


def router_ruleset(router: RouterSpec) -> str:
    """All rules inside a router as text for ``nft -f``, replaced in one transaction. Connections that are still allowed go on."""
    if router.enabled:
        chains = _working(router)
    else:
        chains = {hook: [f"type filter hook {hook} priority filter; policy drop;"] for hook in ("forward", "input")}
    return f"add table ip {TABLE}\ndelete table ip {TABLE}\n{table_text('ip', TABLE, chains)}\n"


def _working(router: RouterSpec) -> dict[str, list[str]]:
    chains = _filter(router) if router.gateway else {"forward": ["type filter hook forward priority filter; policy accept;"]}
    if router.gateway:
        chains |= _nat(router)
    chains["input"] = [
        "type filter hook input priority filter; policy drop;",
        "ct state established,related accept",
        "meta l4proto icmp icmp type echo-request accept",
        'iifname "lo" accept',
    ]
    return chains


def host_ruleset(table: str, externals: Iterable[External]) -> str:
    """The host's rules for its own external networks; without any they are removed."""
    present = sorted(externals)
    text = f"add table inet {table}\ndelete table inet {table}\n"
    return text + table_text("inet", table, _outside(present)) + "\n" if present else text


def _nat(router: RouterSpec) -> Mapping[str, list[str]]:
    """Floating IPs both ways; from inside to a floating IP inside, and out without one, by the router's own address."""
    assert router.gateway is not None
    outer, floating = inner_end(router.gateway), router.floating_ips
    own = next((ip.address for ip in router.gateway.fixed_ips if ip.version == 4), None)
    there = [f"dnat to ip daddr map {_map((f.address, f.fixed_address) for f in floating)}"] if floating else []
    back = [f"snat to ip saddr map {_map((f.fixed_address, f.address) for f in floating)}"] if floating else []
    rest = [f"snat to {own}"] if own else []
    inner = f'iifname != "{outer}" oifname != "{outer}" ct status dnat'
    return {
        "prerouting": ["type nat hook prerouting priority dstnat; policy accept;", *there],
        "postrouting": [
            "type nat hook postrouting priority srcnat; policy accept;",
            *(f'oifname "{outer}" {line}' for line in [*back, *(rest if router.snat else [])]),
            *(f"{inner} {line}" for line in [*back, *rest]),
        ],
    }


def _filter(router: RouterSpec) -> dict[str, list[str]]:
    """No connection outlives the floating IP that it came by; from outside come only answers, and what is for floating IPs."""
    assert router.gateway is not None
    outer = inner_end(router.gateway)
    own = [ip.address for ip in router.gateway.fixed_ips if ip.version == 4]
    pairs = _pairs(router.floating_ips)
    lines = [
        f"ct status dnat ct direction original ct original ip daddr . ip daddr{pairs} drop",
        f"ct status dnat ct direction reply ct original ip daddr . ip saddr{pairs} drop",
        f'oifname "{outer}" ct status snat ct reply ip daddr != {{ {", ".join(own)} }} ct reply ip daddr . ip saddr{pairs} drop',
    ]
    if not router.floating_ips:
        lines = ["ct status dnat drop", f'oifname "{outer}" ct status snat ct reply ip daddr != {{ {", ".join(own)} }} drop']
    if router.snat:
        lines += [
            f'iifname "{outer}" ct state established,related accept',
            f'iifname "{outer}" ct status dnat accept',
            f'iifname "{outer}" drop',
        ]
    return {"forward": ["type filter hook forward priority filter; policy accept;", *(lines if own else [])]}


def _outside(externals: list[External]) -> dict[str, list[str]]:
    names = ", ".join(f'"{bridge}"' for bridge in sorted({e.bridge for e in externals}))
    ranges = ", ".join(sorted({e.cidr for e in externals}))
    return {
        "postrouting": [
            "type nat hook postrouting priority srcnat; policy accept;",
            'oifname "nab*" accept',  # between a router and its guests, on a bridge
            *(f'ip saddr {e.cidr} ip daddr != {e.cidr} oifname != "{e.bridge}" masquerade' for e in externals),
        ],
        "forward": [
            "type filter hook forward priority filter; policy accept;",
            f"iifname {{ {names} }} ct state established,related accept",
            *(f'iifname "{e.bridge}" oifname "{e.bridge}" accept' for e in externals),
            f"iifname {{ {names} }} ip saddr != {{ {ranges} }} drop",
            f'iifname {{ {names} }} oifname "nab*" drop',
        ],
        "input": [
            "type filter hook input priority filter; policy accept;",
            f"iifname != {{ {names} }} accept",
            "ct state established,related accept",
            "meta l4proto icmp icmp type echo-request accept",
            "drop",
        ],
    }


def _pairs(floating: Iterable[FloatingIp]) -> str:
    return f" != {{ {', '.join(f'{f.address} . {f.fixed_address}' for f in floating)} }}"


def _map(pairs: Iterable[tuple[str, str]]) -> str:
    return "{ " + ", ".join(f"{key} : {value}" for key, value in pairs) + " }"
