"""What is plugged on this host, one file per server (or router), written before any device is made."""

import ipaddress
from collections.abc import Iterable
from pathlib import Path

import msgspec

from nova_async.compute.plugging.files import Files
from nova_async.model.guests import FixedIp, PortSpec
from nova_async.model.names import HOST_NAME

HOST_PART = 0xA9FEA9FE  # beyond what pools hand out


class Plugged(msgspec.Struct, frozen=True):
    """The ports of one server, or the inner ones of a router."""

    instance_id: str
    ports: tuple[PortSpec, ...]


class End(msgspec.Struct, frozen=True):
    """Where the host itself is in a network: an interface, and the namespace that it is in; empty: the one that we run in."""

    interface: str
    namespace: str = ""


class Subnet(msgspec.Struct, frozen=True, order=True):
    """An IPv4 range that the host serves: as its gateway, or by an address of its own where a router is that, or nobody."""

    cidr: str
    gateway: str | None
    host: str

    @property
    def routed(self) -> bool:
        """Whether the host is not the gateway, and leads nowhere."""
        return self.host != self.gateway

    @property
    def interface(self) -> str:
        """The host's address with its prefix, as an interface has it."""
        return f"{self.host}/{ipaddress.ip_network(self.cidr).prefixlen}"


class Subnet6(msgspec.Struct, frozen=True):
    """An IPv6 range that the host advertises (``ra_mode``) or serves by DHCPv6, from an address of its own that is no gateway's."""

    cidr: str
    ra_mode: str | None
    address_mode: str | None

    @property
    def interface(self) -> str:
        network = ipaddress.IPv6Network(self.cidr)
        return f"{network[min(HOST_PART, network.num_addresses - 1)]}/{network.prefixlen}"


class LocalNetwork(msgspec.Struct, frozen=True):
    """A network as far as it is plugged here."""

    bridge: str
    network_id: str
    ports: tuple[tuple[str, PortSpec], ...]  # server and port

    @property
    def subnets(self) -> tuple[Subnet, ...]:
        """One for each range; a port that knows of a router knows better than one that does not yet."""
        found: dict[str, Subnet] = {}
        for _, port in self.ports:
            for ip in port.fixed_ips:
                subnet = _served(port, ip)
                if subnet is not None and (subnet.routed or ip.cidr not in found):
                    found[ip.cidr] = subnet
        return tuple(sorted(found.values()))

    @property
    def subnets6(self) -> tuple["Subnet6", ...]:
        """Those that the host advertises or hands addresses out of."""
        found = {
            Subnet6(ip.cidr, ip.ra_mode, ip.address_mode)
            for _, port in self.ports
            for ip in port.fixed_ips
            if ip.version == 6 and ip.dhcp and (ip.ra_mode or ip.address_mode == "dhcpv6-stateful")
        }
        return tuple(sorted(found, key=lambda subnet: subnet.cidr))

    @property
    def mtu(self) -> int:
        return min(port.mtu for _, port in self.ports)

    @property
    def dns_domain(self) -> str:
        """What stands after the names of its ports."""
        return next((port.dns_domain for _, port in self.ports if HOST_NAME.fullmatch(port.dns_domain)), "")

    @property
    def apart(self) -> bool:
        """Whether other networks may have its addresses, too; one port that knows of it is enough."""
        return any(port.apart for _, port in self.ports)

    @property
    def wires(self) -> str:
        """As its ports say; see ``PortSpec.wires``."""
        return next((port.wires for _, port in self.ports if port.wires), "")

    @property
    def vlan(self) -> int | None:
        return next((port.vlan for _, port in self.ports if port.wires), None)

    @property
    def remote_groups(self) -> set[str]:
        """Security groups whose members rules let in or out."""
        return {rule["remote_group"] for _, port in self.ports for rule in port.security_rules if rule.get("remote_group")}

    @property
    def snat(self) -> bool:
        return any(port.snat for _, port in self.ports)


def _served(port: PortSpec, ip: FixedIp) -> Subnet | None:
    """The range of an address; None where the host has nothing to answer by."""
    if ip.version != 4:
        return None
    if port.gateway is not None and _inside(port.gateway, ip.cidr) and (port.host_address or not port.wires):
        return Subnet(ip.cidr, port.gateway, port.host_address or port.gateway)
    return Subnet(ip.cidr, None, ip.host_address) if ip.host_address else None


def _inside(address: str, cidr: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr)


class Records:
    """The files under ``folder``. Small and local: read once at start, then kept in memory."""

    def __init__(self, folder: Path) -> None:
        self._files = Files(folder, Plugged)
        self.servers: dict[str, Plugged] = {}

    def load(self) -> None:
        """Blocks."""
        self.servers = {plugged.instance_id: plugged for plugged in self._files.load().values()}

    def put(self, plugged: Plugged) -> None:
        """Blocks."""
        self._files.put(plugged.instance_id, plugged)
        self.servers[plugged.instance_id] = plugged

    def remove(self, instance_id: str) -> None:
        """Blocks."""
        self._files.remove(instance_id)
        self.servers.pop(instance_id, None)

    def set_aside(self, instance_id: str) -> None:
        """Blocks."""
        self._files.set_aside(instance_id)
        del self.servers[instance_id]

    def networks(self) -> dict[str, LocalNetwork]:
        """By bridge."""
        members: dict[str, list[tuple[str, PortSpec]]] = {}
        for plugged in self.servers.values():
            for port in plugged.ports:
                members.setdefault(port.bridge, []).append((plugged.instance_id, port))
        return {bridge: LocalNetwork(bridge, ports[0][1].network_id, tuple(ports)) for bridge, ports in members.items()}


def bridges(ports: Iterable[PortSpec]) -> set[str]:
    return {port.bridge for port in ports}
