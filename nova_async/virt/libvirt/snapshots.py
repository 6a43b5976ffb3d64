"""The root disk as it is at one instant: QEMU copies it beside the running guest, untouched by what is written later."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nova_async import log, qemu_img
from nova_async.errors import Conflict, Error, Unavailable
from nova_async.model.guests import GuestSpec
from nova_async.model.power import PowerState
from nova_async.virt.libvirt import domains
from nova_async.virt.libvirt.agent import has_agent
from nova_async.virt.libvirt.base import START_SECONDS, LibvirtBase
from nova_async.virt.libvirt.hardware import Wishes

LOOK_SECONDS = 0.1
AGENT_SECONDS = 60.0

log_ = log.get("virt.snapshots")


class Snapshots(LibvirtBase):
    @asynccontextmanager
    async def snapshot(self, guest: GuestSpec) -> AsyncIterator[AsyncIterator[bytes]]:
        async with self._alone(guest.instance_id):
            known = await self.guest(guest.instance_id)
            running = known.power_state in (PowerState.RUNNING, PowerState.PAUSED)
            try:
                copy = await (self._copy_beside(guest, known.power_state) if running and not self._mock else self._disks.copy_root(guest))
            except BaseException:
                await self._disks.forget_copy(guest)
                raise
        try:
            yield self._files.chunks(copy)
        finally:
            await self._disks.forget_copy(guest)

    async def _copy_beside(self, guest: GuestSpec, state: PowerState) -> Path:
        """Begin the copy while the guest's file systems are still, if its agent can hold them so; then let the guest go on."""
        root, copy = await self._disks.root_and_copy(guest)
        await self._disks.forget_copy(guest)
        frozen = state is PowerState.RUNNING and await self._freeze(guest)
        try:
            await self._domain(guest.instance_id, lambda domain: domains.begin_copy(domain, str(root), str(copy)), deadline=START_SECONDS)
        finally:
            if frozen:
                await self._domain(guest.instance_id, domains.thaw, deadline=AGENT_SECONDS)
        try:
            await self._copied(guest.instance_id)
        except BaseException:
            await self._domain(guest.instance_id, domains.abort_job)
            raise
        return copy

    async def _copied(self, instance_id: str) -> None:
        end = self._world.monotonic() + qemu_img.CONVERT_SECONDS
        while not await self._domain(instance_id, domains.copy_is_done):
            if self._world.monotonic() > end:
                raise Unavailable("The disk was not copied in time.")
            await self._world.sleep(LOOK_SECONDS)

    async def _freeze(self, guest: GuestSpec) -> bool:
        """Whether the guest holds still. Raises ``Conflict`` when it has to, by its image's os_require_quiesce, and does not."""
        needed = Wishes(guest).yes("", "os_require_quiesce")
        if not has_agent(guest):
            if needed:
                raise Conflict("The image has os_require_quiesce, and no agent (hw_qemu_guest_agent) to quiesce the guest with.")
            return False
        try:
            await self._domain(guest.instance_id, domains.freeze, deadline=AGENT_SECONDS)
        except Error as error:
            if needed:
                raise
            log_.warning("snapshot.not_quiesced", server=guest.instance_id, error=error.message, detail=error.detail)
            return False
        return True
