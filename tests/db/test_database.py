"""The pool: sessions, codecs, and errors in our own words."""

import pytest

from nova_async.db import Database
from nova_async.errors import Conflict, Invalid, Unavailable
from nova_async.world import RealWorld

KEYPAIR = "INSERT INTO keypairs (user_id, name, type, public_key, fingerprint) VALUES ('u', $1, 'ssh', 'k', 'f')"


@pytest.mark.parametrize("turn", ["first", "second"])
async def test_each_test_has_a_fresh_migrated_database(database: Database, turn: str) -> None:
    async with database.connection() as conn:
        before = await conn.fetchval("SELECT count(*) FROM keypairs")
        await conn.execute(KEYPAIR, turn)
        assert (before, await conn.fetchval("SELECT count(*) FROM keypairs")) == (0, 1)


async def test_uuids_are_text_and_json_is_plain_values(database: Database, world: RealWorld) -> None:
    name = world.uuid()
    async with database.connection() as conn:
        row = await conn.fetchrow("SELECT $1::uuid AS id, $2::jsonb AS tree, $3::json AS list", name, {"a": [1, None]}, ["é"])
    assert row is not None
    assert tuple(row) == (name, {"a": [1, None]}, ["é"])


async def test_a_transaction_that_ends_badly_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError):
        async with database.transaction() as conn:
            await conn.execute(KEYPAIR, "gone")
            raise RuntimeError
    async with database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM keypairs") == 0


async def test_a_broken_constraint_is_the_error_that_its_name_means(database: Database) -> None:
    async with database.connection() as conn:
        await conn.execute(KEYPAIR, "twice")
    with pytest.raises(Conflict, match="Key pair already exists"):
        async with database.connection() as conn:
            await conn.execute(KEYPAIR, "twice")


async def test_a_bad_regular_expression_is_the_callers_error(database: Database) -> None:
    with pytest.raises(Invalid, match="regular expression"):
        async with database.connection() as conn:
            await conn.fetch("SELECT 'a' ~ $1", "(")


async def test_no_server_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await Database.connect("postgresql://nova@/nova?host=/nonexistent&port=5432")


async def test_a_lost_connection_is_unavailable_once_and_the_pool_recovers(database: Database) -> None:
    with pytest.raises(Unavailable):
        async with database.connection() as conn:
            await conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    async with database.connection() as conn:
        assert await conn.fetchval("SELECT 1") == 1


async def test_a_slow_statement_is_cut_off(database_url: str) -> None:
    short = await Database.connect(database_url, statement_seconds=0.2)
    try:
        with pytest.raises(Unavailable):
            async with short.connection() as conn:
                await conn.execute("SELECT pg_sleep(10)")
    finally:
        await short.close()
