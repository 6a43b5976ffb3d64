"""The table against the reference of the API: every line of the one is a row of the other, and answers where it should."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nova_async.api.route import Route
from nova_async.api.routes import ROUTES
from nova_async.api.versions import LATEST, V
from nova_async.policy import RULES
from nova_async.policy.rule import ADMIN, ANY, MANAGER, MEMBER, READER, SERVICE
from tests.api.bodies import body
from tests.api.conftest import Api

REFERENCE = Path(__file__).parents[3] / "shared" / "api" / "routes.tsv"
MISSING = pytest.mark.skipif(not REFERENCE.is_file(), reason="the API's reference is not here")
OURS = {("GET", "/servers/{}/scheduling", "")}  # what Nova has not
DEFAULTS = {"any": {ANY, None}, "reader": {READER}, "member": {MEMBER}, "manager": {MANAGER}, "admin": {ADMIN}, "service": {SERVICE}}
Key = tuple[str, str, str]  # method, path without names, action
Line = dict[str, str]


def lines() -> Iterator[Line]:
    """All but those of the service's root, which have tests of their own (versions)."""
    if not REFERENCE.is_file():
        return
    with REFERENCE.open() as file:
        for line in csv.DictReader(file, delimiter="\t"):
            if not (line["path"] == "/" or line["path"].startswith(("/ (", "/<", "/v2", "'"))):
                yield line


def key_of(line: Line) -> Key:
    return line["method"], nameless(line["path"]), line["action"] or ""


def nameless(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path)


def rows() -> dict[Key, list[Route]]:
    found: dict[Key, list[Route]] = {}
    for route in ROUTES:
        found.setdefault((route.method, nameless(route.path), route.action or ""), []).append(route)
    return found


def minor(text: str, newest: int) -> int:
    return newest if text == "latest" else int(text.partition(".")[2])


def versions(line: Line) -> tuple[int, int]:
    return minor(line["min_microversion"], 1), minor(line["max_microversion"], LATEST)


LINES = list(lines())
GONE = [line for line in LINES if line["success"] == "410"]
LIVE = [line for line in LINES if line["success"] != "410"]


def named(line: Line) -> str:
    return " ".join((line["method"], line["path"], line["action"], line["min_microversion"]))


@MISSING
def test_every_line_has_a_row_and_every_row_a_line() -> None:
    reference = {key_of(line) for line in lines()}
    assert reference - set(rows()) == set()
    assert set(rows()) - reference == OURS
    assert (len(GONE), len(LIVE)) == (53, 215)


@MISSING
@pytest.mark.parametrize("line", LIVE, ids=named)
def test_a_row_says_what_its_line_says(line: Line) -> None:
    ours = rows()[key_of(line)]
    fitting = [row for row in ours if (row.since, row.until) == versions(line)]
    assert fitting, [(row.since, row.until) for row in ours]
    row = fitting[0]
    if line["success"].startswith("4"):  # understood, and always refused
        assert row.policy is None
        return
    assert {int(status) for status in re.findall(r"\b4\d\d\b|\b501\b", line["errors"])} <= row.statuses(row.until)
    assert row.status(row.until) in {int(status) for status in re.findall(r"\b[23]\d\d\b", line["success"])}
    names = {name.split(" ")[0] for name in line["policy"].split(",")}
    if row.policy is not None:
        assert names in ({row.policy}, {"(as"}) or row.policy in names
        default = next(rule.default for rule in RULES if rule.name == row.policy)
        if line["role"] in DEFAULTS:
            assert default in DEFAULTS[line["role"]], line["role"]
    elif row.target != "later":
        assert line["role"] in ("any", "user-self", "public"), line["role"]


@MISSING
def test_what_is_gone_has_no_handler() -> None:
    assert {key_of(line) for line in GONE} == {key for key, ours in rows().items() if ours[0].handler is None}


@MISSING
async def test_every_line_answers_in_its_versions_and_is_refused_beyond_them(api: Api) -> None:
    """Asked by an administrator for things that are not there: in range some fault of a handler, out of it the line's status."""
    wrong = []
    for line in LINES:
        for version in edges(line):
            row = next((row for row in rows()[key_of(line)] if row.serves(version)), rows()[key_of(line)][0])
            path = re.sub(r"{\w+}", THERE.get(line["path"], "00000000-0000-4000-8000-000000000000"), line["path"])
            answer = await api.ask(line["method"], path, "admin", f"2.{version}", sent(row, version))
            refused = answer.status >= 400 and answer.message in REFUSED
            if served(line, version) == refused or (refused and answer.status != beyond(line)):
                wrong.append((named(line), version, answer))
    assert not wrong


def edges(line: Line) -> list[int]:
    """Both sides of where the line begins and ends, and the ends of the whole range."""
    low, high = (1, LATEST) if line in GONE else versions(line)
    return sorted({1, low - 1, low, high, high + 1, LATEST} & set(range(1, LATEST + 1)))


def served(line: Line, version: int) -> bool:
    """By this line, or by another of the same key."""
    alike = [other for other in LIVE if key_of(other) == key_of(line)]
    return any(low <= version <= high for low, high in map(versions, alike))


def beyond(line: Line) -> int:
    return int(line["beyond_range"]) if line["beyond_range"].isdigit() else 404  # "see next rows"


def sent(row: Route, version: int) -> object:
    if row.handler is None:
        return {row.action: None} if row.action else {}
    return body(row, min(max(version, row.since), row.until)) if row.method in ("POST", "PUT") else None


# What is there, since its absence is told in the words of a version that has it not.
THERE = {"/versions/{id}": "v2.1", "/extensions/{id}": "NMN"}
REFUSED = ("The resource could not be found.", "This resource is no longer available. No forwarding address is given.")


def test_servers_were_under_os_volumes_boot_with_the_first_of_their_actions() -> None:
    twice = [row for row in ROUTES if row.path.startswith("/os-volumes_boot")]
    assert {row.until for row in twice} == {V.NO_VOLUMES_BOOT - 1}
    assert {row.action for row in twice} == {
        *(None, "confirmResize", "createImage", "os-start", "os-stop", "reboot", "rebuild", "resize", "revertResize"),
        "trigger_crash_dump",
    }
