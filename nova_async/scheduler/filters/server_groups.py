"""Server groups: together on one host, or apart."""

from nova_async.model.server_groups import AFFINITY, ANTI_AFFINITY
from nova_async.scheduler.filters.base import Filter
from nova_async.scheduler.hosts import HostState, HostTable, Mask
from nova_async.scheduler.request import Request


class ServerGroupAntiAffinityFilter(Filter):
    """The host holds fewer members of the group than ``max_server_per_host``."""

    def applies(self, request: Request) -> bool:
        return request.group is not None and request.group.policy == ANTI_AFFINITY

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        assert request.group is not None
        return ~table.named({name for name, count in request.group.members.items() if count >= request.group.max_server_per_host})

    def reason(self, host: HostState, request: Request) -> str | None:
        assert request.group is not None
        here = request.group.members.get(host.name, 0)
        limit = request.group.max_server_per_host
        return None if here < limit else f"it holds {here} of the group already (at most {limit} per host)"


class ServerGroupAffinityFilter(Filter):
    """The host holds a member of the group; any host will do for the first."""

    def applies(self, request: Request) -> bool:
        return request.group is not None and request.group.policy == AFFINITY and bool(request.group.members)

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        assert request.group is not None
        return table.named(set(request.group.members))

    def reason(self, host: HostState, request: Request) -> str | None:
        assert request.group is not None
        return None if host.name in request.group.members else f"the group's servers are on {', '.join(sorted(request.group.members))}"
