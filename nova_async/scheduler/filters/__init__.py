"""Filters, by the names that the option ``scheduler.filters`` uses; others load from any importable path (``package.module:Class``).

A filter says why a host will not do, in words with numbers. ``applies`` lets it step aside for requests that do not concern it;
one that can judge all hosts at once gives a ``mask`` too.
"""

from importlib import import_module
from typing import Any

from nova_async.config import SchedulerSection
from nova_async.errors import Invalid
from nova_async.scheduler.filters.base import Filter

__all__ = ["BUILT_IN", "Filter", "load", "loaded"]

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


def load(name: str, options: SchedulerSection) -> Filter:
    """Raises ``Invalid`` naming the option when there is no such filter."""
    kind = loaded("scheduler.filters", BUILT_IN.get(name, name))
    return kind(options)  # type: ignore[no-any-return]


def loaded(option: str, path: str) -> Any:
    """What is named at ``package.module:Name``."""
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Invalid(f"{option}: {path!r} is neither a known name nor an importable class ({error})") from None
