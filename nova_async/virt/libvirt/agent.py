"""What is asked of a guest's own system: by its agent, or by an interrupt that nobody can mask."""

from functools import partial

from nova_async.errors import Unsupported
from nova_async.model.guests import GuestSpec
from nova_async.virt.libvirt import domains
from nova_async.virt.libvirt.base import LibvirtBase
from nova_async.virt.libvirt.hardware import Wishes

AGENT_SECONDS = 60.0
BOOT_SECONDS = 30.0  # how long an agent may be silent: its guest is booting, or has just gone on from its saved memory


class Agent(LibvirtBase):
    """The methods of ``virt.driver.Driver`` for what is inside a guest."""

    async def set_password(self, guest: GuestSpec, password: str) -> None:
        properties = guest.properties
        if self._mock or not has_agent(guest):
            raise Unsupported("Passwords are set by the guest's agent: the image must have hw_qemu_guest_agent=yes.")
        user = properties.get("os_admin_user") or ("Administrator" if properties.get("os_type") == "windows" else "root")
        end = self._world.monotonic() + BOOT_SECONDS
        async with self._alone(guest.instance_id):
            while True:
                try:
                    set_it = partial(domains.set_password, user=user, password=password)
                    return await self._domain(guest.instance_id, set_it, deadline=AGENT_SECONDS)
                except domains.AgentSilent:
                    if self._world.monotonic() > end:
                        raise
                await self._world.sleep(1.0)

    async def crash_dump(self, instance_id: str) -> None:
        await self._domain(instance_id, domains.inject_nmi)


def has_agent(guest: GuestSpec) -> bool:
    """Whether the guest is given the channel that its agent listens on."""
    return Wishes(guest).yes("", "hw_qemu_guest_agent")
