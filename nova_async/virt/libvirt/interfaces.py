"""Network cards that come and go while the guest lives."""

from nova_async.errors import Conflict, NotFound
from nova_async.model.guests import GuestSpec, PortSpec
from nova_async.virt.libvirt import domains, xml
from nova_async.virt.libvirt.base import LETTING_GO_SECONDS, START_SECONDS, LibvirtBase

ASK_SECONDS = 5.0  # between two requests to it
LOOK_SECONDS = 0.2


class Interfaces(LibvirtBase):
    """The methods of ``virt.driver.Driver`` for network cards."""

    async def attach_port(self, guest: GuestSpec, generation: int, port_id: str) -> None:
        port = next((port for port in guest.ports if port.id == port_id), None)
        if port is None:
            raise NotFound(f"Port {port_id} is not one of server {guest.instance_id}.")
        async with self._alone(guest.instance_id):
            await self.guest(guest.instance_id)
            await self._plugs.plug(guest.instance_id, guest.ports)
            if self._mock:
                await self._define(guest, generation, self._disks.layout(guest))
            elif port.plug:
                card = xml.card(port, guest)
                await self._domain(guest.instance_id, lambda domain: domains.attach_card(domain, port.mac, card), deadline=START_SECONDS)
                await self._tell_mark(guest)

    async def detach_port(self, guest: GuestSpec, generation: int, port: PortSpec) -> None:
        async with self._alone(guest.instance_id):
            await self.guest(guest.instance_id)
            if self._mock:
                await self._define(guest, generation, self._disks.layout(guest))
            else:
                await self._let_go(guest.instance_id, port.mac)
                await self._tell_mark(guest)
            if any(left.plug for left in guest.ports):
                await self._plugs.plug(guest.instance_id, guest.ports)
            else:
                await self._plugs.unplug(guest.instance_id)

    async def _let_go(self, instance_id: str, mac: str) -> None:
        """Ask the guest for its card until it is gone. Raises ``Conflict`` when it keeps it."""
        begin = self._world.monotonic()
        asked = float("-inf")
        while await self._domain(instance_id, lambda domain: domains.has_card(domain, mac)):
            now = self._world.monotonic()
            if now - begin > LETTING_GO_SECONDS:
                raise Conflict("The guest does not let go of its network card; try again when its system is up.")
            if now - asked >= ASK_SECONDS:
                await self._domain(instance_id, lambda domain: domains.detach_card(domain, mac))
                asked = now
            else:
                await self._world.sleep(LOOK_SECONDS)
