"""Statements live in ``sql/queries/<noun>.sql``; a ``Query`` is one of them with the type of its rows.

A file holds ``-- name --`` headers, comment lines that say what it is for and what ``$1`` .. mean,
and the statement. ``QUERIES`` lists every statement that the code uses; a test prepares them all
against the migrated schema and compares the columns with the struct.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from inspect import Parameter, signature
from operator import itemgetter
from typing import Any, Generic, TypeVar

import msgspec

from nova_async import resources
from nova_async.db.database import PLANNED_FOR_VALUES, PLANNED_ONCE, Connection
from nova_async.errors import NotFound

HEADER = re.compile(r"^-- ([a-z0-9_]+) --$", re.MULTILINE)
MAY_BE_ABSENT = re.compile(r"\$\d+(::\w+(\[\])?)? IS NULL OR ")
QUERIES: list["Query[Any]"] = []
statements_run = 0  # counted for `make bench`
T = TypeVar("T")


@cache
def statements(noun: str) -> dict[str, str]:
    """The statements of one file, by name."""
    parts = HEADER.split(resources.sql(f"queries/{noun}.sql").read_text())[1:]
    return {name: text.strip() for name, text in zip(parts[::2], parts[1::2], strict=True)}


class Query(Generic[T]):
    """A named statement whose rows are ``row`` structs, or plain values where ``row`` is no struct.

    PostgreSQL plans it once for each connection. Where filters may be absent (``$1 IS NULL OR ...``), it plans for the values of each
    call, since those that are there decide on the index; not so with ``one_plan``, where the others do.
    """

    def __init__(self, noun: str, name: str, row: type[T] | None = None, *, one_plan: bool = False) -> None:
        self.noun, self.name, self.row = noun, name, row
        self.sql = statements(noun)[name]
        self.planned_once = one_plan or not MAY_BE_ABSENT.search(self.sql)
        self._columns: tuple[str, ...] | None = None
        self._make: Callable[[Any], Any]
        QUERIES.append(self)

    async def all(self, conn: Connection, *args: Any) -> list[T]:
        return self._decoded(await self._fetch(conn, self.sql, args))

    async def page(self, conn: Connection, fragments: Sequence[str], *args: Any) -> list[T]:
        """As ``all``, with ``/*fragments*/`` in the statement replaced by named fragments of the same file."""
        known = statements(self.noun)
        sql = self.sql.replace("/*fragments*/", " ".join(known[f] for f in fragments))
        return self._decoded(await self._fetch_planned(conn, sql, args))

    async def maybe(self, conn: Connection, *args: Any) -> T | None:
        rows = await self._fetch(conn, self.sql, args)
        return self._decoded(rows[:1])[0] if rows else None

    async def one(self, conn: Connection, *args: Any) -> T:
        """The only row; raises ``NotFound`` when there is none."""
        found = await self.maybe(conn, *args)
        if found is None:
            raise NotFound()
        return found

    async def run(self, conn: Connection, *args: Any) -> int:
        """Run a statement for its effect; returns the number of rows touched."""
        global statements_run
        statements_run += 1
        status: str = await conn.execute(self.sql, *args)
        tail = status.rpartition(" ")[2]
        return int(tail) if tail.isdigit() else 0

    async def _fetch(self, conn: Connection, sql: str, args: Sequence[Any]) -> list[Any]:
        if not self.planned_once:
            return await self._fetch_planned(conn, sql, args)
        global statements_run
        statements_run += 1
        return await conn.fetch(sql, *args)  # type: ignore[no-any-return]

    async def _fetch_planned(self, conn: Connection, sql: str, args: Sequence[Any]) -> list[Any]:
        """After an error the connection goes on planning, which does no harm."""
        global statements_run
        statements_run += 3
        await conn.execute(f"SET plan_cache_mode = {PLANNED_FOR_VALUES}")
        rows = await conn.fetch(sql, *args)
        await conn.execute(f"SET plan_cache_mode = {PLANNED_ONCE}")
        return rows  # type: ignore[no-any-return]

    def _decoded(self, records: Sequence[Any]) -> list[T]:
        if not records:
            return []
        columns = tuple(records[0].keys())
        if self._columns != columns:
            self._columns, self._make = columns, _maker(self.row, columns)
        return [self._make(r) for r in records]


def _maker(row: Any, columns: tuple[str, ...]) -> Callable[[Any], Any]:
    """What makes a row of a record with these columns; those that the struct does not know are a newer release's.

    Making a struct from values in the order of its fields takes a tenth of the time that names take.
    """
    if row is None or not issubclass(row, msgspec.Struct):
        return itemgetter(0)
    known = [name for name in row.__struct_fields__ if name in columns]
    by_place = [p.name for p in signature(row).parameters.values() if p.kind is Parameter.POSITIONAL_OR_KEYWORD]
    if known == by_place[: len(known)] and len(known) > 1:
        values = itemgetter(*(columns.index(name) for name in known))
        return lambda record: row(*values(record))
    return lambda record: row(**{name: record[name] for name in known})
