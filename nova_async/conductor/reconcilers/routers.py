"""Routers: the host that carries them is told of each change at once, and asked now and then whether it has them all as they should be."""

import asyncio

from nova_async import log
from nova_async.bus import Bus
from nova_async.bus.messages.compute import ListRouters, PutRouter, RemoveRouter, RouterList
from nova_async.conductor.surroundings import SurroundingsDesk
from nova_async.config import Config
from nova_async.db import Database, routers
from nova_async.errors import Error, Unavailable
from nova_async.services.network.ground import plugs_ports
from nova_async.services.network.router_specs import router_spec
from nova_async.world import World

logger = log.get("reconcile.routers")
HOST_SECONDS = 60.0
RETRY_SECONDS = 2.0


class RoutersReconciler:
    """One host is spoken to at a time, so that what it hears last is what is true."""

    def __init__(self, config: Config, database: Database, bus: Bus, surroundings: SurroundingsDesk, world: World) -> None:
        self.config, self.database, self.bus, self.surroundings, self.world = config, database, bus, surroundings, world
        self.table = surroundings.table
        self.plugs = plugs_ports(config)
        self._carried: dict[str, str] = {}  # router to the host that was told of it last
        self._lock = asyncio.Lock()
        self._stale: set[str] = set()
        self._stale_known = asyncio.Event()

    async def changed(self, router_ids: list[str]) -> None:
        """These routers changed, or are gone; their host hears of it soon."""
        self._stale.update(router_ids)
        if self._stale:
            self._stale_known.set()

    async def refresh_forever(self) -> None:
        """A host that does not answer is told again; what it refuses waits for the next comparison. Begins with those that have no host."""
        async with self.database.connection() as conn:
            await self.changed([row.id for row in await routers.specs(conn) if not row.host])
        while True:
            await self._stale_known.wait()
            self._stale_known.clear()
            stale, self._stale = self._stale, set()
            try:
                async with self._lock:
                    await self._refresh(sorted(stale))
            except Unavailable as error:
                logger.warning("routers.not_refreshed", error=error.message, detail=error.detail)
                await self.world.sleep(RETRY_SECONDS)
                await self.changed(list(stale))
            except Error as error:
                logger.error("routers.refused", error=error.message, detail=error.detail)

    async def __call__(self) -> None:
        """Compare what the gateway hosts have with the rows; those are read last, so that nothing new is taken for lost."""
        if not self.plugs:
            return
        async with self._lock:
            async with self.database.connection() as conn:
                hosts = {row.host for row in await routers.specs(conn)} | {self._first_choice()}
            for host in sorted(hosts - {""}):
                await self._compare(host)

    async def _compare(self, host: str) -> None:
        answer = await self.bus.call(f"compute.{host}", ListRouters(), timeout=HOST_SECONDS)
        assert isinstance(answer, RouterList)
        async with self.database.connection() as conn:
            rows = {row.id: row for row in await routers.specs(conn)}
        for router_id in sorted(set(answer.routers) - {row.id for row in rows.values() if self._host(row) == host}):
            logger.warning("router.stray", router=router_id, host=host)
            await self._remove(router_id, host)
        for row in rows.values():
            if self._host(row) == host and answer.routers.get(row.id) != router_spec(row).digest:
                try:
                    await self._put(row, host)
                except Error as error:
                    logger.error("router.refused", router=row.id, host=host, error=error.message, detail=error.detail)

    async def _refresh(self, router_ids: list[str]) -> None:
        """Raises what a host answers."""
        async with self.database.connection() as conn:
            rows = {row.id: row for row in await routers.specs(conn, router_ids)}
        for router_id in router_ids:
            row = rows.get(router_id)
            if not self.plugs:
                await self._note(router_id, [f["id"] for f in row.floating_ips] if row else [])
            elif row is None:
                await self._remove(router_id, self._carried.get(router_id) or self._first_choice())
                self._carried.pop(router_id, None)
            else:
                await self._put(row, self._host(row))

    async def _put(self, row: routers.Specified, host: str) -> None:
        if not host:
            raise Unavailable("No host is known that could carry routers.")
        async with self.database.connection() as conn:
            places = await routers.place(conn, row.id, host)
        if row.host not in ("", host):
            await self._remove(row.id, row.host)
        self._carried[row.id] = host
        await self.bus.call(f"compute.{host}", PutRouter(router=router_spec(row)), timeout=HOST_SECONDS)
        self.surroundings.changed(places)
        await self._note(row.id, [f["id"] for f in row.floating_ips])

    async def _remove(self, router_id: str, host: str) -> None:
        if host:
            await self.bus.call(f"compute.{host}", RemoveRouter(router_id=router_id), timeout=HOST_SECONDS)

    async def _note(self, router_id: str, floating_ips: list[str]) -> None:
        """The host has these now."""
        async with self.database.connection() as conn:
            await routers.plugged(conn, router_id, floating_ips)

    def _host(self, row: routers.Specified) -> str:
        """As configured; else where the router is, or would begin."""
        return self.config.network.gateway_host or row.host or self._first_choice()

    def _first_choice(self) -> str:
        return self.config.network.gateway_host or min((state.name for state in self.table.states), default="")
