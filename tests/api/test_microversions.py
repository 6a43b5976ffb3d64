"""Every line of the reference's list of microversions: what it changed is so, and was not so in the version before."""

import csv
from pathlib import Path
from typing import Any

import pytest

from nova_async.api.versions import LATEST
from tests.api.conftest import Answer, Api
from tests.api.sample_cases import Names
from tests.api.version_cases import CASES, Ask, Case

REFERENCE = Path(__file__).parents[3] / "shared" / "api" / "microversions.tsv"
TESTED = [(version, number, case) for version, cases in CASES.items() if not isinstance(cases, str) for number, case in enumerate(cases)]


def named(part: Any) -> str:
    return f"{part.ask.what} {next(iter(part.ask.body or ('',)))}" if isinstance(part, Case) else str(part)


@pytest.mark.skipif(not REFERENCE.is_file(), reason="the API's reference is not here")
def test_every_version_of_the_reference_has_cases_or_a_reason_to_have_none() -> None:
    with REFERENCE.open() as file:
        listed = [int(row["microversion"].partition(".")[2]) for row in csv.DictReader(file, delimiter="\t")]
    assert listed == sorted(CASES) == list(range(1, LATEST + 1))


@pytest.mark.parametrize(("version", "number", "case"), TESTED, ids=named)
async def test_a_version_changes_what_it_says_and_no_version_before(api: Api, version: int, number: int, case: Case) -> None:
    names: Names = {}
    for scene in case.ask.scenes:
        await scene(api, names)
    await others(api, names)
    for minor, check in ((version - 1, case.before), (version, case.after)):
        if minor:
            wrong = check(await sent(api, case.ask, minor, names))
            assert wrong is None, f"2.{minor}: {wrong}"


async def others(api: Api, names: Names) -> None:
    """What some paths name beside what the scenes made."""
    made = await api.post("/os-aggregates", {"aggregate": {"name": "all"}}, "admin")
    names["aggregate"] = str(made.body["aggregate"]["id"])
    added = await api.post(f"/os-aggregates/{names['aggregate']}/action", {"add_host": {"host": "host1"}}, "admin")
    assert added.status == 200, added


async def sent(api: Api, ask: Ask, version: int, names: Names) -> Answer:
    if "server" in names:
        await api.settle(names["server"], ask.state, **ask.columns)
    method, path = ask.what.split(" ", 1)
    path = path.format(**names, version=version)
    body = None if ask.body is None else filled(ask.body, {**names, "version": f"v{version}"})
    return await api.ask(method, path, ask.caller, f"2.{version}", body)


def filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: filled(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, names) for inner in value]
    return value.format(**names) if isinstance(value, str) and value.startswith("{") else value


@pytest.mark.parametrize("header", ["OpenStack-API-Version", "X-OpenStack-Nova-API-Version"])
@pytest.mark.parametrize("version", ["2.26", "2.27"])
async def test_both_headers_ask_for_a_version(api: Api, header: str, version: str) -> None:
    value = f"compute {version}" if header.startswith("Open") else version
    answer = await api.get("/flavors", headers={header: value})
    assert answer.headers["OpenStack-API-Version"] == f"compute {version}"
    assert answer.headers["X-OpenStack-Nova-API-Version"] == version


@pytest.mark.parametrize(("version", "stays"), [("2.94", False), ("2.95", True)])
async def test_an_evacuated_server_stays_off_since_its_version(api: Api, version: str, stays: bool) -> None:
    server = await api.server()
    api.hosts.up.clear()
    assert (await api.act(server, "evacuate", {}, "admin", version)).status == 200
    kind, subject, given = api.starter.begun[-1]
    assert (kind, subject, given["stay_stopped"]) == ("evacuate", server, stays)
