"""What a worker does for each command: one line of the table each, one call of the driver each."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from nova_async import keys
from nova_async.bus.messages.compute import (
    AbortLive,
    AttachPort,
    AttachVolume,
    Command,
    ConfirmMove,
    CrashDump,
    Destroy,
    DetachPort,
    DetachVolume,
    ExtendVolume,
    FinishLive,
    FinishMove,
    LiveMigrate,
    MergeVolume,
    Pause,
    PowerOff,
    PowerOn,
    PrepareLive,
    Reboot,
    Rebuild,
    ReceiveDisk,
    Rescue,
    Resume,
    RevertMove,
    SendDisk,
    SetPassword,
    Snapshot,
    SnapshotVolume,
    Spawn,
    Suspend,
    SwapVolume,
    Unpause,
    Unrescue,
)
from nova_async.context import service_context
from nova_async.errors import Error, Unsupported
from nova_async.sealed import SealingKey
from nova_async.services.image import ImageService
from nova_async.virt.driver import Driver, Progress


class Tools(msgspec.Struct, frozen=True):
    """What operations work with. ``images`` is None where this worker knows no image service."""

    driver: Driver
    images: ImageService | None
    key: SealingKey


Operation = Callable[[Tools, Any, Progress], Awaitable[Any]]  # a dict is the command's result, anything else is none


async def _snapshot(tools: Tools, c: Snapshot, progress: Progress) -> None:
    """An image that is there already was sent by an earlier run, whose word was lost."""
    if tools.images is None:
        raise Unsupported("This host knows no image service to send snapshots to.")
    ctx = service_context(c.request_id)
    if (await tools.images.get(ctx, c.image_id)).status == "active":
        return
    progress(None, "taking the snapshot")
    async with tools.driver.snapshot(c.guest) as data:
        await tools.images.upload(ctx, c.image_id, data)


async def _set_password(tools: Tools, c: SetPassword, progress: Progress) -> dict[str, Any]:
    password = tools.key.open(c.sealed)
    try:
        await tools.driver.set_password(c.guest, password)
    except Error:
        raise
    except Exception as error:  # whose words may hold the password
        raise Error("The host met an unexpected error.", detail=type(error).__name__) from None
    return {"encrypted": await keys.encrypted(c.public_key, password)} if c.public_key.startswith(keys.RSA) else {}


async def _abort(tools: Tools, c: AbortLive, progress: Progress) -> dict[str, Any]:
    return {"moved": await tools.driver.abort_live(c.instance_id)}


OPERATIONS: dict[type[Command], Operation] = {
    Spawn: lambda t, c, progress: t.driver.spawn(c.guest, c.generation, progress),
    Destroy: lambda t, c, progress: t.driver.destroy(c.instance_id, delete_disks=c.delete_disks),
    PowerOn: lambda t, c, progress: t.driver.power_on(c.guest, c.generation),
    PowerOff: lambda t, c, progress: t.driver.power_off(c.instance_id, timeout=float(c.timeout_seconds), retry=float(c.retry_seconds)),
    Reboot: lambda t, c, progress: t.driver.reboot(c.guest, c.generation, hard=c.hard),
    Pause: lambda t, c, progress: t.driver.pause(c.instance_id),
    Unpause: lambda t, c, progress: t.driver.unpause(c.instance_id),
    Suspend: lambda t, c, progress: t.driver.suspend(c.instance_id),
    Resume: lambda t, c, progress: t.driver.resume(c.guest, c.generation),
    Rebuild: lambda t, c, progress: t.driver.rebuild(c.guest, c.generation, progress, power_on=c.power_on),
    Snapshot: _snapshot,
    Rescue: lambda t, c, progress: t.driver.rescue(c.guest, c.generation, c.image, progress),
    Unrescue: lambda t, c, progress: t.driver.unrescue(c.guest, c.generation, power_on=c.power_on),
    ReceiveDisk: lambda t, c, progress: t.driver.receive_disk(c.guest, c.generation, c.from_host),
    SendDisk: lambda t, c, progress: t.driver.send_disk(c.instance_id, c.to_host, c.to_address, c.ticket, progress),
    FinishMove: lambda t, c, progress: t.driver.finish_move(c.guest, c.generation, power_on=c.power_on, same_host=c.same_host),
    RevertMove: lambda t, c, progress: t.driver.revert_move(
        c.guest, c.generation, moved=c.moved, power_on=c.power_on, same_host=c.same_host
    ),
    ConfirmMove: lambda t, c, progress: t.driver.confirm_move(c.instance_id),
    PrepareLive: lambda t, c, progress: t.driver.prepare_live(c.guest, c.generation, c.from_host, c.block),
    LiveMigrate: lambda t, c, progress: t.driver.live_migrate(c.guest, c.to_generation, c.to_host, c.block, c.ticket, progress),
    AbortLive: _abort,
    FinishLive: lambda t, c, progress: t.driver.finish_live(c.guest, c.generation, paused=c.paused),
    SetPassword: _set_password,
    AttachPort: lambda t, c, progress: t.driver.attach_port(c.guest, c.generation, c.port_id),
    DetachPort: lambda t, c, progress: t.driver.detach_port(c.guest, c.generation, c.port),
    AttachVolume: lambda t, c, progress: t.driver.attach_volume(c.guest, c.generation, c.volume),
    DetachVolume: lambda t, c, progress: t.driver.detach_volume(c.guest, c.generation, c.volume),
    SwapVolume: lambda t, c, progress: t.driver.swap_volume(c.guest, c.generation, c.old, c.new, progress),
    ExtendVolume: lambda t, c, progress: t.driver.extend_volume(c.guest, c.volume),
    SnapshotVolume: lambda t, c, progress: t.driver.snapshot_volume(c.guest, c.volume, c.new_file),
    MergeVolume: lambda t, c, progress: t.driver.merge_volume(c.guest, c.volume, c.file_to_merge, c.merge_target_file, progress),
    CrashDump: lambda t, c, progress: t.driver.crash_dump(c.instance_id),
}
