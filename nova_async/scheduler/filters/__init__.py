"""Filters, by the names that the option ``scheduler.filters`` uses; others load from any importable path (``package.module.Class``).

A filter says why a host will not do, in words with numbers. ``applies`` lets it step aside for requests that do not concern it;
one that can judge all hosts at once gives a ``mask`` too.
"""

from nova_async.config import SchedulerSection
from nova_async.scheduler.filters.base import Filter
from nova_async.scheduler.filters.foreign import ForeignFilter, loaded

__all__ = ["BUILT_IN", "Filter", "load"]

HERE = "nova_async.scheduler.filters"
BUILT_IN = {
    "AggregateImagePropertiesIsolation": f"{HERE}.aggregates:AggregateImagePropertiesIsolation",
    "AggregateInstanceExtraSpecsFilter": f"{HERE}.aggregates:AggregateInstanceExtraSpecsFilter",
    "AggregateIoOpsFilter": f"{HERE}.limits:AggregateIoOpsFilter",
    "AggregateMultiTenancyIsolation": f"{HERE}.aggregates:AggregateMultiTenancyIsolation",
    "AggregateNumInstancesFilter": f"{HERE}.limits:AggregateNumInstancesFilter",
    "AggregateTypeAffinityFilter": f"{HERE}.aggregates:AggregateTypeAffinityFilter",
    "AllHostsFilter": f"{HERE}.compute:AllHostsFilter",
    "ComputeCapabilitiesFilter": f"{HERE}.capabilities:ComputeCapabilitiesFilter",
    "ComputeFilter": f"{HERE}.compute:ComputeFilter",
    "DifferentHostFilter": f"{HERE}.hints:DifferentHostFilter",
    "ImagePropertiesFilter": f"{HERE}.image_properties:ImagePropertiesFilter",
    "IoOpsFilter": f"{HERE}.limits:IoOpsFilter",
    "IsolatedHostsFilter": f"{HERE}.isolated_hosts:IsolatedHostsFilter",
    "JsonFilter": f"{HERE}.hints:JsonFilter",
    "MetricsFilter": f"{HERE}.metrics:MetricsFilter",
    "NUMATopologyFilter": f"{HERE}.topology:NUMATopologyFilter",
    "NumInstancesFilter": f"{HERE}.limits:NumInstancesFilter",
    "PciPassthroughFilter": f"{HERE}.topology:PciPassthroughFilter",
    "SameHostFilter": f"{HERE}.hints:SameHostFilter",
    "ServerGroupAffinityFilter": f"{HERE}.server_groups:ServerGroupAffinityFilter",
    "ServerGroupAntiAffinityFilter": f"{HERE}.server_groups:ServerGroupAntiAffinityFilter",
    "SimpleCIDRAffinityFilter": f"{HERE}.hints:SimpleCIDRAffinityFilter",
}


def load(name: str, options: SchedulerSection) -> tuple[str, Filter]:
    """The filter and the name by which it is told. Raises ``Invalid`` naming the option when there is no such filter."""
    if name not in BUILT_IN:
        foreign = ForeignFilter(options, name)
        return foreign.name, foreign
    kind = loaded("scheduler.filters", BUILT_IN[name])
    return name, kind(options)
