"""Routed networks of Neutron's: each of their segments is reached from some hosts only, and each of their subnets lies on one segment.

Neutron keeps to itself which hosts are on a segment; it learns that from its agents, whose configurations administrators may read, and
so do we: the host's agent carries the segment's physical network, or its kind of tunnel. Source: Neutron's admin guide, "Routed provider
networks", and the mechanism drivers' ``check_segment_for_agent``.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from nova_async.services.network import NetworkRequest

Thing = dict[str, Any]
Lister = Callable[..., Awaitable[list[Thing]]]
MAPPINGS = ("bridge_mappings", "bridge-mappings", "interface_mappings", "device_mappings")  # the names of several kinds of agents


class RemoteSegments:
    """``things``: as ``RemoteNetworks.things``, for an administrator."""

    def __init__(self, things: Lister) -> None:
        self._things = things

    async def hosts(self, requests: list[NetworkRequest], ports: list[Thing]) -> dict[str, list[str]]:
        """Routed network to the hosts that reach it where the cards are, or are to be: the segments of their addresses, else any of it."""
        networks = {*(p["network_id"] for p in ports), *(r.network_id.lower() for r in requests if r.network_id)}
        subnets = await self._things("subnets", network_id=sorted(networks)) if networks else []
        routed = {s["network_id"] for s in subnets if s.get("segment_id")}
        if not routed:
            return {}
        segments = {s["id"]: s for s in await self._things("segments", network_id=sorted(routed))}
        agents = await self._things("agents")
        cards: list[tuple[str, list[str], str | None]] = [
            (p["network_id"], [ip["subnet_id"] for ip in p.get("fixed_ips") or []], None) for p in ports
        ]
        cards += [(r.network_id.lower(), [], r.fixed_ip) for r in requests if r.network_id]
        found: dict[str, set[str]] = {}
        for network, addressed, wanted in cards:
            if network not in routed:
                continue
            own = [s for s in subnets if s["network_id"] == network]
            on = [s for s in own if s["id"] in addressed or _holds(s, wanted)] or own
            reached = _hosts_on([segments[s["segment_id"]] for s in on if s.get("segment_id") in segments], agents)
            found[network] = found.get(network, reached) & reached
        return {network: sorted(hosts) for network, hosts in found.items()}


def _holds(subnet: Thing, address: str | None) -> bool:
    return address is not None and ipaddress.ip_address(address) in ipaddress.ip_network(subnet["cidr"])


def _hosts_on(segments: Iterable[Thing], agents: list[Thing]) -> set[str]:
    return {str(agent["host"]) for segment in segments for agent in agents if _carries(agent.get("configurations") or {}, segment)}


def _carries(agent: Thing, segment: Thing) -> bool:
    physical = segment.get("physical_network")
    if physical is None:
        return segment.get("network_type") in (agent.get("tunnel_types") or [])
    return any(physical in _mapped(agent.get(name)) for name in MAPPINGS)


def _mapped(mappings: Any) -> list[str]:
    """Physical networks: an agent's configuration has them as keys, or in words (``physnet1:br-ex,physnet2:br-2``)."""
    if isinstance(mappings, str):
        return [pair.partition(":")[0].strip() for pair in mappings.split(",")]
    return list(mappings or ())
