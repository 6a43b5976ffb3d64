"""Reads a subunit stream and tells how a run went, by module. Run by Tempest's own Python, which has the libraries:
``stestr last --subunit | python results.py``. The status is 1 when nothing ran, or something failed that is not in ``IMPOSSIBLE``."""

import re
import sys
from collections import Counter
from typing import Any

import subunit
import testtools

# A line of a traceback that names an exception: "tempest.lib.exceptions.NotFound: ...".
REASON = re.compile(r"^[\w.]+(Error|Exception|exceptions\.\w+|Mismatch\w*|Timeout\w*|Conflict|NotFound|Fault|\.\w+)\b.*:")
# Tests that pass against no service. They are counted as failed; each with what is wrong in Tempest 47 itself.
IMPOSSIBLE = {
    "tempest.api.compute.admin.test_live_migration.LiveMigrationRemoteConsolesV26Test.test_live_migration_serial_console": (
        "gives text to its WebSocket, whose send_frame takes bytes; the ValueError is caught and tried again for two minutes"
    ),
}
SUCCESS, FAILED, SKIPPED = {"success", "xfail"}, {"fail", "uxsuccess", "inprogress"}, {"skip"}


def main() -> int:
    tests: list[dict[str, Any]] = []
    stream = subunit.ByteStreamToStreamResult(sys.stdin.buffer, non_subunit_name="stdout")
    result = testtools.StreamToDict(tests.append)
    result.startTestRun()
    stream.run(result)
    result.stopTestRun()
    table: dict[str, Counter[str]] = {}
    failures, skips = [], Counter()
    for test in tests:
        outcome = _outcome(test["status"])
        if outcome:
            name = re.sub(r"\[.*", "", test["id"])
            fixture = re.match(r"(?:setUp|tearDown)Class \((.*)\)", name)
            module = (fixture[1] if fixture else name.rpartition(".")[0]).rpartition(".")[0]
            table.setdefault(module, Counter())[outcome] += 1
            if outcome == "failed":
                failures.append((name, _reason(test["details"])))
            elif outcome == "skipped":
                skips[_text(test["details"].get("reason"))] += 1
    _tell(table, sorted(failures), skips)
    total = sum(table.values(), Counter())
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return 1 if {name for name, _ in failures} - set(IMPOSSIBLE) or not total["passed"] else 0


def _tell(table: dict[str, Counter[str]], failures: list[tuple[str, str]], skips: Counter[str]) -> None:
    for reason, count in skips.most_common():
        print(f"skipped {count:>4}  {reason}")
    for name, reason in failures:
        print(f"FAILED {name}\n       {reason}")
        if name in IMPOSSIBLE:
            print(f"       Tempest's own mistake: {IMPOSSIBLE[name]}.")
    print(f"\n{'module':<80} {'passed':>6} {'failed':>6} {'skipped':>7}")
    for module in sorted(table):
        row = table[module]
        print(f"{module:<80} {row['passed']:>6} {row['failed']:>6} {row['skipped']:>7}")


def _outcome(status: str) -> str | None:
    for name, statuses in (("passed", SUCCESS), ("failed", FAILED), ("skipped", SKIPPED)):
        if status in statuses:
            return name
    return None


def _reason(details: dict[str, Any]) -> str:
    lines = _text(details.get("traceback")).splitlines()
    at = max((i for i, line in enumerate(lines) if REASON.match(line)), default=len(lines) - 1)
    told = " ".join(line.strip() for line in lines[at:] if line.strip())
    return told[:400] or "no reason given"


def _text(detail: Any) -> str:
    return str(detail.as_text()) if detail is not None else ""


if __name__ == "__main__":
    sys.exit(main())
