"""The engine: takes workflows whose time has come, runs their steps, writes each move, and undoes what failed.

A row is worked on by the process whose name is in ``owner`` while ``lease_until`` is ahead (on the database's clock). Every
write names the owner, so a process that lost its lease changes nothing any more. Whoever begins a workflow holds it already;
a notification wakes others sooner, a poll makes sure. How one begins is in ``beginnings``, how it goes on in ``progress``.
"""

import asyncio
from typing import TypeVar

from nova_async import log
from nova_async.db import Database, workflows
from nova_async.errors import Error, Unavailable, plain
from nova_async.workflow.faults import FaultPoints
from nova_async.workflow.progress import Progress
from nova_async.workflow.run import Run
from nova_async.workflow.steps import Definition
from nova_async.world import World

P = TypeVar("P")
logger = log.get("workflow")
WRITES_AT_ONCE = 2  # so that requests, which wait for an answer, find connections and processor time first


class Engine(Progress[P]):
    """Runs workflows of the given definitions, and takes over those that nobody holds any more."""

    def __init__(
        self,
        database: Database,
        definitions: list[Definition],
        world: World,
        *,
        process: str,
        workers: int = 1000,
        lease_seconds: float = 20.0,
        poll_seconds: float = 2.0,
        fault_points: FaultPoints | None = None,
    ) -> None:
        super().__init__(database, definitions, world, process=process, workers=workers, lease_seconds=lease_seconds)
        self.poll_seconds, self.faults, self.let_go = poll_seconds, fault_points or FaultPoints(), None
        self._turn = asyncio.Semaphore(WRITES_AT_ONCE)

    async def run(self, parts: P, *, alone: bool = False) -> None:
        """Work until cancelled. ``alone``: no other process uses this database, so leases found at the start are dead.

        The leases of earlier runs of this process (``process`` is <name>/<run>) are dead in any case.
        """
        self.parts = parts
        async with self.database.connection() as conn:
            if alone:
                await workflows.let_all_go(conn)
            elif "/" in self.process:
                await workflows.let_predecessors_go(conn, self.process.partition("/")[0] + "/")
        self._accepting = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._poll_forever(), name="workflow-poll")
                group.create_task(self._renew_forever(), name="workflow-renew")
        finally:
            await self._stop()

    async def _stop(self) -> None:
        """Hand back what is open; others, or we at the next start, go on from the last written move."""
        self._accepting = False
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(5), self.database.connection() as conn:
                await workflows.let_go(conn, self.process)
        except (Error, TimeoutError) as error:
            logger.warning("workflow.leases_left", error=plain(error))

    async def look_at(self, id: str) -> None:
        """Another process made or signalled this workflow."""
        if held := self._running.get(id):
            async with self.database.connection() as conn:
                if signal := (await workflows.get(conn, id)).signal:
                    held[0].signal(signal)
        else:
            self._wake.set()

    async def idle(self, seconds: float = 30.0) -> None:
        """Wait until nothing is open in the database (tests, draining). Raises ``Unavailable`` after ``seconds``."""
        end = self.world.monotonic() + seconds
        while True:
            async with self.database.connection() as conn:
                if not await workflows.live_count(conn):
                    return
            if self.world.monotonic() > end:
                raise Unavailable("Operations are still open.")
            await self.world.sleep(0.02)

    async def _poll_forever(self) -> None:
        turns = 0
        while True:
            self._wake.clear()
            self._forget_rolled_back()
            try:
                await self._take(stray=turns % 5 == 0)
            except Unavailable as error:
                logger.warning("workflow.database_away", detail=error.detail)
            turns += 1
            try:
                async with asyncio.timeout(self.poll_seconds * (0.8 + 0.4 * self.world.random.random())):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _take(self, *, stray: bool) -> None:
        while (room := self.workers - len(self._running)) > 0:
            async with self.database.connection() as conn:
                if stray:
                    await workflows.promote_stray(conn)
                rows = await workflows.take(conn, self.process, self.lease_seconds, min(room, 100))
            for row in rows:
                self._start(row)
            if len(rows) < min(room, 100):
                return
            stray = False

    async def _renew_forever(self) -> None:
        """Keep our leases; learn of signals given elsewhere; drop what somebody else took over."""
        while True:
            await self.world.sleep(self.lease_seconds / 4)
            ids = [id for id, (run, _) in self._running.items() if not run.lost]
            if not ids:
                continue
            try:
                async with asyncio.timeout(self.lease_seconds / 4), self.database.connection() as conn:
                    held = {h.id: h.signal for h in await workflows.renew(conn, self.process, ids, self.lease_seconds)}
            except (Unavailable, TimeoutError):
                continue
            for id in ids:
                if id not in self._running:
                    continue
                run, task = self._running[id]
                if id not in held:
                    self._give_up(run, task)
                elif held.get(id) and not run.signalled.is_set():
                    run.signal(held[id] or "")

    def _give_up(self, run: Run[P], task: "asyncio.Task[None]") -> None:
        """A row that is not ours any more: it ended a moment ago, or its lease lapsed and another process has it."""
        run.lost = True
        if run.row.state in ("running", "waiting", "undoing") and run.row.owner == self.process:
            logger.warning("workflow.lease_lost", workflow=run.id)
            task.cancel()
