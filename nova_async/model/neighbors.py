"""What a host knows of ports on other hosts: how to reach them, and who is in the security groups that its rules name."""

import msgspec

VXLAN_PORT = 4789  # UDP, RFC 7348


class Neighbor(msgspec.Struct, frozen=True, order=True):
    """A port on another host. ``at``: that host's address; ``guarded``: it sends from its own MAC only."""

    mac: str
    at: str
    addresses: tuple[str, ...] = ()
    guarded: bool = True


class Segment(msgspec.Struct, frozen=True):
    """One network beyond the host, by its VXLAN network identifier."""

    vni: int
    neighbors: tuple[Neighbor, ...] = ()

    @property
    def hosts(self) -> list[str]:
        """Addresses of the other hosts that have ports of the network."""
        return sorted({neighbor.at for neighbor in self.neighbors})

    @property
    def guarded(self) -> bool:
        """Whether every MAC behind the other hosts is known."""
        return all(neighbor.guarded for neighbor in self.neighbors)


class Surroundings(msgspec.Struct, frozen=True):
    """All of it: segments by network, and for each security group the addresses of its members, wherever they are.

    ``strangers``: by network and group those addresses of members that are not theirs in this network, where the same may be another's.
    ``names``: by network and address those of ports on other hosts; empty for one that is made of its address.
    """

    segments: dict[str, Segment] = {}
    groups: dict[str, tuple[str, ...]] = {}
    strangers: dict[str, dict[str, tuple[str, ...]]] = {}
    names: dict[str, dict[str, str]] = {}

    @property
    def hosts(self) -> list[str]:
        return sorted({host for segment in self.segments.values() for host in segment.hosts})
