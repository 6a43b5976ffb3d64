"""Which servers ran in a time, for os-simple-tenant-usage."""

from datetime import datetime

import msgspec

from nova_async.db import Connection, Query


class Used(msgspec.Struct, kw_only=True):
    """A server that ran. ``flavor``: its name; memory in MiB, disks in GiB."""

    uuid: str
    project_id: str
    display_name: str
    vm_state: str
    flavor: str
    vcpus: int
    memory_mb: int
    local_gb: int
    launched_at: datetime
    terminated_at: datetime | None


RAN_IN = Query("usage", "ran_in", Used)
OWNER = Query[str]("usage", "owner", str)


async def ran_in(
    conn: Connection, start: datetime, stop: datetime, *, project_id: str | None, after: tuple[str, str] | None, limit: int
) -> list[Used]:
    """In the order of projects and ids; ``after``: project and id of the server that the last page ended with."""
    project, server = after or (None, None)
    return await RAN_IN.all(conn, start, stop, project_id, project, server, limit)


async def owner(conn: Connection, uuid: str) -> str | None:
    return await OWNER.maybe(conn, uuid)
