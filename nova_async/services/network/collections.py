"""The collections of the built-in network service, by the names that they have in paths."""

from typing import Any

from nova_async.services.network.collection import Collection
from nova_async.services.network.floating_ips import FloatingIps
from nova_async.services.network.networks import Networks, Subnets
from nova_async.services.network.ports import Ports
from nova_async.services.network.routers import Routers
from nova_async.services.network.security_groups import SecurityGroupRules, SecurityGroups
from nova_async.services.network.subnet_pools import SubnetPools

COLLECTIONS: dict[str, type[Collection[Any]]] = {
    "networks": Networks,
    "subnets": Subnets,
    "subnetpools": SubnetPools,
    "ports": Ports,
    "routers": Routers,
    "floatingips": FloatingIps,
    "security-groups": SecurityGroups,
    "security-group-rules": SecurityGroupRules,
}
