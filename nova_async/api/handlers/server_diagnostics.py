"""What is known of a running server without asking its host: its row, in the form that every driver shares since 2.48."""

from typing import Any

from nova_async.api.handlers.actions import target
from nova_async.api.handlers.instances import refuse_nowhere
from nova_async.api.request import Request
from nova_async.api.versions import V
from nova_async.db import hosts
from nova_async.model.instances import Instance
from nova_async.model.power import PowerState

STATES = {
    PowerState.NOSTATE: "pending",
    PowerState.RUNNING: "running",
    PowerState.PAUSED: "paused",
    PowerState.SHUTDOWN: "shutdown",
    PowerState.CRASHED: "crashed",
    PowerState.SUSPENDED: "suspended",
}
KINDS = {"QEMU": "libvirt", "KVM": "libvirt"}


async def show(request: Request) -> dict[str, Any]:
    """Nothing is measured: what a host would have to count is null or missing."""
    server = target(request)
    refuse_nowhere(server)
    if not request.has(V.COMMON_DIAGNOSTICS):
        return {"memory": server.memory_mb * 1024}
    async with request.parts.database.connection() as conn:
        facts = next((row.facts for row in await hosts.all(conn, [server.host or ""])), {})
    kind = str(facts.get("hypervisor_type") or "")
    launched = server.launched_at
    return {
        "state": STATES.get(PowerState(server.power_state), "pending"),
        "driver": KINDS.get(kind.upper(), "libvirt"),
        "hypervisor": kind.lower() or None,
        "hypervisor_os": None,
        "uptime": int((request.parts.world.now() - launched).total_seconds()) if launched else None,
        "config_drive": server.config_drive,
        "num_cpus": server.vcpus,
        "num_nics": len(server.ports),
        "num_disks": _disks(server),
        "memory_details": {"maximum": server.memory_mb, "used": None},
        "cpu_details": [{"id": number, "time": None, "utilisation": None} for number in range(server.vcpus)],
        "nic_details": [
            {"mac_address": port["mac"]}
            | dict.fromkeys(("rx_octets", "rx_errors", "rx_drop", "rx_packets", "rx_rate"))
            | dict.fromkeys(("tx_octets", "tx_errors", "tx_drop", "tx_packets", "tx_rate"))
            for port in server.ports
        ],
        "disk_details": [
            dict.fromkeys(("read_bytes", "read_requests", "write_bytes", "write_requests", "errors_count")) for _ in range(_disks(server))
        ],
    }


def _disks(server: Instance) -> int:
    return 1 + bool(server.flavor.get("ephemeral_gb")) + bool(server.flavor.get("swap"))
