"""The worker of one hypervisor host: takes commands from ``compute.<host>``, calls the driver, tells how it went.

It has no database. A command is journaled, acknowledged, and worked on in its own task: one at a time per server, and a
``Destroy`` ends what runs for its server first. Commands of an older placement than the newest seen are refused.
"""

import asyncio
import hashlib
from collections import deque
from typing import Any

import msgspec

from nova_async import log
from nova_async.bus import Bus
from nova_async.bus.messages import Done, Message
from nova_async.bus.messages.compute import (
    AbortLive,
    AddressesTold,
    Command,
    CommandEnded,
    CommandProgress,
    Console,
    ConsoleOutput,
    Destroy,
    ForceLiveMigration,
    GetAddresses,
    GetConsole,
    GetConsoleOutput,
    GetLiveProgress,
    GetMeasures,
    GuestList,
    GuestState,
    ListGuests,
    ListRouters,
    LiveMigrate,
    LiveProgressTold,
    MeasuresTold,
    PutRouter,
    Reap,
    RefreshPorts,
    RemoveRouter,
    RouterList,
    Spawn,
    SurroundingsChanged,
)
from nova_async.bus.messages.conductor import HostAccepted, HostReport, HostStopping, PowerChanged, RegisterHost
from nova_async.compute.boots import Boots
from nova_async.compute.cpu_sets import divide
from nova_async.compute.fence import Fence
from nova_async.compute.journal import Journal, Key, key_of
from nova_async.compute.operations import OPERATIONS, Tools
from nova_async.compute.plugs import NoRouters, RouterPlugs
from nova_async.config import Config
from nova_async.errors import Conflict, Error, Interrupted, Invalid, NotFound, Unavailable, plain
from nova_async.model.power import PowerState
from nova_async.sealed import SealingKey
from nova_async.services.image import ImageService
from nova_async.virt.driver import Driver, GuestEvent, GuestInfo
from nova_async.world import World

logger = log.get("compute")
SPAWNS_AT_ONCE = 10
PROGRESS_SECONDS = 10.0
TOLD_SECONDS = 3600.0  # how long an outcome is offered to a bus that is away
FACTS_SECONDS = 60.0


class Job:
    """A command that is being worked on."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.reply_to = command.reply_to
        self.percent: int | None = None
        self.note = ""
        self.task: asyncio.Task[None] | None = None
        self.ending = False  # the driver is done; only the telling is left

    def progress(self, percent: int | None, note: str) -> None:
        self.percent, self.note = percent, note


class Worker:
    """``host_id`` is the host's identity (a UUID); ``journal`` may be shared by the workers of one process."""

    def __init__(
        self,
        host: str,
        host_id: str,
        driver: Driver,
        bus: Bus,
        config: Config,
        world: World,
        journal: Journal,
        *,
        address: str = "",
        images: ImageService | None = None,
        boots: Boots | None = None,
        routers: RouterPlugs | None = None,
    ) -> None:
        self.host, self.host_id, self.driver, self.bus = host, host_id, driver, bus
        self.config, self.world, self.journal, self.address = config, world, journal, address
        self.look = asyncio.Event()  # set: something about the host has changed
        self.routers: RouterPlugs = routers or NoRouters()
        self.outdated = 0  # commands of an older placement that were refused
        self._jobs: dict[Key, Job] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._generations: dict[str, int] = {}
        self._gone: dict[str, int] = {}  # server -> generation up to which it was destroyed here
        self._spawning = asyncio.Semaphore(SPAWNS_AT_ONCE)
        self._revision = ""
        self._called_off: deque[str] = deque(maxlen=1000)  # workflows whose live migration shall not begin any more
        self._fence = Fence(host, bus, world, config.compute.down_seconds)
        self._boots = boots  # None: guests that ran are not started with the machine
        self._tools = Tools(driver, images, SealingKey())

    # -- life

    async def run(self, ready: asyncio.Event) -> None:
        """Serve until cancelled. Guests that the conductor vouches dead are gone before the host reports ready (INV-11)."""
        with log.bound(host=self.host):
            await self.driver.start()
            await self._register_until_accepted()
            events = self.driver.events()
            try:
                async with asyncio.TaskGroup() as group:
                    self._group = group
                    service = await self.bus.serve(f"compute.{self.host}", self._asked)
                    try:
                        group.create_task(self._report_forever(), name=f"report-{self.host}")
                        group.create_task(self._progress_forever(), name=f"progress-{self.host}")
                        group.create_task(self._look_forever(), name=f"facts-{self.host}")
                        group.create_task(self._events_forever(events), name=f"events-{self.host}")
                        for command in self.journal.unfinished(self.host):
                            self._begin(command)
                        ready.set()
                        await asyncio.Event().wait()
                    finally:
                        await service.close()  # before the group ends: it could not begin a command any more
            finally:
                await self._say_goodbye()
                await self.driver.close()

    async def _say_goodbye(self) -> None:
        try:
            async with asyncio.timeout(2):
                await self.bus.publish("hosts", HostStopping(host=self.host))
        except (Error, TimeoutError):
            pass

    async def _register_until_accepted(self) -> None:
        tries = 0
        resume = self._boots is not None and await asyncio.to_thread(self._boots.is_another)
        while True:
            try:
                await self._register(resume=resume)
                break
            except Unavailable as error:
                tries += 1
                logger.info("host.not_accepted_yet", error=error.message)
                await self.world.sleep(min(10.0, 0.1 * 2.0**tries) * (0.5 + self.world.random.random() / 2))
        if self._boots is not None:
            await asyncio.to_thread(self._boots.remember)

    async def _register(self, *, resume: bool = False) -> None:
        guests = tuple(_told(guest) for guest in await self.driver.guests())
        message = await self._registration(guests, resume=resume)
        answer = await self.bus.call("conductor", message, timeout=15)
        assert isinstance(answer, HostAccepted)
        self._revision = message.revision
        for guest in guests:
            self._generations[guest.instance_id] = max(guest.generation, self._generations.get(guest.instance_id, 0))
        await self._reap(answer.dead)
        await self.bus.publish("hosts", HostReport(host=self.host, host_id=self.host_id, revision=self._revision))

    async def _registration(self, guests: tuple[GuestState, ...], *, resume: bool = False) -> RegisterHost:
        facts, options = await self.driver.facts(), self.config.compute
        told = {
            "VCPU": (options.reserved_vcpus, options.cpu_allocation_ratio),
            "MEMORY_MB": (options.reserved_memory_mib, options.ram_allocation_ratio),
            "DISK_GB": (options.reserved_disk_gib, options.disk_allocation_ratio),
        }
        topology, amounts = divide(facts, options)
        inventory = {}
        for resource, total in amounts.items():
            reserved, ratio = told.get(resource, (0, 1.0))
            inventory[resource] = (total, min(reserved, max(0, total - 1)), ratio)
        shown: dict[str, Any] = {
            "hypervisor_type": facts.hypervisor_type,
            "hypervisor_version": facts.hypervisor_version,
            "hypervisor_hostname": facts.hypervisor_hostname,
            "cpu_info": facts.cpu_info,
            "supported_instances": facts.supported_instances,
            "topology": msgspec.to_builtins(topology),
            "sealing_key": self._tools.key.public,
            "initiator": facts.initiator,
            "wires": facts.wires,
            "outside": await self.routers.outside(),
            "party": f"compute.{self.host}" if self.config.bus.tls else "",  # who it is by its certificate
        }
        steady = msgspec.json.encode([inventory, sorted(facts.traits), shown, options.availability_zone, self.address])
        revision = hashlib.sha256(steady).hexdigest()[:16]
        shown |= {"memory_used_mib": facts.memory_used_mib, "disk_used_gib": facts.disk_used_gib, "uptime": facts.uptime}
        return RegisterHost(
            host=self.host,
            host_id=self.host_id,
            revision=revision,
            inventory=inventory,
            traits=tuple(facts.traits),
            facts=shown | {"revision": revision},
            availability_zone=options.availability_zone,
            address=self.address,
            version="0.1.0",
            guests=guests,
            resume=resume,
        )

    async def _report_forever(self) -> None:
        while True:
            await self.world.sleep(self.config.compute.report_seconds * (0.8 + 0.2 * self.world.random.random()))
            try:
                await self.bus.publish("hosts", HostReport(host=self.host, host_id=self.host_id, revision=self._revision))
                self._fence.reported()
            except Unavailable as error:
                self._fence.silent()
                logger.warning("host.report_lost", error=error.message)

    async def _look_forever(self) -> None:
        """Register anew when the host has changed (memory, disk, traits ...)."""
        while True:
            self.look.clear()
            try:
                async with asyncio.timeout(FACTS_SECONDS * (0.8 + 0.4 * self.world.random.random())):
                    await self.look.wait()
            except TimeoutError:
                pass
            try:
                if (await self._registration(())).revision != self._revision:
                    await self._register()
            except Error as error:
                logger.warning("host.facts_not_told", error=error.message)

    async def _events_forever(self, events: Any) -> None:
        async for event in events:
            try:
                await self._tell_power(event)
            except Error as error:  # the reconciler compares all guests later
                logger.warning("server.event_lost", server=event.instance_id, error=error.message)

    async def _tell_power(self, event: GuestEvent) -> None:
        """What a guest did by itself; what we do to it is told by the command's outcome."""
        if self._busy(event.instance_id):
            return
        try:
            guest = await self.driver.guest(event.instance_id)
        except NotFound:
            return
        if not self._busy(event.instance_id):
            message = PowerChanged(
                host=self.host, instance_id=guest.instance_id, generation=guest.generation, power_state=guest.power_state
            )
            await self.bus.cast("conductor", message)

    def _busy(self, instance_id: str) -> bool:
        return any(job.command.instance_id == instance_id for job in self._jobs.values())

    # -- being asked

    async def _asked(self, message: Message) -> Message | None:
        with log.bound(host=self.host):
            match message:
                case Command():
                    await self._take(message)
                    return None
                case GetConsoleOutput():
                    return ConsoleOutput(output=await self.driver.console_output(message.instance_id, message.lines))
                case GetConsole():
                    return await self._console(message)
                case ListGuests():
                    return await self._list()
                case Reap():
                    await self._reap(message.instances)
                    return Done()
                case RefreshPorts():
                    await self._refresh_ports(message)
                    return Done()
                case SurroundingsChanged():
                    self.driver.surroundings_changed()
                    return Done()
                case PutRouter():
                    await self.routers.put(message.router, announce=message.announce)
                    return Done()
                case RemoveRouter():
                    await self.routers.remove(message.router_id)
                    return Done()
                case ListRouters():
                    return RouterList(routers=await self.routers.known())
                case GetLiveProgress():
                    return LiveProgressTold(progress=await self.driver.live_progress(message.instance_id))
                case GetMeasures():
                    return MeasuresTold(measures=await self.driver.measures(message.instance_id))
                case GetAddresses():
                    return AddressesTold(addresses=await self.driver.addresses(message.instance_id))
                case ForceLiveMigration():
                    await self.driver.force_live(message.instance_id)
                    return Done()
        raise Invalid(f"{type(message).__name__} is nothing to ask a worker")

    async def _console(self, message: GetConsole) -> Console:
        """Of a guest that runs; one of a newer placement than the asker knows is not the asker's."""
        guest = await self.driver.guest(message.instance_id)
        if guest.power_state not in (PowerState.RUNNING, PowerState.PAUSED) or guest.generation > message.generation:
            raise Conflict(f"Instance {message.instance_id} is not ready")
        return Console(address=await self.driver.console(message.instance_id, message.console_type))

    async def _list(self) -> GuestList:
        guests = [_told(guest) for guest in await self.driver.guests()]
        strays = [name for name in await self.driver.stray_files() if not self._busy(name)]
        return GuestList(host=self.host, guests=tuple(guests), stray_files=tuple(strays))

    async def _reap(self, dead: tuple[tuple[str, int], ...]) -> None:
        """Remove what is left of servers that the conductor vouches are dead here, unless a newer placement came since."""
        for instance_id, generation in dead:
            async with self._lock(instance_id):
                if self._busy(instance_id):
                    continue
                try:
                    guest = await self.driver.guest(instance_id)
                except NotFound:
                    if instance_id in await self.driver.stray_files():
                        await self.driver.remove_stray(instance_id)
                    continue
                if guest.generation <= generation:
                    logger.info("server.reaped", server=instance_id, generation=guest.generation)
                    await self.driver.destroy(instance_id)

    async def _refresh_ports(self, message: RefreshPorts) -> None:
        """A guest that is gone, or still being made with ports of its own, needs none."""
        async with self._lock(message.instance_id):
            try:
                await self.driver.refresh_ports(message.instance_id, message.ports)
            except NotFound:
                return

    # -- commands

    async def _take(self, command: Command) -> None:
        """Answer a repeated command with what was done; begin a new one. Returns once it is safe in the journal."""
        key = key_of(command)
        if ended := self.journal.ended(key):
            self._spawn_task(self._tell(ended, command.reply_to), f"answer-{command.workflow_id}")
        elif job := self._jobs.get(key):
            job.reply_to = command.reply_to
        else:
            job = self._jobs[key] = Job(command)
            await self.journal.accept(self.host, command)
            self._start(job)

    def _begin(self, command: Command) -> None:
        job = self._jobs[key_of(command)] = Job(command)
        self._start(job)

    def _start(self, job: Job) -> None:
        job.task = self._spawn_task(self._work(job), f"{type(job.command).__name__}-{job.command.instance_id}")

    def _spawn_task(self, work: Any, name: str) -> "asyncio.Task[None]":
        return self._group.create_task(work, name=name)

    async def _work(self, job: Job) -> None:
        command = job.command
        with log.bound(server=command.instance_id, workflow=command.workflow_id, step=command.step, request_id=command.request_id):
            started = self.world.monotonic()
            if isinstance(command, Destroy):
                await self._end_others(command)
            outcome = await self._outcome(job)
            job.ending = True
            await self.journal.end(self.host, outcome)
            self._jobs.pop(key_of(command), None)
            seconds = round(self.world.monotonic() - started, 3)
            name = type(command).__name__.lower()
            if outcome.error is None:
                logger.info(f"command.{name}", seconds=seconds)
            else:
                logger.warning(f"command.{name}_failed", seconds=seconds, error=outcome.error, detail=outcome.detail)
            await self._tell(outcome, job.reply_to)

    async def _end_others(self, destroy: Destroy) -> None:
        """A guest that is to go needs no more work: end what runs for it and wait until it has."""
        others = [
            j.task
            for j in self._jobs.values()
            if j.command.instance_id == destroy.instance_id
            and j.command.generation <= destroy.generation
            and not isinstance(j.command, Destroy)
            and j.task
            and not j.ending
        ]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _outcome(self, job: Job) -> CommandEnded:
        command = job.command
        error: Error | None = None
        result: Any = None
        try:
            if isinstance(command, AbortLive):  # while the migration holds the lock
                self._called_off.append(command.workflow_id)
                result = await OPERATIONS[AbortLive](self._tools, command, job.progress)
                return self._ended(command, None, result)
            async with self._lock(command.instance_id):
                self._check_generation(command)
                await self._fence.check(command)
                if isinstance(command, LiveMigrate) and command.workflow_id in self._called_off:
                    raise Conflict("The migration was aborted.")
                if isinstance(command, Spawn):
                    async with self._spawning:
                        await self._operate(job)
                else:
                    result = await self._operate(job)
                if isinstance(command, Destroy):
                    self._gone[command.instance_id] = max(command.generation, self._gone.get(command.instance_id, 0))
                    self._forget_old()
        except Error as caught:
            error = caught
        except asyncio.CancelledError:
            if not self._cancelled_by_destroy(command):
                raise  # the worker stops: the journal has it, the next start goes on
            error = Conflict("The server was deleted meanwhile.")
        except Exception as caught:
            logger.exception("command.crashed")
            error = Error("The host met an unexpected error; its log names it.", detail=plain(caught))
        return self._ended(command, error, result)

    async def _operate(self, job: Job) -> Any:
        """Once more when the hypervisor went away in the middle: it may be back soon, and every operation may be repeated."""
        operation = OPERATIONS[type(job.command)]
        try:
            return await operation(self._tools, job.command, job.progress)
        except Interrupted as error:
            logger.warning("command.interrupted", detail=error.detail)
            return await operation(self._tools, job.command, job.progress)

    def _ended(self, command: Command, error: Error | None, result: Any) -> CommandEnded:
        return CommandEnded(
            workflow_id=command.workflow_id,
            step=command.step,
            attempt=command.attempt,
            instance_id=command.instance_id,
            generation=command.generation,
            host=self.host,
            error=error.message if error else None,
            error_kind=type(error).__name__ if error else "",
            detail=(error.detail or "") if error else "",
            result=result if isinstance(result, dict) and error is None else {},
        )

    def _cancelled_by_destroy(self, command: Command) -> bool:
        return any(isinstance(j.command, Destroy) and j.command.instance_id == command.instance_id for j in self._jobs.values())

    def _check_generation(self, command: Command) -> None:
        newest = self._generations.get(command.instance_id, 0)
        gone = self._gone.get(command.instance_id, -1)
        if command.generation < newest or (command.generation <= gone and not isinstance(command, Destroy)):
            self.outdated += 1
            raise Conflict(f"The command is of placement {command.generation}; this host has seen {max(newest, gone)}.")
        self._generations[command.instance_id] = command.generation

    def _forget_old(self) -> None:
        while len(self._gone) > 20_000:
            oldest = next(iter(self._gone))
            del self._gone[oldest]
            self._generations.pop(oldest, None)

    def _lock(self, instance_id: str) -> asyncio.Lock:
        lock = self._locks.get(instance_id)
        if lock is None:
            if len(self._locks) > 1000:
                self._locks = {k: v for k, v in self._locks.items() if v.locked()}
            lock = self._locks[instance_id] = asyncio.Lock()
        return lock

    async def _tell(self, outcome: CommandEnded, reply_to: str) -> None:
        """Hand the outcome to the bus; while that is away, offer it again. The conductor asks too."""
        give_up = self.world.monotonic() + TOLD_SECONDS
        pause = 0.2
        while self.world.monotonic() < give_up:
            try:
                await self.bus.cast(reply_to, outcome)
                return
            except Unavailable:
                await self.world.sleep(pause)
                pause = min(10.0, pause * 2)

    async def _progress_forever(self) -> None:
        while True:
            await self.world.sleep(PROGRESS_SECONDS)
            for job in list(self._jobs.values()):
                c = job.command
                message = CommandProgress(
                    workflow_id=c.workflow_id, step=c.step, attempt=c.attempt, host=self.host, percent=job.percent, note=job.note
                )
                try:
                    await self.bus.cast(job.reply_to, message)
                except Unavailable:
                    break


def _told(guest: GuestInfo) -> GuestState:
    return GuestState(instance_id=guest.instance_id, power_state=guest.power_state, generation=guest.generation, volumes=guest.volumes)
