"""What a filter is, and one whose verdict follows from a host's aggregates."""

from nova_async.config import SchedulerSection
from nova_async.scheduler.hosts import HostState, HostTable, Mask, Membership
from nova_async.scheduler.request import Request


class Filter:
    """One that asks host by host unless it has a ``mask``. Filters keep nothing between decisions."""

    def __init__(self, options: SchedulerSection) -> None:
        self.options = options

    def applies(self, request: Request) -> bool:
        """False for requests that the filter does not concern."""
        return True

    def reason(self, host: HostState, request: Request) -> str | None:
        """Why the host is refused, in words with numbers; None when it passes."""
        raise NotImplementedError

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        """True for hosts that pass, or None: ask host by host."""
        return None


class AggregateFilter(Filter):
    """Hosts that are in the same aggregates have the same verdict: it is made once for all of them."""

    def verdict(self, membership: Membership, request: Request) -> str | None:
        """Why hosts in these aggregates are refused; None when they pass."""
        raise NotImplementedError

    def reason(self, host: HostState, request: Request) -> str | None:
        return self.verdict(host.membership, request)

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        mask: Mask = table.by_membership(lambda membership: self.verdict(membership, request) is None)
        return mask
