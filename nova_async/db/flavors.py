"""Flavors and who may use them."""

from typing import Any

from nova_async.db import Connection, Query
from nova_async.model.flavors import Flavor

LIST = Query("flavors", "list", Flavor)
GET = Query("flavors", "get", Flavor)
INSERT = Query("flavors", "insert", Flavor)
DESCRIBE = Query("flavors", "describe", Flavor)
DELETE = Query[Any]("flavors", "delete")


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
    """Those a project may see. ``public`` None: all there are. ``name`` is a regular expression in PostgreSQL's dialect."""
    return await LIST.all(conn, public, project_id, min_ram, min_disk, disabled, name)


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
