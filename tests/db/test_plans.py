"""How PostgreSQL plans our statements: once, but for those whose absent filters would hide an index."""

import asyncpg
import pytest

from nova_async.db import Database, instances
from nova_async.db.query import QUERIES

PLANS = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE $1"


async def _plans(database: Database, calls: int, start: str, **filters: str) -> tuple[int, int]:
    """How often a statement that starts like this was planned once for all, and for its values."""
    async with database.connection() as conn:
        for _ in range(calls):
            if filters:
                await instances.newest_first(conn, filters, 10)
            else:
                await instances.get(conn, "00000000-0000-0000-0000-000000000000")
        row = await conn.fetchrow(PLANS, f"{start}%")
    assert row is not None
    return row["generic_plans"], row["custom_plans"]


async def test_what_is_asked_by_its_id_is_planned_once(database: Database) -> None:
    assert await _plans(database, 8, instances.GET.sql[:80]) == (8, 0)


async def test_a_list_is_planned_for_its_filters(database: Database) -> None:
    once, for_values = await _plans(database, 3, instances.NEWEST_FIRST.sql[:80], project_id="p", host="h")
    assert (once, for_values) == (0, 3)
    assert await _plans(database, 2, instances.GET.sql[:80]) == (2, 0), "the connection is left as it was"


async def test_a_connection_is_given_back_without_a_question(database: Database, database_url: str) -> None:
    async with database.connection() as conn:
        pid = await conn.fetchval("SELECT pg_backend_pid()")
    watcher = await asyncpg.connect(database_url)
    try:
        assert await watcher.fetchval("SELECT query FROM pg_stat_activity WHERE pid = $1", pid) == "SELECT pg_backend_pid()"
    finally:
        await watcher.close()


@pytest.mark.parametrize("name", ["ports", "volumes", "migrations"])
def test_lists_with_filters_that_may_be_absent_are_known(name: str) -> None:
    lists = {"ports": "networks_ports.ports", "volumes": "volumes.list", "migrations": "server_migrations.list"}
    planned = {f"{query.noun}.{query.name}": query.planned_once for query in QUERIES}
    assert planned[lists[name]] is False
