"""What the parts of the built-in network service stand on: its tables, its options, and who hears of changes."""

import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, Protocol

import msgspec

from nova_async.config import Config
from nova_async.db import Database
from nova_async.db import networks as rows
from nova_async.db import routers as router_rows
from nova_async.errors import Invalid
from nova_async.world import World

Changed = Callable[[list[str]], Awaitable[None]]
Moved = Callable[[list[rows.Place]], None]


class Carrier(msgspec.Struct, frozen=True, kw_only=True):
    """A host that can carry routers. ``seen_at``: None where it was not heard since this process started."""

    id: str
    name: str
    up: bool
    created_at: datetime
    seen_at: datetime | None
    wires: tuple[str, ...]


class RouterDesk(Protocol):
    """Knows the hosts that can carry routers, and moves routers between them."""

    def carriers(self) -> list[Carrier]: ...

    async def move(self, router_id: str, host: str) -> None:
        """Give a router to this host. Raises ``NotFound``, or ``Conflict`` where the host cannot have it."""
        ...

    async def settled(self, router_ids: list[str]) -> None:
        """Wait until the hosts of these routers have heard of what changed, for a moment at the most."""
        ...


class Ground:
    """``plug``: whether hosts make devices for ports. The ``on_...`` are set by who wants to hear."""

    def __init__(self, db: Database, config: Config, world: World) -> None:
        self.db, self.config, self.world = db, config, world
        self.plug = plugs_ports(config)
        self.on_change: Changed | None = None  # servers whose ports changed
        self.on_router_change: Changed | None = None
        self.on_move: Moved | None = None
        self.router_desk: RouterDesk | None = None

    async def tell(self, instance_ids: list[str]) -> None:
        """Say that the rules or addresses of these servers' ports changed, so that their hosts plug them again."""
        if self.on_change is not None and instance_ids:
            await self.on_change(instance_ids)

    async def tell_routers(self, router_ids: list[str]) -> None:
        """Say that these routers, or what they lead to, changed, so that their host plugs them again."""
        if self.on_router_change is not None and router_ids:
            await self.on_router_change(router_ids)

    async def routers_settled(self, router_ids: list[str]) -> None:
        """See ``RouterDesk.settled``."""
        if self.router_desk is not None and router_ids:
            await self.router_desk.settled(router_ids)

    async def tell_network(self, network_id: str) -> None:
        """Say that a network or a subnet of it changed, so that all who have ports in it plug them again."""
        async with self.db.connection() as conn:
            servers = await router_rows.servers_on(conn, network_id)
            routers = await router_rows.routers_on(conn, network_id)
        await self.tell(servers)
        await self.tell_routers(routers)

    def moved(self, ports: Iterable[rows.Place | rows.BoundPort | rows.PortRow]) -> None:
        """Say that these ports came, went or changed, so that other hosts hear of it. Where no host has devices, nobody needs to."""
        if self.on_move is not None and self.plug:
            self.on_move([rows.Place(network_id=port.network_id, project_id=port.project_id) for port in ports])


def plugs_ports(config: Config) -> bool:
    """Whether hosts make devices for ports; ``auto`` means: where guests are real."""
    mode = config.network.mode
    if mode not in ("auto", "bridge", "none"):
        raise Invalid(f"configuration: network.mode is {mode!r}; it may be auto, bridge or none.")
    return mode == "bridge" or (mode == "auto" and config.compute.driver == "libvirt")


def first_subnet(cidr: str, option: str) -> dict[str, Any]:
    """Gateway and pool of an IPv4 network: the first address, and all the others."""
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError as error:
        raise Invalid(f"configuration: network.{option}: {error}") from None
    if network.prefixlen > 29:
        raise Invalid(f"configuration: network.{option} has room for too few servers; use a prefix of 29 or shorter.")
    return {
        "cidr": str(network),
        "gateway": str(network[1]),
        "pools": [{"start": str(network[2]), "end": str(network[-2])}],
    }
