"""What a hypervisor driver must do. Drivers know guests, not workflows; every method is safe to repeat.

All errors are ``nova_async.errors`` kinds: ``NotFound`` (no such guest), ``Conflict`` (the guest is in the
wrong state), ``NoCapacity`` (the host cannot take it), ``Unsupported`` (the driver cannot do it),
``Unavailable`` (the hypervisor does not answer).
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import msgspec

from nova_async.model.guests import GuestSpec, PortSpec
from nova_async.model.power import PowerState

Progress = Callable[[int | None, str], None]


class GuestInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A guest with our mark, as the hypervisor knows it."""

    instance_id: str
    name: str
    power_state: PowerState
    generation: int


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a host has and can do. Inventory: resource class -> total (VCPU, MEMORY_MB, DISK_GB ...)."""

    inventory: dict[str, int]
    traits: tuple[str, ...]
    hypervisor_type: str  # QEMU, fake ...
    hypervisor_version: int  # libvirt's form: major * 1000000 + minor * 1000 + release
    hypervisor_hostname: str
    cpu_info: dict[str, Any]
    supported_instances: tuple[tuple[str, str, str], ...]  # (arch, hypervisor type, vm mode)
    memory_used_mib: int = 0
    disk_used_gib: int = 0
    uptime: str = ""


class GuestEvent(msgspec.Struct, frozen=True):
    """A guest changed state, whoever caused it."""

    instance_id: str
    generation: int
    power_state: PowerState


class Driver(Protocol):
    async def start(self) -> None:
        """Connect; raises ``Unavailable``. A lost connection is taken up again by the driver itself."""
        ...

    async def close(self) -> None:
        """Disconnect; guests live on."""
        ...

    async def facts(self) -> HostFacts: ...

    async def guests(self) -> list[GuestInfo]:
        """Every guest with our mark, running or not."""
        ...

    async def guest(self, instance_id: str) -> GuestInfo:
        """Raises ``NotFound``."""
        ...

    def events(self) -> AsyncIterator[GuestEvent]:
        """Changes of state as they happen; ends with ``close``."""
        ...

    async def spawn(self, guest: GuestSpec, generation: int, progress: Progress) -> None:
        """Make the disks, define the guest and start it. A guest that already runs with this generation is left alone."""
        ...

    async def destroy(self, instance_id: str, *, delete_disks: bool = True) -> None:
        """Stop and remove the guest and its files. Succeeds when there is none."""
        ...

    async def power_on(self, guest: GuestSpec, generation: int) -> None:
        """Start a guest that is off, defining it from ``guest`` when the hypervisor forgot it."""
        ...

    async def power_off(self, instance_id: str, *, timeout: float, retry: float) -> None:
        """Press the power button every ``retry`` seconds, then cut the power after ``timeout`` (0: at once)."""
        ...

    async def reboot(self, guest: GuestSpec, generation: int, *, hard: bool) -> None:
        """Soft: power button and start, falling back to hard. Hard: define anew and reset."""
        ...

    async def pause(self, instance_id: str) -> None: ...

    async def unpause(self, instance_id: str) -> None: ...

    async def suspend(self, instance_id: str) -> None:
        """Save memory to disk; the guest is then off, its state kept."""
        ...

    async def resume(self, guest: GuestSpec, generation: int) -> None: ...

    async def refresh_ports(self, instance_id: str, ports: tuple[PortSpec, ...]) -> None:
        """Make what is plugged for a guest what ``ports`` say. Raises ``NotFound``."""
        ...

    async def console_output(self, instance_id: str, lines: int | None) -> str: ...

    async def stray_files(self) -> list[str]:
        """Names of instance directories on this host that belong to no guest with our mark."""
        ...

    async def remove_stray(self, instance_id: str) -> None:
        """Remove one of them."""
        ...
