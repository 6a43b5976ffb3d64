"""The engine alone: steps forward, undo back, leases, signals, waits, children. Knows nothing of servers."""

import asyncio
from typing import Any

import pytest

from nova_async.db import workflows
from nova_async.errors import Conflict, Error, Unavailable
from nova_async.workflow.faults import FaultPoints
from nova_async.workflow.steps import Child, Children, Definition, GiveUp, TryAgain, Wait, step, steps


def noting(name: str, act: Any = None) -> Any:
    """A step function that notes its name in the bench's log, and then does ``act``."""

    async def run_step(run: Any, conn: Any = None) -> Any:
        run.parts.log.append(name)
        return await act(run) if act else name.upper()

    run_step.__name__ = name
    return run_step


def three(kind: str = "make", middle: Any = None, **more: Any) -> Definition:
    return Definition(
        kind=kind,
        steps=steps(
            step(noting("first"), undo=noting("un-first"), task_state="starting", in_transaction=True, undo_in_transaction=True),
            step(noting("second", middle), undo=noting("un-second"), task_state="working"),
            step(noting("third"), undo=noting("un-third"), in_transaction=True, point_of_no_return=True),
        ),
        **more,
    )


async def fails(run: Any) -> None:
    raise Error("it broke")


async def test_steps_run_in_order_and_their_results_are_kept(bench):
    async with bench.engine(three()) as engine:
        id, _ = await bench.begin(engine, "make")
        await engine.idle()
    row = await bench.row(id)
    assert bench.log == ["first", "second", "third"]
    assert row.state == "done"
    assert row.task_state is None
    assert row.results == {"first": "FIRST", "second": "SECOND", "third": "THIRD"}
    assert [(e["event"], e["result"]) for e in row.history] == [
        ("conductor_first", "Success"),
        ("conductor_second", "Success"),
        ("conductor_third", "Success"),
    ]


async def test_a_failed_step_is_undone_with_all_before_it_in_reverse(bench):
    async with bench.engine(three(middle=fails)) as engine:
        id, _ = await bench.begin(engine, "make")
        await engine.idle()
    row = await bench.row(id)
    assert bench.log == ["first", "second", "un-second", "un-first"]
    assert row.state == "failed"
    assert row.error["message"] == "it broke"


async def test_the_end_of_a_failure_commits_with_the_row(bench):
    ended = []

    async def failed(run: Any, conn: Any, error: dict[str, Any]) -> None:
        ended.append((await conn.fetchval("SELECT state FROM workflows WHERE id = $1", run.id), error["message"]))

    async with bench.engine(three(middle=fails, failed=failed)) as engine:
        await bench.begin(engine, "make")
        await engine.idle()
    assert ended == [("undoing", "it broke")]


async def test_try_again_undoes_back_to_a_step_and_remembers(bench):
    async def picky(run: Any) -> str:
        if len(run.memory.get("tried", [])) < 2:
            raise TryAgain("first", Error("not here"), {"tried": [*run.memory.get("tried", []), run.attempt]})
        return "at last"

    async with bench.engine(three(middle=picky)) as engine:
        id, _ = await bench.begin(engine, "make")
        await engine.idle()
    row = await bench.row(id)
    assert bench.log == [*["first", "second", "un-second", "un-first"] * 2, "first", "second", "third"]
    assert row.state == "done"
    assert row.results["memory"] == {"tried": [0, 1]}
    assert "retry" not in row.results


async def test_give_up_remembers_and_fails(bench):
    async def hopeless(run: Any) -> None:
        raise GiveUp(Error("no host"), {"decision": {"hosts": 3}})

    async with bench.engine(three(middle=hopeless)) as engine:
        id, _ = await bench.begin(engine, "make")
        await engine.idle()
    row = await bench.row(id)
    assert (row.state, row.results["memory"]) == ("failed", {"decision": {"hosts": 3}})


async def test_unavailable_is_tried_again_in_place(bench):
    left = [2]

    async def away(run: Any) -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise Unavailable()
        return "back"

    async with bench.engine(three(middle=away)) as engine:
        id, _ = await bench.begin(engine, "make")
        await engine.idle()
    assert (await bench.row(id)).state == "done"
    assert bench.log.count("second") == 3


async def test_a_step_that_outlives_its_deadline_has_failed(bench):
    async def hang(run: Any) -> None:
        await asyncio.sleep(60)

    definition = Definition(kind="make", steps=steps(step(noting("only", hang), undo=noting("un-only"), deadline=0.2)))
    async with bench.engine(definition) as engine:
        id, _ = await bench.begin(engine, "make")
        await engine.idle()
    row = await bench.row(id)
    assert row.state == "failed"
    assert "did not end within" in row.error["message"]


async def test_one_subject_has_one_live_workflow(bench):
    async def hang(run: Any) -> None:
        await asyncio.sleep(60)

    async with bench.engine(three(middle=hang)) as engine:
        _, subject = await bench.begin(engine, "make")
        with pytest.raises(Conflict):
            await bench.begin(engine, "make", subject)


async def test_delete_beats_a_running_workflow_and_runs_after_it(bench):
    async def hang(run: Any) -> None:
        await asyncio.sleep(60)

    asked_again = asyncio.Event()

    async def remove(run: Any) -> None:
        await asked_again.wait()

    delete = Definition(kind="delete", steps=steps(step(noting("remove", remove))), forced_through=True)
    async with bench.engine(three(middle=hang), delete) as engine:
        made, subject = await bench.begin(engine, "make")
        await bench.until(lambda: "second" in bench.log)
        deleted, _ = await bench.begin(engine, "delete", subject)
        again, _ = await bench.begin(engine, "delete", subject)
        asked_again.set()
        await engine.idle()
    assert again == deleted
    assert (await bench.row(made)).state == "cancelled"
    assert (await bench.row(deleted)).state == "done"
    assert bench.log == ["first", "second", "un-second", "un-first", "remove"]


async def test_delete_waits_for_what_is_past_its_point_of_no_return(bench):
    go_on = asyncio.Event()

    async def last(run: Any) -> None:
        await go_on.wait()

    make = Definition(
        kind="make", steps=steps(step(noting("turn"), point_of_no_return=True), step(noting("finish", last), undo=noting("never")))
    )
    delete = Definition(kind="delete", steps=steps(step(noting("remove"))), forced_through=True)
    async with bench.engine(make, delete) as engine:
        made, subject = await bench.begin(engine, "make")
        await bench.until(lambda: "finish" in bench.log)
        await bench.begin(engine, "delete", subject)
        await asyncio.sleep(0.1)
        assert "remove" not in bench.log
        go_on.set()
        await engine.idle()
    assert (await bench.row(made)).state == "done"
    assert bench.log == ["turn", "finish", "remove"]


async def test_an_operation_cuts_short_those_that_it_names_and_runs_after_them(bench):
    async def hang(run: Any) -> None:
        await asyncio.sleep(60)

    go_on = asyncio.Event()

    async def last(run: Any) -> None:
        await go_on.wait()

    press = Definition(kind="press", steps=steps(step(noting("press", last))))
    other = Definition(kind="other", steps=steps(step(noting("never"))))
    async with bench.engine(three(middle=hang), press, other) as engine:
        made, subject = await bench.begin(engine, "make")
        await bench.until(lambda: "second" in bench.log)
        for over in (frozenset(), frozenset({"press"})):
            with pytest.raises(Conflict):
                await bench.begin(engine, "press", subject, over=over)
        assert (await bench.row(made)).signal is None
        pressed, _ = await bench.begin(engine, "press", subject, over=frozenset({"make"}))
        again, _ = await bench.begin(engine, "press", subject, over=frozenset({"make"}))
        with pytest.raises(Conflict):
            await bench.begin(engine, "other", subject, over=frozenset({"make"}))
        go_on.set()
        await engine.idle()
    assert again == pressed
    assert ((await bench.row(made)).state, (await bench.row(pressed)).state) == ("cancelled", "done")
    assert bench.log == ["first", "second", "un-second", "un-first", "press"]


async def test_an_operation_that_may_cut_short_others_just_begins_where_none_is(bench):
    press = Definition(kind="press", steps=steps(step(noting("press"))))
    async with bench.engine(press) as engine:
        first, subject = await bench.begin(engine, "press", over=frozenset({"press"}))
        await engine.idle()
        second, _ = await bench.begin(engine, "press", subject, over=frozenset({"press"}))
        await engine.idle()
    assert first != second
    assert bench.log == ["press", "press"]


async def test_delete_takes_the_place_of_what_waits(bench):
    go_on = asyncio.Event()

    async def last(run: Any) -> None:
        await go_on.wait()

    make = Definition(
        kind="make", steps=steps(step(noting("turn"), point_of_no_return=True), step(noting("finish", last), undo=noting("never")))
    )
    press = Definition(kind="press", steps=steps(step(noting("never"))))
    delete = Definition(kind="delete", steps=steps(step(noting("remove"))), forced_through=True)
    async with bench.engine(make, press, delete) as engine:
        _, subject = await bench.begin(engine, "make")
        await bench.until(lambda: "finish" in bench.log)
        pressed, _ = await bench.begin(engine, "press", subject, over=frozenset({"make"}))
        deleted, _ = await bench.begin(engine, "delete", subject)
        go_on.set()
        await engine.idle()
    pressed_row = await bench.row(pressed)
    assert (pressed_row.state, pressed_row.finished_at is not None) == ("cancelled", True)
    assert (await bench.row(deleted)).state == "done"
    assert bench.log == ["turn", "finish", "remove"]


async def test_a_forced_workflow_is_tried_until_it_is_done(bench):
    left = [3]

    async def stubborn(run: Any) -> None:
        left[0] -= 1
        if left[0] > 0:
            raise Error("not yet")

    delete = Definition(kind="delete", steps=steps(step(noting("remove", stubborn))), forced_through=True)
    async with bench.engine(delete) as engine:
        id, _ = await bench.begin(engine, "delete")
        await engine.idle()
    row = await bench.row(id)
    assert (row.state, row.attempt) == ("done", 2)


async def test_an_undo_that_fails_for_good_is_left_with_a_note(bench, monkeypatch):
    monkeypatch.setattr("nova_async.workflow.progress.UNDO_TRIES", 2)
    definition = Definition(
        kind="make",
        steps=steps(step(noting("first"), undo=noting("un-first")), step(noting("second", fails), undo=noting("un-second", fails))),
    )
    async with bench.engine(definition) as engine:
        id, _ = await bench.begin(engine, "make")
        await engine.idle()
    row = await bench.row(id)
    assert row.state == "failed"
    assert bench.log == ["first", "second", "un-second", "un-second", "un-first"]
    assert [e["event"] for e in row.history if e["result"] == "Error"] == ["conductor_second", *["conductor_undo_second"] * 2]


async def test_a_wait_holds_nothing_and_comes_back(bench):
    async def twice(run: Any) -> Any:
        return Wait(0.1) if bench.log.count("second") < 2 else "rested"

    async with bench.engine(three(middle=twice)) as engine:
        id, _ = await bench.begin(engine, "make")
        await bench.until(lambda: "second" in bench.log)
        await engine.idle()
    assert (await bench.row(id)).results["second"] == "rested"


async def test_children_run_for_other_subjects_and_their_parent_goes_on(bench):
    others = [bench.world.uuid() for _ in range(3)]

    async def split(run: Any) -> Any:
        return Children(tuple(Child(kind="part", subject_id=s, input={"n": i}) for i, s in enumerate(others)))

    part = Definition(kind="part", steps=steps(step(noting("part"))))
    async with bench.engine(three(middle=split), part) as engine:
        id, _ = await bench.begin(engine, "make")
        await engine.idle()
    row = await bench.row(id)
    assert row.state == "done"
    assert sorted(c["subject_id"] for c in row.results["second"]) == sorted(others)
    assert bench.log == ["first", "second", "part", "part", "part", "third"]


async def test_another_process_takes_over_when_the_lease_lapses(bench):
    async def stall(run: Any) -> str:
        if run.row.owner == "dead":
            await asyncio.sleep(60)
        return run.row.owner

    async with bench.engine(three(middle=stall), process="dead", lease_seconds=3600.0) as dying:
        id, _ = await bench.begin(dying, "make")
        await bench.until(lambda: "second" in bench.log)
        async with bench.database.connection() as conn:  # as if it had been killed long ago
            await conn.execute("UPDATE workflows SET lease_until = now() - interval '1 second' WHERE id = $1", id)
        async with bench.engine(three(middle=stall), process="alive") as engine:
            await engine.idle()
    row = await bench.row(id)
    assert (row.state, row.results["second"]) == ("done", "alive")


async def test_a_process_that_lost_its_lease_changes_nothing(bench):
    go_on = asyncio.Event()

    async def slow(run: Any) -> str:
        await go_on.wait()
        return "stale"

    async with bench.engine(three(middle=slow), lease_seconds=60.0) as engine:
        id, _ = await bench.begin(engine, "make")
        await bench.until(lambda: "second" in bench.log)
        async with bench.database.connection() as conn:
            await conn.execute("UPDATE workflows SET owner = 'somebody else' WHERE id = $1", id)
        go_on.set()
        await asyncio.sleep(0.2)
        row = await bench.row(id)
    assert (row.step, row.results) == ("second", {"first": "FIRST"})


async def test_a_stopped_engine_hands_back_what_is_open(bench):
    async def hang(run: Any) -> None:
        await asyncio.sleep(60)

    async with bench.engine(three(middle=hang)) as engine:
        id, _ = await bench.begin(engine, "make")
        await bench.until(lambda: "second" in bench.log)
    row = await bench.row(id)
    assert (row.state, row.step, row.owner) == ("running", "second", None)
    async with bench.engine(three(), process="next") as engine:
        await engine.idle()
    assert (await bench.row(id)).state == "done"


async def test_a_rolled_back_beginning_never_runs(bench):
    async with bench.engine(three()) as engine:
        with pytest.raises(ZeroDivisionError):
            async with bench.database.transaction() as conn:
                await engine.begin(conn, bench.ctx, "make", bench.world.uuid())
                raise ZeroDivisionError
        await asyncio.sleep(0.2)
        async with bench.database.connection() as conn:
            assert await workflows.recent(conn, []) == []
    assert bench.log == []


async def test_a_failed_workflow_can_be_retried_by_an_operator(bench):
    broken = [True]

    async def once(run: Any) -> str:
        if broken[0]:
            raise Error("broken")
        return "mended"

    async with bench.engine(three(middle=once)) as engine:
        id, _ = await bench.begin(engine, "make")
        await engine.idle()
        broken[0] = False
        async with bench.database.connection() as conn:
            await workflows.revive(conn, id, "running")
        engine.wake()
        await engine.idle()
    assert (await bench.row(id)).state == "done"


@pytest.mark.parametrize("fault", ["make/*/before=fail", "make/second/after=fail", "make/third/before=fail"])
async def test_fault_points_make_a_step_fail(bench, fault):
    async with bench.engine(three(), fault_points=FaultPoints([fault])) as engine:
        id, _ = await bench.begin(engine, "make")
        await engine.idle()
    assert (await bench.row(id)).state == "failed"


def joined(bench: Any, failing: list[str]) -> Definition:
    """Two steps, of which the second is written together with the first; it fails as often as ``failing`` says."""

    async def work(run: Any) -> str:
        bench.log.append("work")
        return "WORK"

    async def note(run: Any, conn: Any) -> str:
        bench.log.append("note")
        bench.seen = (await workflows.get(conn, run.id)).step
        if failing:
            raise Error(failing.pop())
        return "NOTE"

    return Definition(kind="make", steps=steps(step(work), step(note, in_transaction=True, joined=True)))


async def test_a_joined_step_and_the_one_before_are_one_write(bench):
    async with bench.engine(joined(bench, [])) as engine:
        id, _ = await bench.begin(engine, "make")
        await engine.idle()
    row = await bench.row(id)
    assert (bench.seen, row.state, row.results) == ("work", "done", {"work": "WORK", "note": "NOTE"})
    assert [event["event"] for event in row.history] == ["conductor_work", "conductor_note"]


async def test_what_came_before_a_joined_step_that_fails_is_kept(bench):
    async with bench.engine(joined(bench, ["broken"])) as engine:
        id, _ = await bench.begin(engine, "make")
        await engine.idle()
    row = await bench.row(id)
    assert (row.state, row.error["message"], row.results["work"]) == ("failed", "broken", "WORK")
    assert [(event["event"], event["result"]) for event in row.history] == [("conductor_work", "Success"), ("conductor_note", "Error")]


async def test_a_death_before_a_joined_step_repeats_the_one_before(bench):
    class Killed(BaseException):
        pass

    class Death(FaultPoints):
        def at(self, kind: str, step: str, moment: str) -> bool:
            if (step, moment) == ("note", "before") and bench.log == ["work"]:
                raise Killed
            return super().at(kind, step, moment)

    async with bench.engine(joined(bench, []), fault_points=Death()) as engine:
        id, _ = await bench.begin(engine, "make")
        await engine.idle()
    assert (bench.log, (await bench.row(id)).state) == (["work", "work", "note"], "done")
