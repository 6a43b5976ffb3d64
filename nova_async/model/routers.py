"""What a host must know to carry a router. Made by the conductor, carried by messages, plugged by the worker."""

import hashlib

import msgspec

from nova_async.model.guests import PortSpec


class FloatingIp(msgspec.Struct, frozen=True, kw_only=True):
    """An outside address that leads to a fixed one."""

    id: str
    address: str
    fixed_address: str


class RouterSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A router, its ports, and the way of its packets. Its ports are ends of veth pairs, whose other ends are inside it."""

    id: str
    project_id: str = ""
    enabled: bool = True
    interfaces: tuple[PortSpec, ...] = ()
    gateway: PortSpec | None = None  # in the external network; its ``gateway`` is the next hop
    snat: bool = True  # who has no floating IP goes out by the router's own address
    routes: tuple[tuple[str, str], ...] = ()  # destination CIDR, next hop
    floating_ips: tuple[FloatingIp, ...] = ()

    @property
    def digest(self) -> str:
        """Names exactly this content."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:32]
