"""Rows of subnet pools."""

from datetime import datetime

import msgspec

from nova_async.db import Connection, Query
from nova_async.db.networks import Page


class SubnetPoolRow(msgspec.Struct, kw_only=True):
    """``default_quota``: of each project, in addresses, or for IPv6 in ranges of 64 bits; None: no limit."""

    id: str
    project_id: str
    name: str
    description: str
    prefixes: list[str]
    ip_version: int
    default_prefix: int
    min_prefix: int
    max_prefix: int
    default_quota: int | None
    shared: bool
    is_default: bool
    tags: list[str]
    revision: int
    created_at: datetime
    updated_at: datetime | None


class Allocated(msgspec.Struct):
    project_id: str
    cidr: str


SUBNET_POOLS = Query("subnet_pools", "subnet_pools", SubnetPoolRow)
INSERT_SUBNET_POOL: Query[None] = Query("subnet_pools", "insert_subnet_pool")
UPDATE_SUBNET_POOL: Query[None] = Query("subnet_pools", "update_subnet_pool")
DELETE_SUBNET_POOL: Query[None] = Query("subnet_pools", "delete_subnet_pool")
DEFAULT_POOL = Query("subnet_pools", "default_pool", str)
ALLOCATED = Query("subnet_pools", "allocated", Allocated)


async def subnet_pools(conn: Connection, page: Page) -> list[SubnetPoolRow]:
    return await SUBNET_POOLS.all(conn, *page.args)


async def insert_subnet_pool(conn: Connection, row: SubnetPoolRow) -> None:
    """Raises ``Conflict`` where another pool is the default one already."""
    lengths = (row.default_prefix, row.min_prefix, row.max_prefix)
    fixed = (row.id, row.project_id, row.name, row.description, row.prefixes, row.ip_version)
    await INSERT_SUBNET_POOL.run(conn, *fixed, *lengths, row.default_quota, row.shared, row.is_default)


async def update_subnet_pool(conn: Connection, row: SubnetPoolRow) -> None:
    """Raises ``Conflict`` as ``insert_subnet_pool``."""
    lengths = (row.default_prefix, row.min_prefix, row.max_prefix)
    await UPDATE_SUBNET_POOL.run(conn, row.id, row.name, row.description, row.prefixes, *lengths, row.default_quota, row.is_default)


async def delete_subnet_pool(conn: Connection, pool_id: str) -> None:
    """Raises ``Conflict`` while subnets have ranges of it."""
    await DELETE_SUBNET_POOL.run(conn, pool_id)


async def default_pool(conn: Connection, ip_version: int) -> str | None:
    return await DEFAULT_POOL.maybe(conn, ip_version)


async def allocated(conn: Connection, pool_id: str) -> list[Allocated]:
    """In the order of their addresses."""
    return await ALLOCATED.all(conn, pool_id)
