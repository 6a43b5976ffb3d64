"""One node of an Ironic as a host. Its server is the machine: deployed, powered, deployed anew, and cleaned when it goes.

Everything is in Ironic: whose a node is (``instance_uuid``), and our mark (``instance_info``). A step that is repeated finds there how far
it came.
"""

import asyncio
import base64
import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nova_async.errors import Conflict, Error, NoCapacity, NotFound, Unavailable, Unsupported
from nova_async.model.guests import GuestSpec, PortSpec
from nova_async.model.power import PowerState
from nova_async.virt import config_drive
from nova_async.virt.driver import GuestInfo, HostFacts, Progress
from nova_async.virt.events import EventSource, Listener
from nova_async.virt.ironic.api import Node
from nova_async.virt.ironic.nodes import GENERATION, HAS_SERVER, NAME, Nodes, generation, inventory, ours, power
from nova_async.virt.ironic.unable import Unable
from nova_async.world import World

POLL_SECONDS = 1.0
DEPLOYING = frozenset({"deploying", "wait call-back", "deploy"})
FAILED = frozenset({"deploy failed", "error"})
GIVEN_BACK = frozenset({"available", "cleaning", "clean wait", "clean failed", "manageable", None})
LEAVING = frozenset({"deleting", "unprovisioning"})
VERSION = 1_058_000  # of the API that we speak, in libvirt's form


class IronicDriver(Unable):
    """Implements ``virt.driver.Driver`` for the node ``uuid``."""

    def __init__(self, nodes: Nodes, uuid: str, world: World) -> None:
        self._nodes, self._ironic, self._uuid, self._world = nodes, nodes.ironic, uuid, world
        self._events = EventSource()

    async def start(self) -> None:
        self._nodes.events[self._uuid] = self._events

    async def close(self) -> None:
        self._nodes.events.pop(self._uuid, None)
        self._events.close()

    def events(self) -> Listener:
        return self._events.listen()

    async def facts(self) -> HostFacts:
        node = self._known()
        arch = str(node.properties.get("cpu_arch") or "x86_64")
        return HostFacts(
            inventory=inventory(node),
            traits=tuple(sorted({"COMPUTE_NODE", *node.traits})),
            hypervisor_type="ironic",
            hypervisor_version=VERSION,
            hypervisor_hostname=node.uuid,
            cpu_info={},
            supported_instances=((arch, "baremetal", "baremetal"),),
        )

    async def guests(self) -> list[GuestInfo]:
        node = self._known()
        return [_info(node)] if ours(node) else []

    async def guest(self, instance_id: str) -> GuestInfo:
        return _info(await self._mine(instance_id))

    # -- deploying

    async def spawn(self, guest: GuestSpec, generation: int, progress: Progress) -> None:
        _check_image(guest)
        node = await self._ironic.node(self._uuid)
        if node.instance_uuid not in (None, guest.instance_id):
            raise NoCapacity("The node has another server.", detail=f"node {self._uuid}: {node.instance_uuid}")
        if node.provision_state not in HAS_SERVER | DEPLOYING:
            if (node.provision_state != "available" and node.instance_uuid is None) or node.maintenance:
                raise NoCapacity("The node is not available.", detail=f"node {self._uuid}: {_said(node)}")
            await self._take(guest, generation)
            await self._attach(guest.ports)
            await self._ironic.provision(self._uuid, "active", **await self._drive(guest))
        else:
            await self._ironic.change(self._uuid, {f"/instance_info/{GENERATION}": generation})
        await self._until_deployed(progress, power_on=True)

    async def rebuild(self, guest: GuestSpec, generation: int, progress: Progress, *, power_on: bool) -> None:
        _check_image(guest)
        node = await self._mine(guest.instance_id)
        if not (node.provision_state == "rebuilding" or node.provision_state in DEPLOYING):
            await self._ironic.change(self._uuid, _instance_info(guest, generation))
            await self._ironic.provision(self._uuid, "rebuild", **await self._drive(guest))
        await self._until_deployed(progress, power_on=power_on)

    async def destroy(self, instance_id: str, *, delete_disks: bool = True) -> None:
        """The node is ours no more when it returns; Ironic goes on cleaning it, and offers it when that is done."""
        node = await self._ironic.node(self._uuid)
        if node.instance_uuid != instance_id:
            return
        if node.provision_state not in GIVEN_BACK | LEAVING:
            await self._ironic.provision(self._uuid, "deleted")
        node = await self._until(lambda n: n.instance_uuid != instance_id or n.provision_state in GIVEN_BACK | FAILED)
        if node.provision_state in FAILED and node.instance_uuid == instance_id:
            raise Error("Ironic cannot take the server off its node.", detail=f"node {self._uuid}: {_said(node)}")
        for port_id in await self._ironic.vifs(self._uuid):
            await self._ironic.detach_vif(self._uuid, port_id)
        if node.instance_uuid == instance_id:
            await self._ironic.change(self._uuid, {"/instance_uuid": None, "/instance_info": {}})

    async def _take(self, guest: GuestSpec, generation: int) -> None:
        """Make the node the server's: Ironic lets one have it, whoever asks at the same time."""
        try:
            await self._ironic.change(self._uuid, {"/instance_uuid": guest.instance_id} | _instance_info(guest, generation))
        except Conflict as error:
            raise NoCapacity("The node was taken meanwhile.", detail=f"node {self._uuid}: {error.message}") from None

    async def _attach(self, ports: tuple[PortSpec, ...]) -> None:
        there = await self._ironic.vifs(self._uuid)
        for port in ports:
            if port.id not in there:
                await self._ironic.attach_vif(self._uuid, port.id)

    async def _drive(self, guest: GuestSpec) -> dict[str, str]:
        """The config drive in the form that Ironic writes to the machine's disk: ISO 9660, gzip, base64."""
        if not guest.config_drive_files:
            return {}
        return {"configdrive": await asyncio.to_thread(_packed, guest.config_drive_files)}

    async def _until_deployed(self, progress: Progress, *, power_on: bool) -> None:
        def ended(node: Node) -> bool:
            progress(None, f"the node is {node.provision_state}")
            return node.provision_state == "active" or node.provision_state in FAILED

        node = await self._until(ended)
        if node.provision_state != "active":
            raise Error("Ironic could not deploy to the node.", detail=f"node {self._uuid}: {_said(node)}")
        wanted = PowerState.RUNNING if power_on else PowerState.SHUTDOWN
        if power(node) is not wanted:  # how a deployment ends is its interface's choice
            await self._power("power on" if power_on else "power off", wanted)

    # -- power

    async def power_on(self, guest: GuestSpec, generation: int) -> None:
        await self._mine(guest.instance_id)
        await self._ironic.change(self._uuid, {f"/instance_info/{GENERATION}": generation})
        await self._power("power on", PowerState.RUNNING)

    async def power_off(self, instance_id: str, *, timeout: float, retry: float) -> None:
        """Ironic presses the button and cuts the power itself; where its driver cannot press, the power is cut."""
        await self._mine(instance_id)
        if timeout > 0:
            try:
                await self._power("soft power off", PowerState.SHUTDOWN, timeout=max(1, int(timeout)))
                return
            except Error:
                if power(await self._mine(instance_id)) is PowerState.SHUTDOWN:
                    return
        await self._power("power off", PowerState.SHUTDOWN)

    async def reboot(self, guest: GuestSpec, generation: int, *, hard: bool) -> None:
        await self._mine(guest.instance_id)
        if not hard:
            try:
                await self._power("soft rebooting", PowerState.RUNNING)
                return
            except Error:
                await self._mine(guest.instance_id)
        await self._power("rebooting", PowerState.RUNNING)

    async def crash_dump(self, instance_id: str) -> None:
        await self._mine(instance_id)
        await self._ironic.interrupt(self._uuid)

    async def _power(self, target: str, wanted: PowerState, **more: Any) -> None:
        """Raises ``Error`` when the machine is not in that state in the end."""
        await self._ironic.power(self._uuid, target, **more)
        node = await self._until(lambda n: n.target_power_state is None)
        if power(node) is not wanted:
            raise Error(f"The node did not obey '{target}'.", detail=f"node {self._uuid}: {_said(node)}")

    # -- its cards

    async def refresh_ports(self, instance_id: str, ports: tuple[PortSpec, ...]) -> None:
        await self._mine(instance_id)
        await self._attach(ports)
        for port_id in await self._ironic.vifs(self._uuid) - {port.id for port in ports}:
            await self._ironic.detach_vif(self._uuid, port_id)

    def surroundings_changed(self) -> None:
        """What reaches a machine is the switch's matter, which Ironic's network interface knows."""

    async def attach_port(self, guest: GuestSpec, generation: int, port_id: str) -> None:
        await self._mine(guest.instance_id)
        await self._attach(tuple(port for port in guest.ports if port.id == port_id))

    async def detach_port(self, guest: GuestSpec, generation: int, port: PortSpec) -> None:
        await self._mine(guest.instance_id)
        if port.id in await self._ironic.vifs(self._uuid):
            await self._ironic.detach_vif(self._uuid, port.id)

    async def stray_files(self) -> list[str]:
        return []

    async def remove_stray(self, instance_id: str) -> None:
        """There are no files here."""

    # -- looking

    def _known(self) -> Node:
        node = self._nodes.known.get(self._uuid)
        if node is None:
            raise Unavailable("Ironic does not have the node any more.", detail=f"node {self._uuid}")
        return node

    async def _mine(self, instance_id: str) -> Node:
        """The node, with this server on it. Raises ``NotFound``."""
        node = await self._ironic.node(self._uuid)
        if ours(node) != instance_id:
            raise NotFound(f"Server {instance_id} is not on its node.", detail=f"node {self._uuid}")
        return node

    async def _until(self, ended: Callable[[Node], bool]) -> Node:
        """The node, once it is what ``ended`` says. The step's deadline bounds the wait."""
        while True:
            node = await self._ironic.node(self._uuid)
            if ended(node):
                return node
            await self._world.sleep(POLL_SECONDS)


def _check_image(guest: GuestSpec) -> None:
    """Raises ``Unsupported`` where the image's bytes, which Ironic fetches by itself, would have to be verified."""
    if guest.image is not None and guest.image.proof is not None:
        raise Unsupported("Signatures of images are not verified on bare metal; name no trusted_image_certificates there.")


def _info(node: Node) -> GuestInfo:
    return GuestInfo(
        instance_id=node.instance_uuid or "",
        name=str(node.instance_info.get(NAME, "")),
        power_state=power(node),
        generation=generation(node),
        volumes=(),
    )


def _instance_info(guest: GuestSpec, generation: int) -> dict[str, Any]:
    """What Ironic's deploy interfaces read. Sizes: GiB and MiB. Source: Ironic's ``instance_info`` as Nova's driver fills it."""
    swap = sum(disk.size_mib for disk in guest.disks if disk.name.startswith("swap"))
    ephemeral = sum(disk.size_mib for disk in guest.disks if disk.name.startswith("ephemeral")) // 1024
    capabilities = {key.removeprefix("capabilities:"): value for key, value in guest.extra_specs.items() if key.startswith("capabilities:")}
    told: dict[str, Any] = {
        "image_source": guest.image.id if guest.image else "",
        "root_gb": str(guest.root_gib),
        "swap_mb": str(swap),
        "display_name": guest.display_name,
        "vcpus": str(guest.vcpus),
        "memory_mb": str(guest.memory_mib),
        "capabilities": capabilities,
        GENERATION: generation,
        NAME: guest.name,
    }
    if ephemeral:
        told["ephemeral_gb"] = str(ephemeral)
    return {f"/instance_info/{key}": value for key, value in told.items()}


def _packed(files: dict[str, bytes]) -> str:
    with tempfile.TemporaryDirectory(prefix="config-drive-") as folder:
        path = Path(folder) / "drive.iso"
        config_drive.write(path, files)
        return base64.b64encode(gzip.compress(path.read_bytes(), mtime=0)).decode()


def _said(node: Node) -> str:
    told = node.last_error or ""
    return f"it is {node.provision_state}{', in maintenance' if node.maintenance else ''}{': ' if told else ''}{told}"[:1000]
