"""The whole application with all its services, inside the test's process, without hosts."""

import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from aiohttp.test_utils import TestServer

from nova_async import app, log
from nova_async.config import load
from nova_async.world import RealWorld


@pytest.fixture
def log_to_nowhere() -> Iterator[None]:
    """As a process of ours logs; pytest would keep all of it in memory."""
    before, filters = structlog.get_config(), list(logging.getLogger("aiohttp.server").filters)
    with open(os.devnull, "w") as nowhere:
        log.configure(stream=nowhere)
        yield
        structlog.configure(**before)
        logging.getLogger("aiohttp.server").filters[:] = filters


@pytest.fixture
async def served(
    database_url: str, tmp_path: Path, log_to_nowhere: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[app.App, TestServer]]:
    """The application with all its services, in this process, at a port that the kernel chooses."""

    async def not_here(*_: object) -> None:
        """``api.listen`` would be a port that another test may have."""

    monkeypatch.setattr(app.App, "_answer", not_here)
    told = {"state_dir": str(tmp_path), "network__mode": "none", "compute__driver": "fake", "database__url": database_url}
    async with app.running(load(None, {}, **told), RealWorld(), parts=frozenset({app.APP})) as running, TestServer(running._site) as server:
        yield running, server
