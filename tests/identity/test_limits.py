"""Unified limits, as services that use oslo.limit and their operators have them."""

import asyncio
from typing import Any

import pytest

from nova_async.services.identity.bootstrap import Secrets

from .client import Answer, Client
from .conftest import OpenStack

FLAT = {"name": "flat", "description": "Limit enforcement and validation does not take project hierarchy into consideration."}


async def compute(admin: Client) -> str:
    """The id of a service."""
    return str((await admin.ask("GET", "/services?type=compute")).body["services"][0]["id"])


async def register(admin: Client, *names: str, **fields: Any) -> Answer:
    service_id = fields.pop("service_id", None) or await compute(admin)
    items = [{"service_id": service_id, "resource_name": name, "default_limit": 10, **fields} for name in names]
    return await admin.ask("POST", "/registered_limits", {"registered_limits": items})


async def limit(admin: Client, name: str, **fields: Any) -> Answer:
    service_id = fields.pop("service_id", None) or await compute(admin)
    return await admin.ask(
        "POST", "/limits", {"limits": [{"service_id": service_id, "resource_name": name, "resource_limit": 5, **fields}]}
    )


async def project_of(client: Client) -> str:
    return str((await client.ask("GET", "/auth/tokens", headers={"X-Subject-Token": client.token})).body["token"]["project"]["id"])


async def test_registered_limits_are_made_found_changed_and_deleted(admin: Client, demo: Client) -> None:
    answer = await register(admin, "servers", "cores", region_id="RegionOne", description="of all")
    assert answer.status == 201
    servers, _ = answer.body["registered_limits"]
    path = f"/registered_limits/{servers['id']}"
    assert servers == {
        "id": servers["id"],
        "service_id": await compute(admin),
        "region_id": "RegionOne",
        "resource_name": "servers",
        "default_limit": 10,
        "description": "of all",
        "links": {"self": admin.url + path},
    }

    assert (await demo.ask("GET", path)).body["registered_limit"] == servers
    for query, found in (
        ("", {"servers", "cores"}),
        ("?resource_name=cores", {"cores"}),
        ("?region_id=elsewhere", set()),
        ("?service_id=x", set()),
    ):
        assert {r["resource_name"] for r in (await demo.ask("GET", f"/registered_limits{query}")).body["registered_limits"]} == found
    assert (await register(admin, "servers", region_id="RegionOne")).status == 409
    assert (await register(admin, "servers")).status == 201  # of no region
    assert (await register(admin, "servers")).status == 409
    assert (await register(admin, "disk", "disk")).status == 409
    assert (await admin.ask("GET", "/registered_limits?resource_name=disk")).body["registered_limits"] == []

    changed = await admin.ask("PATCH", path, {"registered_limit": {"default_limit": 0, "resource_name": "guests", "description": None}})
    assert changed.body["registered_limit"] == {**servers, "default_limit": 0, "resource_name": "guests", "description": None}
    assert (await admin.ask("PATCH", path, {"registered_limit": {"resource_name": "cores"}})).status == 409
    assert (await admin.ask("PATCH", path, {"registered_limit": {"service_id": "x"}})).status == 400
    assert (await admin.ask("DELETE", path)).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        assert (await admin.ask(method, path, {"registered_limit": {}} if method == "PATCH" else None)).status == 404


@pytest.mark.parametrize(
    "fields",
    [{"service_id": "x"}, {"region_id": "nowhere"}, {"default_limit": -2}, {"default_limit": "5"}, {"default_limit": 2**31}, {"more": 1}],
)
async def test_a_registered_limit_of_nothing_is_refused(admin: Client, fields: dict[str, Any]) -> None:
    assert (await register(admin, "servers", **fields)).status == 400


async def test_limits_stand_in_for_registered_ones_which_then_stay(admin: Client, demo: Client) -> None:
    project = await project_of(demo)
    assert (await limit(admin, "servers", project_id=project)).status == 403
    registered = (await register(admin, "servers")).body["registered_limits"][0]
    answer = await limit(admin, "servers", project_id=project)
    assert answer.status == 201
    made = answer.body["limits"][0]
    path = f"/limits/{made['id']}"
    assert made == {
        "id": made["id"],
        "project_id": project,
        "domain_id": None,
        "service_id": registered["service_id"],
        "region_id": None,
        "resource_name": "servers",
        "resource_limit": 5,
        "description": None,
        "links": {"self": admin.url + path},
    }
    assert (await limit(admin, "servers", project_id=project)).status == 409
    assert (await limit(admin, "servers", region_id="RegionOne", project_id=project)).status == 403

    of_registered = f"/registered_limits/{registered['id']}"
    for change in ({"resource_name": "guests"}, {"default_limit": 1}):
        assert (await admin.ask("PATCH", of_registered, {"registered_limit": change})).status == 403
    assert (await admin.ask("DELETE", of_registered)).status == 403
    assert (await admin.ask("DELETE", f"/services/{registered['service_id']}")).status == 403

    changed = await admin.ask("PATCH", path, {"limit": {"resource_limit": 0, "description": "none"}})
    assert changed.body["limit"] == {**made, "resource_limit": 0, "description": "none"}
    assert (await admin.ask("PATCH", path, {"limit": {"project_id": project}})).status == 400
    assert (await admin.ask("GET", path)).body["limit"] == changed.body["limit"]
    assert (await admin.ask("DELETE", path)).status == 204
    assert (await admin.ask("DELETE", path)).status == 404
    assert (await admin.ask("GET", path)).status == 404
    assert (await admin.ask("DELETE", of_registered)).status == 204


async def test_a_limit_is_of_a_project_or_of_a_domain(admin: Client, demo: Client) -> None:
    project = await project_of(demo)
    await register(admin, "servers")
    for owner in ({}, {"project_id": project, "domain_id": "default"}, {"project_id": "x"}, {"domain_id": "x"}, {"domain_id": project}):
        assert (await limit(admin, "servers", **owner)).status == 400
    by_its_other_name = await limit(admin, "servers", project_id="default")
    assert [(made["project_id"], made["domain_id"]) for made in by_its_other_name.body["limits"]] == [(None, "default")]
    assert (await limit(admin, "servers", domain_id="default")).status == 409


async def test_limits_of_what_is_gone_are_gone(admin: Client) -> None:
    project = await admin.make("/projects", name="short-lived")
    region = await admin.make("/regions", id="far")
    registered = (await register(admin, "servers", region_id=region["id"])).body["registered_limits"][0]
    await limit(admin, "servers", region_id=region["id"], project_id=project["id"])

    assert (await admin.ask("DELETE", f"/regions/{region['id']}")).status == 403
    assert (await admin.ask("DELETE", f"/projects/{project['id']}")).status == 204
    assert (await admin.ask("GET", "/limits")).body["limits"] == []
    assert (await admin.ask("DELETE", f"/registered_limits/{registered['id']}")).status == 204
    assert (await admin.ask("DELETE", f"/regions/{region['id']}")).status == 204


async def test_everybody_sees_their_own_limits_and_nobody_elses(admin: Client, demo: Client, anybody: Client, secrets: Secrets) -> None:
    await register(admin, "servers")
    own, other = await project_of(demo), await project_of(admin)
    ids = {}
    for name, owner in (("own", {"project_id": own}), ("other", {"project_id": other}), ("domain", {"domain_id": "default"})):
        ids[name] = (await limit(admin, "servers", **owner)).body["limits"][0]["id"]

    async def seen(client: Client, query: str = "") -> set[str]:
        found = {made["id"] for made in (await client.ask("GET", f"/limits{query}")).body["limits"]}
        return {name for name, id_ in ids.items() if id_ in found}

    assert await seen(admin) == {"own", "other", "domain"}
    assert await seen(admin, f"?project_id={own}&resource_name=servers") == {"own"}
    assert await seen(admin, "?domain_id=default") == {"domain"}
    assert await seen(demo) == await seen(demo, f"?project_id={own}") == {"own"}
    assert await seen(demo, f"?project_id={other}") == await seen(demo, "?domain_id=default") == set()
    assert [(await demo.ask("GET", f"/limits/{ids[name]}")).status for name in ids] == [200, 403, 403]
    assert (await demo.ask("GET", "/limits/absent")).status == 403
    assert (await demo.ask("GET", "/limits/model")).body == {"model": FLAT}

    await anybody.login(secrets.service.username, secrets.service.password, secrets.service.project_name)
    assert await seen(anybody) == {"own", "other", "domain"}
    await anybody.login("demo", secrets.demo.password, None)
    assert await seen(anybody) == set()
    for scope, expected in (("default", {"own", "other", "domain"}), ((await admin.make("/domains", name="empty"))["id"], set())):
        user = (await admin.ask("GET", "/users?name=demo")).body["users"][0]["id"]
        role = (await admin.ask("GET", "/roles?name=reader")).body["roles"][0]["id"]
        assert (await admin.ask("PUT", f"/domains/{scope}/users/{user}/roles/{role}")).status == 204
        await anybody.login("demo", secrets.demo.password, domain={"id": scope})
        assert await seen(anybody) == expected
        statuses = {(await anybody.ask("GET", f"/limits/{id_}")).status for id_ in ids.values()}
        assert statuses == ({200} if expected else {403})


async def test_a_limit_and_a_change_of_its_registered_one_do_not_pass_each_other(admin: Client, demo: Client) -> None:
    project = await project_of(demo)
    registered = (await register(admin, "servers")).body["registered_limits"][0]
    rename = admin.ask("PATCH", f"/registered_limits/{registered['id']}", {"registered_limit": {"resource_name": "guests"}})

    renamed, made = await asyncio.gather(rename, limit(admin, "servers", project_id=project))

    assert sorted([renamed.status, made.status]) in ([200, 403], [201, 403])


async def test_the_openstack_command_makes_and_changes_limits(openstack: OpenStack) -> None:
    async def told(words: str) -> Any:
        return await openstack(*words.split())

    registered = await told("registered limit create --service nova --region RegionOne --default-limit 10 servers")
    assert (registered["resource_name"], registered["default_limit"]) == ("servers", 10)
    assert (await told(f"registered limit set --default-limit 12 {registered['id']}"))["default_limit"] == 12
    made = await told("limit create --service nova --region RegionOne --project demo --resource-limit 5 servers")
    assert (made["resource_limit"], made["region_id"]) == (5, "RegionOne")
    assert (await told(f"limit set --resource-limit 0 --description less {made['id']}"))["resource_limit"] == 0
    assert (await told(f"limit show {made['id']}"))["description"] == "less"
    assert [row["ID"] for row in await told("limit list --service nova --project demo")] == [made["id"]]
    await told(f"limit delete {made['id']}")
    assert [row["Default Limit"] for row in await told("registered limit list")] == [12]
    await told(f"registered limit delete {registered['id']}")
    assert await told("limit list") == []
