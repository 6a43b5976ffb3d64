"""Beginning and signalling workflows: what others do in transactions of theirs, and what follows once those are committed."""

import asyncio
from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Any, Generic, TypeVar

from nova_async import log
from nova_async.context import Context
from nova_async.db import Connection, Database, workflows
from nova_async.db.workflows import New
from nova_async.errors import Conflict, Error, Unsupported
from nova_async.workflow.row import WorkflowRow
from nova_async.workflow.run import Run
from nova_async.workflow.steps import Definition
from nova_async.workflow.witness import Witness
from nova_async.world import World

P = TypeVar("P")
BUSY = "Another operation on this server is still running."
BEGUN_AT_MOST = 20_000
logger = log.get("workflow")


class Beginnings(ABC, Generic[P]):
    """Implements ``workflow.start.Starter``. ``notify`` tells other processes that a workflow was made or signalled."""

    def __init__(
        self, database: Database, definitions: list[Definition], world: World, *, process: str, workers: int, lease_seconds: float
    ) -> None:
        self.database, self.world, self.process = database, world, process
        self.definitions = {d.kind: d for d in definitions}
        self.workers, self.lease_seconds = workers, lease_seconds
        self.notify: Any = None  # async (workflow_id) -> None
        self.witness: Witness | None = None
        self._begun: OrderedDict[str, tuple[WorkflowRow, float]] = OrderedDict()  # inserted, not yet started; since when
        self._to_signal: OrderedDict[str, str] = OrderedDict()
        self._running: dict[str, tuple[Run[P], asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._accepting = False
        self._notices: set[asyncio.Task[None]] = set()

    @abstractmethod
    def _start(self, row: WorkflowRow) -> None:
        """Work on a workflow that is ours."""

    # -- part of somebody's transaction

    async def begin(
        self,
        conn: Connection,
        ctx: Context,
        kind: str,
        subject_id: str,
        *,
        id: str | None = None,
        parent_id: str | None = None,
        over: frozenset[str] = frozenset(),
        **input: Any,
    ) -> str:
        """See ``workflow.start.Starter``."""
        new = self._new(ctx, kind, input, parent_id)
        for _ in range(5):
            rows = await workflows.insert(conn, new, {id or self.world.uuid(): subject_id}, self._owner(1), self.lease_seconds)
            if rows:
                await self._made(conn, rows)
                return rows[0].id
            if not self.definitions[kind].forced_through and not over:
                break
            if queued := await self._queue_behind(conn, new, subject_id, over):
                return queued
        raise Conflict(BUSY)

    async def begin_many(self, conn: Connection, ctx: Context, kind: str, subject_ids: list[str], **input: Any) -> list[str]:
        """See ``workflow.start.Starter``."""
        new, ids = self._new(ctx, kind, input), {self.world.uuid(): subject for subject in subject_ids}
        rows = await workflows.insert(conn, new, ids, self._owner(len(ids)), self.lease_seconds)
        if len(rows) < len(ids):
            raise Conflict("Another operation on one of these servers is still running.")
        await self._made(conn, rows)
        return list(ids)

    async def _made(self, conn: Connection, rows: list[WorkflowRow]) -> None:
        for row in rows:
            if self.witness:
                await self.witness.begun(conn, row)
            self._remember(row)

    def _new(self, ctx: Context, kind: str, input: dict[str, Any], parent_id: str | None = None) -> New:
        definition = self.definitions.get(kind)
        if definition is None:
            raise Unsupported(f"This service cannot do '{kind}' yet.")
        first = definition.steps[0]
        return New(
            kind=kind,
            parent_id=parent_id,
            step=first.name,
            task_state=first.shows(input),
            deadline=first.deadline,
            input=input,
            context=ctx,
        )

    def _owner(self, count: int) -> str | None:
        """This process, if it has room for so many."""
        return self.process if self._accepting and len(self._running) + len(self._begun) + count <= self.workers else None

    async def _queue_behind(self, conn: Connection, new: New, subject_id: str, over: frozenset[str]) -> str | None:
        """Cancel what is live, and wait for its end. None when it has ended. The caller's transaction takes all back after ``Conflict``."""
        urgent = self.definitions[new.kind].forced_through
        live = await workflows.signal_live(conn, subject_id, new.kind, new.kind if urgent else "")
        if live is None:
            return None
        if urgent and live.kind == new.kind:
            return live.id
        if not urgent and live.kind not in over:
            raise Conflict(BUSY)
        made = await workflows.insert_queued(conn, new, self.world.uuid(), subject_id)
        if made is None and urgent and await self._displace(conn, subject_id):
            made = await workflows.insert_queued(conn, new, self.world.uuid(), subject_id)
        if made and self.witness:
            await self.witness.begun(conn, made)
        queued = made or await workflows.queued_of(conn, subject_id)
        if queued is None:
            return None
        if not urgent and queued.kind != new.kind:
            raise Conflict(BUSY)
        self._to_signal[queued.id] = live.id
        return queued.id

    async def _displace(self, conn: Connection, subject_id: str) -> bool:
        """Cancel what waits for the subject, unless it too must get through."""
        queued = await workflows.queued_of(conn, subject_id)
        if queued is None or self.definitions[queued.kind].forced_through:
            return False
        return await workflows.cancel_queued(conn, queued.id) > 0

    async def record(self, conn: Connection, ctx: Context, kind: str, subject_id: str, message: str = "") -> None:
        """See ``workflow.start.Starter``."""
        now = self.world.now().isoformat()
        event = {"event": f"api_{kind}", "start_time": now, "finish_time": now, "result": "Success"}
        await workflows.insert_finished(conn, self.world.uuid(), kind, subject_id, ctx, [event | ({"message": message} if message else {})])
        if self.witness:
            await self.witness.recorded(conn, ctx, kind, subject_id)

    async def signal(self, conn: Connection, workflow_id: str, signal: str) -> bool:
        """See ``workflow.start.Starter``."""
        if await workflows.signal_one(conn, workflow_id, signal) is None:
            return False
        self._to_signal[workflow_id] = workflow_id
        return True

    # -- once that is committed

    def go(self, workflow_ids: list[str]) -> None:
        """See ``workflow.start.Starter``."""
        for id in workflow_ids:
            row, _ = self._begun.pop(id, (None, 0.0))
            if row is not None and row.owner == self.process and self._accepting:
                self._start(row)
            elif live := self._to_signal.pop(id, None):
                self.signalled(live, "cancel")
                self._tell(live)
            else:
                self._wake.set()
                self._tell(id)

    def _tell(self, id: str) -> None:
        if self.notify is not None:
            task = asyncio.create_task(self._notified(id), name=f"notify-{id}")
            self._notices.add(task)
            task.add_done_callback(self._notices.discard)

    async def _notified(self, id: str) -> None:
        try:
            await self.notify(id)
        except Error as error:  # a poll finds it all the same
            logger.warning("workflow.notice_lost", workflow=id, error=error.message)

    def _remember(self, row: WorkflowRow) -> None:
        self._begun[row.id] = (row, self.world.monotonic())
        while len(self._begun) > BEGUN_AT_MOST:
            self._begun.popitem(last=False)
        while len(self._to_signal) > BEGUN_AT_MOST:
            self._to_signal.popitem(last=False)

    def _forget_rolled_back(self) -> None:
        """What was begun in a transaction that never committed is heard of no more; a lease ends the wait."""
        oldest = self.world.monotonic() - self.lease_seconds
        while self._begun and next(iter(self._begun.values()))[1] < oldest:
            self._begun.popitem(last=False)

    def wake(self) -> None:
        """Something may be ready: look now."""
        self._wake.set()

    def signalled(self, id: str, signal: str) -> None:
        """A workflow was told to stop; acts when it is ours."""
        if held := self._running.get(id):
            held[0].signal(signal)
        else:
            self._wake.set()
