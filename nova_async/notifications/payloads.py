"""Payloads, each an object of Nova's (name, version, data), made of the facts that waited in the outbox."""

from datetime import UTC, datetime, timedelta
from typing import Any

Facts = dict[str, Any]
Payload = dict[str, Any]
POWER = {0: "pending", 1: "running", 3: "paused", 4: "shutdown", 6: "crashed", 7: "suspended"}


def thing(name: str, version: str, data: Facts) -> Payload:
    """One of Nova's versioned objects."""
    return {
        "nova_object.name": name,
        "nova_object.namespace": "nova",
        "nova_object.version": version,
        "nova_object.data": data,
    }


def moment(text: str | None) -> str | None:
    """``2026-01-31T12:00:00Z``."""
    return None if text is None else _show(datetime.fromisoformat(text))


def _show(when: datetime) -> str:
    return f"{when.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()}Z"


# -- servers


def server(facts: Facts) -> Facts:
    """What InstancePayload 1.9 shows."""
    row, flavor_row, image = facts["instance"], facts["instance"]["flavor"], facts["instance"]["image_properties"]
    return {
        "uuid": row["uuid"],
        "user_id": row["user_id"],
        "tenant_id": row["project_id"],
        "reservation_id": row["reservation_id"],
        "display_name": row["display_name"],
        "display_description": row["display_description"],
        "host_name": row["hostname"],
        "host": row["host"],
        "node": row["node"],
        "os_type": image.get("os_type"),
        "architecture": image.get("hw_architecture") or image.get("architecture"),
        "availability_zone": row["availability_zone"],
        "flavor": flavor(flavor_row),
        "image_uuid": row["image_id"] or "",
        "key_name": row["key_name"],
        "kernel_id": row["kernel_id"],
        "ramdisk_id": row["ramdisk_id"],
        "created_at": moment(row["created_at"]),
        "launched_at": moment(row["launched_at"]),
        "terminated_at": moment(row["terminated_at"]),
        "deleted_at": moment(row["terminated_at"]) if row["deleted"] else None,
        "updated_at": moment(row["updated_at"]),
        "state": "deleted" if row["deleted"] else row["vm_state"],
        "power_state": POWER.get(row["power_state"], "pending"),
        "task_state": facts.get("task_state"),
        "progress": row["progress"],
        "ip_addresses": [ip(port, fixed) for port in row["ports"] for fixed in port.get("fixed_ips", ())],
        "block_devices": [block_device(device) for device in row["block_devices"] if device.get("volume_id")],
        "metadata": row["metadata"],
        "locked": row["locked_by"] is not None,
        "locked_reason": row["locked_reason"],
        "auto_disk_config": "AUTO" if row["auto_disk_config"] else "MANUAL",
        "request_id": facts.get("request_id"),
        "action_initiator_user": facts.get("user_id"),
        "action_initiator_project": facts.get("project_id"),
        "shares": [],
    }


def action(facts: Facts) -> Facts:
    return {**server(facts), "fault": failure(facts["error"]) if facts.get("error") else None}


def instance_action(facts: Facts) -> Payload:
    return thing("InstanceActionPayload", "1.9", action(facts))


def instance_create(facts: Facts) -> Payload:
    row = facts["instance"]
    key = row["key_data"]
    more = {
        "keypairs": [keypair({**key, "user_id": row["user_id"]})] if key else [],
        "tags": row["tags"],
        "trusted_image_certificates": row["trusted_certs"],
        "instance_name": f"instance-{row['number']:08x}",
    }
    return thing("InstanceCreatePayload", "1.13", action(facts) | more)


def instance_rebuild(facts: Facts) -> Payload:
    more = {"trusted_image_certificates": facts["instance"]["trusted_certs"]}
    return thing("InstanceActionRebuildPayload", "1.10", action(facts) | more)


def instance_resize_prep(facts: Facts) -> Payload:
    return thing(
        "InstanceActionResizePrepPayload", "1.4", action(facts) | {"new_flavor": flavor(facts.get("flavor") or facts["instance"]["flavor"])}
    )


def instance_rescue(facts: Facts) -> Payload:
    return thing("InstanceActionRescuePayload", "1.4", action(facts) | {"rescue_image_ref": facts.get("image_id")})


def instance_snapshot(facts: Facts) -> Payload:
    return thing("InstanceActionSnapshotPayload", "1.10", action(facts) | {"snapshot_image_id": facts.get("image_id")})


def instance_volume(facts: Facts) -> Payload:
    return thing("InstanceActionVolumePayload", "1.7", action(facts) | {"volume_id": facts.get("volume_id")})


def instance_volume_swap(facts: Facts) -> Payload:
    more = {"old_volume_id": facts.get("old_volume_id"), "new_volume_id": facts.get("new_volume_id")}
    return thing("InstanceActionVolumeSwapPayload", "1.9", action(facts) | more)


def instance_update(facts: Facts) -> Payload:
    row, update = facts["instance"], facts.get("state_update") or {}
    state = update.get("state") or row["vm_state"]
    states = {
        "old_state": update.get("old_state") or state,
        "state": state,
        "old_task_state": update.get("old_task_state"),
        "new_task_state": update.get("new_task_state"),
    }
    more = {
        "state_update": thing("InstanceStateUpdatePayload", "1.0", states),
        "audit_period": audit_period(facts["at"]),
        "old_display_name": facts.get("old_display_name"),
        "tags": row["tags"],
    }
    return thing("InstanceUpdatePayload", "2.1", server(facts) | more)


def instance_exists(facts: Facts) -> Payload:
    return thing("InstanceExistsPayload", "2.1", server(facts) | {"audit_period": audit_period(facts["at"])})


def audit_period(now: str) -> Payload:
    """The month until now, the period that Nova counts by unless told otherwise."""
    ending = datetime.fromisoformat(now)
    beginning = ending.replace(day=1, hour=0, minute=0, second=0)
    if beginning == ending:
        beginning = (ending - timedelta(days=1)).replace(day=1)
    return thing("AuditPeriodPayload", "1.0", {"audit_period_beginning": _show(beginning), "audit_period_ending": _show(ending)})


def ip(port: Facts, fixed: Facts) -> Payload:
    data = {
        "label": port.get("network_label", ""),
        "mac": port["mac"],
        "meta": {},
        "port_uuid": port["id"],
        "version": fixed.get("version", 4),
        "address": fixed["address"],
        "device_name": port.get("device"),
    }
    return thing("IpPayload", "1.0", data)


def block_device(device: Facts) -> Payload:
    names = ("boot_index", "delete_on_termination", "volume_id", "tag")
    return thing("BlockDevicePayload", "1.0", {"device_name": device.get("device")} | {name: device.get(name) for name in names})


# -- what fails


def failure(error: Facts) -> Payload:
    """``error`` is {kind, message, detail}."""
    data = {
        "module_name": "nova_async",
        "function_name": error.get("step") or "",
        "exception": error.get("kind") or "Error",
        "exception_message": error.get("message") or "",
        "traceback": error.get("detail") or "",
    }
    return thing("ExceptionPayload", "1.1", data)


def exception(facts: Facts) -> Payload:
    return failure(facts["error"])


def request_spec(facts: Facts) -> Payload:
    row, image = facts["instance"], facts["instance"]["image_properties"]
    hints = row["scheduler_hints"]
    data = {
        "instance_uuid": row["uuid"],
        "project_id": row["project_id"],
        "user_id": row["user_id"],
        "availability_zone": row["pinned_zone"],
        "flavor": flavor(facts.get("flavor") or row["flavor"]),
        "image": thing("ImageMetaPayload", "1.0", {"id": row["image_id"], "properties": thing("ImageMetaPropsPayload", "1.16", image)})
        if row["image_id"]
        else None,
        "num_instances": 1,
        "scheduler_hints": {name: value if isinstance(value, list) else [str(value)] for name, value in hints.items()},
        "security_groups": [group if isinstance(group, str) else str(group.get("name")) for group in row["security_groups"]],
        "ignore_hosts": None,
        "force_hosts": None,
        "force_nodes": None,
        "instance_group": None,
        "numa_topology": None,
        "pci_requests": None,
        "requested_destination": None,
        "retry": None,
    }
    return thing("RequestSpecPayload", "1.1", data)


def compute_task(facts: Facts) -> Payload:
    data = {
        "instance_uuid": facts["instance"]["uuid"],
        "state": facts["instance"]["vm_state"],
        "reason": failure(facts["error"]),
        "request_spec": request_spec(facts),
    }
    return thing("ComputeTaskPayload", "1.0", data)


# -- what belongs to no server; ``facts`` is the row


def flavor(row: Facts) -> Payload:
    data = {
        "flavorid": row["flavorid"],
        "name": row["name"],
        "memory_mb": row["memory_mb"],
        "vcpus": row["vcpus"],
        "root_gb": row["root_gb"],
        "ephemeral_gb": row["ephemeral_gb"],
        "swap": row["swap"],
        "rxtx_factor": row.get("rxtx_factor", 1.0),
        "vcpu_weight": 0,
        "disabled": row.get("disabled", False),
        "is_public": row.get("is_public", True),
        "extra_specs": row.get("extra_specs") or {},
        "projects": row.get("projects"),
        "description": row.get("description"),
    }
    return thing("FlavorPayload", "1.4", data)


def keypair(row: Facts) -> Payload:
    names = ("user_id", "name", "fingerprint", "public_key", "type")
    return thing("KeypairPayload", "1.0", {name: row.get(name) for name in names})


def aggregate(row: Facts) -> Payload:
    return thing("AggregatePayload", "1.1", {name: row[name] for name in ("id", "uuid", "name", "hosts", "metadata")})


def server_group(row: Facts) -> Payload:
    most = row["max_server_per_host"]
    data = {
        "uuid": row["id"],
        "name": row["name"],
        "user_id": row["user_id"],
        "project_id": row["project_id"],
        "policies": [row["policy"]],
        "policy": row["policy"],
        "rules": {} if most is None else {"max_server_per_host": str(most)},
        "members": row["members"],
        "hosts": None,
    }
    return thing("ServerGroupPayload", "1.1", data)


def service(row: Facts) -> Payload:
    binary = row["binary"]
    data = {
        "uuid": row["id"],
        "host": row["host"],
        "binary": binary,
        "topic": binary.removeprefix("nova-"),
        "report_count": 0,
        "disabled": row["disabled"],
        "disabled_reason": row["disabled_reason"],
        "availability_zone": row["zone"],
        "last_seen_up": moment(row["seen_at"]),
        "forced_down": row["forced_down"],
        "version": 70,
    }
    return thing("ServiceStatusPayload", "1.1", data)
