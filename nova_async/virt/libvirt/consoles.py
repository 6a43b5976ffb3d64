"""Which consoles a guest has, and where they are to be had."""

from nova_async.errors import Invalid
from nova_async.model.consoles import PROTOCOLS, SPICE, ConsoleAddress
from nova_async.virt.libvirt import domains
from nova_async.virt.libvirt.base import LibvirtBase


class Consoles(LibvirtBase):
    """The methods of ``virt.driver.Driver`` for consoles."""

    async def console(self, instance_id: str, console_type: str) -> ConsoleAddress:
        protocol = PROTOCOLS.get(console_type)
        found = await self._domain(instance_id, lambda domain: domains.console(domain, protocol)) if protocol else None
        if found is None:
            raise Invalid(f"Unavailable console type {console_type}.")
        run, path = found
        port = await self._consoles.offer(instance_id, protocol or "", run, self._seen_from_here(path))
        party = self._identity.party if self._identity else ""
        tls_port = port if party and protocol == SPICE else None
        return ConsoleAddress(host=self._consoles.address, port=port, tls_port=tls_port, party=party)
