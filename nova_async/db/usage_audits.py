"""What hosts ran in periods that are over."""

from datetime import datetime
from typing import Any

import msgspec

from nova_async.db import Connection, Query


class Count(msgspec.Struct):
    """How many servers ran on a host."""

    host: str
    instances: int


class Audit(msgspec.Struct):
    """What was noted of one host."""

    host: str
    instances: int
    errors: int
    message: str


DUE = Query("usage_audits", "due", Count)
PUT = Query[Any]("usage_audits", "put")
OF_PERIOD = Query("usage_audits", "of_period", Audit)
FORGET = Query[Any]("usage_audits", "forget")


async def due(conn: Connection, begin: datetime, end: datetime) -> list[Count]:
    """Hosts that have no entry for the period."""
    return await DUE.all(conn, begin, end)


async def put(conn: Connection, begin: datetime, end: datetime, counts: list[Count], messages: list[str]) -> None:
    await PUT.run(conn, begin, end, [c.host for c in counts], [c.instances for c in counts], messages)


async def of_period(conn: Connection, begin: datetime, end: datetime) -> list[Audit]:
    return await OF_PERIOD.all(conn, begin, end)


async def forget(conn: Connection, days: int) -> None:
    """Drop those of periods that ended longer ago."""
    await FORGET.run(conn, days)
