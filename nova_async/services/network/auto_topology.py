"""A network of a project's own, with a way to the outside, made when it is first needed (Neutron's auto-allocated topology)."""

import asyncio
import ipaddress
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from nova_async.context import Context
from nova_async.db import networks as rows
from nova_async.db import routers as router_rows
from nova_async.errors import NotFound
from nova_async.services.network.collection import require_project
from nova_async.services.network.ground import Ground
from nova_async.services.network.networks import Networks, Subnets
from nova_async.services.network.router_interfaces import RouterInterfaces
from nova_async.services.network.routers import Routers

NETWORK, ROUTER = "auto_allocated_network", "auto_allocated_router"
PREFIX = 26  # of each project's range
TOPOLOGY = uuid.UUID("9f1c1b7e-2f0c-4a57-8d2f-3f5b5f1e6a10")


class AutoTopology:
    """Its ids follow from the project's, so that who asks again finds the same, and two who ask at once cannot make two."""

    def __init__(self, service: Ground) -> None:
        self.service = service
        self.networks, self.subnets, self.routers = Networks(service), Subnets(service), Routers(service)
        self._lock = asyncio.Lock()

    async def network_of(self, ctx: Context, project_id: str) -> str:
        """The id of the project's network; what is missing of it is made now. Raises ``Forbidden``, ``NotFound``, ``Conflict``."""
        ctx = _as_owner(ctx, project_id)
        network, subnet, router = _ids(project_id)
        async with self._alone():
            outside = await self._outside()
            if not await self.networks.has(ctx, network):
                await self.networks.create(ctx, {"network": {"name": NETWORK}}, network)
            if not await self.subnets.has(ctx, subnet):
                wanted = {"name": NETWORK, "network_id": network, "cidr": await self._range(), "ip_version": 4}
                await self.subnets.create(ctx, {"subnet": wanted}, subnet)
            if not await self.routers.has(ctx, router):
                await self.routers.create(ctx, {"router": {"name": ROUTER, "external_gateway_info": {"network_id": outside}}}, router)
            if not await self._is_joined(router, subnet):
                await RouterInterfaces(self.service).add(ctx, await self.routers.get(ctx, router), {"subnet_id": subnet})
        return network

    async def check(self, ctx: Context, project_id: str) -> None:
        """Say whether it could be made, and make nothing. Raises as ``network_of``."""
        _as_owner(ctx, project_id)
        await self._outside()

    async def remove(self, ctx: Context, project_id: str) -> None:
        """Raises ``Conflict`` while servers or floating IPs use it, ``NotFound`` where there is none."""
        ctx = _as_owner(ctx, project_id)
        network, subnet, router = _ids(project_id)
        async with self._alone():
            if not await self.networks.has(ctx, network):
                raise NotFound(f"No auto-allocated topology could be found for project {project_id}.")
            if await self.routers.has(ctx, router):
                row = await self.routers.get(ctx, router)
                if await self._is_joined(router, subnet):
                    await RouterInterfaces(self.service).remove(ctx, row, {"subnet_id": subnet})
                await self.routers.delete(ctx, row)
            await self.networks.delete(ctx, await self.networks.get(ctx, network))

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Nobody else in the deployment makes or removes one. The lock of this process comes first, so that it holds one connection."""
        async with self._lock, self.service.db.transaction() as conn:
            await rows.lock_topologies(conn)
            yield

    async def _outside(self) -> str:
        """The default external network. Raises ``NotFound``."""
        async with self.service.db.connection() as conn:
            found = [network for network in await rows.networks(conn, rows.Page()) if network.is_default and network.external]
        if not found:
            raise NotFound("Deployment error: no external network is the default one (is_default).")
        return found[0].id

    async def _range(self) -> str:
        """One that nobody has; where others have all, it is theirs, too."""
        pool = ipaddress.ip_network(self.service.config.network.auto_cidr)
        prefix = max(PREFIX, pool.prefixlen)
        async with self.service.db.connection() as conn:
            return await rows.free_range(conn, str(pool), prefix) or f"{pool.network_address}/{prefix}"

    async def _is_joined(self, router: str, subnet: str) -> bool:
        async with self.service.db.connection() as conn:
            return any(a["subnet_id"] == subnet for port in await router_rows.ports(conn, router) for a in port.addresses)


def _as_owner(ctx: Context, project_id: str) -> Context:
    """The caller, for the project. Raises ``Forbidden`` for another's."""
    require_project(ctx, project_id)
    return msgspec.structs.replace(ctx, project_id=project_id)


def _ids(project_id: str) -> tuple[str, str, str]:
    """Of network, subnet and router."""
    network, subnet, router = (str(uuid.uuid5(TOPOLOGY, f"{kind} of {project_id}")) for kind in ("network", "subnet", "router"))
    return network, subnet, router
