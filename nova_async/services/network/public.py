"""The external network that a new deployment starts with, and a router to it from the first network."""

from nova_async.db import Connection
from nova_async.db import networks as rows
from nova_async.db import routers as router_rows
from nova_async.db.routers import GATEWAY, INTERFACE, RouterPort, RouterRow
from nova_async.services.network import own_ports
from nova_async.services.network.ground import Ground, first_subnet
from nova_async.services.network.router_interfaces import RouterInterfaces

NAME = "public"
OWNER = ""  # nobody's: only an administrator may change it


async def make_public(service: Ground, conn: Connection, inner_subnet: str) -> None:
    """``inner_subnet``: whose gateway the router becomes. Raises ``Invalid`` where the configured range is none."""
    network, subnet = _network(service), _subnet(service)
    subnet.network_id = network.id
    await rows.insert_network(conn, network)
    await rows.insert_subnet(conn, subnet)
    router = RouterRow(
        id=service.world.uuid(),
        project_id=OWNER,
        name="router",
        description="From the first network to the outside",
        admin_state_up=True,
        enable_snat=True,
        routes=[],
        host="",
        tags=[],
        revision=1,
        created_at=service.world.now(),
        updated_at=None,
        gateway=None,
    )
    await router_rows.insert_router(conn, router)
    outer = await own_ports.make(service, conn, network.id, own_ports.ROUTER_GATEWAY, router.id, None)
    await router_rows.join(conn, router.id, outer, network.id, GATEWAY)
    [inner] = await rows.subnets(conn, rows.Page(ids=[inner_subnet]))
    assert inner.gateway is not None
    addresses = [{"subnet_id": inner.id, "ip_address": inner.gateway}]
    port = await own_ports.make(service, conn, inner.network_id, own_ports.ROUTER_INTERFACE, router.id, addresses)
    await router_rows.join(conn, router.id, port, inner.network_id, INTERFACE)
    interface = RouterPort(port_id=port, network_id=inner.network_id, kind=INTERFACE, addresses=addresses)
    await RouterInterfaces(service).answer_elsewhere(conn, router, interface)


def _network(service: Ground) -> rows.NetworkRow:
    return rows.NetworkRow(
        id=service.world.uuid(),
        project_id=OWNER,
        name=NAME,
        description="To the outside",
        shared=False,
        external=True,
        admin_state_up=True,
        port_security_enabled=True,
        mtu=service.config.network.mtu,
        dns_domain="",
        is_default=True,
        vni=0,  # the database gives it one
        apart=False,
        tags=[],
        revision=1,
        created_at=service.world.now(),
        updated_at=None,
        subnets=[],
    )


def _subnet(service: Ground) -> rows.SubnetRow:
    ranges = first_subnet(service.config.network.external_cidr, "external_cidr")
    return rows.SubnetRow(
        id=service.world.uuid(),
        network_id="",
        project_id=OWNER,
        name=f"{NAME}-subnet",
        description="",
        enable_dhcp=False,
        ipv6_ra_mode=None,
        ipv6_address_mode=None,
        subnet_pool=None,
        dns_servers=[],
        host_routes=[],
        tags=[],
        revision=1,
        created_at=service.world.now(),
        updated_at=None,
        **ranges,
    )
