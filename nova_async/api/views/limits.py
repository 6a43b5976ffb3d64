"""What the summary of limits looks like."""

from typing import Any, NamedTuple

from nova_async.api.render import Field, Fields, View
from nova_async.api.request import Request
from nova_async.api.shapes import INTEGER, Shape, closed
from nova_async.api.versions import LATEST, V


class Limits(NamedTuple):
    """Resource to limit, and resource to use."""

    most: dict[str, int]
    used: dict[str, int]


def _most(name: str, resource: str, until: int = LATEST) -> Field:
    def how(row: Limits, request: Request) -> Any:
        return row.most[resource]

    return Field(name, how, until=until, type=INTEGER)


def _used(name: str, resource: str, until: int = LATEST) -> Field:
    def how(row: Limits, request: Request) -> Any:
        return row.used.get(resource, 0)

    return Field(name, how, until=until, type=INTEGER)


ABSOLUTE = Fields(
    (
        _most("maxTotalInstances", "instances"),
        _most("maxTotalCores", "cores"),
        _most("maxTotalRAMSize", "ram"),
        _most("maxServerMeta", "metadata_items"),
        _most("maxImageMeta", "metadata_items", until=V.NO_IMAGE_METADATA - 1),
        _most("maxTotalKeypairs", "key_pairs"),
        _most("maxServerGroups", "server_groups"),
        _most("maxServerGroupMembers", "server_group_members"),
        _most("maxPersonality", "injected_files", until=V.NO_PERSONALITY - 1),
        _most("maxPersonalitySize", "injected_file_content_bytes", until=V.NO_PERSONALITY - 1),
        _most("maxSecurityGroups", "security_groups", until=V.NO_PROXIES - 1),
        _most("maxSecurityGroupRules", "security_group_rules", until=V.NO_PROXIES - 1),
        _most("maxTotalFloatingIps", "floating_ips", until=V.NO_PROXIES - 1),
        _used("totalInstancesUsed", "instances"),
        _used("totalCoresUsed", "cores"),
        _used("totalRAMUsed", "ram"),
        _used("totalServerGroupsUsed", "server_groups"),
        _used("totalFloatingIpsUsed", "floating_ips", until=V.NO_PROXIES - 1),
        _used("totalSecurityGroupsUsed", "security_groups", until=V.NO_PROXIES - 1),
    )
)


class Summary(View):
    """Rates are never limited."""

    def render(self, result: Any, request: Request) -> Any:
        return {"limits": {"rate": [], "absolute": ABSOLUTE.render(result, request)}}

    def schema(self, version: int) -> Shape:
        return closed({"limits": closed({"rate": {"type": "array", "maxItems": 0}, "absolute": ABSOLUTE.schema(version)})})


SHOW = Summary()
