"""What a workflow is made of: named steps in order, each with the undo beside it.

    CREATE = Definition("create", steps(
        step(claim_host, undo=release_host, task_state=SCHEDULING, in_transaction=True),
        step(spawn, undo=destroy_guest, task_state=SPAWNING, deadline=1800),
        step(announce, in_transaction=True, point_of_no_return=True),
    ), failed=mark_error)

A step is a coroutine function that takes the ``Run`` and returns plain data, kept in the row under the step's name, or a
``Wait``, or ``Children``. One that is ``in_transaction`` also takes a connection: its effect and the move to the next step
commit together, so it happens exactly once. Any other step and every undo must be safe to repeat.
Where such a step is also ``joined``, the end of the step before it is not written by itself: one transaction has both, and a
process that dies between them repeats the earlier step.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from nova_async.db import Connection
from nova_async.errors import Error

Act = Callable[..., Awaitable[Any]]  # (run) or, in a transaction, (run, connection)
TaskState = str | None | Callable[[dict[str, Any]], str]  # a word, or one that depends on the workflow's input
DEFAULT_DEADLINE = 600.0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step. ``deadline`` in seconds, kept over restarts; a step that outlives it has failed."""

    name: str
    act: Act
    undo: Act | None = None
    task_state: TaskState = None
    deadline: float = DEFAULT_DEADLINE
    skip: Callable[[Any], bool] | None = None  # (run): there is nothing to do nor to undo here
    in_transaction: bool = False
    undo_in_transaction: bool = False
    point_of_no_return: bool = False  # once it succeeded, the workflow goes forward only
    joined: bool = False  # a quick one: the move before it is written together with its own

    def shows(self, input: dict[str, Any]) -> str | None:
        """The task state while it runs."""
        return self.task_state(input) if callable(self.task_state) else self.task_state


def step(
    act: Act,
    *,
    undo: Act | None = None,
    task_state: TaskState = None,
    deadline: float = DEFAULT_DEADLINE,
    skip: Callable[[Any], bool] | None = None,
    in_transaction: bool = False,
    undo_in_transaction: bool = False,
    point_of_no_return: bool = False,
    joined: bool = False,
) -> Step:
    """A step under the name of its function."""
    return Step(
        name=act.__name__,
        act=act,
        undo=undo,
        task_state=task_state,
        deadline=deadline,
        skip=skip,
        in_transaction=in_transaction,
        undo_in_transaction=undo_in_transaction,
        point_of_no_return=point_of_no_return,
        joined=joined,
    )


class Wait(msgspec.Struct, frozen=True):
    """Come back to this step after ``seconds``, or when somebody wakes the workflow; nothing is held meanwhile."""

    seconds: float


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow to start for another subject."""

    kind: str
    subject_id: str
    input: dict[str, Any] = msgspec.field(default_factory=dict)


class Children(msgspec.Struct, frozen=True):
    """Start these and go on to the next step when all have ended; their end states are this step's result."""

    children: tuple[Child, ...]


class GiveUp(Error):
    """The step failed; ``remember`` is kept in the workflow's memory."""

    def __init__(self, cause: Error, remember: dict[str, Any]) -> None:
        super().__init__(cause.message, detail=cause.detail)
        self.cause, self.remember = cause, remember


class TryAgain(GiveUp):
    """Undo back to and including the step ``from_step``, then go forward from there (another host, say)."""

    def __init__(self, from_step: str, cause: Error, remember: dict[str, Any]) -> None:
        super().__init__(cause, remember)
        self.from_step = from_step


async def _nothing(*_: Any) -> None:
    return None


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of workflow. ``failed`` and ``cancelled`` run in the transaction that ends it, after all undoing."""

    kind: str
    steps: tuple[Step, ...]
    failed: Callable[[Any, Connection, dict[str, Any]], Awaitable[None]] = _nothing
    cancelled: Callable[[Any, Connection], Awaitable[None]] = _nothing
    forced_through: bool = False  # never undone: tried again until it is done (delete)

    def index(self, name: str | None) -> int:
        """Position of a step; the first when the name is unknown (the definition changed under the row)."""
        return next((i for i, s in enumerate(self.steps) if s.name == name), 0)


def steps(*items: Step) -> tuple[Step, ...]:
    names = [s.name for s in items]
    assert len(set(names)) == len(names), names
    return items
