"""Extra specs that name capabilities of the host."""

from typing import Any

from nova_async.model.extra_specs_ops import PLAIN_WORDS, matches
from nova_async.scheduler.facts import known
from nova_async.scheduler.filters.base import Filter
from nova_async.scheduler.hosts import HostState
from nova_async.scheduler.request import Request


class ComputeCapabilitiesFilter(Filter):
    """``capabilities:path:to:fact = [operator] value`` and keys without a scope hold on what is known of the host."""

    def applies(self, request: Request) -> bool:
        return any(self._wanted(request))

    def reason(self, host: HostState, request: Request) -> str | None:
        facts = known(host)
        for path, wanted in self._wanted(request):
            value = _fact(facts, path)
            if value is None:
                return f"it reports no {':'.join(path)} (needs {wanted})"
            if not matches(str(value), wanted):
                return f"{':'.join(path)} is {value}, needs {wanted}"
        return None

    def _wanted(self, request: Request) -> list[tuple[list[str], str]]:
        found = []
        for key, value in request.extra_specs.items():
            scope = key.split(":")
            if key in PLAIN_WORDS or (len(scope) > 1 and scope[0] != "capabilities"):
                continue
            found.append((scope[1:] if len(scope) > 1 else scope, value))
        return found


def _fact(facts: dict[str, Any], path: list[str]) -> Any:
    value: Any = facts
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value
