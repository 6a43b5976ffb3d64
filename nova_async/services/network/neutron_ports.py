"""A port of Neutron's as its host wants it."""

import ipaddress
from typing import Any

from nova_async.model.guests import FixedIp, PortSpec
from nova_async.services.network.port_specs import device_name

CARD = "nova_async"  # our entry in binding:profile
WIRED = frozenset({"bridge", "tap", "unbound", "", None})  # vif types that a tap on a Linux bridge is, or no type yet
FAILED = "binding_failed"
LAST = 10_000


def card_of(port: dict[str, Any]) -> int:
    """Which card of its server a port is; what we did not bind comes last."""
    card = (port.get("binding:profile") or {}).get(CARD) or {}
    return int(card.get("position", LAST))


def fits(port: dict[str, Any]) -> bool:
    """Whether workers can plug it."""
    return port.get("binding:vif_type") in WIRED


def may_boot(port: dict[str, Any]) -> bool:
    """Whether it has its addresses, gets them with its host (on a routed network), or is to have none."""
    return bool(port.get("fixed_ips")) or port.get("ip_allocation") in ("deferred", "none")


def spec(port: dict[str, Any], network: dict[str, Any], subnets: dict[str, dict[str, Any]], *, plug: bool) -> PortSpec:
    """The bridge is named as Neutron's agent does; the gateway is the first IPv4 subnet's."""
    addresses = [(ip["ip_address"], subnets[ip["subnet_id"]]) for ip in port.get("fixed_ips") or [] if ip["subnet_id"] in subnets]
    first = next((subnet for _, subnet in addresses if subnet["ip_version"] == 4), {})
    card = (port.get("binding:profile") or {}).get(CARD) or {}
    return PortSpec(
        id=port["id"],
        network_id=port["network_id"],
        mac=port["mac_address"],
        bridge=f"brq{port['network_id'][:11]}",
        device=device_name(port["id"]),
        mtu=int(network.get("mtu") or 1500),
        fixed_ips=tuple(
            FixedIp(address=address, subnet_id=subnet["id"], cidr=subnet["cidr"], version=ipaddress.ip_address(address).version)
            for address, subnet in addresses
        ),
        gateway=first.get("gateway_ip"),
        routes=tuple((route["destination"], route["nexthop"]) for route in first.get("host_routes") or []),
        dns_servers=tuple(dict.fromkeys(server for _, subnet in addresses for server in subnet.get("dns_nameservers") or [])),
        dhcp=bool(first.get("enable_dhcp", False)),
        snat=False,
        port_security=bool(port.get("port_security_enabled", True)),
        tag=card.get("tag"),
        network_label=str(network.get("name") or ""),
        project_id=str(port.get("project_id") or ""),
        plug=plug,
        wired_by="agent",
    )
