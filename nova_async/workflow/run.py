"""One workflow in the hands of this process: its row, and what steps may ask of it."""

import asyncio
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from nova_async.context import Context
from nova_async.db.workflows import Move
from nova_async.workflow.row import WorkflowRow
from nova_async.world import World

P = TypeVar("P")


class Run(Generic[P]):
    """Handed to every step. ``parts`` is whatever the application gave the engine for its steps."""

    def __init__(self, row: WorkflowRow, parts: P, world: World) -> None:
        self.row, self.parts, self.world = row, parts, world
        self.ctx = msgspec.convert(row.context, Context)
        self.signalled = asyncio.Event()
        self.lost = False  # somebody else holds the lease now
        self.cancel_now: Any = None  # ends the step that runs, set by the engine
        self.event_host: str | None = None  # where the present step works, for its event
        self.memo: dict[str, Any] = {}  # what steps in this process looked up; lost with it
        self.told_state: str | None = None  # the server's state when it was last told of
        self.unwritten: Move | None = None  # the move before a joined step: done, and written with the next one
        self.taken_at = world.now()
        self.step_deadline: float | None = None  # seconds from taken_at, when the row's own is out of date
        if row.signal:
            self.signalled.set()

    def step_began(self, now: datetime) -> None:
        """A move was written just now; the deadline of the present step counts from here."""
        self.taken_at = now

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def subject_id(self) -> str:
        return self.row.subject_id

    @property
    def input(self) -> dict[str, Any]:
        return self.row.input

    @property
    def results(self) -> dict[str, Any]:
        """What earlier steps returned, by step name; ``memory`` holds what a ``TryAgain`` wanted remembered."""
        return self.row.results

    @property
    def memory(self) -> dict[str, Any]:
        return self.row.results.get("memory", {})  # type: ignore[no-any-return]

    @property
    def step(self) -> str:
        return self.row.step or ""

    @property
    def attempt(self) -> int:
        return self.row.attempt

    @property
    def undoing(self) -> bool:
        return self.row.state == "undoing"

    def signal(self, signal: str) -> None:
        """Somebody wants it to stop."""
        self.row.signal = self.row.signal or signal
        self.signalled.set()
        if self.cancel_now:
            self.cancel_now()
