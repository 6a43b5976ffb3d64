"""Reads a subunit stream and tells how a run went, by module. Run by Tempest's own Python, which has the libraries:
``stestr last --subunit | python results.py MIN_MICROVERSION``. The status is 1 when nothing ran, or something failed that is not in
``IMPOSSIBLE``; what is there counts as failed all the same."""

import re
import sys
from collections import Counter
from typing import Any

import subunit
import testtools

# A line of a traceback that names an exception: "tempest.lib.exceptions.NotFound: ...".
REASON = re.compile(r"^[\w.]+(Error|Exception|exceptions\.\w+|Mismatch\w*|Timeout\w*|Conflict|NotFound|Fault|\.\w+)\b.*:")
# What no service passes: a pattern of a test's name or of its traceback, the first minor version of MIN_MICROVERSION where it is so, and
# what is wrong in Tempest 47.
IMPOSSIBLE = (
    (
        r"^\S*test_live_migration_serial_console$",
        1,
        "gives text to its WebSocket, which takes bytes, leaves the token out of its path, and migrates by an attribute that it has not",
    ),
    (
        r"^\S*test_spice_direct$[\s\S]*(20 != \d+|ConnectionResetError)",
        1,
        "speaks in the clear to a host whose consoles go over TLS, as tls_port tells it",
    ),
    (
        r"^\S*test_rebuild_volume_backed_server$[\s\S]*(KeyError: 'keypair'|validation_resources cannot be None)$",
        1,
        "logs into the guest without asking whether it may",
    ),
    (
        r"^\S*ServerActionsTestJSON\.test_reboot_server_hard$[\s\S]*^ +boot_time = linux_client[\s\S]*SSHTimeout",
        1,
        "logs in by the class's floating IP, which test_change_server_password gave to a server that it deleted",
    ),
    (r"^\S*test_hypervisor(_negative)?\.\S*(list_show_detail|_details|_stats|_uptime)", 88, "knows no hypervisor of 2.88 or newer"),
    (r"^\S*ServerShowV263Test\.test_show_update_rebuild_list_server$", 75, "filters a list by what is no filter, which 2.75 refuses"),
    (r"^\S*test_keypairsv22_create_list_show_with_type$", 92, "lets a key pair be made for it, which 2.92 ended"),
    (r"^\S*(test_server_tags\.\S*|test_spice_direct)$", 100, "has no schema of this answer from 2.100 on: AttributeError"),
    (r"^tearDownClass [\s\S]*Failed to delete volume", 101, "leaves a volume attached, since it could not read the answer to attach"),
    (r"in attach_volume\n[\s\S]*JSONDecodeError: Expecting value", 101, "reads the body of an answer that has none since 2.101"),
    (
        r"^\S*test_create_(flavor_verify_entry_in_list_details|list_flavor_without_extra_data)$|FlavorsExtraSpecs(Negative)?TestJSON\)$",
        102,
        "makes a flavor with rxtx_factor, or looks for it in one: 2.102 took it away",
    ),
)
SUCCESS, FAILED, SKIPPED = {"success", "xfail"}, {"fail", "uxsuccess", "inprogress"}, {"skip"}


def main() -> int:
    minor = int(sys.argv[1].partition(".")[2])
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
                told = _text(test["details"].get("traceback"))
                failures.append((name, _reason(told), _impossible(f"{name}\n{told}", minor)))
            elif outcome == "skipped":
                skips[_text(test["details"].get("reason"))] += 1
    _tell(table, sorted(failures), skips)
    total = sum(table.values(), Counter())
    ours = [name for name, _, mistake in failures if mistake is None]
    theirs = len(failures) - len(ours)
    print(f"{total['passed']} passed, {total['failed']} failed ({theirs} by mistakes of Tempest), {total['skipped']} skipped")
    return 1 if ours or not total["passed"] else 0


def _tell(table: dict[str, Counter[str]], failures: list[tuple[str, str, str | None]], skips: Counter[str]) -> None:
    for reason, count in skips.most_common():
        print(f"skipped {count:>4}  {reason}")
    for name, reason, mistake in failures:
        print(f"FAILED {name}\n       {reason}")
        if mistake:
            print(f"       A mistake of Tempest: it {mistake}.")
    print(f"\n{'module':<80} {'passed':>6} {'failed':>6} {'skipped':>7}")
    for module in sorted(table):
        row = table[module]
        print(f"{module:<80} {row['passed']:>6} {row['failed']:>6} {row['skipped']:>7}")


def _impossible(told: str, minor: int) -> str | None:
    return next((mistake for pattern, since, mistake in IMPOSSIBLE if minor >= since and re.search(pattern, told, re.MULTILINE)), None)


def _outcome(status: str) -> str | None:
    for name, statuses in (("passed", SUCCESS), ("failed", FAILED), ("skipped", SKIPPED)):
        if status in statuses:
            return name
    return None


def _reason(traceback: str) -> str:
    lines = traceback.splitlines()
    at = max((i for i, line in enumerate(lines) if REASON.match(line)), default=len(lines) - 1)
    told = " ".join(line.strip() for line in lines[at:] if line.strip())
    return told[:400] or "no reason given"


def _text(detail: Any) -> str:
    return str(detail.as_text()) if detail is not None else ""


if __name__ == "__main__":
    sys.exit(main())
