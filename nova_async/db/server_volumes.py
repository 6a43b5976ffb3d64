"""The volumes of servers, as rows keep them, beside what the built-in volume service has attached."""

from typing import Any

import msgspec

from nova_async.db import Connection, Query


class Lost(msgspec.Struct):
    id: str
    volume_id: str
    instance_id: str


class Violation(msgspec.Struct):
    instance_id: str
    problem: str


SET_DEVICES = Query[Any]("server_volumes", "set_devices")
LOST_ATTACHMENTS = Query("server_volumes", "lost_attachments", Lost)
HOLDERS = Query[str]("server_volumes", "holders")
VIOLATIONS = Query("server_volumes", "violations", Violation)


async def set_devices(conn: Connection, instance_id: str, devices: list[dict[str, Any]]) -> None:
    await SET_DEVICES.run(conn, instance_id, devices)


async def lost_attachments(conn: Connection, seconds: float) -> list[Lost]:
    """At most 100."""
    return await LOST_ATTACHMENTS.all(conn, seconds)


async def violations(conn: Connection) -> list[Violation]:
    return await VIOLATIONS.all(conn)


async def holders(conn: Connection, volume_id: str) -> list[str]:
    """The servers that have the volume."""
    return await HOLDERS.all(conn, volume_id)
