"""The life of users, projects, roles and credentials, as the clients that people have live it."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import keystoneauth1.exceptions
import openstack
import pytest

from nova_async.config import Config
from nova_async.db import Database
from nova_async.services.identity.bootstrap import Secrets
from nova_async.services.identity.builtin import BuiltinIdentity
from nova_async.services.identity.handlers import credentials
from nova_async.world import RealWorld

from .client import Client, password_auth


@pytest.fixture
async def cloud(served: str, secrets: Secrets) -> AsyncIterator[Any]:
    """openstacksdk as the administrator; use it in a thread."""
    auth = {
        "auth_url": served,
        "username": "admin",
        "password": secrets.admin.password,
        "project_name": "admin",
        "user_domain_id": "default",
        "project_domain_id": "default",
    }
    connection = openstack.connect(load_yaml_config=False, load_envvars=False, region_name=secrets.region, **auth)
    yield connection
    await asyncio.to_thread(connection.close)


async def test_openstacksdk_makes_a_project_with_a_user_who_can_log_in(cloud: Any, anybody: Client) -> None:
    def story() -> None:
        identity = cloud.identity
        project = identity.create_project(name="astronomy", description="stars", tags=["night"])
        user = identity.create_user(name="tycho", password="brahe", default_project_id=project.id, email="t@example.org")
        role = identity.find_role("member")
        identity.assign_project_role_to_user(project, user, role)
        assert identity.validate_user_has_project_role(project, user, role)
        assert identity.find_project("astronomy").id == project.id
        assert identity.find_user("tycho").email == "t@example.org"
        assert [p.name for p in identity.user_projects(user)] == ["astronomy"]
        assert {r.name for r in identity.roles()} == {"admin", "manager", "member", "reader", "service"}
        assignments = list(identity.role_assignments(user_id=user.id, effective=True, include_names=True))
        assert {a.role["name"] for a in assignments} == {"member", "reader"}
        assert identity.find_project("nowhere") is None
        identity.update_user(user, name="tycho2")

    await asyncio.to_thread(story)

    answer = await anybody.login("tycho2", "brahe", project=None)
    assert answer.body["token"]["project"]["name"] == "astronomy"
    assert (await anybody.ask("GET", "/users")).status == 403


async def test_openstacksdk_logs_in_with_an_application_credential(cloud: Any, served: str, secrets: Secrets) -> None:
    def story() -> None:
        identity = cloud.identity
        me = identity.get_user(cloud.session.get_user_id())
        made = identity.create_application_credential(me, name="robot", roles=[{"name": "reader"}])
        auth = {"auth_url": served, "application_credential_id": made.id, "application_credential_secret": made.secret}
        robot = openstack.connect(load_yaml_config=False, load_envvars=False, auth_type="v3applicationcredential", auth=auth)
        access = robot.session.auth.get_access(robot.session)
        assert access.role_names == ["reader"]
        assert access.project_name == "admin"
        assert [c.name for c in identity.application_credentials(me)] == ["robot"]
        identity.delete_application_credential(me, made.id)
        with pytest.raises(keystoneauth1.exceptions.Unauthorized):
            robot.session.get(f"{served}/auth/projects")
        robot.close()

    await asyncio.to_thread(story)


async def test_the_openstack_command_issues_a_token(served: str, secrets: Secrets) -> None:
    settings = {
        "OS_AUTH_URL": served.removesuffix("/v3"),
        "OS_USERNAME": "demo",
        "OS_PASSWORD": secrets.demo.password,
        "OS_PROJECT_NAME": "demo",
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
    }
    command = Path(sys.executable).with_name("openstack")

    run = await asyncio.create_subprocess_exec(
        command, "token", "issue", "-f", "value", "-c", "project_id", env={**os.environ, **settings}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(run.communicate(), 60)

    assert run.returncode == 0
    assert len(out.strip()) == 32


async def test_users_change_their_own_password_and_nobody_elses(admin: Client, anybody: Client, secrets: Secrets) -> None:
    user = (await anybody.login("demo", secrets.demo.password)).body["token"]["user"]
    admin_id = (await admin.ask("GET", "/users?name=admin")).body["users"][0]["id"]
    change = {"user": {"original_password": secrets.demo.password, "password": "fresh"}}

    assert (await anybody.ask("GET", f"/users/{user['id']}")).body["user"]["name"] == "demo"
    assert (await anybody.ask("GET", f"/users/{admin_id}")).status == 403
    assert (await anybody.ask("PATCH", f"/users/{user['id']}", {"user": {"enabled": True}})).status == 403
    assert (await anybody.ask("POST", f"/users/{admin_id}/password", change)).status == 403
    wrong = {"user": {"original_password": "wrong", "password": "fresh"}}
    assert (await anybody.ask("POST", f"/users/{user['id']}/password", wrong)).status == 401
    assert (await anybody.ask("POST", f"/users/{user['id']}/password", change)).status == 204

    assert (await anybody.ask("GET", "/auth/projects")).status == 401
    assert (await anybody.login("demo", secrets.demo.password)).status == 401
    assert (await anybody.login("demo", "fresh")).status == 201


async def test_hashes_and_secrets_never_come_back(admin: Client, demo: Client) -> None:
    """SEC-041"""
    user = (await demo.ask("GET", "/auth/tokens", headers={"X-Subject-Token": demo.token})).body["token"]["user"]
    made = (await demo.ask("POST", f"/users/{user['id']}/application_credentials", {"application_credential": {"name": "x"}})).body

    shown = [
        await admin.ask("GET", "/users"),
        await admin.ask("GET", f"/users/{user['id']}"),
        await demo.ask("GET", f"/users/{user['id']}/application_credentials"),
        await admin.ask("POST", "/users", {"user": {"name": "new", "password": "canary"}}),
    ]

    for answer in shown:
        assert answer.status < 300
        assert "argon2" not in str(answer.body)
        assert "canary" not in str(answer.body)
        assert made["application_credential"]["secret"] not in str(answer.body)


async def test_an_application_credential_stays_in_its_project_and_makes_no_others(demo: Client, anybody: Client) -> None:
    """SEC-042"""
    user_id = (await demo.ask("GET", "/auth/tokens", headers={"X-Subject-Token": demo.token})).body["token"]["user"]["id"]
    path = f"/users/{user_id}/application_credentials"
    made = (await demo.ask("POST", path, {"application_credential": {"name": "robot"}})).body["application_credential"]
    by_credential = {"methods": ["application_credential"], "application_credential": {"id": made["id"], "secret": made["secret"]}}
    answer = await anybody.ask("POST", "/auth/tokens", {"auth": {"identity": by_credential}})
    anybody.token = answer.headers["X-Subject-Token"]

    assert answer.body["token"]["application_credential"] == {"id": made["id"], "name": "robot", "restricted": True}
    for body in ({"name": "another"}, {"name": "another", "unrestricted": True}):
        assert (await anybody.ask("POST", path, {"application_credential": body})).status == 403
    assert (await anybody.ask("DELETE", f"{path}/{made['id']}")).status == 403
    widen = {"identity": {"methods": ["token"], "token": {"id": anybody.token}}}
    for scope in ({"system": {"all": True}}, {"domain": {"id": "default"}}, "unscoped"):
        assert (await anybody.ask("POST", "/auth/tokens", {"auth": {**widen, "scope": scope}})).status == 403
    greedy = {"name": "greedy", "roles": [{"name": "admin"}]}
    assert (await demo.ask("POST", path, {"application_credential": greedy})).status == 400

    assert (await demo.ask("DELETE", f"{path}/{made['id']}")).status == 204
    assert (await anybody.ask("GET", "/auth/projects")).status == 401


async def test_a_user_has_no_more_application_credentials_than_the_limit(demo: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-060"""
    monkeypatch.setattr(credentials, "MAX_PER_USER", 3)
    user_id = (await demo.ask("GET", "/auth/tokens", headers={"X-Subject-Token": demo.token})).body["token"]["user"]["id"]
    path = f"/users/{user_id}/application_credentials"

    async def one(number: int) -> int:
        return (await demo.ask("POST", path, {"application_credential": {"name": f"c{number}"}})).status

    assert sorted(await asyncio.gather(*(one(n) for n in range(8)))) == [201] * 3 + [403] * 5
    assert len((await demo.ask("GET", path)).body["application_credentials"]) == 3


async def test_an_expired_application_credential_opens_nothing(demo: Client, admin: Client, database: Database, anybody: Client) -> None:
    user_id = (await demo.ask("GET", "/auth/tokens", headers={"X-Subject-Token": demo.token})).body["token"]["user"]["id"]
    path = f"/users/{user_id}/application_credentials"
    past = {"name": "late", "expires_at": "2020-01-01T00:00:00.000000"}
    assert (await demo.ask("POST", path, {"application_credential": past})).status == 400
    future = {"name": "soon", "expires_at": "2100-01-01T00:00:00.000000"}
    made = (await demo.ask("POST", path, {"application_credential": future})).body["application_credential"]
    auth = {"methods": ["application_credential"], "application_credential": {"id": made["id"], "secret": made["secret"]}}
    assert (await anybody.ask("POST", "/auth/tokens", {"auth": {"identity": auth}})).status == 201

    async with database.connection() as conn:
        await conn.execute("UPDATE identity_application_credentials SET expires_at = now() - interval '1 second'")

    assert (await anybody.ask("POST", "/auth/tokens", {"auth": {"identity": auth}})).status == 401


async def test_groups_give_roles_and_leaving_takes_them(admin: Client, anybody: Client) -> None:
    user, group = await admin.make("/users", name="member", password="secret"), await admin.make("/groups", name="crew")
    project = await admin.make("/projects", name="ship")
    role = (await admin.ask("GET", "/roles?name=manager")).body["roles"][0]
    assert (await admin.ask("PUT", f"/groups/{group['id']}/users/{user['id']}")).status == 204
    assert (await admin.ask("PUT", f"/projects/{project['id']}/groups/{group['id']}/roles/{role['id']}")).status == 204

    answer = await anybody.login("member", "secret", "ship")
    assert {r["name"] for r in answer.body["token"]["roles"]} == {"manager", "member", "reader"}
    assert (await admin.ask("HEAD", f"/groups/{group['id']}/users/{user['id']}")).status == 204
    assert (await admin.ask("DELETE", f"/groups/{group['id']}/users/{user['id']}")).status == 204

    assert (await anybody.ask("GET", "/auth/projects")).status == 401
    assert (await anybody.login("member", "secret", "ship")).status == 401


async def test_inherited_roles_hold_for_the_projects_below(admin: Client, anybody: Client) -> None:
    parent = await admin.make("/projects", name="parent")
    child = await admin.make("/projects", name="child", parent_id=parent["id"])
    user = await admin.make("/users", name="heir", password="secret")
    role = (await admin.ask("GET", "/roles?name=reader")).body["roles"][0]
    path = f"/OS-INHERIT/projects/{parent['id']}/users/{user['id']}/roles/{role['id']}/inherited_to_projects"

    assert (await admin.ask("PUT", path)).status == 204
    assert (await admin.ask("HEAD", path)).status == 204

    assert (await anybody.login("heir", "secret", "child")).status == 201
    assert (await anybody.login("heir", "secret", "parent")).status == 401
    assert [p["id"] for p in (await anybody.ask("GET", "/auth/projects")).body["projects"]] == [child["id"]]
    assert (await admin.ask("DELETE", f"/projects/{parent['id']}")).status == 403
    assert (await admin.ask("DELETE", path)).status == 204
    assert (await anybody.ask("GET", "/auth/projects")).status == 401


async def test_a_role_implied_or_deleted_changes_what_users_are(admin: Client, anybody: Client) -> None:
    (project,) = (await admin.ask("GET", "/projects?name=demo")).body["projects"]
    user = await admin.make("/users", name="cook", password="secret")
    chef, knife = await admin.make("/roles", name="chef"), await admin.make("/roles", name="knife")
    await admin.ask("PUT", f"/projects/{project['id']}/users/{user['id']}/roles/{chef['id']}")
    assert (await admin.ask("PUT", f"/roles/{chef['id']}/implies/{knife['id']}")).status == 201
    assert (await admin.ask("PUT", f"/roles/{knife['id']}/implies/{chef['id']}")).status == 400
    admin_role = (await admin.ask("GET", "/roles?name=admin")).body["roles"][0]
    assert (await admin.ask("PUT", f"/roles/{chef['id']}/implies/{admin_role['id']}")).status == 403

    first = await anybody.login("cook", "secret")
    assert [r["name"] for r in first.body["token"]["roles"]] == ["chef", "knife"]
    assert (await admin.ask("DELETE", f"/roles/{knife['id']}")).status == 204
    assert (await anybody.ask("GET", "/auth/projects")).status == 401
    second = await anybody.login("cook", "secret")

    assert [r["name"] for r in second.body["token"]["roles"]] == ["chef"]


async def test_a_domain_is_disabled_before_it_goes_and_takes_all_with_it(admin: Client, anybody: Client) -> None:
    domain = await admin.make("/domains", name="Guests")
    project = await admin.make("/projects", name="lobby", domain_id=domain["id"])
    await admin.make("/projects", name="corner", domain_id=domain["id"], parent_id=project["id"])
    user = await admin.make("/users", name="guest", domain_id=domain["id"], password="secret")
    role = (await admin.ask("GET", "/roles?name=member")).body["roles"][0]
    await admin.ask("PUT", f"/projects/{project['id']}/users/{user['id']}/roles/{role['id']}")
    login = password_auth("guest", "secret", "lobby", home=domain["id"])
    token = (await anybody.ask("POST", "/auth/tokens", login)).headers["X-Subject-Token"]

    assert (await admin.ask("DELETE", f"/domains/{domain['id']}")).status == 403
    assert (await admin.ask("PATCH", f"/domains/{domain['id']}", {"domain": {"enabled": False}})).status == 200
    assert (await anybody.ask("GET", "/auth/projects", token=token)).status == 401
    assert (await anybody.ask("POST", "/auth/tokens", login)).status == 401
    assert (await admin.ask("DELETE", f"/domains/{domain['id']}")).status == 204

    assert (await admin.ask("GET", f"/users/{user['id']}")).status == 404
    assert (await admin.ask("GET", f"/projects/{project['id']}")).status == 404
    assert (await admin.ask("PATCH", "/domains/default", {"domain": {"enabled": False}})).status == 403


async def test_tags_mark_projects(admin: Client) -> None:
    one, _ = await admin.make("/projects", name="one", tags=["a", "b"]), await admin.make("/projects", name="two", tags=["b"])
    path = f"/projects/{one['id']}/tags"

    assert (await admin.ask("PUT", f"{path}/c")).status == 201
    assert (await admin.ask("GET", path)).body["tags"] == ["a", "b", "c"]
    assert (await admin.ask("GET", f"{path}/c")).status == 204
    assert (await admin.ask("DELETE", f"{path}/c")).status == 204
    assert (await admin.ask("GET", f"{path}/c")).status == 404
    assert [p["name"] for p in (await admin.ask("GET", "/projects?tags=a,b")).body["projects"]] == ["one"]
    assert {p["name"] for p in (await admin.ask("GET", "/projects?tags-any=a,b")).body["projects"]} == {"one", "two"}
    assert (await admin.ask("PUT", path, {"tags": []})).body["tags"] == []


async def test_lists_come_in_pages(admin: Client) -> None:
    first = (await admin.ask("GET", "/users?limit=2")).body
    next_page = first["links"]["next"].removeprefix(admin.url)
    second = (await admin.ask("GET", next_page)).body

    assert len(first["users"]) == 2
    assert {u["name"] for u in first["users"] + second["users"]} == {"admin", "demo", "nova"}
    assert second["links"]["next"] is None


async def test_new_endpoints_are_in_the_next_catalog(admin: Client, anybody: Client, secrets: Secrets) -> None:
    service = await admin.make("/services", type="volumev3", name="cinder")
    place = {"service_id": service["id"], "region_id": "RegionOne"}
    await admin.make("/endpoints", interface="public", url="http://127.0.0.1:1/volume/v3", **place)

    token = (await anybody.login("demo", secrets.demo.password)).body["token"]

    assert "http://127.0.0.1:1/volume/v3" in [e["url"] for s in token["catalog"] for e in s["endpoints"]]
    assert (await admin.ask("POST", "/endpoints", {"endpoint": {**place, "interface": "sideways", "url": "http://x"}})).status == 400
    assert (await admin.ask("DELETE", "/regions/RegionOne")).status == 403


async def test_several_processes_bootstrap_at_once(database: Database, config: Config, world: RealWorld) -> None:
    processes = [await BuiltinIdentity.open(database, config, world) for _ in range(3)]
    try:
        secrets = await asyncio.gather(*(p.bootstrap() for p in processes))
        again = await processes[0].bootstrap()
    finally:
        for p in processes:
            await p.close()

    assert all(s == secrets[0] for s in [*secrets, again])
    assert secrets[0].admin.password
    assert secrets[0].auth_url == f"{config.public_url}/identity/v3"
    kept = config.state / "secrets.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    async with database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM identity_users") == 3
        assert await conn.fetchval("SELECT count(*) FROM identity_endpoints") == 21
        assert await conn.fetchval("SELECT count(*) FROM identity_keys") == 1


async def test_the_services_user_is_an_administrator_only_to_services_that_are_not_built_in(
    secrets: Secrets, anybody: Client, database: Database, config: Config, world: RealWorld
) -> None:
    """SEC-042"""

    async def roles() -> set[str]:
        answer = await anybody.login("nova", secrets.service.password, "service")
        return {role["name"] for role in answer.body["token"]["roles"]}

    assert await roles() == {"service"}
    assert (await anybody.ask("GET", "/users")).status == 403
    config.services.network = "neutron"
    other = await BuiltinIdentity.open(database, config, world)
    try:
        await other.bootstrap()
    finally:
        await other.close()
    assert {"admin", "service"} <= await roles()


async def test_a_password_in_the_configuration_beats_the_one_in_force(admin: Client, identity: BuiltinIdentity, secrets: Secrets) -> None:
    identity.config.identity.admin_password = "told by the operator"

    told = await identity.bootstrap()

    assert told.admin.password == "told by the operator"
    assert (await admin.login("admin", secrets.admin.password, "admin")).status == 401
    assert (await admin.login("admin", "told by the operator", "admin")).status == 201
