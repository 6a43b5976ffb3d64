"""A real Keystone behind the same interface; ours plays its part."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientTimeout, web

from nova_async.config import Identity
from nova_async.errors import Forbidden, Unauthorized, Unavailable
from nova_async.model.access_rules import Visit
from nova_async.services.identity import remote
from nova_async.services.identity.bootstrap import Secrets
from nova_async.services.identity.builtin import BuiltinIdentity
from nova_async.services.identity.remote import RemoteTokens, TokenSource
from nova_async.world import RealWorld, SimulatedWorld

from .client import Client
from .conftest import free_port
from .test_access_rules import SERVERS, make, robot


@pytest.fixture
def options(served: str, secrets: Secrets) -> Identity:
    return Identity(url=served, username="nova", password=secrets.service.password, project="service")


@pytest.fixture
async def tokens(options: Identity, world: RealWorld) -> AsyncIterator[RemoteTokens]:
    remote_tokens = RemoteTokens(options, world)
    yield remote_tokens
    await remote_tokens.close()


async def test_remote_and_built_in_tell_the_same(tokens: RemoteTokens, identity: BuiltinIdentity, demo: Client, admin: Client) -> None:
    for client in (demo, admin):
        assert await tokens.validate(client.token) == await identity.validate(client.token)


async def test_a_scope_of_system_or_domain_is_understood(
    tokens: RemoteTokens, identity: BuiltinIdentity, anybody: Client, secrets: Secrets
) -> None:
    for scope in ({"system": {"all": True}}, {"domain": {"id": "default"}}):
        await anybody.login("admin", secrets.admin.password, **scope)
        assert await tokens.validate(anybody.token) == await identity.validate(anybody.token)


async def test_both_hold_a_token_to_its_access_rules(
    tokens: RemoteTokens, identity: BuiltinIdentity, options: Identity, demo: Client, admin: Client, anybody: Client
) -> None:
    await robot(anybody, (await make(demo, "robot", SERVERS)).body["application_credential"])
    allowed = Visit(method="GET", path="/compute/v2.1/servers")
    other = Visit(method="POST", path="/compute/v2.1/servers")
    of_a_service = Visit(method="POST", path="/compute/v2.1/servers", service_token=await tokens.source.token())

    for known in (tokens, identity):
        told = await known.validate(anybody.token, allowed)
        assert told.user_id == (await known.validate(demo.token)).user_id
        assert await known.validate(anybody.token, of_a_service) == told
        for refused in (other, None):
            with pytest.raises(Forbidden):
                await known.validate(anybody.token, refused)


async def test_both_know_which_projects_there_are(
    tokens: RemoteTokens, identity: BuiltinIdentity, options: Identity, world: RealWorld, demo: Client
) -> None:
    there = (await identity.validate(demo.token)).project_id
    for known in (tokens, identity):
        assert await known.has_project(there)
        for absent in ("0" * 32, "../users", "", "a" * 65):
            assert not await known.has_project(absent), absent
    nobody_answers = RemoteTokens(Identity(url="http://127.0.0.1:1", username="nova", password="x", project="service"), world)
    try:
        assert await nobody_answers.has_project("0" * 32)
        assert not await nobody_answers.has_project("../users")
    finally:
        await nobody_answers.close()


@pytest.mark.parametrize("text", ["", "nonsense", "with\nnewline", "é", "x" * 100_000])
async def test_what_is_no_token_is_refused(tokens: RemoteTokens, text: str) -> None:
    with pytest.raises(Unauthorized):
        await tokens.validate(text)


async def test_an_answer_is_remembered_but_not_for_long(options: Identity, world: RealWorld, demo: Client) -> None:
    clock = SimulatedWorld(start=world.now())
    tokens = RemoteTokens(options, clock)
    try:
        await tokens.validate(demo.token)
        await demo.ask("DELETE", "/auth/tokens", headers={"X-Subject-Token": demo.token})

        await tokens.validate(demo.token)
        clock.advance(remote.CACHE_SECONDS + 1)

        with pytest.raises(Unauthorized):
            await tokens.validate(demo.token)
    finally:
        await tokens.close()


async def test_an_expired_token_is_refused_though_remembered(options: Identity, world: RealWorld, demo: Client) -> None:
    """SEC-040."""
    clock = SimulatedWorld(start=world.now())
    tokens = RemoteTokens(options, clock)
    try:
        await tokens.validate(demo.token)
        key, (_, ends, context) = next(iter(tokens._known.items()))
        clock.advance(3601)
        tokens._known[key] = (clock.monotonic() + 10, ends, context)

        with pytest.raises(Unauthorized):
            await tokens.validate(demo.token)
    finally:
        await tokens.close()


async def test_the_own_token_is_kept_and_renewed_before_it_ends(options: Identity, world: RealWorld) -> None:
    clock = SimulatedWorld(start=world.now())
    source = TokenSource(options, clock)
    try:
        first, same = await asyncio.gather(source.token(), source.token())
        assert first == same
        clock.advance(3600 * 0.9)
        assert await source.token() != first
    finally:
        await source.close()


async def test_an_own_token_that_was_revoked_is_replaced(tokens: RemoteTokens, demo: Client, admin: Client) -> None:
    own = await tokens.source.token()
    await admin.ask("DELETE", "/auth/tokens", headers={"X-Subject-Token": own})

    assert (await tokens.validate(demo.token)).roles
    assert await tokens.source.token() != own


async def test_a_wrong_password_of_our_own_is_unavailable_and_is_not_hammered(options: Identity, world: RealWorld, demo: Client) -> None:
    options.password = "wrong"
    tokens = RemoteTokens(options, world)
    try:
        for _ in range(20):
            with pytest.raises(Unavailable) as caught:
                await tokens.validate(demo.token)
            assert "wrong" not in f"{caught.value.message} {caught.value.detail}"
        options.password = "still wrong"
    finally:
        await tokens.close()


async def test_nobody_there_is_unavailable(world: RealWorld) -> None:
    tokens = RemoteTokens(Identity(url=f"http://127.0.0.1:{free_port()}/identity", password="x"), world)
    try:
        with pytest.raises(Unavailable):
            await tokens.validate("some-token")
    finally:
        await tokens.close()


async def test_a_server_that_never_answers_costs_a_deadline(world: RealWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "DEADLINE", ClientTimeout(total=0.3))

    async def silent(request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", silent)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    tokens = RemoteTokens(Identity(url=f"http://127.0.0.1:{port}", password="x"), world)
    try:
        async with asyncio.timeout(3):
            with pytest.raises(Unavailable):
                await tokens.validate("some-token")
    finally:
        await tokens.close()
        await runner.cleanup()
