"""Every row of the table, on both sides of every microversion at which it begins or ends, for every kind of caller, on things
of their own, of others, unknown and malformed: the answer is the one that Nova's policies and the ownership of things give.

Changes that would be let through go to a second application, whose handlers only say that they were reached; what is
to be refused goes to the true handlers.
"""

import importlib
import itertools
import pkgutil
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from msgspec.structs import replace

import nova_async.policy
from nova_async.api import app as api_app
from nova_async.api.request import Request
from nova_async.api.route import Route
from nova_async.api.routes import ROUTES
from nova_async.api.versions import LATEST, V
from nova_async.policy import RULES, Policy
from nova_async.policy.rule import ADMIN, ANY, MANAGER, MEMBER, NOBODY, READER, SELF, SERVICE, Rule
from nova_async.policy.rules import BASIC
from tests.api.access import OPEN, OURS, PASSED, WHO, Expected, Thing, expected, policy_of, useless
from tests.api.bodies import body
from tests.api.conftest import CALLERS, OTHER_PROJECT, PROJECT, Answer, Api
from tests.api.proxied import true_services

MISSING = "00000000-0000-4000-8000-000000000000"
REACHED = 299
CANARY = "canary-in-the-mine"
Group = tuple[str, str, str | None]
EVERYBODY: tuple[str | None, ...] = (*CALLERS, None)
# What is there to be read, so that reading it must succeed.
READABLE = frozenset(
    {"servers", "flavors", "images", "os-networks", "os-tenant-networks", "os-security-groups", "os-server-groups", "os-quota-sets"}
    | {"os-keypairs", "os-quota-class-sets", "versions", "os-volumes_boot", "os-aggregates"}
)
UNREADABLE = frozenset(  # a host would have to answer, or all have access
    {"/servers/{server_id}/diagnostics", "/servers/{server_id}/topology", "/flavors/{flavor_id}/os-flavor-access"}
)
HIDDEN = re.compile(r"^Instance [0-9a-f-]{36} could not be found")


class Cell(NamedTuple):
    route: Route
    path: str
    version: int
    caller: str | None
    body: Any
    expected: Expected
    readable: bool  # what passes must be there

    @property
    def changes(self) -> bool:
        return self.expected == PASSED and self.route.method != "GET"

    @property
    def hollow(self) -> bool:
        """Whether it is decided before the handler, which need not do what it would."""
        return self.changes and self.route.target != "later"


def groups() -> dict[Group, list[Route]]:
    """Rows that differ in their versions only."""
    found: dict[Group, list[Route]] = {}
    for route in ROUTES:
        found.setdefault((route.method, route.path, route.action), []).append(route)
    return found


def boundaries(rows: list[Route]) -> list[int]:
    """The first and the last version, and both sides of each where something begins or ends."""
    edges = {int(V.BASE), int(LATEST)}
    for row in rows:
        starts = [row.since, row.until + 1, *(row.success if isinstance(row.success, dict) else ())]
        edges |= {int(v) for start in starts for v in (start - 1, start)}
    return sorted(v for v in edges if V.BASE <= v <= LATEST)


def cells(things: dict[str, list[Thing]]) -> Iterator[Cell]:
    for (method, path, _), rows in groups().items():
        collection = path.split("/")[1]
        targets: list[Thing | None] = [*things[collection]] if "{" in path else [None, *NARROWED.get(path, ())]
        readable = method == "GET" and collection in READABLE and path.count("{") < 2 and path not in UNREADABLE
        for version in boundaries(rows):
            row = next((row for row in rows if row.serves(version)), rows[0])
            sent = body(row, version if row.serves(version) else row.since) if method in ("POST", "PUT") else None
            for thing, caller in itertools.product(targets, EVERYBODY):
                yield Cell(row, concrete(path, thing), version, caller, sent, expected(row, version, caller, thing), readable)


def concrete(path: str, thing: Thing | None) -> str:
    """The first parameter leads to the thing; what is below it need not be there."""
    if thing is None or "{" not in path:
        return path + (thing.query if thing is not None else "")
    first, *others = [part for part in path.split("/") if part.startswith("{")]
    path = path.replace(first, quote(thing.id, safe=""), 1)
    for other in others:
        path = path.replace(other, "x", 1)
    return path + thing.query


async def ground(api: Api, state: Path) -> dict[str, list[Thing]]:
    """Things of two projects, made by them; and by collection what ids may lead to. Leaves true services behind the API."""
    made: dict[str, dict[str, str]] = {}
    for project, caller in ((PROJECT, "member"), (OTHER_PROJECT, "stranger")):
        ctx, networks = CALLERS[caller], api.parts.networks
        image = await api.parts.images.create(ctx, "image", disk_format="qcow2", properties={})
        network = await networks.make(ctx, "networks", {"name": "network"})
        group = await networks.make(ctx, "security-groups", {"name": "group"})
        rule = await networks.make(ctx, "security-group-rules", {"security_group_id": group["id"], "direction": "ingress"})
        gathered = await api.post("/os-server-groups", {"server_group": {"name": "g", "policies": ["affinity"]}}, caller)
        for collection, id in (
            ("images", image.id),
            ("os-networks", network["id"]),
            ("os-tenant-networks", network["id"]),
            ("os-security-groups", group["id"]),
            ("os-security-group-rules", rule["id"]),
            ("os-server-groups", gathered.body["server_group"]["id"]),
        ):
            made.setdefault(collection, {})[project] = id
    for caller in (name for name, ctx in CALLERS.items() if ctx.project_id):
        answer = await api.post("/os-keypairs", {"keypair": {"name": "key", "public_key": KEY}}, caller)
        assert answer.status == 200, answer
    answer = await api.post("/os-aggregates", {"aggregate": {"name": "a"}}, "admin")
    aggregates = [Thing("own", str(answer.body["aggregate"]["id"]), "all"), *NOTHING]
    return unowned() | {"os-aggregates": aggregates} | {collection: owned(ids) for collection, ids in made.items()}


def owned(ids: dict[str, str]) -> list[Thing]:
    return [Thing("own", ids[PROJECT], PROJECT), Thing("foreign", ids[OTHER_PROJECT], OTHER_PROJECT), *NOTHING]


def unowned() -> dict[str, list[Thing]]:
    """Collections whose things belong to nobody, or whose ids say whose they are."""
    projects = [Thing("own", PROJECT, PROJECT), Thing("foreign", OTHER_PROJECT, OTHER_PROJECT)]
    other = CALLERS["stranger"].user_id
    gone = {path.split("/")[1] for (_, path, _), rows in groups().items() if rows[0].handler is None}
    empty = ("extensions", "os-hypervisors", "os-services", "os-hosts", "os-baremetal-nodes", "os-floating-ips")
    empty += ("os-instance_usage_audit_log", "os-volumes", "os-snapshots", "os-assisted-volume-snapshots", "os-console-auth-tokens")
    return {
        **dict.fromkeys(gone, NOTHING[:1]),
        **dict.fromkeys(empty, NOTHING),
        "flavors": [Thing("own", "1", "all"), *NOTHING],
        "versions": [Thing("own", "v2.1", "all"), *NOTHING],
        "os-quota-class-sets": [Thing("own", "default", "all")],
        "os-quota-sets": projects,
        "os-simple-tenant-usage": projects,
        "os-keypairs": [Thing("own", "key", None), Thing("foreign", "key", other, f"?user_id={other}")],
    }


NOTHING = [Thing("unknown", MISSING, None), Thing("malformed", "no such id!", None)]
NARROWED = {  # lists that the query narrows to what somebody owns
    "/os-migrations": [
        Thing("own", "", PROJECT, f"?project_id={PROJECT}"),
        Thing("foreign", "", OTHER_PROJECT, f"?project_id={OTHER_PROJECT}"),
    ]
}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDIi0oYBmSGDAyLNoDgBkAhL0uRbSpsMsqVbFHNJIVAJ"


async def reached(request: Request) -> None:
    request.status = REACHED


@pytest.fixture
async def hollow(api: Api, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """A client of an application with the same rows, whose handlers only say that they were reached."""
    rows = tuple(replace(row, handler=reached, view=None) if row.handler is not None else row for row in ROUTES)
    monkeypatch.setattr(api_app, "ROUTES", rows)
    outer = web.Application()
    outer.add_subapp("/compute", api_app.application(api.parts))
    async with TestClient(TestServer(outer)) as client:
        yield Api(client, held=False)


def wrong(cell: Cell, answer: Answer) -> str | None:
    """What is wrong with an answer; None when nothing is."""
    message = told(answer)
    if wanted := cell.expected.statuses:
        right = answer.status in wanted and cell.expected.message in (None, message)
    elif cell.hollow:
        right = answer.status == REACHED
    else:
        right = answer.status not in (401, 403) and (answer.status < 500 or answer.status in (501, 503)) and not HIDDEN.match(message)
        right = right and (answer.status < 300 or not cell.readable)
    asked = f"{cell.caller}: {cell.route.method} {cell.path} {cell.body} at 2.{cell.version}"
    return None if right else f"{asked}: {answer.status} {message} instead of {cell.expected}"


def told(answer: Answer) -> str:
    if answer.status < 400 or answer.headers.get("Content-Type", "").startswith("text/plain"):
        return ""
    return answer.message


async def digests(api: Api) -> dict[str, str]:
    """Of all rows, by table: equal as long as nobody wrote anything."""
    async with api.database.connection() as conn:
        tables = await conn.fetch("SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('api', 'cell')")
        return {
            name: await conn.fetchval(f"SELECT md5(coalesce(string_agg(t::text, '' ORDER BY t::text), '')) FROM {name} t")
            for (name,) in tables
        }


async def seed(api: Api) -> None:
    """Secrets where rows keep them; what is a user's own to be shown (user data, an encrypted password) is none."""
    device = {"id": MISSING, "kind": "volume", "volume_id": MISSING, "attachment_id": MISSING, "device": "/dev/vdb", "connection": CANARY}
    async with api.database.connection() as conn:
        await conn.execute(
            "UPDATE instances SET system_metadata = system_metadata || $1, injected_files = $2, block_devices = $3",
            *({"kept": CANARY}, [{"path": "/etc/key", "contents": CANARY}], [device]),
        )
        await conn.execute("UPDATE workflows SET input = input || $1, results = results || $1, context = context || $1", {"sealed": CANARY})


async def test_everybody_gets_what_is_due_to_them(api: Api, hollow: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SEC-029, SEC-030, SEC-041: who is refused has changed nothing, whosever it is, and nobody is told a secret."""
    servers = owned({PROJECT: await api.server("member"), OTHER_PROJECT: await api.server("stranger")})
    async with true_services(api, tmp_path):
        things = await ground(api, tmp_path) | {"servers": servers, "os-volumes_boot": servers}
        # What is refused comes first, and what is let through and does change something last.
        table = sorted(cells(things), key=lambda cell: (cell.expected == PASSED, cell.changes and not cell.hollow))
        faults = []
        await seed(api)
        before = await digests(api)
        for cell in table:
            if cell.expected == PASSED and before:  # all refusals came first
                assert before == await digests(api)
                before = {}
            client = hollow if cell.hollow else api
            answer = await client.ask(cell.route.method, cell.path, cell.caller, f"2.{cell.version}", cell.body)
            faults.append(wrong(cell, answer))
            if CANARY in f"{answer.headers}{answer.raw!r}":
                faults.append(f"{cell.caller}: {cell.route.method} {cell.path} tells a secret: {answer}")
    found = [fault for fault in faults if fault is not None]
    with capsys.disabled():
        print(f"\naccess matrix: {len(table)} cells, {len(found)} wrong")
    assert not found, "\n".join(found[:40])


async def test_an_operators_file_closes_and_opens_every_row(api: Api, hollow: Api, tmp_path: Path) -> None:
    """Where nobody may, the administrator is refused by the policy's name; where everybody may, somebody without a role passes."""
    servers = owned({PROJECT: await api.server("member"), OTHER_PROJECT: await api.server("stranger")})
    rows = [row for row in ROUTES if row.handler is not None and row.policy is not None and not useless(row)]
    file, names, faults = tmp_path / "policy.yaml", {policy_of(row) for row in rows}, []
    async with true_services(api, tmp_path):
        things = await ground(api, tmp_path) | {"servers": servers, "os-volumes_boot": servers}
        for rule, caller in ((NOBODY, "admin"), (ANY, "nobody")):
            file.write_text("".join(f'"{name}": "{rule}"\n' for name in names))
            api.parts.policy = Policy(RULES, str(file))
            for row in rows:
                if rule == ANY and row.target == "later" and row.method != "GET":
                    continue
                version = min(row.until, int(LATEST))
                sent = body(row, version) if row.method in ("POST", "PUT") else None
                thing = things[row.path.split("/")[1]][0] if "{" in row.path else None
                client = api if row.target == "later" else hollow
                answer = await client.ask(row.method, concrete(row.path, thing), caller, f"2.{version}", sent)
                due = (answer.status, told(answer)) == (403, f"Policy doesn't allow {policy_of(row)} to be performed.")
                if not due if rule == NOBODY else answer.status in (401, 403):
                    faults.append((row.method, row.path, row.action, caller, answer))
    assert not faults, faults[:20]


def test_every_row_has_a_policy_of_novas() -> None:
    """Only where another service decides, or everything is public, or nothing is ever granted, there is none."""
    names = {rule.name for rule in RULES}
    for route in ROUTES:
        if route.handler is None:
            continue
        if route.policy is None:
            assert route.path.split("/")[1] in OPEN or useless(route), route
        else:
            assert route.policy in names & (WHO.keys() | OURS.keys()), route


@pytest.mark.parametrize(
    ("change", "words"),
    [({"policy": None, "path": "/servers"}, "it has no policy"), ({"policy": "os_compute_api:servers:shwo"}, "there is no policy")],
)
def test_a_row_without_a_policy_of_ours_keeps_the_service_from_starting(
    api: Api, monkeypatch: pytest.MonkeyPatch, change: Any, words: str
) -> None:
    """SEC-030, SEC-031"""
    rows = (*ROUTES, replace(next(row for row in ROUTES if row.policy is not None), **change))
    monkeypatch.setattr(api_app, "ROUTES", rows)
    with pytest.raises(ValueError, match=words):
        api_app.application(api.parts)


def test_every_name_of_a_policy_is_one_that_there_is() -> None:
    """SEC-031: handlers and views ask by these constants."""
    known, found = {rule.name for rule in RULES}, set()
    for module in pkgutil.iter_modules(nova_async.policy.__path__, "nova_async.policy."):
        names = {name: value for name, value in vars(importlib.import_module(module.name)).items() if name.isupper()}
        found |= {value for name, value in names.items() if isinstance(value, str) and "os_compute_api:" in value and name != "PREFIX"}
    assert found <= known
    assert len(found) > 150


def test_few_policies_let_everybody_in() -> None:
    """SEC-030: of all of them these say something that is everybody's, and change nothing."""
    assert {rule.name.removeprefix("os_compute_api:") for rule in RULES if rule.default == ANY} == {
        "extensions", "limits", "os-availability-zone:list", "os-floating-ip-pools", "os-quota-sets:defaults",
    }  # fmt: skip


def test_the_role_of_services_opens_no_server_of_a_user() -> None:
    """SEC-042: beside what is everybody's and their own key pairs they have these, as in Nova. The matrix tries it."""
    policy, service = Policy(RULES), CALLERS["service"]
    rules = [rule for rule in RULES if rule not in BASIC and rule.default not in (ANY, SELF)]
    opened = {rule.name.removeprefix("os_compute_api:") for rule in rules if policy.may(service, rule.name, project_id=PROJECT)}
    assert opened == {
        "os-assisted-volume-snapshots:create", "os-assisted-volume-snapshots:delete",
        "os-server-external-events:create", "os-volumes-attachments:swap",
    }  # fmt: skip


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule not in BASIC and rule.name not in OURS], ids=lambda rule: rule.name)
def test_policies_have_novas_defaults(rule: Rule) -> None:
    assert rule.default == DEFAULTS[WHO[rule.name]]


DEFAULTS = {"any": ANY, "nobody": NOBODY, "reader": READER, "member": MEMBER, "manager": MANAGER, "admin": ADMIN}
DEFAULTS |= {"service": SERVICE, "self": SELF}
