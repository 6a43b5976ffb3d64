"""Ports that an agent of Neutron's wires: the worker makes the tap and the bridge, and leaves all else to the agent."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nova_async.compute.plugging.links import Links
from nova_async.compute.plugging.records import Plugged, Records, bridges
from nova_async.compute.plugs import NetworkPlugs
from nova_async.model.guests import PortSpec

AGENT = "agent"  # PortSpec.wired_by


class AgentPlugs:
    """``NetworkPlugs`` beside Neutron's agent for Linux bridges, which finds new taps by their name and sets their bridge up."""

    def __init__(self, state: Path) -> None:
        self.records = Records(state / "plugging" / "wired")
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "netlink-wired")
        self._links = Links()

    async def start(self) -> None:
        await self._blocking(self.records.load)
        for plugged in list(self.records.servers.values()):
            await self._blocking(self._links.ensure_wired, plugged.ports)

    async def close(self) -> None:
        await self._blocking(self._links.close)
        self._thread.shutdown(wait=False)

    async def plug(self, instance_id: str, ports: tuple[PortSpec, ...]) -> None:
        async with self._lock:
            before = self.records.servers.get(instance_id)
            gone = [port for port in before.ports if port.id not in {p.id for p in ports}] if before else []
            await self._blocking(self.records.put, Plugged(instance_id, ports))
            await self._blocking(self._links.ensure_wired, ports)
            for port in gone:
                await self._blocking(self._links.remove_tap, port)

    async def unplug(self, instance_id: str) -> None:
        """The bridge stays while anything is on it: the agent's own devices and other guests."""
        async with self._lock:
            plugged = self.records.servers.get(instance_id)
            if plugged is None:
                return
            for port in plugged.ports:
                await self._blocking(self._links.remove_tap, port)
            await self._blocking(self.records.remove, instance_id)
            for bridge in sorted(bridges(plugged.ports)):
                await self._blocking(self._links.remove_empty_bridge, bridge)

    def look_around(self) -> None:
        """What is on other hosts is the agent's business."""

    async def wires(self) -> tuple[str, ...]:
        return ()

    async def plugged(self) -> list[str]:
        return sorted(self.records.servers)

    async def _blocking(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)


class EachPlugs:
    """``NetworkPlugs`` for hosts that may have both kinds: each port is plugged by whom it says."""

    def __init__(self, own: NetworkPlugs, wired: NetworkPlugs) -> None:
        self._own, self._wired = own, wired

    async def start(self) -> None:
        await self._own.start()
        await self._wired.start()

    async def close(self) -> None:
        await self._own.close()
        await self._wired.close()

    async def plug(self, instance_id: str, ports: tuple[PortSpec, ...]) -> None:
        real = tuple(port for port in ports if port.plug)
        await self._own.plug(instance_id, tuple(port for port in real if port.wired_by != AGENT))
        await self._wired.plug(instance_id, tuple(port for port in real if port.wired_by == AGENT))

    async def unplug(self, instance_id: str) -> None:
        await self._own.unplug(instance_id)
        await self._wired.unplug(instance_id)

    def look_around(self) -> None:
        self._own.look_around()
        self._wired.look_around()

    async def wires(self) -> tuple[str, ...]:
        return await self._own.wires()

    async def plugged(self) -> list[str]:
        return sorted({*await self._own.plugged(), *await self._wired.plugged()})
