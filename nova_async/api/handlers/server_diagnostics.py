"""What is known of a running server: its row, and what its host counts, in the form that every driver shares since 2.48."""

from typing import Any

from nova_async.api.handlers.actions import target
from nova_async.api.handlers.instances import refuse_nowhere
from nova_async.api.request import Request
from nova_async.api.versions import V
from nova_async.bus.messages.compute import GetMeasures, MeasuresTold
from nova_async.db import hosts
from nova_async.errors import Error
from nova_async.model.guests import Measures
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
COUNTS = ("octets", "errors", "drop", "packets")
DISK = ("read_bytes", "read_requests", "write_bytes", "write_requests")
ANSWER_SECONDS = 5.0
KINDS = {"QEMU": "libvirt", "KVM": "libvirt"}


async def show(request: Request) -> dict[str, Any]:
    """Where the host does not answer, what it would have to count is null or missing."""
    server = target(request)
    refuse_nowhere(server)
    measures = await _measures(request, server)
    if not request.has(V.COMMON_DIAGNOSTICS):
        return _of_libvirt(server, measures)
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
        "num_disks": len(measures.disks) if measures else _disks(server),
        "memory_details": {"maximum": server.memory_mb, "used": _used_mib(measures)},
        "cpu_details": [{"id": n, "time": _time(measures, n), "utilisation": None} for n in range(server.vcpus)],
        "nic_details": [_card(measures, port["mac"]) for port in server.ports],
        "disk_details": _disk_details(server, measures),
    }


async def _measures(request: Request, server: Instance) -> Measures | None:
    """None where the host does not say: it is away, or the guest does not run."""
    try:
        answer = await request.parts.bus.call(f"compute.{server.host}", GetMeasures(instance_id=server.uuid), timeout=ANSWER_SECONDS)
    except Error:
        return None
    assert isinstance(answer, MeasuresTold)
    return answer.measures


def _of_libvirt(server: Instance, measures: Measures | None) -> dict[str, Any]:
    """The keys of Nova's libvirt driver."""
    shown: dict[str, Any] = {"memory": measures.memory_kib if measures else server.memory_mb * 1024}
    if measures is None:
        return shown
    shown |= {f"cpu{n}_time": time for n, time in enumerate(measures.cpu_nanoseconds)}
    for disk in measures.disks:
        counts = {"read": disk.read_bytes, "read_req": disk.read_requests, "write": disk.write_bytes, "write_req": disk.write_requests}
        shown |= {f"{disk.name}_{key}": count for key, count in counts.items()}
        shown[f"{disk.name}_errors"] = -1 if disk.errors is None else disk.errors
    for card in measures.cards:
        for way in ("rx", "tx"):
            shown[f"{card.name}_{way}"] = getattr(card, f"{way}_octets")
            shown |= {f"{card.name}_{way}_{what}": getattr(card, f"{way}_{what}") for what in ("packets", "errors", "drop")}
    return shown


def _time(measures: Measures | None, number: int) -> int | None:
    return measures.cpu_nanoseconds[number] if measures and number < len(measures.cpu_nanoseconds) else None


def _used_mib(measures: Measures | None) -> int | None:
    return measures.memory_used_kib // 1024 if measures and measures.memory_used_kib is not None else None


def _card(measures: Measures | None, mac: str) -> dict[str, Any]:
    card = next((card for card in measures.cards if card.mac == mac), None) if measures else None
    counted = {f"{way}_{what}": getattr(card, f"{way}_{what}", None) for way in ("rx", "tx") for what in COUNTS}
    return {"mac_address": mac, **counted, "rx_rate": None, "tx_rate": None}


def _disk_details(server: Instance, measures: Measures | None) -> list[dict[str, Any]]:
    if measures is None:
        return [dict.fromkeys((*DISK, "errors_count")) for _ in range(_disks(server))]
    return [{**{name: getattr(disk, name) for name in DISK}, "errors_count": disk.errors} for disk in measures.disks]


def _disks(server: Instance) -> int:
    return 1 + bool(server.flavor.get("ephemeral_gb")) + bool(server.flavor.get("swap"))
