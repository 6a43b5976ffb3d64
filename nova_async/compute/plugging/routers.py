"""Routers of a Linux host: a network namespace each, joined to the bridges of its networks by veth pairs."""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from nova_async import log
from nova_async.compute.plugging import firewall, namespaces, nat, router_links
from nova_async.compute.plugging.files import Files
from nova_async.compute.plugging.links import Links, index_of
from nova_async.compute.plugging.plugs import LinuxBridgePlugs
from nova_async.errors import Error, Unavailable, plain
from nova_async.model.guests import PortSpec
from nova_async.model.routers import RouterSpec

logger = log.get("routers")


class LinuxRouters:
    """``RouterPlugs`` beside ``LinuxBridgePlugs``, to which a router's inner ports are ports like those of servers.

    The records on disk say what should be. ``external_bridge``: an operator's bridge to the outside; empty: external networks get bridges
    of this host's own, with NAT to wherever the host itself reaches. One change at a time.
    """

    def __init__(self, plugs: LinuxBridgePlugs, state: Path, external_bridge: str = "") -> None:
        self.plugs, self.external_bridge = plugs, external_bridge
        folder = state / "plugging"
        self.records = Files(folder / "routers", RouterSpec)
        self.routers: dict[str, RouterSpec] = {}
        self._mark = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
        self._made: set[str] = set()  # bridges of external networks
        self._failed: set[str] = set()  # routers that are not as they should be
        self._closed = False
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "routers")
        self._links = Links()

    async def start(self) -> None:
        """Bring every router that runs to what its record says.

        One that is gone, as after a reboot, may be another host's by now: it waits until it is put again.
        """
        self.routers = await self._blocking(self.records.load)
        async with self._lock:
            for router in self.routers.values():
                if not await self._blocking(namespaces.exists, self._namespace(router.id)):
                    self._failed.add(router.id)
                    continue
                try:
                    await self._make(router)
                except (Error, OSError, TimeoutError) as error:
                    self._failed.add(router.id)
                    logger.error("router.failed", router=router.id, error=plain(error), detail=getattr(error, "detail", None))
        logger.info("routers.started", routers=len(self.routers))

    async def close(self) -> None:
        """Routers go on without us. Safe to repeat."""
        if self._closed:
            return
        self._closed = True
        await self._blocking(self._links.close)
        self._thread.shutdown(wait=False)

    async def outside(self) -> str:
        """See ``RouterPlugs.outside``."""
        if not self.external_bridge:
            return "own"
        return "bridge" if index_of(self.external_bridge) is not None else ""

    async def put(self, router: RouterSpec, *, announce: bool = False) -> None:
        """See ``RouterPlugs.put``. Raises ``Conflict`` (a range is in use on the host) or ``Unavailable``."""
        async with self._lock:
            before = self.routers.get(router.id)
            await self._blocking(self.records.put, router.id, router)
            self.routers[router.id] = router
            self._failed.add(router.id)
            await self._make(router, before)
            self._failed.discard(router.id)
            if announce:
                await self._blocking(router_links.announce, self._namespace(router.id), router)
        logger.info("router.put", router=router.id, floating_ips=len(router.floating_ips))

    async def remove(self, router_id: str) -> None:
        """Take a router away with all that was made for it. Safe to repeat."""
        async with self._lock:
            router = self.routers.get(router_id)
            if router is None:
                return
            self._failed.add(router_id)
            await self.plugs.unplug(router_id)
            if router.gateway is not None:
                await self._blocking(self._links.remove_tap, router.gateway)
            await self._blocking(namespaces.remove, self._namespace(router_id))
            await self._blocking(self.records.remove, router_id)
            del self.routers[router_id]
            self._failed.discard(router_id)
            await self._outside()
        logger.info("router.removed", router=router_id)

    async def known(self) -> dict[str, str]:
        """Id and digest of each router that is here; the digest of one that is not as it should be is empty."""
        return {router.id: router.digest if await self._whole(router) else "" for router in list(self.routers.values())}

    async def _whole(self, router: RouterSpec) -> bool:
        namespace = self._namespace(router.id)
        return router.id not in self._failed and await firewall.loaded(nat.TABLE, "ip", namespace)

    async def _make(self, router: RouterSpec, before: RouterSpec | None = None) -> None:
        """Rules come before the interfaces that they are about, and change in one transaction."""
        namespace = self._namespace(router.id)
        await self._blocking(namespaces.make, namespace, router_links.SETTINGS)
        await firewall.apply(nat.router_ruleset(router), namespace)
        if before and before.gateway and (router.gateway is None or router.gateway.device != before.gateway.device):
            await self._blocking(self._links.remove_tap, before.gateway)
        if router.interfaces:
            await self.plugs.plug(router.id, router.interfaces)
        else:
            await self.plugs.unplug(router.id)
        await self._outside()
        if router.gateway is not None:
            await self._blocking(self._links.ensure_external, self._bridge(router.gateway), router.gateway)
        await self._blocking(router_links.move_in, namespace, [*router.interfaces, *([router.gateway] if router.gateway else [])])
        await self._blocking(router_links.set_up, namespace, router)

    async def _outside(self) -> None:
        """Make the bridges of external networks that routers use, remove those that none uses, and let the host do their NAT."""
        if self.external_bridge:
            return
        wanted = sorted({e for router in self.routers.values() if router.gateway for e in _externals(router.gateway)})
        await firewall.apply(nat.host_ruleset(self._table, wanted))
        bridges = {router.gateway.bridge: router.gateway for router in self.routers.values() if router.gateway}
        for bridge, port in sorted(bridges.items()):
            addresses = {f"{e.address}/{e.cidr.partition('/')[2]}" for e in wanted if e.bridge == bridge}
            await self._blocking(self._links.ensure_external_bridge, port, addresses)
        for bridge in self._made - set(bridges):
            await self._blocking(self._links.remove_bridge, bridge)
        self._made = set(bridges)

    def _bridge(self, port: PortSpec) -> str:
        return self.external_bridge or port.bridge

    def _namespace(self, router_id: str) -> str:
        """Its name; hosts that share a machine tell theirs apart."""
        return f"nova-async-{self._mark}-{router_id}"

    @property
    def _table(self) -> str:
        return f"nova_async_{self._mark}_outside"

    async def _blocking(self, work: Callable[..., Any], *args: Any) -> Any:
        """Raises ``Unavailable`` where the kernel refuses, as it does while it takes down what a namespace had."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
        except NetlinkError as error:
            raise Unavailable("The kernel refused a part of a router.", detail=plain(error)) from error


def _externals(port: PortSpec) -> list[nat.External]:
    """The range of an external network that this host is the gateway of."""
    v4 = [ip for ip in port.fixed_ips if ip.version == 4]
    return [nat.External(port.bridge, ip.cidr, port.gateway) for ip in v4 if port.gateway]
