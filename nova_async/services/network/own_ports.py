"""Ports that the network service makes for itself: of routers, of floating IPs, of hosts."""

from typing import Any

from nova_async.db import Connection
from nova_async.db import networks as rows
from nova_async.db import routers as router_rows
from nova_async.db.constraints import translated
from nova_async.errors import Conflict
from nova_async.services.network.ground import Ground

MAC_TRIES = 8
ROUTER_INTERFACE, ROUTER_GATEWAY = "network:router_interface", "network:router_gateway"
FLOATING_IP, HOST = "network:floatingip", "network:dhcp"
NOBODY = ""  # the owner of ports that no project needs to see


async def make(
    service: Ground,
    conn: Connection,
    network_id: str,
    device_owner: str,
    device_id: str,
    wishes: list[dict[str, str]] | None,
    *,
    project_id: str = NOBODY,
) -> str:
    """The id of a new port with these addresses (``rows.give_addresses``). Raises ``Conflict`` when they are taken, or all are."""
    for _ in range(MAC_TRIES):
        seed = service.world.random.getrandbits(62)
        row = _row(service, network_id, project_id, device_owner, device_id)
        try:
            with translated():
                async with conn.transaction():
                    await rows.insert_port(conn, row, seed)
        except Conflict:  # of the MAC: nothing else of a new port can be taken
            continue
        await rows.give_addresses(conn, row.id, network_id, wishes, seed)
        return row.id
    raise Conflict("No free MAC address was found. Try again.")


async def answer(service: Ground, conn: Connection, subnet: rows.SubnetRow, router_id: str | None) -> None:
    """Give hosts an address of their own in a subnet, by which they serve it, unless they have one.

    ``router_id``: the router that has the gateway's address; None: no router. Raises ``Conflict`` when all are taken.
    """
    if await router_rows.host_ports(conn, subnet.network_id, subnet.id):
        return
    of, place = f"dhcp-{subnet.network_id}", [{"subnet_id": subnet.id}]
    port = await make(service, conn, subnet.network_id, HOST, of, place, project_id=subnet.project_id)
    await router_rows.join(conn, router_id, port, subnet.network_id, router_rows.HOST)


def _row(service: Ground, network_id: str, project_id: str, device_owner: str, device_id: str) -> rows.PortRow:
    fields: dict[str, Any] = {"name": "", "description": "", "mac": "", "host": "", "dns_name": ""}
    return rows.PortRow(
        **fields,
        id=service.world.uuid(),
        network_id=network_id,
        project_id=project_id,
        admin_state_up=True,
        port_security_enabled=False,
        device_id=device_id,
        device_owner=device_owner,
        allowed_address_pairs=[],
        profile={},
        tags=[],
        revision=1,
        created_at=service.world.now(),
        updated_at=None,
        fixed_ips=[],
        security_groups=[],
    )
