"""How a worker connects ports. The network service's host part implements this; the fake driver needs none."""

from typing import Protocol

from nova_async.errors import Unsupported
from nova_async.model.guests import PortSpec
from nova_async.model.routers import RouterSpec


class NetworkPlugs(Protocol):
    async def start(self) -> None:
        """Take over what an earlier run left: bridges, taps and DHCP servers stay as they are."""
        ...

    async def close(self) -> None:
        """Stop watching; guests keep their network."""
        ...

    async def plug(self, instance_id: str, ports: tuple[PortSpec, ...]) -> None:
        """Make bridge, tap, DHCP entry, firewall and metadata path of each port. Safe to repeat."""
        ...

    async def unplug(self, instance_id: str) -> None:
        """Remove all that ``plug`` made for this server, and a bridge nobody uses any more. Safe to repeat."""
        ...

    def look_around(self) -> None:
        """Ports on other hosts changed: ask the conductor what is there now, soon."""
        ...

    async def wires(self) -> tuple[str, ...]:
        """What provider networks the host can have: ``flat:`` or ``vlan:`` and a physical network."""
        ...

    async def plugged(self) -> list[str]:
        """Ids of the servers that have ports plugged on this host."""
        ...


class NoPlugs:
    """For hosts whose driver has no real network."""

    async def start(self) -> None:
        return None

    async def close(self) -> None:
        return None

    async def plug(self, instance_id: str, ports: tuple[PortSpec, ...]) -> None:
        return None

    async def wires(self) -> tuple[str, ...]:
        return ()

    async def unplug(self, instance_id: str) -> None:
        return None

    def look_around(self) -> None:
        return None

    async def plugged(self) -> list[str]:
        return []


class RouterPlugs(Protocol):
    """How a worker carries routers."""

    async def outside(self) -> str:
        """How external networks are had here: by an operator's ``bridge``, of the host's ``own``, or not at all (empty)."""
        ...

    async def put(self, router: RouterSpec, *, announce: bool = False) -> None:
        """Make a router what it should be. Safe to repeat. Raises ``Conflict``, ``Unavailable``, ``Unsupported``.

        ``announce``: tell all neighbours where its addresses are, not only of those that are new.
        """
        ...

    async def remove(self, router_id: str) -> None:
        """Take a router away. Safe to repeat."""
        ...

    async def known(self) -> dict[str, str]:
        """Id and digest of each router that is here; the digest of one that is not as it should be is empty."""
        ...


class NoRouters:
    """For hosts that have no real network."""

    async def outside(self) -> str:
        return ""

    async def put(self, router: RouterSpec, *, announce: bool = False) -> None:
        raise Unsupported("This host has no network to carry routers in.")

    async def remove(self, router_id: str) -> None:
        return None

    async def known(self) -> dict[str, str]:
        return {}
