"""What is known of a host, under the names that Nova's extra specs and queries use."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from nova_async.scheduler.hosts import HostState
from nova_async.scheduler.pci import free_devices

MIB_IN_GIB = 1024


def known(host: HostState) -> dict[str, Any]:
    """The host's own facts, and what follows from its row and claims. Memory in MiB, disks in GiB unless the name says MB."""
    return {**host.facts, **dict(_derived(host))}


def _derived(host: HostState) -> Iterator[tuple[str, Any]]:
    row = host.row
    yield from {
        "id": row.number,
        "uuid": row.id,
        "service_id": row.service_id,
        "host": row.name,
        "nodename": host.node,
        "hypervisor_hostname": host.node,
        "host_ip": row.address,
        "num_instances": row.instances,
        "running_vms": row.instances,
        "num_io_ops": row.operations,
        "current_workload": row.operations,
        "failed_builds": row.failed_builds,
        "aggregates": [label.name for label in host.membership.labels],
        "metrics": metrics(host),
        "numa_topology": host.facts.get("topology"),
        "pci_stats": pools(host),
        "pci_device_pools": pools(host),
        "supported_hv_specs": host.facts.get("supported_instances"),
        "stats": {"failed_builds": row.failed_builds, "num_instances": row.instances, "io_workload": row.operations},
        "limits": {name.lower(): int((t - kept) * ratio) for name, (t, kept, ratio, _) in row.inventory.items()},
        "mapped": 1,
        "cell_uuid": row.cell,
        "updated": row.updated_at.isoformat(),
    }.items()
    for resource, names in RESOURCES.items():
        total, _, ratio, used = row.inventory.get(resource, (0, 0, 1.0, 0))
        yield from zip(names, (total, used, total - used, ratio), strict=True)
    total, _, _, used = row.inventory.get("DISK_GB", (0, 0, 1.0, 0))
    yield "disk_available_least", total - host.facts.get("disk_used_gib", used)
    yield "free_disk_mb", (total - used) * MIB_IN_GIB
    yield "disk_mb_used", used * MIB_IN_GIB
    yield "local_gb", total
    yield "memory_mb", row.inventory.get("MEMORY_MB", (0, 0, 1.0, 0))[0]
    yield "vcpus", row.inventory.get("VCPU", (0, 0, 1.0, 0))[0]


# resource class -> the names of its total, what is used of it, what is left, and its allocation ratio
RESOURCES = {
    "VCPU": ("vcpus_total", "vcpus_used", "vcpus_free", "cpu_allocation_ratio"),
    "MEMORY_MB": ("total_usable_ram_mb", "memory_mb_used", "free_ram_mb", "ram_allocation_ratio"),
    "DISK_GB": ("total_usable_disk_gb", "local_gb_used", "free_disk_gb", "disk_allocation_ratio"),
}


def pools(host: HostState) -> list[dict[str, Any]]:
    """Free PCI devices of a kind and a NUMA cell, counted."""
    kinds = Counter((d.vendor_id, d.product_id, d.kind, d.numa_node) for d in free_devices(host.topology, host.used.devices))
    return [
        {"vendor_id": vendor, "product_id": product, "dev_type": kind, "numa_node": node, "count": count}
        for (vendor, product, kind, node), count in kinds.items()
    ]


def metrics(host: HostState) -> dict[str, float]:
    """Name to value, of what the host measures."""
    told = host.facts.get("metrics")
    if isinstance(told, Mapping):
        return dict(told)
    return {metric["name"]: metric["value"] for metric in told or ()}
