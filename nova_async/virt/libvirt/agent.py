"""What is asked of a guest's own system: by its agent, or by an interrupt that nobody can mask."""

from nova_async.errors import Unsupported
from nova_async.model.guests import GuestSpec
from nova_async.virt.libvirt import domains
from nova_async.virt.libvirt.base import LibvirtBase

AGENT_SECONDS = 60.0
YES = frozenset({"1", "on", "t", "true", "y", "yes"})  # Nova's words, in any case


class Agent(LibvirtBase):
    """The methods of ``virt.driver.Driver`` for what is inside a guest."""

    async def set_password(self, guest: GuestSpec, password: str) -> None:
        properties = guest.properties
        if self._mock or not has_agent(guest):
            raise Unsupported("Passwords are set by the guest's agent: the image must have hw_qemu_guest_agent=yes.")
        user = properties.get("os_admin_user") or ("Administrator" if properties.get("os_type") == "windows" else "root")
        async with self._alone(guest.instance_id):
            await self._domain(guest.instance_id, lambda domain: domains.set_password(domain, user, password), deadline=AGENT_SECONDS)

    async def crash_dump(self, instance_id: str) -> None:
        await self._domain(instance_id, domains.inject_nmi)


def has_agent(guest: GuestSpec) -> bool:
    """Whether the guest is given the channel that its agent listens on."""
    return guest.image is not None and guest.image.properties.get("hw_qemu_guest_agent", "").lower() in YES
