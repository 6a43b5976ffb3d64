"""What is taken of the networks' addresses."""

import msgspec

from nova_async.db import Connection, Query


class SubnetUse(msgspec.Struct, kw_only=True):
    """A subnet beside its network; of a network without subnets all that tells of one is None or empty."""

    network_id: str
    network_name: str
    project_id: str
    subnet_id: str | None
    subnet_name: str | None
    cidr: str | None
    ip_version: int | None
    pools: list[dict[str, str]]  # start, end
    used: int


SUBNETS = Query("ip_availability", "subnets", SubnetUse)


async def subnets(conn: Connection, network_id: str | None = None) -> list[SubnetUse]:
    """Of one network, or of all, network by network."""
    return await SUBNETS.all(conn, network_id)
