"""Server groups, from outside: how they look in each version, who may see them, and how servers join and leave."""

import asyncio
import json
from typing import Any

import pytest

from nova_async.config import Config, load
from nova_async.db import placements
from tests.api.conftest import IMAGE, OTHER_PROJECT, PROJECT

NOBODYS = "99999999-9999-4999-8999-999999999999"


@pytest.fixture
def config() -> Config:
    return load(None, {}, quota__server_groups=3, quota__server_group_members=2)


async def made(api, caller: str = "member", name: str = "web", **fields: Any) -> dict[str, Any]:
    answer = await api.post("/os-server-groups", {"server_group": {"name": name, **({"policy": "affinity"} | fields)}}, caller, "2.64")
    assert answer.status == 200, answer
    return answer.body["server_group"]


async def boot(api, group: Any, caller: str = "member", key: str = "os:scheduler_hints", **fields: Any):
    server = {"name": "web", "imageRef": IMAGE, "flavorRef": "1"} | fields
    return await api.post("/servers", {"server": server, key: {"group": group}}, caller)


async def test_a_group_lives_from_create_to_delete(api) -> None:
    group = await made(api, policy="anti-affinity", rules={"max_server_per_host": "3"})
    assert group == {
        "id": group["id"],
        "name": "web",
        "policy": "anti-affinity",
        "rules": {"max_server_per_host": 3},
        "members": [],
        "project_id": PROJECT,
        "user_id": "member-user",
    }
    assert (await api.get(f"/os-server-groups/{group['id']}", "reader", "2.64")).body["server_group"] == group
    assert (await api.get("/os-server-groups", "reader", "2.64")).body["server_groups"] == [group]
    gone = await api.delete(f"/os-server-groups/{group['id']}")
    assert (gone.status, gone.raw) == (204, b"")
    missing = await api.get(f"/os-server-groups/{group['id']}")
    assert (missing.status, missing.message) == (404, f"Instance group {group['id']} could not be found.")
    assert (await api.get("/os-server-groups/x")).status == 404


@pytest.mark.parametrize(
    ("version", "keys"),
    [
        ("2.1", {"policies", "metadata"}),
        ("2.12", {"policies", "metadata"}),
        ("2.13", {"policies", "metadata", "project_id", "user_id"}),
        ("2.63", {"policies", "metadata", "project_id", "user_id"}),
        ("2.64", {"policy", "rules", "project_id", "user_id"}),
    ],
)
async def test_fields_come_and_go_with_the_versions(api, version, keys) -> None:
    group = await made(api)
    shown = (await api.get(f"/os-server-groups/{group['id']}", version=version)).body["server_group"]
    assert set(shown) == {"id", "name", "members"} | keys
    assert shown.get("policies", ["affinity"]) == ["affinity"]


@pytest.mark.parametrize(
    ("version", "body", "status"),
    [
        ("2.1", {"name": "a", "policies": ["affinity"]}, 200),
        ("2.14", {"name": "a", "policies": ["soft-affinity"]}, 400),
        ("2.15", {"name": "a", "policies": ["soft-affinity"]}, 200),
        ("2.15", {"name": "a", "policies": ["affinity", "anti-affinity"]}, 400),
        ("2.15", {"name": "a", "policies": []}, 400),
        ("2.63", {"name": "a", "policy": "affinity"}, 400),
        ("2.64", {"name": "a", "policies": ["affinity"]}, 400),
        ("2.64", {"name": "a", "policy": "soft-anti-affinity"}, 200),
        ("2.64", {"name": "a", "policy": "apart"}, 400),
        ("2.64", {"name": "a", "policy": "affinity", "rules": {}}, 200),
        ("2.64", {"name": "a", "policy": "anti-affinity", "rules": {"max_server_per_host": 0}}, 400),
        ("2.64", {"name": "a", "policy": "anti-affinity", "rules": {"most": 1}}, 400),
        ("2.64", {"policy": "anti-affinity"}, 400),
    ],
)
async def test_each_version_takes_its_policies(api, version, body, status) -> None:
    assert (await api.post("/os-server-groups", {"server_group": body}, "member", version)).status == status


async def test_only_anti_affinity_has_rules(api) -> None:
    body = {"server_group": {"name": "a", "policy": "affinity", "rules": {"max_server_per_host": 2}}}
    refused = await api.post("/os-server-groups", body, "member", "2.64")
    assert (refused.status, refused.message) == (400, "Only anti-affinity policy supports rules.")


async def test_groups_belong_to_projects(api) -> None:
    ours, theirs = await made(api), await made(api, "stranger")
    assert [g["id"] for g in (await api.get("/os-server-groups")).body["server_groups"]] == [ours["id"]]
    every = (await api.get("/os-server-groups?all_projects=1", "admin")).body["server_groups"]
    assert [g["id"] for g in every] == [ours["id"], theirs["id"]]
    assert [g["id"] for g in (await api.get("/os-server-groups?all_projects=1", "stranger")).body["server_groups"]] == [theirs["id"]]
    for method in ("GET", "DELETE"):
        assert (await api.ask(method, f"/os-server-groups/{ours['id']}", "stranger")).status == 403
    assert (await api.get(f"/os-server-groups/{theirs['id']}", "admin", "2.13")).body["server_group"]["project_id"] == OTHER_PROJECT
    for caller, status in (("reader", 403), ("nobody", 403), ("manager", 200)):
        answer = await api.post("/os-server-groups", {"server_group": {"name": "a", "policy": "affinity"}}, caller, "2.64")
        assert answer.status == status, caller
    assert (await api.delete(f"/os-server-groups/{ours['id']}", "reader")).status == 403


async def test_lists_are_sliced(api) -> None:
    ids = [(await made(api, name=name))["id"] for name in "abc"]

    async def sliced(query: str) -> list[str]:
        return [g["id"] for g in (await api.get(f"/os-server-groups{query}")).body["server_groups"]]

    assert await sliced("?limit=2") == ids[:2]
    assert await sliced("?limit=1&offset=1") == ids[1:2]
    assert await sliced("?limit=0") == ids
    assert await sliced("?offset=9") == []
    assert (await api.get("/os-server-groups?limit=-1")).status == 400
    assert (await api.get("/os-server-groups?x=1", version="2.75")).status == 400


async def test_a_project_has_so_many_groups(api) -> None:
    for name in "abc":
        await made(api, name=name)
    refused = await api.post("/os-server-groups", {"server_group": {"name": "d", "policy": "affinity"}}, "member", "2.64")
    assert (refused.status, refused.message) == (403, "Quota exceeded, too many server groups.")
    assert (await api.get("/limits")).body["limits"]["absolute"]["totalServerGroupsUsed"] == 3
    detail = (await api.get(f"/os-quota-sets/{PROJECT}/detail", "admin")).body["quota_set"]
    assert detail["server_groups"] == {"limit": 3, "in_use": 3, "reserved": 0}


@pytest.mark.parametrize("key", ["os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"])
async def test_a_server_joins_a_group_and_leaves_it_at_its_end(api, key) -> None:
    await api.flavor("1")
    group = await made(api)
    answer = await boot(api, group["id"], key=key)
    assert answer.status == 202, answer
    server = answer.body["server"]["id"]
    assert (await api.get(f"/os-server-groups/{group['id']}")).body["server_group"]["members"] == [server]
    assert (await api.get(f"/servers/{server}", version="2.71")).body["server"]["server_groups"] == [group["id"]]
    assert "server_groups" not in (await api.get(f"/servers/{server}", version="2.70")).body["server"]
    assert (await api.get(f"/servers/{server}", version="2.100")).body["server"]["scheduler_hints"] == {"group": group["id"]}
    async with api.database.connection() as conn:
        await placements.bury(conn, server)
    assert (await api.get(f"/os-server-groups/{group['id']}")).body["server_group"]["members"] == []


async def test_servers_of_a_deleted_group_are_in_none(api) -> None:
    await api.flavor("1")
    group = await made(api)
    server = (await boot(api, [group["id"]])).body["server"]["id"]
    assert (await api.delete(f"/os-server-groups/{group['id']}")).status == 204
    assert (await api.get(f"/servers/{server}", version="2.71")).body["server"]["server_groups"] == []


async def test_a_group_has_so_many_members_and_a_refused_server_is_not_made(api) -> None:
    await api.flavor("1")
    group = await made(api)
    assert (await boot(api, group["id"])).status == 202
    refused = await boot(api, group["id"], min_count=2)
    assert (refused.status, refused.message) == (403, "Quota exceeded, too many servers in group")
    assert len((await api.get("/servers")).body["servers"]) == 1
    assert (await boot(api, group["id"])).status == 202


async def test_groups_that_cannot_be_joined_are_refused(api) -> None:
    await api.flavor("1")
    theirs = (await made(api, "stranger"))["id"]
    for group, message in (
        (NOBODYS, f"Instance group {NOBODYS} could not be found."),
        (theirs, f"Instance group {theirs} could not be found."),
        ([NOBODYS, theirs], "Invalid scheduler hint group: a server joins exactly one group."),
    ):
        answer = await boot(api, group)
        assert (answer.status, answer.message) == (400, message)
    assert (await boot(api, "web")).status == 400
    assert (await api.get("/servers")).body["servers"] == []


@pytest.mark.parametrize(
    ("hints", "words"),
    [
        ({"query": "{"}, "it is no JSON"),
        ({"query": "[]"}, "a list of an operator and its operands"),
        ({"query": json.dumps(["like", "$host", "a"])}, "'like' is not one of the operators"),
        ({"query": json.dumps(["and", ["maybe"]])}, "'maybe' is not one of the operators"),
        ({"cidr": "/24"}, "it needs the hint build_near_host_ip"),
        ({"build_near_host_ip": "192.0.2.1", "cidr": "/33"}, "192.0.2.1/33 is no network"),
        ({"build_near_host_ip": "here"}, "build_near_host_ip"),
        ({"different_host": "x"}, "different_host"),
    ],
)
async def test_hints_that_make_no_sense_are_refused(api, hints, words) -> None:
    await api.flavor("1")
    answer = await api.post(
        "/servers", {"server": {"name": "a", "imageRef": IMAGE, "flavorRef": "1"}, "os:scheduler_hints": hints}, "member"
    )
    assert (answer.status, words in answer.message) == (400, True), answer


async def test_hints_that_make_sense_are_kept(api) -> None:
    await api.flavor("1")
    hints = {
        "query": '[">=", "$free_ram_mb", 1]',
        "build_near_host_ip": "192.0.2.1",
        "cidr": "/24",
        "same_host": [NOBODYS],
        "site": "attic",
        "target_cell": "cell1",
    }
    answer = await api.post("/servers", {"server": {"name": "a", "imageRef": IMAGE, "flavorRef": "1"}, "os:scheduler_hints": hints})
    assert answer.status == 202, answer
    shown = (await api.get(f"/servers/{answer.body['server']['id']}", version="2.100")).body["server"]["scheduler_hints"]
    assert shown == {key: value if isinstance(value, list) else [value] for key, value in hints.items()}


async def test_those_who_ask_at_once_get_no_more_groups_than_the_limit(api) -> None:
    """SEC-060"""
    body = {"server_group": {"name": "g", "policies": ["affinity"]}}
    answers = await asyncio.gather(*(api.post("/os-server-groups", body) for _ in range(12)))
    assert sorted(a.status for a in answers) == [200] * 3 + [403] * 9
