"""NUMA cells of servers: whether flavor and image go together, and what a server was given."""

from collections.abc import Mapping
from typing import Any

from nova_async.api.extra_specs import check_protecting
from nova_async.api.request import Request
from nova_async.db import topologies
from nova_async.errors import Invalid
from nova_async.model.cpu_topology import chosen
from nova_async.model.topology import FittedCell
from nova_async.policy import servers as policy
from nova_async.scheduler.guest_topology import devices, topology


def check(request: Request, flavor: Mapping[str, Any], properties: Mapping[str, Any]) -> None:
    """Raises ``Invalid`` in Nova's words for NUMA cells, CPU policies, pages or PCI devices that no host could give.

    And for words that protect a guest and are none that are known.
    """
    check_protecting(flavor.get("extra_specs") or {}, properties)
    try:
        chosen(int(flavor["vcpus"]), flavor.get("extra_specs") or {}, properties)
    except ValueError as error:
        raise Invalid(str(error)) from None
    topology(flavor, properties)  # after it is known that the CPUs are not too many to be counted one by one
    devices(flavor, properties, request.parts.config.pci.alias)


def check_same(flavor: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """A rebuilt server keeps its CPUs and memory where they are. ``old`` and ``new``: properties of images."""
    if topology(flavor, old) != topology(flavor, new):
        raise Invalid(
            "An instance's NUMA topology cannot be changed as part of a rebuild. The image provided is invalid for this instance."
        )


async def show(request: Request) -> dict[str, Any]:
    """The guest's cells; who may see hosts sees the host's cells and CPUs too. Before a host is found, what is wanted."""
    server = request.server
    assert server is not None
    wanted = topology(server.flavor, server.image_properties)
    if wanted is None:
        return {"nodes": [], "pagesize_kb": None}
    async with request.parts.database.connection() as conn:
        given = await topologies.of(conn, server.uuid, server.generation)
    if given is None:
        cells = [FittedCell(host_cell=n, cpus=cell.cpus, memory_mib=cell.memory_mib) for n, cell in enumerate(wanted.cells)]
    else:
        cells = list(given[1].cells)
    sees_host = request.may(policy.TOPOLOGY_HOST, project_id=server.project_id, user_id=server.user_id)
    sizes = [cell.page_size for cell in cells if cell.page_size]
    return {"nodes": [_node(cell, sees_host) for cell in cells], "pagesize_kb": sizes[-1] if sizes else None}


def _node(cell: FittedCell, sees_host: bool) -> dict[str, Any]:
    threads = range(0, len(cell.cpus), cell.threads) if cell.threads > 1 else ()
    node: dict[str, Any] = {
        "vcpu_set": list(cell.cpus),
        "siblings": [list(cell.cpus[first : first + cell.threads]) for first in threads],
        "memory_mb": cell.memory_mib,
    }
    if sees_host:
        node |= {"host_node": cell.host_cell, "cpu_pinning": {str(guest): host for guest, host in cell.pins}}
    return node
