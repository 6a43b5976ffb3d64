"""The driver for QEMU/KVM guests, and for libvirt's own ``test:///default`` hypervisor.

A guest is a persistent domain whose UUID is the server's id and whose metadata carry our mark. Files first, then
the definition, then the start: a domain that is defined has all its files, so an interrupted ``spawn`` shows how far it came.
"""

from nova_async.errors import Conflict
from nova_async.model.guests import GuestSpec, PortSpec
from nova_async.model.power import PowerState
from nova_async.virt.driver import Progress
from nova_async.virt.libvirt import domains
from nova_async.virt.libvirt.agent import Agent
from nova_async.virt.libvirt.base import START_SECONDS, LibvirtBase
from nova_async.virt.libvirt.cold_moves import ColdMoves
from nova_async.virt.libvirt.coming import Coming
from nova_async.virt.libvirt.consoles import Consoles
from nova_async.virt.libvirt.going import Going
from nova_async.virt.libvirt.interfaces import Interfaces
from nova_async.virt.libvirt.measures import Measuring
from nova_async.virt.libvirt.rescue import Rescue
from nova_async.virt.libvirt.volume_snapshots import VolumeSnapshots
from nova_async.virt.libvirt.volumes import Volumes

SAVE_SECONDS = 900.0
SOFT_REBOOT_SECONDS = 60.0
PRESS_SECONDS = 10.0


class LibvirtDriver(Agent, ColdMoves, Coming, Consoles, Going, Interfaces, Measuring, Rescue, VolumeSnapshots, Volumes, LibvirtBase):
    """Implements ``virt.driver.Driver``."""

    # --- coming and going ---

    async def spawn(self, guest: GuestSpec, generation: int, progress: Progress) -> None:
        self._check_wishes(guest)
        async with self._alone(guest.instance_id):
            known = await self._look(guest.instance_id)
            if known is not None and known.generation > generation:
                raise Conflict(f"Server {guest.instance_id} has been placed anew since.")
            if known is not None and known.generation == generation:
                if known.power_state is not PowerState.RUNNING:
                    await self._tell_addresses(guest)
                    await self._start(guest)
                return
            await self._remove(guest.instance_id)
            files = await self._make_files(guest, progress)
            progress(None, "starting the guest")
            await self._plugs.plug(guest.instance_id, guest.ports)
            await self._define_and_start(guest, generation, files)

    async def rebuild(self, guest: GuestSpec, generation: int, progress: Progress, *, power_on: bool) -> None:
        self._check_wishes(guest)
        async with self._alone(guest.instance_id):
            await self._remove(guest.instance_id)
            files = await self._make_files(guest, progress)
            await self._plugs.plug(guest.instance_id, guest.ports)
            if power_on:
                await self._define_and_start(guest, generation, files)
            else:
                await self._define_off(guest, generation, files)

    async def destroy(self, instance_id: str, *, delete_disks: bool = True) -> None:
        self._doomed.add(instance_id)
        try:
            async with self._alone(instance_id):
                await self._destroy(instance_id, delete_disks)
        finally:
            self._doomed.discard(instance_id)

    async def _destroy(self, instance_id: str, delete_disks: bool) -> None:
        await self._close_listener(instance_id)
        if delete_disks:
            await self._remove(instance_id)
        else:
            await self._connection.call(lambda connection: domains.undefine(connection, instance_id), deadline=START_SECONDS)
        await self._plugs.unplug(instance_id)

    async def refresh_ports(self, instance_id: str, ports: tuple[PortSpec, ...]) -> None:
        async with self._alone(instance_id):
            await self.guest(instance_id)
            await self._plugs.plug(instance_id, ports)

    def surroundings_changed(self) -> None:
        self._plugs.look_around()

    # --- power ---

    async def power_on(self, guest: GuestSpec, generation: int) -> None:
        async with self._alone(guest.instance_id):
            known = await self._look(guest.instance_id)
            if known is not None and known.power_state is PowerState.RUNNING:
                if known.generation == domains.DAMAGED:
                    await self._tell_mark(guest, generation)
                return
            if known is not None and known.power_state is PowerState.PAUSED:
                raise Conflict(f"Cannot start server {guest.instance_id}: it is paused.")
            await self._bring_up(guest, generation)

    async def power_off(self, instance_id: str, *, timeout: float, retry: float) -> None:
        async with self._alone(instance_id):
            known = await self.guest(instance_id)
            if known.power_state is PowerState.RUNNING and await self._press(instance_id, timeout, retry):
                return
            await self._domain(instance_id, domains.cut_power, deadline=START_SECONDS)

    async def reboot(self, guest: GuestSpec, generation: int, *, hard: bool) -> None:
        async with self._alone(guest.instance_id):
            known = await self._look(guest.instance_id)
            soft = not hard and known is not None and known.power_state is PowerState.RUNNING
            if known is not None:
                if not (soft and await self._press(guest.instance_id, SOFT_REBOOT_SECONDS, PRESS_SECONDS)):
                    await self._domain(guest.instance_id, domains.cut_power, deadline=START_SECONDS)
                await self._domain(guest.instance_id, domains.forget_saved)
            await self._bring_up(guest, generation)

    async def pause(self, instance_id: str) -> None:
        await self._domain(instance_id, domains.pause)

    async def unpause(self, instance_id: str) -> None:
        await self._domain(instance_id, domains.unpause)

    async def suspend(self, instance_id: str) -> None:
        async with self._alone(instance_id):
            await self._domain(instance_id, domains.suspend, deadline=SAVE_SECONDS)

    async def resume(self, guest: GuestSpec, generation: int) -> None:
        await self.power_on(guest, generation)
