"""NUMA cells, dedicated CPUs, pages and PCI devices. Asked for whatever the options say: no host can take such a guest without them."""

from nova_async.scheduler import numa, pci
from nova_async.scheduler.filters.base import Filter
from nova_async.scheduler.hosts import HostState
from nova_async.scheduler.request import Request


class NUMATopologyFilter(Filter):
    """The guest's cells fit on cells of the host, with their CPUs, pages and devices."""

    def applies(self, request: Request) -> bool:
        return request.topology is not None

    def reason(self, host: HostState, request: Request) -> str | None:
        found = numa.fit(host.topology, host.used, request.topology, request.devices, host.ratios)
        return found if isinstance(found, str) else None


class PciPassthroughFilter(Filter):
    """The host has free devices of each alias."""

    def applies(self, request: Request) -> bool:
        return bool(request.devices)

    def reason(self, host: HostState, request: Request) -> str | None:
        found = pci.choose(host.topology, host.used.devices, request.devices)
        return found if isinstance(found, str) else None
