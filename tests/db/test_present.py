"""``sql/api.sql`` and ``sql/cell.sql`` tell the truth."""

import asyncpg
import pytest

from nova_async import resources
from nova_async.db.migrations import SCHEMAS
from nova_async.db.present import describe, objects

AGAIN = "run `python -m nova_async.db.present`"


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_the_present_schema_equals_the_sum_of_the_migrations(schema: str, database_url: str, empty_database_url: str) -> None:
    migrated = await asyncpg.connect(database_url)
    present = await asyncpg.connect(empty_database_url)
    try:
        await present.execute(f"CREATE SCHEMA {schema}; SET search_path TO {schema}")
        await present.execute(resources.sql(f"{schema}.sql").read_text())

        assert await describe(present, schema) == await describe(migrated, schema), AGAIN
        assert await objects(present, schema) == await objects(migrated, schema), AGAIN
    finally:
        await migrated.close()
        await present.close()


async def test_a_change_that_no_migration_made_is_seen(empty_database_url: str) -> None:
    conn = await asyncpg.connect(empty_database_url)
    try:
        await conn.execute("CREATE SCHEMA cell; CREATE TABLE cell.a (b int CHECK (b > 0))")
        before = (await describe(conn, "cell"), await objects(conn, "cell"))
        await conn.execute("CREATE VIEW cell.v AS SELECT 1 AS one; ALTER TABLE cell.a ALTER b SET DEFAULT 3")
        after = (await describe(conn, "cell"), await objects(conn, "cell"))
        assert "DEFAULT 3" in after[0]
        assert "DEFAULT 3" not in before[0]
        assert "view v" in after[1] or "view cell.v" in after[1]
    finally:
        await conn.close()
