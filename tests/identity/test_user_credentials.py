"""Credentials that users keep in the identity service, those for EC2 among them."""

import asyncio
import hashlib
import json
import os
from typing import Any

import pytest

from nova_async.config import Config
from nova_async.db import Database
from nova_async.services.identity.handlers import user_credentials

from .client import Answer, Client
from .conftest import OpenStack
from .test_access_rules import make, own_id, robot
from .test_limits import project_of

ACCESS = {"access": "AKIA", "secret": "canary"}


async def keep(client: Client, **fields: Any) -> Answer:
    body = {"user_id": await own_id(client), "type": "cert", "blob": "canary", **fields}
    return await client.ask("POST", "/credentials", {"credential": body})


async def keep_ec2(client: Client, blob: Any = None, **fields: Any) -> Answer:
    fields = {"project_id": await project_of(client), **fields}
    return await keep(client, type="ec2", blob=json.dumps(ACCESS if blob is None else blob), **fields)


async def test_a_credential_is_kept_changed_and_deleted_by_its_user(demo: Client, admin: Client) -> None:
    made = (await keep(demo)).body["credential"]
    path = f"/credentials/{made['id']}"
    assert made == {
        "id": made["id"],
        "user_id": await own_id(demo),
        "project_id": None,
        "type": "cert",
        "blob": "canary",
        "links": {"self": demo.url + path},
    }
    theirs = (await keep(admin, type="totp")).body["credential"]

    assert (await demo.ask("GET", path)).body["credential"] == made
    assert [c["id"] for c in (await demo.ask("GET", "/credentials")).body["credentials"]] == [made["id"]]
    assert (await demo.ask("GET", "/credentials?type=totp")).body["credentials"] == []
    assert (await demo.ask("GET", f"/credentials?user_id={await own_id(admin)}")).body["credentials"] == []
    assert {c["id"] for c in (await admin.ask("GET", "/credentials")).body["credentials"]} == {made["id"], theirs["id"]}
    assert [c["id"] for c in (await admin.ask("GET", "/credentials?type=cert")).body["credentials"]] == [made["id"]]
    assert [c["id"] for c in (await admin.ask("GET", f"/credentials?user_id={made['user_id']}")).body["credentials"]] == [made["id"]]
    for method, body in (("GET", None), ("PATCH", {"credential": {"blob": "x"}}), ("DELETE", None)):
        assert (await demo.ask(method, f"/credentials/{theirs['id']}", body)).status == 403
        assert (await demo.ask(method, "/credentials/absent", body)).status == 403
        assert (await admin.ask(method, "/credentials/absent", body)).status == 404

    project = await project_of(demo)
    changed = await demo.ask("PATCH", path, {"credential": {"blob": "other", "project_id": project}})
    assert changed.body["credential"] == {**made, "blob": "other", "project_id": project}
    assert (await admin.ask("GET", path)).body["credential"] == changed.body["credential"]
    assert (await demo.ask("PATCH", path, {"credential": {"user_id": theirs["user_id"]}})).status == 403
    assert (await demo.ask("PATCH", path, {"credential": {"project_id": "x"}})).status == 400
    assert (await demo.ask("DELETE", path)).status == 204
    assert (await admin.ask("GET", path)).status == 404


async def test_nobody_keeps_a_credential_for_another(demo: Client, admin: Client) -> None:
    assert (await keep(demo, user_id=await own_id(admin))).status == 403
    assert (await keep(admin, user_id=await own_id(demo))).status == 201
    assert (await keep(admin, user_id="absent")).status == 400
    assert (await keep(demo, project_id="absent")).status == 400
    for missing in ("user_id", "type", "blob"):
        body = {"user_id": await own_id(demo), "type": "cert", "blob": "b"}
        del body[missing]
        assert (await demo.ask("POST", "/credentials", {"credential": body})).status == 400


async def test_blobs_are_sealed_at_rest_and_moved_nowhere(demo: Client, database: Database, config: Config) -> None:
    """SEC-037"""
    one, two = [(await keep(demo)).body["credential"]["id"] for _ in range(2)]
    key = config.state / "credentials.key"
    assert os.stat(key).st_mode & 0o777 == 0o600
    async with database.connection() as conn:
        sealed = await conn.fetchval("SELECT sealed_blob FROM identity_user_credentials WHERE id = $1", one)
        await conn.execute("UPDATE identity_user_credentials SET sealed_blob = $1 WHERE id = $2", sealed, two)
    assert b"canary" not in sealed
    assert (await demo.ask("GET", f"/credentials/{two}")).status == 500
    assert (await demo.ask("GET", f"/credentials/{one}")).status == 200

    key.rename(config.state / "elsewhere")

    assert (await demo.ask("GET", f"/credentials/{one}")).status == 500
    assert (await keep(demo)).status == 500, "no second key is made in place of the first"
    assert not key.exists()


async def test_a_credential_for_ec2_has_the_id_of_its_access_key(demo: Client) -> None:
    made = (await keep_ec2(demo)).body["credential"]
    assert made["id"] == hashlib.sha256(b"AKIA").hexdigest()
    assert (await keep_ec2(demo)).status == 409
    assert (await keep_ec2(demo, {"access": "B"}, project_id=None)).status == 400
    for blob in ([], {}, {"access": None}, {"access": ["a"]}, {"secret": "s"}):
        assert (await keep_ec2(demo, blob)).status == 400
    path = f"/credentials/{made['id']}"
    shown = (await demo.ask("GET", f"/users/{made['user_id']}/credentials/OS-EC2/AKIA")).body["credential"]
    assert (shown["access"], shown["secret"], shown["tenant_id"]) == ("AKIA", "canary", made["project_id"])
    for change in ({"type": "cert"}, {"project_id": None}, {"blob": "{}"}, {"blob": json.dumps({**ACCESS, "trust_id": "t"})}):
        assert (await demo.ask("PATCH", path, {"credential": change})).status == 400
    changed = await demo.ask("PATCH", path, {"credential": {"blob": json.dumps({**ACCESS, "secret": "other"})}})
    assert json.loads(changed.body["credential"]["blob"])["secret"] == "other"


async def test_ec2_credentials_are_made_shown_and_deleted(demo: Client, admin: Client) -> None:
    user, project = await own_id(demo), await project_of(demo)
    path = f"/users/{user}/credentials/OS-EC2"
    made = (await demo.ask("POST", path, {"tenant_id": project})).body["credential"]
    assert made == {**made, "user_id": user, "tenant_id": project, "trust_id": None}
    assert made["links"] == {"self": f"{demo.url}{path}/{made['access']}"}
    assert len(made["secret"]) > 40

    for client in (demo, admin):
        assert (await client.ask("GET", path)).body["credentials"] == [made]
        assert (await client.ask("GET", f"{path}/{made['access']}")).body["credential"] == made
    assert [c["type"] for c in (await demo.ask("GET", "/credentials")).body["credentials"]] == ["ec2"]
    assert (await admin.ask("GET", f"/users/{await own_id(admin)}/credentials/OS-EC2/{made['access']}")).status == 404
    assert (await admin.ask("GET", "/users/absent/credentials/OS-EC2")).status == 404
    assert (await demo.ask("POST", path, {"tenant_id": "absent"})).status == 400
    assert (await demo.ask("DELETE", f"{path}/{made['access']}")).status == 204
    assert (await demo.ask("DELETE", f"{path}/{made['access']}")).status == 404


async def test_readers_make_no_ec2_credentials(admin: Client, anybody: Client) -> None:
    user = await admin.make("/users", name="rosa", password="p")
    project = (await admin.ask("GET", "/projects?name=demo")).body["projects"][0]["id"]
    role = (await admin.ask("GET", "/roles?name=reader")).body["roles"][0]["id"]
    await admin.ask("PUT", f"/projects/{project}/users/{user['id']}/roles/{role}")
    await anybody.login("rosa", "p")
    path = f"/users/{user['id']}/credentials/OS-EC2"
    assert (await anybody.ask("POST", path, {"tenant_id": project})).status == 403
    assert (await anybody.ask("DELETE", f"{path}/absent")).status == 403
    assert (await anybody.ask("GET", path)).body["credentials"] == []


async def test_an_application_credential_keeps_to_its_project_and_makes_none_if_restricted(demo: Client, anybody: Client) -> None:
    """SEC-042"""
    user, project = await own_id(demo), await project_of(demo)
    path = f"/users/{user}/credentials/OS-EC2"
    made = (await demo.ask("POST", path, {"tenant_id": project})).body["credential"]
    id_ = hashlib.sha256(made["access"].encode()).hexdigest()
    of_no_project = (await keep(demo)).body["credential"]["id"]

    await robot(anybody, (await make(demo, "restricted")).body["application_credential"])
    assert (await anybody.ask("POST", path, {"tenant_id": project})).status == 403
    assert (await keep_ec2(anybody, project_id=project)).status == 403
    assert (await anybody.ask("PATCH", f"/credentials/{id_}", {"credential": {"blob": json.dumps(ACCESS)}})).status == 403
    for gone in (f"/credentials/{id_}", f"{path}/{made['access']}", f"/credentials/{of_no_project}"):
        assert (await anybody.ask("DELETE", gone)).status == 403
    assert [c["id"] for c in (await anybody.ask("GET", "/credentials")).body["credentials"]] == [id_]
    assert (await anybody.ask("GET", f"/credentials/{of_no_project}")).status == 403
    assert (await keep(anybody)).status == 403

    free = (await make(demo, "free", unrestricted=True)).body["application_credential"]
    await robot(anybody, free)
    by_robot = (await keep_ec2(anybody, project_id=project)).body["credential"]
    assert json.loads(by_robot["blob"]) == {**ACCESS, "app_cred_id": free["id"]}
    assert (await demo.ask("PATCH", f"/credentials/{by_robot['id']}", {"credential": {"blob": json.dumps(ACCESS)}})).status == 400


async def test_a_user_has_no_more_credentials_than_the_limit(demo: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_credentials, "MAX_PER_USER", 3)
    answers = await asyncio.gather(*(keep(demo) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [201] * 3 + [403] * 3


async def test_the_openstack_command_keeps_credentials(openstack: OpenStack) -> None:
    made = await openstack("credential", "create", "--type", "cert", "demo", "some words")
    assert (await openstack("credential", "show", made["id"]))["blob"] == "some words"
    ec2 = await openstack("ec2", "credentials", "create")
    assert [row["Access"] for row in await openstack("ec2", "credentials", "list")] == [ec2["access"]]
    await openstack("ec2", "credentials", "delete", ec2["access"])
    await openstack("credential", "delete", made["id"])
    assert await openstack("credential", "list") == []
