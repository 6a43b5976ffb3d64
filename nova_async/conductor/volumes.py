"""A server's volumes, and how they are held for it at the volume service.

A block device of the kind ``volume`` in a server's row: ``id`` (its own), ``source`` (volume, image, snapshot, blank), ``volume_id`` once
there is one, ``attachment_id`` while the volume service holds it for the server, ``device`` (/dev/vdb), ``size`` (GiB), ``boot_index``,
``delete_on_termination``, ``tag``, ``bus``, ``shared``, ``serial`` (the id of the volume that it was first), and, for one that is made,
``image_id``, ``snapshot_id``, ``volume_type``.
"""

from typing import Any

from nova_async import log
from nova_async.conductor.parts import Run
from nova_async.conductor.servers import instance_of
from nova_async.db import server_volumes
from nova_async.errors import Error, NotFound, Unavailable
from nova_async.workflow.steps import Wait

Device = dict[str, Any]
WRITTEN = frozenset({"creating", "downloading", "extending", "uploading"})
logger = log.get("conductor.volumes")


def held(devices: list[Device]) -> list[Device]:
    """Those that the volume service holds for their server."""
    return [device for device in devices if device.get("kind") == "volume" and device.get("attachment_id")]


def look_again(run: Run) -> Wait:
    """When to ask anew whether the volume service is done: soon in a young operation, every half second in one that takes long."""
    age = (run.world.now() - run.row.created_at).total_seconds()
    return Wait(min(0.5, max(0.05, age / 4)))


def connector(run: Run, host: str) -> dict[str, Any]:
    """What a volume service is told of a host, in os-brick's words; ``party``: who it is by its certificate."""
    state = run.parts.scheduler.table.by_name.get(host)
    facts = state.row.facts if state else {}
    return {
        "host": host,
        "ip": state.row.address if state else "",
        "platform": "x86_64",
        "os_type": "linux",
        "multipath": False,
        "do_local_attach": False,
        **{name: facts[name] for name in ("initiator", "party") if facts.get(name)},
    }


async def hold(run: Run, device: Device, host: str | None) -> Device:
    """Keep the volume for the server, and let the host reach it; returns the device with its attachment. Safe to repeat."""
    volumes = run.parts.volumes
    attachment = device.get("attachment_id") or await volumes.reserve(run.ctx, device["volume_id"], run.subject_id)
    if host is not None:
        attachment = await volumes.connect(run.ctx, attachment, connector(run, host), device["device"])
    return device | {"attachment_id": attachment}


async def bring_to(run: Run, host: str) -> None:
    """Let another host reach the server's volumes, or ("") none. The row follows where the volume service renames what it holds.

    Safe to repeat: what the row does not name any more is freed by whoever comes next.
    """
    instance = await instance_of(run)
    before = held(instance.block_devices)
    if not before:
        return
    renamed: dict[str, str] = {}
    for device in before:
        old = device["attachment_id"]
        if host:
            new = await run.parts.volumes.connect(run.ctx, old, connector(run, host), device["device"])
            await run.parts.volumes.complete(run.ctx, new)
        else:
            new = await run.parts.volumes.disconnect(run.ctx, old)
        if new != old:
            renamed[old] = new
    if renamed:
        devices = [d | {"attachment_id": renamed.get(d["attachment_id"], d["attachment_id"])} if "attachment_id" in d else d
                   for d in instance.block_devices]  # fmt: skip
        async with run.parts.database.transaction() as conn:
            await server_volumes.set_devices(conn, run.subject_id, devices)
        instance.block_devices = devices
    await _free_doubles(run, held(instance.block_devices))


async def _free_doubles(run: Run, devices: list[Device]) -> None:
    """Second attachments of volumes that the server has."""
    known = {device["volume_id"]: device["attachment_id"] for device in devices}
    for one in await run.parts.volumes.attachments(run.ctx, run.subject_id):
        if one.volume_id in known and one.id != known[one.volume_id]:
            await run.parts.volumes.free(run.ctx, one.id)


async def join_at(run: Run, host: str) -> dict[str, str]:
    """Let a second host reach the server's volumes, beside its own: attachment -> the one for that host. Safe to repeat."""
    devices = held((await instance_of(run)).block_devices)
    return {d["attachment_id"]: await run.parts.volumes.join(run.ctx, d["attachment_id"], connector(run, host)) for d in devices}


def joined(devices: list[Device], attachments: dict[str, str]) -> list[Device]:
    """The block devices with what ``join_at`` returned in place of what they had. Safe to repeat."""
    return [d | {"attachment_id": attachments[d["attachment_id"]]} if d.get("attachment_id") in attachments else d for d in devices]


async def settle_at(run: Run, attachments: dict[str, str]) -> None:
    """The server is on the second host, and its row says so: the first reaches its volumes no more. Safe to repeat."""
    for old, new in attachments.items():
        await run.parts.volumes.settle(run.ctx, old, new)


async def stay(run: Run) -> None:
    """The server is where it was: no other host reaches its volumes. Safe to repeat."""
    devices = held((await instance_of(run)).block_devices)
    if devices:
        await let_go(run, keep=frozenset(d["attachment_id"] for d in devices))


async def let_go(run: Run, *, keep: frozenset[str] = frozenset()) -> None:
    """The volume service holds nothing for the server any more, but the attachments to ``keep``. Safe to repeat."""
    for attachment in await run.parts.volumes.attachments(run.ctx, run.subject_id):
        if attachment.id not in keep:
            await run.parts.volumes.free(run.ctx, attachment.id)


async def delete_quietly(run: Run, volume_id: str) -> None:
    """One that cannot be deleted (it has snapshots, say) stays its owner's. Raises ``Unavailable`` while it is being written."""
    try:
        await run.parts.volumes.delete(run.ctx, volume_id)
    except Unavailable:
        raise
    except Error as error:
        if await _is_being_written(run, volume_id):
            raise Unavailable(f"Volume {volume_id} is still being written.") from None
        logger.warning("volume.left", volume=volume_id, error=error.message)


async def _is_being_written(run: Run, volume_id: str) -> bool:
    try:
        return (await run.parts.volumes.get(run.ctx, volume_id)).status in WRITTEN
    except NotFound:
        return False


def key_of(run: Run, device: Device) -> str:
    """The name under which the volume service is asked to make a device's volume, once for each host that is tried."""
    return f"server-volume/{run.subject_id}/{device['id']}/{run.results['claim_host']['generation']}"
