"""The compute API over real HTTP on a real database; what stands around it is small and remembers what it was asked."""

import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from nova_async.api.app import Parts, application
from nova_async.bus.messages import Message
from nova_async.bus.messages.compute import Console, ConsoleOutput, GetConsole, GetConsoleOutput
from nova_async.config import Config
from nova_async.context import Context
from nova_async.db import Connection, Database
from nova_async.db.embedded import EmbeddedPostgres
from nova_async.errors import Conflict, Invalid, NotFound, TooLarge, Unauthorized, Unavailable
from nova_async.model.access_rules import Visit
from nova_async.model.consoles import ConsoleAddress
from nova_async.services.image import Image
from nova_async.services.network import NetworkRequest
from nova_async.services.volume import Snapshot, Volume, Wanted
from nova_async.world import RealWorld
from tests.api.contract import breach
from tests.conftest import COPIED, TEMPLATE
from tests.conftest import _administer as administer
from tests.conftest import _run as run

PROJECT = "6f70656e737461636b20342065766572"
OTHER_PROJECT = "0ba0ba0ba0ba0ba0ba0ba0ba0ba0ba00"
MISSING_PROJECT = "00000000000000000000000000000000"
IMAGE = "70a599e0-31e7-49b7-b260-868f441e862b"
SMALL_IMAGE = "155d900f-4e14-4e4c-a73d-069cbf4541e6"
QUEUED_IMAGE = "a2459075-d96c-40d5-893e-577ff92e721c"
VOLUME = "a26887c6-c47b-4654-abb5-dfadf7d3f803"
NETWORK = "6be775fa-6c0c-4f0a-9d1c-0b7e9a6a4b1c"
PORTS = [
    {
        "id": "ce531f90-199f-48c0-816c-13e38010b442",
        "network_id": NETWORK,
        "network_label": "private",
        "mac": "fa:16:3e:4c:2c:30",
        "fixed_ips": [{"address": "10.0.0.5", "subnet_id": "f8a6e8f8-c2ec-497c-9f23-da9616de54ef", "cidr": "10.0.0.0/24", "version": 4}],
    }
]

CALLERS: dict[str, Context] = {
    "reader": Context(request_id="", user_id="reader-user", project_id=PROJECT, roles=("reader",)),
    "member": Context(request_id="", user_id="member-user", project_id=PROJECT, roles=("member", "reader")),
    "colleague": Context(request_id="", user_id="colleague-user", project_id=PROJECT, roles=("member", "reader")),
    "manager": Context(request_id="", user_id="manager-user", project_id=PROJECT, roles=("manager", "member", "reader")),
    "admin": Context(request_id="", user_id="admin-user", project_id=PROJECT, roles=("admin", "manager", "member", "reader")),
    "service": Context(request_id="", user_id="service-user", project_id="5e5e5e", roles=("service",)),
    "stranger": Context(request_id="", user_id="stranger-user", project_id=OTHER_PROJECT, roles=("member", "reader")),
    "foreign_admin": Context(request_id="", user_id="foreign-admin", project_id=OTHER_PROJECT, roles=("admin", "member", "reader")),
    "system": Context(request_id="", user_id="system-user", roles=("admin", "manager", "member", "reader"), system_scope=True),
    "nobody": Context(request_id="", user_id="nobody-user", project_id=PROJECT, roles=()),
}


class TableOfTokens:
    """The token is the caller's name."""

    async def validate(self, token: str, visit: Visit | None = None) -> Context:
        if token not in CALLERS:
            raise Unauthorized()
        return CALLERS[token]

    async def has_project(self, project_id: str) -> bool:
        return project_id != MISSING_PROJECT


@dataclass
class RowStarter:
    """Inserts the rows that the engine would insert, and leaves them there until ``finish``."""

    database: Database
    world: RealWorld
    begun: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    recorded: list[tuple[str, str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    async def begin(
        self, conn: Connection, ctx: Context, kind: str, subject_id: str, *, over: frozenset[str] = frozenset(), **given: Any
    ) -> str:
        queued = (kind == "delete" or over) and await conn.fetchval(
            "SELECT count(*) FROM workflows WHERE subject_id = $1 AND state IN ('running', 'waiting', 'undoing')", subject_id
        )
        if kind == "delete":
            earlier = await conn.fetchval(
                "SELECT id FROM workflows WHERE subject_id = $1 AND kind = 'delete' AND state IN ('queued', 'running')", subject_id
            )
            if earlier:
                return str(earlier)
        task_state = {"create": "scheduling", "delete": "deleting", "stop": "powering-off"}.get(kind, f"{kind}ing")
        try:
            async with conn.transaction():
                return await self._insert(conn, ctx, kind, subject_id, "queued" if queued else "running", task_state, given)
        except asyncpg.UniqueViolationError:
            raise Conflict("Another operation on this server is still running.") from None
        finally:
            self.begun.append((kind, subject_id, given))

    async def begin_many(self, conn: Connection, ctx: Context, kind: str, subject_ids: list[str], **given: Any) -> list[str]:
        return [await self.begin(conn, ctx, kind, subject_id, **given) for subject_id in subject_ids]

    async def record(self, conn: Connection, ctx: Context, kind: str, subject_id: str, message: str = "") -> None:
        self.recorded.append((kind, subject_id, message))
        await self._insert(conn, ctx, kind, subject_id, "done", None, {})

    async def signal(self, conn: Connection, workflow_id: str, signal: str) -> bool:
        return bool(
            await conn.fetchval(
                "UPDATE workflows SET signal = $2 WHERE id = $1 AND state IN ('running', 'waiting', 'undoing') RETURNING 1",
                *(workflow_id, signal),
            )
        )

    def go(self, workflow_ids: list[str]) -> None:
        self.gone.extend(workflow_ids)

    async def finish(self, subject_id: str, **columns: Any) -> None:
        """End what is being done with a server, and set columns of its row."""
        async with self.database.transaction() as conn:
            await conn.execute(
                "UPDATE workflows SET state = 'done', task_state = NULL WHERE subject_id = $1 AND state IN ('running', 'queued')",
                subject_id,
            )
            for name, value in columns.items():
                await conn.execute(f"UPDATE instances SET {name} = $2, updated_at = now() WHERE uuid = $1", subject_id, value)

    async def _insert(self, conn: Connection, ctx: Context, kind: str, subject: str, state: str, task: str | None, given: Any) -> str:
        workflow_id = self.world.uuid()
        await conn.execute(
            "INSERT INTO workflows (id, kind, subject_id, state, task_state, input, context, request_id) VALUES ($1,$2,$3,$4,$5,$6,$7,$8)",
            *(workflow_id, kind, subject, state, task, given, msgspec.to_builtins(ctx), ctx.request_id),
        )
        return workflow_id


def image(image_id: str, **fields: Any) -> Image:
    known = {"name": "cirros", "status": "active", "disk_format": "qcow2", "size": 1000, "owner": PROJECT}
    return Image(id=image_id, **known | dict.fromkeys(("created_at", "updated_at"), "2026-01-31T12:00:00Z") | fields)


@dataclass
class ShelfOfImages:
    shelf: dict[str, Image] = field(
        default_factory=lambda: {
            IMAGE: image(IMAGE, properties={"architecture": "x86_64"}),
            SMALL_IMAGE: image(SMALL_IMAGE, min_disk=40, min_ram=4096),
            QUEUED_IMAGE: image(QUEUED_IMAGE, status="queued"),
        }
    )

    async def get(self, ctx: Context, image_id: str) -> Image:
        if image_id not in self.shelf:
            raise NotFound(f"Image {image_id} could not be found.")
        return self.shelf[image_id]

    async def create(self, ctx: Context, name: str, *, disk_format: str, properties: dict[str, str], **fields: Any) -> Image:
        made = image(str(uuid.uuid4()), name=name, status="queued", size=None, properties=properties, **fields)
        self.shelf[made.id] = made
        return made

    async def delete(self, ctx: Context, image_id: str) -> None:
        del self.shelf[image_id]

    async def find(self, ctx: Context, query: dict[str, str]) -> list[Image]:
        return [found for found in self.shelf.values() if query.get("name", found.name) == found.name]

    async def set_properties(self, ctx: Context, image_id: str, properties: dict[str, str]) -> Image:
        self.shelf[image_id] = msgspec.structs.replace(self.shelf[image_id], properties=properties)
        return self.shelf[image_id]


@dataclass
class OneNetwork:
    """Without ``offered`` there is none to choose, and one can be made."""

    offered: bool = True
    checked: list[tuple[Any, list[str], int]] = field(default_factory=list)

    async def check(
        self, ctx: Context, requests: list[NetworkRequest] | None, security_groups: list[str], count: int
    ) -> list[NetworkRequest]:
        self.checked.append((requests, security_groups, count))
        if "nonexistent" in security_groups:
            raise Invalid(f"Security group nonexistent not found for project {ctx.project_id}.")
        for request in requests or []:
            if request.network_id not in (NETWORK, None):
                raise Invalid(f"Network {request.network_id} could not be found.")
        if requests is not None:
            return requests
        return [NetworkRequest(network_id=NETWORK)] if self.offered else []

    async def check_auto(self, ctx: Context) -> None:
        return None

    async def things(self, ctx: Context, kind: str, **filters: list[str]) -> list[dict[str, Any]]:
        return []

    async def thing(self, ctx: Context, kind: str, id: str) -> dict[str, Any]:
        raise NotFound(f"{id} could not be found.")

    async def make(self, ctx: Context, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        raise Conflict("There is room for nothing more.")

    async def remove(self, ctx: Context, kind: str, id: str) -> None:
        raise NotFound(f"{id} could not be found.")

    async def ports(self, ctx: Context, *, instance_id: str) -> list[Any]:
        return []

    async def security_groups(self, ctx: Context, *, instance_id: str) -> list[str]:
        return []


def volume(volume_id: str, **fields: Any) -> Volume:
    made = {"status": "available", "size": 1, "project_id": PROJECT, "availability_zone": "nova", "volume_type": "files"}
    return Volume(id=volume_id, **made | fields)  # type: ignore[arg-type]


@dataclass
class ShelfOfVolumes:
    """Remembers what is held for whom: attachment -> (volume, server)."""

    shelf: dict[str, Volume] = field(default_factory=lambda: {VOLUME: volume(VOLUME, bootable=True)})
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    held: dict[str, tuple[str, str]] = field(default_factory=dict)

    async def get(self, ctx: Context, volume_id: str) -> Volume:
        found = self.shelf.get(volume_id)
        if found is None or (found.project_id != ctx.project_id and not ctx.is_admin):
            raise NotFound(f"Volume {volume_id} could not be found.")
        return found

    async def create(self, ctx: Context, key: str, wanted: Wanted) -> Volume:
        if wanted.size > 1000:
            raise TooLarge("VolumeSizeExceedsAvailableQuota: too much.")
        made = volume(str(uuid.uuid4()), name=wanted.name, size=wanted.size, project_id=ctx.project_id, status="creating")
        self.shelf[made.id] = made
        return made

    async def delete(self, ctx: Context, volume_id: str) -> None:
        if self.shelf[volume_id].status != "available":
            raise Invalid("Invalid volume: Volume status must be available.")
        del self.shelf[volume_id]

    async def has_type(self, ctx: Context, name: str) -> bool:
        return name == "files"

    async def find(self, ctx: Context) -> list[Volume]:
        return [found for found in self.shelf.values() if found.project_id == ctx.project_id]

    async def snapshot(self, ctx: Context, snapshot_id: str) -> Snapshot:
        if snapshot_id not in self.snapshots:
            raise NotFound(f"Snapshot {snapshot_id} could not be found.")
        return self.snapshots[snapshot_id]

    async def create_snapshot(self, ctx: Context, key: str, volume_id: str, name: str, description: str) -> Snapshot:
        source = await self.get(ctx, volume_id)
        made = Snapshot(id=str(uuid.uuid4()), volume_id=volume_id, name=name, description=description, status="creating", size=source.size)
        self.snapshots[made.id] = made
        return made

    async def delete_snapshot(self, ctx: Context, snapshot_id: str) -> None:
        del self.snapshots[snapshot_id]

    async def find_snapshots(self, ctx: Context) -> list[Snapshot]:
        return list(self.snapshots.values())

    async def reserve(self, ctx: Context, volume_id: str, instance_id: str) -> str:
        found = await self.get(ctx, volume_id)
        self.shelf[volume_id] = msgspec.structs.replace(found, status="reserved", holders={instance_id: None})
        attachment = str(uuid.uuid4())
        self.held[attachment] = (volume_id, instance_id)
        return attachment

    async def begin_detaching(self, ctx: Context, attachment_id: str) -> bool:
        """Attachments that the test did not make are of ``VOLUME``."""
        volume_id, _ = self.held.get(attachment_id, (VOLUME, ""))
        found = self.shelf[volume_id]
        if found.status not in ("in-use", "detaching"):
            raise Invalid(f"Invalid volume: Volume {volume_id} status must be in-use to detach, but the current status is {found.status}.")
        self.shelf[volume_id] = msgspec.structs.replace(found, status="detaching")
        return found.status == "in-use"

    async def complete(self, ctx: Context, attachment_id: str) -> None:
        volume_id, _ = self.held.get(attachment_id, (VOLUME, ""))
        self.shelf[volume_id] = msgspec.structs.replace(self.shelf[volume_id], status="in-use")

    async def free(self, ctx: Context, attachment_id: str) -> None:
        volume_id, _ = self.held.pop(attachment_id)
        self.shelf[volume_id] = msgspec.structs.replace(self.shelf[volume_id], status="available", holders={})


@dataclass
class Hosts:
    up: set[str] = field(default_factory=lambda: {"host1"})

    def is_heard(self, host: str) -> bool:
        return host in self.up

    def last_seen(self, host: str) -> datetime | None:
        return datetime.now(UTC) if host in self.up else None


@dataclass
class OneHostBus:
    """Answers console questions for host1; nobody else is there."""

    called: list[tuple[str, Message]] = field(default_factory=list)
    console_port: int = 5900

    async def call(self, target: str, message: Message, *, timeout: float) -> Message:
        self.called.append((target, message))
        if target == "compute.host1" and isinstance(message, GetConsole):
            return self.console(message)
        if target == "compute.host1" and isinstance(message, GetConsoleOutput):
            return ConsoleOutput(output="login: \x1b[0m")
        raise Unavailable("The host does not answer.")

    def console(self, message: GetConsole) -> Console:
        if message.console_type == "serial":
            raise Invalid("Unavailable console type serial.")
        return Console(address=ConsoleAddress(host="192.0.2.1", port=self.console_port, tls_port=5901))

    async def cast(self, target: str, message: Message) -> None:
        self.called.append((target, message))

    async def publish(self, topic: str, message: Message) -> None:
        self.called.append((topic, message))


class Answer:
    """Status, headers and body of a response."""

    def __init__(self, status: int, headers: Any, raw: bytes) -> None:
        self.status, self.headers, self.raw = status, headers, raw

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def message(self) -> str:
        (inner,) = self.body.values()
        return inner["message"]  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"{self.status} {self.raw[:500]!r}"


class Api:
    """A client: ``await api.get("/servers", "reader", "2.26")``. Paths start after /compute/v2.1.

    Answers are ``held`` against the route table: a status or a body that it does not promise fails the test.
    """

    def __init__(self, client: TestClient[Any, Any], *, held: bool = True) -> None:
        self.client, self.held = client, held
        self.parts: Parts
        self.starter: RowStarter
        self.images: ShelfOfImages
        self.networks: OneNetwork
        self.volumes: ShelfOfVolumes
        self.hosts: Hosts
        self.bus: OneHostBus
        self.database: Database

    async def ask(
        self, method: str, path: str, caller: str | None = "member", version: str | None = None, body: Any = None, **more: Any
    ) -> Answer:
        headers = dict(more.pop("headers", {}))
        if caller is not None:
            headers["X-Auth-Token"] = caller
        if version is not None:
            headers["OpenStack-API-Version"] = f"compute {version}"
        if body is not None:
            more["data"] = body if isinstance(body, bytes) else json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        root = more.pop("root", "/compute/v2.1")
        async with self.client.request(method, root + path, headers=headers, allow_redirects=False, **more) as response:
            assert "Set-Cookie" not in response.headers, "SEC-050: nothing here knows anybody by a cookie"
            answer = Answer(response.status, response.headers, await response.read())
        if self.held and root == "/compute/v2.1":
            wrong = breach(method, path, version, body, answer.status, answer.raw)
            assert wrong is None, f"{method} {path} at {version}: {wrong}"
        return answer

    async def get(self, path: str, caller: str | None = "member", version: str | None = None, **more: Any) -> Answer:
        return await self.ask("GET", path, caller, version, **more)

    async def post(self, path: str, body: Any, caller: str | None = "member", version: str | None = None, **more: Any) -> Answer:
        return await self.ask("POST", path, caller, version, body, **more)

    async def put(self, path: str, body: Any, caller: str | None = "member", version: str | None = None, **more: Any) -> Answer:
        return await self.ask("PUT", path, caller, version, body, **more)

    async def delete(self, path: str, caller: str | None = "member", version: str | None = None, **more: Any) -> Answer:
        return await self.ask("DELETE", path, caller, version, **more)

    async def flavor(self, flavorid: str = "1", **fields: Any) -> dict[str, Any]:
        """A new flavor, made by the administrator."""
        asked = {"id": flavorid, "name": f"m1.{flavorid}", "ram": 512, "vcpus": 1, "disk": 1} | fields
        answer = await self.post("/flavors", {"flavor": asked}, "admin", "2.55")
        assert answer.status == 200, answer
        return answer.body["flavor"]  # type: ignore[no-any-return]

    async def server(self, caller: str = "member", state: str | None = "active", **fields: Any) -> str:
        """The id of a new server, made by ``caller``, settled in ``state`` on host1 (None: left as it is, being built)."""
        async with self.database.connection() as conn:
            known = await conn.fetchval("SELECT count(*) FROM flavors WHERE flavorid = '1'")
        if not known:
            await self.flavor("1")
        answer = await self.post("/servers", {"server": {"name": "web", "imageRef": IMAGE, "flavorRef": "1"} | fields}, caller)
        assert answer.status == 202, answer
        server_id: str = answer.body["server"]["id"]
        if state is not None:
            await self.settle(server_id, state)
        return server_id

    async def settle(self, server_id: str, state: str = "active", **columns: Any) -> None:
        """As if the conductor had finished: on host1, with an address."""
        placed = {"host": "host1", "node": "host1", "availability_zone": "nova", "launched_at": datetime.now(UTC), "ports": PORTS}
        await self.starter.finish(server_id, vm_state=state, power_state=1, **placed | columns)

    async def act(self, server_id: str, action: str, value: Any = None, caller: str = "member", version: str | None = None) -> Answer:
        return await self.post(f"/servers/{server_id}/action", {action: value}, caller, version)


@pytest.fixture(scope="session")
def shared_database(postgres: EmbeddedPostgres) -> tuple[str, str]:
    """The URL of one database for all tests of the API, and the statements that empty it.

    Making a database for each of a thousand short tests would take most of their time.
    """
    name = f"api_{uuid.uuid4().hex[:8]}"
    return run(_make_database(postgres, name))  # type: ignore[no-any-return]


async def _make_database(postgres: EmbeddedPostgres, name: str) -> tuple[str, str]:
    await administer(postgres, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} {COPIED}")
    url = postgres.database_url(name)
    conn = await asyncpg.connect(url, timeout=10)
    try:
        tables = [
            f"{r[0]}.{r[1]}" for r in await conn.fetch("SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('api', 'cell')")
        ]
        emptied = [table for table in tables if not await conn.fetchval(f"SELECT EXISTS (SELECT FROM {table})")]
        sequences = await conn.fetch("SELECT schemaname, sequencename FROM pg_sequences WHERE schemaname IN ('api', 'cell')")
    finally:
        await conn.close()
    deletes = "".join(f"DELETE FROM {table};" for table in emptied)
    restarts = "".join(f"SELECT setval('{r[0]}.{r[1]}', 1, false);" for r in sequences)
    return url, f"SET session_replication_role = replica; {deletes} {restarts} SET session_replication_role = origin;"


@pytest.fixture
async def database(shared_database: tuple[str, str]) -> AsyncIterator[Database]:
    """Empty, as after the migrations."""
    url, empty = shared_database
    pool = await Database.connect(url)
    async with pool.connection() as conn:
        await conn.execute(empty)
    yield pool
    await pool.close()


@pytest.fixture
def config() -> Config:
    return Config()


@pytest.fixture
async def api(database: Database, world: RealWorld, config: Config) -> AsyncIterator[Api]:
    starter, images, networks, hosts, bus = RowStarter(database, world), ShelfOfImages(), OneNetwork(), Hosts(), OneHostBus()
    volumes = ShelfOfVolumes()
    parts = Parts(config, world, database, bus, starter, TableOfTokens(), images, networks, volumes, hosts)  # type: ignore[arg-type]
    outer = web.Application()
    outer.add_subapp("/compute", application(parts))
    async with TestClient(TestServer(outer)) as client:
        api = Api(client)
        api.parts, api.starter, api.images, api.networks, api.hosts, api.bus = parts, starter, images, networks, hosts, bus
        api.volumes, api.database = volumes, database
        yield api
