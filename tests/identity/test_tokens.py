"""Logging in: by password and by token; for a project, a domain, the system or nothing. And the ends of tokens."""

import asyncio
import base64
from datetime import UTC, datetime

import msgspec
import pytest

from nova_async.config import Config
from nova_async.db import Database, identity_tokens
from nova_async.db import identity as db
from nova_async.errors import Unauthorized, Unavailable
from nova_async.services.identity import revocations, tokens
from nova_async.services.identity.bootstrap import Secrets
from nova_async.services.identity.builtin import BuiltinIdentity
from nova_async.services.identity.tokens import Token
from nova_async.world import RealWorld, SimulatedWorld

from .client import Client, password_auth


async def test_a_password_earns_a_token_with_a_catalog(anybody: Client, secrets: Secrets) -> None:
    answer = await anybody.login("admin", secrets.admin.password, "admin")

    token = answer.body["token"]
    assert answer.status == 201
    assert answer.headers["Vary"] == "X-Auth-Token"
    assert token["project"]["name"] == "admin"
    assert token["user"]["domain"] == {"id": "default", "name": "Default"}
    assert {r["name"] for r in token["roles"]} == {"admin", "manager", "member", "reader"}
    assert {s["type"] for s in token["catalog"]} == {*("identity", "image", "network", "compute", "placement", "volumev3", "block-storage")}
    urls = {e["interface"]: e["url"] for s in token["catalog"] if s["type"] == "compute" for e in s["endpoints"]}
    assert set(urls) == {"public", "internal", "admin"}
    assert urls["public"].endswith("/compute/v2.1")
    lived = datetime.fromisoformat(token["expires_at"]) - datetime.fromisoformat(token["issued_at"])
    assert 3595 < lived.total_seconds() <= 3600


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


@pytest.mark.parametrize(
    ("scope", "key"),
    [({"domain": {"id": "default"}}, "domain"), ({"domain": {"name": "Default"}}, "domain"), ({"system": {"all": True}}, "system")],
)
async def test_the_administrator_may_scope_to_the_domain_and_the_system(
    anybody: Client, secrets: Secrets, scope: dict[str, object], key: str
) -> None:
    answer = await anybody.login("admin", secrets.admin.password, **scope)

    assert answer.status == 201
    assert key in answer.body["token"]
    assert "project" not in answer.body["token"]


async def test_domain_roles_are_worth_nothing_outside_identity(anybody: Client, identity: BuiltinIdentity, secrets: Secrets) -> None:
    await anybody.login("admin", secrets.admin.password, domain={"id": "default"})

    assert (await identity.validate(anybody.token)).roles == ()
    assert (await anybody.ask("GET", "/users")).status == 200


async def test_an_unscoped_token_can_be_exchanged_and_keeps_its_end(anybody: Client, secrets: Secrets) -> None:
    unscoped = await anybody.login("demo", secrets.demo.password, project=None)
    projects = (await anybody.ask("GET", "/auth/projects")).body["projects"]
    exchange = {"identity": {"methods": ["token"], "token": {"id": anybody.token}}, "scope": {"project": {"id": projects[0]["id"]}}}

    scoped = await anybody.ask("POST", "/auth/tokens", {"auth": exchange}, token="")

    assert "roles" not in unscoped.body["token"]
    assert [p["name"] for p in projects] == ["demo"]
    assert scoped.status == 201
    assert scoped.body["token"]["expires_at"] == unscoped.body["token"]["expires_at"]
    assert scoped.body["token"]["audit_ids"][1] == unscoped.body["token"]["audit_ids"][0]
    assert set(scoped.body["token"]["methods"]) == {"password", "token"}


async def test_a_user_without_a_role_gets_no_token_for_the_project(anybody: Client, secrets: Secrets) -> None:
    assert (await anybody.login("demo", secrets.demo.password, "admin")).status == 401
    assert (await anybody.login("demo", secrets.demo.password, "nowhere")).status == 401


async def test_wrong_password_and_unknown_user_look_the_same(anybody: Client) -> None:
    wrong, unknown = await anybody.login("demo", "nonsense"), await anybody.login("nobody", "nonsense")

    assert wrong.status == unknown.status == 401
    assert wrong.body == unknown.body
    assert wrong.headers["WWW-Authenticate"].startswith("Keystone uri=")


async def test_tokens_are_shown_to_their_user_and_to_administrators_alone(admin: Client, demo: Client) -> None:
    def about(token: str) -> dict[str, dict[str, str]]:
        return {"headers": {"X-Subject-Token": token}}

    own, by_admin = await demo.ask("GET", "/auth/tokens", **about(demo.token)), await admin.ask("GET", "/auth/tokens", **about(demo.token))

    assert own.status == by_admin.status == 200
    assert own.body["token"]["user"]["name"] == "demo"
    assert own.headers["X-Subject-Token"] == demo.token
    assert (await admin.ask("HEAD", "/auth/tokens", **about(demo.token))).status == 200
    assert (await demo.ask("GET", "/auth/tokens", **about(admin.token))).status == 403
    assert (await admin.ask("GET", "/auth/tokens", **about("nonsense"))).status == 404
    assert (await admin.ask("GET", "/auth/tokens")).status == 404


async def test_a_revoked_token_is_dead_at_once_and_the_others_live(admin: Client, demo: Client, secrets: Secrets) -> None:
    first = demo.token
    await demo.login("demo", secrets.demo.password)

    assert (await demo.ask("DELETE", "/auth/tokens", headers={"X-Subject-Token": first})).status == 204

    assert (await demo.ask("GET", "/auth/projects", token=first)).status == 401
    assert (await demo.ask("GET", "/auth/projects")).status == 200
    assert (await admin.ask("GET", "/auth/tokens", headers={"X-Subject-Token": first})).status == 404


async def test_another_process_hears_of_a_revocation_within_seconds(
    demo: Client, identity: BuiltinIdentity, database: Database, config: Config, world: RealWorld
) -> None:
    """SEC-040."""
    other = await BuiltinIdentity.open(database, config, world)
    try:
        assert (await other.validate(demo.token)).roles
        await demo.ask("DELETE", "/auth/tokens", headers={"X-Subject-Token": demo.token})

        async with asyncio.timeout(3 * revocations.POLL_SECONDS):
            while True:
                try:
                    await other.validate(demo.token)
                except Unauthorized:
                    break
                await world.sleep(0.1)
    finally:
        await other.close()


@pytest.mark.parametrize("change", [{"enabled": False}, {"password": "another"}], ids=["disabled", "password"])
async def test_changing_a_user_ends_its_tokens(admin: Client, demo: Client, change: dict[str, object]) -> None:
    (user,) = (await admin.ask("GET", "/users?name=demo")).body["users"]

    assert (await admin.ask("PATCH", f"/users/{user['id']}", {"user": change})).status == 200

    assert (await demo.ask("GET", "/auth/projects")).status == 401


async def test_a_disabled_user_cannot_log_in_until_enabled_again(admin: Client, anybody: Client, secrets: Secrets) -> None:
    (user,) = (await admin.ask("GET", "/users?name=demo")).body["users"]
    await admin.ask("PATCH", f"/users/{user['id']}", {"user": {"enabled": False}})
    assert (await anybody.login("demo", secrets.demo.password)).status == 401

    await admin.ask("PATCH", f"/users/{user['id']}", {"user": {"enabled": True}})

    assert (await anybody.login("demo", secrets.demo.password)).status == 201


async def test_disabling_the_project_ends_tokens_for_it(admin: Client, demo: Client, anybody: Client, secrets: Secrets) -> None:
    (project,) = (await admin.ask("GET", "/projects?name=demo")).body["projects"]

    await admin.ask("PATCH", f"/projects/{project['id']}", {"project": {"enabled": False}})

    assert (await demo.ask("GET", "/auth/projects")).status == 401
    assert (await anybody.login("demo", secrets.demo.password)).status == 401
    assert (await anybody.login("demo", secrets.demo.password, project=None)).status == 201


async def test_taking_a_role_away_ends_the_tokens_that_hold_it(admin: Client, demo: Client) -> None:
    """SEC-040."""
    (grant,) = (await admin.ask("GET", "/role_assignments?user.id=" + (await _user_id(admin, "demo")))).body["role_assignments"]
    path = f"/projects/{grant['scope']['project']['id']}/users/{grant['user']['id']}/roles/{grant['role']['id']}"

    assert (await admin.ask("DELETE", path)).status == 204

    assert (await demo.ask("GET", "/auth/projects")).status == 401


async def test_an_expired_token_is_refused_but_services_may_finish_with_it(
    admin: Client, identity: BuiltinIdentity, world: RealWorld
) -> None:
    """SEC-040."""
    now = world.now().timestamp()
    live = await identity.read(admin.token)
    expired = identity.seal(msgspec.structs.replace(live, issued_at=now - 7200, expires_at=now - 1))
    ancient = identity.seal(msgspec.structs.replace(live, issued_at=now - 400_000, expires_at=now - 300_000))

    assert (await admin.ask("GET", "/users", token=expired)).status == 401
    assert (await admin.ask("GET", "/auth/tokens", headers={"X-Subject-Token": expired})).status == 404
    assert (await admin.ask("GET", "/auth/tokens?allow_expired=1", headers={"X-Subject-Token": expired})).status == 200
    assert (await admin.ask("GET", "/auth/tokens?allow_expired=1", headers={"X-Subject-Token": ancient})).status == 404


async def test_a_forged_token_is_refused(demo: Client, identity: BuiltinIdentity) -> None:
    octets = base64.urlsafe_b64decode(demo.token + "=" * (-len(demo.token) % 4))
    said = await identity.read(demo.token)
    promoted = msgspec.structs.replace(said, roles=("admin",))
    forged = [
        tokens.seal(promoted, 1, b"x" * 32),
        tokens.seal(promoted, 1, b""),
        tokens.seal(promoted, 99, b"x" * 32),
        *(_b64(octets[:i] + bytes([octets[i] ^ 1]) + octets[i + 1 :]) for i in range(0, len(octets), 7)),
        demo.token + "A",
        demo.token[:-1],
        demo.token + "=",
        _b64(octets[:20]),
        "é",
        "A" * 10_000,
        "AQAAAAE",
    ]

    for text in forged:
        with pytest.raises(Unauthorized):
            await identity.validate(text)


async def test_a_list_of_revocations_that_grew_old_is_not_trusted(database: Database, config: Config) -> None:
    world = SimulatedWorld(start=datetime.now(UTC))
    identity = await BuiltinIdentity.open(database, config, world)
    try:
        now = world.now().timestamp()
        text = identity.seal(Token(user_id="u", user_domain_id="default", issued_at=now, expires_at=now + 3600, audit_id="a"))
        assert (await identity.validate(text)).user_id == "u"

        await database.close()
        world.advance(revocations.STALE_SECONDS + 1)

        with pytest.raises(Unavailable):
            await identity.validate(text)
    finally:
        await identity.close()


async def test_a_database_that_hangs_holds_nobody_for_long(
    database: Database, config: Config, world: RealWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "REFRESH_SECONDS", 0.5)
    identity = await BuiltinIdentity.open(database, config, world)
    now = world.now().timestamp()
    text = identity.seal(Token(user_id="u", user_domain_id="default", issued_at=now, expires_at=now + 3600, audit_id="a"))
    try:
        async with database.transaction() as conn:
            await conn.execute("LOCK TABLE identity_revocations IN ACCESS EXCLUSIVE MODE")
            monkeypatch.setattr(revocations, "STALE_SECONDS", -1.0)

            async with asyncio.timeout(3):
                outcomes = await asyncio.gather(*(identity.validate(text) for _ in range(50)), return_exceptions=True)

        assert {type(o) for o in outcomes} == {Unavailable}
        monkeypatch.setattr(revocations, "STALE_SECONDS", 30.0)
        await world.sleep(revocations.RETRY_SECONDS)
        assert (await identity.validate(text)).user_id == "u"
    finally:
        await identity.close()


async def test_a_login_that_began_before_a_revocation_committed_does_not_survive_it(
    admin: Client, identity: BuiltinIdentity, database: Database, anybody: Client, secrets: Secrets
) -> None:
    user_id = await _user_id(admin, "demo")
    async with identity.change() as change:
        user = await db.user_lock(change.conn, user_id)
        assert user is not None
        await db.user_update(change.conn, msgspec.structs.replace(user, enabled=False))
        await change.revoke(f"user:{user_id}")
        overtaken = await anybody.login("demo", secrets.demo.password)

    assert overtaken.status == 201
    assert (await anybody.ask("GET", "/auth/projects")).status == 401


async def test_many_changes_at_once_neither_fail_nor_leave_a_role_behind(admin: Client, anybody: Client, secrets: Secrets) -> None:
    (project,) = (await admin.ask("GET", "/projects?name=demo")).body["projects"]
    users = [await admin.make("/users", name=f"user {n}", password="secret") for n in range(6)]
    groups = [await admin.make("/groups", name=f"group {n}") for n in range(3)]
    role = await admin.make("/roles", name="temporary")
    target = f"/projects/{project['id']}"
    await asyncio.gather(
        *(admin.ask("PUT", f"/groups/{g['id']}/users/{u['id']}") for g in groups for u in users),
        *(admin.ask("PUT", f"{target}/groups/{g['id']}/roles/{role['id']}") for g in groups),
        *(admin.ask("PUT", f"{target}/users/{u['id']}/roles/{role['id']}") for u in users),
    )
    logins = [await anybody.ask("POST", "/auth/tokens", password_auth(u["name"], "secret")) for u in users]
    assert {a.status for a in logins} == {201}

    answers = await asyncio.gather(
        *(admin.ask("DELETE", f"/groups/{g['id']}") for g in groups),
        *(admin.ask("DELETE", f"/users/{u['id']}") for u in users[:3]),
        admin.ask("DELETE", f"/roles/{role['id']}"),
        *(admin.ask("PUT", f"/groups/{g['id']}/users/{u['id']}") for g in groups for u in users),
    )

    assert {a.status for a in answers} <= {204, 404}
    for login in logins:
        assert (await anybody.ask("GET", "/auth/projects", token=login.headers["X-Subject-Token"])).status == 401
    assert (await admin.ask("GET", "/users")).status == 200


async def test_old_revocations_are_forgotten(demo: Client, identity: BuiltinIdentity, database: Database) -> None:
    await demo.ask("DELETE", "/auth/tokens", headers={"X-Subject-Token": demo.token})
    async with database.connection() as conn:
        assert len(await identity_tokens.revocations(conn)) == 1
        assert await identity_tokens.revocations_expire(conn) == 0
        await conn.execute("UPDATE identity_revocations SET until = now() - interval '1 second'")
        assert await identity_tokens.revocations_expire(conn) == 1


async def test_guessing_is_slowed_down_even_with_the_right_password_in_the_end(anybody: Client, secrets: Secrets) -> None:
    for _ in range(5):
        assert (await anybody.login("demo", "guess")).status == 401

    locked = await anybody.login("DEMO", secrets.demo.password)

    assert locked.status == 401
    assert "Too many failed logins" in locked.body["error"]["message"]
    assert (await anybody.login("admin", secrets.admin.password, "admin")).status == 201


async def test_idle_words_in_a_login_do_not_make_another_account_of_it(anybody: Client) -> None:
    for n in range(6):
        user = {"name": "demo", "domain": {"id": "default", "name": f"idle {n}"}, "password": "guess"}
        answer = await anybody.ask("POST", "/auth/tokens", {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}})

    assert "Too many failed logins" in answer.body["error"]["message"]


async def test_no_secret_is_logged(anybody: Client, capfd: pytest.CaptureFixture[str], secrets: Secrets) -> None:
    await anybody.login("demo", "canary-of-a-password")
    await anybody.ask("POST", "/auth/tokens", {"auth": {"identity": {"methods": ["password"], "password": "canary-of-a-password"}}})
    await anybody.login("demo", secrets.demo.password)

    out, err = capfd.readouterr()
    assert "canary-of-a-password" not in out + err + repr(secrets)
    assert secrets.demo.password not in out + err + repr(secrets)
    assert anybody.token not in out + err


async def test_names_differing_in_case_or_composition_are_the_same_user(admin: Client, anybody: Client) -> None:
    await admin.make("/users", name="Zoë", password="secret")

    assert (await anybody.ask("POST", "/auth/tokens", password_auth("ZOE\u0308", "secret", None))).status == 201
    assert (await admin.ask("POST", "/users", {"user": {"name": "zoë"}})).status == 409
    assert (await admin.ask("GET", "/users", params={"name": "zoË"})).body["users"][0]["name"] == "Zoë"


def _b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


async def _user_id(admin: Client, name: str) -> str:
    return str((await admin.ask("GET", f"/users?name={name}")).body["users"][0]["id"])
