"""What hosts tell the conductor: who they are, that they live, and that a guest changed state by itself."""

import asyncio
from collections.abc import Callable

import msgspec

from nova_async import log
from nova_async.bus import Bus, Service
from nova_async.bus.messages import Done, Message
from nova_async.bus.messages.compute import GuestState, RefreshPorts
from nova_async.bus.messages.conductor import (
    AskOperation,
    AskPlacement,
    AskSurroundings,
    HostAccepted,
    HostReport,
    HostsChanged,
    HostStopping,
    Operation,
    Placement,
    PortsChanged,
    PowerChanged,
    RegisterHost,
    SurroundingsTold,
)
from nova_async.conductor.returns import Returns
from nova_async.conductor.surroundings import SurroundingsDesk
from nova_async.context import service_context
from nova_async.db import Database, aggregates, hosts, placements, workflows
from nova_async.errors import Conflict, Error, Invalid, Unavailable
from nova_async.model import states
from nova_async.model.power import PowerState
from nova_async.scheduler.hosts import HostTable
from nova_async.services.network import NetworkService
from nova_async.workflow.start import Starter
from nova_async.world import World

logger = log.get("conductor.hosts")
OFF = (PowerState.SHUTDOWN, PowerState.CRASHED)


class HostDesk:
    """Keeps the hosts' rows and the scheduler's table. Registrations reach one conductor, reports all of them."""

    def __init__(self, database: Database, bus: Bus, table: HostTable, starter: Starter, networks: NetworkService, world: World) -> None:
        self.database, self.bus, self.table, self.starter, self.networks, self.world = database, bus, table, starter, networks, world
        self.surroundings = SurroundingsDesk(bus, table, world)
        self.returns = Returns(bus, self.dead_guests, self._back)
        self.on_return: Callable[[str], None] = lambda host: None
        self._revisions: dict[str, str] = {}
        self._to_load: set[str] = set()
        self._changed: set[str] = set()
        self._loading = asyncio.Event()
        self._reading = asyncio.Lock()
        self._stale: set[str] = set()  # servers whose ports changed
        self._stale_known = asyncio.Event()

    async def serve(self) -> list[Service]:
        await self.refresh()
        return [await self.bus.serve("conductor", self._asked), await self.bus.subscribe("hosts", self._reported)]

    async def refresh(self) -> None:
        """Read all hosts anew."""
        async with self.database.connection() as conn:
            self.table.label(await aggregates.labels(conn))
            self.table.load(await hosts.all(conn), complete=True)

    async def load_forever(self) -> None:
        """Read hosts that registered with another conductor or were changed; in one statement for all that happened meanwhile."""
        while True:
            await self._loading.wait()
            self._loading.clear()
            reporting, changed = self._to_load, self._changed
            self._to_load, self._changed = set(), set()
            try:
                await self._load(reporting | changed)
                for name in reporting:
                    self.table.heard(name)
            except Unavailable as error:
                logger.warning("hosts.not_read", detail=error.detail)
            await self.world.sleep(0.2)

    async def _load(self, names: set[str]) -> None:
        """One after another: what was read first must not come into the table last."""
        async with self._reading, self.database.connection() as conn:
            self.table.label(await aggregates.labels(conn))
            self.table.load(await hosts.all(conn, sorted(names)))

    async def _reported(self, message: Message) -> None:
        if isinstance(message, HostStopping):
            self.table.stopped(message.host)
        elif isinstance(message, HostsChanged):
            try:
                await self._load(set(message.hosts))  # at once: whoever changed them counts on it with the next server
            except Unavailable:
                self._changed.update(message.hosts)
                self._loading.set()
        elif isinstance(message, HostReport):
            if message.host in self.table.by_name and not self.table.is_heard(message.host):
                self.returns.heard(message)
            else:
                self._count(message)
        return None

    def _back(self, report: HostReport) -> None:
        self._count(report)
        self.on_return(report.host)

    def _count(self, report: HostReport) -> None:
        known = self.table.heard(report.host)
        if not known or self._revisions.get(report.host) != report.revision:
            self._revisions[report.host] = report.revision
            self._to_load.add(report.host)
            self._loading.set()

    async def _asked(self, message: Message) -> Message | None:
        if isinstance(message, RegisterHost):
            return await self._register(message)
        if isinstance(message, PowerChanged):
            await self.power_changed(message.host, message.instance_id, message.generation, message.power_state)
            return Done()
        if isinstance(message, PortsChanged):
            await self.ports_changed(list(message.instances))
            return Done()
        if isinstance(message, AskSurroundings):
            return SurroundingsTold(surroundings=await self.surroundings.of(message))
        if isinstance(message, AskPlacement):
            async with self.database.connection() as conn:
                held = await placements.is_held(conn, message.instance_id, message.generation, message.host)
            return Placement(held=held)
        if isinstance(message, AskOperation):
            async with self.database.connection() as conn:
                return Operation(live=await workflows.is_live(conn, message.workflow_id, undo=message.undo))
        raise Invalid(f"{type(message).__name__} is nothing to ask a conductor")

    async def _register(self, told: RegisterHost) -> HostAccepted:
        async with self.database.transaction() as conn:
            await hosts.put(
                conn,
                id=told.host_id,
                name=told.host,
                service_id=self.world.uuid(),
                address=told.address,
                zone=told.availability_zone,
                facts=told.facts | {"version": told.version},
                traits=list(told.traits),
                inventory=told.inventory,
            )
        dead = await self.dead_guests(told.host, told.guests)
        async with self.database.connection() as conn:
            self.table.load(await hosts.all(conn, [told.host]))
        self._revisions[told.host] = told.revision
        self.table.heard(told.host)
        self.on_return(told.host)
        logger.info("host.registered", host=told.host, guests=len(told.guests), dead=len(dead))
        if told.resume:
            await self._resume(told)
        return HostAccepted(dead=tuple(dead))

    async def _resume(self, told: RegisterHost) -> None:
        """Start what ran when the host went down. A server that something is done with is left to that."""
        here = {g.instance_id: g for g in told.guests}
        async with self.database.connection() as conn:
            rows = [row for row in await placements.on_host(conn, told.host) if row.vm_state == states.ACTIVE]
        for row in rows:
            guest = here.get(row.uuid)
            if guest is not None and (guest.generation != row.generation or guest.power_state not in OFF):
                continue
            try:
                async with self.database.transaction() as conn:
                    ctx = service_context("req-" + self.world.uuid())
                    workflow = await self.starter.begin(conn, ctx, "start", row.uuid)
            except Conflict:
                continue
            logger.info("server.resumed", server=row.uuid, host=told.host)
            self.starter.go([workflow])

    async def dead_guests(self, host: str, guests: tuple[GuestState, ...]) -> list[tuple[str, int]]:
        """Guests that the rows prove dead: deleted, or placed anew since. One that no row knows is left alone (INV-12)."""
        if not guests:
            return []
        async with self.database.connection() as conn:
            rows = {p.uuid: p for p in await placements.of(conn, [g.instance_id for g in guests])}
        dead = []
        for guest in guests:
            row = rows.get(guest.instance_id)
            if row is None:
                logger.error("host.unknown_guest", host=host, server=guest.instance_id)
            elif row.is_dead(host, guest.generation):
                dead.append((guest.instance_id, guest.generation))
        return dead

    async def ports_changed(self, instance_ids: list[str]) -> None:
        """Rules or addresses of these servers' ports changed; their hosts hear of it soon."""
        self._stale.update(instance_ids)
        self._stale_known.set()

    async def refresh_ports_forever(self) -> None:
        """Keep the new ports in the rows, and let the hosts plug them anew; what fails is done again."""
        while True:
            await self._stale_known.wait()
            self._stale_known.clear()
            stale, self._stale = self._stale, set()
            for instance_id in stale:
                try:
                    await self._refresh_ports(instance_id)
                except Error as error:
                    logger.warning("server.ports_not_refreshed", server=instance_id, error=error.message)
                    self._stale.add(instance_id)
            if self._stale:
                self._stale_known.set()
                await self.world.sleep(1.0)

    async def _refresh_ports(self, instance_id: str) -> None:
        ctx = service_context("req-" + self.world.uuid())
        ports = await self.networks.ports(ctx, instance_id=instance_id)
        groups = await self.networks.security_groups(ctx, instance_id=instance_id)
        async with self.database.connection() as conn:
            if await workflows.live_of(conn, instance_id) is not None:
                raise Unavailable("An operation is using the ports as they were.")
            host = await placements.set_ports(conn, instance_id, [msgspec.to_builtins(p) for p in ports], groups)
        if host:
            await self.bus.cast(f"compute.{host}", RefreshPorts(instance_id=instance_id, ports=tuple(ports)))

    async def power_changed(self, host: str, instance_id: str, generation: int, power: int) -> None:
        """Write what the hypervisor says; a server that went off by itself becomes SHUTOFF (Nova's power state sync)."""
        async with self.database.transaction() as conn:
            if await workflows.live_of(conn, instance_id) is not None:
                return  # the operation writes the outcome itself
            row = next(iter(await placements.of(conn, [instance_id])), None)
            if row is None or row.deleted or row.host != host or row.generation != generation:
                return
            changed = await placements.set_power(conn, instance_id, generation, power, host)
            ctx = service_context("req-" + self.world.uuid())
            if row.vm_state in (states.ACTIVE, states.PAUSED) and power in OFF:
                await placements.set_state(conn, instance_id, states.STOPPED, power)
                await self.starter.record(conn, ctx, "stop", instance_id, "The guest went off by itself.")
            elif row.vm_state == states.STOPPED and power == PowerState.RUNNING:
                await placements.set_state(conn, instance_id, states.ACTIVE, power)
                await self.starter.record(conn, ctx, "start", instance_id, "The guest was started on its host.")
            elif row.vm_state == states.ACTIVE and power == PowerState.PAUSED:
                await placements.set_state(conn, instance_id, states.PAUSED, power)
            elif row.vm_state == states.PAUSED and power == PowerState.RUNNING:
                await placements.set_state(conn, instance_id, states.ACTIVE, power)
        if changed:
            logger.info("server.power_changed", server=instance_id, host=host, power_state=power)
