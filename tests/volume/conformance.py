"""What holds for every ``VolumeService``, told as stories of a project and its neighbour."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from nova_async.context import Context
from nova_async.errors import Error, Invalid, NotFound
from nova_async.services.volume import Volume, VolumeService, Wanted

__all__ = ["ALL", "SERVER", "Place", "Story", "Wanted"]
SERVER = "11111111-2222-4333-8444-555555555555"
OTHER = "22222222-2222-4333-8444-555555555555"
NOWHERE = "99999999-2222-4333-8444-555555555555"
LOOKS, LOOK_SECONDS = 240, 0.25


@dataclass
class Place:
    """``owner`` and ``neighbor`` are of two projects; ``settled`` lets work go on; ``hosts``: two names of hosts.

    ``kind``: the type of its volumes; None: that of all volumes.
    """

    volumes: VolumeService
    owner: Context
    neighbor: Context
    settled: Callable[[], Awaitable[None]]
    hosts: tuple[str, str]
    kind: str | None = None
    names: list[str] = field(default_factory=lambda: [str(uuid.uuid4())])

    def key(self, name: str) -> str:
        """Not met with in an earlier story of the same service."""
        return f"{self.names[0]}/{name}"

    async def volume(self, name: str = "volume") -> str:
        made = await self.volumes.create(self.owner, self.key(name), Wanted(size=1, name=name, volume_type=self.kind))
        await self.until(made.id, "available")
        return made.id

    async def until(self, volume_id: str, status: str) -> Volume:
        for _ in range(LOOKS):
            await self.settled()
            volume = await self.volumes.get(self.owner, volume_id)
            assert status.startswith("error") or not volume.status.startswith("error"), volume
            if volume.status == status:
                return volume
            await asyncio.sleep(LOOK_SECONDS)
        raise AssertionError(f"{volume.status} instead of {status}")

    async def gone(self, volume_id: str) -> None:
        for _ in range(LOOKS):
            await self.settled()
            try:
                await self.volumes.get(self.owner, volume_id)
            except NotFound:
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise AssertionError(f"{volume_id} is still there")

    def connector(self, host: int) -> dict[str, Any]:
        return {"host": self.hosts[host], "ip": "127.0.0.1", "platform": "x86_64", "os_type": "linux", "multipath": False}


Story = Callable[[Place], Awaitable[None]]


async def made_once_and_found_again(place: Place) -> None:
    volumes, ctx = place.volumes, place.owner
    assert await volumes.made(ctx, place.key("a")) is None
    made = await volumes.create(ctx, place.key("a"), Wanted(size=1, name="a", metadata={"color": "red"}))
    again = await volumes.create(ctx, place.key("a"), Wanted(size=1, name="a"))
    assert (again.id, made.size) == (made.id, 1)
    shown = await place.until(made.id, "available")
    assert (shown.name, shown.project_id, shown.metadata, shown.holders) == ("a", ctx.project_id, {"color": "red"}, {})
    assert made.id in [one.id for one in await volumes.find(ctx)]
    found = await volumes.made(ctx, place.key("a"))
    assert found is not None
    assert found.id == made.id
    await volumes.delete(ctx, made.id)
    await place.gone(made.id)
    await volumes.delete(ctx, made.id)
    assert await volumes.made(ctx, place.key("a")) is None


async def unseen_by_neighbors(place: Place) -> None:
    volume = await place.volume()
    for ask in (place.volumes.get(place.neighbor, volume), place.volumes.get(place.owner, NOWHERE), place.volumes.get(place.owner, "x")):
        with pytest.raises(NotFound):
            await ask
    assert volume not in [one.id for one in await place.volumes.find(place.neighbor)]
    await place.volumes.delete(place.neighbor, volume)
    with pytest.raises(NotFound):
        await place.volumes.reserve(place.neighbor, volume, SERVER)
    assert (await place.volumes.get(place.owner, volume)).status == "available"
    await place.volumes.discard(place.owner, volume)
    await place.gone(volume)


async def kept_reached_had_and_freed(place: Place) -> None:
    volumes, ctx, volume = place.volumes, place.owner, await place.volume()
    attachment = await volumes.reserve(ctx, volume, SERVER)
    assert await volumes.reserve(ctx, volume, SERVER) == attachment
    assert (await volumes.get(ctx, volume)).status == "reserved"
    with pytest.raises(Invalid):
        await volumes.reserve(ctx, volume, OTHER)
    with pytest.raises(Invalid):
        await volumes.begin_detaching(ctx, attachment)
    for _ in range(2):
        assert await volumes.connect(ctx, attachment, place.connector(0), "/dev/vdb") == attachment
    assert (await volumes.connection(attachment))["driver_volume_type"]
    for _ in range(2):
        await volumes.complete(ctx, attachment)
    had = await volumes.get(ctx, volume)
    assert (had.status, had.holders) == ("in-use", {SERVER: "/dev/vdb"})
    assert await volumes.connect(ctx, attachment, place.connector(0), "/dev/vdb") == attachment
    assert [(one.id, one.volume_id) for one in await volumes.attachments(ctx, SERVER)] == [(attachment, volume)]
    assert [await volumes.begin_detaching(ctx, attachment) for _ in range(2)] == [True, False]
    assert (await volumes.get(ctx, volume)).status == "detaching"
    await volumes.complete(ctx, attachment)
    assert (await volumes.get(ctx, volume)).status == "in-use"
    for _ in range(2):
        await volumes.free(ctx, attachment)
    assert (await place.until(volume, "available")).holders == {}
    assert await volumes.attachments(ctx, SERVER) == []
    await volumes.delete(ctx, volume)
    await place.gone(volume)


async def brought_to_another_host(place: Place) -> None:
    """By way of two attachments, or of one that changes hands."""
    volumes, ctx, volume = place.volumes, place.owner, await place.volume()
    first = await volumes.connect(ctx, await volumes.reserve(ctx, volume, SERVER), place.connector(0), "/dev/vdb")
    await volumes.complete(ctx, first)
    second = await volumes.connect(ctx, first, place.connector(1), "/dev/vdb")
    await volumes.complete(ctx, second)
    if second != first:
        assert await volumes.connect(ctx, first, place.connector(1), "/dev/vdb") == second, "it is not safe to repeat"
        await volumes.free(ctx, first)
    assert (await volumes.connection(second))["driver_volume_type"]
    assert (await place.until(volume, "in-use")).holders == {SERVER: "/dev/vdb"}
    none = await volumes.disconnect(ctx, second)
    assert await volumes.disconnect(ctx, none) == none
    if none != second:
        await volumes.free(ctx, second)
    assert (await volumes.get(ctx, volume)).status == "reserved"
    with pytest.raises(Error):
        await volumes.connection(none)
    back = await volumes.connect(ctx, none, place.connector(0), "/dev/vdb")
    await volumes.complete(ctx, back)
    assert [one.id for one in await volumes.attachments(ctx, SERVER)] == [back]
    await volumes.free(ctx, back)
    await place.until(volume, "available")
    await volumes.delete(ctx, volume)
    await place.gone(volume)


async def joined_while_a_server_moves(place: Place) -> None:
    volumes, ctx, volume = place.volumes, place.owner, await place.volume()
    first = await volumes.connect(ctx, await volumes.reserve(ctx, volume, SERVER), place.connector(0), "/dev/vdb")
    await volumes.complete(ctx, first)
    joined = await volumes.join(ctx, first, place.connector(1))
    assert joined != first
    await volumes.free(ctx, joined)
    assert (await place.until(volume, "in-use")).holders.keys() == {SERVER}, "it was called off"
    joined = await volumes.join(ctx, first, place.connector(1))
    assert (await volumes.connection(joined))["driver_volume_type"]
    await volumes.settle(ctx, first, joined)
    assert [one.id for one in await volumes.attachments(ctx, SERVER)] == [joined]
    assert (await place.until(volume, "in-use")).holders == {SERVER: "/dev/vdb"}
    await volumes.free(ctx, joined)
    await place.until(volume, "available")
    await volumes.delete(ctx, volume)
    await place.gone(volume)


async def copied_by_snapshots(place: Place) -> None:
    volumes, ctx, volume = place.volumes, place.owner, await place.volume()
    made = await volumes.create_snapshot(ctx, place.key("s"), volume, "s", "told")
    assert (await volumes.create_snapshot(ctx, place.key("s"), volume, "s", "told")).id == made.id
    for _ in range(LOOKS):
        await place.settled()
        if (shown := await volumes.snapshot(ctx, made.id)).status == "available":
            break
        await asyncio.sleep(LOOK_SECONDS)
    assert (shown.status, shown.volume_id, shown.name, shown.size) == ("available", volume, "s", 1)
    assert [one.id for one in await volumes.find_snapshots(ctx)] == [made.id]
    assert await volumes.find_snapshots(place.neighbor) == []
    with pytest.raises(NotFound):
        await volumes.snapshot(place.neighbor, made.id)
    copy = await volumes.create(ctx, place.key("copy"), Wanted(size=1, snapshot_id=made.id))
    assert (await place.until(copy.id, "available")).snapshot_id == made.id
    await volumes.delete(ctx, copy.id)
    await place.gone(copy.id)
    await volumes.discard_snapshot(ctx, place.key("s"))
    for _ in range(LOOKS):
        await place.settled()
        if await volumes.find_snapshots(ctx) == []:
            break
        await asyncio.sleep(LOOK_SECONDS)
    await volumes.discard_snapshot(ctx, place.key("s"))
    await volumes.delete_snapshot(ctx, made.id)
    await volumes.delete(ctx, volume)
    await place.gone(volume)


ALL: list[Story] = [
    made_once_and_found_again,
    unseen_by_neighbors,
    kept_reached_had_and_freed,
    brought_to_another_host,
    joined_while_a_server_moves,
    copied_by_snapshots,
]
