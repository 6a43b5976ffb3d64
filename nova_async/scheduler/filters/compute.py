"""Whether a host is in service at all."""

from nova_async.scheduler.hosts import HostState, HostTable, Mask
from nova_async.scheduler.request import Request


class ComputeFilter:
    """The service is enabled by its operator and reports."""

    def __init__(self) -> None:
        self._table: HostTable | None = None

    def applies(self, request: Request) -> bool:
        return True

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


class AllHostsFilter:
    """Takes every host."""

    def applies(self, request: Request) -> bool:
        return False

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        return None

    def reason(self, host: HostState, request: Request) -> str | None:
        return None
