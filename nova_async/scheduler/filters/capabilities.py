"""Extra specs that name capabilities of the host."""

from typing import Any

from nova_async.scheduler.filters.operators import matches
from nova_async.scheduler.hosts import HostState, HostTable, Mask
from nova_async.scheduler.request import Request


class ComputeCapabilitiesFilter:
    """``capabilities:path:to:fact = [operator] value`` and keys without a scope hold on the host's facts."""

    def applies(self, request: Request) -> bool:
        return any(self._wanted(request))

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        return None

    def reason(self, host: HostState, request: Request) -> str | None:
        for path, wanted in self._wanted(request):
            value = _fact(host, path)
            if value is None:
                return f"it reports no {':'.join(path)} (needs {wanted})"
            if not matches(str(value), wanted):
                return f"{':'.join(path)} is {value}, needs {wanted}"
        return None

    def _wanted(self, request: Request) -> list[tuple[list[str], str]]:
        found = []
        for key, value in request.extra_specs.items():
            scope = key.split(":")
            if len(scope) > 1 and scope[0] != "capabilities":
                continue
            found.append((scope[1:] if len(scope) > 1 else scope, value))
        return found


def _fact(host: HostState, path: list[str]) -> Any:
    value: Any = host.facts
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value
