"""Limits on what one host may hold or do at a time."""

from nova_async.scheduler.hosts import HostState, HostTable, Mask
from nova_async.scheduler.request import Request


class NumInstancesFilter:
    """Fewer servers than a limit (Nova's ``max_instances_per_host``, 50)."""

    limit = 50

    def applies(self, request: Request) -> bool:
        return True

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        return table.instances < self.limit

    def reason(self, host: HostState, request: Request) -> str | None:
        return f"it holds {host.row.instances} servers (at most {self.limit})"


class IoOpsFilter:
    """Fewer builds, moves and snapshots in progress than a limit (Nova's ``max_io_ops_per_host``, 8)."""

    limit = 8

    def applies(self, request: Request) -> bool:
        return True

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        return table.operations < self.limit

    def reason(self, host: HostState, request: Request) -> str | None:
        return f"it has {self.limit} or more operations in progress"
