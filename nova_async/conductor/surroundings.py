"""Tells hosts what lies around their guests: ports of the same networks on other hosts, and members of security groups.

A change is told in two steps: the hosts that it may concern hear that there is something, and ask (``AskSurroundings``); so a
host that missed a word, or begins anew, finds out by asking, and many changes at once cost one answer.
"""

import asyncio

from nova_async import log
from nova_async.bus import Bus
from nova_async.bus.messages.compute import SurroundingsChanged
from nova_async.bus.messages.conductor import AskSurroundings
from nova_async.db import networks as rows
from nova_async.errors import Error
from nova_async.model.neighbors import Neighbor, Segment, Surroundings
from nova_async.scheduler.hosts import HostTable
from nova_async.services.network.builtin import BuiltinNetworks
from nova_async.services.network.checks import is_uuid
from nova_async.world import World

GATHER_SECONDS = 0.05  # changes that come together are told together
RETRY_SECONDS = 1.0
logger = log.get("conductor.surroundings")


class SurroundingsDesk:
    """``networks``: the built-in network service; None with another one, which has its own ways to hosts."""

    def __init__(self, bus: Bus, table: HostTable, world: World) -> None:
        self.bus, self.table, self.world = bus, table, world
        self.networks: BuiltinNetworks | None = None
        self._places: set[rows.Place] = set()
        self._known = asyncio.Event()

    def changed(self, places: list[rows.Place]) -> None:
        """Ports came, went or changed there."""
        self._places.update(places)
        self._known.set()

    async def tell_forever(self) -> None:
        """Let the hosts ask; what fails is done again."""
        while True:
            await self._known.wait()
            await self.world.sleep(GATHER_SECONDS)
            self._known.clear()
            places, self._places = self._places, set()
            try:
                await self._tell(places)
            except Error as error:
                logger.warning("surroundings.not_told", error=error.message)
                self.changed(list(places))
                await self.world.sleep(RETRY_SECONDS)

    async def _tell(self, places: set[rows.Place]) -> None:
        """A host that is not heard asks when it comes back."""
        if self.networks is None or len(self.table.by_name) < 2:
            return
        async with self.networks.db.connection() as conn:
            hosts = await rows.hosts_beside(conn, sorted({p.network_id for p in places}), sorted({p.project_id for p in places}))
        for host in hosts:
            if host in self.table.by_name and self.table.is_heard(host):
                await self.bus.cast(f"compute.{host}", SurroundingsChanged())

    async def of(self, asked: AskSurroundings) -> Surroundings:
        """What a host may know. A port whose host has no address of its own is out of reach."""
        if self.networks is None:
            return Surroundings()
        networks, groups = [[id for id in ids if is_uuid(id)] for ids in (asked.networks, asked.groups)]
        async with self.networks.db.connection() as conn:
            ports = await rows.neighbors(conn, networks, asked.host)
            members = await rows.members(conn, groups) if groups else []
            strangers = await rows.strangers(conn, groups, networks) if groups else []
        found: dict[str, tuple[int, list[Neighbor]]] = {}
        names: dict[str, dict[str, str]] = {}
        for port in ports:
            names.setdefault(port.network_id, {}).update(dict.fromkeys(port.addresses, port.dns_name))
            at = self._address(port.host)
            if at is not None and not port.wired:
                found.setdefault(port.network_id, (port.vni, []))[1].append(_neighbor(port, at))
        segments = {network: Segment(vni, tuple(sorted(set(neighbors)))) for network, (vni, neighbors) in found.items()}
        elsewhere: dict[str, dict[str, tuple[str, ...]]] = {}
        for row in strangers:
            elsewhere.setdefault(row.network_id, {})[row.id] = tuple(row.addresses)
        return Surroundings(segments, {row.id: tuple(row.addresses) for row in members}, elsewhere, names)

    def _address(self, host: str) -> str | None:
        known = self.table.by_name.get(host)
        return known.row.address if known and known.row.address not in ("", "127.0.0.1", "::1") else None


def _neighbor(port: rows.NeighborRow, at: str) -> Neighbor:
    """A port that may send from further MACs is not guarded: where those are, shows itself."""
    moving = any(pair.get("mac_address") not in (None, port.mac) for pair in port.allowed_address_pairs)
    return Neighbor(port.mac, at, tuple(port.addresses), port.port_security and not moving)
