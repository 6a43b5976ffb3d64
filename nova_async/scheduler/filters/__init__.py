"""Filters, by the names that the option ``scheduler.filters`` uses; others load from any importable path (``package.module:Class``).

A filter says why a host will not do, in words with numbers. ``applies`` lets it step aside for requests that do not concern it;
one that can judge all hosts at once gives a ``mask`` too.
"""

from importlib import import_module
from typing import Protocol

from nova_async.errors import Invalid
from nova_async.scheduler.hosts import HostState, HostTable, Mask
from nova_async.scheduler.request import Request


class Filter(Protocol):
    def applies(self, request: Request) -> bool: ...

    def reason(self, host: HostState, request: Request) -> str | None:
        """Why the host is refused; None when it passes."""
        ...

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        """True for hosts that pass, or None: ask host by host."""
        ...


BUILT_IN = {
    "ComputeFilter": "nova_async.scheduler.filters.compute:ComputeFilter",
    "ComputeCapabilitiesFilter": "nova_async.scheduler.filters.capabilities:ComputeCapabilitiesFilter",
    "ImagePropertiesFilter": "nova_async.scheduler.filters.image_properties:ImagePropertiesFilter",
    "ServerGroupAntiAffinityFilter": "nova_async.scheduler.filters.server_groups:ServerGroupAntiAffinityFilter",
    "ServerGroupAffinityFilter": "nova_async.scheduler.filters.server_groups:ServerGroupAffinityFilter",
    "AllHostsFilter": "nova_async.scheduler.filters.compute:AllHostsFilter",
    "IoOpsFilter": "nova_async.scheduler.filters.limits:IoOpsFilter",
    "NumInstancesFilter": "nova_async.scheduler.filters.limits:NumInstancesFilter",
}


def load(name: str) -> Filter:
    """Raises ``Invalid`` naming the option when there is no such filter."""
    return loaded("scheduler.filters", BUILT_IN.get(name, name))  # type: ignore[no-any-return]


def loaded(option: str, path: str):  # type: ignore[no-untyped-def]
    """An instance of the class at ``package.module:Class``."""
    module, _, kind = path.replace(":", ".").rpartition(".")
    try:
        return getattr(import_module(module), kind)()
    except (ImportError, AttributeError, ValueError) as error:
        raise Invalid(f"{option}: {path!r} is neither a known name nor an importable class ({error})") from None
