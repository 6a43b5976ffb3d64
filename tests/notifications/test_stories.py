"""What consumers hear of operations on a small cloud with fake hosts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nova_async.bus.messages import Message, Notification
from nova_async.conductor.announcements import ANNOUNCED, named
from nova_async.conductor.workflows import DEFINITIONS
from nova_async.db import Database
from nova_async.db.notifications import Waiting
from nova_async.errors import Unavailable
from nova_async.notifications.events import EVENTS
from nova_async.notifications.publisher import Publisher, notification
from nova_async.workflow.faults import FaultPoints
from tests.cloud import Cloud, cloud
from tests.conductor.test_rough_treatment import BEFORE, ENDS, given

SECRETS = ("user_data", "injected_files", "password_data", "sealed", "SECRET-CANARY")


class Hearer:
    """Everything that was told, in order."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    async def hear(self, message: Message) -> None:
        assert isinstance(message, Notification)
        self.heard.append(message.body)

    @property
    def names(self) -> list[str]:
        return [told["event_type"] for told in self.heard]


@pytest.fixture
async def told(database: Database, tmp_path: Path) -> AsyncIterator[tuple[Cloud, Hearer]]:
    options = {"notifications__enabled": True, "notifications__notify_on_state_change": "vm_and_task_state", "scheduler__max_attempts": 1}
    async with cloud(database, tmp_path, **options) as made:
        hearer = Hearer()
        for level in ("info", "error"):
            await made.bus.subscribe(f"versioned_notifications.{level}", hearer.hear)
        yield made, hearer


async def all_told(made: Cloud) -> None:
    async def nothing_waits() -> bool:
        async with made.database.connection() as conn:
            return await conn.fetchval("SELECT count(*) FROM notifications") == 0

    await made.until(nothing_waits)
    await asyncio.sleep(0)


async def done(made: Cloud, kind: str) -> str:
    """A server that has just gone through this operation."""
    made.config.compute.shelved_offload_seconds = -1 if kind == "shelveOffload" else 0
    server = await made.insert(user_data="SECRET-CANARY", password_data="SECRET-CANARY")
    for earlier in BEFORE.get(kind, ("create",)):
        await made.begin(earlier, server, **await given(made, earlier, server))
        await made.settle()
    if kind == "evacuate":
        await made.stop_host((await made.server(server)).host)
    await made.begin(kind, server, **await given(made, kind, server))
    await made.settle()
    return server


@pytest.mark.parametrize("kind", sorted(d.kind for d in DEFINITIONS if ANNOUNCED[d.kind] and d.kind in ENDS))
async def test_an_operation_that_succeeds_is_told_from_begin_to_end(told, kind):
    made, hearer = told
    server = await done(made, kind)
    await all_told(made)
    ways = ("begin", *(f"after:{s.name}" for d in DEFINITIONS if d.kind == kind for s in d.steps), "done")
    expected = named(name for moment in ways for name in ANNOUNCED[kind].get(moment, ()))
    heard = [name for name in hearer.names if name != "instance.update"]
    assert heard[-len(expected) :] == expected
    last = hearer.heard[-1]
    data = last["payload"]["nova_object.data"]
    assert data["uuid"] == server
    assert data["state"] == ENDS[kind]
    assert data["task_state"] is None
    assert not [word for word in SECRETS if word in repr(hearer.heard)]
    assert len({one["message_id"] for one in hearer.heard}) == len(hearer.heard)


@pytest.mark.parametrize(("kind", "event"), [("create", "create"), ("rebuild", "rebuild"), ("reboot", "reboot"), ("resize", "resize")])
async def test_an_operation_that_fails_is_told_with_its_reason(told, kind, event):
    made, hearer = told
    middle = {"create": "spawn", "rebuild": "rebuild_guest", "reboot": "tell_host", "resize": "send_disk"}[kind]
    steps = next(d.steps for d in DEFINITIONS if d.kind == kind)
    middle = middle if middle in {s.name for s in steps} else next(s.name for s in steps if not s.in_transaction)
    server = await made.insert()
    for earlier in BEFORE.get(kind, ("create",)):
        await made.begin(earlier, server)
        await made.settle()
    made.conductor.engine.faults = FaultPoints([f"{kind}/{middle}/before=fail"])
    await made.begin(kind, server, **await given(made, kind, server))
    await made.settle()
    await all_told(made)
    assert "compute.exception" in hearer.names
    failed = next(one for one in hearer.heard if one["event_type"] == f"instance.{event}.error")
    assert failed["priority"] == "ERROR"
    assert failed["payload"]["nova_object.data"]["fault"]["nova_object.name"] == "ExceptionPayload"


async def test_a_server_that_finds_no_host_is_told(told):
    made, hearer = told
    server = await made.insert(memory_mb=10**9, flavor_id=1)
    async with made.database.connection() as conn:
        await conn.execute("UPDATE instances SET flavor = jsonb_set(flavor, '{memory_mb}', '1000000000') WHERE uuid = $1", server)
    await made.begin("create", server)
    await made.settle()
    await all_told(made)
    told_of = next(one for one in hearer.heard if one["event_type"] == "compute_task.build_instances.error")
    reason = told_of["payload"]["nova_object.data"]["reason"]["nova_object.data"]
    assert "No valid host" in reason["exception_message"]


async def test_each_change_of_state_is_told_where_that_is_wanted(told):
    made, hearer = told
    await done(made, "create")
    await all_told(made)
    updates = [
        one["payload"]["nova_object.data"]["state_update"]["nova_object.data"]
        for one in hearer.heard
        if one["event_type"] == "instance.update"
    ]
    tasks = [update["new_task_state"] for update in updates]
    assert tasks == ["scheduling", "networking", "spawning", None]
    assert (updates[-1]["old_state"], updates[-1]["state"]) == ("building", "active")


async def test_what_the_bus_did_not_take_is_sent_later_under_the_same_id(database, tmp_path, world):
    async with cloud(database, tmp_path, notifications__enabled=True) as made:
        sent: list[str] = []

        class Bus:
            async def notify(self, topic: str, body: dict[str, Any]) -> None:
                sent.append(body["message_id"])
                if len(sent) in (2, 3):
                    raise Unavailable("away")

        made.conductor.publisher.bus = Bus()
        await made.boot()
        await made.settle()
        publisher = Publisher(made.config.notifications, made.database, Bus(), world)
        for _ in range(3):
            try:
                await publisher.publish_some()
            except Unavailable:
                continue
        async with made.database.connection() as conn:
            assert await conn.fetchval("SELECT count(*) FROM notifications") == 0
        assert sent[1] == sent[2] == sent[3]


async def test_nothing_is_written_while_notifications_are_off(database, tmp_path):
    async with cloud(database, tmp_path) as made:
        await made.boot()
        await made.settle()
        async with made.database.connection() as conn:
            assert await conn.fetchval("SELECT count(*) FROM notifications") == 0


async def test_every_payload_is_an_object_of_nova(told):
    """Made of the facts of a real server, and of a row that has every column a payload shows."""
    made, _ = told
    server = await made.insert()
    async with made.database.connection() as conn:
        row = await conn.fetchval("SELECT to_jsonb(i) FROM instances i WHERE uuid = $1", server)
    facts = {"id": 1, "uuid": server, "hosts": [], "metadata": {}, "policy": "affinity", "max_server_per_host": 3, "user_id": "u"}
    facts |= {"project_id": "p", "members": [], "binary": "nova-compute", "host": "h", "disabled_reason": None, "zone": "nova"}
    facts |= {"seen_at": "2026-01-01T00:00:00+00:00", "forced_down": False, "fingerprint": "f", "public_key": "k", "type": "ssh"}
    facts |= {key: value for key, value in row["flavor"].items() if key != "id"}
    facts |= {"instance": row, "error": {"kind": "NoCapacity", "message": "none"}, "at": "2026-01-31T12:00:00+00:00"}
    for name in EVENTS:
        payload = notification(Waiting(1, "id", name, "nova-api:h", facts, made.world.now()))["payload"]
        assert list(payload) == ["nova_object.name", "nova_object.namespace", "nova_object.version", "nova_object.data"], name
