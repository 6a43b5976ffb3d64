"""Which host carries a router: who can, who is best, and who has been away for so long that another takes over."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from nova_async import log
from nova_async.config import Config
from nova_async.db.routers import INTERFACE, Specified
from nova_async.errors import Conflict
from nova_async.scheduler.hosts import HostState, HostTable
from nova_async.services.network.ground import Carrier
from nova_async.world import World

logger = log.get("reconcile.routers")
BRIDGE, OWN = "bridge", "own"  # how a host reaches external networks, as RouterPlugs.outside


class RouterHosts:
    """``network.gateway_host`` comes first wherever it is up.

    While no host is up that could carry a router, or not all have had time to report, it is us or the bus, and nobody is away.
    """

    def __init__(self, config: Config, table: HostTable, world: World) -> None:
        self.table, self.world = table, world
        self.favourite, self.seconds = config.network.gateway_host, config.network.router_failover_seconds
        self._away: dict[str, float] = {}  # since when, by our monotonic clock
        self._lost: set[str] = set()

    def look(self, hosts: Iterable[str]) -> None:
        """Note which of these hosts are away."""
        now = self.world.monotonic()
        away = {host for host in {*hosts, self.favourite} - {""} if not self.table.is_up(host)}
        self._away = {host: self._away.get(host, now) for host in away} if self._hears() else {}
        lost = {host for host, since in self._away.items() if self.seconds and (now - since >= self.seconds or self._is_forced_down(host))}
        for host in sorted(lost - self._lost):
            logger.warning("host.lost_its_routers", host=host, seconds=round(now - self._away[host], 1))
        self._lost = lost

    def leave(self, host: str) -> bool:
        """Whether the routers of this host are to go to another."""
        return host in self._lost or (host != self.favourite and self.table.is_up(self.favourite))

    def choices(self, row: Specified, routers: Counter[str]) -> list[str]:
        """Hosts that can carry a router, best first. ``routers``: how many each host has.

        Where hosts make the outside themselves, routers stay together: their floating IPs reach one another on one host only.
        """
        favourite = self.favourite
        if favourite and (self.table.is_up(favourite) or (not row.host and favourite not in self._lost)):
            return [favourite]
        way = 1 if self._kind() == BRIDGE else -1
        return sorted(self._able(row), key=lambda host: (way * routers[host], host))

    def require(self, row: Specified, host: str) -> None:
        """Raises ``Conflict`` where an operator cannot give a router to this host."""
        if host != self.favourite and self.table.is_up(self.favourite):
            raise Conflict(f"Host {self.favourite} is network.gateway_host, and has all routers while it is up.")
        if host not in self._able(row):
            raise Conflict(f"Host {host} is away, or has not what the router needs: the way to the outside, and the wires of its networks.")

    def carriers(self) -> list[Carrier]:
        """All hosts that could carry routers, whether they are up or not."""
        return [
            Carrier(
                id=state.row.id,
                name=state.name,
                up=self.table.is_up(state.name),
                created_at=state.row.created_at,
                seen_at=state.seen_at,
                wires=tuple(state.facts.get("wires") or ()),
            )
            for state in self.table.states
            if _outside(state) != ""
        ]

    def _kind(self) -> str:
        return BRIDGE if any(state.facts.get("outside") == BRIDGE for state in self.table.states) else OWN

    def _able(self, row: Specified) -> list[str]:
        kind = self._kind()
        return [state.name for state in self.table.states if _outside(state) == kind and self._carries(state) and _has_wires(state, row)]

    def _hears(self) -> bool:
        return self.table.is_complete() and any(self._carries(state) for state in self.table.states)

    def _carries(self, state: HostState) -> bool:
        return self.table.is_up(state.name) and _outside(state) != ""

    def _is_forced_down(self, host: str) -> bool:
        """An operator vouches that it is off."""
        state = self.table.by_name.get(host)
        return state is not None and state.row.forced_down


def _outside(state: HostState) -> str:
    """Workers of older releases do not tell."""
    return str(state.facts.get("outside", OWN))


def _has_wires(state: HostState, row: Specified) -> bool:
    """Whether the host can have all networks that the router joins."""
    ports: list[dict[str, Any]] = [port for port in row.ports if port["kind"] == INTERFACE]
    return {port["wires"] for port in ports if port["wires"]} <= set(state.facts.get("wires") or ())
