"""Requests of several users at the same time, in one process: each is its own caller's, in every layer that it passes."""

import asyncio
import random
from typing import Any

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from nova_async import log
from nova_async.config import Config
from nova_async.context import Context
from nova_async.model.access_rules import Visit
from tests.api.conftest import CALLERS, Api
from tests.api.test_access_matrix import KEY

REQUESTS = 300  # 1,000 were tried, which take three times as long
AT_ONCE = 50
ASKING = ("member", "colleague", "stranger")
logger = log.get("test")


@pytest.fixture
def config() -> Config:
    made = Config()
    made.quota.key_pairs = REQUESTS
    return made


async def test_interleaved_requests_are_never_taken_for_each_other(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-038: what answer, policy, log and row say of a request's user is the same."""
    dice, decided = random.Random(1), dict[str, str]()
    validate, may = api.parts.tokens.validate, api.parts.policy.may

    async def slowly(token: str, visit: Visit) -> Context:
        await asyncio.sleep(dice.random() / 100)
        known = await validate(token, visit)
        await asyncio.sleep(dice.random() / 100)
        return known

    def noted(ctx: Context, name: str, **of: Any) -> bool:
        decided[ctx.request_id] = ctx.user_id
        logger.info("decided", user=ctx.user_id)
        return may(ctx, name, **of)

    monkeypatch.setattr(api.parts.tokens, "validate", slowly)
    monkeypatch.setattr(api.parts.policy, "may", noted)
    turns, asked = asyncio.Semaphore(AT_ONCE), dict[str, str]()

    async def ask(number: int, caller: str) -> None:
        async with turns:
            answer = await api.post("/os-keypairs", {"keypair": {"name": f"{number}-of-{caller}", "public_key": KEY}}, caller)
        assert (answer.status, answer.body["keypair"]["user_id"]) == (200, CALLERS[caller].user_id), answer
        asked[answer.headers["x-openstack-request-id"]] = CALLERS[caller].user_id

    with capture_logs([merge_contextvars]) as events:
        await asyncio.gather(*(ask(number, dice.choice(ASKING)) for number in range(REQUESTS)))
    assert log.request_id() == ""
    assert decided == asked
    assert len(asked) == REQUESTS
    told = {event["request_id"]: event["user"] for event in events if event["event"] == "decided"}
    assert told == asked
    async with api.database.connection() as conn:
        rows = await conn.fetch("SELECT name, user_id FROM keypairs")
    assert {row["name"].partition("-of-")[2]: row["user_id"] for row in rows} == {name: CALLERS[name].user_id for name in ASKING}
    assert all(row["user_id"] == CALLERS[row["name"].partition("-of-")[2]].user_id for row in rows)
    assert len(rows) == REQUESTS
