"""A server that gets another image where it is, for good or to be rescued."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nova_async.context import service_context
from nova_async.db import Database, instances
from tests.cloud import Cloud, cloud


@pytest.fixture
async def one(database: Database, tmp_path: Path) -> AsyncIterator[Cloud]:
    async with cloud(database, tmp_path, hosts=1) as made:
        yield made
        assert await made.violations() == []


async def rebuilt(made: Cloud, server: str, properties: dict[str, Any]) -> instances.Instance:
    """As the API begins it: the row has the new image's properties already."""
    row, image = await made.server(server), await made.images.ensure_blank(service_context("req-image"), "other")
    was = {"image_id": row.image_id, "image_properties": row.image_properties}
    async with made.database.connection() as conn:
        await instances.change(conn, server, image_id=image.id, image_properties=properties)
    await made.begin("rebuild", server, image_id=image.id, preserve_ephemeral=False, was=was)
    await made.settle()
    return await made.server(server)


@pytest.mark.parametrize(
    ("properties", "words"),
    [({"trait:CUSTOM_GOLD": "required"}, "it lacks the trait CUSTOM_GOLD"), ({"hw_architecture": "s390x"}, "ImagePropertiesFilter")],
    ids=["trait", "architecture"],
)
async def test_a_host_that_may_not_have_the_image_keeps_the_server_as_it_was(one: Cloud, properties: dict[str, Any], words: str) -> None:
    """SEC-024."""
    server = await one.boot()
    await one.settle()
    before = await one.server(server)
    one.faults["host1"].fail("rebuild")  # whoever asks the host all the same leaves an ERROR behind
    after = await rebuilt(one, server, properties)
    assert (after.vm_state, after.task_state) == ("active", None)
    assert (after.image_id, after.image_properties) == (before.image_id, before.image_properties)
    assert words in after.fault["message"]


async def test_an_image_that_the_host_may_have_is_taken(one: Cloud) -> None:
    server = await one.boot()
    await one.settle()
    after = await rebuilt(one, server, {"os_distro": "debian"})
    assert (after.vm_state, after.image_properties, after.fault) == ("active", {"os_distro": "debian"}, None)


@pytest.mark.parametrize(("wanted", "words"), [({}, None), ({"trait:CUSTOM_GOLD": "required"}, "it lacks the trait CUSTOM_GOLD")])
async def test_an_image_that_rescues_is_held_against_the_host_too(one: Cloud, wanted: dict[str, str], words: str | None) -> None:
    """SEC-024"""
    server, ctx = await one.boot(), service_context("req-image")
    await one.settle()
    image = await one.images.ensure_blank(ctx, "rescuing")
    await one.images.set_properties(ctx, image.id, wanted)
    await one.begin("rescue", server, image_id=image.id)
    await one.settle()
    after = await one.server(server)
    if words is None:
        assert (after.vm_state, after.task_state, after.fault) == ("rescued", None, None)
    else:
        assert (after.vm_state, after.task_state) == ("active", None)
        assert words in after.fault["message"]
