"""A port of the built-in network service as its host wants it."""

from nova_async.db import networks as rows
from nova_async.model.guests import FixedIp, PortSpec


def bridge_name(network_id: str) -> str:
    """The Linux bridge of a network: the same on every host, at most 15 characters."""
    return f"nab{network_id.replace('-', '')[:11]}"


def device_name(port_id: str) -> str:
    """The tap of a port, named as Neutron does."""
    return f"tap{port_id[:11]}"


def port_spec(port: rows.BoundPort, domain: str, *, plug: bool = True) -> PortSpec:
    """A port as its host wants it. ``domain``: of networks that have none of their own.

    Gateway and routes are those of the first IPv4 subnet with a gateway, or of the first.
    """
    v4 = [a for a in port.addresses if a["version"] == 4]
    first = next((a for a in v4 if a["gateway"]), v4[0] if v4 else {})
    return PortSpec(
        id=port.id,
        network_id=port.network_id,
        mac=port.mac,
        bridge=bridge_name(port.network_id),
        device=device_name(port.id),
        mtu=port.mtu,
        fixed_ips=tuple(
            FixedIp(
                address=a["address"],
                subnet_id=a["subnet_id"],
                cidr=a["cidr"],
                version=a["version"],
                dhcp=a["dhcp"],
                ra_mode=a["ra_mode"],
                address_mode=a["address_mode"],
                floating=tuple(port.floating.get(a["address"], ())),
                host_address=None if a["gateway"] else port.host_addresses.get(a["subnet_id"]),
            )
            for a in port.addresses
        ),
        gateway=first.get("gateway"),
        host_address=port.host_addresses.get(first["subnet_id"]) if first.get("gateway") else None,
        routes=tuple((route["destination"], route["nexthop"]) for route in first.get("routes", [])),
        dns_servers=tuple(dict.fromkeys(server for a in port.addresses for server in a["dns_servers"])),
        dns_name=port.dns_name,
        dns_domain=port.dns_domain or domain,
        dhcp=any(a["dhcp"] for a in v4),
        security_rules=tuple(port.security_rules),
        port_security=port.port_security,
        tag=port.tag,
        network_label=port.network_label,
        project_id=port.project_id,
        plug=plug,
        apart=port.apart,
        up=port.up,
        wires=port.wires if plug else "",
        vlan=port.vlan,
        pairs=tuple((pair.get("mac_address") or port.mac, pair["ip_address"]) for pair in port.allowed_address_pairs),
    )
