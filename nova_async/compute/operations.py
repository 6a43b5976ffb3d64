"""What a worker does for each command: one line of the table each, one call of the driver each."""

from collections.abc import Awaitable, Callable
from typing import Any

from nova_async.bus.messages.compute import Command, Destroy, Pause, PowerOff, PowerOn, Reboot, Resume, Spawn, Suspend, Unpause
from nova_async.virt.driver import Driver, Progress

Operation = Callable[[Driver, Any, Progress], Awaitable[None]]


async def _power_off(driver: Driver, c: PowerOff, progress: Progress) -> None:
    await driver.power_off(c.instance_id, timeout=float(c.timeout_seconds), retry=float(c.retry_seconds))


OPERATIONS: dict[type[Command], Operation] = {
    Spawn: lambda driver, c, progress: driver.spawn(c.guest, c.generation, progress),
    Destroy: lambda driver, c, progress: driver.destroy(c.instance_id, delete_disks=c.delete_disks),
    PowerOn: lambda driver, c, progress: driver.power_on(c.guest, c.generation),
    PowerOff: _power_off,
    Reboot: lambda driver, c, progress: driver.reboot(c.guest, c.generation, hard=c.hard),
    Pause: lambda driver, c, progress: driver.pause(c.instance_id),
    Unpause: lambda driver, c, progress: driver.unpause(c.instance_id),
    Suspend: lambda driver, c, progress: driver.suspend(c.instance_id),
    Resume: lambda driver, c, progress: driver.resume(c.guest, c.generation),
}
