"""Every registered workflow, every step, every way to be treated badly; then nothing is left over.

No step can be added without being swept: the registry of definitions is the source.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nova_async.conductor.workflows import DEFINITIONS
from nova_async.db import Database
from nova_async.workflow.faults import FaultPoints
from nova_async.workflow.steps import Definition, Step
from tests.cloud import Cloud, cloud

STEPS = [pytest.param(d, s, id=f"{d.kind}-{s.name}") for d in DEFINITIONS for s in d.steps]
BEFORE = {  # what a server must have gone through before the operation may begin
    "create": (),
    "start": ("create", "stop"),
    "unpause": ("create", "pause"),
    "resume": ("create", "suspend"),
}
ENDS = {"create": "active", "start": "active", "stop": "stopped", "reboot": "active", "pause": "paused", "unpause": "active"}
ENDS |= {"suspend": "suspended", "resume": "active", "delete": "deleted"}


class Killed(BaseException):
    """As if the process had died: nothing is written any more."""


class Deaths(FaultPoints):
    """Kills the workflow once, before or after a step."""

    def __init__(self, kind: str, step: str, moment: str, undo_from: str = "") -> None:
        super().__init__([f"{kind}/{undo_from}/after=fail"] if undo_from else [])
        self.place: tuple[str, str, str] | None = (kind, step, moment)

    def at(self, kind: str, step: str, moment: str) -> bool:
        if self.place == (kind, step, moment):
            self.place = None
            raise Killed
        return super().at(kind, step, moment)


@pytest.fixture
async def one(database: Database, tmp_path: Path) -> AsyncIterator[Cloud]:
    async with cloud(database, tmp_path, hosts=2, conductor__lease_seconds=0.4, scheduler__max_attempts=1) as made:
        yield made
        assert await made.violations() == []


async def prepared(made: Cloud, kind: str) -> str:
    server = await made.insert()
    for earlier in BEFORE.get(kind, ("create",)):
        await made.begin(earlier, server)
        await made.settle()
    return server


async def run(made: Cloud, kind: str, faults: FaultPoints) -> str:
    """Do the operation under these faults; the state in which the server ends."""
    server = await prepared(made, kind)
    made.conductor.engine.faults = faults
    await made.begin(kind, server)
    await made.settle()
    made.conductor.engine.faults = FaultPoints()
    row = await made.server(server)
    assert row.task_state is None
    return "deleted" if row.deleted else row.vm_state


def unharmed(kind: str) -> str:
    """Where a server stays whose operation was undone."""
    if kind == "delete":
        return "deleted"
    return "error" if kind == "create" else ENDS[BEFORE.get(kind, ("create",))[-1]]


def truths(definition: Definition, step: Step, moment: str) -> set[str]:
    """Where a server may be after a failure. A host that has done its work is not made to undo it: the row follows the guest."""
    done = moment == "after" or step.name != definition.steps[0].name
    follows = done and definition.kind not in ("create", "delete")
    return {ENDS[definition.kind] if follows else unharmed(definition.kind)}


@pytest.mark.parametrize(("definition", "step"), STEPS)
async def test_a_step_that_runs_twice_has_the_effect_of_one(one, definition, step):
    assert await run(one, definition.kind, FaultPoints([f"{definition.kind}/{step.name}/before=twice"])) == ENDS[definition.kind]


@pytest.mark.parametrize(("definition", "step"), STEPS)
async def test_a_step_that_fails_unwinds(one, definition, step):
    fault = "once-fail" if definition.forced_through else "fail"
    for moment in ("before", "after"):
        if step.in_transaction and moment == "after":
            continue  # the effect is committed together with the move: there is no such moment
        ended = await run(one, definition.kind, FaultPoints([f"{definition.kind}/{step.name}/{moment}={fault}"]))
        assert ended in truths(definition, step, moment), moment


@pytest.mark.parametrize(("definition", "step"), STEPS)
async def test_an_undo_that_runs_twice_has_the_effect_of_one(one, definition, step):
    if definition.forced_through:
        assert step.undo is None  # it only goes forward
        return
    faults = FaultPoints([f"{definition.kind}/{step.name}/before=fail", f"{definition.kind}/*/undo-before=twice"])
    assert await run(one, definition.kind, faults) in truths(definition, step, "before")


@pytest.mark.parametrize(("definition", "step"), STEPS)
async def test_a_death_at_a_step_is_survived(one, definition, step):
    for moment in ("before", "after"):
        assert await run(one, definition.kind, Deaths(definition.kind, step.name, moment)) == ENDS[definition.kind], moment


@pytest.mark.parametrize(("definition", "step"), [p for p in STEPS if p.values[1].undo])
async def test_a_death_while_undoing_is_survived(one, definition, step):
    failing = next(s.name for s in reversed(definition.steps) if not s.in_transaction)
    for moment in ("undo-before", "undo-after"):
        ended = await run(one, definition.kind, Deaths(definition.kind, step.name, moment, undo_from=failing))
        assert ended in truths(definition, step, "after"), moment
