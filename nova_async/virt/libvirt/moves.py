"""What this driver cannot do yet, by name: moves of running guests, and changes inside them."""

from nova_async.errors import Invalid, Unsupported
from nova_async.model.consoles import ConsoleAddress
from nova_async.model.guests import GuestSpec, ImageRef, PortSpec
from nova_async.virt.driver import Progress


class NoMoves:
    """The methods of ``virt.driver.Driver`` that refuse; each raises ``Unsupported`` before anything is changed."""

    async def prepare_live(self, guest: GuestSpec, generation: int, from_host: str, block: bool | None) -> None:
        raise Unsupported("The libvirt driver cannot migrate running servers.")

    async def live_migrate(self, guest: GuestSpec, to_host: str, to_address: str, block: bool | None, progress: Progress) -> None:
        raise Unsupported("The libvirt driver cannot migrate running servers.")

    async def abort_live(self, instance_id: str) -> bool:
        return False  # none was begun

    async def force_live(self, instance_id: str) -> None:
        raise Unsupported("The libvirt driver cannot migrate running servers.")

    async def finish_live(self, guest: GuestSpec, generation: int, *, paused: bool) -> None:
        raise Unsupported("The libvirt driver cannot migrate running servers.")

    async def rescue(self, guest: GuestSpec, generation: int, image: ImageRef, progress: Progress) -> None:
        raise Unsupported("The libvirt driver cannot rescue servers.")

    async def unrescue(self, guest: GuestSpec, generation: int, *, power_on: bool) -> None:
        raise Unsupported("The libvirt driver cannot rescue servers.")

    async def set_password(self, guest: GuestSpec, password: str) -> None:
        raise Unsupported("The libvirt driver cannot set passwords inside guests.")

    async def attach_port(self, guest: GuestSpec, generation: int, port_id: str) -> None:
        raise Unsupported("The libvirt driver cannot attach network cards to servers.")

    async def detach_port(self, guest: GuestSpec, generation: int, port: PortSpec) -> None:
        raise Unsupported("The libvirt driver cannot detach network cards from servers.")

    async def console(self, instance_id: str, console_type: str) -> ConsoleAddress:
        raise Invalid(f"Unavailable console type {console_type}.")

    async def crash_dump(self, instance_id: str) -> None:
        raise Unsupported("The libvirt driver cannot make crash dumps.")
