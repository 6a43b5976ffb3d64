"""``make fuzz``: very many requests at random against a cloud of its own, with the fake driver and two hosts.

Prints how each route answered, every failure, and whether the cloud is consistent and its log clean afterwards. The status is 0
when nothing failed. The same seed makes the same requests, as far as the cloud answers in the same order.
"""

import argparse
import sys
import time

from tests.e2e.running import RunningCloud, running_cloud
from tests.fuzz.ground import Ground
from tests.fuzz.run import Fuzz, Report

SETTLE_SECONDS = 60


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with running_cloud(hosts=2) as cloud:
        report = fuzzed(cloud, options.cases, options.seed)
    print(report)
    return 1 if report.failures else 0


def fuzzed(cloud: RunningCloud, cases: int, start: int) -> Report:
    """The report, with what the cloud itself complains of among the failures."""
    ground = Ground(cloud)
    ground.refresh()
    report = Fuzz(ground, f"{cloud.url}/compute", cases, start).run()
    if (complaint := settled(cloud)) is not None:
        report.failures.append(f"the cloud afterwards: {complaint}")
    log = cloud.log_text()
    crash = log.find("Traceback")
    if crash >= 0:
        report.failures.append(f"the log: {log[max(0, crash - 500) : crash + 3000]}")
    return report


def settled(cloud: RunningCloud) -> str | None:
    """What violates an invariant once all that was begun had time to end; None when nothing does."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        status, told = cloud.admin("check")
        if status == 0:
            return None
        if time.monotonic() > end:
            return told
        time.sleep(2)


if __name__ == "__main__":
    sys.exit(main())
