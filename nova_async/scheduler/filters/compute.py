"""Whether a host is in service at all."""

from nova_async.config import SchedulerSection
from nova_async.scheduler.filters.base import Filter
from nova_async.scheduler.hosts import HostState, HostTable, Mask
from nova_async.scheduler.request import Request


class ComputeFilter(Filter):
    """The service is enabled by its operator and reports."""

    def __init__(self, options: SchedulerSection) -> None:
        super().__init__(options)
        self._table: HostTable | None = None

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        self._table = table
        return table.enabled & table.up()

    def reason(self, host: HostState, request: Request) -> str | None:
        if host.row.disabled:
            return f"disabled by an operator ({host.row.disabled_reason or 'no reason given'})"
        if host.row.forced_down:
            return "forced down by an operator"
        if self._table is not None and not self._table.is_up(host.name):
            since = host.seen_at.isoformat(timespec="seconds") if host.seen_at else "never, since this scheduler started"
            return f"its worker does not report (last heard: {since})"
        return None


class AllHostsFilter(Filter):
    """Takes every host."""

    def applies(self, request: Request) -> bool:
        return False

    def reason(self, host: HostState, request: Request) -> str | None:
        return None
