"""The present schema, written from the catalog: ``sql/api.sql`` and ``sql/cell.sql``, the sum of the migrations.

``python -m nova_async.db.present`` writes both files anew; do so after adding a migration.
"""

import asyncio
import re
import tempfile
from pathlib import Path

import asyncpg
import msgspec

from nova_async.db.database import Connection
from nova_async.db.embedded import EmbeddedPostgres
from nova_async.db.migrations import SCHEMAS, migrate
from nova_async.db.query import Query
from nova_async.world import RealWorld

OURS = "migrations"  # the table of what was applied belongs to the mechanism, not to the schema
HEADER = """\
-- The present schema "{schema}": the sum of sql/{schema}/*.sql, where the reasons are.
-- Written by `python -m nova_async.db.present`; do not edit.
"""


class Sequence(msgspec.Struct):
    name: str
    type: str


class Column(msgspec.Struct):
    name: str
    definition: str


class Constraint(msgspec.Struct):
    name: str
    definition: str
    later: bool


SEQUENCES = Query("catalog", "sequences", Sequence)
TABLES = Query("catalog", "tables", str)
COLUMNS = Query("catalog", "columns", Column)
CONSTRAINTS = Query("catalog", "constraints", Constraint)
INDEXES = Query("catalog", "indexes", str)
ROUTINES = Query("catalog", "routines", str)
TRIGGERS = Query("catalog", "triggers", str)
OBJECTS = Query("catalog", "objects", str)


async def describe(conn: Connection, schema: str) -> str:
    """The statements that make ``schema`` as it is in this database, in an order that works."""
    await conn.execute("SELECT set_config('search_path', $1, false)", schema)
    tables = [t for t in await TABLES.all(conn, schema) if t != OURS]
    parts = [f"CREATE SEQUENCE {s.name} AS {s.type};" for s in await SEQUENCES.all(conn, schema)]
    parts += [await _table(conn, schema, table) for table in tables]
    for table in tables:
        parts += [
            f"ALTER TABLE {table} ADD CONSTRAINT {c.name} {c.definition};" for c in await CONSTRAINTS.all(conn, schema, table) if c.later
        ]
    parts += [_unqualified(r, schema) for r in await ROUTINES.all(conn, schema)]
    parts += [t + ";" for t in await TRIGGERS.all(conn, schema)]
    return "\n\n".join([HEADER.format(schema=schema).rstrip(), *parts]) + "\n"


async def objects(conn: Connection, schema: str) -> list[str]:
    """The names of everything in ``schema``, what ``describe`` does not know included."""
    return [o for o in await OBJECTS.all(conn, schema) if not re.search(rf"\b{OURS}\b", o)]


async def _table(conn: Connection, schema: str, table: str) -> str:
    columns = await COLUMNS.all(conn, schema, table)
    width = max((len(c.name) for c in columns), default=0)
    lines = [f"    {c.name:<{width}} {c.definition}" for c in columns]
    lines += [f"    CONSTRAINT {c.name} {c.definition}" for c in await CONSTRAINTS.all(conn, schema, table) if not c.later]
    indexes = [i + ";" for i in await INDEXES.all(conn, schema, table)]
    return "\n".join([f"CREATE TABLE {table} (", ",\n".join(lines), ");", *indexes])


def _unqualified(definition: str, schema: str) -> str:
    return re.sub(rf"^(CREATE OR REPLACE (?:FUNCTION|PROCEDURE)) {schema}\.", r"\1 ", definition).replace("$function$\n;", "$function$;")


async def _describe_migrated(folder: Path) -> dict[str, str]:
    server = EmbeddedPostgres(folder, RealWorld(), durable=False)
    url = await server.start()
    try:
        await migrate(url)
        conn = await asyncpg.connect(url, timeout=10)
        try:
            return {schema: await describe(conn, schema) for schema in SCHEMAS}
        finally:
            await conn.close(timeout=5)
    finally:
        await server.stop()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="nova-async-", dir="/tmp") as folder:
        texts = asyncio.run(_describe_migrated(Path(folder) / "postgres"))
    for schema, text in texts.items():
        (Path(__file__).parents[2] / "sql" / f"{schema}.sql").write_text(text)


if __name__ == "__main__":
    main()
