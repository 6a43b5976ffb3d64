"""What is plugged on this host, one file per server, written before any device is made."""

import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from nova_async import log
from nova_async.model.guests import PortSpec

HOST_PART = 0xA9FEA9FE  # beyond what pools hand out
logger = log.get("plugging")


class Plugged(msgspec.Struct, frozen=True):
    """The ports of one server."""

    instance_id: str
    ports: tuple[PortSpec, ...]


class Subnet(msgspec.Struct, frozen=True, order=True):
    """An IPv4 range that the host is the gateway of."""

    cidr: str
    gateway: str

    @property
    def interface(self) -> str:
        """The gateway with its prefix, as an interface has it."""
        return f"{self.gateway}/{ipaddress.ip_network(self.cidr).prefixlen}"


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
        pairs = {(ip.cidr, port.gateway) for _, port in self.ports for ip in port.fixed_ips if ip.version == 4}
        return tuple(sorted(Subnet(cidr, gateway) for cidr, gateway in pairs if gateway is not None and _inside(gateway, cidr)))

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
    def remote_groups(self) -> set[str]:
        """Security groups whose members rules let in or out."""
        return {rule["remote_group"] for _, port in self.ports for rule in port.security_rules if rule.get("remote_group")}

    @property
    def snat(self) -> bool:
        return any(port.snat for _, port in self.ports)


def _inside(address: str, cidr: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(cidr)


class Records:
    """The files under ``folder``. Small and local: read once at start, then kept in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: dict[str, Plugged] = {}

    def load(self) -> None:
        """A file that cannot be read is set aside: one bad server must not keep a worker from starting. Blocks."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.servers = {}
        for file in sorted(self.folder.glob("*.json")):
            try:
                plugged = msgspec.json.decode(file.read_bytes(), type=Plugged)
            except msgspec.DecodeError as error:
                logger.error("record.unreadable", file=file.name, error=str(error))
                file.rename(file.with_suffix(".unreadable"))
                continue
            self.servers[plugged.instance_id] = plugged

    def put(self, plugged: Plugged) -> None:
        """Blocks."""
        fresh = self._file(plugged.instance_id).with_suffix(".new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(plugged))
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._file(plugged.instance_id))
        self.servers[plugged.instance_id] = plugged

    def remove(self, instance_id: str) -> None:
        """Blocks."""
        self._file(instance_id).unlink(missing_ok=True)
        self.servers.pop(instance_id, None)

    def networks(self) -> dict[str, LocalNetwork]:
        """By bridge."""
        members: dict[str, list[tuple[str, PortSpec]]] = {}
        for plugged in self.servers.values():
            for port in plugged.ports:
                members.setdefault(port.bridge, []).append((plugged.instance_id, port))
        return {bridge: LocalNetwork(bridge, ports[0][1].network_id, tuple(ports)) for bridge, ports in members.items()}

    def _file(self, instance_id: str) -> Path:
        return self.folder / f"{instance_id}.json"


def bridges(ports: Iterable[PortSpec]) -> set[str]:
    return {port.bridge for port in ports}
