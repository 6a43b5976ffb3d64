"""Logging in: by password and by token; for a project, a domain, the system or nothing."""

from nova_async.services.identity.bootstrap import Secrets
from nova_async.services.identity.builtin import BuiltinIdentity

from .client import Client


async def test_a_password_earns_a_token_with_a_catalog(anybody: Client, secrets: Secrets) -> None:
    answer = await anybody.login("admin", secrets.admin.password, "admin")

    token = answer.body["token"]
    assert answer.status == 201
    assert token["project"]["name"] == "admin"
    assert token["user"]["domain"] == {"id": "default", "name": "Default"}
    assert {r["name"] for r in token["roles"]} == {"admin", "manager", "member", "reader"}
    assert {s["type"] for s in token["catalog"]} == {"identity", "image", "network", "compute"}
    urls = {e["interface"]: e["url"] for s in token["catalog"] if s["type"] == "compute" for e in s["endpoints"]}
    assert set(urls) == {"public", "internal", "admin"}
    assert urls["public"].endswith("/compute/v2.1")


async def test_other_services_know_the_caller_without_asking_the_database(
    anybody: Client, identity: BuiltinIdentity, secrets: Secrets
) -> None:
    body = (await anybody.login("demo", secrets.demo.password)).body["token"]
    await identity.database.close()

    context = await identity.validate(anybody.token)

    assert context.user_id == body["user"]["id"]
    assert context.project_id == body["project"]["id"]
    assert context.roles == ("member", "reader")
    assert not context.is_admin
