"""What a hypervisor driver must do. Drivers know guests, not workflows; every method is safe to repeat.

All errors are ``nova_async.errors`` kinds: ``NotFound`` (no such guest), ``Conflict`` (the guest is in the
wrong state), ``NoCapacity`` (the host cannot take it), ``Unsupported`` (the driver cannot do it),
``Unavailable`` (the hypervisor does not answer), of which ``Interrupted`` says that it went away in the middle.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from nova_async.model.consoles import ConsoleAddress
from nova_async.model.guests import GuestSpec, ImageRef, LiveProgress, Measures, PortSpec, VolumeSpec
from nova_async.model.power import PowerState
from nova_async.model.tagged_devices import DeviceAddress
from nova_async.model.topology import HostTopology

Progress = Callable[[int | None, str], None]


class GuestInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A guest with our mark, as the hypervisor knows it."""

    instance_id: str
    name: str
    power_state: PowerState
    generation: int
    rescued: bool = False
    volumes: tuple[str, ...] | None = None  # ids of those that it has; None: not looked at


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
    initiator: str = ""  # the name by which it asks iSCSI targets (RFC 3720)
    wires: tuple[str, ...] = ()  # see NetworkPlugs
    topology: HostTopology = HostTopology()  # all CPUs shared: the worker's options divide them


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

    def surroundings_changed(self) -> None:
        """Ports on other hosts came, went or changed: find out soon."""
        ...

    # What changes a guest's disks. ``generation`` is the placement's; it marks the guest.

    async def rebuild(self, guest: GuestSpec, generation: int, progress: Progress, *, power_on: bool) -> None:
        """Make the guest's disks anew from its image and define it anew; started when ``power_on``."""
        ...

    def snapshot(self, guest: GuestSpec) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The root disk as it is at one instant, as a qcow2 file without a backing file, in chunks of at most 1 MiB.

        The guest is not disturbed for longer than a moment. On leaving the block nothing temporary remains.
        """
        ...

    async def rescue(self, guest: GuestSpec, generation: int, image: ImageRef, progress: Progress) -> None:
        """Boot from a fresh disk made of ``image``; the guest's own root disk is the second one."""
        ...

    async def unrescue(self, guest: GuestSpec, generation: int, *, power_on: bool) -> None:
        """Boot from the own disk again (or leave it off). A guest that is not in rescue is only started, if it is off and ``power_on``."""
        ...

    # Moves of a guest that is off. A driver that cannot raises ``Unsupported`` before anything is changed.

    async def receive_disk(self, guest: GuestSpec, generation: int, from_host: str) -> dict[str, Any]:
        """On the destination: get ready for the disks; returns what the source must know to send them. ``destroy`` undoes it."""
        ...

    async def send_disk(self, instance_id: str, to_host: str, to_address: str, ticket: dict[str, Any], progress: Progress) -> None:
        """On the source: bring the disks over. The own copy stays."""
        ...

    async def finish_move(self, guest: GuestSpec, generation: int, *, power_on: bool, same_host: bool) -> None:
        """On the destination: fit the disks to the flavor and define the guest. In place: keep what is needed to go back."""
        ...

    async def revert_move(self, guest: GuestSpec, generation: int, *, moved: int, power_on: bool, same_host: bool) -> None:
        """On the source: the guest is what it was before it was moved (or resized in place), marked with ``generation``.

        ``moved``: the placement that is given up.
        """
        ...

    async def confirm_move(self, instance_id: str) -> None:
        """After a resize in place: forget what the guest was before."""
        ...

    # Moves of a running guest.

    async def prepare_live(self, guest: GuestSpec, generation: int, from_host: str, block: bool | None) -> dict[str, Any]:
        """On the destination: get ready; returns what the source must know. What is made here is removed by ``destroy``."""
        ...

    async def live_migrate(
        self, guest: GuestSpec, generation: int, to_host: str, block: bool | None, ticket: dict[str, Any], progress: Progress
    ) -> None:
        """On the source: move the guest; returns when it has left. Raises ``Conflict`` when it was called off.

        ``generation`` is the placement at the destination, ``ticket`` what that returned.
        """
        ...

    async def abort_live(self, instance_id: str) -> bool:
        """On the source: call a migration off and wait for its end; whether the guest has left all the same."""
        ...

    async def force_live(self, instance_id: str) -> None:
        """On the source: let a migration end now. Raises ``Conflict`` when there is none."""
        ...

    async def live_progress(self, instance_id: str) -> LiveProgress | None:
        """On the source: how far a migration is; None when there is none."""
        ...

    async def finish_live(self, guest: GuestSpec, generation: int, *, paused: bool) -> None:
        """On the destination: the guest has arrived; make it one of this host's own."""
        ...

    # Inside the guest, and its cards.

    async def set_password(self, guest: GuestSpec, password: str) -> None:
        """Raises ``Unsupported`` where the driver has no way, ``Conflict`` when the guest's agent does not answer."""
        ...

    async def attach_port(self, guest: GuestSpec, generation: int, port_id: str) -> None:
        """Give the guest one more card; ``guest`` names it already. Safe to repeat."""
        ...

    async def detach_port(self, guest: GuestSpec, generation: int, port: PortSpec) -> None:
        """Take a card away; ``guest`` does not name it any more. Succeeds when it is gone."""
        ...

    # Its volumes. ``guest.volumes`` are there when it is spawned, moved or started, too.

    async def attach_volume(self, guest: GuestSpec, generation: int, volume: VolumeSpec) -> None:
        """Give the guest one more volume, while it runs or for its next start; ``guest`` names it already. Safe to repeat."""
        ...

    async def detach_volume(self, guest: GuestSpec, generation: int, volume: VolumeSpec) -> None:
        """Take a volume away, and end this host's way to it. Returns when the guest has let go; succeeds when it is gone.

        Raises ``Conflict`` when the guest does not let go.
        """
        ...

    async def swap_volume(self, guest: GuestSpec, generation: int, old: VolumeSpec, new: VolumeSpec, progress: Progress) -> None:
        """Copy ``old`` to ``new`` under the running guest, and let it go on with ``new``; what is swapped already stays so.

        When it fails the guest has ``old``.
        """
        ...

    async def extend_volume(self, guest: GuestSpec, volume: VolumeSpec) -> None:
        """Let the guest see that a volume has ``volume.size_gib`` now; one that is off sees it at its next start."""
        ...

    async def snapshot_volume(self, guest: GuestSpec, volume: VolumeSpec, new_file: str) -> None:
        """From here on the running guest writes to ``new_file``, an overlay that the volume service laid beside the volume's own file.

        Safe to repeat. Raises ``Conflict`` for a guest that is off, ``Invalid`` for a file that is no such overlay.
        """
        ...

    async def merge_volume(
        self, guest: GuestSpec, volume: VolumeSpec, file_to_merge: str | None, merge_target_file: str | None, progress: Progress
    ) -> None:
        """Bring what ``file_to_merge`` holds into ``merge_target_file``, below it in the chain of the volume's files.

        Without a target: bring what is between ``file_to_merge`` (None: all below) and the file that the guest writes into the latter.
        Safe to repeat; raises as ``snapshot_volume``.
        """
        ...

    async def crash_dump(self, instance_id: str) -> None: ...

    async def measures(self, instance_id: str) -> Measures:
        """What is counted of a running guest. Raises ``Conflict`` when it does not run."""
        ...

    async def addresses(self, instance_id: str) -> tuple[DeviceAddress, ...]:
        """Where the guest finds its disks and cards; of those whose place the hypervisor does not tell, none."""
        ...

    async def console_output(self, instance_id: str, lines: int | None) -> str: ...

    async def console(self, instance_id: str, console_type: str) -> ConsoleAddress:
        """Where a running guest's console of this type is to be had, the same until the guest is started anew.

        Whoever connects there before and is still connected when the guest ends is cut off. Raises ``Invalid`` for a type that
        the guest does not have.
        """
        ...

    async def stray_files(self) -> list[str]:
        """Names of instance directories on this host that belong to no guest with our mark."""
        ...

    async def remove_stray(self, instance_id: str) -> None:
        """Remove one of them."""
        ...
