"""Volumes of guests: raw disks beside the host's own, known by their names and serial numbers."""

from nova_async.errors import Conflict, Error, NotFound, Unavailable, Unsupported
from nova_async.model.guests import GuestSpec, VolumeSpec
from nova_async.model.power import PowerState
from nova_async.virt.driver import Progress
from nova_async.virt.libvirt import domains, secrets, xml
from nova_async.virt.libvirt.base import LETTING_GO_SECONDS, START_SECONDS, LibvirtBase

GIB = 2**30
ASK_SECONDS = 5.0  # between two requests to it
LOOK_SECONDS = 0.2
REACH_TRIES = 50  # to connect to a bridge anew
COPY_SECONDS = 0.5  # between two looks at a copy


class Volumes(LibvirtBase):
    """The methods of ``virt.driver.Driver`` for volumes."""

    async def attach_volume(self, guest: GuestSpec, generation: int, volume: VolumeSpec) -> None:
        async with self._alone(guest.instance_id):
            await self.guest(guest.instance_id)
            if self._mock:
                await self._define(guest, generation, self._disks.layout(guest))
                return
            disk = xml.volume(await self._way_to(guest, volume), guest, self._shape)
            await self._domain(guest.instance_id, lambda domain: domains.attach_disk(domain, volume, disk), deadline=START_SECONDS)

    async def detach_volume(self, guest: GuestSpec, generation: int, volume: VolumeSpec) -> None:
        async with self._alone(guest.instance_id):
            if await self._look(guest.instance_id) is not None:
                if self._mock:
                    await self._define(guest, generation, self._disks.layout(guest))
                    return
                await self._take_out(guest.instance_id, volume)
            await self._let_go_of(guest.instance_id, volume)

    async def swap_volume(self, guest: GuestSpec, generation: int, old: VolumeSpec, new: VolumeSpec, progress: Progress) -> None:
        if self._mock:
            raise Unsupported("libvirt's test hypervisor copies no disks.")
        async with self._alone(guest.instance_id):
            known = await self.guest(guest.instance_id)
            server = guest.instance_id
            if known.power_state not in (PowerState.RUNNING, PowerState.PAUSED):
                raise Conflict(f"Server {server} does not run; its volumes cannot be swapped.")
            disk = xml.volume(await self._way_to(guest, new), guest, self._shape)
            if not await self._domain(server, lambda domain: domains.is_reached_so(domain, new, disk)):
                await self._copy_over(server, old, disk, progress)
            await self._let_go_of(server, old)
            await self._define(guest, generation, self._disks.layout(guest))  # last: where both are one volume, its secrets are kept anew

    async def _copy_over(self, server: str, volume: VolumeSpec, disk: str, progress: Progress) -> None:
        """From a volume to ``disk``, which takes its place once it is the same."""
        await self._domain(server, lambda domain: domains.begin_disk_copy(domain, volume, disk))
        try:
            while (percent := await self._domain(server, lambda domain: domains.disk_copied(domain, volume))) < 100:
                progress(percent, "copying the volume")
                await self._world.sleep(COPY_SECONDS)
        except BaseException:
            await self._domain(server, lambda domain: domains.end_disk_copy(domain, volume, pivot=False))
            raise
        await self._domain(server, lambda domain: domains.end_disk_copy(domain, volume, pivot=True), deadline=START_SECONDS)

    async def extend_volume(self, guest: GuestSpec, volume: VolumeSpec) -> None:
        if self._mock:
            return
        async with self._alone(guest.instance_id):
            way = await self._way_to(guest, volume, anew=True)
            if (await self.guest(guest.instance_id)).power_state in (PowerState.RUNNING, PowerState.PAUSED):
                await self._show_size(guest.instance_id, volume, way)

    async def _let_go_of(self, instance_id: str, volume: VolumeSpec) -> None:
        """The guest has it no more. Safe to repeat."""
        await self._bridges.close(volume.attachment_id)
        await self._connection.call(lambda connection: secrets.forget(connection, instance_id, volume.volume_id))

    async def _show_size(self, instance_id: str, volume: VolumeSpec, way: xml.Way) -> None:
        """Tell the guest. QEMU sees the size of a volume behind a bridge once it has connected to that anew, which takes a few tries."""
        size = volume.size_gib * GIB
        for left in range(REACH_TRIES if way.kind == "nbd" else 1)[::-1]:
            if way.kind == "nbd":
                await self._domain(instance_id, lambda domain: domains.reach_anew(domain, way.data["name"]))
            try:
                return await self._domain(instance_id, lambda domain: domains.resize_disk(domain, volume, size))
            except (Conflict, NotFound, Unavailable):
                raise
            except Error:
                if not left:
                    raise
            await self._world.sleep(LOOK_SECONDS)
        return None

    async def _take_out(self, instance_id: str, volume: VolumeSpec) -> None:
        """Ask the guest for a disk until it is gone. Raises ``Conflict`` when it keeps it."""
        begin, asked = self._world.monotonic(), float("-inf")
        try:
            while await self._domain(instance_id, lambda domain: domains.has_disk(domain, volume)):
                now = self._world.monotonic()
                if now - begin > LETTING_GO_SECONDS:
                    raise Conflict("The guest does not let go of the volume; unmount it, or try again when its system is up.")
                if now - asked >= ASK_SECONDS:
                    await self._domain(instance_id, lambda domain: domains.detach_disk(domain, volume))
                    asked = now
                else:
                    await self._world.sleep(LOOK_SECONDS)
        except NotFound:
            return
