"""The network service as the rest of nova_async sees it: built in, or Neutron behind the same interface."""

from typing import Any, Protocol

import msgspec

from nova_async.context import Context
from nova_async.model.guests import PortSpec


class NetworkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One network card that the user asked for: a network or an existing port, with an optional address.

    ``auto``: on a network that is made for the project when the card is (``NetworkService.auto``). ``wires``: what its host must have
    (``PortSpec.wires``).
    """

    network_id: str | None = None
    port_id: str | None = None
    fixed_ip: str | None = None
    tag: str | None = None
    auto: bool = False
    wires: str = ""


class NetworkService(Protocol):
    async def check(
        self, ctx: Context, requests: list[NetworkRequest] | None, security_groups: list[str], count: int
    ) -> list[NetworkRequest]:
        """Say whether these can be given to ``count`` new servers, before anything is changed; returns them resolved.

        None means that the user left the choice to us: the project's only network, or none at all when there is none.
        Raises ``Invalid`` (unknown network, port, group; address outside the subnet or taken), ``Conflict``
        (several networks, port in use), ``Forbidden`` (external network), ``QuotaExceeded`` (more ports than the project may have).
        """
        ...

    async def bind(
        self,
        ctx: Context,
        *,
        instance_id: str,
        hostname: str,
        host: str,
        availability_zone: str,
        requests: list[NetworkRequest],
        security_groups: list[str],
        first_position: int = 0,
    ) -> list[PortSpec]:
        """Make the ports that do not exist yet and bind all of them to ``host``; same answer when repeated.

        The requests are the server's cards from ``first_position`` on; the answer has all of its ports.
        """
        ...

    async def unbind(self, ctx: Context, *, instance_id: str, port_id: str | None = None) -> None:
        """Delete the ports that ``bind`` made, and set free those that the user had brought (or one of both). Safe to repeat."""
        ...

    async def join(self, ctx: Context, *, instance_id: str, host: str) -> None:
        """See that a second host can have the server's ports, while it moves there: ``move`` follows, or ``part``. Safe to repeat.

        Raises ``NoCapacity`` where nobody on that host takes one of them.
        """
        ...

    async def part(self, ctx: Context, *, instance_id: str, host: str) -> None:
        """What ``join`` did there is done for nothing; a host that has the ports keeps them. Safe to repeat."""
        ...

    async def move(self, ctx: Context, *, instance_id: str, host: str, availability_zone: str) -> list[PortSpec]:
        """Bind all ports that the server has to another host, or ("") to none. Safe to repeat."""
        ...

    async def reach(self, ctx: Context, *, instance_id: str, requests: list[NetworkRequest]) -> dict[str, list[str]]:
        """Networks that not every host reaches, each with the hosts that do: of the server's ports, and of those that are asked for."""
        ...

    async def ports(self, ctx: Context, *, instance_id: str) -> list[PortSpec]:
        """The ports of a server as they are bound now."""
        ...

    async def security_groups(self, ctx: Context, *, instance_id: str) -> list[str]:
        """Names of the groups on the server's ports."""
        ...

    async def check_auto(self, ctx: Context) -> None:
        """Say whether ``auto`` could make a network for the caller's project, and make nothing. Raises ``Invalid``."""
        ...

    async def auto(self, ctx: Context) -> list[NetworkRequest]:
        """A network made for the caller's project, who can use none. Raises ``Invalid`` where none can be made."""
        ...

    # Neutron's own things, in the fields of its v2.0 API. ``kind``: networks, subnets, ports, routers, floatingips, security-groups ...
    # All raise ``NotFound`` for what the caller may not see.

    async def things(self, ctx: Context, kind: str, **filters: list[str]) -> list[dict[str, Any]]: ...

    async def thing(self, ctx: Context, kind: str, id: str) -> dict[str, Any]: ...

    async def make(self, ctx: Context, kind: str, fields: dict[str, Any]) -> dict[str, Any]: ...

    async def change(self, ctx: Context, kind: str, id: str, fields: dict[str, Any]) -> dict[str, Any]: ...

    async def remove(self, ctx: Context, kind: str, id: str) -> None: ...
