"""Which move comes after a step that was done, or undone. Pure: nothing is read or written here."""

from typing import Any

import msgspec

from nova_async.db.workflows import Move
from nova_async.errors import Error
from nova_async.workflow.run import Run
from nova_async.workflow.steps import Children, Definition, GiveUp, Step, Wait

CHILDREN_SECONDS = 5.0  # a parent looks at least this often, in case its last child's word crossed with its own


def next_move(run: Run[Any], definition: Definition, at: int, result: Any, started: str) -> Move:
    """The move after a step that returned ``result``."""
    current = definition.steps[at]
    if isinstance(result, Wait):
        return at_step(run, current, "waiting", wake_in=result.seconds, deadline=None, keep_lease=False)
    if isinstance(result, Children):
        return at_step(
            run,
            current,
            "waiting",
            wake_in=CHILDREN_SECONDS,
            results={f"{current.name}:children": len(result.children)},
            keep_lease=False,
        )
    event = note_of(run, current.name, started, "Success")
    results = {} if result is None else {current.name: msgspec.to_builtins(result)}
    passed = current.point_of_no_return
    if at + 1 == len(definition.steps):
        return Move(
            state="done",
            step=current.name,
            attempt=run.attempt,
            results=results,
            events=[event],
            point_of_no_return=passed,
            keep_lease=False,
        )
    following = next((s for s in definition.steps[at + 1 : -1] if not (s.skip and s.skip(run))), definition.steps[-1])
    return at_step(
        run,
        following,
        "running",
        results=results,
        events=[event],
        point_of_no_return=passed,
        deadline=following.deadline,
    )


def move_back(run: Run[Any], definition: Definition, at: int) -> Move:
    """The move after the step at ``at`` was undone: one further back, forward again, or the end."""
    retry = run.results.get("retry") if not run.row.signal else None
    if retry == definition.steps[at].name:
        again = definition.steps[at]
        names = [s.name for s in definition.steps[at:]]
        return at_step(run, again, "running", attempt=run.attempt + 1, forget=[*names, "retry"], deadline=again.deadline)
    earlier = next((i for i in range(at - 1, -1, -1) if definition.steps[i].undo or definition.steps[i].name == retry), None)
    if earlier is not None:
        step = definition.steps[earlier]
        return at_step(run, step, "undoing", error=run.row.error)
    state = "failed" if run.row.error else "cancelled"
    return Move(state=state, step=definition.steps[at].name, error=run.row.error, attempt=run.attempt, keep_lease=False)


def note_of(run: Run[Any], step: str, started: str, result: str, message: str = "", detail: str | None = None) -> dict[str, Any]:
    host = run.event_host
    event = {
        "event": f"{'compute' if host else 'conductor'}_{step}",
        "start_time": started,
        "finish_time": run.world.now().isoformat(),
    }
    event["result"] = result
    extras = {"host": host, "message": message, "traceback": detail}
    run.event_host = None
    return event | {k: v for k, v in extras.items() if v}


def at_step(run: Run[Any], step: Step, state: str, **fields: Any) -> Move:
    """A move that leaves the workflow in ``state`` at ``step``."""
    return Move(state=state, step=step.name, task_state=step.shows(run.input), **{"attempt": run.attempt, **fields})


def told(error: Error) -> dict[str, Any]:
    cause = error.cause if isinstance(error, GiveUp) else error
    return {"kind": type(cause).__name__, "message": cause.message, "detail": cause.detail}
