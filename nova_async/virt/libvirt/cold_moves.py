"""Moves of a guest that is off: between hosts its disks are sent, in place they are kept; then it is what its flavor says."""

from typing import Any

import msgspec

from nova_async.certs import WORKER
from nova_async.errors import Conflict, NotFound
from nova_async.model.guests import GuestSpec
from nova_async.model.power import PowerState
from nova_async.virt.driver import Progress
from nova_async.virt.libvirt import domains, tpm
from nova_async.virt.libvirt.base import START_SECONDS, LibvirtBase
from nova_async.virt.libvirt.resize import expected
from nova_async.virt.libvirt.transfer import Ticket


class ColdMoves(LibvirtBase):
    """Part of the driver. libvirt's own test hypervisor has no disks to move."""

    async def receive_disk(self, guest: GuestSpec, generation: int, from_host: str) -> dict[str, Any]:
        """What an older placement left here goes; the result is a ``Ticket``, or empty: the disks are where both hosts see them."""
        async with self._alone(guest.instance_id):
            known = await self._look(guest.instance_id)
            if known is not None and known.generation >= generation:
                raise Conflict(f"Server {guest.instance_id} has been placed here anew since.")
            if known is not None:
                await self._remove(guest.instance_id)
            if self._mock:
                return {}
            if not await self._disks.are_ours(guest.instance_id):
                await self._check_lender(guest.instance_id, from_host)
                return {}
            ticket = await self._arrivals.expect(guest.instance_id, generation, expected(self._disks, guest), WORKER + from_host)
            return {name: getattr(ticket, name) for name in Ticket.__struct_fields__}

    async def send_disk(self, instance_id: str, to_host: str, to_address: str, ticket: dict[str, Any], progress: Progress) -> None:
        async with self._alone(instance_id):
            await self._check_off(instance_id)
            if self._mock:
                return
            folder = self._disks.folder(instance_id)
            await self._files.run(tpm.gather, self._seen_from_here(tpm.PLACE), instance_id, folder)
            if ticket:
                await self._sender.send(folder, msgspec.convert(ticket, Ticket), progress)

    async def finish_move(self, guest: GuestSpec, generation: int, *, power_on: bool, same_host: bool) -> None:
        async with self._alone(guest.instance_id):
            if not await self._is_at(guest, generation):
                if not self._mock:
                    await self._fit(guest, generation, same_host)
                await self._define_off(guest, generation, self._disks.layout(guest))
            await self._arrivals.forget(guest.instance_id)
            if power_on:
                await self._start(guest)

    async def revert_move(self, guest: GuestSpec, generation: int, *, moved: int, power_on: bool, same_host: bool) -> None:
        async with self._alone(guest.instance_id):
            if not await self._is_at(guest, generation):
                if await self._look(guest.instance_id) is not None:
                    await self._domain(guest.instance_id, domains.cut_power, deadline=START_SECONDS)
                if same_host and not self._mock:
                    await self._resizer.restore(guest, moved)
                await self._redefine(guest, generation)
            if power_on:
                await self._start(guest)

    async def confirm_move(self, instance_id: str) -> None:
        async with self._alone(instance_id):
            if not self._mock:
                await self._resizer.forget(instance_id)

    async def _fit(self, guest: GuestSpec, generation: int, same_host: bool) -> None:
        if same_host:
            await self._check_off(guest.instance_id)
            await self._resizer.keep(guest.instance_id, generation)
        elif await self._is_borrowed(guest.instance_id):
            await self._resizer.keep(guest.instance_id, generation)
        elif self._arrivals.is_complete(guest.instance_id, generation):
            await self._disks.take(guest.instance_id)
        else:
            raise NotFound(f"The disks of server {guest.instance_id} are not on this host.")
        await self._resizer.fit(guest)
        if not same_host:
            await self._files.run(tpm.put, self._seen_from_here(tpm.PLACE), guest.instance_id, self._disks.folder(guest.instance_id))

    async def _is_borrowed(self, instance_id: str) -> bool:
        """Whether the disks are on storage that the source shares with us, and are ours until the move is reverted."""
        owner = await self._disks.owner(instance_id)
        if owner.host in ("", self.host):
            return bool(owner.back_to)
        await self._disks.take(instance_id, back_to=owner.host)
        return True

    async def _check_lender(self, instance_id: str, from_host: str) -> None:
        owner = (await self._disks.owner(instance_id)).host
        if owner != from_host:
            raise Conflict(f"The server's disks belong to the host {owner}, which is not the one that it comes from.")

    async def _check_off(self, instance_id: str) -> None:
        if (await self.guest(instance_id)).power_state is not PowerState.SHUTDOWN:
            raise Conflict(f"The disks of server {instance_id} cannot be worked on: it is not off.")

    async def _is_at(self, guest: GuestSpec, generation: int) -> bool:
        """Whether the guest is of this placement already. Raises ``Conflict`` when it is of a newer one."""
        known = await self._look(guest.instance_id)
        if known is not None and known.generation > generation:
            raise Conflict(f"Server {guest.instance_id} has been placed anew since.")
        return known is not None and known.generation == generation
