"""Rows of ``workflows``: written by the engine, read by os-instance-actions and by operators."""

from typing import Any

import msgspec

from nova_async.context import Context
from nova_async.db import Connection, Query
from nova_async.workflow.row import WorkflowRow


class Held(msgspec.Struct):
    """A lease that was renewed."""

    id: str
    signal: str | None


class Signal(msgspec.Struct):
    """What a workflow was told meanwhile."""

    signal: str | None


INSERT = Query("workflows", "insert", WorkflowRow)
INSERT_QUEUED = Query("workflows", "insert_queued", WorkflowRow)
INSERT_FINISHED = Query[Any]("workflows", "insert_finished")
QUEUED_OF = Query("workflows", "queued_of", WorkflowRow)
CANCEL_QUEUED = Query[Any]("workflows", "cancel_queued")
LIVE_OF = Query("workflows", "live_of", WorkflowRow)
SIGNAL_LIVE = Query("workflows", "signal_live", WorkflowRow)
SIGNAL_ONE = Query("workflows", "signal_one", WorkflowRow)
TAKE = Query("workflows", "take", WorkflowRow)
RENEW = Query("workflows", "renew", Held)
LET_GO = Query[Any]("workflows", "let_go")
LET_ALL_GO = Query[Any]("workflows", "let_all_go")
LET_PREDECESSORS_GO = Query[Any]("workflows", "let_predecessors_go")
ADVANCE = Query("workflows", "advance", Signal)
PROMOTE = Query("workflows", "promote", WorkflowRow)
PROMOTE_STRAY = Query[Any]("workflows", "promote_stray")
WAKE_PARENT = Query[Any]("workflows", "wake_parent")
CHILDREN = Query("workflows", "children", WorkflowRow)
GET = Query("workflows", "get", WorkflowRow)
IS_LIVE = Query[bool]("workflows", "is_live", bool)
OF_SUBJECT = Query("workflows", "of_subject", WorkflowRow)
BY_REQUEST = Query("workflows", "by_request", WorkflowRow)
RECENT = Query("workflows", "recent", WorkflowRow)
REVIVE = Query("workflows", "revive", WorkflowRow)
LIVE_COUNT = Query[int]("workflows", "live_count", int)


class New(msgspec.Struct, kw_only=True):
    """What an operation is made of before it has rows. Times in seconds."""

    kind: str
    parent_id: str | None = None
    step: str
    task_state: str | None
    deadline: float | None
    input: dict[str, Any]
    context: Context


async def insert(conn: Connection, new: New, ids: dict[str, str], owner: str | None, lease: float) -> list[WorkflowRow]:
    """``ids``: workflow -> subject. Rows are missing for subjects that already have a live workflow."""
    return await INSERT.all(
        conn,
        list(ids),
        new.kind,
        list(ids.values()),
        new.parent_id,
        new.step,
        new.task_state,
        new.input,
        msgspec.to_builtins(new.context),
        owner,
        lease,
        new.context.request_id,
        new.deadline,
    )


async def insert_queued(conn: Connection, new: New, id: str, subject_id: str) -> WorkflowRow | None:
    """None when one already waits."""
    context = msgspec.to_builtins(new.context)
    return await INSERT_QUEUED.maybe(conn, id, new.kind, subject_id, new.step, new.task_state, new.input, context, new.context.request_id)


async def insert_finished(conn: Connection, id: str, kind: str, subject_id: str, ctx: Context, history: list[dict[str, Any]]) -> None:
    await INSERT_FINISHED.run(conn, id, kind, subject_id, msgspec.to_builtins(ctx), ctx.request_id, history)


async def queued_of(conn: Connection, subject_id: str) -> WorkflowRow | None:
    return await QUEUED_OF.maybe(conn, subject_id)


async def cancel_queued(conn: Connection, id: str) -> int:
    """How many it was: 0 when it waits no more."""
    return await CANCEL_QUEUED.run(conn, id)


async def live_of(conn: Connection, subject_id: str) -> WorkflowRow | None:
    return await LIVE_OF.maybe(conn, subject_id)


async def signal_live(conn: Connection, subject_id: str, signal: str, by: str) -> WorkflowRow | None:
    """None when the subject has no live workflow; a live one of kind ``by`` is returned untouched."""
    return await SIGNAL_LIVE.maybe(conn, subject_id, signal, by)


async def signal_one(conn: Connection, id: str, signal: str) -> WorkflowRow | None:
    return await SIGNAL_ONE.maybe(conn, id, signal)


async def take(conn: Connection, owner: str, lease: float, limit: int) -> list[WorkflowRow]:
    return await TAKE.all(conn, owner, lease, limit)


async def renew(conn: Connection, owner: str, ids: list[str], lease: float) -> list[Held]:
    return await RENEW.all(conn, owner, ids, lease)


async def let_go(conn: Connection, owner: str) -> None:
    await LET_GO.run(conn, owner)


async def let_all_go(conn: Connection) -> None:
    await LET_ALL_GO.run(conn)


async def let_predecessors_go(conn: Connection, prefix: str) -> None:
    await LET_PREDECESSORS_GO.run(conn, prefix)


async def promote(conn: Connection, subject_id: str, owner: str, lease: float) -> WorkflowRow | None:
    return await PROMOTE.maybe(conn, subject_id, owner, lease)


async def promote_stray(conn: Connection) -> int:
    return await PROMOTE_STRAY.run(conn)


async def wake_parent(conn: Connection, id: str) -> None:
    await WAKE_PARENT.run(conn, id)


async def children(conn: Connection, id: str) -> list[WorkflowRow]:
    return await CHILDREN.all(conn, id)


async def get(conn: Connection, id: str) -> WorkflowRow:
    """Raises ``NotFound``."""
    return await GET.one(conn, id)


async def is_live(conn: Connection, id: str, *, undo: bool) -> bool:
    """Whether it goes forward (running, waiting), or is being undone where that is asked."""
    return await IS_LIVE.one(conn, id, undo)


async def of_subject(conn: Connection, subject_id: str) -> list[WorkflowRow]:
    return await OF_SUBJECT.all(conn, subject_id)


async def by_request(conn: Connection, subject_id: str, request_id: str) -> WorkflowRow | None:
    return await BY_REQUEST.maybe(conn, subject_id, request_id)


async def recent(conn: Connection, states: list[str], limit: int = 100) -> list[WorkflowRow]:
    return await RECENT.all(conn, states, limit)


async def revive(conn: Connection, id: str, state: str) -> WorkflowRow | None:
    """None when it is not failed. Breaks a constraint (``Conflict``) when another operation is live."""
    return await REVIVE.maybe(conn, id, state)


async def live_count(conn: Connection) -> int:
    return await LIVE_COUNT.one(conn)


class Move(msgspec.Struct, kw_only=True):
    """One write of the engine. ``None`` seconds: none; ``wake_in``: when it wants to run again."""

    state: str
    step: str | None
    task_state: str | None = None
    attempt: int = 0
    results: dict[str, Any] = msgspec.field(default_factory=dict)
    forget: list[str] = msgspec.field(default_factory=list)
    events: list[dict[str, Any]] = msgspec.field(default_factory=list)
    point_of_no_return: bool = False
    wake_in: float = 0.0
    deadline: float | None = None
    error: dict[str, Any] | None = None
    keep_lease: bool = True

    def then(self, later: "Move") -> "Move":
        """Both in one write."""
        return msgspec.structs.replace(
            later,
            results={k: v for k, v in self.results.items() if k not in later.forget} | later.results,
            forget=[*self.forget, *later.forget],
            events=[*self.events, *later.events],
            point_of_no_return=self.point_of_no_return or later.point_of_no_return,
        )


async def advance(conn: Connection, id: str, owner: str, move: Move) -> Signal | None:
    """None when somebody else holds the workflow now."""
    return await ADVANCE.maybe(
        conn,
        id,
        owner,
        move.state,
        move.step,
        move.task_state,
        move.attempt,
        move.results,
        move.forget,
        move.events,
        move.point_of_no_return,
        move.wake_in,
        move.deadline,
        move.error,
        move.keep_lease,
    )
