"""A router as its host wants it."""

from typing import Any

from nova_async.db.routers import GATEWAY, Specified
from nova_async.model.guests import FixedIp, PortSpec
from nova_async.model.routers import FloatingIp, RouterSpec
from nova_async.services.network.port_specs import bridge_name


def router_spec(row: Specified) -> RouterSpec:
    ports = {port["id"]: _port(port) for port in row.ports if port["addresses"]}
    outer = next((ports[port["id"]] for port in row.ports if port["kind"] == GATEWAY and port["id"] in ports), None)
    return RouterSpec(
        id=row.id,
        project_id=row.project_id,
        enabled=row.admin_state_up,
        interfaces=tuple(port for port in ports.values() if port is not outer),
        gateway=outer,
        snat=row.enable_snat,
        routes=tuple((route["destination"], route["nexthop"]) for route in row.routes),
        floating_ips=tuple(FloatingIp(id=f["id"], address=f["address"], fixed_address=f["fixed_address"]) for f in row.floating_ips),
    )


def external_bridge_name(network_id: str) -> str:
    """The bridge of an external network, where the gateway host makes one: at most 15 characters."""
    return f"nae{network_id.replace('-', '')[:11]}"


def _port(port: dict[str, Any]) -> PortSpec:
    """The gateway is the outer network's (a next hop), or the inner one's (the router itself, or not)."""
    first: dict[str, Any] = next((a for a in port["addresses"] if a["version"] == 4), {})
    name = external_bridge_name if port["kind"] == GATEWAY else bridge_name
    return PortSpec(
        id=port["id"],
        network_id=port["network_id"],
        mac=port["mac"],
        bridge=name(port["network_id"]),
        device=f"nar{port['id'][:11]}",
        mtu=port["mtu"],
        fixed_ips=tuple(
            FixedIp(address=a["address"], subnet_id=a["subnet_id"], cidr=a["cidr"], version=a["version"]) for a in port["addresses"]
        ),
        gateway=first.get("gateway") if port["kind"] == GATEWAY or first.get("gateway") == first.get("address") else None,
        host_address=port["host_addresses"].get(first.get("subnet_id", "")),
        dhcp=False,
        port_security=False,
        veth=True,
        apart=port["apart"],
        up=port["up"],
        wires=port["wires"],
        vlan=port["vlan"],
    )
