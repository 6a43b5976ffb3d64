"""What limits let through: of projects and of their users, for servers and all else that is counted, however many ask at once."""

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from nova_async.api.app import Parts, application
from tests.api.conftest import CALLERS, IMAGE, OTHER_PROJECT, PROJECT, Api

BODY = {"name": "web", "imageRef": IMAGE, "flavorRef": "1"}
SERVERS = {"server": BODY}


async def limit(api: Api, user: str = "", project: str = PROJECT, **limits: int) -> None:
    query = f"?user_id={user}" if user else ""
    answer = await api.put(f"/os-quota-sets/{project}{query}", {"quota_set": {**limits, "force": True}}, "admin", "2.35")
    assert answer.status == 200, answer


async def used(api: Api, caller: str = "member", user: str = "") -> dict[str, int]:
    query = f"?user_id={user}" if user else ""
    detail = (await api.get(f"/os-quota-sets/{PROJECT}/detail{query}", caller)).body["quota_set"]
    return {name: detail[name]["in_use"] for name in ("instances", "cores", "ram")}


async def test_of_fifty_at_once_exactly_as_many_are_made_as_the_limit_leaves(api: Api) -> None:
    """Asked of two processes, which share nothing but the database."""
    await api.flavor("1")
    parts = api.parts
    twin = Parts(
        *(parts.config, parts.world, parts.database, parts.bus, parts.starter, parts.tokens, parts.images, parts.networks, parts.volumes),
        parts.hosts,
    )
    outer = web.Application()
    outer.add_subapp("/compute", application(twin))
    async with TestClient(TestServer(outer)) as client:
        both = (api, Api(client))
        answers = await asyncio.gather(*(both[number % 2].post("/servers", SERVERS) for number in range(50)))
    assert sorted(answer.status for answer in answers) == [202] * 10 + [403] * 40
    assert {a.message for a in answers if a.status == 403} == {
        "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"
    }
    assert await used(api) == {"instances": 10, "cores": 10, "ram": 5120}


async def test_a_user_has_a_share_of_the_project(api: Api) -> None:
    await api.flavor("1", vcpus=2)
    await limit(api, user="member-user", instances=2, cores=3)
    assert (await api.post("/servers", SERVERS)).status == 202
    refused = await api.post("/servers", SERVERS)
    assert (refused.status, refused.message) == (
        403,
        "Quota exceeded for cores: Requested 2, but already used 2 of 3 cores",
    )
    for _ in range(3):
        assert (await api.post("/servers", SERVERS, "colleague")).status == 202
    assert await used(api, user="member-user") == {"instances": 1, "cores": 2, "ram": 512}
    await limit(api, instances=4)
    refused = await api.post("/servers", SERVERS, "colleague")
    assert refused.message == "Quota exceeded for instances: Requested 1, but already used 4 of 4 instances"


async def test_users_share_is_looked_at_between_min_and_max(api: Api) -> None:
    await api.flavor("1")
    await limit(api, user="member-user", instances=3)
    assert (await api.post("/servers", {"server": BODY | {"min_count": 2, "max_count": 5}})).status == 202
    assert (await used(api))["instances"] == 3
    refused = await api.post("/servers", {"server": BODY | {"min_count": 2, "max_count": 5}})
    assert refused.message == "Quota exceeded for instances: Requested 2-5, but already used 3 of 3 instances"


async def test_resize_and_restore_count_for_the_user_as_well(api: Api) -> None:
    await api.flavor("1")
    await api.flavor("2", vcpus=3, ram=512)
    await limit(api, user="member-user", cores=2)
    server = await api.server()
    refused = await api.act(server, "resize", {"flavorRef": "2"})
    assert (refused.status, refused.message) == (403, "Quota exceeded for cores: Requested 2, but already used 1 of 2 cores")
    await limit(api, user="member-user", cores=3)
    assert (await api.act(server, "resize", {"flavorRef": "2"})).status == 202
    await api.settle(server, "soft-delete")
    assert (await used(api))["instances"] == 0
    await api.server()
    await limit(api, user="member-user", instances=1)
    refused = await api.act(server, "restore")
    assert refused.message == "Quota exceeded for instances: Requested 1, but already used 1 of 1 instances"


async def test_what_waits_to_be_reclaimed_leaves_its_room(api: Api) -> None:
    await limit(api, instances=1)
    await api.settle(await api.server(), "soft-delete")
    assert (await api.post("/servers", SERVERS)).status == 202


async def test_an_administrator_counts_for_the_owner_of_the_server(api: Api) -> None:
    await api.flavor("2", vcpus=2)
    server = await api.server("stranger")
    await limit(api, project=OTHER_PROJECT, cores=1)
    refused = await api.act(server, "resize", {"flavorRef": "2"}, "admin")
    assert refused.message == "Quota exceeded for cores: Requested 1, but already used 1 of 1 cores"


async def test_minus_one_is_without_limit(api: Api) -> None:
    await api.flavor("1", vcpus=100, ram=10**6)
    assert (await api.post("/servers", SERVERS)).status == 403
    await limit(api, instances=-1, cores=-1, ram=-1)
    assert (await api.post("/servers", {"server": BODY | {"max_count": 12}})).status == 202
    assert (await used(api))["instances"] == 12


async def test_zero_lets_nothing_through(api: Api) -> None:
    await api.flavor("1")
    await limit(api, instances=0, key_pairs=0, server_groups=0, metadata_items=0)
    assert (await api.post("/servers", SERVERS)).status == 403
    key = {"keypair": {"name": "k", "public_key": KEY}}
    assert (await api.post("/os-keypairs", key)).message == "Quota exceeded, too many key pairs."
    group = {"server_group": {"name": "g", "policies": ["affinity"]}}
    assert (await api.post("/os-server-groups", group)).message == "Quota exceeded, too many server groups."


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDIi0oYBmSGDAyLNoDgBkAhL0uRbSpsMsqVbFHNJIVAJ"


async def test_groups_are_limited_for_project_and_user(api: Api) -> None:
    await limit(api, server_groups=3)
    await limit(api, user="member-user", server_groups=1)

    async def ask(caller: str) -> int:
        return (await api.post("/os-server-groups", {"server_group": {"name": "g", "policies": ["affinity"]}}, caller)).status

    assert [await ask(caller) for caller in ("member", "member", "colleague", "colleague", "colleague")] == [200, 403, 200, 200, 403]
    answers = await asyncio.gather(*(ask("stranger") for _ in range(14)))
    assert sorted(answers) == [200] * 10 + [403] * 4


async def test_members_of_a_group_are_counted_by_user_while_they_live(api: Api) -> None:
    await limit(api, server_group_members=1)
    made = await api.post("/os-server-groups", {"server_group": {"name": "g", "policies": ["anti-affinity"]}})
    hint = {"os:scheduler_hints": {"group": made.body["server_group"]["id"]}}
    await api.flavor("1")
    first = await api.post("/servers", SERVERS | hint)
    assert first.status == 202
    refused = await api.post("/servers", SERVERS | hint)
    assert (refused.status, refused.message) == (403, "Quota exceeded, too many servers in group")
    assert (await api.post("/servers", SERVERS | hint, "colleague")).status == 202
    await api.starter.finish(first.body["server"]["id"], deleted=True)
    assert (await api.post("/servers", SERVERS | hint)).status == 202


async def test_what_one_request_may_ask_for_is_the_users_share_too(api: Api) -> None:
    await limit(api, user="member-user", metadata_items=1, injected_files=1, injected_file_path_bytes=3, injected_file_content_bytes=2)
    server = await api.server("colleague")
    two = {"metadata": {"a": "1", "b": "2"}}
    files: list[tuple[list[dict[str, str]], str]] = [
        ([{"path": "/a", "contents": ""}] * 2, "Personality file limit exceeded"),
        ([{"path": "/abc", "contents": ""}], "Personality file path exceeds maximum 3"),
        ([{"path": "/a", "contents": "YWJj"}], "Personality file content exceeds maximum 2"),
    ]
    for fields, message in [(two, "Maximum number of metadata items exceeds 1"), *(({"personality": f}, m) for f, m in files)]:
        refused = await api.post("/servers", {"server": BODY | fields})
        assert (refused.status, refused.message) == (403, message)
        assert (await api.post("/servers", {"server": BODY | fields}, "manager")).status == 202, fields
        if message.startswith("Personality"):
            rebuilt = await api.act(server, "rebuild", {"imageRef": IMAGE, **fields})
            assert (rebuilt.status, rebuilt.message) == (403, message)
    refused = await api.post(f"/servers/{server}/metadata", two)
    assert (refused.status, refused.message) == (403, "Maximum number of metadata items exceeds 1")
    refused = await api.act(server, "createImage", {"name": "i", **two})
    assert (refused.status, refused.message) == (403, "Maximum number of metadata items exceeds 1")


@pytest.mark.parametrize("resource", ["fixed_ips", "floating_ips", "security_groups", "security_group_rules"])
async def test_what_is_kept_for_old_answers_limits_nothing(api: Api, resource: str) -> None:
    values: dict[str, Any] = {resource: 0}
    await limit(api, **values)
    assert (await api.get(f"/os-quota-sets/{PROJECT}")).body["quota_set"][resource] == 0
    await api.flavor("1")
    assert (await api.post("/servers", SERVERS)).status == 202
    assert CALLERS["member"].project_id == PROJECT
