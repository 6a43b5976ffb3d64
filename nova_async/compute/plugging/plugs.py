"""How a Linux host connects its guests' ports."""

import asyncio
import hashlib
import ipaddress
import shutil
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from nova_async import log
from nova_async.compute.plugging import apart, firewall, namespaces, sound
from nova_async.compute.plugging.dhcp import Dnsmasq
from nova_async.compute.plugging.links import Links, prepare_host
from nova_async.compute.plugging.proxy import MetadataProxy
from nova_async.compute.plugging.records import End, LocalNetwork, Plugged, Records, bridges
from nova_async.compute.plugging.rules import link_local
from nova_async.compute.plugging.surroundings import Ask, Lookout
from nova_async.compute.plugging.tunnels import Tunnels
from nova_async.compute.plugging.uplinks import Uplinks
from nova_async.errors import Error, Invalid, Unavailable, plain
from nova_async.model.guests import PortSpec
from nova_async.model.neighbors import Surroundings
from nova_async.world import World

WATCH_SECONDS = 5.0
logger = log.get("plugging")


class LinuxBridgePlugs:
    """``NetworkPlugs`` with Linux bridges, in the network namespace of this process.

    The records on disk say what should be; every change brings the host to that. One change at a time; the
    firewall follows for all changes so far at once.
    """

    def __init__(
        self,
        world: World,
        state: Path,
        metadata_url: str,
        shared_secret: str,
        *,
        address: str = "",
        ask: Ask | None = None,
        physical_networks: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """``address`` is where other hosts reach this one, ``ask`` tells of them; None: there are no others.

        ``physical_networks``: see ``Uplinks``.
        """
        if not shared_secret:
            raise Invalid("The metadata proxy needs a shared secret.")
        self.world = world
        self.folder = state / "plugging"
        self.records = Records(self.folder / "servers")
        self.proxy = MetadataProxy(metadata_url, shared_secret, self._owner, world.trust)
        self._networks: dict[str, LocalNetwork] = {}
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "netlink")
        self._tasks: list[asyncio.Task[None]] = []
        self._links = Links()
        self._tunnels = Tunnels(self._links, address)
        self._uplinks = Uplinks(self._links, physical_networks)
        self._lookout = Lookout(self.folder / "surroundings.json", world, ask, self._adjust) if ask else None
        self._filtering = asyncio.Lock()
        self._changes = self._applied = 0
        self._rules = ""
        self._mark = hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]
        self._table = f"nova_async_{self._mark}"
        self._zones: dict[str, int] = {}  # of networks that are apart, by bridge

    async def start(self) -> None:
        """Bring the host to what the records say: what runs stays, what is missing is made, what is left over goes."""
        await self._blocking(self._load)
        await self._blocking(prepare_host)
        if self._lookout:
            await self._blocking(self._lookout.load)
        async with self._lock:
            self._networks = self.records.networks()
            for bridge in await self._blocking(self._leftovers):
                await self._take_down(bridge)
            for network in self._networks.values():
                await self._tried(self._bring_up(network, [port for _, port in network.ports]), network.bridge)
        await self._filter()
        self._tasks.append(asyncio.create_task(self._watch_host(), name="plugging.watch"))
        if self._lookout:
            self._tasks.append(asyncio.create_task(self._lookout.run(self._networks_now), name="plugging.lookout"))
        logger.info("plugging.started", networks=len(self._networks), servers=len(self.records.servers))

    async def close(self) -> None:
        """Guests keep bridge, firewall and DHCP; only the metadata service is out of reach until the next start."""
        if self._tasks:
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.proxy.close()
            await self._blocking(self._links.close)
            self._thread.shutdown(wait=False)

    async def plug(self, instance_id: str, ports: tuple[PortSpec, ...]) -> None:
        """See ``NetworkPlugs.plug``. Ports with ``plug`` False have no devices. Raises ``Conflict``, ``Invalid`` or ``Unavailable``."""
        real = tuple(port for port in ports if port.plug)
        if not real:
            return
        sound.check(Plugged(instance_id, real))
        async with self._lock:
            before = self.records.servers.get(instance_id)
            gone = [port for port in before.ports if port.id not in {p.id for p in real}] if before else []
            await self._blocking(self.records.put, Plugged(instance_id, real))
            await self._reconcile(real, gone)
        self.look_around()
        await self._filter()

    async def unplug(self, instance_id: str) -> None:
        """See ``NetworkPlugs.unplug``."""
        async with self._lock:
            before = self.records.servers.pop(instance_id, None)
            if before is None:
                return
            try:
                await self._reconcile((), before.ports)
            except BaseException:
                self.records.servers[instance_id] = before
                raise
            await self._blocking(self.records.remove, instance_id)
        self.look_around()
        await self._filter()

    def look_around(self) -> None:
        """See ``NetworkPlugs.look_around``."""
        if self._lookout:
            self._lookout.look()

    async def wires(self) -> tuple[str, ...]:
        """See ``NetworkPlugs.wires``."""
        return tuple(await self._blocking(self._uplinks.wires))

    async def plugged(self) -> list[str]:
        return sorted(self.records.servers)

    async def _reconcile(self, ports: Iterable[PortSpec], gone: Iterable[PortSpec]) -> None:
        """Remove the ports that are gone, make the others, and leave no network that nobody is on."""
        before, self._networks = self._networks, self.records.networks()
        for port in gone:
            if port.bridge in self._networks and port.bridge in before:
                await self._blocking(self._dnsmasq(port.bridge).release, port, before[port.bridge].subnets)
            await self._blocking(self._links.remove_tap, port)
        for bridge in sorted(bridges(ports) | bridges(gone)):
            if bridge in self._networks:
                await self._bring_up(self._networks[bridge], [port for port in ports if port.bridge == bridge])
            else:
                await self._take_down(bridge)

    async def _bring_up(self, network: LocalNetwork, ports: list[PortSpec]) -> None:
        folder = self.folder / "networks" / network.bridge
        await self._blocking(lambda: folder.mkdir(parents=True, exist_ok=True))
        if network.apart:
            self._zones[network.bridge] = await self._blocking(apart.zone, folder)
        await self._blocking(self._links.ensure_network, network, ports)
        await self._blocking(self._uplinks.ensure, network)
        if network.apart:
            await self._stand_apart(network)
        await self._reach_out(network)
        await self._serve(network)

    async def _serve(self, network: LocalNetwork) -> None:
        """Be there for its guests, with leases and the metadata service."""
        await self._dnsmasq(network.bridge).ensure(network, self._around.names.get(network.network_id, {}))
        if network.subnets or network.subnets6:
            await self.proxy.listen(network.bridge, self._end(network.bridge))

    async def _stand_apart(self, network: LocalNetwork) -> None:
        """What still serves a former end of the host serves nobody."""
        if await self._blocking(apart.ensure, self._links, self._end(network.bridge), network):
            await self.proxy.forget(network.bridge)
            await self._dnsmasq(network.bridge).stop()

    async def _reach_out(self, network: LocalNetwork) -> None:
        await self._blocking(self._tunnels.ensure, network, self._around.segments.get(network.network_id))

    async def _adjust(self) -> None:
        """Bring tunnels, names and rules to what the conductor said last."""
        async with self._lock:
            for network in self._networks.values():
                await self._reach_out(network)
                await self._tried(self._serve(network), network.bridge)
        await self._filter()

    @property
    def _around(self) -> Surroundings:
        return self._lookout.known if self._lookout else Surroundings()

    def _networks_now(self) -> list[LocalNetwork]:
        return list(self._networks.values())

    async def _take_down(self, bridge: str) -> None:
        await self.proxy.forget(bridge)
        await self._dnsmasq(bridge).stop()
        await self._blocking(self._links.remove_bridge, bridge)
        await self._blocking(namespaces.remove, apart.namespace_name(bridge, self._mark))
        self._zones.pop(bridge, None)
        await self._blocking(lambda: shutil.rmtree(self.folder / "networks" / bridge, ignore_errors=True))

    async def _filter(self) -> None:
        """Bring the firewall to what is plugged now. Callers that come together share one run of ``nft``."""
        self._changes += 1
        mine = self._changes
        async with self._filtering:
            if self._applied >= mine:
                return
            seen = self._changes
            rules = firewall.ruleset(self._table, self._networks_now(), self.proxy.ports, self._around, self._zones)
            if rules != self._rules:
                self._rules = ""
                await firewall.apply(rules)
                self._rules = rules
            self._applied = seen

    def _load(self) -> None:
        """A record that nobody makes sense of is set aside: the others' servers must not miss their networks for it. Blocks."""
        self.records.load()
        for server, plugged in list(self.records.servers.items()):
            try:
                sound.check(plugged)
            except Invalid as error:
                logger.error("record.unsound", server=server, error=error.message, detail=error.detail)
                self.records.set_aside(server)

    def _leftovers(self) -> set[str]:
        """Bridges that we made and no record speaks of; what others made is not ours to remove. Blocks."""
        networks = self.folder / "networks"
        networks.mkdir(parents=True, exist_ok=True)
        return {folder.name for folder in networks.iterdir()} - set(self._networks)

    async def _watch_host(self) -> None:
        """Start DHCP servers that died again, make ends of the host's that are gone, and load rules that somebody flushed."""
        while True:
            await self.world.sleep(WATCH_SECONDS)
            for bridge in list(self._networks):
                await self._tried(self._revive(bridge), bridge)
            await self._tried(self._restore_rules(), self._table)

    async def _tried(self, work: Coroutine[Any, Any, None], what: str) -> None:
        """A failure is logged; the next round tries again."""
        try:
            await work
        except (Error, OSError, TimeoutError) as error:
            logger.error("network.failed", what=what, error=plain(error), detail=getattr(error, "detail", None))

    async def _revive(self, bridge: str) -> None:
        async with self._lock:
            network = self._networks.get(bridge)
            if network is None:
                return
            if await self._blocking(apart.stands, self._end(bridge)) and await self._blocking(self._uplinks.stands, network):
                await self._serve(network)
            else:
                await self._bring_up(network, [port for _, port in network.ports])

    async def _restore_rules(self) -> None:
        if self._networks and self._rules and not await firewall.loaded(self._table):
            logger.warning("firewall.flushed", table=self._table)
            self._rules = ""
            await self._filter()

    def _dnsmasq(self, bridge: str) -> Dnsmasq:
        return Dnsmasq(self._end(bridge), self.folder / "networks" / bridge, self.world)

    def _end(self, bridge: str) -> End:
        network = self._networks.get(bridge)
        return apart.end_of(network, self._mark) if network else End(bridge)

    def _owner(self, bridge: str, address: str) -> tuple[str, PortSpec] | None:
        """The server behind an address of a network; every port has the link-local one that follows from its MAC."""
        network = self._networks.get(bridge)
        if network is None:
            return None
        for server, port in network.ports:
            if any(ip.address == address for ip in port.fixed_ips) or address == str(ipaddress.ip_address(link_local(port.mac))):
                return server, port
        return None

    async def _blocking(self, work: Callable[..., Any], *args: Any) -> Any:
        """Raises ``Unavailable`` where the kernel refuses."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
        except NetlinkError as error:
            logger.warning("network.refused", what=getattr(work, "__qualname__", str(work)), error=plain(error))
            raise Unavailable("The kernel refused a part of a network.", detail=plain(error)) from error
