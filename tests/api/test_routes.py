"""The table against the reference of the API: versions, statuses and policies of every row that is served."""

import csv
import re
from pathlib import Path

import pytest

from nova_async.api.route import Route
from nova_async.api.routes import ROUTES
from nova_async.api.versions import LATEST
from nova_async.policy import RULES
from nova_async.policy.rule import ADMIN, ANY, MANAGER, MEMBER, READER, SERVICE

REFERENCE = Path(__file__).parents[3] / "shared" / "api" / "routes.tsv"
OURS = {"/servers/{server_id}/scheduling"}  # what Nova has not
SERVED = [r for r in ROUTES if r.handler is not None and not r.path.startswith("/os-volumes_boot") and r.path not in OURS]
# What has no row here, though the reference has one: the beginnings of paths.
ABSENT = (
    *("/images", "/os-networks", "/os-tenant-networks", "/os-security-group", "/os-floating-ip"),
    *("/os-volumes", "/os-snapshots", "/os-assisted-volume-snapshots", "/servers/{}/os-volume_attachments", "/os-console-auth-tokens"),
)
DEFAULTS = {"any": {ANY, None}, "reader": {READER}, "member": {MEMBER}, "manager": {MANAGER}, "admin": {ADMIN}, "service": {SERVICE}}


def reference() -> dict[tuple[str, str, str], list[dict[str, str]]]:
    """(method, path without names, action) -> its rows."""
    rows: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    with REFERENCE.open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            rows.setdefault((row["method"], nameless(row["path"]), row["action"] or ""), []).append(row)
    return rows


def nameless(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path)


def minor(text: str, newest: int) -> int:
    return newest if text == "latest" else int(text.partition(".")[2])


@pytest.mark.skipif(not REFERENCE.is_file(), reason="the API's reference is not here")
@pytest.mark.parametrize("route", SERVED, ids=lambda r: f"{r.method} {r.path} {r.action or ''} {int(r.since)}")
def test_a_row_says_what_the_reference_says(route: Route) -> None:
    rows = reference().get((route.method, nameless(route.path), route.action or ""), [])
    assert rows, "the reference has no such row"
    fitting = [r for r in rows if (minor(r["min_microversion"], 1), minor(r["max_microversion"], LATEST)) == (route.since, route.until)]
    assert fitting, [(r["min_microversion"], r["max_microversion"]) for r in rows]
    row = fitting[0]
    if row["success"].startswith("4"):  # understood, and always refused
        assert route.policy is None
        return
    assert route.status(LATEST if route.until == LATEST else route.until) in {int(s) for s in re.findall(r"\b[23]\d\d\b", row["success"])}
    names = {name.split(" ")[0] for name in row["policy"].split(",")}
    if route.policy is not None:
        assert route.policy in names
        default = next(rule.default for rule in RULES if rule.name == route.policy)
        if row["role"] in DEFAULTS:
            assert default in DEFAULTS[row["role"]], row["role"]
    elif route.target != "later":
        assert row["role"] in ("any", "user-self", "public"), row["role"]
    if row["beyond_range"]:
        assert str(route.beyond) in row["beyond_range"] or not row["beyond_range"].isdigit()


@pytest.mark.skipif(not REFERENCE.is_file(), reason="the API's reference is not here")
def test_all_that_was_removed_is_in_the_table() -> None:
    gone = {(r.method, nameless(r.path), r.action or "") for r in ROUTES if r.handler is None}
    assert {key for key, rows in reference().items() if rows[0]["success"] == "410"} == gone


@pytest.mark.skipif(not REFERENCE.is_file(), reason="the API's reference is not here")
def test_every_row_of_the_reference_is_served_unless_it_is_named_here() -> None:
    served = {(r.method, nameless(r.path), r.action or "") for r in ROUTES}
    absent = {key for key in reference() if key not in served and not _at_the_edge(key[1])}
    assert {key for key in absent if not key[1].startswith(ABSENT)} == set()


def _at_the_edge(path: str) -> bool:
    return path == "/" or path.startswith(("/ (", "/<", "/v2", "'"))
