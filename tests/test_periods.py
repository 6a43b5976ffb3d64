"""Audit periods: where the one begins and ends that was over last."""

from datetime import UTC, datetime

import pytest

from nova_async.model.periods import last_completed


@pytest.mark.parametrize(
    ("unit", "before", "begin", "end"),
    [
        ("hour", "2026-03-10 12:30:00", "2026-03-10 11:00:00", "2026-03-10 12:00:00"),
        ("hour@40", "2026-03-10 00:30:00", "2026-03-09 22:40:00", "2026-03-09 23:40:00"),
        ("day", "2026-03-01 12:00:00", "2026-02-28 00:00:00", "2026-03-01 00:00:00"),
        ("day@18", "2026-03-10 12:00:00", "2026-03-08 18:00:00", "2026-03-09 18:00:00"),
        ("day@18", "2026-03-10 18:00:01", "2026-03-09 18:00:00", "2026-03-10 18:00:00"),
        ("month", "2026-01-15 00:00:00", "2025-12-01 00:00:00", "2026-01-01 00:00:00"),
        ("month", "2026-03-01 00:00:00", "2026-01-01 00:00:00", "2026-02-01 00:00:00"),
        ("month@15", "2026-01-10 00:00:00", "2025-11-15 00:00:00", "2025-12-15 00:00:00"),
        ("year", "2026-03-10 12:00:00", "2025-01-01 00:00:00", "2026-01-01 00:00:00"),
        ("year@6", "2026-03-10 12:00:00", "2024-06-01 00:00:00", "2025-06-01 00:00:00"),
        ("year@2", "2026-03-10 12:00:00", "2025-02-01 00:00:00", "2026-02-01 00:00:00"),
    ],
)
def test_a_period_ends_before_the_time_and_begins_one_unit_earlier(unit, before, begin, end) -> None:
    moments = [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (before, begin, end)]
    assert last_completed(unit, moments[0]) == (moments[1], moments[2])


@pytest.mark.parametrize("unit", ["", "week", "month@0", "month@29", "day@24", "year@13", "hour@60", "month@x"])
def test_other_words_are_refused(unit) -> None:
    with pytest.raises(ValueError, match="is no audit period"):
        last_completed(unit, datetime(2026, 3, 10, tzinfo=UTC))
