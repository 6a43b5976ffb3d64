"""Networks in the fields of the first versions; what the network service does not tell is null."""

from typing import Any

from nova_async.api.render import Plain
from nova_async.api.request import Request
from nova_async.api.shapes import ANYTHING, TEXT, array, closed

FOR_ALL = ("cidr", "netmask", "gateway", "broadcast", "dns1", "dns2", "cidr_v6", "gateway_v6", "netmask_v6")
FOR_ADMINISTRATORS = (
    *("created_at", "updated_at", "deleted_at", "deleted", "injected", "bridge", "vlan", "vpn_public_address", "vpn_public_port"),
    *("vpn_private_address", "dhcp_start", "project_id", "host", "bridge_interface", "multi_host", "priority", "rxtx_base", "mtu"),
    *("dhcp_server", "enable_dhcp", "share_address"),
)
Thing = dict[str, Any]


def _network(network: Thing, request: Request) -> Thing:
    names = FOR_ALL + FOR_ADMINISTRATORS if request.is_admin else FOR_ALL
    return {"id": network["id"], "label": network["name"], **dict.fromkeys(names)}


def _tenant_network(network: Thing, _: Request) -> Thing:
    """The CIDR has always been this word."""
    return {"id": network["id"], "cidr": "None", "label": network["name"]}


SHAPE = closed({"id": TEXT, "label": TEXT, **dict.fromkeys(FOR_ALL + FOR_ADMINISTRATORS, ANYTHING)}, FOR_ADMINISTRATORS)
TENANT_SHAPE = closed({"id": TEXT, "cidr": TEXT, "label": TEXT})
NETWORKS = Plain(lambda found, request: {"networks": [_network(one, request) for one in found]}, closed({"networks": array(SHAPE)}))
NETWORK = Plain(lambda one, request: {"network": _network(one, request)}, closed({"network": SHAPE}))
TENANT_NETWORKS = Plain(
    lambda found, request: {"networks": [_tenant_network(one, request) for one in found]}, closed({"networks": array(TENANT_SHAPE)})
)
TENANT_NETWORK = Plain(lambda one, request: {"network": _tenant_network(one, request)}, closed({"network": TENANT_SHAPE}))
POOLS = Plain(
    lambda found, _: {"floating_ip_pools": [{"name": pool["name"] or pool["id"]} for pool in found]},
    closed({"floating_ip_pools": array(closed({"name": TEXT}))}),
)
