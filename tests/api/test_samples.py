"""Nova's API samples against the service: requests are taken, replies have the same keys and kinds of values at every depth."""

import csv
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from nova_async.api.route import Tree, choose
from nova_async.api.routes import ROUTES
from nova_async.api.versions import LATEST, V, parse
from tests.api.conftest import Answer, Api
from tests.api.sample_cases import CASES, COMING, FOLDERS_REMOVED, MEANT, NOT_ANSWERED, REMOVED, Case, ground
from tests.api.samples import SAMPLES

INDEX = SAMPLES.parent / "samples-index.tsv"
NO_SAMPLES = pytest.mark.skipif(not INDEX.is_file(), reason="the API's samples are not here")
TREE = Tree(ROUTES)
# Maps whose keys are the user's own, or the driver's
FREE = re.compile(r"(metadata|meta|addresses|extra_specs|properties|scheduler_hints|features|topology|\.log)$")
LOOSE = {"os-server-diagnostics/server-diagnostics-get-resp.json": "before 2.48 each driver has its own keys"}


def index() -> list[str]:
    if not INDEX.is_file():
        return []
    with INDEX.open() as file:
        return [row["file"] for row in csv.DictReader(file, delimiter="\t")]


def name_of(file: str) -> str:
    """``servers/v2.9/server-create-req.json`` is of ``servers/server-create``."""
    folder, _, last = file.partition("/")
    stem = last.rpartition("/")[2].removesuffix(".json")
    return f"{folder}/" + re.sub(r"-(req|resp)(-v2\d\d$)?(?=-|$)", "", stem)


def version_of(file: str) -> str:
    folder = re.search(r"/v(2\.\d+)/", file)
    stem = re.search(r"-v2(\d{2})\.json$", file)
    return folder[1] if folder else f"2.{stem[1]}" if stem else "2.1"


def why_not(file: str) -> str | None:
    """Why no route of ours takes or gives this sample; None where one does."""
    if file in NOT_ANSWERED:
        return NOT_ANSWERED[file]
    if file.partition("/")[0] in FOLDERS_REMOVED:
        return REMOVED
    return COMING.get(name_of(file)) or COMING.get(file.partition("/")[0])


FILES = index()
LIVE = [file for file in FILES if why_not(file) is None]


@NO_SAMPLES
def test_every_sample_has_its_request_or_a_reason_to_have_none() -> None:
    known = {name_of(file) for file in LIVE}
    assert known == set(CASES)
    assert set(NOT_ANSWERED) <= set(FILES)
    assert {file.partition("/")[0] for file in FILES} >= set(FOLDERS_REMOVED)
    given = {name_of(file) for file in FILES} | {file.partition("/")[0] for file in FILES}
    assert set(COMING) <= given


@NO_SAMPLES
@pytest.mark.parametrize("file", LIVE or ["none"])
async def test_the_service_takes_and_gives_the_sample(api: Api, file: str) -> None:
    case, version = CASES[name_of(file)], version_of(file)
    names: dict[str, str] = {}
    for scene in (ground, *case.scenes):
        await scene(api, names)
    reply = None if is_request(file, case) else json.loads((SAMPLES / file).read_text())
    answer, expected = await send(api, case, file, version, names, reply)
    assert answer.status == expected, answer
    if reply is not None:
        loose = file in LOOSE
        assert not (differ := list(differences(answer.body, reply, "", loose))), "\n".join(differ)


def is_request(file: str, case: Case) -> bool:
    return "-resp" not in file and case.method != "GET"


async def send(api: Api, case: Case, file: str, version: str, names: dict[str, str], reply: Any) -> tuple[Answer, int]:
    """The answer, and the status that the table promises."""
    minor, body = parse(version), None
    path = case.path if isinstance(case.path, str) else case.path[max(v for v in case.path if v <= minor)]
    path = path.format(**names)
    if reply is not None and any(key.endswith("links") for key in reply):
        path += ("&" if "?" in path else "?") + "limit=1"
    if case.method != "GET":
        body = taken(json.loads(words((request_of(file, case)).read_text(), names)), minor)
    caller = case.caller or ("admin" if 'OS-EXT-SRV-ATTR:host"' in json.dumps(reply) else "member")
    if path == "/" or path.startswith("/../"):
        return await api.ask(case.method, path.removeprefix("/.."), caller, root="/compute/v2.1" if path == "/" else "/compute"), 200
    found = TREE.find(case.method, path.partition("?")[0])
    assert found is not None, path
    return await api.ask(case.method, path, caller, version, body), choose(found.rows, minor, body).status(minor)


def request_of(file: str, case: Case) -> Any:
    """The sample that is sent: this one, or the request beside the reply, or that of an older version."""
    here = SAMPLES / file
    if is_request(file, case):
        return here
    stem = here.name.partition("-resp")[0]
    candidates = [here.parent / f"{stem}-req.json", *sorted(here.parent.glob(f"{stem}-req*.json")), here.parent / f"{stem}.json"]
    older = sorted((SAMPLES / file.partition("/")[0]).glob(f"**/{stem}-req.json"), key=lambda p: parse(version_of(str(p))))
    candidates += [p for p in reversed(older) if parse(version_of(str(p))) <= parse(version_of(file))]
    return next(path for path in candidates if path.is_file())


def words(text: str, names: dict[str, str]) -> str:
    for old, new in MEANT.items():
        text = text.replace(old, new)
    text = text.replace("3df201cf-2451-44f2-8d25-a4ca826fc1f3", names.get("server", ""))
    return text.replace("f3d86fe6-4246-4be8-b87c-eb894626c741", names.get("group", ""))


def taken(body: Any, version: int) -> Any:
    """Some samples of new servers were never sent anywhere: they keep files after 2.57 and lack networks after 2.37."""
    for action in ("server", "rebuild"):
        if isinstance(body.get(action), dict) and version >= V.NO_PERSONALITY:
            body[action].pop("personality", None)
    if {"name", "flavorRef"} <= set(body.get("server") or ()) and version >= V.NETWORKS_MANDATORY:
        body["server"].setdefault("networks", "auto")
    return body


def differences(ours: Any, sample: Any, path: str, loose: bool = False) -> Iterator[str]:
    """Where our value has another shape than the sample's. A null may stand for anything on either side."""
    if ours is None or sample is None:
        return
    if kind(ours) != kind(sample):
        yield f"{path}: {ours!r} is of another kind than {sample!r}"
    elif isinstance(ours, dict) and (loose or FREE.search(path)):
        for key, value in ours.items():
            some = sample.get(key, next(iter(sample.values()), None))
            yield from differences(value, some, f"{path}.{key}", loose)
    elif isinstance(ours, dict):
        if extra := sorted(set(ours) - set(sample)):
            yield f"{path}: has beside the sample {extra}"
        if missing := sorted(set(sample) - set(ours)):
            yield f"{path}: lacks of the sample {missing}"
        for key in set(ours) & set(sample):
            yield from differences(ours[key], sample[key], f"{path}.{key}")
    elif isinstance(ours, list) and sample:
        if not ours:
            yield f"{path}: is empty, and the sample's is not"
        for i, item in enumerate(ours):
            tried = [list(differences(item, like, f"{path}[{i}]", loose)) for like in sample]
            yield from min(tried, key=len)


def kind(value: Any) -> str:
    kinds = {bool: "boolean", int: "number", float: "number", str: "text", list: "list", dict: "object"}
    return kinds[type(value)]


def test_differences_are_found_at_every_depth() -> None:
    sample = {"a": [{"b": 1, "c": "x"}, {"b": 2}], "metadata": {"k": "v"}, "n": None}
    assert not list(differences({"a": [{"b": 5}], "metadata": {"other": "v"}, "n": 3}, sample, ""))
    for wrong in ({"a": [{"b": "5"}]}, {"a": []}, {"a": [{"c": "x"}]}, {"metadata": {"k": 1}}, {"a": {}}, {"z": 1}):
        assert list(differences({**sample, **wrong}, sample, ""))
    assert LATEST in V
