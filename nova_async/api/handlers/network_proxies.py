"""Networks as the first versions of the API told of them: a proxy to the network service."""

from typing import Any

from nova_async.api.request import Request
from nova_async.errors import NotFound

Thing = dict[str, Any]  # in Neutron's fields
EXTERNAL = "router:external"


async def networks(request: Request) -> list[Thing]:
    """What the network service shows the caller: the project's own, shared and external ones; an administrator's are all."""
    return await request.parts.networks.things(request.ctx, "networks")


async def network(request: Request) -> Thing:
    try:
        return await request.parts.networks.thing(request.ctx, "networks", request.values["id"])
    except NotFound:
        raise NotFound("Network not found") from None


async def pools(request: Request) -> list[Thing]:
    """A pool is an external network."""
    return await request.parts.networks.things(request.ctx, "networks", **{EXTERNAL: ["True"]})
