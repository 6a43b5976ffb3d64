"""What this driver cannot do yet, by name: volumes."""

from nova_async.errors import Unsupported
from nova_async.model.guests import GuestSpec, VolumeSpec
from nova_async.virt.driver import Progress


class NoVolumes:
    """The methods of ``virt.driver.Driver`` that refuse; each raises ``Unsupported`` before anything is changed."""

    async def attach_volume(self, guest: GuestSpec, generation: int, volume: VolumeSpec) -> None:
        raise Unsupported("The libvirt driver cannot attach volumes.")

    async def detach_volume(self, guest: GuestSpec, generation: int, volume: VolumeSpec) -> None:
        return None  # none was attached

    async def swap_volume(self, guest: GuestSpec, generation: int, old: VolumeSpec, new: VolumeSpec, progress: Progress) -> None:
        raise Unsupported("The libvirt driver cannot swap volumes.")

    async def extend_volume(self, guest: GuestSpec, volume: VolumeSpec) -> None:
        raise Unsupported("The libvirt driver cannot extend volumes.")
