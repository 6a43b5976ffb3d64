"""Limits on what one host may hold or do at a time; the aggregate variants let metadata say the limit."""

from nova_async.scheduler.filters.base import Filter
from nova_async.scheduler.hosts import HostState, HostTable, Mask
from nova_async.scheduler.request import Request

SERVERS, OPERATIONS = "max_instances_per_host", "max_io_ops_per_host"


class NumInstancesFilter(Filter):
    """Fewer servers than ``max_instances_per_host``."""

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        return table.instances < self.options.max_instances_per_host

    def reason(self, host: HostState, request: Request) -> str | None:
        return _servers(host, self.options.max_instances_per_host)


class IoOpsFilter(Filter):
    """Fewer builds, moves and snapshots in progress than ``max_io_ops_per_host``."""

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        return table.operations < self.options.max_io_ops_per_host

    def reason(self, host: HostState, request: Request) -> str | None:
        return _operations(host, self.options.max_io_ops_per_host)


class AggregateNumInstancesFilter(Filter):
    """As ``NumInstancesFilter``, with the smallest limit of the host's aggregates where they have one."""

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        return table.instances < table.by_membership(lambda m: m.least(SERVERS, self.options.max_instances_per_host))  # type: ignore[no-any-return]

    def reason(self, host: HostState, request: Request) -> str | None:
        return _servers(host, host.membership.least(SERVERS, self.options.max_instances_per_host))


class AggregateIoOpsFilter(Filter):
    """As ``IoOpsFilter``, with the smallest limit of the host's aggregates where they have one."""

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        return table.operations < table.by_membership(lambda m: m.least(OPERATIONS, self.options.max_io_ops_per_host))  # type: ignore[no-any-return]

    def reason(self, host: HostState, request: Request) -> str | None:
        return _operations(host, host.membership.least(OPERATIONS, self.options.max_io_ops_per_host))


def _servers(host: HostState, limit: float) -> str | None:
    return None if host.row.instances < limit else f"it holds {host.row.instances} servers (at most {limit:g})"


def _operations(host: HostState, limit: float) -> str | None:
    return None if host.row.operations < limit else f"it has {host.row.operations} operations in progress (at most {limit:g})"
