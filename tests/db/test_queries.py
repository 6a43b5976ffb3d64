"""Every statement that the code uses fits the migrated schema and the struct of its rows."""

import importlib
import json
import re
import types
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import asyncpg
import msgspec
import pytest

import nova_async
from nova_async import resources
from nova_async.db.query import QUERIES, Query, statements

PACKAGE = Path(nova_async.__file__).parent
for _file in sorted(PACKAGE.rglob("*.py")):
    if re.search(r"from nova_async\.db.* import .*\bQuery\b|class Query", _file.read_text()):
        importlib.import_module(".".join(_file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"))

# What a column of each type is in Python, with the codecs that Database sets.
PYTHON: dict[str, tuple[Any, ...]] = {
    "int2": (int,),
    "int4": (int,),
    "int8": (int,),
    "oid": (int,),
    "float4": (float,),
    "float8": (float,),
    "numeric": (Decimal,),
    "bool": (bool,),
    "text": (str,),
    "varchar": (str,),
    "name": (str,),
    "uuid": (str,),
    "timestamptz": (datetime,),
    "date": (date,),
    "interval": (timedelta,),
    "bytea": (bytes,),
    "json": (dict, list, str, int, float, bool, Any),
    "jsonb": (dict, list, str, int, float, bool, Any),
}
STATEMENT = re.compile(r"(SELECT|INSERT|UPDATE|DELETE|WITH|VALUES|LOCK|SET|NOTIFY|TRUNCATE)\b", re.IGNORECASE)
OUTER = {"Left", "Right", "Full"}
BY_NAME = [pytest.param(q, id=f"{q.noun}.{q.name}") for q in QUERIES]


@pytest.fixture
async def conn(template_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(template_url, server_settings={"search_path": "cell,api"})
    yield connection
    await connection.close()


@pytest.mark.parametrize("query", BY_NAME)
async def test_a_statement_prepares_and_its_columns_fit_its_struct(query: Query[Any], conn: Any) -> None:
    for sql in variants(query):
        prepared = await conn.prepare(sql)
        columns = prepared.get_attributes()
        assert misfits(query.row, [(c.name, c.type.name) for c in columns]) == []
        assert await unexpected_nulls(conn, query, sql, [c.name for c in columns], len(prepared.get_parameters())) == []


def test_every_statement_is_used_by_some_query() -> None:
    nouns = [f.name.removesuffix(".sql") for f in resources.sql("queries").iterdir()]
    used = {(q.noun, q.name) for q in QUERIES} | {(q.noun, f) for q in QUERIES for f in fragments(q)}
    assert [f"{noun}.{name}" for noun in nouns for name in statements(noun) if (noun, name) not in used] == []


def test_no_name_is_given_twice_in_a_file() -> None:
    for file in resources.sql("queries").iterdir():
        names = re.findall(r"^-- ([a-z0-9_]+) --$", file.read_text(), re.MULTILINE)
        assert len(names) == len(set(names)), file.name


def test_a_struct_that_does_not_fit_is_seen() -> None:
    class Row(msgspec.Struct):
        id: str
        size: int
        note: str | None = None

    assert misfits(Row, [("id", "uuid"), ("size", "int8")]) == []
    assert misfits(Row, [("id", "uuid")]) == ["no column for size"]
    assert misfits(Row, [("id", "uuid"), ("size", "text")]) == ["size is text, the field is <class 'int'>"]
    assert misfits(Row, [("id", "uuid"), ("size", "int4"), ("age", "int4")]) == ["no field for age"]


async def test_a_null_where_the_struct_has_none_is_seen(conn: Any) -> None:
    class Row(msgspec.Struct):
        name: str
        disabled_reason: str

    query = Query.__new__(Query)
    query.noun, query.name, query.row, query.sql = "hosts", "invented", Row, "SELECT name, disabled_reason FROM hosts WHERE name = $1"
    assert await unexpected_nulls(conn, query, query.sql, ["name", "disabled_reason"], 1) == ["disabled_reason may be NULL (hosts)"]


def variants(query: Query[Any]) -> list[str]:
    """The statement, or where it takes fragments, the statement with each of them."""
    if "/*fragments*/" not in query.sql:
        return [query.sql]
    known = statements(query.noun)
    return [query.sql.replace("/*fragments*/", known[f]) for f in fragments(query)]


def fragments(query: Query[Any]) -> list[str]:
    """The pieces of the same file that complete a statement: those that are no statement themselves."""
    if "/*fragments*/" not in query.sql:
        return []
    return [name for name, text in statements(query.noun).items() if not STATEMENT.match(bare(text))]


def bare(sql: str) -> str:
    return "\n".join(line for line in sql.splitlines() if not line.startswith("--")).strip()


def misfits(row: Any, columns: list[tuple[str, str]]) -> list[str]:
    """What is wrong between a row type and the columns (name, type)."""
    if row is None:
        return []
    if not issubclass(row, msgspec.Struct):
        return [f"the column is {columns[0][1]}, the row is {row}"] if not accepts(row, columns[0][1]) else []
    fields = {f.name: f for f in msgspec.structs.fields(row)}
    given = [name for name, _ in columns]
    found = [f"{name} comes twice" for name in sorted({n for n in given if given.count(n) > 1})]
    found += [f"no field for {name}" for name in given if name not in fields]
    found += [f"no column for {f.name}" for f in fields.values() if f.required and f.name not in given]
    found += [f"{n} is {kind}, the field is {fields[n].type}" for n, kind in columns if n in fields and not accepts(fields[n].type, kind)]
    return found


def accepts(annotation: Any, kind: str) -> bool:
    """Whether a field annotated so may hold what asyncpg gives for a column of this type."""
    options = {o for o in alternatives(annotation) if o is not type(None)}
    if Any in options:
        return True
    if kind.endswith("[]") or kind.startswith("_"):
        item = kind.removesuffix("[]").removeprefix("_")
        return any(get_origin(o) is list and accepts(get_args(o)[0], item) for o in options)
    return kind in PYTHON and all((get_origin(o) or o) in PYTHON[kind] for o in options)


def alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


async def unexpected_nulls(conn: Any, query: Query[Any], sql: str, columns: list[str], parameters: int) -> list[str]:
    """Columns that come straight from a nullable column of a table into a field that has no None.

    The plan tells where a column comes from; a statement that tests the column itself is trusted.
    """
    if query.row is None or not issubclass(query.row, msgspec.Struct):
        return []
    plan = await generic_plan(conn, sql, parameters)
    if plan is None:
        return []
    tables = {node["Alias"]: node["Relation Name"] for node in nodes(plan) if "Relation Name" in node}
    outer = any(node.get("Join Type") in OUTER for node in nodes(plan))
    fields = {f.name: f for f in msgspec.structs.fields(query.row)}
    found = []
    for name, source in zip(columns, plan.get("Output", ()), strict=False):
        alias, _, column = source.rpartition(".")
        alias = alias or (next(iter(tables)) if len(tables) == 1 else "")
        field = fields.get(name)
        if field is None or alias not in tables or not column.isidentifier() or outer:
            continue
        if Any in alternatives(field.type) or type(None) in alternatives(field.type):
            continue
        if re.search(rf"\b{column} (IS NOT NULL|= (ANY \()?\$|<)", sql):
            continue
        if await conn.fetchval(NULLABLE, tables[alias], column):
            found.append(f"{name} may be NULL ({tables[alias]})")
    return found


NULLABLE = "SELECT NOT attnotnull FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = $2"


async def generic_plan(conn: Any, sql: str, parameters: int) -> dict[str, Any] | None:
    """The plan of a statement whatever its arguments; None for what has none."""
    await conn.execute("SET plan_cache_mode = force_generic_plan")
    await conn.execute(f"PREPARE looked_at AS {sql}")
    try:
        arguments = f"({', '.join(['NULL'] * parameters)})" if parameters else ""
        text = await conn.fetchval(f"EXPLAIN (VERBOSE, FORMAT JSON) EXECUTE looked_at {arguments}")
    except asyncpg.PostgresError:
        return None
    finally:
        await conn.execute("DEALLOCATE looked_at")
    plan: dict[str, Any] = json.loads(text)[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(n for child in plan.get("Plans", ()) for n in nodes(child))]
