"""Migrations: once, in order, by one process at a time."""

import asyncio
import sys

import asyncpg
import pytest

from nova_async.db import migrations
from nova_async.db.migrations import SCHEMAS, Migration, migrate
from nova_async.errors import Conflict

MIGRATE = "import asyncio, sys; from nova_async.db.migrations import migrate; print(*asyncio.run(migrate(sys.argv[1])))"
ALL = {f"{schema}/{m.name}" for schema in SCHEMAS for m in migrations.migrations(schema)}


async def test_two_processes_that_migrate_at_once_apply_each_file_once(empty_database_url: str) -> None:
    async def one() -> list[str]:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", MIGRATE, empty_database_url, stdout=asyncio.subprocess.PIPE)
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0
        return [word for word in out.decode().split() if word in ALL]

    first, second = await asyncio.gather(one(), one())
    assert sorted(first + second) == sorted(ALL)


async def test_migrating_again_does_nothing(database_url: str) -> None:
    assert await migrate(database_url) == []


@pytest.mark.parametrize("schema", SCHEMAS)
def test_numbers_are_unique_within_a_schema(schema: str) -> None:
    numbers = [m.name[:4] for m in migrations.migrations(schema)]
    assert numbers == sorted(set(numbers))


async def test_a_file_that_changed_after_it_was_applied_is_refused(database_url: str) -> None:
    conn = await asyncpg.connect(database_url)
    await conn.execute("UPDATE cell.migrations SET checksum = 'another' WHERE name LIKE '0001%'")
    await conn.close()
    with pytest.raises(Conflict, match="changed after it was applied"):
        await migrate(database_url)


async def test_post_migrations_wait_until_they_are_asked_for(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "api": [Migration("api", "0001_expand_pre.sql", "CREATE TABLE a (b int, c int)")],
        "cell": [Migration("cell", "0002_contract_post.sql", "CREATE TABLE d (e int)")],
    }
    monkeypatch.setattr(migrations, "migrations", files.__getitem__)

    assert await migrate(empty_database_url, post=False) == ["api/0001_expand_pre.sql"]
    assert await migrate(empty_database_url) == ["cell/0002_contract_post.sql"]


async def test_a_migration_that_fails_leaves_nothing_of_itself(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"api": [Migration("api", "0001_broken_pre.sql", "CREATE TABLE a (b int); SELECT 1/0")], "cell": []}
    monkeypatch.setattr(migrations, "migrations", files.__getitem__)

    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_database_url)

    conn = await asyncpg.connect(empty_database_url)
    assert await conn.fetchval("SELECT to_regclass('api.a') IS NULL AND NOT EXISTS (SELECT FROM api.migrations)")
    await conn.close()
