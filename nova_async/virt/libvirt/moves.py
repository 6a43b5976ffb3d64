"""Moves of guests between hosts: what this driver cannot do yet, by name."""

from typing import Any

from nova_async.errors import Unsupported
from nova_async.model.guests import GuestSpec
from nova_async.virt.driver import Progress


class NoMoves:
    """The methods of ``virt.driver.Driver`` that bring a guest to another host."""

    async def receive_disk(self, guest: GuestSpec, from_host: str) -> dict[str, Any]:
        raise Unsupported("The libvirt driver cannot bring disks to another host.")

    async def send_disk(self, instance_id: str, to_host: str, to_address: str, ticket: dict[str, Any], progress: Progress) -> None:
        raise Unsupported("The libvirt driver cannot bring disks to another host.")

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
