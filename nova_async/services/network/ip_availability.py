"""How many addresses the networks have, and how many of them are taken: for administrators, as in Neutron."""

from ipaddress import ip_address
from typing import Any

from aiohttp import web

from nova_async.db import ip_availability as rows
from nova_async.errors import Invalid, NotFound
from nova_async.services.network.checks import is_uuid
from nova_async.services.network.collection import scope
from nova_async.services.network.ground import Ground
from nova_async.services.web import context_of, json_response

FILTERS = ("network_id", "network_name", "project_id", "tenant_id")


class IpAvailabilityApi:
    """The requests below ``/v2.0/network-ip-availabilities``. Others than administrators find nothing."""

    def __init__(self, service: Ground) -> None:
        self.service = service

    def routes(self) -> list[web.RouteDef]:
        path = "/v2.0/network-ip-availabilities"
        return [web.get(path, self.index), web.get(path + "/{network}", self.show)]

    async def index(self, request: web.Request) -> web.Response:
        """``ip_version`` leaves the subnets of the other version out."""
        version = request.query.get("ip_version")
        if version not in (None, "4", "6"):
            raise Invalid("Invalid input for ip_version: it must be one of 4, 6.")
        found = await self._networks(request, version)
        for name in FILTERS:
            if wanted := request.query.getall(name, []):
                found = [network for network in found if network[name] in wanted]
        return json_response({"network_ip_availabilities": found})

    async def show(self, request: web.Request) -> web.Response:
        network_id = request.match_info["network"].lower()
        found = await self._networks(request, None, network_id) if is_uuid(network_id) else []
        if not found:
            raise NotFound(f"Network {network_id} could not be found.")
        return json_response({"network_ip_availability": found[0]})

    async def _networks(self, request: web.Request, version: str | None, network_id: str | None = None) -> list[dict[str, Any]]:
        if scope(context_of(request)) is not None:
            return []
        async with self.service.db.connection() as conn:
            subnets = await rows.subnets(conn, network_id)
        networks: dict[str, list[rows.SubnetUse]] = {}
        for subnet in subnets:
            networks.setdefault(subnet.network_id, []).append(subnet)
        return [_view(of_one, version) for of_one in networks.values()]


def _view(subnets: list[rows.SubnetUse], version: str | None) -> dict[str, Any]:
    """Of one network, which may have no subnet: then the one row has no ``subnet_id``."""
    network = subnets[0]
    shown = [_subnet(subnet) for subnet in subnets if subnet.subnet_id is not None and version in (None, str(subnet.ip_version))]
    return {
        "network_id": network.network_id,
        "network_name": network.network_name,
        "project_id": network.project_id,
        "tenant_id": network.project_id,
        "subnet_ip_availability": shown,
        "total_ips": sum(subnet["total_ips"] for subnet in shown),
        "used_ips": sum(subnet["used_ips"] for subnet in shown),
    }


def _subnet(subnet: rows.SubnetUse) -> dict[str, Any]:
    return {
        "subnet_id": subnet.subnet_id,
        "subnet_name": subnet.subnet_name,
        "cidr": subnet.cidr,
        "ip_version": subnet.ip_version,
        "total_ips": sum(_size(pool) for pool in subnet.pools),
        "used_ips": subnet.used,
    }


def _size(pool: dict[str, str]) -> int:
    """How many addresses an allocation pool has."""
    return int(ip_address(pool["end"])) - int(ip_address(pool["start"])) + 1
