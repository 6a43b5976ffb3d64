"""What a compute worker may be asked (target ``compute.<host>``), and what it tells.

Every command names its workflow and step, so that a repeated command is answered with what was
already done, and the server's placement generation, so that an outdated one is dropped.
"""

from typing import Any

import msgspec

from nova_async.bus.messages import Message, message
from nova_async.model.consoles import ConsoleAddress
from nova_async.model.guests import GuestSpec, ImageRef, LiveProgress, Measures, PortSpec, VolumeSpec
from nova_async.model.routers import RouterSpec
from nova_async.model.tagged_devices import DeviceAddress

UNDO = "undo-"  # begins the step of a command that takes something back


class Command(Message, frozen=True, kw_only=True):
    """Work for a host. The outcome is cast to ``reply_to`` as ``CommandEnded``.

    ``stands``: it is to be done whenever the host is there again, even when the operation has ended meanwhile.
    """

    workflow_id: str
    step: str
    attempt: int = 0  # grows when the conductor wants the work done again after a failure
    instance_id: str
    generation: int
    request_id: str
    reply_to: str
    stands: bool = False


@message
class Spawn(Command, frozen=True, kw_only=True):
    """Make disks, plug ports, define the guest and start it."""

    guest: GuestSpec


@message
class Destroy(Command, frozen=True, kw_only=True):
    """Stop the guest and remove all of it: domain, disks, ports. Succeeds when nothing is there."""

    delete_disks: bool = True


@message
class PowerOn(Command, frozen=True, kw_only=True):
    """Start a guest that is off; ``guest`` lets the host rebuild what it lost."""

    guest: GuestSpec


@message
class PowerOff(Command, frozen=True, kw_only=True):
    """Ask the guest to shut down, and pull the plug after ``timeout_seconds`` (0: at once)."""

    timeout_seconds: int = 60
    retry_seconds: int = 10


@message
class Reboot(Command, frozen=True, kw_only=True):
    """Restart the guest. ``hard`` defines it anew from ``guest`` and resets it."""

    hard: bool
    guest: GuestSpec


@message
class Pause(Command, frozen=True, kw_only=True):
    """Freeze the guest's CPUs."""


@message
class Unpause(Command, frozen=True, kw_only=True):
    """Let the guest's CPUs run again."""


@message
class Suspend(Command, frozen=True, kw_only=True):
    """Save the guest's memory to disk and stop it."""


@message
class Resume(Command, frozen=True, kw_only=True):
    """Restore a suspended guest."""

    guest: GuestSpec


@message
class Rebuild(Command, frozen=True, kw_only=True):
    """Make the disks anew from ``guest``'s image; name, ports and placement stay. Start it when ``power_on``."""

    guest: GuestSpec
    power_on: bool = True


@message
class Snapshot(Command, frozen=True, kw_only=True):
    """Send the root disk, as it is at one instant, to the image service as the data of ``image_id``."""

    image_id: str
    guest: GuestSpec


@message
class Rescue(Command, frozen=True, kw_only=True):
    """Boot the guest from a fresh disk of another image, with its own root disk as the second one."""

    guest: GuestSpec
    image: ImageRef


@message
class Unrescue(Command, frozen=True, kw_only=True):
    """Boot the guest from its own disk again, or leave it off."""

    guest: GuestSpec
    power_on: bool = True


@message
class ReceiveDisk(Command, frozen=True, kw_only=True):
    """To a destination: get ready to take a guest's disks. The result is the ticket for ``SendDisk``."""

    guest: GuestSpec
    from_host: str


@message
class SendDisk(Command, frozen=True, kw_only=True):
    """To a source: bring the disks of a guest that is off to another host; the own copy stays."""

    to_host: str
    to_address: str
    ticket: dict[str, Any] = msgspec.field(default_factory=dict)


@message
class FinishMove(Command, frozen=True, kw_only=True):
    """To a destination: the disks are here; fit them to ``guest`` and define it, started when ``power_on``.

    ``same_host``: it was here before; what it was is kept until ``ConfirmMove`` or ``RevertMove``.
    """

    guest: GuestSpec
    power_on: bool
    same_host: bool = False


@message
class RevertMove(Command, frozen=True, kw_only=True):
    """To a source: make the guest what it was before it was moved, under this placement; start it when ``power_on``.

    ``moved``: the placement that the move had made.
    """

    guest: GuestSpec
    power_on: bool
    same_host: bool = False
    moved: int = 0


@message
class ConfirmMove(Command, frozen=True, kw_only=True):
    """To the host of a resize in place: forget what the guest was before."""


@message
class PrepareLive(Command, frozen=True, kw_only=True):
    """To a destination: get ready to take a running guest. The result is the ticket for ``LiveMigrate``."""

    guest: GuestSpec
    from_host: str
    block: bool | None = None  # copy the disks too; None: find out


@message
class LiveMigrate(Command, frozen=True, kw_only=True):
    """To a source: move the running guest. Refused once the workflow was called off (``AbortLive``)."""

    guest: GuestSpec
    to_host: str
    to_address: str
    to_generation: int
    block: bool | None = None
    ticket: dict[str, Any] = msgspec.field(default_factory=dict)


@message
class AbortLive(Command, frozen=True, kw_only=True):
    """To a source: stop the workflow's migration if it runs. Result: ``moved``, whether the guest has left."""


@message
class FinishLive(Command, frozen=True, kw_only=True):
    """To a destination: the guest is here; make it a guest of this host."""

    guest: GuestSpec
    paused: bool = False


@message
class SetPassword(Command, frozen=True, kw_only=True):
    """Set the administrator's password inside the guest; ``sealed`` is readable by this host only.

    With an RSA key in ``public_key`` (OpenSSH's form) the result has the password encrypted for its owner, as ``encrypted``.
    """

    guest: GuestSpec
    sealed: str
    public_key: str = ""


@message
class AttachPort(Command, frozen=True, kw_only=True):
    """Plug one more port into a guest; ``guest`` has it already."""

    guest: GuestSpec
    port_id: str


@message
class DetachPort(Command, frozen=True, kw_only=True):
    """Unplug a port; ``guest`` does not have it any more."""

    guest: GuestSpec
    port: PortSpec


@message
class AttachVolume(Command, frozen=True, kw_only=True):
    """Give a guest one more volume; ``guest`` has it already."""

    guest: GuestSpec
    volume: VolumeSpec


@message
class DetachVolume(Command, frozen=True, kw_only=True):
    """Take a volume from a guest, and end the host's way to it; ``guest`` does not have it any more."""

    guest: GuestSpec
    volume: VolumeSpec


@message
class SwapVolume(Command, frozen=True, kw_only=True):
    """Copy a volume of a running guest to another one, which takes its place; ``guest`` has the new one already."""

    guest: GuestSpec
    old: VolumeSpec
    new: VolumeSpec


@message
class ExtendVolume(Command, frozen=True, kw_only=True):
    """A volume of a guest is larger now (``volume.size_gib``): let the guest see it."""

    guest: GuestSpec
    volume: VolumeSpec


@message
class SnapshotVolume(Command, frozen=True, kw_only=True):
    """Let a running guest go on in ``new_file``, an overlay that the volume service laid beside the volume's file."""

    guest: GuestSpec
    volume: VolumeSpec
    new_file: str


@message
class MergeVolume(Command, frozen=True, kw_only=True):
    """Merge files of a volume under a running guest: one into the one below (``merge_target_file``), or all between into the active one."""

    guest: GuestSpec
    volume: VolumeSpec
    file_to_merge: str | None = None
    merge_target_file: str | None = None


@message
class CrashDump(Command, frozen=True, kw_only=True):
    """Make the guest's system dump itself (a non-maskable interrupt)."""


@message
class ForceLiveMigration(Message, frozen=True, kw_only=True):
    """Call: let the migration of a guest away from this host end now, whatever it costs the guest."""

    instance_id: str


@message
class GetLiveProgress(Message, frozen=True, kw_only=True):
    """Call: how far the migration of a guest away from this host is."""

    instance_id: str


@message
class LiveProgressTold(Message, frozen=True, kw_only=True):
    """Answer. None: no such migration runs here."""

    progress: LiveProgress | None = None


@message
class GetMeasures(Message, frozen=True, kw_only=True):
    """Call: what the host counts of a running guest."""

    instance_id: str


@message
class MeasuresTold(Message, frozen=True, kw_only=True):
    """Answer."""

    measures: Measures


@message
class GetAddresses(Message, frozen=True, kw_only=True):
    """Call: where a guest finds its disks and cards."""

    instance_id: str


@message
class AddressesTold(Message, frozen=True, kw_only=True):
    """Answer."""

    addresses: tuple[DeviceAddress, ...] = ()


@message
class CommandEnded(Message, frozen=True, kw_only=True):
    """A command succeeded (``error`` is None) or failed. Cast to the command's ``reply_to``."""

    workflow_id: str
    step: str
    attempt: int
    instance_id: str
    generation: int
    host: str
    error: str | None = None  # public text
    error_kind: str = ""  # class name in nova_async.errors, or of the exception
    detail: str = ""  # for operators only
    result: dict[str, Any] = msgspec.field(default_factory=dict)


@message
class CommandProgress(Message, frozen=True, kw_only=True):
    """A command is being worked on. Cast to ``reply_to`` at least every ten seconds."""

    workflow_id: str
    step: str
    attempt: int
    host: str
    percent: int | None = None
    note: str = ""


@message
class GetConsoleOutput(Message, frozen=True, kw_only=True):
    """Call: the last ``lines`` lines of the guest's console log (all that is kept when None)."""

    instance_id: str
    lines: int | None = None


@message
class ConsoleOutput(Message, frozen=True, kw_only=True):
    """Answer: text as the guest wrote it, control characters included."""

    output: str


@message
class GetConsole(Message, frozen=True, kw_only=True):
    """Call: where the console of a guest is, of the placement ``generation`` or an older one."""

    instance_id: str
    generation: int
    console_type: str


@message
class Console(Message, frozen=True, kw_only=True):
    """Answer."""

    address: ConsoleAddress


@message
class ListGuests(Message, frozen=True, kw_only=True):
    """Call: which guests carry our mark on this host."""


@message
class GuestState(Message, frozen=True, kw_only=True):
    """One guest as the hypervisor knows it."""

    instance_id: str
    power_state: int
    generation: int = 0
    volumes: tuple[str, ...] | None = None  # ids of those that the guest has; None: the host does not say


@message
class GuestList(Message, frozen=True, kw_only=True):
    """Answer: every guest with our mark, and ids of files on the host that belong to no guest."""

    host: str
    guests: tuple[GuestState, ...]
    stray_files: tuple[str, ...] = ()


@message
class RefreshPorts(Message, frozen=True, kw_only=True):
    """Cast: rules, addresses or groups of a server's ports changed; plug them as they are told here."""

    instance_id: str
    ports: tuple[PortSpec, ...]


@message
class SurroundingsChanged(Message, frozen=True, kw_only=True):
    """Cast: ports on other hosts came, went or changed; ask the conductor (``AskSurroundings``)."""


@message
class PutRouter(Message, frozen=True, kw_only=True):
    """Call, answered by ``Done``: carry this router, as it is told here. ``announce``: tell neighbours all addresses, not only new ones."""

    router: RouterSpec
    announce: bool = False


@message
class RemoveRouter(Message, frozen=True, kw_only=True):
    """Call, answered by ``Done``: carry a router no more. Succeeds when it is not there."""

    router_id: str


@message
class ListRouters(Message, frozen=True, kw_only=True):
    """Call: which routers the host carries."""


@message
class RouterList(Message, frozen=True, kw_only=True):
    """Answer: id to digest of what the host was told of it last; empty where the router is not so."""

    routers: dict[str, str]


@message
class Reap(Message, frozen=True, kw_only=True):
    """Cast: remove what is left of servers that do not live here any more.

    Each pair is (instance id, generation up to which the conductor vouches that it is dead).
    """

    instances: tuple[tuple[str, int], ...]
