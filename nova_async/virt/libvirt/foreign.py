"""Hypervisors of libvirt's other than QEMU: Xen (``xen:///system``) and ESX (``esx://``), as far as they can do what we need.

What they cannot is refused by name before anything is changed; docs/hypervisors.md lists it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

from nova_async.errors import Conflict, Unsupported
from nova_async.model.guests import GuestSpec
from nova_async.model.power import PowerState
from nova_async.virt.libvirt import xen
from nova_async.virt.libvirt.disks import Files
from nova_async.virt.libvirt.driver import LibvirtDriver


def driver_for(uri: str) -> type[LibvirtDriver]:
    """The class for the hypervisor that a libvirt URI names."""
    return {"xen": XenDriver, "esx": EsxDriver}.get(uri.partition(":")[0].partition("+")[0], LibvirtDriver)


class _NotQemu(LibvirtDriver):
    """What only QEMU can do."""

    hypervisor = ""

    def _refuse(self, what: str) -> NoReturn:
        raise Unsupported(f"Servers on {self.hypervisor} cannot {what}.")

    async def prepare_live(self, *_: Any, **__: Any) -> dict[str, Any]:
        self._refuse("be migrated while they run")

    async def live_migrate(self, *_: Any, **__: Any) -> None:
        self._refuse("be migrated while they run")

    async def set_password(self, *_: Any, **__: Any) -> None:
        self._refuse("be given a password from outside")

    async def crash_dump(self, *_: Any, **__: Any) -> None:
        self._refuse("be told to write a crash dump")

    async def attach_port(self, *_: Any, **__: Any) -> None:
        self._refuse("have network cards here")

    async def attach_volume(self, *_: Any, **__: Any) -> None:
        self._refuse("have volumes here")

    async def swap_volume(self, *_: Any, **__: Any) -> None:
        self._refuse("have volumes here")

    async def extend_volume(self, *_: Any, **__: Any) -> None:
        self._refuse("have volumes here")

    async def snapshot_volume(self, *_: Any, **__: Any) -> None:
        self._refuse("have volumes here")

    async def merge_volume(self, *_: Any, **__: Any) -> None:
        self._refuse("have volumes here")

    async def measures(self, *_: Any, **__: Any) -> NoReturn:
        self._refuse("be measured from outside")

    async def console_output(self, *_: Any, **__: Any) -> str:
        self._refuse("show what they print")

    async def console(self, *_: Any, **__: Any) -> NoReturn:
        self._refuse("show a console")


class XenDriver(_NotQemu):
    """Guests with full virtualization, on disks of this host, without network cards and volumes."""

    hypervisor = "Xen"

    async def _find_virt_type(self) -> str:
        return "xen"

    def _check_wishes(self, guest: GuestSpec) -> None:
        xen.check(guest)

    async def _described(self, guest: GuestSpec, generation: int, files: Files) -> str:
        return xen.domain(guest, generation, files)

    @asynccontextmanager
    async def snapshot(self, guest: GuestSpec) -> AsyncIterator[AsyncIterator[bytes]]:
        """Of a guest that is off: only QEMU copies a disk beside the guest that writes it."""
        if (await self.guest(guest.instance_id)).power_state in (PowerState.RUNNING, PowerState.PAUSED):
            raise Conflict("Servers on Xen cannot be imaged while they run; stop the server first.")
        async with super().snapshot(guest) as chunks:
            yield chunks


class EsxDriver(_NotQemu):
    """The host is shown, and takes no server: a guest's disks would have to be files of ESX, and it keeps no mark that tells ours."""

    hypervisor = "ESX"

    async def _find_virt_type(self) -> str:
        return "vmware"

    async def spawn(self, *_: Any, **__: Any) -> None:
        self._refuse("be made here: their disks are files of the host that the worker runs on, and no worker runs on ESX")

    async def rebuild(self, *_: Any, **__: Any) -> None:
        self._refuse("be rebuilt")

    async def receive_disk(self, *_: Any, **__: Any) -> dict[str, Any]:
        self._refuse("be moved here")

    async def finish_move(self, *_: Any, **__: Any) -> None:
        self._refuse("be moved here")

    async def rescue(self, *_: Any, **__: Any) -> None:
        self._refuse("be rescued")

    async def suspend(self, *_: Any, **__: Any) -> None:
        self._refuse("be suspended")

    @asynccontextmanager
    async def snapshot(self, guest: GuestSpec) -> AsyncIterator[AsyncIterator[bytes]]:
        self._refuse("be imaged")
        yield  # never: what makes this a generator, as the driver's is
