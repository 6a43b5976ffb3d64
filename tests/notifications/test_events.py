"""The tables against Nova's reference, and each other."""

import csv
from pathlib import Path

import pytest

from nova_async.conductor.announcements import ANNOUNCED, RECORDED, named
from nova_async.conductor.workflows import DEFINITIONS
from nova_async.notifications.events import EVENTS, priority

REFERENCE = Path(__file__).parents[3] / "shared" / "api" / "notifications.tsv"
NOT_OURS = {  # what no operation of this service raises
    "aggregate.cache_images.progress", "libvirt.connect.error", "metrics.update", "volume.usage",
    *(f"instance.share_{verb}.{phase}" for verb in ("attach", "detach") for phase in ("start", "end", "error")),
}  # fmt: skip


@pytest.fixture(scope="module")
def reference() -> dict[str, dict[str, str]]:
    if not REFERENCE.is_file():
        pytest.skip("the reference of notifications is not here")
    with REFERENCE.open() as file:
        lines = [line for line in file if not line.startswith("#")]
    return {row["event_type"]: row for row in csv.DictReader(lines, delimiter="\t")}


def test_every_event_type_of_the_reference_can_be_told(reference):
    assert set(reference) - NOT_OURS - set(EVENTS) == set()


def test_priorities_and_publishers_are_those_of_the_reference(reference):
    for name in EVENTS.keys() & reference.keys():
        assert priority(name) == reference[name]["priority"], name
        assert EVENTS[name].service in reference[name]["publisher"], name


def test_every_operation_says_what_it_announces():
    assert {definition.kind for definition in DEFINITIONS} - set(ANNOUNCED) == set()


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.kind)
def test_an_operation_announces_events_that_exist_after_steps_that_it_has(definition):
    steps = {step.name for step in definition.steps}
    for moment, names in ANNOUNCED[definition.kind].items():
        assert set(named(names)) <= set(EVENTS), moment
        assert moment in ("begin", "back", "abort", "done", "failed", "cancelled") or moment.partition(":")[2] in steps, moment


def test_what_is_only_recorded_exists():
    assert {name for names in RECORDED.values() for name in names} <= set(EVENTS)
