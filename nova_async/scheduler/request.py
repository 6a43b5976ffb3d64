"""What is asked of the scheduler, and what it answers."""

from typing import Any

import msgspec

from nova_async.model.server_groups import Group
from nova_async.model.topology import DeviceRequest, GuestTopology

# The steps of workflows that ask for a host: each keeps the decision in its result.
CLAIMS = ("claim_host", "claim_destination")


class Request(msgspec.Struct, kw_only=True):
    """One server that wants a host. ``resources``: resource class -> amount (VCPU, MEMORY_MB, DISK_GB, CUSTOM_*)."""

    instance_id: str
    project_id: str = ""
    resources: dict[str, int]
    required_traits: frozenset[str] = frozenset()
    forbidden_traits: frozenset[str] = frozenset()
    zone: str | None = None
    forced_host: str | None = None  # az zone:host, filters are skipped
    forced_node: str | None = None
    requested_host: str | None = None  # microversion 2.74: checked by the filters
    requested_node: str | None = None
    ignored_hosts: dict[str, str] = msgspec.field(default_factory=dict)  # host -> why
    flavor_name: str = ""
    extra_specs: dict[str, str] = msgspec.field(default_factory=dict)
    image_id: str | None = None
    disk_format: str | None = None
    image_properties: dict[str, Any] = msgspec.field(default_factory=dict)
    hints: dict[str, Any] = msgspec.field(default_factory=dict)
    hosts_of: dict[str, str] = msgspec.field(default_factory=dict)  # server that a hint names -> its host
    wires: frozenset[str] = frozenset()  # of provider networks, see PortSpec
    reached: dict[str, list[str]] = msgspec.field(default_factory=dict)  # network -> the only hosts that reach it
    group: Group | None = None
    alike: dict[str, float] = msgspec.field(default_factory=dict)  # host -> how much the images of its servers are like this one's
    cell: str | None = None  # where the server is, when it moves
    topology: GuestTopology | None = None  # None: it runs anywhere on its host
    devices: tuple[DeviceRequest, ...] = ()


class Candidate(msgspec.Struct, frozen=True):
    """A host that passed everything, with its weight (a higher one is better)."""

    host: str
    host_id: str
    weight: float


class Refusal(msgspec.Struct, frozen=True):
    """Why a host was not taken: the first filter that refused it, and where no host was found those that would have come next."""

    filter: str
    reason: str
    others: list[tuple[str, str]] = []  # filter and reason


class Decision(msgspec.Struct, kw_only=True):
    """One scheduling decision, kept with the workflow. ``refusals`` names at most as many hosts as were asked for; ``counts`` has all."""

    candidates: list[Candidate]
    hosts: int
    counts: dict[str, int] = msgspec.field(default_factory=dict)  # filter -> hosts that it refused
    refusals: dict[str, Refusal] = msgspec.field(default_factory=dict)

    def summary(self) -> str:
        """One sentence for the server's fault: what refused how many hosts, with an example for each filter. Names no host."""
        if not self.hosts:
            return "No valid host was found. No host has reported yet."
        examples = {r.filter: r.reason for r in reversed(self.refusals.values())}
        told = [f"{name} refused {count} ({examples.get(name, 'no example')})" for name, count in self.counts.items()]
        return f"No valid host was found. Of {self.hosts} host{'s' if self.hosts != 1 else ''}, " + "; ".join(told) + "."
