"""Some of what ``make fuzz`` sends in thousands: every operation of every version that it knows, a few times each."""

import os

import pytest

from tests.e2e.running import running_cloud
from tests.fuzz.__main__ import fuzzed

CASES = int(os.environ.get("NOVA_ASYNC_TEST_CASES", "1200"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_requests_at_random_are_answered_as_documented(capsys: pytest.CaptureFixture[str]) -> None:
    with running_cloud(hosts=2) as cloud:
        report = fuzzed(cloud, CASES, start=0)
    with capsys.disabled():
        print(f"\n{str(report).splitlines()[-2]}")
    assert report.cases >= CASES
    assert {200, 202, 204, 400, 403, 404, 409} <= set(report.statuses)
    assert report.statuses[200] > CASES // 8, "it asks for what is not there only"
    assert not report.failures, "\n".join(report.failures[:20])
