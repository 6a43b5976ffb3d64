"""Logs: events with keys, bound once, without secrets."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from nova_async import log


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before, handlers, level = structlog.get_config(), list(logging.root.handlers), logging.root.level
    yield
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.fixture
def output() -> io.StringIO:
    stream = io.StringIO()
    log.configure("debug", "json", stream)
    return stream


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_has_its_component_keys_level_and_time(output: io.StringIO) -> None:
    log.get("worker").info("guest.spawned", seconds=3.1)
    (event,) = events(output)
    assert event["timestamp"].endswith("Z")
    assert {k: event[k] for k in ("event", "component", "seconds", "level")} == {
        "event": "guest.spawned",
        "component": "worker",
        "seconds": 3.1,
        "level": "info",
    }


async def test_bound_keys_reach_tasks_started_inside_and_nothing_outside(output: io.StringIO) -> None:
    logger = log.get("api")

    async def elsewhere() -> None:
        logger.info("inside")

    with log.bound(request_id="req-1"):
        with log.bound(server="s"):
            await asyncio.create_task(elsewhere())
        logger.info("after")
    logger.info("outside")

    assert [(e.get("request_id"), e.get("server")) for e in events(output)] == [("req-1", "s"), ("req-1", None), (None, None)]


async def test_two_requests_at_once_do_not_mix(output: io.StringIO) -> None:
    async def request(name: str) -> None:
        with log.bound(request_id=name):
            await asyncio.sleep(0)
            log.get("api").info("seen", own=name)

    await asyncio.gather(*(request(f"req-{n}") for n in range(5)))
    assert all(e["request_id"] == e["own"] for e in events(output))


@pytest.mark.parametrize("key", ["password", "adminPass", "token", "X-Auth-Token", "Authorization", "private_key"])
def test_a_secret_is_never_written(key: str, output: io.StringIO) -> None:
    log.get("api").info("seen", **{key: "hunter2"})
    assert "hunter2" not in output.getvalue()
    assert events(output)[0][key] == "***"


def test_an_exception_is_written_with_its_traceback(output: io.StringIO) -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        log.get("api").exception("failed")
    assert "ValueError: wrong" in events(output)[0]["exception"]


def test_events_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    log.configure("warning", "text", stream)
    log.get("api").info("quiet")
    log.get("api").warning("loud", n=1)
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()
    assert "n=1" in stream.getvalue()
