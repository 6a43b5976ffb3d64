"""What lies below a server is the server's alone: ids of another's things lead nowhere below one's own server, and the reverse."""

from typing import Any

import pytest

from nova_async.api.route import Route
from nova_async.api.routes import ROUTES
from tests.api.bodies import body
from tests.api.conftest import CALLERS, OTHER_PROJECT, PORTS, PROJECT, Api, volume

NESTED = [row for row in ROUTES if row.handler is not None and row.path.startswith("/servers/{server_id}/") and row.path.endswith("}")]
NESTED += [row for row in ROUTES if row.path == "/servers/{server_id}/migrations/{id}/action"]
MADE_BY_PUT = {"tags", "metadata"}  # their ids are words of the caller's: what is not there is made below the caller's own
NEVER_THERE = {"shares"}  # no server of ours has any (test_server_shares)


def kind_of(row: Route) -> str:
    return row.path.split("/")[3]


async def furnished(api: Api, caller: str, project: str, word: str) -> tuple[str, dict[str, str]]:
    """A server of a project, and the id of one thing of each kind below it."""
    server = await api.server(caller)
    api.volumes.shelf[word] = volume(word, project_id=project, status="in-use")
    device = {"id": word, "kind": "volume", "source": "volume", "volume_id": word, "attachment_id": word, "device": "/dev/vdb", "size": 1}
    port = PORTS[0] | {"id": word, "network_label": f"of-{word}"}
    await api.settle(server, "stopped", block_devices=[device], ports=[port])
    assert (await api.put(f"/servers/{server}/tags/{word}", None, caller, "2.26")).status == 201
    assert (await api.put(f"/servers/{server}/metadata/{word}", {"meta": {word: "x"}}, caller)).status == 200
    locked = await api.act(server, "lock", None, caller)
    assert (await api.act(server, "unlock", None, caller)).status == 202
    return server, {
        "tags": word, "metadata": word, "ips": f"of-{word}", "os-interface": word, "os-volume_attachments": word, "shares": word,
        "migrations": "", "os-instance-actions": locked.headers["x-openstack-request-id"],
    }  # fmt: skip


async def migrating(api: Api, server: str, project: str) -> str:
    """The number of a live migration that is under way."""
    context = {"user_id": "u", "project_id": project, "request_id": "req-1"}
    claimed = {
        "source": {"host": "host1", "node": "host1", "generation": 1},
        "host": "host2",
        "node": "host2",
        "address": "",
        "generation": 2,
    }
    async with api.database.connection() as conn:
        await conn.execute("UPDATE instances SET vm_state = 'active' WHERE uuid = $1", server)
        return str(
            await conn.fetchval(
                "INSERT INTO workflows (id, kind, subject_id, state, step, task_state, results, context, request_id)"
                " VALUES ($1, 'live-migration', $2, 'running', 'migrate', 'migrating', $3, $4, 'req-1') RETURNING number",
                *(api.parts.world.uuid(), server, {"claim_destination": claimed}, context),
            )
        )


def sent(row: Route, child: str) -> Any:
    """A body that passes, where one is wanted."""
    if row.method not in ("POST", "PUT"):
        return None
    if kind_of(row) == "metadata":
        return {"meta": {child: "x"}}
    if kind_of(row) == "os-volume_attachments":
        return {"volumeAttachment": {"volumeId": child, "delete_on_termination": True}}
    return body(row, row.until) if row.body is not None or row.action else None


OWN, OTHERS = "a1111111-1111-4111-8111-111111111111", "b2222222-2222-4222-8222-222222222222"


async def test_nothing_of_another_server_is_reached_by_way_of_ones_own(api: Api) -> None:
    """SEC-031"""
    mine, my_things = await furnished(api, "member", PROJECT, OWN)
    theirs, their_things = await furnished(api, "stranger", OTHER_PROJECT, OTHERS)
    assert {kind_of(row) for row in NESTED} == my_things.keys()
    faults = []
    for row in sorted(NESTED, key=lambda row: kind_of(row) == "migrations"):
        kind, version = kind_of(row), f"2.{row.until}"
        if kind == "migrations" and not my_things[kind]:  # from here on both servers are busy
            my_things[kind], their_things[kind] = await migrating(api, mine, PROJECT), await migrating(api, theirs, OTHER_PROJECT)
        for server, things in ((mine, their_things), (theirs, my_things), (theirs, their_things)):
            path = row.path.replace("{server_id}", server).replace("{id}", things[kind])
            for caller in ("manager", "admin"):  # who moves servers is a manager or an administrator
                made = row.method == "PUT" and kind in MADE_BY_PUT and (server == mine or caller == "admin")
                if made or (caller == "admin" and (server, things) == (theirs, their_things)):
                    continue
                answer = await api.ask(row.method, path, caller, version, sent(row, things[kind]))
                closed = caller == "manager" and not api.parts.policy.may(CALLERS[caller], str(row.policy))
                refusal = 400 if row.action and (server == mine or caller == "admin") else 404  # Nova's answer to actions on migrations
                if answer.status != (403 if closed and server == mine else refusal):
                    faults.append((caller, row.method, path, answer))
        if row.method == "GET" and kind not in NEVER_THERE:
            path = row.path.replace("{server_id}", mine).replace("{id}", my_things[kind])
            assert (await api.get(path, "admin", version)).status in (200, 204), path
    assert not faults, "\n".join(map(str, faults))


@pytest.mark.parametrize("kind", ["tags", "metadata"])
async def test_readers_write_nothing_below_a_server(api: Api, kind: str) -> None:
    """SEC-031"""
    server, things = await furnished(api, "member", PROJECT, OWN)
    rows = [row for row in ROUTES if f"/{kind}" in row.path and row.path.startswith("/servers/") and row.method != "GET"]
    assert len(rows) >= 4
    for row in rows:
        path = row.path.replace("{server_id}", server).replace("{id}", things[kind])
        given = sent(row, things[kind]) if row.path.endswith("}") else body(row, row.until) if row.body is not None else None
        assert (await api.ask(row.method, path, "reader", f"2.{row.until}", given)).status == 403, path


FILTERED = {  # lists that a query narrows to a project, and how much of a list there is otherwise
    "/servers?project_id={}": "servers",
    "/servers?tenant_id={}": "servers",
    "/servers/detail?project_id={}": "servers",
    "/servers?all_tenants=1&project_id={}": "servers",
    "/os-server-groups?all_projects=1&project_id={}": "server_groups",
    "/os-migrations?project_id={}": "migrations",
}


@pytest.mark.parametrize("query", FILTERED)
async def test_a_filter_for_another_project_shows_nothing_of_it(api: Api, query: str) -> None:
    """SEC-031: one's own at most, or a refusal."""
    await furnished(api, "member", PROJECT, OWN)
    theirs, _ = await furnished(api, "stranger", OTHER_PROJECT, OTHERS)
    group = {"server_group": {"name": "g", "policies": ["affinity"]}}
    theirs_too = (await api.post("/os-server-groups", group, "stranger")).body["server_group"]["id"]
    for caller in ("reader", "member", "manager"):
        answer = await api.get(query.format(OTHER_PROJECT), caller, "2.80")
        assert answer.status in (200, 400, 403), answer
        assert theirs.encode() not in answer.raw
        assert theirs_too.encode() not in answer.raw
