"""A small cloud inside the test: conductor, fake hosts, built-in networks and images, on a real database."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from nova_async import bootstrap
from nova_async.bus import Bus
from nova_async.bus.local import LocalBus
from nova_async.compute.boots import Boots
from nova_async.compute.journal import Journal
from nova_async.compute.plugs import RouterPlugs
from nova_async.compute.worker import Worker
from nova_async.conductor.conductor import Conductor
from nova_async.conductor.invariants import check_invariants
from nova_async.config import Config, load
from nova_async.context import Context, service_context
from nova_async.db import Database, instances
from nova_async.metadata.dynamic import VendorData
from nova_async.services.image.builtin import BuiltinImages
from nova_async.services.image.certificates import CertificateFolder
from nova_async.services.network.builtin import BuiltinNetworks
from nova_async.services.volume import Wanted
from nova_async.services.volume.builtin import BuiltinVolumes
from nova_async.virt.fake import FakeDriver
from nova_async.virt.fake_faults import Faults
from nova_async.world import RealWorld

USER = Context(request_id="req-test", user_id="user", project_id="project", roles=("member", "reader"))


class Cloud:
    """``faults[host]`` breaks a host's driver; ``drivers[host]`` is it."""

    def __init__(self, database: Database, config: Config, bus: Bus) -> None:
        self.database, self.config, self.bus, self.world = database, config, bus, RealWorld()
        self.conductor: Conductor
        self.images: BuiltinImages
        self.networks: BuiltinNetworks
        self.volumes: BuiltinVolumes
        self.image_id = ""
        self.drivers: dict[str, FakeDriver] = {}
        self.faults: dict[str, Faults] = {}
        self.workers: dict[str, asyncio.Task[None]] = {}
        self.journal: Journal

    # -- parts

    async def start_conductor(self, name: str = "app", **fault_points: Any) -> asyncio.Task[None]:
        services = (self.images, self.networks, self.volumes, VendorData(self.config, self.world), CertificateFolder(self.config))
        self.conductor = Conductor(self.config, self.world, self.database, self.bus, *services, name=name, alone=True)
        serving = asyncio.Event()
        task = asyncio.create_task(self.conductor.run(serving))
        await asyncio.wait({task, asyncio.create_task(serving.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        return task

    async def start_host(
        self, host: str, *, host_id: str = "", boots: Boots | None = None, routers: RouterPlugs | None = None, **size: Any
    ) -> None:
        """``host_id``: its identity, if not the one that goes with its name."""
        faults = self.faults.setdefault(host, Faults())
        state = Path(self.config.state_dir) / f"{host}.jsonl"
        driver = self.drivers[host] = FakeDriver(self.world, host, faults=faults, state_file=state, **size)
        serving = asyncio.Event()
        parts = (host, host_id or identity(host), driver, self.bus, self.config, self.world, self.journal)
        worker = Worker(*parts, images=self.images, boots=boots, routers=routers)
        self.workers[host] = asyncio.create_task(worker.run(serving), name=host)
        await asyncio.wait({self.workers[host], asyncio.create_task(serving.wait())}, return_when=asyncio.FIRST_COMPLETED)
        if self.workers[host].done():
            await self.workers[host]

    async def stop_host(self, host: str) -> None:
        await stop(self.workers.pop(host))

    # -- servers

    async def insert(self, **columns: Any) -> str:
        """A server's row, as the API makes it."""
        server = self.world.uuid()
        async with self.database.connection() as conn:
            flavor = next(f for f in (await conn.fetch("SELECT to_jsonb(f) FROM flavors f WHERE name = 'm1.tiny'")))[0]
            row = {
                "uuid": server, "project_id": USER.project_id, "user_id": USER.user_id, "reservation_id": "r-1", "display_name": "one",
                "hostname": "one", "image_id": self.image_id, "flavor": flavor, "flavor_id": flavor["id"], "vcpus": flavor["vcpus"],
                "memory_mb": flavor["memory_mb"], "network_requests": await self._nets(),
            } | columns  # fmt: skip
            names = ", ".join(row)
            await conn.execute(f"INSERT INTO instances ({names}) VALUES ({', '.join(f'${i + 1}' for i in range(len(row)))})", *row.values())
        return server

    async def _nets(self) -> list[dict[str, Any]]:
        return [msgspec.to_builtins(r) for r in await self.networks.check(USER, None, [], 1)]

    async def begin(self, kind: str, server: str, **input: Any) -> str:
        async with self.database.transaction() as conn:
            id = await self.conductor.engine.begin(conn, USER, kind, server, **input)
        self.conductor.engine.go([id])
        return id

    async def boot(self, **columns: Any) -> str:
        server = await self.insert(**columns)
        await self.begin("create", server)
        return server

    async def volume(self, size: int = 1) -> str:
        """The id of a new empty volume that is ready to be attached."""
        made = await self.volumes.create(USER, self.world.uuid(), Wanted(size=size))
        await self.volumes.jobs.idle()
        return made.id

    async def server(self, server: str) -> instances.Instance:
        async with self.database.connection() as conn:
            return (await instances.by_ids(conn, [server]))[server]

    async def servers(self) -> list[instances.Instance]:
        """All that live."""
        async with self.database.connection() as conn:
            return [server for server in await instances.newest_first(conn, {}, 1000) if not server.deleted]

    async def sealing_key(self, host: str) -> str:
        async with self.database.connection() as conn:
            return str(await conn.fetchval("SELECT facts ->> 'sealing_key' FROM hosts WHERE name = $1", host))

    async def settle(self, seconds: float = 20.0) -> None:
        await self.conductor.engine.idle(seconds)

    async def until(self, holds: Callable[[], Any], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while True:
                found = holds()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return
                await asyncio.sleep(0.02)

    async def violations(self) -> list[str]:
        found = await check_invariants(self.database, self.bus, list(self.workers))
        async with self.database.connection() as conn:
            lost = await conn.fetch(
                "SELECT p.id::text AS id FROM ports p LEFT JOIN instances i ON i.uuid::text = p.device_id::text AND NOT i.deleted "
                "WHERE p.device_id <> '' AND p.device_owner NOT LIKE 'network:%' AND i.uuid IS NULL"
            )
        return found + [f"INV-25 port {row['id']} belongs to no live server" for row in lost]


def device(**fields: Any) -> dict[str, Any]:
    """A volume among a server's block devices: an empty one that is made with the server and goes with it, unless told."""
    made = {"source": "blank", "size": 1, "device": "/dev/vdb", "delete_on_termination": True}
    return {"id": str(uuid.uuid4()), "kind": "volume", "boot_index": None, "tag": None} | made | fields


def identity(host: str) -> str:
    return f"00000000-0000-4000-8000-{abs(hash(host)) % 10**12:012d}"


async def stop(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def cloud(database: Database, state: Path, *, hosts: int = 2, bus: Bus | None = None, **options: Any) -> AsyncIterator[Cloud]:
    """A cloud with ``hosts`` fake hosts named host1, host2 ..."""
    told = {"conductor__poll_seconds": 0.05, "conductor__lease_seconds": 2.0, "compute__report_seconds": 0.5, "compute__down_seconds": 3.0}
    told |= {"state_dir": str(state), "network__mode": "none", "compute__driver": "fake"}
    config = load(None, {}, **(told | options))
    world = RealWorld()
    made = Cloud(database, config, bus or LocalBus(world))
    made.images = await BuiltinImages.open(database, config, world)
    made.networks = await BuiltinNetworks.open(database, config, world)
    await made.networks.bootstrap()
    made.volumes = await BuiltinVolumes.open(database, config, world, made.images)
    volumes = asyncio.create_task(made.volumes.run())
    await bootstrap.flavors(database)
    made.image_id = (await made.images.ensure_blank(service_context("req-boot"))).id
    made.journal = Journal(state / "journal.jsonl")
    await made.journal.start()
    conductor = await made.start_conductor()
    try:
        for i in range(hosts):
            await made.start_host(f"host{i + 1}")
        yield made
    finally:
        for host in list(made.workers):
            await made.stop_host(host)
        await stop(conductor)
        await stop(volumes)
        await made.journal.close()
        await made.bus.close()
        await made.volumes.close()
        await made.images.close()
