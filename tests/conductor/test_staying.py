"""Servers whose host may not run them any more: it lost a trait that they require, or a rule of the operator's changed."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nova_async.context import service_context
from nova_async.db import Database, instances
from nova_async.virt.driver import GuestInfo
from tests.cloud import Cloud, cloud

# kind of the operation, its input, and what is done with the running server before
BRINGS_UP: list[tuple[str, dict[str, Any], str | None]] = [
    ("start", {}, "stop"),
    ("reboot", {"type": "SOFT"}, None),
    ("reboot", {"type": "HARD"}, None),
    ("resume", {}, "suspend"),
    ("rescue", {}, None),
    ("rebuild", {"preserve_ephemeral": False}, None),
    ("unshelve", {}, "shelve"),
]
SUPPORTED = 'jsonb_set(facts, \'{supported_instances}\', \'[["s390x", "kvm", "hvm"]]\')'
LOSSES = {  # what the server asks for, what becomes of the host, and what is said then
    "trait": ({"image_properties": {"trait:CUSTOM_TRUSTED": "required"}}, "traits = '[]'", "it lacks the trait CUSTOM_TRUSTED"),
    "flavor": ({"extra_specs": {"trait:CUSTOM_TRUSTED": "required"}}, "traits = '[]'", "it lacks the trait CUSTOM_TRUSTED"),
    "architecture": ({"image_properties": {"hw_architecture": "x86_64"}}, f"facts = {SUPPORTED}", "ImagePropertiesFilter"),
}
FORCED = {"system_metadata": {"placement": {"forced_host": "host1"}}}


@pytest.fixture
async def one(database: Database, tmp_path: Path) -> AsyncIterator[Cloud]:
    async with cloud(database, tmp_path, hosts=1, compute__shelved_offload_seconds=-1) as made:
        await become(made, "traits = '[\"CUSTOM_TRUSTED\"]'")
        yield made
        assert await made.violations() == []


async def become(made: Cloud, what: str) -> None:
    """The host is something else, and the scheduler knows."""
    async with made.database.connection() as conn:
        await conn.execute(f"UPDATE hosts SET {what}")
    await made.conductor.desk.refresh()


async def done(made: Cloud, kind: str, server: str, **given: Any) -> instances.Instance:
    await made.begin(kind, server, **given)
    await made.settle()
    return await made.server(server)


async def ground(made: Cloud, prepares: str | None, columns: dict[str, Any]) -> str:
    """A server that was placed under the old rules."""
    async with made.database.connection() as conn:
        flavor = await conn.fetchval("SELECT to_jsonb(f) FROM flavors f WHERE name = 'm1.tiny'")
    wanted = dict(columns)
    server = await made.boot(flavor=flavor | {"extra_specs": wanted.pop("extra_specs", {})}, **wanted)
    await made.settle()
    if prepares == "shelve":
        image = await made.images.ensure_blank(service_context("req-shelf"), "shelf")
        await done(made, "shelve", server, image_id=image.id)
    elif prepares:
        await done(made, prepares, server)
    return server


@pytest.mark.parametrize("loss", LOSSES)
async def test_no_guest_is_brought_up_again_where_it_may_not_be(one: Cloud, loss: str) -> None:
    """SEC-076, SEC-024: by start, reboot, resume, rescue, rebuild or unshelve; server and guest are what they were."""
    wanted, change, words = LOSSES[loss]
    servers = [await ground(one, prepares, wanted) for _, _, prepares in BRINGS_UP]
    before = [(await one.server(server), await guest(one, server)) for server in servers]
    assert all(row.host == "host1" and row.fault is None for row, _ in before)
    await become(one, change)
    for (kind, given, _), server, (row, was) in zip(BRINGS_UP, servers, before, strict=True):
        more = {"image_id": one.image_id} if kind == "rebuild" else {}
        after = await done(one, kind, server, **given, **more)
        assert words in (after.fault or {}).get("message", ""), kind
        assert (after.vm_state, after.task_state, after.host) == (row.vm_state, None, "host1"), kind
        assert await guest(one, server) == was, kind


async def guest(made: Cloud, server: str) -> GuestInfo:
    return await made.drivers["host1"].guest(server)


async def test_where_all_is_as_it_was_they_are_brought_up(one: Cloud) -> None:
    for kind, given, prepares in BRINGS_UP:
        server = await ground(one, prepares, LOSSES["trait"][0] | LOSSES["flavor"][0])
        more = {"image_id": one.image_id} if kind == "rebuild" else {}
        after = await done(one, kind, server, **given, **more)
        assert (after.fault, after.task_state, after.vm_state) == (None, None, "rescued" if kind == "rescue" else "active"), kind


async def test_a_server_that_was_forced_onto_its_host_is_held_to_traits_alone(one: Cloud) -> None:
    """As when it was placed."""
    server = await ground(one, "stop", LOSSES["architecture"][0] | FORCED)
    trusting = await ground(one, "stop", LOSSES["flavor"][0] | FORCED)
    await become(one, LOSSES["architecture"][1])
    await become(one, LOSSES["trait"][1])
    assert (await done(one, "start", server)).vm_state == "active"
    assert (await done(one, "start", trusting)).vm_state == "stopped"
