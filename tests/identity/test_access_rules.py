"""Access rules: made with application credentials, kept for their user, and what they match."""

import base64
import json
from typing import Any

import pytest

from nova_async.db import Database
from nova_async.model.access_rules import AccessRule, Visit, allows, matches
from nova_async.services.identity.builtin import BuiltinIdentity
from nova_async.services.identity.handlers import access_rules
from nova_async.services.identity.tokens import BOUND, HEAD, VERSION, Token, seal, unseal

from .client import Answer, Client
from .conftest import OpenStack

IPS = {"service": "compute", "method": "GET", "path": "/v2.1/servers/*/ips"}
SERVERS = {"service": "compute", "method": "GET", "path": "/v2.1/servers"}
KNOWS_RULES = {"OpenStack-Identity-Access-Rules": "1.0"}


async def own_id(client: Client) -> str:
    return (await client.ask("GET", "/auth/tokens", headers={"X-Subject-Token": client.token})).body["token"]["user"]["id"]


async def make(client: Client, name: str, *rules: dict[str, Any], **more: Any) -> Answer:
    body = {"application_credential": {"name": name, "access_rules": list(rules), **more}}
    return await client.ask("POST", f"/users/{await own_id(client)}/application_credentials", body)


async def robot(anybody: Client, made: dict[str, Any]) -> Answer:
    """Log in with a credential."""
    by_credential = {"methods": ["application_credential"], "application_credential": {"id": made["id"], "secret": made["secret"]}}
    answer = await anybody.ask("POST", "/auth/tokens", {"auth": {"identity": by_credential}}, token="")
    anybody.token = answer.headers["X-Subject-Token"]
    return answer


async def test_rules_are_kept_for_the_user_and_go_once_no_credential_has_them(demo: Client) -> None:
    path = f"/users/{await own_id(demo)}/access_rules"
    made = (await make(demo, "one", IPS, SERVERS, IPS)).body["application_credential"]
    first, second = made["access_rules"]
    assert ({**first, "id": ""}, {**second, "id": ""}) == ({**IPS, "id": ""}, {**SERVERS, "id": ""})
    again = (await make(demo, "two", {"id": first["id"]}, SERVERS)).body["application_credential"]
    assert again["access_rules"] == [first, second]

    listed = (await demo.ask("GET", path)).body["access_rules"]
    assert {r["id"] for r in listed} == {first["id"], second["id"]}
    assert [r["id"] for r in (await demo.ask("GET", f"{path}?path=/v2.1/servers&method=GET&service=compute")).body["access_rules"]] == [
        second["id"]
    ]
    assert (await demo.ask("GET", f"{path}?service=image")).body["access_rules"] == []
    shown = (await demo.ask("GET", f"{path}/{first['id']}")).body["access_rule"]
    assert shown == {**first, "links": {"self": f"{demo.url}{path}/{first['id']}"}}
    credentials = path.replace("access_rules", "application_credentials")
    assert {c["name"]: c["access_rules"] for c in (await demo.ask("GET", credentials)).body["application_credentials"]} == {
        "one": [first, second],
        "two": [first, second],
    }

    for credential in (made, again):
        assert (await demo.ask("DELETE", f"{path}/{first['id']}")).status == 403
        assert (await demo.ask("DELETE", f"{credentials}/{credential['id']}")).status == 204
    assert (await demo.ask("DELETE", f"{path}/{first['id']}")).status == 204
    assert (await demo.ask("DELETE", f"{path}/{first['id']}")).status == 404
    assert [r["id"] for r in (await demo.ask("GET", path)).body["access_rules"]] == [second["id"]]


async def test_rules_are_their_users_and_the_administrators(demo: Client, admin: Client) -> None:
    made = (await make(demo, "one", IPS)).body["application_credential"]
    rule = made["access_rules"][0]["id"]
    of_demo, of_admin = f"/users/{await own_id(demo)}/access_rules", f"/users/{await own_id(admin)}/access_rules"

    assert (await admin.ask("GET", f"{of_demo}/{rule}")).status == 200
    assert (await admin.ask("GET", f"{of_admin}/{rule}")).status == 404
    assert (await make(admin, "theirs", {"id": rule})).status == 400
    assert (await demo.ask("GET", of_admin)).status == 403
    assert (await demo.ask("DELETE", f"{of_admin}/{rule}")).status == 403
    assert (await admin.ask("DELETE", f"{of_demo}/{rule}")).status == 403  # in use
    assert (await demo.ask("DELETE", f"/users/{await own_id(demo)}/application_credentials/{made['id']}")).status == 204
    assert (await admin.ask("DELETE", f"{of_demo}/{rule}")).status == 204


async def test_a_user_goes_with_its_rules(demo: Client, admin: Client, database: Database) -> None:
    await make(demo, "one", IPS)
    assert (await admin.ask("DELETE", f"/users/{await own_id(demo)}")).status == 204
    async with database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM identity_access_rules") == 0


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"service": "compute", "method": "GET"},
        {**IPS, "method": "get"},
        {**IPS, "method": "OPTIONS"},
        {**IPS, "path": "v2.1/servers"},
        {**IPS, "path": "/" + "a" * 225},
        {**IPS, "path": "/v2.1/{server"},
        {**IPS, "path": "/v2.1/{a{b}}"},
        {**IPS, "service": "a service"},
        {**IPS, "service": "compute\n"},
        {"id": "0" * 32},
        {"id": "0" * 32, **IPS},
        "GET /v2.1/servers",
    ],
)
async def test_a_rule_that_says_too_little_or_nonsense_is_refused(demo: Client, rule: Any) -> None:
    assert (await make(demo, "odd", rule)).status == 400
    assert (await demo.ask("GET", f"/users/{await own_id(demo)}/access_rules")).body["access_rules"] == []


async def test_a_rule_that_is_named_says_what_else_is_said_of_it(demo: Client) -> None:
    rule = (await make(demo, "one", IPS)).body["application_credential"]["access_rules"][0]
    assert (await make(demo, "two", rule)).status == 201
    assert (await make(demo, "three", {**rule, "path": "/v2.1/**"})).status == 400


async def test_a_user_has_no_more_rules_than_the_limit(demo: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_rules, "MAX_PER_USER", 2)
    assert (await make(demo, "three", IPS, SERVERS, {**IPS, "method": "HEAD"})).status == 403
    assert (await make(demo, "two", IPS, SERVERS)).status == 201
    assert (await make(demo, "again", IPS)).status == 201
    assert (await make(demo, "more", {**IPS, "method": "HEAD"})).status == 403
    assert (await make(demo, "long", *[{**IPS, "path": f"/{n}"} for n in range(101)])).status == 400


async def test_a_token_tells_its_rules_to_those_who_can_enforce_them(demo: Client, admin: Client, anybody: Client) -> None:
    made = (await make(demo, "one", IPS)).body["application_credential"]
    answer = await robot(anybody, made)

    told = {"id": made["id"], "name": "one", "restricted": True, "access_rules": made["access_rules"]}
    assert answer.body["token"]["application_credential"] == told
    asked = {"X-Subject-Token": anybody.token}
    shown = await admin.ask("GET", "/auth/tokens", headers=asked | KNOWS_RULES)
    assert shown.body["token"]["application_credential"] == told
    for unfit in ({}, {"OpenStack-Identity-Access-Rules": "0.9"}, {"OpenStack-Identity-Access-Rules": "yes"}):
        assert (await admin.ask("GET", "/auth/tokens", headers=asked | unfit)).status == 404
    assert len(anybody.token) < len(demo.token) + 100


async def test_an_empty_list_of_rules_is_none(demo: Client, anybody: Client) -> None:
    made = (await make(demo, "free")).body["application_credential"]
    assert "access_rules" not in made
    answer = await robot(anybody, made)
    assert answer.body["token"]["application_credential"] == {"id": made["id"], "name": "free", "restricted": True}
    assert (await anybody.ask("GET", "/auth/projects")).status == 200


async def test_the_identity_service_enforces_rules_itself(demo: Client, anybody: Client) -> None:
    """SEC-042: neither a token made of another nor a credential that may make others gets beyond them."""
    user_id = await own_id(demo)
    path = f"/users/{user_id}/application_credentials"
    rule = {"service": "identity", "method": "GET", "path": "/v3/users/{user_id}"}
    await robot(anybody, (await make(demo, "one", rule, unrestricted=True)).body["application_credential"])

    assert (await anybody.ask("GET", f"/users/{user_id}")).status == 200
    refused = await anybody.ask("GET", f"/users/{user_id}/groups")
    assert refused.status == 403
    assert "No access rule" in refused.body["error"]["message"]
    assert f"GET /identity/v3/users/{user_id}/groups" in refused.body["error"]["message"]
    assert (await anybody.ask("POST", path, {"application_credential": {"name": "two"}})).status == 403
    assert (await anybody.ask("GET", f"/users/{user_id}%2Fgroups")).status in (403, 404)
    assert (await anybody.ask("GET", "/auth/tokens", headers={"X-Subject-Token": anybody.token} | KNOWS_RULES)).status == 200
    by_token = {"identity": {"methods": ["token"], "token": {"id": anybody.token}}}
    anybody.token = (await anybody.ask("POST", "/auth/tokens", {"auth": by_token})).headers["X-Subject-Token"]
    assert (await anybody.ask("GET", f"/users/{user_id}/groups")).status == 403
    assert (await anybody.ask("GET", f"/users/{user_id}")).status == 200


async def test_rules_are_asked_for_once_and_end_with_the_credential(demo: Client, anybody: Client, identity: BuiltinIdentity) -> None:
    rule = {"service": "identity", "method": "GET", "path": "/v3/auth/projects"}
    made = (await make(demo, "one", rule)).body["application_credential"]
    await robot(anybody, made)
    assert (await anybody.ask("GET", "/auth/projects")).status == 200
    assert list(identity._rules) == [made["id"]]

    assert (await demo.ask("DELETE", f"/users/{await own_id(demo)}/application_credentials/{made['id']}")).status == 204

    assert (await anybody.ask("GET", "/auth/projects")).status == 401


async def test_rules_that_are_gone_leave_nothing_allowed(demo: Client, anybody: Client, database: Database) -> None:
    rule = {"service": "identity", "method": "GET", "path": "/v3/auth/projects"}
    await robot(anybody, (await make(demo, "one", rule)).body["application_credential"])
    async with database.connection() as conn:
        await conn.execute("DELETE FROM identity_access_rules")
    assert (await anybody.ask("GET", "/auth/projects")).status == 403


async def test_the_openstack_command_makes_and_deletes_rules(openstack: OpenStack) -> None:
    made = await openstack("application", "credential", "create", "robot", "--access-rules", json.dumps([IPS, SERVERS]))
    listed = await openstack("access", "rule", "list")
    assert {(row["Service"], row["Method"], row["Path"]) for row in listed} == {tuple(IPS.values()), tuple(SERVERS.values())}
    rule = listed[0]["ID"]
    assert "compute" in (await openstack("access", "rule", "show", rule)).values()
    again = await openstack("application", "credential", "create", "again", "--access-rules", json.dumps([{"id": rule}]))
    assert rule in str(again)
    await openstack("application", "credential", "delete", "again", made.get("id") or made["ID"])
    await openstack("access", "rule", "delete", rule)
    assert len(await openstack("access", "rule", "list")) == 1


def test_a_process_that_does_not_know_of_rules_takes_no_token_that_they_bind() -> None:
    """It takes tokens of one version alone."""
    fields: dict[str, Any] = {"user_id": "u", "user_domain_id": "d", "issued_at": 0.0, "expires_at": 1.0, "audit_id": "a"}
    for token, version in ((Token(**fields), VERSION), (Token(**fields, bound=True), BOUND)):
        text = seal(token, 1, b"secret")
        assert unseal(text, {1: b"secret"}) == token
        assert HEAD.unpack_from(base64.urlsafe_b64decode(text[:8]))[0] == version


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/v2.1/servers", "/v2.1/servers", True),
        ("/v2.1/servers", "/v2.1/servers/", False),
        ("/v2.1/servers", "/v2.1/servers\n", False),
        ("/v2.1/servers", "/v2X1/servers", False),
        ("/v2.1/servers/*", "/v2.1/servers/a", True),
        ("/v2.1/servers/*", "/v2.1/servers/", False),
        ("/v2.1/servers/*", "/v2.1/servers/a/ips", False),
        ("/v2.1/servers/{server_id}/ips", "/v2.1/servers/a/ips", True),
        ("/v2.1/servers/{server_id}/ips", "/v2.1/servers/a/b/ips", False),
        ("/v2.1/**", "/v2.1/servers/a/ips", True),
        ("/v2.1/**", "/v2.1/", True),
        ("/v2.1/**", "/v2.1", False),
        ("/**/ips", "/v2.1/ips/a/ips", True),
        ("/**/ips/*", "/a/ips/b/c/ips/d", True),
        ("/**/ips/*", "/a/ips/b/c/ips/d/e", False),
        ("/a*c*e", "/abcde", True),
        ("/a*c*e", "/ace", False),
        ("/a*c*e", "/ab/cde", False),
        ("/a***", "/ab", True),
        ("/{a", "/{a", False),
        ("/a}", "/a}", False),
        ("/(a+)+$", "/(a+)+$", True),
        ("/(a+)+$", "/aa", False),
    ],
)
def test_a_star_is_within_a_segment_and_two_are_over_segments(pattern: str, path: str, fits: bool) -> None:
    assert matches(pattern, path) is fits


@pytest.mark.timeout(10)
def test_no_pattern_takes_long() -> None:
    for pattern in ("/" + "*a" * 110, "/" + "**a" * 74, "/" + "*{}" * 55 + "/x"):
        assert not matches(pattern, "/" + "a" * 8000 + "b")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/compute/v2.1/servers/a/ips", True),
        ("HEAD", "/compute/v2.1/servers/a/ips", False),
        ("GET", "/compute/v2/servers/a/ips", False),
        ("GET", "/image/v2.1/servers/a/ips", False),
        ("GET", "/v2.1/servers/a/ips", False),
        ("GET", "//compute/v2.1/servers/a/ips", False),
        ("GET", "/volume/v3/p/volumes", True),
        ("POST", "/volume/v3/p/types", True),
        ("GET", "/identity/v3/auth/tokens", True),
        ("DELETE", "/identity/v3/auth/tokens", False),
        ("OPTIONS", "*", False),
    ],
)
def test_a_rule_names_the_service_by_any_type_and_the_path_with_or_without_its_own(method: str, path: str, allowed: bool) -> None:
    rules = [
        AccessRule(**IPS),
        AccessRule(service="block-storage", method="GET", path="/v3/{project_id}/volumes"),
        AccessRule(service="volumev3", method="POST", path="/volume/v3/*/types"),
    ]
    assert allows(rules, Visit(method=method, path=path)) is allowed
