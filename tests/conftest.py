"""What all tests share: a world, and a real PostgreSQL with a fresh migrated database for each test.

One server runs per pytest process (one per xdist worker), without durability, in a folder of /tmp. A run that was
killed leaves its folder and server behind; the next run removes both.
"""

import asyncio
import fcntl
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from nova_async.db import Database
from nova_async.db.embedded import EmbeddedPostgres
from nova_async.db.migrations import migrate
from nova_async.world import RealWorld

PREFIX = "nova-async-tests-"
TEMPLATE = "migrated"
COPIED = "STRATEGY FILE_COPY"  # less than half the work of the other way, where nothing is synced to disk
YOUNG_SECONDS = 60
numbers = count(1)


@pytest.fixture
def world() -> RealWorld:
    return RealWorld()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A running server whose database ``migrated`` is the template of ``database_url``."""
    for folder in filter(_abandoned, Path("/tmp").glob(f"{PREFIX}*")):
        _run(EmbeddedPostgres(folder, RealWorld()).clear())
        shutil.rmtree(folder, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
    server = EmbeddedPostgres(folder, RealWorld(), durable=False)
    _run(_start(server))
    yield server
    _run(server.kill())
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def template_url(postgres: EmbeddedPostgres) -> str:
    """The URL of the migrated template itself, for tests that only look; close every connection to it."""
    return postgres.database_url(TEMPLATE)


@pytest.fixture
async def database_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The URL of a fresh database with both schemas in place; dropped after the test."""
    name = f"test_{next(numbers)}"
    await _administer(postgres, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} {COPIED}")
    yield postgres.database_url(name)
    await _administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def empty_database_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """As ``database_url``, before any migration."""
    name = f"test_{next(numbers)}"
    await _administer(postgres, f"CREATE DATABASE {name}")
    yield postgres.database_url(name)
    await _administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on the test's own database."""
    pool = await Database.connect(database_url)
    yield pool
    await pool.close()


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run in a loop of its own, whatever loop the test has."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result(timeout=110)


async def _start(server: EmbeddedPostgres) -> None:
    await server.start()
    await _administer(server, f"CREATE DATABASE {TEMPLATE}")
    await migrate(server.database_url(TEMPLATE))


async def _administer(server: EmbeddedPostgres, statement: str) -> None:
    conn = await asyncpg.connect(server.url, timeout=10)
    try:
        await conn.execute(statement, timeout=30)
    finally:
        await conn.close(timeout=5)


def _abandoned(folder: Path) -> bool:
    """Whether nobody holds the folder's lock; a folder without one, or a young one, may only just be made."""
    try:
        if time.time() - folder.stat().st_mtime < YOUNG_SECONDS:
            return False
        with (folder / "lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
