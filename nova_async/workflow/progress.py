"""The progress of one workflow: a step forward or back at a time, each written before the next."""

import asyncio
from typing import Any, TypeVar

from nova_async import log
from nova_async.db import Connection, workflows
from nova_async.db.workflows import Move
from nova_async.errors import Error, Unavailable, plain
from nova_async.workflow.beginnings import Beginnings
from nova_async.workflow.faults import FaultPoints
from nova_async.workflow.moves import CHILDREN_SECONDS, at_step, move_back, next_move, note_of, told
from nova_async.workflow.row import WorkflowRow
from nova_async.workflow.run import Run
from nova_async.workflow.steps import Child, Children, Definition, GiveUp, Step, TryAgain, Wait

P = TypeVar("P")
UNDO_TRIES = 6
STOPPED: Any = object()  # a step that a signal ended early
logger = log.get("workflow")


class LostLease(Exception):
    """Somebody else holds the workflow now."""


class Progress(Beginnings[P]):
    parts: P
    faults: FaultPoints
    poll_seconds: float
    let_go: Any  # (workflow_id) -> None: this process works on it no more
    _turn: asyncio.Semaphore  # to write

    def _start(self, row: WorkflowRow) -> None:
        if row.id in self._running:
            return
        run: Run[P] = Run(row, self.parts, self.world)
        task = asyncio.create_task(self._drive(run), name=f"workflow-{row.kind}-{row.id}")
        self._running[row.id] = (run, task)

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
            await self._failed(run, definition, current, started, Error(detail=plain(error)))
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
        if isinstance(error, TimeoutError):
            error = Error("The undo did not end in time.")
        elif not isinstance(error, Error):
            error = Error(detail=plain(error))
        logger.warning("workflow.undo_failed", step=current.name, error=error.message, detail=error.detail)
        tries = int(run.results.get(f"undo-tries:{current.name}", 0)) + 1
        event = note_of(run, f"undo_{current.name}", started, "Error", error.message, error.detail)
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
