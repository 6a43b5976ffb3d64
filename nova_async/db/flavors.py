"""Flavors and who may use them."""

from typing import Any

import asyncpg

from nova_async.db import Connection, Query
from nova_async.errors import Invalid
from nova_async.model.flavors import Flavor

LIST = Query("flavors", "list", Flavor)
GET = Query("flavors", "get", Flavor)
INSERT = Query("flavors", "insert", Flavor)
DESCRIBE = Query("flavors", "describe", Flavor)
DELETE = Query[Any]("flavors", "delete")
PUT_EXTRA_SPECS = Query[Any]("flavors", "put_extra_specs")
REMOVE_EXTRA_SPEC = Query[Any]("flavors", "remove_extra_spec")
ACCESS = Query[str]("flavors", "access", str)
GRANT = Query[Any]("flavors", "grant")
REVOKE = Query[Any]("flavors", "revoke")


async def visible(
    conn: Connection,
    project_id: str,
    *,
    public: bool | None = True,
    min_ram: int | None = None,
    min_disk: int | None = None,
    disabled: bool = False,
    name: str | None = None,
) -> list[Flavor]:
    """Those a project may see. ``public`` None: all there are.

    ``name`` is a regular expression in PostgreSQL's dialect; raises ``Invalid`` for one that PostgreSQL does not take.
    """
    try:
        return await LIST.all(conn, public, project_id, min_ram, min_disk, disabled, name)
    except asyncpg.InvalidRegularExpressionError as error:
        raise Invalid(f"Invalid name filter [{name}]", detail=str(error)) from None


async def get(conn: Connection, flavorid: str, project_id: str, *, private: bool = False) -> Flavor | None:
    """None when there is none that the project may use; ``private`` sees those of other projects too."""
    return await GET.maybe(conn, flavorid, project_id, private)


async def insert(
    conn: Connection,
    *,
    flavorid: str,
    name: str,
    memory_mb: int,
    vcpus: int,
    root_gb: int,
    ephemeral_gb: int = 0,
    swap: int = 0,
    rxtx_factor: float = 1.0,
    is_public: bool = True,
    description: str | None = None,
) -> Flavor:
    """Raises ``Conflict`` (through the constraint's name) when the id or the name is taken."""
    return await INSERT.one(conn, flavorid, name, memory_mb, vcpus, root_gb, ephemeral_gb, swap, rxtx_factor, is_public, description)


async def describe(conn: Connection, flavorid: str, description: str | None) -> Flavor | None:
    return await DESCRIBE.maybe(conn, flavorid, description)


async def delete(conn: Connection, flavorid: str) -> bool:
    """False when there was none."""
    return await DELETE.run(conn, flavorid) > 0


async def put_extra_specs(conn: Connection, number: int, specs: dict[str, str]) -> bool:
    """False when the flavor is gone."""
    return await PUT_EXTRA_SPECS.run(conn, number, specs) > 0


async def remove_extra_spec(conn: Connection, number: int, name: str) -> bool:
    """False when there was none."""
    return await REMOVE_EXTRA_SPEC.run(conn, number, name) > 0


async def access(conn: Connection, number: int) -> list[str]:
    """The projects that were let in."""
    return await ACCESS.all(conn, number)


async def grant(conn: Connection, number: int, project_id: str) -> bool:
    """False when the project was let in before. Raises ``NotFound`` when the flavor is gone."""
    return await GRANT.run(conn, number, project_id) > 0


async def revoke(conn: Connection, number: int, project_id: str) -> bool:
    """False when the project was not let in."""
    return await REVOKE.run(conn, number, project_id) > 0
