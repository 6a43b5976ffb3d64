"""The conductor: the workflow engine with its definitions, the desk where hosts report, and the reconcilers."""

import asyncio
from collections.abc import Awaitable, Callable

from nova_async import log
from nova_async.bus import Bus
from nova_async.bus.messages import Message
from nova_async.bus.messages.conductor import WorkflowReady
from nova_async.conductor.announcements import Announcer
from nova_async.conductor.commands import HostCommands
from nova_async.conductor.hosts import HostDesk
from nova_async.conductor.parts import Parts
from nova_async.conductor.reconcilers.attachments import AttachmentsReconciler
from nova_async.conductor.reconcilers.claims import ClaimsReconciler
from nova_async.conductor.reconcilers.due import DueReconciler
from nova_async.conductor.reconcilers.guests import GuestsReconciler
from nova_async.conductor.reconcilers.routers import RoutersReconciler
from nova_async.conductor.reconcilers.usage_audits import UsageAuditor
from nova_async.conductor.workflows import DEFINITIONS
from nova_async.conductor.workflows.segments import looking_first
from nova_async.config import Config
from nova_async.context import Context
from nova_async.db import Database, hosts
from nova_async.errors import Conflict, Error, Unavailable, plain
from nova_async.metadata.dynamic import VendorData
from nova_async.notifications.outbox import Outbox
from nova_async.notifications.publisher import Publisher
from nova_async.scheduler.decide import Scheduler
from nova_async.scheduler.hosts import HostTable
from nova_async.services.image import ImageService
from nova_async.services.image.certificates import Certificates
from nova_async.services.network import NetworkService
from nova_async.services.volume import VolumeService
from nova_async.workflow.engine import Engine
from nova_async.workflow.faults import FaultPoints
from nova_async.world import World

logger = log.get("conductor")
BINARIES = ("nova-scheduler", "nova-conductor")


class Conductor:
    """``name`` names this process on the bus and in os-services; it is the same after a restart.

    ``alone``: nobody else uses the database, so that operations of an earlier run are taken up at once.
    """

    def __init__(
        self,
        config: Config,
        world: World,
        database: Database,
        bus: Bus,
        images: ImageService,
        networks: NetworkService,
        volumes: VolumeService,
        vendor_data: VendorData,
        certificates: Certificates,
        *,
        name: str,
        alone: bool,
    ) -> None:
        self.config, self.world, self.database, self.bus, self.name, self.alone = config, world, database, bus, name, alone
        self.table = HostTable(world, config.compute.down_seconds)
        self.engine: Engine[Parts] = Engine(
            database,
            DEFINITIONS if config.services.network == "builtin" else [looking_first(d) for d in DEFINITIONS],
            world,
            process=f"{name}/{world.uuid()[:8]}",
            workers=config.conductor.workers,
            lease_seconds=config.conductor.lease_seconds,
            poll_seconds=config.conductor.poll_seconds,
            fault_points=FaultPoints(config.conductor.fault_points),
        )
        self.engine.notify = self._notify
        self.engine.let_go = self.table.ended
        self.publisher = Publisher(config.notifications, database, bus, world)
        if config.notifications.enabled:
            self.engine.witness = Announcer(Outbox(config.notifications, world), self.publisher)
        self.commands = HostCommands(
            bus,
            self.table,
            world,
            name=name,
            silence_seconds=config.conductor.command_seconds,
            down_seconds=config.compute.down_seconds,
        )
        self.scheduler = Scheduler(config.scheduler, self.table, world)
        self.desk = HostDesk(database, bus, self.table, self.engine, networks, world)
        self.routers = RoutersReconciler(config, database, bus, self.desk.surroundings, world)
        self.desk.on_return = self.routers.returned
        self.guests = GuestsReconciler(database, bus, self.desk)
        self.claims = ClaimsReconciler(database, world)
        self.attachments = AttachmentsReconciler(database, volumes, world)
        self.due = DueReconciler(config, database, self.engine, world)
        self.auditor = UsageAuditor(config, database, world)
        self._parts = Parts(config, world, database, self.commands, self.scheduler, images, networks, volumes, vendor_data, certificates)

    async def run(self, ready: asyncio.Event) -> None:
        """Serve until cancelled; ``ready`` is set once requests may come."""
        services = [await self.commands.serve(), *await self.desk.serve(), await self.bus.subscribe("workflows", self._woken)]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.engine.run(self._parts, alone=self.alone), name="workflow-engine")
                group.create_task(self.desk.load_forever(), name="host-loader")
                group.create_task(self.desk.returns.look_forever(), name="host-returns")
                group.create_task(self.desk.refresh_ports_forever(), name="port-refresher")
                group.create_task(self.desk.surroundings.tell_forever(), name="surroundings")
                group.create_task(self._every(self.config.conductor.reconcile_seconds, self.guests), name="reconcile-guests")
                group.create_task(self._every(self.config.conductor.reconcile_seconds, self.claims), name="reconcile-claims")
                group.create_task(self._every(self.config.conductor.reconcile_seconds, self.due), name="reconcile-due")
                group.create_task(self._every(self.config.conductor.reconcile_seconds, self.attachments), name="reconcile-attachments")
                group.create_task(self.routers.refresh_forever(), name="router-refresher")
                group.create_task(self._every(self.config.conductor.reconcile_seconds, self.routers), name="reconcile-routers")
                group.create_task(self._every(self.config.compute.report_seconds, self.routers.watch), name="watch-router-hosts")
                group.create_task(self._every(60.0, self.auditor), name="audit-usage")
                group.create_task(self._every(60.0, self.desk.refresh), name="refresh-hosts")
                group.create_task(self._every(30.0, self._tell_processes, first=0.0), name="process-report")
                if self.config.notifications.enabled:
                    group.create_task(self.publisher.run(), name="notifications")
                ready.set()
        finally:
            for service in services:
                await service.close()

    async def volume_grown(self, ctx: Context, volume_id: str, instance_id: str, size: int) -> None:
        """Let the guest that has a volume see its new size (GiB). Raises ``Unavailable`` while something else is done with the server."""
        try:
            async with self.database.transaction() as conn:
                workflow = await self.engine.begin(conn, ctx, "extend_volume", instance_id, volume_id=volume_id, size=size)
        except Conflict as error:
            raise Unavailable("The server that has the volume is busy.", detail=error.message) from None
        self.engine.go([workflow])

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]], first: float | None = None) -> None:
        """Run a reconciler again and again; what it could not do now it does the next time."""
        pause = seconds * self.world.random.random() if first is None else first
        while True:
            await self.world.sleep(pause)
            try:
                async with asyncio.timeout(max(60.0, seconds * 4)):
                    await work()
            except (Error, TimeoutError) as error:
                logger.warning("reconcile.failed", work=getattr(work, "__name__", type(work).__name__), error=plain(error))
            pause = seconds * (0.8 + 0.4 * self.world.random.random())

    async def _tell_processes(self) -> None:
        async with self.database.connection() as conn:
            for binary in BINARIES:
                await hosts.put_process(conn, self.world.uuid(), binary, self.name)

    async def _notify(self, workflow_id: str) -> None:
        await self.bus.publish("workflows", WorkflowReady(workflow_id=workflow_id))

    async def _woken(self, message: Message) -> None:
        if isinstance(message, WorkflowReady):
            await self.engine.look_at(message.workflow_id)
