"""Bindings of ports to hosts: the active one, in the port's own row, and others that are got ready."""

from typing import Any

import msgspec

from nova_async.db import Connection, Query


class BindingRow(msgspec.Struct, kw_only=True):
    host: str
    vif_type: str
    profile: dict[str, Any]
    active: bool


OF_PORT = Query("port_bindings", "of_port", BindingRow)
LOCK_PORT = Query("port_bindings", "lock_port", str)
PUT: Query[None] = Query("port_bindings", "put")
REMOVE: Query[None] = Query("port_bindings", "remove")


async def of_port(conn: Connection, port_id: str) -> list[BindingRow]:
    """The active one first."""
    return await OF_PORT.all(conn, port_id)


async def lock_port(conn: Connection, port_id: str) -> bool:
    """Until the transaction ends; False: there is no such port."""
    return bool(await LOCK_PORT.all(conn, port_id))


async def put(conn: Connection, port_id: str, host: str, vif_type: str, profile: dict[str, Any]) -> None:
    """Make or change an inactive one."""
    await PUT.run(conn, port_id, host, vif_type, profile)


async def remove(conn: Connection, port_id: str, host: str) -> None:
    await REMOVE.run(conn, port_id, host)
