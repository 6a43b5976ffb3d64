"""The composition root: which parts run in this process, and how they are put together. Nothing else does that.

``app`` is the application (API, services, scheduler, conductor, consoles); ``compute`` is the worker of this host. The all-in-one has
both. ``console`` is a process for nothing but consoles.
"""

import asyncio
import secrets
import socket
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from aiohttp import web

from nova_async import log, web_root
from nova_async.bus import Bus
from nova_async.bus.connect import connect as connect_bus
from nova_async.certs.process import Certificates
from nova_async.compute.boots import Boots
from nova_async.compute.journal import Journal
from nova_async.compute.plugs import NetworkPlugs, NoPlugs, RouterPlugs
from nova_async.compute.worker import Worker
from nova_async.config import Config
from nova_async.db import Database
from nova_async.errors import Invalid, Unavailable
from nova_async.kept import kept
from nova_async.services.image import ImageService
from nova_async.services.image.worker import ImagesForWorker
from nova_async.transport import in_the_clear
from nova_async.virt.driver import Driver
from nova_async.world import World

if TYPE_CHECKING:
    from nova_async.db.embedded import Starting
    from nova_async.policy import Policy
    from nova_async.services.identity.bootstrap import Secrets
    from nova_async.services.image.builtin import BuiltinImages
    from nova_async.services.volume import VolumeService
    from nova_async.virt.libvirt.base import VolumeFetcher

logger = log.get("app")
APP, COMPUTE, CONSOLE = "app", "compute", "console"
OF_THE_APPLICATION = (  # what only the application loads, and loads while its database starts
    "nova_async.api.app",
    "nova_async.app_services",
    "nova_async.services.identity.builtin",
    "nova_async.services.identity.http",
    "nova_async.services.image.builtin",
    "nova_async.services.image.http",
    "nova_async.services.network.builtin",
    "nova_async.services.network.http",
    "nova_async.services.placement",
    "nova_async.services.volume.http",
    "nova_async.certs.authority",
    "nova_async.certs.http",
    "nova_async.conductor.conductor",
    "nova_async.metadata.service",
    "nova_async.metadata.source",
    "nova_async.console.proxy",
)
Say = Callable[[str], None]


class App:
    """One process. ``say`` hears of each stage of the start. ``postgres``: a database of its own, already starting."""

    def __init__(
        self, config: Config, world: World, *, parts: frozenset[str], say: Say = lambda _: None, postgres: "Starting | None" = None
    ) -> None:
        self.config, self.world, self.parts, self.say = config, world, parts, say
        self.postgres = postgres
        self.ready = asyncio.Event()
        self.bus: Bus
        self.database: Database
        self.policy: Policy
        self.volumes: VolumeService
        self.secrets: Secrets | None = None
        self.builtin_images: BuiltinImages | None = None
        self.workers: list[Worker] = []
        self.routers: RouterPlugs | None = None  # of this host
        self.task: asyncio.Task[None] | None = None
        self.certificates = Certificates(config, world)

    async def run(self) -> None:
        """Serve until cancelled. Raises what keeps it from starting."""
        config = self.config
        for option in in_the_clear(config):
            logger.warning("transport.in_the_clear", option=option)
        async with AsyncExitStack() as stack:
            worker = self._worker_target() if self.parts == {COMPUTE} else None
            if APP not in self.parts or config.bus.tls:
                await self.certificates.find(worker, needed=config.bus.tls)
            self.bus = await connect_bus(
                config.bus,
                self.world,
                exchange=config.notifications.exchange,
                certificate=config.certificate_dir if config.bus.tls else None,
                own=worker or "" if config.bus.tls else "",
            )
            stack.push_async_callback(self.bus.close)
            images: ImageService | None = None
            async with asyncio.TaskGroup() as group:
                if APP in self.parts:
                    images = await self._start_app(stack, group)
                if self.certificates.keeper:
                    group.create_task(self.certificates.keeper.run(), name="certificate")
                if CONSOLE in self.parts:
                    await self._start_console(stack, group)
                if COMPUTE in self.parts:
                    await self._start_compute(stack, group, images)
                if APP in self.parts:
                    await self._answer(stack, self._site, "api.listen", config.api.listen)
                    self.say(f"API answers at {config.public_url}")
                self.ready.set()

    def _worker_target(self) -> str:
        """Where the worker of this host is reached on the bus; also its name in its certificate."""
        return f"compute.{self.config.compute.host or socket.gethostname()}"

    async def until(self, stop: asyncio.Event) -> None:
        """Wait for ``stop``, or for the program's own end, which raises what ended it."""
        assert self.task is not None
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({waiting, self.task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.task.done():
            await self.task

    async def reload(self, read: Callable[[], Config]) -> None:
        """Read again what may change while the process runs: the level of its log, the policy file, certificates and who was revoked.

        ``read`` reads the configuration. What is refused is logged, and changes nothing.
        """
        try:
            level = (await asyncio.to_thread(read)).log.level
        except Invalid as error:
            logger.error("configuration.refused", reason=error.message)
        else:
            log.set_level(level)
        self.certificates.look()
        if APP not in self.parts:
            return
        try:
            await self.policy.reload()
        except Invalid as error:
            logger.error("policy.refused", reason=error.message)
        else:
            logger.info("policy.reloaded", file=self.config.api.policy_file)

    # -- the application

    async def _start_app(self, stack: AsyncExitStack, group: asyncio.TaskGroup) -> ImageService:
        """Database, services, conductor; the API is put together but does not answer yet.

        Importing takes a good part of the start: the embedded database starts meanwhile.
        """
        url, _ = await asyncio.gather(self._database_url(group), asyncio.to_thread(_load, OF_THE_APPLICATION))
        from nova_async import bootstrap
        from nova_async.api.app import Parts as ApiParts
        from nova_async.api.app import application as compute_api
        from nova_async.app_services import open_services
        from nova_async.certs import http as certs_http
        from nova_async.certs.authority import Authority
        from nova_async.certs.broker import accounts as broker_accounts
        from nova_async.conductor.conductor import Conductor
        from nova_async.metadata.dynamic import VendorData, targets
        from nova_async.metadata.instances import vendor_data
        from nova_async.metadata.service import application as metadata_api
        from nova_async.metadata.source import DatabaseMetadata

        config, world = self.config, self.world
        await asyncio.to_thread(vendor_data, config.metadata.vendor_data_file)
        targets(config)  # what is wrong with them is better known now than by a guest
        await bootstrap.migrate(url, world)
        database = self.database = await Database.connect(
            url, size=config.database.pool_size, statement_seconds=config.database.statement_seconds
        )
        stack.push_async_callback(database.close)
        self.say("database is ready")

        if config.volume.url and config.services.volume == "builtin":
            raise Invalid("volume.url: the application has a volume service of its own; leave it empty, or set services.volume to cinder.")
        authority = await Authority.open(config, world, database, broker_accounts(config, world))
        # Keys of certificates are made while passwords are hashed and the database is asked.
        services, _ = await asyncio.gather(open_services(config, database, world, stack, authority), self.certificates.make(authority))
        images, networks, volumes = services.images, services.networks, services.volumes
        self.volumes, self.secrets, self.builtin_images = volumes, services.secrets, services.builtin_images
        await bootstrap.flavors(database)

        vendors = VendorData(config, world, services.own)
        conductor = self.conductor = Conductor(
            config,
            world,
            database,
            self.bus,
            images,
            networks,
            volumes,
            vendors,
            services.certificates,
            name=self._name(),
            alone=not config.database.url,
        )
        if services.builtin_volumes:
            services.builtin_volumes.jobs.on_grown = conductor.volume_grown
            group.create_task(services.builtin_volumes.run(), name="volumes")
        if services.builtin_networks:
            services.builtin_networks.on_change = conductor.desk.ports_changed
            services.builtin_networks.on_router_change = conductor.routers.changed
            services.builtin_networks.router_desk = conductor.routers
            services.builtin_networks.on_move = conductor.desk.surroundings.changed
            conductor.desk.surroundings.networks = services.builtin_networks
        parts = ApiParts(
            config=config,
            world=world,
            database=database,
            bus=self.bus,
            starter=conductor.engine,
            tokens=services.identity,
            images=images,
            networks=networks,
            volumes=volumes,
            callers=services.callers,
            hosts=conductor.table,
            vouch=authority.vouch if config.certs.sign_key_pairs else None,
        )
        self.policy = parts.policy
        documents, secret = DatabaseMetadata(database, self.bus, config, world), await self._metadata_secret()
        metadata = metadata_api(documents, config, world, secret, vendors)
        if config.metadata.listen:
            await self._answer(stack, metadata_api(documents, config, world, secret, vendors), "metadata.listen", config.metadata.listen)
        consoles = {"/console": self._consoles(group, database)} if config.console.in_application else {}
        if config.console.listen:
            for own in consoles.values():
                await self._answer(stack, own, "console.listen", config.console.listen)
            consoles = {}
        self._site = web_root.site(
            {
                "/compute": compute_api(parts),
                **services.sites,
                "/metadata": metadata,
                "/certs": certs_http.application(authority, world),
                **consoles,
            },
            database,
            self.bus,
            config,
        )
        serving = asyncio.Event()
        group.create_task(conductor.run(serving), name="conductor")
        await serving.wait()
        self.say("conductor is ready")
        return images

    async def _database_url(self, group: asyncio.TaskGroup) -> str:
        """What the configuration names, else the database that is starting for this process."""
        if self.postgres is None:
            return self.config.database.url
        server, started = self.postgres
        url = await started
        group.create_task(server.keep(), name="postgres")
        return url

    async def _start_console(self, stack: AsyncExitStack, group: asyncio.TaskGroup) -> None:
        """Consoles alone, beside an application that is elsewhere."""
        config = self.config
        if not config.console.listen:
            raise Invalid("console.listen: consoles in a process of their own need an address of their own.")
        database = await Database.connect(config.database.url, size=config.database.pool_size)
        stack.push_async_callback(database.close)
        await self._answer(stack, self._consoles(group, database), "console.listen", config.console.listen)

    def _consoles(self, group: asyncio.TaskGroup, database: Database) -> web.Application:
        from nova_async.console.proxy import ConsoleProxy
        from nova_async.console.tokens import ConsoleTokens

        proxy = ConsoleProxy(
            self.config, self.world, database, ConsoleTokens(self.config, self.world, database, self.bus), self.certificates.identity
        )
        group.create_task(proxy.watch(), name="console-watch")
        return proxy.application()

    async def _answer(self, stack: AsyncExitStack, site: web.Application, option: str, listen: str) -> None:
        web_root.check_parser()
        runner = web.AppRunner(site, access_log=None, handle_signals=False, shutdown_timeout=5.0, keepalive_timeout=75.0)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        host, _, port = listen.rpartition(":")
        tls = await self.certificates.https()
        try:
            await web.TCPSite(runner, host.strip("[]") or None, int(port), backlog=1024, ssl_context=tls).start()
        except (OSError, ValueError) as error:
            raise Invalid(f"{option}: cannot listen on {listen} ({error})") from None

    def _name(self) -> str:
        """This process's name on the bus and in os-services: the host's for one process, host and port for several."""
        host = socket.gethostname()
        return f"{host}-{self.config.api.listen.rpartition(':')[2]}" if self.config.database.url else host

    async def _metadata_secret(self) -> str:
        return self.config.metadata.shared_secret or await kept(self.config.state, "metadata", "shared_secret", secrets.token_urlsafe)

    # -- the worker

    async def _start_compute(self, stack: AsyncExitStack, group: asyncio.TaskGroup, images: ImageService | None) -> None:
        config = self.config
        identity = uuid.UUID(await kept(config.state, "compute", "host_id", self.world.uuid))
        name = config.compute.host or socket.gethostname()
        journal = Journal(config.state / "journal.jsonl")
        await journal.start()
        stack.push_async_callback(journal.close)
        if config.compute.driver == "ironic":
            await self._start_metal(stack, group, journal)
            return
        hosts = [name] if config.compute.fake_hosts == 1 else [f"{name}-{i + 1}" for i in range(config.compute.fake_hosts)]
        if images is None and config.compute.driver != "fake":
            images = await self._remote_images(stack)
        drivers = [await self._driver(host, stack, images) for host in hosts]
        boots = Boots(config.state) if config.compute.resume_guests_on_boot else None
        waiting = []
        for host, driver in zip(hosts, drivers, strict=True):
            host_id = str(identity if host == name else uuid.uuid5(identity, host))
            parts = (host, host_id, driver, self.bus, config, self.world, journal)
            worker = Worker(*parts, address=config.own_address, images=images, boots=boots, routers=self.routers)
            self.workers.append(worker)
            serving = asyncio.Event()
            group.create_task(worker.run(serving), name=f"worker-{host}")
            waiting.append(serving.wait())
        if APP in self.parts:
            await asyncio.gather(*waiting)
            self.say(f"{'host ' + hosts[0] if len(hosts) == 1 else f'{len(hosts)} hosts'} in service ({config.compute.driver})")
        else:
            for serving_wait in waiting:
                await serving_wait

    async def _start_metal(self, stack: AsyncExitStack, group: asyncio.TaskGroup, journal: Journal) -> None:
        """A process for many hosts: certificates are of one host each, so over TLS it is the application's."""
        from nova_async.app_metal import Metal
        from nova_async.app_services import endpoint
        from nova_async.services.identity.remote import TokenSource
        from nova_async.virt.ironic.api import Ironic

        config = self.config
        if config.bus.tls and APP not in self.parts:
            raise Invalid("compute.driver: a process for all nodes of an Ironic has no certificate; let the application run it.")
        if not (config.ironic.url or config.identity.url):
            raise Invalid("ironic.url: say where Ironic answers, or give identity.url, whose catalog does.")
        tokens = None
        if config.identity.url:
            tokens = TokenSource(config.identity, self.world)
            stack.push_async_callback(tokens.close)
        ironic = Ironic(endpoint(config.ironic.url, tokens, "baremetal"), self.world, tokens)
        stack.push_async_callback(ironic.close)
        serving = asyncio.Event()
        group.create_task(Metal(config, self.world, self.bus, journal, ironic, self.workers).run(serving), name="metal")
        await serving.wait()
        self.say(f"{len(self.workers)} nodes of Ironic in service")

    async def _driver(self, host: str, stack: AsyncExitStack, images: ImageService | None) -> Driver:
        config = self.config
        if config.compute.driver == "fake":
            from nova_async.virt.fake import FakeDriver
            from nova_async.virt.fake_faults import Faults
            from nova_async.virt.fake_topology import made

            fake, faults = config.fake, Faults()
            for operation, seconds in fake.seconds.items():
                if not hasattr(FakeDriver, operation):
                    raise Invalid(f"fake.seconds: the driver has no operation {operation!r}")
                faults.delay(operation, seconds)
            folder = config.state / "fake"
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
            return FakeDriver(
                self.world,
                host,
                vcpus=fake.vcpus,
                memory_mib=fake.memory_mib,
                disk_gib=fake.disk_gib,
                topology=made(fake),
                faults=faults,
                state_file=folder / f"{host}.jsonl",
            )
        if config.compute.driver not in ("libvirt", "test"):
            raise Invalid(f"compute.driver: {config.compute.driver!r} is not libvirt, test, fake or ironic")
        try:
            from nova_async.virt.libvirt.foreign import driver_for
        except ImportError as error:
            raise Unavailable(
                "The libvirt driver needs libvirt-python: install nova_async with the extra 'compute'.", detail=str(error)
            ) from None
        assert images is not None
        own = None if APP in self.parts else self.certificates.identity
        volumes = self.volumes if APP in self.parts else await self._remote_volumes(stack)
        plugs = await self._plugs(host, stack)
        return driver_for(config.compute.libvirt_uri)(config, self.world, ImagesForWorker(images, self.world), plugs, host, volumes, own)

    async def _remote_volumes(self, stack: AsyncExitStack) -> "VolumeFetcher | None":
        from nova_async.app_services import KEY_MANAGER_TYPE, VOLUME_TYPES, endpoint
        from nova_async.services.identity.remote import TokenSource
        from nova_async.services.key_manager import Barbican
        from nova_async.services.volume.remote import RemoteVolumes

        config = self.config
        if not (config.volume.url or config.services.volume == "cinder"):
            return None
        tokens = TokenSource(config.identity, self.world)
        stack.push_async_callback(tokens.close)
        barbican: Barbican | None = None
        if config.services.key_manager == "barbican":
            barbican = Barbican(endpoint(config.image.key_manager_url, tokens, KEY_MANAGER_TYPE), tokens, self.world)
            stack.push_async_callback(barbican.close)
        volumes = RemoteVolumes(endpoint(config.volume.url, tokens, *VOLUME_TYPES), tokens, self.world, barbican=barbican)
        stack.push_async_callback(volumes.close)
        return volumes

    async def _remote_images(self, stack: AsyncExitStack) -> ImageService:
        from nova_async.app_services import endpoint
        from nova_async.services.identity.remote import TokenSource
        from nova_async.services.image.remote import RemoteImages

        config = self.config
        if not config.identity.url:
            raise Invalid("A worker needs identity.url, with identity.username and identity.password.")
        tokens = TokenSource(config.identity, self.world)
        stack.push_async_callback(tokens.close)
        images = RemoteImages(endpoint(config.image.url, tokens, "image"), tokens, self.world)
        stack.push_async_callback(images.close)
        return images

    async def _plugs(self, host: str, stack: AsyncExitStack) -> NetworkPlugs:
        config = self.config
        if config.compute.driver != "libvirt" or config.network.mode == "none":
            return NoPlugs()
        from nova_async.compute.plugging import LinuxBridgePlugs, LinuxRouters
        from nova_async.compute.plugging.surroundings import AskConductor
        from nova_async.compute.plugging.wired import AgentPlugs, EachPlugs

        url = config.metadata.url or f"{config.public_url}/metadata"
        ask = AskConductor(host, self.bus)
        own = LinuxBridgePlugs(
            self.world,
            config.state,
            url,
            await self._metadata_secret(),
            address=config.own_address,
            ask=ask,
            physical_networks=config.compute.physical_networks,
        )
        plugs = EachPlugs(own, AgentPlugs(config.state))
        await plugs.start()
        stack.push_async_callback(plugs.close)
        routers = self.routers = LinuxRouters(own, config.state, config.network.external_bridge)
        await routers.start()
        stack.push_async_callback(routers.close)
        return plugs


@asynccontextmanager
async def running(
    config: Config,
    world: World,
    *,
    parts: frozenset[str] = frozenset({APP, COMPUTE}),
    say: Say = lambda _: None,
    postgres: "Starting | None" = None,
) -> AsyncIterator[App]:
    """An ``App`` that serves inside the block; what keeps it from starting is raised as it is."""
    app = App(config, world, parts=parts, say=say, postgres=postgres)
    task = app.task = asyncio.create_task(app.run(), name="app")
    started = asyncio.create_task(app.ready.wait())
    try:
        await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield app
    finally:
        started.cancel()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _load(modules: tuple[str, ...]) -> None:
    for module in modules:
        import_module(module)
