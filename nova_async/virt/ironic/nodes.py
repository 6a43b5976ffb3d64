"""All nodes of an Ironic, looked at with one question every few seconds."""

import asyncio
import re
from collections.abc import Awaitable, Callable

from nova_async import log
from nova_async.errors import Error
from nova_async.model.power import PowerState
from nova_async.virt.driver import GuestEvent
from nova_async.virt.events import EventSource
from nova_async.virt.ironic.api import Ironic, Node
from nova_async.world import World

# What we write into ``instance_info`` beside what Ironic reads of it: it makes a node's server one of ours.
GENERATION, NAME = "nova_async_generation", "nova_async_name"
POWER = {"power on": PowerState.RUNNING, "rebooting": PowerState.RUNNING, "power off": PowerState.SHUTDOWN}
HAS_SERVER = frozenset({"active", "rebuilding", "rescue", "rescuing", "unrescuing", "rescue wait", "rescue failed", "unrescue failed"})
logger = log.get("virt.ironic")


class Nodes:
    """``known`` is what was there at the last look. ``on_change`` hears of a node that others can use now, or cannot any more."""

    def __init__(self, ironic: Ironic, world: World, *, conductor_group: str | None = None) -> None:
        self.ironic = ironic
        self.known: dict[str, Node] = {}
        self.events: dict[str, EventSource] = {}
        self.on_change: Callable[[str], None] = lambda uuid: None
        self._world, self._group = world, conductor_group

    async def look(self) -> None:
        """Raises ``Unavailable``."""
        before, now = self.known, {node.uuid: node for node in await self.ironic.nodes(self._group)}
        self.known = now
        for uuid, node in now.items():
            earlier = before.get(uuid)
            if earlier is None:
                continue
            if (instance_id := ours(node)) and ours(earlier) and power(node) is not power(earlier) and uuid in self.events:
                self.events[uuid].publish(GuestEvent(instance_id, generation(node), power(node)))
            if inventory(node) != inventory(earlier) or node.traits != earlier.traits:
                self.on_change(uuid)

    async def watch(
        self, seconds: float, come: Callable[[Node], Awaitable[None]], gone: Callable[[str], None], looked: asyncio.Event
    ) -> None:
        """Look for ever; tell of nodes that are new, and of those that are not there any more. ``looked`` is set after the first time."""
        there: set[str] = set()
        while True:
            try:
                await self.look()
            except Error as error:
                logger.warning("ironic.not_seen", error=error.message, detail=error.detail)
            for uuid in self.known.keys() - there:
                await come(self.known[uuid])
            for uuid in there - self.known.keys():
                gone(uuid)
            there = set(self.known)
            looked.set()
            await self._world.sleep(seconds)


def ours(node: Node) -> str | None:
    """The id of the server that we put on a node."""
    return node.instance_uuid if node.instance_uuid and GENERATION in node.instance_info else None


def generation(node: Node) -> int:
    return int(node.instance_info.get(GENERATION, 0))


def power(node: Node) -> PowerState:
    return POWER.get(node.power_state or "", PowerState.NOSTATE)


def inventory(node: Node) -> dict[str, int]:
    """One unit of the node's resource class, by Placement's name; none while nobody can have it.

    Source: Nova's resource provider of a node (custom classes are CUSTOM_ and upper case, other characters are underscores).
    """
    resource = "CUSTOM_" + re.sub(r"[^A-Z0-9_]", "_", (node.resource_class or "baremetal").upper())
    usable = bool(ours(node)) or (node.provision_state == "available" and not node.maintenance and not node.instance_uuid)
    return {resource: int(usable)}
