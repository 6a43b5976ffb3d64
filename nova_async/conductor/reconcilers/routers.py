"""Routers: the host that carries them is told of each change at once, and asked now and then whether it has them all as they should be.

The row says which host that is. Routers of a host that has been away for too long are given to another (``RouterHosts``); when it is
back, it is asked at once, and what is not its own any more is taken from it.
"""

import asyncio
from collections import Counter
from contextlib import suppress

import msgspec

from nova_async import log
from nova_async.bus import Bus
from nova_async.bus.messages.compute import ListRouters, PutRouter, RemoveRouter, RouterList
from nova_async.conductor.reconcilers.router_hosts import RouterHosts
from nova_async.conductor.surroundings import SurroundingsDesk
from nova_async.config import Config
from nova_async.db import Database, routers
from nova_async.db.networks import Place
from nova_async.errors import Conflict, Error, NotFound, Unavailable
from nova_async.services.network.ground import Carrier, plugs_ports
from nova_async.services.network.router_specs import router_spec
from nova_async.world import World

logger = log.get("reconcile.routers")
HOST_SECONDS = 30.0
LIST_SECONDS = 15.0
PROBE_SECONDS = 5.0
RETRY_SECONDS = 2.0
SETTLE_SECONDS = 1.0


class RoutersReconciler:
    """One host is spoken to at a time, so that what it hears last is what is true."""

    def __init__(self, config: Config, database: Database, bus: Bus, surroundings: SurroundingsDesk, world: World) -> None:
        self.database, self.bus, self.surroundings, self.world = database, bus, surroundings, world
        self.table = surroundings.table
        self.hosts = RouterHosts(config, self.table, world)
        self.plugs = plugs_ports(config)
        self._homes: dict[str, str] = {}  # router to host, as the rows were last
        self._hosts: set[str] = set()  # that have, or had, routers
        self._lock = asyncio.Lock()
        self._stale: set[str] = set()
        self._under_way: set[str] = set()  # of what was stale
        self._put_off: set[str] = set()  # of what is stale: their hosts could not be told
        self._round = asyncio.Event()  # it ends, and the next begins
        self._returned: set[str] = set()
        self._stirred = asyncio.Event()

    async def changed(self, router_ids: list[str]) -> None:
        """These routers changed, or are gone; their host hears of it soon."""
        self._stale.update(router_ids)
        self._put_off.difference_update(router_ids)
        if self._stale:
            self._stirred.set()

    async def settled(self, router_ids: list[str]) -> None:
        """See ``RouterDesk``. A host that is away is not waited for, nor for long one that hangs."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                while not (self._stale - self._put_off | self._under_way).isdisjoint(router_ids):
                    await self._round.wait()

    def returned(self, host: str) -> None:
        """A host counts as up again: it is asked soon which routers it has."""
        state = self.table.by_name.get(host)
        if self.plugs and state is not None and state.facts.get("outside") != "":
            self._returned.add(host)
            self._stirred.set()

    async def refresh_forever(self) -> None:
        """A host that does not answer is told again; what it refuses waits for the next comparison. Begins with those that have no host."""
        async with self.database.connection() as conn:
            self._stale.update(home.id for home in await routers.homes(conn) if not home.host)
        while True:
            await self._stirring()
            stale, self._stale = self._stale, set()
            self._under_way = stale
            returned, self._returned = self._returned, set()
            try:
                async with self._lock:
                    for host in sorted(returned):
                        await self._welcome(host)
                    self._put_off = await self._refresh(sorted(stale)) - self._stale
                    self._stale |= self._put_off
            except Unavailable as error:
                logger.warning("routers.not_refreshed", error=error.message, detail=error.detail)
                self._stale |= stale
                self._returned |= returned
            self._under_way = set()
            self._round.set()
            self._round = asyncio.Event()

    async def _stirring(self) -> None:
        """Wait until something is to be told; what could not be told is told again after a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_SECONDS if self._stale or self._returned else None):
                await self._stirred.wait()
        self._stirred.clear()

    async def __call__(self) -> None:
        """Compare what the hosts have with the rows. One that is away is asked when it is back."""
        if not self.plugs:
            return
        async with self._lock:
            await self._read_homes()
            for host in sorted(self._hosts):
                if self.table.is_heard(host):
                    await self._welcome(host)

    async def watch(self) -> None:
        """Give the routers of hosts that have been away for too long to others; and to ``network.gateway_host`` its own when it is up."""
        if not self.plugs:
            return
        async with self._lock:
            await self._read_homes()
            self.hosts.look(set(self._homes.values()) - {""})
            leaving = [router_id for router_id, host in self._homes.items() if host and self.hosts.leave(host)]
            if leaving:
                await self._move(leaving)

    def carriers(self) -> list[Carrier]:
        """See ``RouterDesk``."""
        return self.hosts.carriers() if self.plugs else []

    async def move(self, router_id: str, host: str) -> None:
        """See ``RouterDesk``. Where the host refuses it, the router goes back to the one that had it."""
        async with self._lock:
            await self._read_homes()
            async with self.database.connection() as conn:
                found = await routers.specs(conn, [router_id])
            if not found:
                raise NotFound(f"Router {router_id} could not be found.")
            [row] = found
            if row.host == host:
                return
            self.hosts.require(row, host)
            answers = row.host != "" and (self.table.is_heard(row.host) or await self._answers(row.host))
            await self._move_one(row, [host, row.host] if answers else [host], answers)
            if self._homes.get(router_id) != host:
                raise Conflict(f"Host {host} refuses router {router_id}.")

    async def _move(self, router_ids: list[str]) -> None:
        async with self.database.connection() as conn:
            rows = await routers.specs(conn, router_ids)
        answers = {host: self.table.is_heard(host) or await self._answers(host) for host in {row.host for row in rows}}
        staying = []
        for row in rows:
            choices = [host for host in self.hosts.choices(row, self._counts()) if host != row.host]
            if not choices:
                staying.append(row.id)
            await self._move_one(row, choices, answers[row.host])
        if staying:
            logger.warning("routers.find_no_host", routers=staying)

    async def _move_one(self, row: routers.Specified, choices: list[str], answers: bool) -> None:
        """To the first that takes it. ``answers``: the host that it leaves can be told."""
        for host in choices:
            if not await self._give(row, host):
                return  # another process was quicker
            left, row = row.host, msgspec.structs.replace(row, host=host)
            logger.warning("router.moved", router=row.id, host=host, from_host=left)
            try:
                if answers:
                    await self._remove(row.id, left)
                await self._tell(row)
                return
            except Unavailable:
                await self.changed([row.id])
                return
            except Error as error:
                logger.error("router.refused", router=row.id, host=host, error=error.message, detail=error.detail)
                answers = True

    async def _answers(self, host: str) -> bool:
        """Whether a host whose reports do not come hears us all the same."""
        try:
            await self.bus.call(f"compute.{host}", ListRouters(), timeout=PROBE_SECONDS)
        except Error:
            return False
        return True

    async def _welcome(self, host: str) -> None:
        """Compare what a host has with the rows; one that does not answer now is asked again."""
        try:
            await self._compare(host)
        except Error as error:
            logger.warning("routers.not_compared", host=host, error=error.message, detail=error.detail)
            if self.table.is_heard(host):
                self._returned.add(host)

    async def _compare(self, host: str) -> None:
        """The rows are read last, so that nothing new is taken for lost."""
        answer = await self.bus.call(f"compute.{host}", ListRouters(), timeout=LIST_SECONDS)
        assert isinstance(answer, RouterList)
        await self._read_homes()
        own = {router_id for router_id, home in self._homes.items() if home == host}
        async with self.database.connection() as conn:
            rows = {row.id: row for row in await routers.specs(conn, sorted(own | set(answer.routers)))}
        for router_id in sorted(set(answer.routers) - own):
            logger.warning("router.stray", router=router_id, host=host)
            await self._remove(router_id, host)
            if router_id in rows:
                await self._replaced(rows[router_id])
        for router_id in sorted(own & set(rows)):
            if answer.routers.get(router_id) != router_spec(rows[router_id]).digest:
                await self._try_to_tell(rows[router_id])

    async def _replaced(self, row: routers.Specified) -> None:
        """A host has the router no more that may have been the last to tell neighbours where it is, and may have guests behind it."""
        self.surroundings.changed([Place(network_id=port["network_id"], project_id=row.project_id) for port in row.ports])
        if self.table.is_heard(row.host):
            await self._try_to_tell(row, announce=True)

    async def _try_to_tell(self, row: routers.Specified, *, announce: bool = False) -> None:
        try:
            await self._tell(row, announce=announce)
        except Error as error:
            logger.error("router.refused", router=row.id, host=row.host, error=error.message, detail=error.detail)

    async def _refresh(self, router_ids: list[str]) -> set[str]:
        """Those whose host could not be told."""
        async with self.database.connection() as conn:
            rows = {row.id: row for row in await routers.specs(conn, router_ids)}
        later = set()
        for router_id in router_ids:
            try:
                await self._refresh_one(router_id, rows.get(router_id))
            except Unavailable as error:
                logger.debug("router.not_refreshed", router=router_id, error=error.message, detail=error.detail)
                later.add(router_id)
            except Error as error:
                logger.error("router.refused", router=router_id, error=error.message, detail=error.detail)
        return later

    async def _refresh_one(self, router_id: str, row: routers.Specified | None) -> None:
        """Raises what a host answers."""
        if not self.plugs:
            await self._note(router_id, [f["id"] for f in row.floating_ips] if row else [])
        elif row is None:
            await self._forget(router_id)
        else:
            await self._tell(row if row.host else await self._housed(row))

    async def _housed(self, row: routers.Specified) -> routers.Specified:
        """A router that had no host, with one."""
        await self._read_homes()
        choices = self.hosts.choices(row, self._counts())
        if not choices or not await self._give(row, choices[0]):
            raise Unavailable("No host is known that could carry routers.")
        return msgspec.structs.replace(row, host=choices[0])

    async def _forget(self, router_id: str) -> None:
        """Of a router that is gone. A host that is away is asked when it is back."""
        home = self._homes.get(router_id)
        hosts = [home] if home else [state.name for state in self.table.states if state.facts.get("outside") != ""]
        for host in hosts:
            if self.table.is_heard(host):
                await self._remove(router_id, host)
        self._homes.pop(router_id, None)

    async def _tell(self, row: routers.Specified, *, announce: bool = False) -> None:
        if not self.table.is_heard(row.host):
            raise Unavailable(f"The router's host {row.host} is away.")
        async with self.database.connection() as conn:
            places = await routers.place(conn, row.id)
        await self.bus.call(f"compute.{row.host}", PutRouter(router=router_spec(row), announce=announce), timeout=HOST_SECONDS)
        self.surroundings.changed(places)
        await self._note(row.id, [f["id"] for f in row.floating_ips])

    async def _give(self, row: routers.Specified, host: str) -> bool:
        """The router is this host's from now on, with its inner ports; False where another process gave it away meanwhile."""
        async with self.database.transaction() as conn:
            if not await routers.give(conn, row.id, row.host, host):
                return False
            places = await routers.place(conn, row.id)
        self._homes[row.id] = host
        self._hosts.add(host)
        self.surroundings.changed(places)
        return True

    async def _remove(self, router_id: str, host: str) -> None:
        await self.bus.call(f"compute.{host}", RemoveRouter(router_id=router_id), timeout=HOST_SECONDS)

    async def _note(self, router_id: str, floating_ips: list[str]) -> None:
        """The host has these now."""
        async with self.database.connection() as conn:
            await routers.plugged(conn, router_id, floating_ips)

    async def _read_homes(self) -> None:
        async with self.database.connection() as conn:
            self._homes = {home.id: home.host for home in await routers.homes(conn)}
        self._hosts |= set(self._homes.values()) - {""}

    def _counts(self) -> Counter[str]:
        """How many routers each host has."""
        return Counter(host for host in self._homes.values() if host)
