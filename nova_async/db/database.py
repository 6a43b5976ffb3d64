"""The pool of connections, and the errors of PostgreSQL in our own words."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg
import msgspec

from nova_async.db.constraints import translated
from nova_async.errors import Unavailable, plain
from nova_async.transport import secured

Connection: TypeAlias = asyncpg.Connection  # asyncpg has no types of its own: mypy sees Any
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that broke in the midst of an operation cannot be reset
    OSError,
)

PLANNED_ONCE, PLANNED_FOR_VALUES = "force_generic_plan", "auto"  # planning takes longer than most of our statements
IDLE_SECONDS = 10.0  # a server process that serves nobody still holds several MiB


class Database:
    """A bounded pool. Every acquired connection has deadlines; a lost server is ``Unavailable``."""

    def __init__(self, pool: "asyncpg.Pool[Any]", acquire_seconds: float) -> None:
        self.pool = pool
        self._acquire_seconds = acquire_seconds

    @classmethod
    async def connect(cls, url: str, *, size: int = 8, statement_seconds: float = 15.0, schemas: str = "cell,api") -> "Database":
        try:
            pool = await asyncpg.create_pool(
                **await asyncio.to_thread(secured, url),
                min_size=min(2, size),
                max_size=size,
                max_inactive_connection_lifetime=IDLE_SECONDS,
                init=_set_codecs,
                reset=_as_it_is,
                command_timeout=statement_seconds,
                timeout=10,
                server_settings={"search_path": schemas, "application_name": "nova_async", "plan_cache_mode": PLANNED_ONCE},
            )
        except (*LOST, TimeoutError) as error:
            raise Unavailable("The database does not answer.", detail=plain(error)) from None
        return cls(pool, statement_seconds)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(5):
                await self.pool.close()
        except TimeoutError:
            self.pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection, each statement its own transaction."""
        try:
            async with asyncio.timeout(self._acquire_seconds):
                conn = await self.pool.acquire()
            try:
                with translated():
                    yield conn
            finally:
                await self.pool.release(conn)
        except (*LOST, TimeoutError) as error:
            raise Unavailable("The database does not answer.", detail=plain(error)) from error
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
            raise Unavailable("Another change of the same things came in between; try again.", detail=plain(error)) from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One connection inside a transaction; commits when the block ends well."""
        async with self.connection() as conn, conn.transaction():
            yield conn


async def _as_it_is(conn: Connection) -> None:
    """Of a connection given back, asyncpg ends the transaction. Nothing here sets, listens or locks for a session: a question saved."""


async def _set_codecs(conn: Connection) -> None:
    for kind in ("json", "jsonb"):
        await conn.set_type_codec(
            kind, schema="pg_catalog", encoder=lambda v: msgspec.json.encode(v).decode(), decoder=msgspec.json.decode, format="text"
        )
    await conn.set_type_codec("uuid", schema="pg_catalog", encoder=str, decoder=str, format="text")
