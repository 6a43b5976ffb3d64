"""Filters that follow the hints of a server's owner."""

import ipaddress

from nova_async.scheduler import json_query
from nova_async.scheduler.facts import known
from nova_async.scheduler.filters.base import Filter
from nova_async.scheduler.hosts import HostState, HostTable, Mask
from nova_async.scheduler.request import Request

DEFAULT_MASK = "/24"


class DifferentHostFilter(Filter):
    """The host holds none of the servers that the hint ``different_host`` names."""

    def applies(self, request: Request) -> bool:
        return bool(request.hints.get("different_host"))

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        return ~table.named(set(_hosts(request, "different_host").values()))

    def reason(self, host: HostState, request: Request) -> str | None:
        here = [server for server, name in _hosts(request, "different_host").items() if name == host.name]
        return f"it holds {here[0]}, which is to be on another host" if here else None


class SameHostFilter(Filter):
    """The host holds one of the servers that the hint ``same_host`` names."""

    def applies(self, request: Request) -> bool:
        return bool(request.hints.get("same_host"))

    def mask(self, table: HostTable, request: Request) -> Mask | None:
        return table.named(set(_hosts(request, "same_host").values()))

    def reason(self, host: HostState, request: Request) -> str | None:
        return (
            None if host.name in _hosts(request, "same_host").values() else "it holds none of the servers that are to be on the same host"
        )


class SimpleCIDRAffinityFilter(Filter):
    """The host's address lies in the network of the hints ``build_near_host_ip`` and ``cidr``."""

    def applies(self, request: Request) -> bool:
        return bool(request.hints.get("build_near_host_ip"))

    def reason(self, host: HostState, request: Request) -> str | None:
        network = ipaddress.ip_network(f"{request.hints['build_near_host_ip']}{request.hints.get('cidr') or DEFAULT_MASK}", strict=False)
        try:
            near = ipaddress.ip_address(host.row.address) in network
        except ValueError:
            near = False
        return None if near else f"its address {host.row.address or '(unknown)'} is not in {network}"


class JsonFilter(Filter):
    """What is known of the host satisfies the question in the hint ``query``."""

    def applies(self, request: Request) -> bool:
        return bool(request.hints.get("query"))

    def reason(self, host: HostState, request: Request) -> str | None:
        question = json_query.parsed(request.hints["query"])
        return None if json_query.holds(question, known(host)) else "it does not satisfy the hint query"


def _hosts(request: Request, hint: str) -> dict[str, str]:
    """Server to host, of those that the hint names."""
    value = request.hints.get(hint) or []
    names = [value] if isinstance(value, str) else value
    return {name: request.hosts_of[name] for name in names if name in request.hosts_of}
