"""The network service inside nova_async: rows in PostgreSQL, which hosts turn into bridges, taps and rules."""

from typing import Any, Self

import msgspec

from nova_async import log
from nova_async.config import Config
from nova_async.context import Context
from nova_async.db import Database
from nova_async.db import networks as rows
from nova_async.errors import Conflict, NotFound, QuotaExceeded
from nova_async.model.guests import PortSpec
from nova_async.services.network import NetworkRequest
from nova_async.services.network.auto_topology import AutoTopology
from nova_async.services.network.checks import judged, not_allocated, well_formed
from nova_async.services.network.collections import COLLECTIONS
from nova_async.services.network.ground import Ground, first_subnet
from nova_async.services.network.port_specs import port_spec
from nova_async.services.network.public import make_public
from nova_async.world import World

BOOTSTRAP_NAME = "private"
BOOTSTRAP_PROJECT = ""  # owned by nobody: only an administrator may change it
logger = log.get("network")


class BuiltinNetworks(Ground):
    """``NetworkService`` on our own tables. ``db`` sees the schema ``api``."""

    def __init__(self, db: Database, config: Config, world: World) -> None:
        super().__init__(db, config, world)
        self.auto_topology = AutoTopology(self)

    @classmethod
    async def open(cls, db: Database, config: Config, world: World) -> Self:
        service = cls(db, config, world)
        await service.bootstrap()
        return service

    async def bootstrap(self) -> None:
        """Give a new deployment its first network, and one to the outside; networks that exist are left as they are. Raises ``Invalid``."""
        subnet = first_subnet(self.config.network.default_cidr, "default_cidr")
        first_subnet(self.config.network.auto_cidr, "auto_cidr")  # that it can be had is better known now than later
        network_id, subnet_id = self.world.uuid(), self.world.uuid()
        async with self.db.transaction() as conn:
            made = await rows.bootstrap(
                conn,
                network_id=network_id,
                subnet_id=subnet_id,
                project_id=BOOTSTRAP_PROJECT,
                name=BOOTSTRAP_NAME,
                mtu=self.config.network.mtu,
                dns_servers=list(self.config.network.dns_servers),
                **subnet,
            )
            if made and self.config.network.external_cidr:
                await make_public(self, conn, subnet_id)
        if made:
            logger.info("network.made", name=BOOTSTRAP_NAME, cidr=subnet["cidr"])

    async def check(
        self, ctx: Context, requests: list[NetworkRequest] | None, security_groups: list[str], count: int
    ) -> list[NetworkRequest]:
        """See ``NetworkService.check``. One statement, none where nothing is asked for."""
        if requests == [] and not security_groups:
            return []
        asked = requests or []
        for request in asked:
            well_formed(request, count)
        async with self.db.connection() as conn:
            survey = await rows.survey(
                conn,
                ctx.project_id,
                ctx.is_admin,
                [r.network_id for r in asked if r.network_id],
                [r.port_id for r in asked if r.port_id],
                [r.fixed_ip for r in asked if r.fixed_ip],
                self.config.network.quota_port,
            )
        given = judged(requests, security_groups, survey, ctx)
        if survey.ports_left is not None and count * sum(request.port_id is None for request in given) > survey.ports_left:
            raise QuotaExceeded("Maximum number of ports exceeded")
        return given if self.plug else [msgspec.structs.replace(request, wires="") for request in given]

    async def check_auto(self, ctx: Context) -> None:
        """See ``NetworkService.check_auto``."""
        try:
            await self.auto_topology.check(ctx, ctx.project_id)
        except (Conflict, NotFound) as error:
            raise not_allocated(ctx.project_id, error) from None

    async def auto(self, ctx: Context) -> list[NetworkRequest]:
        """See ``NetworkService.auto``."""
        try:
            return [NetworkRequest(network_id=await self.auto_topology.network_of(ctx, ctx.project_id))]
        except (Conflict, NotFound) as error:
            raise not_allocated(ctx.project_id, error) from None

    async def bind(
        self,
        ctx: Context,
        *,
        instance_id: str,
        hostname: str,
        host: str,
        availability_zone: str,
        requests: list[NetworkRequest],
        security_groups: list[str],
        first_position: int = 0,
    ) -> list[PortSpec]:
        """See ``NetworkService.bind``; ``ctx.project_id`` is the server's project. One statement, none without requests."""
        if not requests:
            return []
        binding = rows.Binding(
            instance_id=instance_id,
            project_id=ctx.project_id,
            device_owner=f"compute:{availability_zone or 'nova'}",
            host=host,
            dns_name=hostname,
        )
        wishes = [self._wish(position, request) for position, request in enumerate(requests, first_position)]
        async with self.db.connection() as conn:
            ports = await rows.bind(conn, binding, wishes, security_groups)
        self.moved(ports)
        return [self._spec(port) for port in ports]

    async def unbind(self, ctx: Context, *, instance_id: str, port_id: str | None = None) -> None:
        """See ``NetworkService.unbind``. One statement."""
        async with self.db.connection() as conn:
            left = await rows.unbind(conn, instance_id, port_id)
        self.moved(left)
        await self.tell_routers(sorted({port.router_id for port in left if port.router_id}))

    async def join(self, ctx: Context, *, instance_id: str, host: str) -> None:
        """See ``NetworkService.join``. Every host of ours plugs every port: there is nothing to ask of it before."""
        return

    async def part(self, ctx: Context, *, instance_id: str, host: str) -> None:
        """See ``NetworkService.part``. ``join`` leaves nothing."""
        return

    async def move(self, ctx: Context, *, instance_id: str, host: str, availability_zone: str) -> list[PortSpec]:
        """See ``NetworkService.move``."""
        async with self.db.transaction() as conn:
            await rows.move(conn, instance_id, host, f"compute:{availability_zone or 'nova'}")
            ports = await rows.bound(conn, instance_id)
        self.moved(ports)
        return [self._spec(port) for port in ports]

    async def reach(self, ctx: Context, *, instance_id: str, requests: list[NetworkRequest]) -> dict[str, list[str]]:
        """See ``NetworkService.reach``: every host reaches all of ours."""
        return {}

    async def ports(self, ctx: Context, *, instance_id: str) -> list[PortSpec]:
        async with self.db.connection() as conn:
            return [self._spec(port) for port in await rows.bound(conn, instance_id)]

    async def security_groups(self, ctx: Context, *, instance_id: str) -> list[str]:
        async with self.db.connection() as conn:
            return await rows.group_names(conn, instance_id)

    async def things(self, ctx: Context, kind: str, **filters: list[str]) -> list[dict[str, Any]]:
        views: list[dict[str, Any]] = (await self._collection(kind).listing(ctx, filters)).views
        return views

    async def thing(self, ctx: Context, kind: str, id: str) -> dict[str, Any]:
        collection = self._collection(kind)
        view: dict[str, Any] = collection.view(await collection.get(ctx, id), ctx)
        return view

    async def make(self, ctx: Context, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        collection = self._collection(kind)
        view: dict[str, Any] = collection.view(await collection.create(ctx, {collection.name: fields}), ctx)
        return view

    async def change(self, ctx: Context, kind: str, id: str, fields: dict[str, Any]) -> dict[str, Any]:
        collection = self._collection(kind)
        view: dict[str, Any] = collection.view(
            await collection.update(ctx, await collection.get_own(ctx, id), {collection.name: fields}), ctx
        )
        return view

    async def remove(self, ctx: Context, kind: str, id: str) -> None:
        collection = self._collection(kind)
        await collection.delete(ctx, await collection.get_own(ctx, id))

    def _collection(self, kind: str) -> Any:
        """Raises ``NotFound`` for a kind that this service has not."""
        if kind not in COLLECTIONS:
            raise NotFound(f"This network service has no {kind}.")
        return COLLECTIONS[kind](self)

    def _wish(self, position: int, request: NetworkRequest) -> dict[str, Any]:
        """One element of ``bind_ports``' wishes; ``seed`` decides the MAC and where to look for a free address."""
        return {
            "position": position,
            "network_id": request.network_id,
            "port_id": request.port_id,
            "fixed_ip": request.fixed_ip,
            "tag": request.tag,
            "new_id": self.world.uuid(),
            "seed": self.world.random.getrandbits(62),
        }

    def _spec(self, port: rows.BoundPort) -> PortSpec:
        return port_spec(port, self.config.network.dns_domain, plug=self.plug)
