"""Hosts that are kept for some images."""

from nova_async.scheduler.filters.base import Filter
from nova_async.scheduler.hosts import HostState, HostTable, Mask
from nova_async.scheduler.request import Request


class IsolatedHostsFilter(Filter):
    """Images of ``isolated_images`` run on ``isolated_hosts`` only, and these take no others (``restrict_isolated_hosts...``)."""

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        isolated = table.named(set(self.options.isolated_hosts))
        if request.image_id in self.options.isolated_images:
            return isolated
        return ~isolated if self.options.restrict_isolated_hosts_to_isolated_images else None

    def reason(self, host: HostState, request: Request) -> str | None:
        isolated = host.name in self.options.isolated_hosts
        if request.image_id in self.options.isolated_images:
            return None if isolated else "the image may run on isolated hosts only"
        if isolated and self.options.restrict_isolated_hosts_to_isolated_images:
            return "it is kept for isolated images"
        return None
