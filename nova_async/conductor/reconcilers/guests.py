"""Per host: what runs there against what the rows say. Power states are followed, dead guests and stray files are removed."""

import asyncio

from nova_async import log
from nova_async.bus import Bus
from nova_async.bus.messages.compute import GuestList, GuestState, ListGuests, Reap
from nova_async.conductor.hosts import HostDesk
from nova_async.db import Database, placements
from nova_async.errors import Error
from nova_async.model import states
from nova_async.model.power import PowerState

logger = log.get("reconcile.guests")
AT_ONCE = 16
ANY_GENERATION = 2**62


class GuestsReconciler:
    """Asks every live host for its guests."""

    def __init__(self, database: Database, bus: Bus, desk: HostDesk) -> None:
        self.database, self.bus, self.desk = database, bus, desk

    async def __call__(self) -> None:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(host: str) -> None:
            async with turn:
                try:
                    await self.host(host)
                except Error as error:
                    logger.warning("host.not_compared", host=host, error=error.message)

        live = [s.name for s in self.desk.table.states if self.desk.table.is_up(s.name)]
        await asyncio.gather(*(one(host) for host in live))

    async def host(self, host: str) -> None:
        """One host. Rows are read before and after the question, so that a change in between is left for the next turn."""
        async with self.database.connection() as conn:
            before = {p.uuid: p for p in await placements.on_host(conn, host)}
        answer = await self.bus.call(f"compute.{host}", ListGuests(), timeout=10)
        assert isinstance(answer, GuestList)
        here = {g.instance_id: g for g in answer.guests}
        async with self.database.connection() as conn:
            after = {p.uuid: p for p in await placements.on_host(conn, host)}
            strays = {p.uuid: p for p in await placements.of(conn, list(answer.stray_files))} if answer.stray_files else {}
        settled = {u: p for u, p in after.items() if not p.busy and before.get(u) == p}
        for uuid, row in settled.items():
            await self._compare(host, row, here.get(uuid))
        dead = await self.desk.dead_guests(host, answer.guests)
        dead += [(u, ANY_GENERATION) for u, p in strays.items() if p.deleted or (host not in (p.host, p.old_host) and not p.busy)]
        if dead:
            logger.info("host.reap", host=host, servers=[u for u, _ in dead])
            await self.bus.cast(f"compute.{host}", Reap(instances=tuple(dead)))

    async def _compare(self, host: str, row: placements.Placement, guest: GuestState | None) -> None:
        if guest is not None and guest.generation == row.generation:
            if guest.power_state != row.power_state:
                await self.desk.power_changed(host, row.uuid, row.generation, guest.power_state)
        elif guest is None and row.vm_state == states.ACTIVE:
            logger.error("server.guest_missing", server=row.uuid, host=host)
            await self.desk.power_changed(host, row.uuid, row.generation, PowerState.SHUTDOWN)
