"""Migrations: numbered plain files, forward only, each in its own transaction.

``sql/api/0001_initial_pre.sql``: ``_pre`` runs before the new release, ``_post`` once the old one
is gone. An advisory lock keeps two processes from migrating at once; a checksum refuses a file
that changed after it was applied.
"""

import asyncio
import hashlib
import re
from typing import Literal

import asyncpg
import msgspec

from nova_async import log, resources
from nova_async.errors import Conflict
from nova_async.transport import secured

NAME = re.compile(r"(\d{4})_[a-z0-9_]+_(pre|post)\.sql")
SCHEMAS: tuple[Literal["api", "cell"], ...] = ("api", "cell")
LOCK = 0x6E6F7661
logger = log.get("migrations")


class Migration(msgspec.Struct, frozen=True):
    schema: str
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations(schema: str) -> list[Migration]:
    """Those of one schema, in order."""
    names = sorted(f.name for f in resources.sql(schema).iterdir() if NAME.fullmatch(f.name))
    return [Migration(schema, name, resources.sql(f"{schema}/{name}").read_text()) for name in names]


async def migrate(url: str, *, post: bool = True) -> list[str]:
    """Bring both schemas up to date; returns the names applied. ``post=False`` leaves ``_post`` files for later."""
    conn = await asyncpg.connect(**await asyncio.to_thread(secured, url), timeout=10)
    try:
        await conn.execute("SET synchronous_commit = off")  # what a crash takes back is applied again, and on disk before what comes after
        await conn.execute("SELECT pg_advisory_lock($1)", LOCK)
        return [name for schema in SCHEMAS for name in await _migrate_schema(conn, schema, post)]
    finally:
        await conn.close()


async def _migrate_schema(conn: "asyncpg.Connection[asyncpg.Record]", schema: str, post: bool) -> list[str]:
    await conn.execute(
        f"CREATE SCHEMA IF NOT EXISTS {schema};"
        f"CREATE TABLE IF NOT EXISTS {schema}.migrations"
        "(name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    done = dict(await conn.fetch(f"SELECT name, checksum FROM {schema}.migrations"))
    applied = []
    for step in migrations(schema):
        if step.name in done:
            if done[step.name] != step.checksum:
                raise Conflict(f"migration {schema}/{step.name} changed after it was applied")
            continue
        if not post and step.name.endswith("_post.sql"):
            continue
        async with conn.transaction():
            noted = f"INSERT INTO {schema}.migrations (name, checksum) VALUES ('{step.name}', '{step.checksum}')"
            await conn.execute(f"SET LOCAL search_path TO {schema};\n{step.text}\n;{noted}")  # one message
        logger.info("migration.applied", schema=schema, name=step.name)
        applied.append(f"{schema}/{step.name}")
    return applied
