"""The engine: takes workflows whose time has come, runs their steps, writes each move, and undoes what failed.

A row is worked on by the process whose name is in ``owner`` while ``lease_until`` is ahead (on the database's clock). Every
write names the owner, so a process that lost its lease changes nothing any more. Whoever begins a workflow holds it already;
a notification wakes others sooner, a poll makes sure.
"""

import asyncio
from collections import OrderedDict
from typing import Any, Generic, TypeVar

from nova_async import log
from nova_async.context import Context
from nova_async.db import Connection, Database, workflows
from nova_async.db.workflows import Move, New
from nova_async.errors import Conflict, Error, Unavailable, Unsupported
from nova_async.workflow.faults import FaultPoints
from nova_async.workflow.moves import CHILDREN_SECONDS, at_step, move_back, next_move, note_of, told
from nova_async.workflow.row import WorkflowRow
from nova_async.workflow.run import Run
from nova_async.workflow.steps import Child, Children, Definition, GiveUp, Step, TryAgain, Wait
from nova_async.workflow.witness import Witness
from nova_async.world import World

P = TypeVar("P")
logger = log.get("workflow")
UNDO_TRIES = 6
BEGUN_AT_MOST = 20_000
WRITES_AT_ONCE = 2  # so that requests, which wait for an answer, find connections and processor time first


class LostLease(Exception):
    """Somebody else holds the workflow now."""


class Engine(Generic[P]):
    """Runs workflows of the given definitions. ``notify`` tells other processes that a workflow was made or signalled."""

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
        self.database, self.world, self.process = database, world, process
        self.definitions = {d.kind: d for d in definitions}
        self.workers, self.lease_seconds, self.poll_seconds = workers, lease_seconds, poll_seconds
        self.faults = fault_points or FaultPoints()
        self.parts: P
        self.notify: Any = None  # async (workflow_id) -> None
        self.let_go: Any = None  # (workflow_id) -> None: this process works on it no more
        self.witness: Witness | None = None
        self._begun: OrderedDict[str, tuple[WorkflowRow, float]] = OrderedDict()  # inserted, not yet started; since when
        self._to_signal: OrderedDict[str, str] = OrderedDict()
        self._running: dict[str, tuple[Run[P], asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._turn = asyncio.Semaphore(WRITES_AT_ONCE)
        self._accepting = False
        self._notices: set[asyncio.Task[None]] = set()

    # -- beginning: part of somebody's transaction

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

    # -- the life of the engine

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
            logger.warning("workflow.leases_left", error=repr(error))

    def wake(self) -> None:
        """Something may be ready: look now."""
        self._wake.set()

    async def look_at(self, id: str) -> None:
        """Another process made or signalled this workflow."""
        if held := self._running.get(id):
            async with self.database.connection() as conn:
                if signal := (await workflows.get(conn, id)).signal:
                    held[0].signal(signal)
        else:
            self._wake.set()

    def signalled(self, id: str, signal: str) -> None:
        """A workflow was told to stop; acts when it is ours."""
        if held := self._running.get(id):
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

    def _start(self, row: WorkflowRow) -> None:
        if row.id in self._running:
            return
        run: Run[P] = Run(row, self.parts, self.world)
        task = asyncio.create_task(self._drive(run), name=f"workflow-{row.kind}-{row.id}")
        self._running[row.id] = (run, task)

    # -- one workflow

    async def _drive(self, run: Run[P]) -> None:
        with log.bound(workflow=run.id, kind=run.row.kind, server=run.subject_id, request_id=run.row.request_id):
            tries = 0
            try:
                while run.row.state in ("running", "waiting", "undoing") and run.row.owner == self.process:
                    try:
                        await self._move(run)
                        tries = 0
                    except Unavailable as error:
                        tries += 1
                        logger.warning("workflow.retry", step=run.step, error=error.message, detail=error.detail)
                        await self.world.sleep(self._backoff(tries))
            except LostLease:
                logger.warning("workflow.lease_lost", step=run.step)
            except Exception:
                logger.exception("workflow.engine_failed", step=run.step)  # the lease lapses; it is taken up again
            finally:
                self._running.pop(run.id, None)
                if self.let_go is not None:
                    self.let_go(run.id)
                if self._wake is not None and len(self._running) + 1 >= self.workers:
                    self._wake.set()

    def _backoff(self, tries: int) -> float:
        return min(30.0, 0.2 * 2.0 ** min(tries, 10)) * (0.5 + self.world.random.random() / 2)

    async def _move(self, run: Run[P]) -> None:
        """Make one move: a step forward, a step back, or the turn between them."""
        definition = self.definitions[run.row.kind]
        at = definition.index(run.row.step)
        current = definition.steps[at]
        with log.bound(step=current.name):
            if run.undoing:
                await self._undo(run, definition, at)
            elif run.row.state == "waiting" and (waiting := await self._children_of(run)) is not None:
                await self._go_on(run, definition, at, waiting)
            elif run.row.signal and not run.row.point_of_no_return and not definition.forced_through and not current.point_of_no_return:
                await self._turn_back(run, current, None)
            else:
                await self._forward(run, definition, at)

    async def _forward(self, run: Run[P], definition: Definition, at: int) -> None:
        current = definition.steps[at]
        started = self.world.now().isoformat()
        try:
            twice = self.faults.at(definition.kind, current.name, "before")
            if current.in_transaction:
                await self._forward_in_transaction(run, definition, at, started)
                self.faults.at(definition.kind, current.name, "after")
                return
            result = await self._within_deadline(run, current, definition)
            if twice:
                result = await self._within_deadline(run, current, definition)
            self.faults.at(definition.kind, current.name, "after")
        except (LostLease, Unavailable):
            if self._late(run, current):
                await self._failed(run, definition, current, started, Unavailable(f"Step {current.name} could not be done in time."))
                return
            raise
        except Error as error:
            await self._failed(run, definition, current, started, error)
            return
        except Exception as error:
            logger.exception("workflow.step_crashed")
            await self._failed(run, definition, current, started, Error(detail=repr(error)))
            return
        if result is STOPPED:
            return
        await self._go_on(run, definition, at, result, started)

    async def _forward_in_transaction(self, run: Run[P], definition: Definition, at: int, started: str) -> None:
        async with self._turn, self.database.transaction() as conn:
            result = await definition.steps[at].act(run, conn)
            move = next_move(run, definition, at, result, started)
            promoted = await self._write(conn, run, move)
        self._apply(run, move, promoted)

    async def _within_deadline(self, run: Run[P], current: Step, definition: Definition) -> Any:
        """Run a step; a signal ends it early (``STOPPED``) where the workflow may still turn back."""
        interruptible = not (run.row.point_of_no_return or definition.forced_through or current.point_of_no_return)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(max(0.0, self._seconds_left(run, current))) as limit:
                if interruptible:
                    run.cancel_now = lambda: None if limit.expired() else limit.reschedule(loop.time())
                    if run.signalled.is_set():
                        return STOPPED
                return await current.act(run)
        except TimeoutError:
            if interruptible and run.signalled.is_set():
                return STOPPED
            raise Error(f"Step {current.name} did not end within {current.deadline:.0f} seconds.") from None
        finally:
            run.cancel_now = None

    def _seconds_left(self, run: Run[P], current: Step) -> float:
        """On the database's clock for a row that was taken over, on ours since the last move that we wrote."""
        gone = (self.world.now() - run.taken_at).total_seconds()
        if run.row.deadline is not None:
            return (run.row.deadline - run.row.updated_at).total_seconds() - gone
        return (current.deadline if run.step_deadline is None else run.step_deadline) - gone

    def _late(self, run: Run[P], current: Step) -> bool:
        return self._seconds_left(run, current) <= 0

    async def _go_on(self, run: Run[P], definition: Definition, at: int, result: Any, started: str | None = None) -> None:
        move = next_move(run, definition, at, result, started or self.world.now().isoformat())
        if isinstance(result, Children):
            await self._begin_children(run, move, result)
        elif move.state == "running" and definition.steps[definition.index(move.step)].joined:
            self._hold_back(run, move)
        else:
            await self._commit(run, move)

    def _hold_back(self, run: Run[P], move: Move) -> None:
        """Our copy of the row goes ahead of the database, until the next write brings both moves."""
        held = run.unwritten.then(move) if run.unwritten else move
        self._apply(run, move, None)
        run.unwritten = held

    async def _failed(self, run: Run[P], definition: Definition, current: Step, started: str, error: Error) -> None:
        logger.warning("workflow.step_failed", step=current.name, error=error.message, detail=error.detail, error_kind=type(error).__name__)
        event = note_of(run, current.name, started, "Error", error.message, error.detail)
        if definition.forced_through or run.row.point_of_no_return:
            attempt = run.attempt + 1
            move = at_step(
                run,
                current,
                "running",
                attempt=attempt,
                events=[event][: attempt < 20],
                wake_in=self._backoff(attempt),
                deadline=current.deadline,
                keep_lease=False,
            )
            await self._commit(run, move)
            return
        await self._turn_back(run, current, error, [event])

    async def _turn_back(self, run: Run[P], current: Step, error: Error | None, events: list[dict[str, Any]] | None = None) -> None:
        results: dict[str, Any] = {}
        if isinstance(error, GiveUp):
            results["memory"] = run.memory | error.remember
        if isinstance(error, TryAgain):
            results["retry"] = error.from_step
        await self._commit(
            run,
            at_step(run, current, "undoing", results=results, events=events or [], error=told(error) if error else None),
        )

    # -- backwards

    async def _undo(self, run: Run[P], definition: Definition, at: int) -> None:
        current = definition.steps[at]
        started = self.world.now().isoformat()
        moved = move_back(run, definition, at)
        ends = moved.state in ("failed", "cancelled")
        try:
            twice = self.faults.at(definition.kind, current.name, "undo-before")
            if current.undo and not current.undo_in_transaction:
                for _ in range(2 if twice else 1):
                    async with asyncio.timeout(current.deadline):
                        await current.undo(run)
            async with self._turn, self.database.transaction() as conn:
                if current.undo and current.undo_in_transaction:
                    for _ in range(2 if twice else 1):
                        await current.undo(run, conn)
                if ends:
                    await self._ended(run, definition, conn, moved)
                promoted = await self._write(conn, run, moved)
            self.faults.at(definition.kind, current.name, "undo-after")
        except (LostLease, Unavailable):
            raise
        except Exception as error:
            if not isinstance(error, Error | TimeoutError):
                logger.exception("workflow.undo_crashed")
            await self._undo_failed(run, definition, at, started, error)
            return
        self._apply(run, moved, promoted)

    async def _ended(self, run: Run[P], definition: Definition, conn: Connection, moved: Move) -> None:
        if moved.state == "failed":
            await definition.failed(run, conn, run.row.error or {})
        else:
            await definition.cancelled(run, conn)

    async def _undo_failed(self, run: Run[P], definition: Definition, at: int, started: str, error: Exception) -> None:
        """Try an undo again a few times; then go on and leave the rest to the reconcilers, with a note in the history."""
        current = definition.steps[at]
        message = (
            error.message
            if isinstance(error, Error)
            else "The undo did not end in time."
            if isinstance(error, TimeoutError)
            else repr(error)
        )
        logger.warning("workflow.undo_failed", step=current.name, error=message)
        tries = int(run.results.get(f"undo-tries:{current.name}", 0)) + 1
        event = note_of(run, f"undo_{current.name}", started, "Error", message)
        if tries < UNDO_TRIES:
            move = at_step(
                run,
                current,
                "undoing",
                attempt=run.attempt + 1,
                error=run.row.error,
                results={f"undo-tries:{current.name}": tries},
                events=[event],
                wake_in=self._backoff(tries),
                keep_lease=False,
            )
            await self._commit(run, move)
            return
        move = move_back(run, definition, at)
        move.events = [event]
        async with self._turn, self.database.transaction() as conn:
            if move.state in ("failed", "cancelled"):
                await self._ended(run, definition, conn, move)
            promoted = await self._write(conn, run, move)
        self._apply(run, move, promoted)

    # -- children

    async def _children_of(self, run: Run[P]) -> Any:
        """The end states of the children we wait for; a ``Wait`` while some are open; None when there are none."""
        count = run.results.get(f"{run.step}:children")
        if count is None:
            return None
        async with self.database.connection() as conn:
            rows = await workflows.children(conn, run.id)
        if len(rows) < count or any(r.finished_at is None for r in rows):
            return Wait(CHILDREN_SECONDS)
        return [{"subject_id": r.subject_id, "kind": r.kind, "state": r.state, "error": r.error} for r in rows]

    async def _begin_children(self, run: Run[P], move: Move, wanted: Children) -> None:
        async with self._turn, self.database.transaction() as conn:
            ids = [await self._begin_child(conn, run, c) for c in wanted.children]
            promoted = await self._write(conn, run, move)
        self._apply(run, move, promoted)
        self.go(ids)

    async def _begin_child(self, conn: Connection, run: Run[P], child: Child) -> str:
        return await self.begin(conn, run.ctx, child.kind, child.subject_id, parent_id=run.id, **child.input)

    # -- writing

    async def _commit(self, run: Run[P], move: Move) -> None:
        if self.witness or move.state in ("done", "failed", "cancelled"):
            async with self._turn, self.database.transaction() as conn:
                promoted = await self._write(conn, run, move)
        else:
            async with self._turn, self.database.connection() as conn:
                promoted = await self._write(conn, run, move)
        self._apply(run, move, promoted)

    async def _write(self, conn: Connection, run: Run[P], move: Move) -> WorkflowRow | None:
        """Write the move; when it ends the workflow, free the subject's queue. Raises ``LostLease``."""
        move = run.unwritten.then(move) if run.unwritten else move
        written = await workflows.advance(conn, run.id, self.process, move)
        if written is None:
            raise LostLease
        if self.witness:
            await self.witness.moved(conn, run, move)
        if written.signal and not run.signalled.is_set():
            run.signal(written.signal)
        if move.state not in ("done", "failed", "cancelled"):
            return None
        if run.row.parent_id:
            await workflows.wake_parent(conn, run.row.parent_id)
        return await workflows.promote(conn, run.subject_id, self.process, self.lease_seconds) if written.signal else None

    def _apply(self, run: Run[P], move: Move, promoted: WorkflowRow | None) -> None:
        """The move is committed: let our copy of the row say the same."""
        row = run.row
        row.state, row.step, row.task_state, row.attempt, row.error = move.state, move.step, move.task_state, move.attempt, move.error
        row.results = {k: v for k, v in row.results.items() if k not in move.forget} | move.results
        row.point_of_no_return = row.point_of_no_return or move.point_of_no_return
        row.deadline, run.step_deadline, run.unwritten = None, move.deadline, None
        run.step_began(self.world.now())
        if not move.keep_lease:
            row.owner = None
        if row.state in ("done", "failed", "cancelled"):
            logger.info(f"workflow.{row.state}", kind=row.kind, server=row.subject_id, error=(row.error or {}).get("message"))
            if row.parent_id:
                self._wake.set()
        elif not move.keep_lease and move.wake_in < self.poll_seconds:
            asyncio.get_running_loop().call_later(move.wake_in + 0.01, self._wake.set)
        if promoted is not None:
            self._start(promoted)


BUSY = "Another operation on this server is still running."
STOPPED: Any = object()  # a step that a signal ended early
