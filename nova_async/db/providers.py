"""Hosts and claims in the words of Placement: providers of resources, consumers, allocations."""

from datetime import datetime

import msgspec

from nova_async.db import Connection, Query


class Provider(msgspec.Struct, kw_only=True):
    """A host. ``inventory``: resource class -> [total, reserved, allocation ratio, used]; ``aggregates``: their UUIDs."""

    id: str
    name: str  # the hypervisor's
    disabled: bool
    traits: list[str]
    updated_at: datetime
    inventory: dict[str, list[float]]
    aggregates: list[str]


class Claim(msgspec.Struct, kw_only=True):
    """What a server holds of a host. Project and user are None where its row is gone."""

    consumer_id: str
    host_id: str
    project_id: str | None
    user_id: str | None
    resources: dict[str, int]


class Held(msgspec.Struct):
    resource_class: str
    amount: int


ALL = Query("providers", "all", Provider)
CLAIMS = Query("providers", "claims", Claim)
USED_BY_PROJECT = Query("providers", "used_by_project", Held)
CONSUMERS = Query[int]("providers", "consumers", int)


async def all(conn: Connection) -> list[Provider]:
    return await ALL.all(conn, None)


async def get(conn: Connection, id: str) -> Provider | None:
    return await ALL.maybe(conn, id)


async def claims(conn: Connection, *, host_id: str | None = None, consumer_id: str | None = None) -> list[Claim]:
    return await CLAIMS.all(conn, host_id, consumer_id)


async def used_by_project(conn: Connection, project_id: str, user_id: str | None) -> dict[str, int]:
    """Resource class -> amount."""
    return {held.resource_class: held.amount for held in await USED_BY_PROJECT.all(conn, project_id, user_id)}


async def consumers(conn: Connection, project_id: str, user_id: str | None) -> int:
    return await CONSUMERS.one(conn, project_id, user_id)
